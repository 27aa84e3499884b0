"""Random changes of training samples: one module per family, found by scanning this folder.

There are three kinds. What works on events is a function `name(events, rng, *, options) -> Events`
that leaves its arguments alone and keeps the sensor's size. What works in space is a function
`name(size, rng, *, options) -> warps` that only draws: what it draws is done to all T frames and C
channels of a sample, and to its bounding boxes. What else works on frames is a function
`name(frames, rng, *, options) -> frames` that changes the contiguous array (T, C, H, W) in place,
in its own type, leaves things where they are, and returns it or its first frames.

`rng` is keyed by (seed, epoch, sample), so that results depend neither on threads nor on workers;
that of geometry on nothing else either, so that windows of a recording and boxes move alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from eventkit.augment._warp import Size, Warp
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.registry import Registry, bind, format_spec, parse_spec


@dataclass(frozen=True)
class Augmentation:
    """One augmentation: the keyword-only arguments of `apply` are its options.

    length(T, **options) is how many frames are left of T, None if all are.
    """

    name: str
    on: Literal["events", "space", "frames"]
    apply: Callable[..., Any]
    length: Callable[..., int] | None = None


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation", __name__, options=lambda entry: entry.apply
)


def on_events(function: Callable[..., Events]) -> Callable[..., Events]:
    """Register a function on events under its own name."""
    AUGMENTATIONS.register(Augmentation(function.__name__, "events", function))
    return function


def on_space(function: Callable[..., list[Warp]]) -> Callable[..., list[Warp]]:
    """Register a function that draws a geometry, under its own name."""
    AUGMENTATIONS.register(Augmentation(function.__name__, "space", function))
    return function


def on_frames(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Register a function on frames, which keeps their number, under its own name."""
    AUGMENTATIONS.register(Augmentation(function.__name__, "frames", function))
    return function


class Draw(NamedTuple):
    """The random numbers of one sample in one epoch, to be used once."""

    space: np.random.Generator
    other: np.random.Generator


class Augment:
    """Augmentations in turn, those on events first: Augment(["event_drop", "nda:m=1,n=2"]).

    `specs` names them with all options, as text. Raises UnknownName or OptionError for wrong ones.
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
            kind = "events" if entry.on == "events" else "frames"
            bound = bind(entry.apply, options, name)
            if AUGMENTATIONS.plugin(name) is None:
                _try(entry, bound)
            self._steps[kind].append((entry, bound))
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

    @property
    def in_space(self) -> bool:
        """Whether some of them move what is in the frames."""
        return any(entry.on == "space" for entry, _ in self._steps["frames"])

    def draw(self, epoch: int, sample: int) -> Draw:
        """The random numbers of a sample in an epoch, the same wherever it is read."""
        key = np.array([self.seed % 2**64, (epoch << 40 | sample) % 2**64], np.uint64)
        streams = (np.random.Philox(key=key, counter=[0, 0, 0, number]) for number in (0, 1))
        return Draw(*map(np.random.Generator, streams))

    def events(self, events: Events, draw: Draw) -> Events:
        """The changed events; the given ones stay as they are."""
        for entry, options in self._steps["events"]:
            events = entry.apply(events, draw.other, **options)
        return events

    def boxes(self, boxes: np.ndarray, draw: Draw, *, size: Size) -> np.ndarray:
        """The boxes of a sample moved as its frames are, for a fresh `draw` of it.

        `boxes` is a structured array with x, y, w and h in pixels of the frames, whose width and
        height `size` is; other fields come along. Boxes are cut at the sensor's edges, and dropped
        where nothing of them is left.
        """
        for entry, options in self._steps["frames"]:
            if entry.on == "space":
                for warp in entry.apply(size, draw.space, **options):
                    boxes = warp.boxes(boxes, size)
        return boxes

    def frames(self, frames: np.ndarray, draw: Draw) -> np.ndarray:
        """The changed frames (T, C, H, W), in the memory of the given ones."""
        if frames.ndim != 4 or not frames.flags.c_contiguous:
            raise OptionError(f"frames are {frames.shape}, expected a contiguous (T, C, H, W)")
        height, width = frames.shape[2:]
        for entry, options in self._steps["frames"]:
            if entry.on == "space":
                for warp in entry.apply((width, height), draw.space, **options):
                    warp.frames(frames)
            else:
                frames = entry.apply(frames, draw.other, **options)
        return frames

    def length(self, n_frames: int) -> int:
        """How many frames are left of so many."""
        for entry, options in self._steps["frames"]:
            if entry.length is not None:
                n_frames = entry.length(n_frames, **options)
        return n_frames


def _try(entry: Augmentation, options: dict[str, Any]) -> None:
    """Raise OptionError for wrong options now, not with the first sample of a training."""
    rng, none = np.random.default_rng(0), np.zeros(0, np.int64)
    if entry.length is not None:
        entry.length(1, **options)
    if entry.on == "events":
        entry.apply(Events(none, none, none, none, (1, 1)), rng, **options)
    elif entry.on == "space":
        entry.apply((1, 1), rng, **options)
    else:
        entry.apply(np.zeros((1, 1, 1, 1), np.uint8), rng, **options)


def check_share(name: str, value: float | None, low: float = 0, high: float = 1) -> None:
    """Raise OptionError unless low <= value <= high, or it is None."""
    if value is not None and not low <= value <= high:
        raise OptionError(f"{name} is {value}, expected {low:g}..{high:g}")


def at_least(name: str, value: float, low: float) -> None:
    """Raise OptionError unless low <= value, and finite."""
    if not low <= value < float("inf"):
        raise OptionError(f"{name} is {value}, expected at least {low:g}")
