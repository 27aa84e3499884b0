"""Event spike tensor with its trilinear kernel; the learnable kernel is a torch layer.

Gehrig et al., End-to-End Learning of Representations for Asynchronous Event-Based Data, ICCV 2019.
"""

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.representations import (
    REPRESENTATIONS,
    Bounds,
    Representation,
    Whole,
    build,
    check_bounds,
)


def est(events: Events, *, bins: int = 9, bounds: Bounds = "raise") -> np.ndarray:
    """Times shared between `bins` points: float32 (1, 2·bins, H, W), OFF bins, then ON bins.

    With t* = (t − t0) / (t1 − t0), an event adds t*·max(0, 1 − |t*·(bins − 1) − i|) to bin i of its
    polarity: the authors' measurement f = t* under the kernel from which their training starts.

    >>> events = Events(t=[0, 5, 10], x=[1, 1, 0], y=[0, 0, 2], p=[1, 1, 0], size=(4, 3))
    >>> est(events, bins=3)[0, 3:, 0, 1].tolist()
    [0.0, 0.5, 0.0]
    """
    return build(EST, events, {"bins": bins, "bounds": bounds})


def _shape(
    whole: Whole, size: tuple[int, int], *, bins: int = 9, bounds: Bounds = "raise"
) -> tuple[int, int, int, int]:
    if bins < 2:
        raise OptionError(f"est: bins is {bins}, expected at least 2")
    return 1, 2 * bins, size[1], size[0]


def _add(
    out: np.ndarray, events: Events, whole: Whole, first: int, *, bins: int, bounds: Bounds
) -> int:
    scale = 1.0 / max(whole.t1 - whole.t0, 1)
    placed = _share(out[0], events.t, events.x, events.y, events.p, whole.t0, scale)
    return check_bounds(events, placed, out.shape[2:], bounds)


@jit
def _share(
    out: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    t0: int,
    scale: float,
) -> int:
    channels, height, width = out.shape
    bins = channels // 2
    cells = out.reshape(channels * height * width)
    # Unsigned numbers: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    on = np.uint64(bins) * pixels
    placed = 0
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint32(x[j]), np.uint32(y[j])
        if column < w and row < h:
            time = min(max(float(t[j] - t0) * scale, 0.0), 1.0)
            at = time * (bins - 1)
            left = min(int(at), bins - 2)
            share = at - left
            cell = np.uint64(left) * pixels + np.uint64(row * w + column)
            cell += on if p[j] else np.uint64(0)
            cells[cell] += np.float32(time * (1.0 - share))
            cells[cell + pixels] += np.float32(time * share)
            placed += 1
    return placed


def _panels(array: np.ndarray, size: tuple[int, int], **options: object) -> np.ndarray:
    """Each bin of each window as OFF and ON."""
    windows, channels, height, width = array.shape
    pairs = array.reshape(windows, 2, channels // 2, height, width)
    return pairs.swapaxes(1, 2).reshape(-1, 2, height, width)


EST = REPRESENTATIONS.register(
    Representation(name="est", dtype=np.float32, shape=_shape, add=_add, panels=_panels)
)
