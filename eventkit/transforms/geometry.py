"""Transforms of pixels: crop, flip, turn, transpose, make smaller or larger, mask.

Each is described once, as a map of columns and one of rows, and is applied to events, points and
boxes from there, so that labels move as their events do.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.targets import Placed
from eventkit.transforms import TRANSFORMS


class Line(NamedTuple):
    """A map of one coordinate: i becomes (sign·i + offset)·numerator // denominator."""

    offset: int = 0
    sign: int = 1
    numerator: int = 1
    denominator: int = 1

    def table(self, n: int, n_new: int) -> np.ndarray:
        """Where the pixels 0..n − 1 go: int32, −1 for outside of 0..n_new − 1."""
        i = (self.sign * np.arange(n) + self.offset) * self.numerator // self.denominator
        return np.where((i >= 0) & (i < n_new), i, -1).astype(np.int32)

    def continuous(self, values: np.ndarray) -> np.ndarray:
        """The map of positions between pixels: pixel i reaches from i to i + 1."""
        offset = self.offset + (self.sign < 0)
        return (self.sign * values + offset) * self.numerator / self.denominator


SAME = Line()


@dataclass(frozen=True)
class PixelMap:
    """Where the pixels of a sensor go: x and y exchanged first if `swap`, then a map of each."""

    size: tuple[int, int]
    x: Line = SAME
    y: Line = SAME
    swap: bool = False

    def events(self, events: Events) -> Events:
        """The events at their new place, on the new sensor; those that leave it are dropped."""
        width, height = events.size[::-1] if self.swap else events.size
        x, y = (events.y, events.x) if self.swap else (events.x, events.y)
        tables = self.x.table(width, self.size[0]), self.y.table(height, self.size[1])
        return Events.trusted(*_remap(events.t, x, y, events.p, *tables), size=self.size)

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Positions (..., 2) as (x, y) at their new place, in float64; none is dropped."""
        x, y = (xy[..., 1], xy[..., 0]) if self.swap else (xy[..., 0], xy[..., 1])
        return np.stack([self.x.continuous(x), self.y.continuous(y)], axis=-1)


def geometric(function: Callable[..., PixelMap]) -> Callable[..., Events]:
    """Register `function(size, *, options) -> PixelMap` as the transform of events by that map."""

    @functools.wraps(function)
    def transform(events: Events, **options: Any) -> Events:
        return function(events.size, **options).events(events)

    def targets(placed: Placed, **options: Any) -> Placed:
        pixels = function(placed.size, **options)
        return placed.moved(pixels.size, pixels.points)

    transform.pixel_map = function  # type: ignore[attr-defined]
    transform.targets = targets  # type: ignore[attr-defined]
    return TRANSFORMS.register(transform)


@geometric
def crop(
    size: tuple[int, int],
    *,
    x: int = 0,
    y: int = 0,
    width: int | None = None,
    height: int | None = None,
) -> PixelMap:
    """The events in a window of the sensor, which becomes the new sensor.

    (x, y) is the window's top left pixel and the new origin; it reaches to the right and lower
    edge unless `width` and `height` say otherwise. Events outside the sensor are dropped in any
    case. OptionError for a window that is empty or not within the sensor.

    >>> events = Events(t=[0, 5, 9], x=[1, 2, 3], y=[0, 2, 1], p=[1, 0, 1], size=(4, 3))
    >>> crop(events, x=2, width=2)
    Events(2 events, 2x3, t 5..9 µs)
    """
    width = size[0] - x if width is None else width
    height = size[1] - y if height is None else height
    if min(x, y) < 0 or min(width, height) < 1:
        raise OptionError(
            f"crop: x={x}, y={y}, width={width}, height={height} is not a window, "
            f"expected one within the sensor of {size[0]}x{size[1]}"
        )
    if x + width > size[0] or y + height > size[1]:
        raise OptionError(
            f"crop: the window reaches x={x + width}, y={y + height}, "
            f"beyond the sensor of {size[0]}x{size[1]}"
        )
    return PixelMap((width, height), Line(-x), Line(-y))


@geometric
def centre_crop(
    size: tuple[int, int], *, width: int | None = None, height: int | None = None
) -> PixelMap:
    """The events in a window in the middle of the sensor, which becomes the new sensor.

    Where the margins are odd, the left or upper one is smaller by a pixel. One side alone is kept
    whole. OptionError for a window larger than the sensor.
    """
    width = size[0] if width is None else width
    height = size[1] if height is None else height
    if not (1 <= width <= size[0] and 1 <= height <= size[1]):
        raise OptionError(
            f"centre_crop: {width}x{height} does not fit into the sensor of {size[0]}x{size[1]}"
        )
    return PixelMap(
        (width, height), Line(-((size[0] - width) // 2)), Line(-((size[1] - height) // 2))
    )


@geometric
def flip(
    size: tuple[int, int], *, axis: Literal["horizontal", "vertical", "both"] = "horizontal"
) -> PixelMap:
    """The events mirrored left to right, top to bottom, or both."""
    width, height = size
    horizontal, vertical = axis != "vertical", axis != "horizontal"
    return PixelMap(
        size,
        Line(width - 1, -1) if horizontal else SAME,
        Line(height - 1, -1) if vertical else SAME,
    )


@geometric
def rotate90(size: tuple[int, int], *, turns: int = 1) -> PixelMap:
    """The events turned clockwise by quarter turns; an odd number exchanges width and height."""
    width, height = size
    turns %= 4
    if turns == 1:
        return PixelMap((height, width), Line(height - 1, -1), SAME, swap=True)
    if turns == 2:
        return PixelMap(size, Line(width - 1, -1), Line(height - 1, -1))
    if turns == 3:
        return PixelMap((height, width), SAME, Line(width - 1, -1), swap=True)
    return PixelMap(size)


@geometric
def transpose(size: tuple[int, int]) -> PixelMap:
    """The events with x and y exchanged, and so width and height."""
    return PixelMap(size[::-1], swap=True)


@geometric
def resize(
    size: tuple[int, int], *, width: int | None = None, height: int | None = None
) -> PixelMap:
    """All events on a sensor of another size: x becomes x·width // (width before), y likewise.

    One side alone keeps the proportions, rounded. Several pixels may fall on one: the number of
    events stays. For one event in place of several, see `downsample`.
    """
    if width is None and height is None:
        raise OptionError("resize: needs width, height or both, as in resize:width=48,height=48")
    if width is None and height is not None:
        width = max(1, round(size[0] * height / size[1]))
    if height is None and width is not None:
        height = max(1, round(size[1] * width / size[0]))
    assert width is not None
    assert height is not None
    if not (1 <= width <= 65536 and 1 <= height <= 65536):
        raise OptionError(f"resize: {width}x{height}, expected sides of 1 to 65,536")
    return PixelMap(
        (width, height),
        Line(numerator=width, denominator=size[0]),
        Line(numerator=height, denominator=size[1]),
    )


@TRANSFORMS.register
def mask(
    events: Events,
    *,
    x: int = 0,
    y: int = 0,
    width: int | None = None,
    height: int | None = None,
    keep: bool = False,
) -> Events:
    """The events outside a region of the sensor, or with `keep` those inside; the size stays.

    The region reaches from pixel (x, y) to the right and lower edge, or over `width` and `height`;
    parts of it beyond the sensor are allowed. Events outside the sensor are dropped.
    """
    left, top, right, lower = _region(events.size, x, y, width, height)
    inside = np.zeros((events.height, events.width), bool)
    inside[top:lower, left:right] = True
    return masked(events, inside if keep else ~inside)


def _region(
    size: tuple[int, int], x: int, y: int, width: int | None, height: int | None
) -> tuple[int, int, int, int]:
    """Left, top, right and lower border of the region of `mask`, none of them negative."""
    if not (x or y or width or height):
        raise OptionError("mask: needs a region, as in mask:x=10,y=20,width=30,height=40")
    right = size[0] if width is None else x + width
    lower = size[1] if height is None else y + height
    if (width is not None and width < 1) or (height is not None and height < 1):
        raise OptionError(f"mask: width={width}, height={height}, expected at least 1")
    return max(x, 0), max(y, 0), max(right, 0), max(lower, 0)


def _mask_targets(placed: Placed, *, keep: bool, **region: Any) -> Placed:
    """Without the boxes and points that are wholly hidden."""
    borders = _region(placed.size, **region)
    return placed.within(*borders) if keep else placed.without(*borders)


mask.targets = _mask_targets  # type: ignore[attr-defined]


def masked(events: Events, wanted: np.ndarray) -> Events:
    """The events of the pixels that are true in `wanted` (H, W)."""
    columns = _select(events.t, events.x, events.y, events.p, wanted)
    return Events.trusted(*columns, size=events.size)


@jit
def _remap(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    x_table: np.ndarray,
    y_table: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Look up where each event goes; new columns without those that go nowhere."""
    n, width, height = len(t), len(x_table), len(y_table)
    columns = np.empty(n, t.dtype), np.empty(n, x.dtype), np.empty(n, y.dtype), np.empty(n, p.dtype)
    times, xs, ys, ps = columns
    kept = 0
    for i in range(n):
        inside = (x[i] < width) & (y[i] < height)
        column, row = x_table[x[i] if inside else 0], y_table[y[i] if inside else 0]
        # Written first and kept afterwards: no branch to guess wrong.
        times[kept], xs[kept], ys[kept], ps[kept] = t[i], column, row, p[i]
        kept += inside & (column >= 0) & (row >= 0)
    return times[:kept], xs[:kept], ys[:kept], ps[:kept]


@jit
def _select(
    t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The events of the wanted pixels, as new columns."""
    n = len(t)
    height, width = wanted.shape
    columns = np.empty(n, t.dtype), np.empty(n, x.dtype), np.empty(n, y.dtype), np.empty(n, p.dtype)
    times, xs, ys, ps = columns
    kept = 0
    for i in range(n):
        times[kept], xs[kept], ys[kept], ps[kept] = t[i], x[i], y[i], p[i]
        kept += (x[i] < width) and (y[i] < height) and wanted[y[i], x[i]]
    return times[:kept], xs[:kept], ys[:kept], ps[:kept]
