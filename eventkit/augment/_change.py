"""What augmentations drawn for a whole sample do to its events and, alike, to boxes and points.

A change is a frozen record of numbers: applied to a second stream on the same clock and sensor, or
to boxes and points (structured arrays; x, y, and t in µs where they have it), it does the same.
Its `size(size)` is the sensor's size after it.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from eventkit._jit import jit
from eventkit.augment._draw import uniform
from eventkit.augment._warp import Cut, Size
from eventkit.events import Events


class Extent(NamedTuple):
    """What is known of a sample when its changes are drawn: sensor size, first and last time."""

    size: Size
    t0: int
    t1: int


class Change(Protocol):
    """One change of a sample."""

    def events(self, events: Events) -> Events: ...

    def boxes(self, boxes: np.ndarray, size: Size) -> np.ndarray: ...

    def points(self, points: np.ndarray, size: Size) -> np.ndarray: ...

    def size(self, size: Size) -> Size: ...


class _Timed:
    """A change of times alone: `moved(t)` (float64 or int64) within t0..t1, the rest is dropped."""

    t0: int
    t1: int

    def moved(self, t: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def boxes(self, boxes: np.ndarray, size: Size) -> np.ndarray:
        """Those whose time stays within the sample; boxes without a time stay as they are."""
        if "t" not in (boxes.dtype.names or ()):
            return boxes
        t = self.moved(boxes["t"])
        out = boxes.copy()
        out["t"] = t
        return out[(t >= self.t0) & (t <= self.t1)]

    points = boxes

    def size(self, size: Size) -> Size:
        return size


def retimed(change: Change, rows: np.ndarray) -> np.ndarray:
    """Times t, or intervals t <= time < stop, after a change; those that leave it are dropped."""
    if not isinstance(change, _Timed):
        return rows
    out, ends = rows.copy(), [change.moved(rows["t"])]
    if "stop" in (rows.dtype.names or ()):
        ends.append(change.moved(rows["stop"] - 1))  # the last time that belongs to it
        out["stop"] = np.maximum(*ends).clip(None, change.t1) + 1
    low, high = np.minimum(ends[0], ends[-1]), np.maximum(ends[0], ends[-1])
    out["t"] = low.clip(change.t0, None)
    kept: np.ndarray = out[(high >= change.t0) & (low <= change.t1)]
    return kept


@dataclass(frozen=True)
class Reverse(_Timed):
    """Time t becomes t0 + t1 - t; ON and OFF change places with `swap`."""

    t0: int
    t1: int
    swap: bool = True

    def moved(self, t: np.ndarray) -> np.ndarray:
        return self.t0 + self.t1 - t

    def events(self, events: Events) -> Events:
        back = events.sort()[::-1]
        t = self.moved(back.t)
        p = back.p ^ 1 if self.swap else back.p.copy()
        turned = Events.trusted(t, back.x.copy(), back.y.copy(), p, events.size)
        return turned[(t >= self.t0) & (t <= self.t1)]


@dataclass(frozen=True)
class Stretch(_Timed):
    """Time t becomes t0 + (t - t0)·factor + shift, in whole µs; what leaves t0..t1 is dropped."""

    t0: int
    t1: int
    factor: float = 1.0
    shift: int = 0

    def moved(self, t: np.ndarray) -> np.ndarray:
        since = t - self.t0
        if self.factor != 1:  # float64 only where it is needed: it is exact to 285 years
            since = np.rint(since * self.factor).astype(np.int64)
        return self.t0 + since + self.shift

    def events(self, events: Events) -> Events:
        t = self.moved(events.t)
        moved = Events.trusted(t, events.x, events.y, events.p, events.size)
        return moved[(t >= self.t0) & (t <= self.t1)]


@dataclass(frozen=True)
class Blank(Cut):
    """The events in a window of the sensor are dropped, and the boxes and points inside it."""

    def size(self, size: Size) -> Size:
        return size


@dataclass(frozen=True)
class Window:
    """Only this window of the sensor is left, and its upper left pixel becomes (0, 0)."""

    left: int
    top: int
    width: int
    height: int

    def events(self, events: Events) -> Events:
        # Differences of uint16 wrap around: what lies left of the window becomes large.
        x, y = events.x - np.uint16(self.left), events.y - np.uint16(self.top)
        kept = Events.trusted(events.t, x, y, events.p, (self.width, self.height))
        return kept[(x < self.width) & (y < self.height)]

    def boxes(self, boxes: np.ndarray, size: Size) -> np.ndarray:
        """Boxes cut at the edges of the window, those outside dropped."""
        out, left = boxes.copy(), np.ones(len(boxes), bool)
        axes = zip("xy", "wh", (self.left, self.top), (self.width, self.height), strict=True)
        for place, extent, start, side in axes:
            a = (boxes[place].astype(float) - start).clip(0, side)
            b = (boxes[place].astype(float) + boxes[extent] - start).clip(0, side)
            out[place], out[extent] = a, b - a
            left &= b > a
        return out[left]

    def points(self, points: np.ndarray, size: Size) -> np.ndarray:
        out, inside = points.copy(), np.ones(len(points), bool)
        axes = zip("xy", (self.left, self.top), (self.width, self.height), strict=True)
        for place, start, side in axes:
            at = points[place].astype(float) - start
            out[place] = np.where(at >= -0.5, at, 0)
            inside &= (at >= -0.5) & (at < side - 0.5)
        return out[inside]

    def size(self, size: Size) -> Size:
        return self.width, self.height


@dataclass(frozen=True)
class Dead:
    """Pixels, each with probability `share`, give no events; which ones depends on `seed` alone."""

    share: float
    seed: int

    def mask(self, size: Size) -> np.ndarray:
        """Which pixels are dead: bool (H, W)."""
        width, height = size
        return _dead(width * height, np.uint64(self.seed), self.share).reshape(height, width)

    def events(self, events: Events) -> Events:
        mask = self.mask(events.size)
        inside = (events.x < events.width) & (events.y < events.height)
        dead = mask[np.where(inside, events.y, 0), np.where(inside, events.x, 0)] & inside
        return events[~dead]

    def boxes(self, boxes: np.ndarray, size: Size) -> np.ndarray:
        """The boxes as they are: what is dead hides nothing that has an extent."""
        return boxes

    points = boxes

    def size(self, size: Size) -> Size:
        return size


@jit
def _dead(n: int, seed: np.uint64, share: float) -> np.ndarray:
    dead = np.empty(n, np.bool_)
    for i in range(n):
        dead[i] = uniform(seed, i) < share
    return dead
