"""Augmentations of events: dropped, moved in time or space, added."""

from typing import Literal

import numpy as np

from eventkit._jit import jit
from eventkit.augment import at_least, check_share, on_events
from eventkit.augment._draw import seed_of, uniform
from eventkit.events import Events
from eventkit.units import Microseconds

Drop = Literal["any", "time", "area", "random"]


@on_events
def event_drop(
    events: Events, rng: np.random.Generator, *, by: Drop = "any", ratio: float | None = None
) -> Events:
    """Drop events in a window of time, in a box of the sensor, or at random.

    `time` drops those of a random window of `ratio` of the duration; `area` those in a box with
    `ratio` of the width and of the height, wholly on the sensor; `random` exactly int(N·ratio) of
    N. Without a ratio it is drawn: 0.1, 0.2 .. 0.9, for `area` 0.05, 0.1 .. 0.25. `any` draws one
    of the three or none, a quarter each (Gu et al., EventDrop, IJCAI 2021, whose published code
    drops a cross where the paper says a box; here it is the box).
    """
    check_share("event_drop: ratio", ratio)
    drawn, ratio = draw_drop(rng, by, ratio)
    if drawn is None or not len(events):
        return events
    if drawn == "random":
        return _kept(events, _all_but(len(events), int(len(events) * ratio), seed_of(rng)))
    if drawn == "time":
        t0, t1 = int(events.t.min()), int(events.t.max())
        start = t0 + rng.random() * (1 - ratio) * (t1 - t0)
        return _kept(events, (events.t < start) | (events.t > start + ratio * (t1 - t0)))
    (left, right), (top, bottom) = (draw_window(rng, side, ratio) for side in events.size)
    inside = (events.x >= left) & (events.x < right) & (events.y >= top) & (events.y < bottom)
    return _kept(events, ~inside)


@on_events
def time_jitter(events: Events, rng: np.random.Generator, *, std: Microseconds = 1000) -> Events:
    """Normal noise on the times, `std` in µs; within the first and last time, and in order again.

    Events of one time stay in their order.
    """
    at_least("time_jitter: std", std, 0)
    if not len(events):
        return events
    t0, t1 = int(events.t.min()), int(events.t.max())
    noise = rng.standard_normal(len(events), np.float32)
    t = np.clip(events.t + np.rint(noise * np.float32(std)).astype(np.int64), t0, t1)
    if (t1 - t0 + 1) * len(events) >= 2**62:
        return Events.trusted(t, events.x, events.y, events.p, events.size).sort()
    # Time and number in one integer: sorting those is several times faster than a stable argsort.
    keys = np.sort((t - t0) * len(events) + np.arange(len(events)))
    columns = _reorder(keys, t0, events.x, events.y, events.p)
    return Events.trusted(*columns, size=events.size)


@on_events
def spatial_jitter(events: Events, rng: np.random.Generator, *, std: float = 1.0) -> Events:
    """Normal noise on x and y, `std` in pixels, rounded; what leaves the sensor is dropped."""
    at_least("spatial_jitter: std", std, 0)
    by_x, by_y = rng.standard_normal((2, len(events)), np.float32) * np.float32(std)
    columns = _jitter(events.t, events.x, events.y, events.p, by_x, by_y, *events.size)
    return Events.trusted(*columns, size=events.size)


@on_events
def event_noise(events: Events, rng: np.random.Generator, *, share: float = 0.02) -> Events:
    """Add `share`·N events at random pixels, times and polarities, sorted in by time."""
    check_share("event_noise: share", share, high=10)
    n = int(len(events) * share)
    if not n:
        return events
    noise = Events.trusted(
        rng.integers(events.t.min(), events.t.max(), n, endpoint=True),
        rng.integers(0, events.width, n, np.uint16),
        rng.integers(0, events.height, n, np.uint16),
        rng.integers(0, 2, n, np.uint8),
        events.size,
    )
    return Events.concat([events, noise]).sort()


@on_events
def flip_polarity(events: Events, rng: np.random.Generator, *, p: float = 0.5) -> Events:
    """Exchange ON and OFF in the whole sample, with probability `p`."""
    check_share("flip_polarity: p", p)
    if rng.random() >= p:
        return events
    return Events.trusted(events.t, events.x, events.y, events.p ^ 1, events.size)


def draw_drop(rng: np.random.Generator, by: Drop, ratio: float | None) -> tuple[Drop | None, float]:
    """What EventDrop does to a sample (None: nothing) and by which ratio."""
    chosen: Drop | None = by
    if by == "any":
        options: list[Drop | None] = [None, "time", "area", "random"]
        chosen = options[int(rng.integers(4))]
    if ratio is None:
        ratio = int(rng.integers(1, 6)) / 20 if chosen == "area" else int(rng.integers(1, 10)) / 10
    return chosen, ratio


def draw_window(rng: np.random.Generator, side: int, ratio: float) -> tuple[int, int]:
    """First pixel and the one after the last of a random window of `ratio` of a side."""
    length = round(side * ratio)
    start = int(rng.integers(0, side - length, endpoint=True))
    return start, start + length


def _kept(events: Events, keep: np.ndarray) -> Events:
    columns = _select(events.t, events.x, events.y, events.p, keep)
    return Events.trusted(*columns, size=events.size)


@jit
def _select(
    t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, keep: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The kept events as new columns."""
    n = len(t)
    ts, xs = np.empty(n, t.dtype), np.empty(n, x.dtype)
    ys, ps = np.empty(n, y.dtype), np.empty(n, p.dtype)
    kept = 0
    for i in range(n):
        # Written first and kept afterwards: no branch to guess wrong.
        ts[kept], xs[kept], ys[kept], ps[kept] = t[i], x[i], y[i], p[i]
        kept += keep[i]
    return ts[:kept], xs[:kept], ys[:kept], ps[:kept]


@jit
def _all_but(n: int, dropped: int, seed: np.uint64) -> np.ndarray:
    """A mask (n,) with exactly `dropped` False, every choice equally likely (Knuth, S)."""
    keep = np.ones(n, np.bool_)
    left = dropped
    for i in range(n):
        if uniform(seed, i) * (n - i) < left:
            keep[i] = False
            left -= 1
    return keep


@jit
def _reorder(
    keys: np.ndarray, t0: int, x: np.ndarray, y: np.ndarray, p: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Columns in the order of keys = (t − t0)·n + number."""
    n = len(keys)
    ts, xs = np.empty(n, np.int64), np.empty(n, x.dtype)
    ys, ps = np.empty(n, y.dtype), np.empty(n, p.dtype)
    for i in range(n):
        time = keys[i] // n
        j = keys[i] - time * n
        ts[i], xs[i], ys[i], ps[i] = t0 + time, x[j], y[j], p[j]
    return ts, xs, ys, ps


@jit
def _jitter(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    by_x: np.ndarray,
    by_y: np.ndarray,
    width: int,
    height: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The events moved by these distances, as new columns, without those that leave the sensor."""
    n = len(t)
    ts, xs = np.empty(n, t.dtype), np.empty(n, x.dtype)
    ys, ps = np.empty(n, y.dtype), np.empty(n, p.dtype)
    kept = 0
    for i in range(n):
        column, row = int(x[i] + np.rint(by_x[i])), int(y[i] + np.rint(by_y[i]))
        ts[kept], xs[kept], ys[kept], ps[kept] = t[i], column, row, p[i]
        kept += (0 <= column < width) & (0 <= row < height)
    return ts[:kept], xs[:kept], ys[:kept], ps[:kept]
