"""TORE: how long ago the last few events of each pixel were, on a logarithmic scale.

Baldwin et al., Time-Ordered Recent Event (TORE) Volumes for Event Cameras, TPAMI 2022. Published
copies differ: this is the authors' own code, with times capped at 5 s. A copy in the study of
event representations by Zubić et al. caps them at 500 s; evutils returns exp(−Δt / τ) by this name.
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
from eventkit.units import Microseconds

# Earlier than any time, but near enough to subtract from one without overflow.
_NEVER = -(1 << 62)
_LEAST = 150  # µs, below which the authors take events to be noise: log(Δt + 1) − log(151) < 0


def tore(
    events: Events, *, k: int = 8, cap: int | str = 5_000_000, bounds: Bounds = "raise"
) -> np.ndarray:
    """Ages of the `k` most recent events: float32 (1, 2·k, H, W), k of OFF, then k of ON.

    With Δt the time in µs from an event to the last one of the sample, the value is
    max(0, log(min(Δt, cap) + 1) − log(151)); the most recent event comes first, and one that never
    happened has the value of `cap`. (The authors put ON before OFF.)

    >>> events = Events(t=[0, 900, 1000], x=[1, 1, 0], y=[0, 0, 2], p=[1, 1, 0], size=(4, 3))
    >>> tore(events, k=2)[0, 2:, 0, 1].round(3).tolist()
    [0.0, 1.8910000324249268]
    """
    return build(TORE, events, {"k": k, "cap": cap, "bounds": bounds})


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    k: int = 8,
    cap: Microseconds = 5_000_000,
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    if not 1 <= k <= 64:
        raise OptionError(f"tore: k is {k}, expected 1 to 64")
    if cap <= _LEAST:
        raise OptionError(f"tore: cap is {cap} µs, expected more than {_LEAST}")
    return 1, 2 * k, size[1], size[0]


def _begin(whole: Whole, size: tuple[int, int], *, k: int, **options: object) -> np.ndarray:
    """The last k times of each pixel and polarity, latest first: one line of cache for k = 8."""
    return np.full((2, size[1], size[0], k), _NEVER)


def _add(
    state: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    bounds: Bounds,
    **options: object,
) -> int:
    placed = _keep(state, events.t, events.x, events.y, events.p)
    return check_bounds(events, placed, state.shape[1:3], bounds)


def _finish(
    out: np.ndarray, state: np.ndarray, whole: Whole, *, k: int, cap: int, **options: object
) -> None:
    # Ages up to the cap are whole numbers that float32 holds exactly up to 2^24, and NumPy computes
    # its logarithm many at a time.
    values = np.minimum(whole.t1 - state, cap).astype(np.float32)
    values += 1
    np.log(values, out=values)
    values -= np.float32(np.log1p(_LEAST))
    np.maximum(values, 0, out=values)
    out[0] = np.moveaxis(values, -1, 1).reshape(out.shape[1:])


@jit
def _keep(state: np.ndarray, t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> int:
    """Insert each event's time among the last k of its cell, which stay sorted."""
    _, height, width, k = state.shape
    times = state.reshape(2 * height * width, k)
    # Unsigned numbers: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    placed = 0
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint32(x[j]), np.uint32(y[j])
        if column < w and row < h:
            cell = np.uint64(row * w + column) + (pixels if p[j] else np.uint64(0))
            latest = times[cell]
            carried = t[j]  # mostly the latest of all, so that each of the others moves by one
            for position in range(k):
                kept = max(latest[position], carried)
                carried = min(latest[position], carried)
                latest[position] = kept
            placed += 1
    return placed


def _panels(array: np.ndarray, size: tuple[int, int], **options: object) -> np.ndarray:
    """The k-th last events as OFF and ON, recent ones bright."""
    recency = float(array.max(initial=0)) - array
    return recency.reshape(2, -1, *array.shape[2:]).swapaxes(0, 1)


TORE = REPRESENTATIONS.register(
    Representation(
        name="tore",
        dtype=np.float32,
        shape=_shape,
        begin=_begin,
        add=_add,
        finish=_finish,
        panels=_panels,
    )
)
