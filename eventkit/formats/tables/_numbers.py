"""Times and coordinates of any type of number, as those of Events."""

import numpy as np

from eventkit.formats.base import LOWEST

FAR = 1 << 62  # µs: greater times than this are only read from int64 that are µs already
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def coordinates(values: np.ndarray, lowest: int, rounded: bool) -> tuple[np.ndarray, np.ndarray]:
    """uint16, and which of them are so."""
    if values.dtype == np.uint16 and not lowest:
        return values, np.ones(len(values), bool)
    if values.dtype == bool:
        values = values.view(np.uint8)
    if values.dtype == np.float16:  # which has no 65535
        values = values.astype(np.float32)
    if rounded and values.dtype.kind == "f":
        values = np.floor(values + 0.5)
    good = (values >= lowest) & (values <= 65535 + lowest)
    if values.dtype.kind == "f":
        good &= values == np.floor(values)
    if not good.all():
        values = np.where(good, values, lowest)
    return (values.astype(np.int64) - lowest).astype(np.uint16), good


def times(t: np.ndarray, per_second: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 µs, rounded to the nearest, and which are so; LOWEST where not."""
    if t.dtype == np.int64 and per_second == 10**6 and not offset:
        return t, np.ones(len(t), bool)
    if t.dtype.kind == "f":
        wide = t.astype(np.float64) * (10**6 / per_second)
        good = np.abs(wide) < FAR
        us = np.rint(np.where(good, wide, 0)).astype(np.int64)
    else:
        scale = max(1, 10**6 // per_second)
        good = (t >= -(FAR // scale)) & (t <= FAR // scale)
        us = np.where(good, t, 0).astype(np.int64) * scale
        if per_second == 10**9:
            us = (us + 500) // 1000
    us += offset
    return us if good.all() else np.where(good, us, LOWEST), good
