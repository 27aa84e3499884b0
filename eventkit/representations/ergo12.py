"""ERGO-12: twelve channels found by a search over windows, measurements and aggregations.

Zubić et al., From Chaos Comes Order: Ordering Event Representations for Object Recognition and
Detection, ICCV 2023. This is the result of the second search in the authors' code.
"""

import numpy as np

from eventkit._jit import jit
from eventkit.events import Events
from eventkit.representations import (
    REPRESENTATIONS,
    Bounds,
    Representation,
    Whole,
    build,
    check_bounds,
)

# What is kept per pixel, side by side in memory: two lines of the processor's cache.
_SUMS = 16


def ergo12(events: Events, *, bounds: Bounds = "raise") -> np.ndarray:
    """Twelve measurements of a sample: float32 (1, 12, H, W).

    Windows are parts of the events by number: all of N; three thirds of N // 3; the last half,
    quarter and eighth. Times are (t − t0) / (t1 − t0), polarities ±1. The channels are, per pixel
    and 0 where there is no event:

    0 variance of polarity, all; 1 variance of OFF times, third third; 2 whether there is an OFF
    event, second third; 3 sum of polarity, last eighth; 4 whether there is an ON event, last
    quarter; 5 count, last eighth; 6 mean ON time, second third; 7 whether there is an OFF event,
    last quarter; 8 latest OFF time, first third; 9 latest ON time, all; 10 latest time, last half;
    11 whether there is an event, first third.

    >>> events = Events(t=[0, 5, 10], x=[1, 1, 1], y=[0, 0, 0], p=[1, 1, 0], size=(4, 3))
    >>> ergo12(events)[0, [0, 9, 11], 0, 1].round(3).tolist()
    [0.8889999985694885, 0.5, 1.0]
    """
    return build(ERGO12, events, {"bounds": bounds})


def _shape(
    whole: Whole, size: tuple[int, int], *, bounds: Bounds = "raise"
) -> tuple[int, int, int, int]:
    return 1, 12, size[1], size[0]


def _begin(whole: Whole, size: tuple[int, int], **options: object) -> np.ndarray:
    return np.zeros((size[1], size[0], _SUMS))


def _windows(n: int) -> np.ndarray:
    """The first and the end of each of the seven windows, in numbers of events: int64 (7, 2)."""
    third, half = n // 3, n // 2
    quarter = half // 2
    late = np.cumsum([half, quarter, quarter // 2])
    starts = [0, 0, third, 2 * third, *late]
    return np.array([starts, [n, third, 2 * third, 3 * third, n, n, n]], np.int64).T.copy()


def _add(state: np.ndarray, events: Events, whole: Whole, first: int, *, bounds: Bounds) -> int:
    scale = 1.0 / max(whole.t1 - whole.t0, 1)
    columns = events.t, events.x, events.y, events.p
    placed = _sum(state, _windows(whole.n), first, *columns, whole.t0, scale)
    return check_bounds(events, placed, state.shape[:2], bounds)


def _finish(out: np.ndarray, state: np.ndarray, whole: Whole, **options: object) -> None:
    def mean(total: int, n: int) -> np.ndarray:
        n_events: np.ndarray = np.maximum(state[..., n], 1)
        quotient: np.ndarray = state[..., total] / n_events
        return quotient

    image = out[0]
    image[0] = (state[..., 0] > 0) - mean(1, 0) ** 2  # ±1 squared is 1
    image[1] = np.maximum(mean(4, 2) - mean(3, 2) ** 2, 0)
    image[2] = state[..., 5]
    image[3] = state[..., 6]
    image[4] = state[..., 7]
    image[5] = state[..., 8]
    image[6] = mean(10, 9)
    image[7] = state[..., 11]
    image[8:12] = np.moveaxis(state[..., 12:16], -1, 0)


@jit
def _sum(
    state: np.ndarray,
    windows: np.ndarray,
    first: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    t0: int,
    scale: float,
) -> int:
    """Add events, of which the first has the number `first`, to the sums of their windows."""
    height, width, _ = state.shape
    placed = 0
    for i in range(len(t)):
        if x[i] >= width or y[i] >= height:
            continue
        placed += 1
        number = first + i
        s = state[y[i], x[i]]
        at = float(t[i] - t0) * scale
        on = p[i] != 0
        sign = 1.0 if on else -1.0
        s[0] += 1.0
        s[1] += sign
        if on:
            s[13] = max(s[13], at)
        if number < windows[1, 1]:
            s[15] = 1.0
            if not on:
                s[12] = max(s[12], at)
        elif number < windows[2, 1]:
            if on:
                s[9] += 1.0
                s[10] += at
            else:
                s[5] = 1.0
        elif number < windows[3, 1] and not on:
            s[2] += 1.0
            s[3] += at
            s[4] += at * at
        if number >= windows[4, 0]:
            s[14] = max(s[14], at)
        if number >= windows[5, 0]:
            if on:
                s[7] = 1.0
            else:
                s[11] = 1.0
        if number >= windows[6, 0]:
            s[6] += sign
            s[8] += 1.0
    return placed


ERGO12 = REPRESENTATIONS.register(
    Representation(
        name="ergo12", dtype=np.float32, shape=_shape, begin=_begin, add=_add, finish=_finish
    )
)
