"""What geometric augmentations do to frames and, alike, to events, bounding boxes and points.

A warp is one change of place. `frames(frames)` changes the contiguous array (T, C, H, W) in its own
memory, all T and C alike, to the nearest pixel. `boxes(boxes, size)` gives the boxes where their
pixels came to lie: a structured array with x, y (the upper left corner), w and h in pixels; other
fields come along. What leaves the sensor is cut off, a box of which nothing is left is dropped.
`points(points, size)` does the same to a structured array with x and y, where (0, 0) is the centre
of the first pixel; points that leave the sensor are dropped. `events(events)` gives new events.
Frames are gathered, events are moved: an enlargement repeats pixels of frames and leaves gaps
between events.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eventkit._jit import jit
from eventkit.events import Events

Size = tuple[int, int]  # (width, height)


class Warp(Protocol):
    def frames(self, frames: np.ndarray) -> None: ...

    def boxes(self, boxes: np.ndarray, size: Size) -> np.ndarray: ...

    def points(self, points: np.ndarray, size: Size) -> np.ndarray: ...

    def events(self, events: Events) -> Events: ...


class Placed:
    """A warp that is a map of places: events and points go where `place` says."""

    def place(self, x: np.ndarray, y: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Where the places x and y (float64, pixel centres) come to lie."""
        raise NotImplementedError

    def points(self, points: np.ndarray, size: Size) -> np.ndarray:
        x, y = self.place(points["x"].astype(float), points["y"].astype(float), size)
        out = points.copy()
        out["x"], out["y"] = x, y
        inside = (x >= -0.5) & (x < size[0] - 0.5) & (y >= -0.5) & (y < size[1] - 0.5)
        return out[inside]

    def events(self, events: Events) -> Events:
        x, y = self.place(events.x.astype(float), events.y.astype(float), events.size)
        x, y = np.floor(x + 0.5), np.floor(y + 0.5)
        inside = (x >= 0) & (x < events.width) & (y >= 0) & (y < events.height)
        kept = events[inside]
        columns = x[inside].astype(np.uint16), y[inside].astype(np.uint16)
        return Events.trusted(kept.t, *columns, kept.p, events.size)


@dataclass(frozen=True)
class Move(Placed):
    """Pixel (row, column) gets what was at linear · ((row, column) − offset), about the centre.

    What comes from outside is zero.
    """

    linear: np.ndarray  # (2, 2)
    offset: tuple[float, float] = (0.0, 0.0)  # down, right

    def frames(self, frames: np.ndarray) -> None:
        height, width = frames.shape[2:]
        linear = np.asarray(self.linear, np.float64)
        _gather(_planes(frames), _map(height, width, linear, *map(float, self.offset)))

    def boxes(self, boxes: np.ndarray, size: Size) -> np.ndarray:
        """The upright boxes around the four moved corners of each."""
        back, centre = np.linalg.inv(self.linear), np.array(size[::-1]) / 2
        x, y, w, h = (boxes[name].astype(np.float64) for name in "xywh")
        corners = np.stack([[y + h * i, x + w * j] for i in (0, 1) for j in (0, 1)])  # (4, 2, n)
        moved = np.einsum("ij,kjn->kin", back, corners - centre[:, None])
        moved += (centre + self.offset)[:, None]
        return _clipped(boxes, moved.min(0)[::-1], moved.max(0)[::-1], size)

    def place(self, x: np.ndarray, y: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        centre = (np.array(size[::-1])[:, None] - 1) / 2
        back = np.linalg.inv(np.asarray(self.linear, np.float64))
        row, column = back @ (np.stack([y, x]) - centre) + centre
        return column + self.offset[1], row + self.offset[0]


@dataclass(frozen=True)
class Mirror(Placed):
    """Left and right, or top and bottom, change places."""

    vertical: bool

    def frames(self, frames: np.ndarray) -> None:
        _reverse(_planes(frames), self.vertical)

    def boxes(self, boxes: np.ndarray, size: Size) -> np.ndarray:
        place, extent, side = ("y", "h", size[1]) if self.vertical else ("x", "w", size[0])
        out = boxes.copy()
        out[place] = side - boxes[place] - boxes[extent]
        return out

    def place(self, x: np.ndarray, y: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        return (x, size[1] - 1 - y) if self.vertical else (size[0] - 1 - x, y)


@dataclass(frozen=True)
class Roll(Placed):
    """Everything moves; what leaves at one side comes back at the other."""

    down: int
    right: int

    def frames(self, frames: np.ndarray) -> None:
        height, width = frames.shape[2:]
        rows = (np.arange(height) - self.down) % height
        columns = (np.arange(width) - self.right) % width
        source = (rows[:, None] * width + columns).reshape(-1)
        _gather(_planes(frames), source.astype(np.uint32))

    def boxes(self, boxes: np.ndarray, size: Size) -> np.ndarray:
        """Of a box that is torn apart, its largest part."""
        low, high = [], []
        for place, extent, by, side in zip("xy", "wh", (self.right, self.down), size, strict=True):
            start = (boxes[place].astype(np.float64) + by) % side
            end = start + boxes[extent]
            torn = end - side > side - start  # more of it came back than stayed
            low.append(np.where(torn, start - side, start))
            high.append(np.where(torn, end - side, end))
        return _clipped(boxes, np.array(low), np.array(high), size)

    def place(self, x: np.ndarray, y: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        # Of pixels, the edges of which lie half a pixel before their centres.
        width, height = size
        return (x + 0.5 + self.right) % width - 0.5, (y + 0.5 + self.down) % height - 0.5


@dataclass(frozen=True)
class Cut:
    """A window is zeroed. A box wholly inside it is dropped; others stay as they are."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def frames(self, frames: np.ndarray) -> None:
        frames[..., slice(*self.rows), slice(*self.columns)] = 0

    def boxes(self, boxes: np.ndarray, size: Size) -> np.ndarray:
        seen = np.zeros(len(boxes), bool)
        for place, extent, (a, b) in zip("xy", "wh", (self.columns, self.rows), strict=True):
            seen |= (boxes[place] < a) | (boxes[place] + boxes[extent] > b)
        return boxes[seen]

    def points(self, points: np.ndarray, size: Size) -> np.ndarray:
        hidden = self._inside(np.floor(points["x"] + 0.5), np.floor(points["y"] + 0.5))
        seen: np.ndarray = points[~hidden]
        return seen

    def events(self, events: Events) -> Events:
        return events[~self._inside(events.x, events.y)]

    def _inside(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        (left, right), (top, bottom) = self.columns, self.rows
        inside: np.ndarray = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        return inside


def _clipped(boxes: np.ndarray, low: np.ndarray, high: np.ndarray, size: Size) -> np.ndarray:
    """The boxes from low to high (x and y, n), as far as they are on the sensor."""
    out, left = boxes.copy(), np.ones(len(boxes), bool)
    for place, extent, a, b, side in zip("xy", "wh", low, high, size, strict=True):
        a, b = a.clip(0, side), b.clip(0, side)
        out[place], out[extent] = a, b - a
        left &= b > a
    return out[left]


def _planes(frames: np.ndarray) -> np.ndarray:
    return frames.reshape(-1, *frames.shape[2:])


@jit
def _map(height: int, width: int, linear: np.ndarray, down: float, right: float) -> np.ndarray:
    """For each pixel the number of the one it comes from; height·width for none."""
    source = np.empty(height * width, np.uint32)
    y, x = (height - 1) / 2, (width - 1) / 2
    for i in range(height):
        for j in range(width):
            a, b = i - y - down, j - x - right
            row = int(np.floor(linear[0, 0] * a + linear[0, 1] * b + y + 0.5))
            column = int(np.floor(linear[1, 0] * a + linear[1, 1] * b + x + 0.5))
            inside = 0 <= row < height and 0 <= column < width
            source[i * width + j] = row * width + column if inside else height * width
    return source


@jit
def _gather(planes: np.ndarray, source: np.ndarray) -> None:
    """Fill every plane (H, W) from itself; a source of H·W is zero."""
    n = source.size
    before = np.zeros(n + 1, planes.dtype)
    for k in range(len(planes)):
        plane = planes[k].reshape(n)
        before[:n] = plane
        for i in range(n):  # an unsigned index costs no test for negative ones
            plane[i] = before[np.uint64(source[i])]


@jit
def _reverse(planes: np.ndarray, vertical: bool) -> None:
    _, height, width = planes.shape
    for k in range(len(planes)):
        plane = planes[k]
        for i in range(height // 2 if vertical else height):
            for j in range(width if vertical else width // 2):
                row, column = (height - 1 - i, j) if vertical else (i, width - 1 - j)
                plane[i, j], plane[row, column] = plane[row, column], plane[i, j]
