"""Where the slices of a sample begin: equal parts, or parts of one length, of time or of events."""

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.representations import Whole


def count_slices(total: int, length: int, stride: int | None = None) -> int:
    """How many slices of `length`, `stride` apart, cover `total` µs or events; at least one."""
    return max(1, 1 - (length - total) // (stride or length))


def n_slices(what: str, whole: Whole, n: int | None, duration: int | None) -> int:
    """How many slices of time: `n` (1 by default), or as many of `duration` µs as it takes."""
    if n is not None and duration is not None:
        raise OptionError(f"{what}: n={n} and duration={duration} are both given, expected one")
    for name, value in (("n", n), ("duration", duration)):
        if value is not None and value < 1:
            raise OptionError(f"{what}: {name} is {value}, expected at least 1")
    if duration is None:
        return n or 1
    return count_slices(whole.t1 - whole.t0 + 1, duration)


def time_borders(whole: Whole, length: int, duration: int | None) -> np.ndarray:
    """The times at which `length` slices begin, and the first time after them: int64 (T + 1,)."""
    end = whole.t1 + 1
    if duration is None:
        return equal_parts(whole.t0, end, length)
    borders = whole.t0 + np.arange(length + 1) * min(duration, end - whole.t0)
    borders[-1] = end
    return borders


def equal_parts(first: int, end: int, length: int) -> np.ndarray:
    """The borders of `length` parts of first..end, part k holding i for k = i·length // total.

    The least i of part k is ceil(k·total / length). Taken apart into quotient and rest, no product
    exceeds int64.
    """
    part = np.arange(length + 1)
    step, rest = divmod(end - first, length)
    return first + part * step - (-part * rest) // length


@jit
def slice_of(borders: np.ndarray, t: int, k: int) -> int:
    """The slice that holds time t, looking from slice k on: events come nearly in order.

    Times before the first or after the last slice are in these, so the result is a valid index.
    """
    while k + 2 < len(borders) and t >= borders[k + 1]:
        k += 1
    while k > 0 and t < borders[k]:
        k -= 1
    return k
