"""Random changes of training samples: one module per family, found by scanning this folder.

There are two kinds. What works on events is a function `name(events, rng, *, options) -> Events`
that leaves its arguments alone and keeps the sensor's size. What works on frames is a function
`name(frames, rng, *, options) -> frames` that changes the contiguous array (T, C, H, W) in place,
in its own type, and returns it or its first frames. Geometry is drawn once per sample: all T frames
and C channels change alike.

`rng` is keyed by (seed, epoch, sample), so that results depend neither on threads nor on workers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.registry import Registry, bind, format_spec, parse_spec


@dataclass(frozen=True)
class Augmentation:
    """One augmentation: the keyword-only arguments of `apply` are its options.

    length(T, **options) is how many frames are left of T, None if all are.
    """

    name: str
    on: Literal["events", "frames"]
    apply: Callable[..., Any]
    length: Callable[..., int] | None = None


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation", __name__, options=lambda entry: entry.apply
)


def on_events(function: Callable[..., Events]) -> Callable[..., Events]:
    """Register a function on events under its own name."""
    AUGMENTATIONS.register(Augmentation(function.__name__, "events", function))
    return function


def on_frames(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Register a function on frames, which keeps their number, under its own name."""
    AUGMENTATIONS.register(Augmentation(function.__name__, "frames", function))
    return function


class Augment:
    """Augmentations in turn, those on events first: Augment(["event_drop", "nda:m=1,n=2"]).

    `specs` names them with all options, as text.
    """

    def __init__(self, specs: Sequence[str], *, seed: int = 0) -> None:
        if isinstance(specs, str):
            raise OptionError(f"augment is {specs!r}, expected a list of such texts")
        self.seed = seed
        self._steps: dict[str, list[tuple[Augmentation, dict[str, Any]]]]
        self._steps = {"events": [], "frames": []}
        for spec in specs:
            name, options = parse_spec(spec)
            entry = AUGMENTATIONS[name]
            self._steps[entry.on].append((entry, bind(entry.apply, options, name)))
        steps = [*self._steps["events"], *self._steps["frames"]]
        self.specs = [format_spec(entry.name, options) for entry, options in steps]

    @property
    def on_events(self) -> bool:
        """Whether some of them need the events."""
        return bool(self._steps["events"])

    @property
    def on_frames(self) -> bool:
        """Whether some of them work on frames."""
        return bool(self._steps["frames"])

    def rng(self, epoch: int, sample: int) -> np.random.Generator:
        """The random numbers of a sample in an epoch, the same wherever it is read."""
        key = [self.seed % 2**64, (epoch << 40 | sample) % 2**64]
        return np.random.Generator(np.random.Philox(key=np.array(key, np.uint64)))

    def events(self, events: Events, rng: np.random.Generator) -> Events:
        """The changed events; the given ones stay as they are."""
        for entry, options in self._steps["events"]:
            events = entry.apply(events, rng, **options)
        return events

    def frames(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The changed frames (T, C, H, W), in the memory of the given ones."""
        if frames.ndim != 4 or not frames.flags.c_contiguous:
            raise OptionError(f"frames are {frames.shape}, expected a contiguous (T, C, H, W)")
        for entry, options in self._steps["frames"]:
            frames = entry.apply(frames, rng, **options)
        return frames

    def length(self, n_frames: int) -> int:
        """How many frames are left of so many."""
        for entry, options in self._steps["frames"]:
            if entry.length is not None:
                n_frames = entry.length(n_frames, **options)
        return n_frames


def check_share(name: str, value: float | None, low: float = 0, high: float = 1) -> None:
    """Raise OptionError unless low <= value <= high, or it is None."""
    if value is not None and not low <= value <= high:
        raise OptionError(f"{name} is {value}, expected {low:g}..{high:g}")


def at_least(name: str, value: float, low: float) -> None:
    """Raise OptionError unless low <= value, and finite."""
    if not low <= value < float("inf"):
        raise OptionError(f"{name} is {value}, expected at least {low:g}")
