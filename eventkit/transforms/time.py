"""Transforms of time and of the number of events."""

from typing import ClassVar, Literal

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.targets import Placed
from eventkit.transforms import TRANSFORMS
from eventkit.units import Microseconds


class _FromFirst:
    """What counts time from the first event that it is given."""

    def __init__(self) -> None:
        self._origin: int | None = None

    def origin(self, events: Events) -> int:
        """The time of the first event; 0 as long as there is none."""
        if self._origin is None and len(events):
            self._origin = int(events.t[0])
        return self._origin or 0

    def first(self, placed: Placed) -> int:
        """The time of the first event; of a sample without events, that at which it begins."""
        return placed.start if self._origin is None else self._origin


@TRANSFORMS.register
class CropTime(_FromFirst):
    """The events of start <= t < stop, in µs after the first event that gets here.

    Without a `start` or a `stop`, all that come before or after. So `crop_time:stop=1s` is the
    first second. OptionError if stop <= start.
    """

    name: ClassVar[str] = "crop_time"

    def __init__(
        self, *, start: Microseconds | None = None, stop: Microseconds | None = None
    ) -> None:
        super().__init__()
        if start is not None and stop is not None and stop <= start:
            raise OptionError(f"crop_time: stop={stop} is not after start={start}")
        self.start, self.stop = start, stop

    def __call__(self, events: Events) -> Events:
        origin = self.origin(events)
        start = None if self.start is None else origin + self.start
        stop = None if self.stop is None else origin + self.stop
        return events.between(start, stop) if len(events) else events

    def targets(self, placed: Placed) -> Placed:
        """Those of the same times."""
        origin = self.first(placed)
        start = None if self.start is None else origin + self.start
        return placed.between(start, None if self.stop is None else origin + self.stop)


@TRANSFORMS.register
class CropCount:
    """The events with the numbers start <= i < stop, counted from 0 in the order they come."""

    name: ClassVar[str] = "crop_count"

    def __init__(self, *, start: int = 0, stop: int | None = None) -> None:
        if start < 0 or (stop is not None and stop <= start):
            raise OptionError(f"crop_count: start={start}, stop={stop}, expected 0 <= start < stop")
        self.start, self.stop = start, stop
        self._seen = 0
        self._times: dict[int, int] = {}  # of the first event that is kept and the one after all

    def __call__(self, events: Events) -> Events:
        first, self._seen = self._seen, self._seen + len(events)
        for border in (self.start, self.stop):
            if border is not None and first <= border < self._seen:
                self._times[border] = int(events.t[border - first])
        stop = len(events) if self.stop is None else max(self.stop - first, 0)
        return events[max(self.start - first, 0) : stop]

    def targets(self, placed: Placed) -> Placed:
        """Those from the first event that is kept until the first one after all that are."""
        if self.start >= self._seen and self._seen:
            return placed.between(0, 0)
        low = self._times.get(self.start) if self.start else None
        return placed.between(low, None if self.stop is None else self._times.get(self.stop))


@TRANSFORMS.register
class AlignTime(_FromFirst):
    """The events with the first of them at time `t0` (0)."""

    name: ClassVar[str] = "align_time"

    def __init__(self, *, t0: Microseconds = 0) -> None:
        super().__init__()
        self.t0 = t0

    def __call__(self, events: Events) -> Events:
        return _at(events, events.t + (self.t0 - self.origin(events)))

    def targets(self, placed: Placed) -> Placed:
        """Those as much earlier or later as the events."""
        by = self.t0 - self.first(placed)
        return placed.retimed(lambda t: t + by)


@TRANSFORMS.register
def shift_time(events: Events, *, by: Microseconds = 0) -> Events:
    """The events `by` µs later, or earlier if that is negative."""
    return _at(events, events.t + by)


def _shift_targets(placed: Placed, *, by: int) -> Placed:
    return placed.retimed(lambda t: t + by)


shift_time.targets = _shift_targets  # type: ignore[attr-defined]


@TRANSFORMS.register
class ScaleTime(_FromFirst):
    """The events with their time since the first one multiplied by `factor`, rounded down to µs."""

    name: ClassVar[str] = "scale_time"

    def __init__(self, *, factor: float = 1.0) -> None:
        super().__init__()
        if not 0 < factor <= 1e6:
            raise OptionError(f"scale_time: factor is {factor}, expected more than 0, at most 10^6")
        self.factor = factor

    def __call__(self, events: Events) -> Events:
        if self.factor == 1 or not len(events):
            return events
        origin = self.origin(events)
        elapsed = np.floor((events.t - origin) * self.factor)
        if len(elapsed) and np.abs(elapsed).max() >= 2.0**61:
            raise OptionError(f"scale_time: factor {self.factor} makes times exceed 73,000 years")
        return _at(events, origin + elapsed.astype(np.int64))

    def targets(self, placed: Placed) -> Placed:
        """Those at times that are multiplied alike."""
        if self.factor == 1:
            return placed
        origin = self.first(placed)
        return placed.retimed(
            lambda t: origin + np.floor((t - origin) * self.factor).astype(np.int64)
        )


@TRANSFORMS.register
class LimitRate:
    """At most `rate` events per second, evenly: events beyond that are dropped.

    A bucket of `burst` events fills at the rate and each event takes one, as in a sensor's event
    rate controller: short bursts pass, a lasting excess is thinned out. The burst is by default
    what the rate gives in 1 ms. Events must be in order of time.
    """

    name: ClassVar[str] = "limit_rate"

    def __init__(self, *, rate: float = 1e6, burst: int | None = None) -> None:
        if not 0 < rate <= 1e12:
            raise OptionError(f"limit_rate: rate is {rate}, expected more than 0 events per second")
        if burst is not None and burst < 1:
            raise OptionError(f"limit_rate: burst is {burst}, expected at least 1")
        self.rate = rate
        self.burst = max(1.0, rate / 1000) if burst is None else float(burst)
        self._state = np.array([self.burst])
        self._last = np.zeros(1, np.int64)
        self._begun = False

    def __call__(self, events: Events) -> Events:
        if not len(events):
            return events
        if not self._begun:
            self._last[0], self._begun = events.t[0], True
        return events[_pass(events.t, self._state, self._last, self.rate / 1e6, self.burst)]


@TRANSFORMS.register
class Decimate:
    """Every `n`-th event of each pixel, whatever the polarity, or with per="sensor" of all events.

    The first event that is kept is the n-th, so a pixel with fewer than n events keeps none.
    """

    name: ClassVar[str] = "decimate"

    def __init__(self, *, n: int = 2, per: Literal["pixel", "sensor"] = "pixel") -> None:
        if not 1 <= n <= 1 << 30:
            raise OptionError(f"decimate: n is {n}, expected at least 1")
        self.n, self.per = n, per
        self._counts: np.ndarray | None = None

    def __call__(self, events: Events) -> Events:
        if self._counts is None:
            width, height = events.size if self.per == "pixel" else (1, 1)
            self._counts = np.zeros((height, width), np.int32)
        by_pixel = self.per == "pixel"
        return events[_every(events.x, events.y, self._counts, self.n, by_pixel, *events.size)]


def _at(events: Events, t: np.ndarray) -> Events:
    """The events at other times, sharing the other columns."""
    if len(t) and not -(1 << 61) < int(t.min()) <= int(t.max()) < 1 << 61:
        raise OptionError("times would exceed 73,000 years; shift or align by less")
    return Events.trusted(t, events.x, events.y, events.p, events.size)


@jit
def _pass(
    t: np.ndarray, tokens: np.ndarray, last: np.ndarray, per_us: float, burst: float
) -> np.ndarray:
    """Which events find a token; `tokens` and `last` carry the bucket from chunk to chunk."""
    kept = np.empty(len(t), np.bool_)
    level, before = tokens[0], last[0]
    for i in range(len(t)):
        if t[i] > before:  # time that goes back does not fill the bucket twice
            level = min(burst, level + (t[i] - before) * per_us)
            before = t[i]
        kept[i] = level >= 1.0
        level -= 1.0 if kept[i] else 0.0
    tokens[0], last[0] = level, before
    return kept


@jit
def _every(
    x: np.ndarray,
    y: np.ndarray,
    counts: np.ndarray,
    n: int,
    by_pixel: bool,
    width: int,
    height: int,
) -> np.ndarray:
    kept = np.zeros(len(x), np.bool_)
    for i in range(len(x)):
        if x[i] >= width or y[i] >= height:
            continue
        row, column = (int(y[i]), int(x[i])) if by_pixel else (0, 0)
        counts[row, column] += 1
        if counts[row, column] == n:
            counts[row, column] = 0
            kept[i] = True
    return kept
