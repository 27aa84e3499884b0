"""Voxel grid: each event is shared, by time, between the two nearest of a few bins.

Zhu et al., Unsupervised Event-based Learning of Optical Flow, Depth, and Egomotion, CVPR 2019,
section 3.1; here with a channel per polarity instead of a sign.
"""

from typing import Literal

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.representations import (
    REPRESENTATIONS,
    Representation,
    Whole,
    build,
    refuse_outside,
)

Bounds = Literal["raise", "drop"]

# Past this, float32 does not notice one event more.
_MOST = 1 << 24


def voxel(events: Events, *, bins: int = 5, bounds: Bounds = "raise") -> np.ndarray:
    """Share events between `bins` points in time: float32 (bins, 2, H, W), channel 0 = OFF, 1 = ON.

    With t* = (bins − 1)·(t − t0) / (t1 − t0), t0 and t1 the first and last time, an event adds
    max(0, 1 − |b − t*|) to bin b in the channel of its polarity: 1 in all, so the sum is the number
    of events. If all events have one time, or there is one bin, they are in bin 0.

    OptionError: events outside the sensor, unless bounds="drop" leaves them out; more than
    16,777,216 of them in one place.

    >>> events = Events(t=[0, 5, 8], x=[1, 1, 0], y=[0, 0, 2], p=[1, 0, 1], size=(4, 3))
    >>> voxel(events, bins=3).sum(axis=(1, 2, 3)).tolist()
    [1.0, 0.75, 1.25]
    """
    return build(VOXEL, events, {"bins": bins, "bounds": bounds})


def _shape(
    whole: Whole, size: tuple[int, int], *, bins: int = 5, bounds: Bounds = "raise"
) -> tuple[int, int, int, int]:
    if bins < 1:
        raise OptionError(f"voxel: bins is {bins}, expected at least 1")
    width, height = size
    return bins, 2, height, width


def _add(
    out: np.ndarray, events: Events, whole: Whole, first: int, *, bins: int, bounds: Bounds
) -> int:
    span = max(1, whole.t1 - whole.t0)
    placed = int(_share(out, events.t, events.x, events.y, events.p, whole.t0, span))
    if placed < len(events) and bounds == "raise":
        refuse_outside(events, len(events) - placed, out, "leave them out with bounds='drop'")
    return placed


def _finish(out: np.ndarray, whole: Whole, *, bins: int, bounds: Bounds) -> None:
    if whole.n >= _MOST and out.max() >= _MOST:
        raise OptionError(
            f"voxel: more than {_MOST:,} events in one pixel of a bin, float32 cannot count them; "
            "ask for more bins, or cut the recording"
        )


@jit
def _share(
    out: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    t0: int,
    span: int,
) -> int:
    """Add the events that lie in `out`, and return how many they were."""
    bins, _, height, width = out.shape
    cells = out.reshape(bins * 2 * height * width)
    # Unsigned numbers: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    to_right = np.uint64(2) * pixels if bins > 1 else np.uint64(0)
    left_most = max(bins - 2, 0)
    top = float(bins - 1)
    scale = top / float(span)
    placed = 0
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint32(x[j]), np.uint32(y[j])
        if column < w and row < h:
            # Rounded to steps of 2^-24, which float32 resolves: whole numbers come out whole
            # without a division, and the two shares make exactly 1.
            at = (float(t[j] - t0) * scale + 268435456.0) - 268435456.0
            at = min(max(at, 0.0), top)
            left = min(int(at), left_most)
            share = np.float32(at - left)
            cell = np.uint64(left) * np.uint64(2) * pixels + np.uint64(row * w + column)
            cell += pixels if p[j] else np.uint64(0)
            cells[cell] += np.float32(1.0) - share
            cells[cell + to_right] += share
            placed += 1
    return placed


VOXEL = REPRESENTATIONS.register(
    Representation(name="voxel", dtype=np.float32, shape=_shape, add=_add, finish=_finish)
)
