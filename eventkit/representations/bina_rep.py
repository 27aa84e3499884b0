"""Bina-Rep: binary frames, read as the bits of one number per pixel.

Barchid et al., Bina-Rep Event Frames: A Simple and Effective Representation for Event-Based
Cameras, ICIP 2022.
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
from eventkit.representations._slices import equal_parts, slice_of
from eventkit.representations.frames import By


def bina_rep(
    events: Events, *, n: int = 1, bits: int = 8, by: By = "time", bounds: Bounds = "raise"
) -> np.ndarray:
    """Numbers whose `bits` say which slices have an event: float32 (n, 2, H, W).

    The recording is cut into n·bits equal slices by time or by number, as in `frames`. The bits of
    frame k are its slices, the earliest being the most significant as in Tonic, and the value is
    the number divided by 2^bits − 1. Channel 0 is OFF, 1 is ON.

    >>> events = Events(t=[0, 3], x=[1, 1], y=[0, 0], p=[1, 1], size=(4, 3))
    >>> (bina_rep(events, bits=4)[0, 1, 0, 1] * 15).round().item()
    9.0
    """
    return build(BINA_REP, events, {"n": n, "bits": bits, "by": by, "bounds": bounds})


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    n: int = 1,
    bits: int = 8,
    by: By = "time",
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    if n < 1:
        raise OptionError(f"bina_rep: n is {n}, expected at least 1")
    if not 1 <= bits <= 24:
        raise OptionError(f"bina_rep: bits is {bits}, expected 1 to 24, which float32 can hold")
    width, height = size
    return n, 2, height, width


def _begin(whole: Whole, size: tuple[int, int], *, n: int, **options: object) -> np.ndarray:
    """The numbers as integers, as float32 has no bits to set."""
    width, height = size
    return np.zeros((n, 2, height, width), np.uint32)


def _add(
    state: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    n: int,
    bits: int,
    by: By,
    bounds: Bounds,
) -> int:
    if by == "time":
        borders, keys = equal_parts(whole.t0, whole.t1 + 1, n * bits), events.t
    else:
        borders = equal_parts(0, whole.n, n * bits)
        keys = np.arange(first, first + len(events))
    placed = _set(state, borders, keys, events.x, events.y, events.p, bits)
    return check_bounds(events, placed, state.shape[2:], bounds)


def _finish(
    out: np.ndarray, state: np.ndarray, whole: Whole, *, bits: int, **options: object
) -> None:
    np.multiply(state, 1 / (2**bits - 1), out=out, casting="unsafe")


@jit
def _set(
    state: np.ndarray,
    borders: np.ndarray,
    keys: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    bits: int,
) -> int:
    """Set the bit of each event's slice; `keys` are times or numbers of events, as the borders."""
    length, _, height, width = state.shape
    numbers = state.reshape(length * 2 * height * width)
    # Unsigned numbers: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    k = placed = 0
    for i in range(len(keys)):
        j = np.uint64(i)
        column, row = np.uint32(x[j]), np.uint32(y[j])
        if column < w and row < h:
            k = slice_of(borders, keys[j], k)
            cell = np.uint64(k // bits * 2) * pixels + np.uint64(row * w + column)
            cell += pixels if p[j] else np.uint64(0)
            numbers[cell] |= np.uint32(1) << np.uint32(bits - 1 - k % bits)
            placed += 1
    return placed


BINA_REP = REPRESENTATIONS.register(
    Representation(
        name="bina_rep",
        dtype=np.float32,
        shape=_shape,
        begin=_begin,
        add=_add,
        finish=_finish,
        columns=lambda options: "xyp" if options["by"] == "number" else "txyp",
    )
)
