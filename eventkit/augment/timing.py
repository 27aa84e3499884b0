"""Augmentations of the times of a sample's events: reversed, stretched, shifted.

The first and last time of the sample are kept: what leaves them is dropped, so that the number of
frames stays what it was.
"""

import numpy as np

from eventkit.augment import check_share, draws
from eventkit.augment._change import Extent, Reverse, Stretch
from eventkit.errors import OptionError
from eventkit.units import Microseconds


@draws
def time_reverse(
    extent: Extent, rng: np.random.Generator, *, p: float = 0.5, swap: bool = True
) -> list[Reverse]:
    """Play the sample backwards with probability `p`; ON and OFF change places unless swap=false.

    What grew brighter grows darker when time runs backwards, hence the swap. Tonic has it as
    RandomTimeReversal.
    """
    check_share("time_reverse: p", p)
    return [Reverse(extent.t0, extent.t1, swap)] if rng.random() < p else []


@draws
def time_skew(
    extent: Extent, rng: np.random.Generator, *, low: float = 0.8, high: float = 1.2
) -> list[Stretch]:
    """Stretch time about the first event by a factor from `low` to `high`.

    Above 1 everything is slower and the end is dropped; below 1 the end is empty. Tonic's TimeSkew,
    which moves the end instead.
    """
    if not 0.01 <= low <= high <= 100:
        raise OptionError(f"time_skew: low={low}, high={high}, expected 0.01 <= low <= high <= 100")
    return [Stretch(extent.t0, extent.t1, factor=float(rng.uniform(low, high)))]


@draws
def time_shift(
    extent: Extent, rng: np.random.Generator, *, share: float = 0.1, by: Microseconds | None = None
) -> list[Stretch]:
    """Shift all times by up to `by` (default: `share` of the duration), earlier or later."""
    check_share("time_shift: share", share)
    if by is not None and by < 0:
        raise OptionError(f"time_shift: by is {by} µs, expected at least 0")
    limit = int(share * (extent.t1 - extent.t0)) if by is None else by
    return [Stretch(extent.t0, extent.t1, shift=int(rng.integers(-limit, limit, endpoint=True)))]
