"""Mixed-density event stack: signed counts of the last part, half, quarter … of a sample.

Nam et al., Stereo Depth from Events Cameras: Concentrate and Focus on the Future, CVPR 2022,
section 3.2; the order of the channels is that of RVT's code.
"""

from typing import Literal

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

Like = Literal["rvt"]


def mixed_density(
    events: Events,
    *,
    bins: int = 10,
    cutoff: int | None = None,
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> np.ndarray:
    """Sums of polarity over stretches of half the length each: int8 (1, bins, H, W).

    ON adds 1, OFF subtracts 1. The last channel sums all events, the one before it those of the
    first half of the time, the next those of the first quarter and so on. Sums stop at ±127, or at
    ±`cutoff`.

    like="rvt" lets sums wrap at ±128 as the authors' int8 does, and then cuts off at 32 unless
    `cutoff` is given; an event within float32's rounding of a border may be in the next channel
    there.

    >>> events = Events(t=[0, 5, 9], x=[1, 1, 1], y=[0, 0, 0], p=[1, 1, 0], size=(4, 3))
    >>> mixed_density(events, bins=3)[0, :, 0, 1].tolist()
    [1, 1, 1]
    """
    options = {"bins": bins, "cutoff": cutoff, "like": like, "bounds": bounds}
    return build(MIXED_DENSITY, events, options)


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    bins: int = 10,
    cutoff: int | None = None,
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    if not 1 <= bins <= 60:
        raise OptionError(f"mixed_density: bins is {bins}, expected 1 to 60")
    if cutoff is not None and not 1 <= cutoff <= 127:
        raise OptionError(f"mixed_density: cutoff is {cutoff}, expected 1 to 127")
    width, height = size
    return 1, bins, height, width


def _begin(whole: Whole, size: tuple[int, int], *, bins: int, **options: object) -> np.ndarray:
    """Sums that cannot wrap."""
    width, height = size
    return np.zeros((bins, height, width), np.int32)


def _add(
    state: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    bounds: Bounds,
    **options: object,
) -> int:
    # t falls in channel B − 1 − k if it is in the k-th half from the end: borders[k] <= t − t0.
    span = max(whole.t1 - whole.t0, 1)
    borders = np.array([-((-span) >> (k + 1)) for k in range(len(state))], np.int64)
    columns = events.t, events.x, events.y, events.p
    placed = _sum(state, borders, *columns, whole.t0)
    return check_bounds(events, placed, state.shape[1:], bounds)


def _finish(
    out: np.ndarray,
    state: np.ndarray,
    whole: Whole,
    *,
    cutoff: int | None,
    like: Like | None,
    **options: object,
) -> None:
    sums = np.cumsum(state, axis=0, dtype=np.int32)
    if like == "rvt":
        sums = sums.astype(np.int8)  # wraps
        limit = 32 if cutoff is None else cutoff
    else:
        limit = 127 if cutoff is None else cutoff
    np.clip(sums, -limit, limit, out=out[0], casting="unsafe")


@jit
def _sum(
    state: np.ndarray,
    borders: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    t0: int,
) -> int:
    bins, height, width = state.shape
    # Unsigned numbers: a signed index costs a test for negative ones at every event.
    cells = state.reshape(bins * height * width)
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    k = placed = 0
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint32(x[j]), np.uint32(y[j])
        if column < w and row < h:
            at = t[j] - t0
            while k > 0 and at >= borders[k - 1]:
                k -= 1
            while k + 1 < bins and at < borders[k]:
                k += 1
            cell = np.uint64(bins - 1 - k) * pixels + np.uint64(row * w + column)
            cells[cell] += 1 if p[j] else -1
            placed += 1
    return placed


MIXED_DENSITY = REPRESENTATIONS.register(
    Representation(
        name="mixed_density",
        dtype=np.int8,
        shape=_shape,
        begin=_begin,
        add=_add,
        finish=_finish,
        panels=lambda array, size, **options: array.reshape(-1, 1, *array.shape[2:]),
    )
)
