"""Random changes of training samples: one module per family, found by scanning this folder.

What is drawn is separate from what it is applied to, wherever the change has parameters:

- in space: a function `name(size, rng, *, options) -> warps` that only draws: what it draws is done
  to all T frames and C channels of a sample, to its bounding boxes and to its points;
- of the sample: a function `name(extent, rng, *, options) -> changes` that only draws, given the
  sensor's size and the first and last time: what it draws is done to the events, to a second
  stream, to boxes and to points;
- of events without parameters (noise on each of them): `name(events, rng, *, options) -> Events`,
  which leaves its arguments alone and keeps the sensor's size;
- of frames without parameters: `name(frames, rng, *, options) -> frames`, which changes the
  contiguous array (T, C, H, W) in place, in its own type, leaves things where they are, and returns
  it or its first frames;
- of a batch: a function `name(batch, rng, *, options) -> mix` that draws how its samples are mixed.

What is drawn is keyed by (seed, epoch, sample), so that results depend neither on threads nor on
workers; that of space and of the sample on nothing else either, so that windows of a recording and
boxes move alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from eventkit.augment._change import Change, Extent, retimed
from eventkit.augment._drawn import Draw as Draw
from eventkit.augment._drawn import of_json, to_json
from eventkit.augment._own import Own as Own
from eventkit.augment._warp import Size, Warp
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.registry import Registry, bind, format_spec, parse_spec

T = TypeVar("T", bound=Change)


@dataclass(frozen=True)
class Augmentation:
    """One augmentation: the keyword-only arguments of `apply` are its options.

    length(T, **options) is how many frames are left of T, None if all are; size(size, **options) is
    the sensor's size afterwards, None if it stays. `draws` says that `apply`, of one on events,
    only draws: it is given an Extent and returns changes.
    """

    name: str
    on: Literal["events", "space", "frames", "batch"]
    apply: Callable[..., Any]
    length: Callable[..., int] | None = None
    size: Callable[..., Size] | None = None
    draws: bool = False


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation", __name__, options=lambda entry: entry.apply
)


def on_events(function: Callable[..., Events]) -> Callable[..., Events]:
    """Register a function on events under its own name."""
    AUGMENTATIONS.register(Augmentation(function.__name__, "events", function))
    return function


def draws(function: Callable[..., list[T]]) -> Callable[..., list[T]]:
    """Register a function that draws changes of a sample, under its own name."""
    AUGMENTATIONS.register(Augmentation(function.__name__, "events", function, draws=True))
    return function


def on_space(function: Callable[..., list[Warp]]) -> Callable[..., list[Warp]]:
    """Register a function that draws a geometry, under its own name."""
    AUGMENTATIONS.register(Augmentation(function.__name__, "space", function))
    return function


def on_frames(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Register a function on frames, which keeps their number, under its own name."""
    AUGMENTATIONS.register(Augmentation(function.__name__, "frames", function))
    return function


class Step(NamedTuple):
    """One augmentation of several, with its options; `number` is its place in the specs."""

    number: int
    entry: Augmentation
    options: dict[str, Any]


class Augment:
    """Augmentations in turn, those on events first: Augment(["event_drop", "nda:m=1,n=2"]).

    A function may stand for a spec: function(events, rng) -> Events, or, with own="frames",
    function(frames, rng) -> frames. `specs` names all of them with all options, as text. Raises
    UnknownName or OptionError for wrong ones.

    >>> augment = Augment(["time_reverse:p=1"])
    >>> events = Events([0, 7], [1, 2], [0, 0], [1, 0], size=(3, 3))
    >>> draw = augment.draw(epoch=0, sample=5)
    >>> augment.events(events, draw).t.tolist(), augment.events(events[:1], draw).t.tolist()
    ([0, 7], [7])
    >>> augment.record(draw)["drawn"]["0"]
    [{'change': 'Reverse', 't0': 0, 't1': 7, 'swap': True}]
    """

    def __init__(
        self,
        specs: Sequence[str | Callable[..., Any]],
        *,
        seed: int = 0,
        own: Literal["events", "frames"] = "events",
    ) -> None:
        if isinstance(specs, str) or callable(specs) or not isinstance(specs, Sequence):
            raise OptionError(f"augment is {specs!r}, expected a list of such texts or functions")
        self.seed = seed
        pairs = [_entry(spec, own) for spec in specs]
        pairs.sort(key=lambda pair: pair[0].on != "events")  # stable: otherwise as given
        steps = [Step(number, *pair) for number, pair in enumerate(pairs)]
        self._events = [step for step in steps if step.entry.on == "events"]
        self._frames = steps[len(self._events) :]
        # Random numbers of their own, which no step of another kind before them uses up or shifts.
        drawn = [step.number for step in self._events if step.entry.draws]
        self._streams = {number: 2 + place for place, number in enumerate(drawn)}
        self._space = [step for step in self._frames if step.entry.on == "space"]
        self.specs = [format_spec(step.entry.name, step.options) for step in steps]

    @property
    def on_events(self) -> bool:
        """Whether some of them need the events."""
        return bool(self._events)

    @property
    def on_frames(self) -> bool:
        """Whether some of them work on frames."""
        return bool(self._frames)

    @property
    def in_space(self) -> bool:
        """Whether some of them move what is in the frames."""
        return bool(self._space)

    @property
    def only_frames(self) -> list[str]:
        """The names of those that work on frames and on nothing else."""
        return [step.entry.name for step in self._frames if step.entry.on == "frames"]

    def draw(self, epoch: int, sample: int) -> Draw:
        """What is drawn for a sample in an epoch, the same wherever it is read."""
        return Draw((self.seed % 2**64, (epoch << 40 | sample) % 2**64))

    def record(self, draw: Draw) -> dict[str, Any]:
        """What was drawn so far, for JSON: parameters of changes, or states of random numbers."""
        return {
            "augment": self.specs,
            "key": list(draw.key),
            "times": draw.times and list(draw.times),
            "drawn": {str(number): to_json(kept) for number, kept in draw.kept.items()},
        }

    def replay(self, record: Mapping[str, Any]) -> Draw:
        """The draw that was recorded; OptionError if it is of other augmentations."""
        if record.get("augment") != self.specs:
            raise OptionError(
                f"the record is of {record.get('augment')}, these augmentations are {self.specs}"
            )
        times = record["times"]
        draw = Draw(record["key"], None if times is None else (times[0], times[1]))
        draw.kept = {int(number): of_json(kept) for number, kept in record["drawn"].items()}
        return draw

    def events(self, events: Events, draw: Draw) -> Events:
        """The changed events; the given ones stay as they are.

        The sample's first and last time are those of the first events that a draw is used for.
        """
        if draw.times is None and len(events):
            draw.times = int(events.t.min()), int(events.t.max())
        for step in self._events:
            if step.entry.draws:
                for change in self._changes(step, draw, events.size):
                    events = change.events(events)
            else:
                events = step.entry.apply(events, draw.rng(step.number), **step.options)
        return events

    def warped(self, events: Events, draw: Draw) -> Events:
        """The events moved as frames of them would be by what works in space."""
        for step in self._space:
            for warp in self._warps(step, draw, events.size):
                events = warp.events(events)
        return events

    def boxes(
        self, boxes: np.ndarray, draw: Draw, *, size: Size, times: tuple[int, int] | None = None
    ) -> np.ndarray:
        """The boxes of a sample moved as its events and frames are by the same draw.

        `boxes` is a structured array with x, y, w and h in pixels of the sensor, whose width and
        height `size` is; t (µs) follows where there is one, other fields come along. Boxes are cut
        at the sensor's edges, and dropped where nothing of them is left. `times` are the sample's
        first and last time, where the draw was not used for its events before.
        """
        return self._placed("boxes", boxes, draw, size, times)

    def points(
        self, points: np.ndarray, draw: Draw, *, size: Size, times: tuple[int, int] | None = None
    ) -> np.ndarray:
        """The same for points, a structured array with x and y: (0, 0) is a pixel's centre."""
        return self._placed("points", points, draw, size, times)

    def intervals(
        self, rows: np.ndarray, draw: Draw, *, size: Size, times: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Rows with times and no place: a structured array with t, maybe stop (t <= time < stop).

        Only what moves times changes it; intervals are cut at the sample's ends.
        """
        draw.times = draw.times or times
        for step in self._events:
            if step.entry.draws:
                for change in self._changes(step, draw, size):
                    rows, size = retimed(change, rows), change.size(size)
        return rows

    def _placed(
        self, kind: str, things: np.ndarray, draw: Draw, size: Size, times: tuple[int, int] | None
    ) -> np.ndarray:
        draw.times = draw.times or times
        for step in self._events:
            if step.entry.draws:
                for change in self._changes(step, draw, size):
                    things, size = getattr(change, kind)(things, size), change.size(size)
        for step in self._space:
            for warp in self._warps(step, draw, size):
                things = getattr(warp, kind)(things, size)
        return things

    def frames(self, frames: np.ndarray, draw: Draw) -> np.ndarray:
        """The changed frames (T, C, H, W), in the memory of the given ones."""
        if frames.ndim != 4 or not frames.flags.c_contiguous:
            raise OptionError(f"frames are {frames.shape}, expected a contiguous (T, C, H, W)")
        height, width = frames.shape[2:]
        for step in self._frames:
            if step.entry.on == "space":
                for warp in self._warps(step, draw, (width, height)):
                    warp.frames(frames)
            else:
                frames = step.entry.apply(frames, draw.rng(step.number), **step.options)
        return frames

    def _changes(self, step: Step, draw: Draw, size: Size) -> list[Change]:
        def changes() -> list[Change]:
            rng, extent = (
                draw.stream(self._streams[step.number]),
                Extent(size, *(draw.times or (0, 0))),
            )
            found: list[Change] = step.entry.apply(extent, rng, **step.options)
            return found

        # Of a sample without events nothing is kept: a second stream may have some.
        return draw.changes(step.number, changes) if draw.times else changes()

    def _warps(self, step: Step, draw: Draw, size: Size) -> list[Warp]:
        return draw.changes(step.number, lambda: step.entry.apply(size, draw.space, **step.options))

    def length(self, n_frames: int) -> int:
        """How many frames are left of `n_frames`."""
        for step in self._frames:
            if step.entry.length is not None:
                n_frames = step.entry.length(n_frames, **step.options)
        return n_frames

    def size(self, size: Size) -> Size:
        """The sensor's size after them; OptionError if it is too small for one of them."""
        for step in self._events:
            if step.entry.size is not None:
                size = step.entry.size(size, **step.options)
        return size


def _entry(spec: str | Callable[..., Any], own: str) -> tuple[Augmentation, dict[str, Any]]:
    """The augmentation that a spec or a function stands for, with all its options."""
    if not isinstance(spec, str):
        function = Own(spec, "augment")
        if own == "events":
            return Augmentation(function.__name__, "events", function.events), {}
        return Augmentation(function.__name__, "frames", function.frames), {}
    name, options = parse_spec(spec)
    entry = AUGMENTATIONS[name]
    if entry.on == "batch":
        raise OptionError(f"{name} mixes the samples of a batch: use loader(..., mix=[{spec!r}])")
    bound = bind(entry.apply, options, name)
    if AUGMENTATIONS.plugin(name) is None:
        _try(entry, bound)
    return entry, bound


def _try(entry: Augmentation, options: dict[str, Any]) -> None:
    """Raise OptionError for wrong options now, not with the first sample of a training."""
    rng, none = np.random.default_rng(0), np.zeros(0, np.int64)
    if entry.length is not None:
        entry.length(1, **options)
    if entry.draws:
        entry.apply(Extent((1 << 16, 1 << 16), 0, 0), rng, **options)
    elif entry.on == "events":
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
