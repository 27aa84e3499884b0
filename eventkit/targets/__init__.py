"""Targets: boxes, points, intervals and text with times, that belong to the events of a sample.

    boxes      t x y w h class track confidence    x, y is the upper left corner; pixels
    points     t x y class track                   (0, 0) is the centre of a pixel
    intervals  t stop class                        t <= time < stop shows that class
    text       t text                              a number of a list of texts

Times are int64 µs on the clock of the events. A class or track that is not known is -1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

Size = tuple[int, int]

_PLACE = [("t", "<i8"), ("x", "<f4"), ("y", "<f4")]
_WHAT = [("class", "<i4"), ("track", "<i8")]
KINDS: dict[str, np.dtype] = {
    "boxes": np.dtype([*_PLACE, ("w", "<f4"), ("h", "<f4"), *_WHAT, ("confidence", "<f4")]),
    "points": np.dtype([*_PLACE, *_WHAT]),
    "intervals": np.dtype([("t", "<i8"), ("stop", "<i8"), ("class", "<i4")]),
    "text": np.dtype([("t", "<i8"), ("text", "<i4")]),
}


@dataclass(frozen=True)
class Placed:
    """The targets of one sample, on a sensor of `size`; the sample begins at the time `start`.

    `rows` has a structured array of the type in KINDS for each kind. Nothing is changed in place:
    every method returns others.
    """

    rows: dict[str, np.ndarray]
    size: Size
    start: int = 0

    def between(self, low: int | None, high: int | None) -> "Placed":
        """Those of low <= t < high; intervals are cut there. The sample begins at `low` then."""
        rows = {}
        for kind, found in self.rows.items():
            t, inside = found["t"], np.ones(len(found), bool)
            last = found["stop"] - 1 if kind == "intervals" else t
            if low is not None:
                inside &= last >= low
            if high is not None:
                inside &= t < high
            rows[kind] = found[inside]
            if kind == "intervals" and low is not None:
                rows[kind]["t"] = np.maximum(rows[kind]["t"], low)
            if kind == "intervals" and high is not None:
                rows[kind]["stop"] = np.minimum(rows[kind]["stop"], high)
        return replace(self, rows=rows, start=self.start if low is None else max(self.start, low))

    def retimed(self, move: Callable[[np.ndarray], np.ndarray]) -> "Placed":
        """All times through a map of int64 (n,) that does not decrease."""
        rows = {kind: found.copy() for kind, found in self.rows.items()}
        for found in rows.values():
            for name in ("t", "stop"):
                if name in (found.dtype.names or ()):
                    found[name] = move(found[name])
        start = int(move(np.array([self.start], np.int64))[0])
        return replace(self, rows=rows, start=start)

    def moved(self, size: Size, move: Callable[[np.ndarray], np.ndarray]) -> "Placed":
        """Boxes and points through a map of positions (..., 2), on a sensor of another size.

        Positions are continuous: pixel i reaches from i to i + 1. A box becomes the upright box
        around its four corners, cut at the edges of the sensor; what lies outside is dropped.
        """
        rows = dict(self.rows)
        if "boxes" in rows:
            rows["boxes"] = _boxes(rows["boxes"], size, move)
        if "points" in rows:
            rows["points"] = _points(rows["points"], size, move)
        return replace(self, rows=rows, size=size)

    def without(self, left: int, top: int, right: int, lower: int) -> "Placed":
        """Without the boxes that lie in that window of the sensor, and the points in it."""
        rows = dict(self.rows)
        for kind, extent in (("boxes", ("w", "h")), ("points", None)):
            if kind in rows:
                x, y = (rows[kind][name].astype(np.float64) for name in "xy")
                if extent is None:
                    x, y = np.floor(x + 0.5), np.floor(y + 0.5)
                    hidden = (x >= left) & (x < right) & (y >= top) & (y < lower)
                else:
                    w, h = (rows[kind][name] for name in extent)
                    hidden = (x >= left) & (y >= top) & (x + w <= right) & (y + h <= lower)
                rows[kind] = rows[kind][~hidden]
        return replace(self, rows=rows)

    def within(self, left: int, top: int, right: int, lower: int) -> "Placed":
        """Only the boxes that reach into that window of the sensor, and the points in it."""
        rows = dict(self.rows)
        if "boxes" in rows:
            x, y, w, h = (rows["boxes"][name].astype(np.float64) for name in "xywh")
            rows["boxes"] = rows["boxes"][
                (x < right) & (y < lower) & (x + w > left) & (y + h > top)
            ]
        if "points" in rows:
            x, y = (np.floor(rows["points"][name].astype(np.float64) + 0.5) for name in "xy")
            rows["points"] = rows["points"][(x >= left) & (x < right) & (y >= top) & (y < lower)]
        return replace(self, rows=rows)


def _boxes(boxes: np.ndarray, size: Size, move: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    x, y, w, h = (boxes[name].astype(np.float64) for name in "xywh")
    corners = np.stack([np.stack([x + w * i, y + h * j], -1) for i in (0, 1) for j in (0, 1)])
    placed = move(corners)  # (4, n, 2)
    low, high = placed.min(0).clip(0, size), placed.max(0).clip(0, size)
    out = boxes.copy()
    for axis, (place, extent) in enumerate((("x", "w"), ("y", "h"))):
        out[place], out[extent] = low[:, axis], high[:, axis] - low[:, axis]
    kept: np.ndarray = out[(high > low).all(-1)]
    return kept


def _points(points: np.ndarray, size: Size, move: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    xy = np.stack([points["x"], points["y"]], -1).astype(np.float64)
    placed = move(xy + 0.5) - 0.5
    out = points.copy()
    out["x"], out["y"] = placed[:, 0], placed[:, 1]
    with np.errstate(invalid="ignore"):  # a position may be none: NaN
        inside = ((placed >= -0.5) & (placed < np.array(size) - 0.5)).all(-1)
    kept: np.ndarray = out[inside]
    return kept
