"""Windows of a recording at given times: the events of this label, image or interval."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, overload

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.units import LIMIT, microseconds

Side = Literal["before", "after", "centre", "between", "front", "back"]
SIDES: tuple[str, ...] = get_args(Side)
MOST = 1 << 22  # windows that follow each other
BETWEEN = ("between", "front", "back")  # the sides whose windows reach from one time to the next


@dataclass(frozen=True, eq=False)
class Windows(Sequence[Events]):
    """The events of each window, as views of the recording; windows are half-open.

    `starts` and `stops` are the windows' times in µs on the camera's clock, int64 (n,). Index it as
    a list: windows[3] are the events of starts[3] <= t < stops[3].
    """

    events: Events
    starts: np.ndarray
    stops: np.ndarray
    _borders: np.ndarray  # (n, 2): the numbers of each window's first event and the one after it

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> Events: ...
    @overload
    def __getitem__(self, index: slice) -> list[Events]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        first, stop = self._borders[index]
        return self.events[int(first) : int(stop)]

    def __iter__(self) -> Iterator[Events]:
        return (self[i] for i in range(len(self)))

    @property
    def counts(self) -> np.ndarray:
        """The number of events in each window: int64 (n,)."""
        counts: np.ndarray = self._borders[:, 1] - self._borders[:, 0]
        return counts

    def __repr__(self) -> str:
        if not len(self):
            return "Windows(none)"
        return f"Windows({len(self):,}, t {self.starts[0]}..{self.stops[-1]} µs, {self.events})"


def windows(
    events: Events,
    *,
    at: Any = None,
    duration: int | str | None = None,
    side: Side = "before",
    every: int | str | None = None,
    sliding: str | None = None,
) -> Windows:
    """The events around given times, or in windows that follow each other.

    With `at`, times in µs on the camera's clock, window i is

    - side="before": at[i] − duration <= t < at[i],
    - "after": at[i] <= t < at[i] + duration,
    - "centre": the `duration` around at[i], half of it (rounded down) before,
    - "between": at[i] <= t < at[i + 1], one window less than times and no duration.

    "front" and "back" are the names of dsec-det for the windows of "between": the time that a
    window belongs to is at its front (end) or at its back (start).

    `every` gives windows of that length from the first event on, the last one partial;
    sliding="50ms/25ms" gives windows of 50 ms that begin 25 ms apart, as many as it takes to reach
    the last event. Times may be text with a unit.

    Warns, in one sentence, of windows that hold no event, that reach beyond the recording or that
    overlap the one before. OptionError: events or times (of "between") that are not in order.

    >>> events = Events(t=[0, 5, 20], x=[1, 1, 0], y=[0, 0, 2], p=[1, 0, 1], size=(4, 3))
    >>> [len(part) for part in windows(events, at=[10, 21], duration="6us")]
    [1, 1]
    """
    if len(events) and events.backward_steps:
        raise OptionError(
            f"windows: time goes back {events.backward_steps:,} times in the events; sort them "
            "first, as with events.sort()"
        )
    if sum(given is not None for given in (at, every, sliding)) != 1:
        raise OptionError("windows: give one of at, every and sliding")
    if at is not None:
        starts, stops = around(at, None if duration is None else parse_length(duration), side)
    elif duration is not None or side != "before":
        raise OptionError("windows: duration and side belong to at; leave them out")
    else:
        if sliding is None:
            length = stride = parse_length(every if every is not None else 0, "every")
        else:
            length, stride = parse_sliding(sliding)
        first, last = (int(events.t[0]), int(events.t[-1])) if len(events) else (0, -1)
        starts, stops = following(first, last, length, stride)
    borders = np.searchsorted(events.t, np.stack([starts, stops], axis=-1))
    found = Windows(events, starts, stops, borders.reshape(-1, 2))
    if text := remarks(events, starts, stops, found.counts, report_overlap=sliding is None):
        warnings.warn(f"windows: {text}", stacklevel=2)
    return found


def around(at: Any, duration: int | None, side: Side) -> tuple[np.ndarray, np.ndarray]:
    """The starts and stops of windows at given times: int64 (n,) each."""
    times = np.asarray(at)
    if times.shape == (0,):
        times = times.astype(np.int64)  # an empty list has no type of its own
    if times.ndim != 1 or times.dtype.kind not in "iu":
        raise OptionError(
            f"windows: at is {times.dtype} {times.shape}, expected a list of whole numbers of µs"
        )
    if len(times) and max(-int(times.min()), int(times.max())) >= LIMIT:
        raise OptionError("windows: at has times beyond 73,000 years, expected µs")
    times = times.astype(np.int64)
    if side not in SIDES:
        raise OptionError(f"windows: side is {side!r}, expected one of {', '.join(SIDES)}")
    if side in BETWEEN:
        if duration is not None:
            raise OptionError(f"windows: side={side} takes no duration")
        if len(times) < 2 or (np.diff(times) <= 0).any():
            raise OptionError(f"windows: side={side} needs at least two times, each later")
        return times[:-1], times[1:]
    if duration is None or duration < 1:
        raise OptionError(f"windows: duration is {duration}, expected at least 1 µs")
    back = {"before": duration, "after": 0, "centre": duration // 2}[side]
    return times - back, times - back + duration


def following(first: int, last: int, length: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """The starts and stops of windows that cover the times `first` to `last`: int64 (n,) each.

    None where `last` is before `first`, as in a recording without events.
    """
    if last < first:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    span = last - first + 1
    n = max(1, 1 - (length - span) // stride)
    if n > MOST:
        raise OptionError(
            f"windows: {n:,} windows of {length:,} µs, expected at most {MOST:,}; "
            "ask for longer ones"
        )
    starts = first + np.arange(n) * stride
    return starts, starts + length


def parse_sliding(text: str) -> tuple[int, int]:
    """Length and stride in µs of text such as "50ms/25ms"; "50ms" is its own stride."""
    length, slash, stride = text.partition("/")
    pair = (
        parse_length(length, "sliding"),
        parse_length(stride if slash else length, "sliding"),
    )
    if pair[1] > pair[0]:
        raise OptionError(f"windows: a stride of {stride} would leave out events between windows")
    return pair


def remarks(
    events: Events,
    starts: np.ndarray,
    stops: np.ndarray,
    counts: np.ndarray,
    *,
    report_overlap: bool,
) -> str:
    """What a user should know about windows: empty, beyond the recording, overlapping; or ""."""
    n = len(starts)
    if not n:
        return "there are none" if len(events) else "there are no events"
    found = []
    if empty := int((counts == 0).sum()):
        found.append(f"{empty:,} hold no event")
    if len(events):
        beyond = int(((stops <= events.t[0]) | (starts > events.t[-1])).sum())
        if beyond:
            t0, t1 = int(events.t[0]), int(events.t[-1])
            found.append(f"{beyond:,} lie outside the recording, which is {t0}..{t1} µs")
    if back := backward(starts):
        found.append(f"{back:,} begin before the one before them")
    if report_overlap and (overlap := overlapping(starts, stops)):
        found.append(f"{overlap:,} overlap the one before")
    return f"of {n:,}, " + ", ".join(found) if found else ""


def overlapping(starts: np.ndarray, stops: np.ndarray) -> int:
    """How many windows overlap the one before, in order of their starts."""
    order = np.argsort(starts, kind="stable")
    return int((starts[order][1:] < stops[order][:-1]).sum())


def backward(starts: np.ndarray) -> int:
    """How many windows begin before the one before them."""
    return int((starts[1:] < starts[:-1]).sum())


def parse_length(value: int | str, name: str = "duration") -> int:
    """The option `name`, a length of time in µs; OptionError for what is not one or below 1 µs."""
    try:
        length = microseconds(value)
    except ValueError as error:
        raise OptionError(f"windows: {name} is {error}") from None
    if length < 1:
        raise OptionError(f"windows: {name} is {value}, expected at least 1 µs")
    return length
