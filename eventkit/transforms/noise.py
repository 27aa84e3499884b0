"""Filters that remove noise: events without support, and pixels that fire too often.

All of them look back only, so they work on live input; events should be in order of time (an event
earlier than its neighbour's last one counts as near it in time). Events outside the sensor are
dropped.
"""

from typing import ClassVar, Literal

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.targets import Placed
from eventkit.transforms import TRANSFORMS
from eventkit.units import Microseconds

# Earlier than any time, but near enough to subtract from one without overflow.
_NEVER = -(1 << 62)


class _Filter:
    """A filter with an array of its own for each sample, made when the sensor's size is known."""

    cleans: ClassVar[bool] = True  # it is scored by `eventkit bench-filters`

    def __init__(self, name: str, duration: int) -> None:
        if not 1 <= duration < 1 << 60:
            raise OptionError(f"{name}: duration is {duration} µs, expected at least 1")
        self.duration = duration
        self._state: np.ndarray | None = None

    def state(self, *shape: int) -> np.ndarray:
        """The times kept so far."""
        if self._state is None:
            self._state = np.full(shape, _NEVER, np.int64)
        return self._state


@TRANSFORMS.register
class BackgroundActivity(_Filter):
    """Drop events without an event in one of the 8 pixels around in the `duration` before.

    Delbruck, Frame-Free Dynamic Digital Vision, 2008: what most libraries call the background
    activity filter. The neighbour's polarity does not matter, and dropped events support others.
    """

    name: ClassVar[str] = "background_activity"

    def __init__(self, *, duration: Microseconds = 2_000) -> None:
        super().__init__(self.name, duration)

    def __call__(self, events: Events) -> Events:
        width, height = events.size
        state = self.state(height + 2, width + 2)
        columns = events.t, events.x, events.y
        return events[_supported_by_one(*columns, state, self.duration)]


@TRANSFORMS.register
class Stcf(_Filter):
    """Drop events with fewer than `support` of the 8 pixels around active in the `duration` before.

    The spatio-temporal correlation filter of Guo and Delbruck, Low Cost and Latency Event Camera
    Background Activity Denoising, TPAMI 2022. polarity="same" counts only neighbours whose last
    event has the polarity of this one. Dropped events support others.
    """

    name: ClassVar[str] = "stcf"

    def __init__(
        self,
        *,
        duration: Microseconds = 10_000,
        support: int = 2,
        polarity: Literal["any", "same"] = "any",
    ) -> None:
        super().__init__(self.name, duration)
        if not 1 <= support <= 8:
            raise OptionError(f"stcf: support is {support}, expected 1 to 8")
        self.support, self.same = support, polarity == "same"

    def __call__(self, events: Events) -> Events:
        width, height = events.size
        state = self.state(height + 2, width + 2)
        columns = events.t, events.x, events.y, events.p
        return events[_supported(*columns, state, self.duration, self.support, self.same)]


@TRANSFORMS.register
class KNoise(_Filter):
    """Drop events without support, remembering one event per row and one per column.

    Khodamoradi and Kastner, O(N)-Space Spatiotemporal Filter for Reducing Noise in Neuromorphic
    Vision Sensors, TETC 2018. The last events of the columns x − 1, x, x + 1 and of the rows
    y − 1, y, y + 1 support an event if they lie at most a pixel away, are at most `duration` old
    and have its polarity; `support` of these six are needed.
    """

    name: ClassVar[str] = "knoise"

    def __init__(self, *, duration: Microseconds = 1_000, support: int = 1) -> None:
        super().__init__(self.name, duration)
        if not 1 <= support <= 6:
            raise OptionError(f"knoise: support is {support}, expected 1 to 6")
        self.support = support

    def __call__(self, events: Events) -> Events:
        width, height = events.size
        state = self.state(2, max(width, height) + 2, 2)
        columns = events.t, events.x, events.y, events.p
        return events[
            _supported_by_lines(*columns, state, *events.size, self.duration, self.support)
        ]


@TRANSFORMS.register
class Refractory(_Filter):
    """Drop events of a pixel sooner than `duration` after its last one, of either polarity.

    rule="kept" counts from the pixel's last event that was kept, as a neuron's refractory period;
    rule="seen" from its last event, kept or dropped: a pixel that fires faster than that stays
    silent (Tonic's RefractoryPeriod, which also drops what comes exactly `duration` later).
    """

    name: ClassVar[str] = "refractory"

    def __init__(
        self, *, duration: Microseconds = 1_000, rule: Literal["kept", "seen"] = "kept"
    ) -> None:
        super().__init__(self.name, duration)
        self.seen = rule == "seen"

    def __call__(self, events: Events) -> Events:
        width, height = events.size
        state = self.state(height, width)
        columns = events.t, events.x, events.y
        return events[_rested(*columns, state, self.duration, self.seen)]


@TRANSFORMS.register
class HotPixels(_Filter):
    """Drop a pixel's events once it fired more than `rate` times per second over a `duration`.

    The count of each pixel starts again every `duration`; a pixel that exceeds its share is hot
    and stays silent to the end of the sample. For pixels known beforehand, use `drop_pixels`.
    """

    name: ClassVar[str] = "hot_pixels"

    def __init__(self, *, rate: float = 1_000.0, duration: Microseconds = 100_000) -> None:
        super().__init__(self.name, duration)
        if not 0 < rate <= 1e9:
            raise OptionError(f"hot_pixels: rate is {rate}, expected more than 0 events per second")
        self.most = min(int(rate * duration / 1e6), 1 << 62)
        if self.most < 1:
            raise OptionError(
                f"hot_pixels: rate {rate:g} over {duration} µs is less than one event; "
                "ask for a longer duration"
            )

    def __call__(self, events: Events) -> Events:
        width, height = events.size
        state = self.state(height, width, 2)
        columns = events.t, events.x, events.y
        return events[_calm(*columns, state, self.duration, self.most)]


@TRANSFORMS.register
class Flicker:
    """Drop events of pixels that flicker with a frequency from `low` to `high` Hz.

    Lamps on 50 or 60 Hz mains flicker with 100 or 120 Hz. A pixel's period is the time between two
    changes from OFF to ON; after `length` periods in a row within the band, its events are dropped
    until a period is outside of it, or none has ended for a longest period.
    """

    name: ClassVar[str] = "flicker"
    cleans: ClassVar[bool] = True

    def __init__(self, *, low: float = 90.0, high: float = 130.0, length: int = 5) -> None:
        if not 0.01 <= low < high <= 1e5:
            raise OptionError(f"flicker: low={low}, high={high}, expected 0.01 <= low < high")
        if not 1 <= length <= 1000:
            raise OptionError(f"flicker: length is {length}, expected at least 1")
        self.periods = int(1e6 / high), int(np.ceil(1e6 / low))
        self.length = length
        self._state: np.ndarray | None = None

    def __call__(self, events: Events) -> Events:
        width, height = events.size
        if self._state is None:
            # The last polarity, the time of the last change to ON, the periods in the band so far.
            self._state = np.empty((height, width, 3), np.int64)
            self._state[:] = 1, _NEVER, 0
        columns = events.t, events.x, events.y, events.p
        return events[_steady(*columns, self._state, *self.periods, self.length)]


@TRANSFORMS.register
class Downsample:
    """One event for every `per` of a polarity in blocks of `factor` x `factor` pixels.

    A block counts ON events up and OFF events down. When the count reaches ±per, the event that
    did it is passed on at the block's place and the count starts again, so that noise of both
    polarities cancels. The sensor becomes smaller, an incomplete block at the edge is one pixel.
    `per` is factor² by default, which keeps the contrast of an edge; per=1 passes all events on.
    """

    name: ClassVar[str] = "downsample"

    def __init__(self, *, factor: int = 2, per: int | None = None) -> None:
        if not 1 <= factor <= 1024:
            raise OptionError(f"downsample: factor is {factor}, expected 1 to 1,024")
        if per is not None and not 1 <= per <= 1 << 30:
            raise OptionError(f"downsample: per is {per}, expected at least 1")
        self.factor, self.per = factor, factor**2 if per is None else per
        self._counts: np.ndarray | None = None

    def __call__(self, events: Events) -> Events:
        width, height = (-(-side // self.factor) for side in events.size)
        if self._counts is None:
            self._counts = np.zeros((height, width), np.int32)
        columns = events.t, events.x, events.y, events.p
        fewer = _integrate(*columns, self._counts, self.factor, self.per, *events.size)
        return Events.trusted(*fewer, size=(width, height))

    def targets(self, placed: Placed) -> Placed:
        """Those on the smaller sensor."""
        width, height = (-(-side // self.factor) for side in placed.size)
        return placed.moved((width, height), lambda xy: xy / self.factor)


# The states of the filters below have a border of a pixel all around, so that no neighbour needs
# a test for the edge of the sensor. Nothing is ever written to it.


@jit
def _supported_by_one(
    t: np.ndarray, x: np.ndarray, y: np.ndarray, state: np.ndarray, duration: int
) -> np.ndarray:
    height, width = state.shape
    kept = np.zeros(len(t), np.bool_)
    last = state.reshape(height * width)
    # Unsigned indices: a signed one costs a test for negative ones at each of the nine look-ups.
    w, h, one = np.uint64(width), np.uint64(height), np.uint64(1)
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint64(x[j]) + one, np.uint64(y[j]) + one
        if column + one >= w or row + one >= h:
            continue
        since = t[j] - duration
        middle = row * w + column
        above, below = middle - w, middle + w
        # The largest of eight times is compared once: eight tests would be guessed wrong.
        latest = max(
            max(max(last[above - one], last[above]), max(last[above + one], last[middle - one])),
            max(max(last[middle + one], last[below - one]), max(last[below], last[below + one])),
        )
        kept[j] = latest >= since
        last[middle] = t[j]
    return kept


@jit
def _supported(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    state: np.ndarray,
    duration: int,
    support: int,
    same: bool,
) -> np.ndarray:
    """The state holds 2·time + polarity, of which neighbours are compared by their lowest bit."""
    height, width = state.shape
    kept = np.zeros(len(t), np.bool_)
    last = state.reshape(height * width)
    w, h, one = np.uint64(width), np.uint64(height), np.uint64(1)
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint64(x[j]) + one, np.uint64(y[j]) + one
        if column + one >= w or row + one >= h:
            continue
        q = np.int64(p[j] != 0)
        since = 2 * (t[j] - duration)
        middle = row * w + column
        found = 0
        for place in (
            middle - w - one,
            middle - w,
            middle - w + one,
            middle - one,
            middle + one,
            middle + w - one,
            middle + w,
            middle + w + one,
        ):
            found += (last[place] >= since) & ((not same) | ((last[place] & 1) == q))
        kept[j] = found >= support
        last[middle] = 2 * t[j] + q
    return kept


@jit
def _supported_by_lines(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    state: np.ndarray,
    width: int,
    height: int,
    duration: int,
    support: int,
) -> np.ndarray:
    """state[0, x + 1] is the last event of column x, state[1, y + 1] of row y.

    Each is 2·time + polarity and the other coordinate.
    """
    kept = np.zeros(len(t), np.bool_)
    columns, rows = state[0], state[1]
    for i in range(len(t)):
        column, row = int(x[i]), int(y[i])
        if column >= width or row >= height:
            continue
        q = np.int64(p[i] != 0)
        since = 2 * (t[i] - duration)
        found = 0
        for offset in range(3):
            time, other = columns[column + offset, 0], columns[column + offset, 1]
            found += (time >= since) & ((time & 1) == q) & (abs(other - row) <= 1)
            time, other = rows[row + offset, 0], rows[row + offset, 1]
            found += (time >= since) & ((time & 1) == q) & (abs(other - column) <= 1)
        kept[i] = found >= support
        columns[column + 1, 0], columns[column + 1, 1] = 2 * t[i] + q, row
        rows[row + 1, 0], rows[row + 1, 1] = 2 * t[i] + q, column
    return kept


@jit
def _rested(
    t: np.ndarray, x: np.ndarray, y: np.ndarray, state: np.ndarray, duration: int, seen: bool
) -> np.ndarray:
    height, width = state.shape
    kept = np.zeros(len(t), np.bool_)
    for i in range(len(t)):
        if x[i] >= width or y[i] >= height:
            continue
        last = state[y[i], x[i]]
        kept[i] = t[i] - last >= duration
        if kept[i] or seen:
            state[y[i], x[i]] = t[i]
    return kept


@jit
def _calm(
    t: np.ndarray, x: np.ndarray, y: np.ndarray, state: np.ndarray, duration: int, most: int
) -> np.ndarray:
    """The state of a pixel is when its count began and the count, −1 once it is hot."""
    height, width, _ = state.shape
    kept = np.zeros(len(t), np.bool_)
    for i in range(len(t)):
        if x[i] >= width or y[i] >= height:
            continue
        pixel = state[y[i], x[i]]
        if pixel[1] == -1:
            continue
        if t[i] - pixel[0] >= duration:
            pixel[0], pixel[1] = t[i], 0
        pixel[1] += 1
        if pixel[1] > most:
            pixel[1] = -1
        else:
            kept[i] = True
    return kept


@jit
def _steady(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    state: np.ndarray,
    shortest: int,
    longest: int,
    length: int,
) -> np.ndarray:
    height, width, _ = state.shape
    kept = np.zeros(len(t), np.bool_)
    for i in range(len(t)):
        if x[i] >= width or y[i] >= height:
            continue
        pixel = state[y[i], x[i]]
        on = np.int64(p[i] != 0)
        elapsed = t[i] - pixel[1]
        if elapsed > longest:
            pixel[2] = 0
        if on and not pixel[0]:
            pixel[2] = pixel[2] + 1 if shortest <= elapsed <= longest else 0
            pixel[1] = t[i]
        pixel[0] = on
        kept[i] = pixel[2] < length
    return kept


@jit
def _integrate(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    counts: np.ndarray,
    factor: int,
    per: int,
    width: int,
    height: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n = len(t)
    columns = np.empty(n, t.dtype), np.empty(n, x.dtype), np.empty(n, y.dtype), np.empty(n, p.dtype)
    times, xs, ys, ps = columns
    kept = 0
    for i in range(n):
        if x[i] >= width or y[i] >= height:
            continue
        column, row = int(x[i]) // factor, int(y[i]) // factor
        counts[row, column] += 1 if p[i] else -1
        if abs(counts[row, column]) >= per:
            counts[row, column] = 0
            times[kept], xs[kept], ys[kept], ps[kept] = t[i], column, row, p[i]
            kept += 1
    return times[:kept], xs[:kept], ys[:kept], ps[:kept]
