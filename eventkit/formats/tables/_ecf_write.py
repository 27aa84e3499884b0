"""How a chunk of events becomes ECF; `_ecf` has the layout.

Of each column, the shortest of its codes is taken: x, y and p packed; rows as runs and x and p
packed; or rows and polarities as runs and columns as masks.
"""

from typing import Any

import numpy as np

from eventkit._jit import jit

LARGEST = 1 << 11  # coordinates are below
STEP = 1 << 59  # µs from one event to the next, less than
ROOM = 32  # bytes of an event at most: 19 of its time, 12 of four that are packed, and ends


@jit
def encode(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, out: np.ndarray) -> int:
    """Encode columns into `out`, of 32 + ROOM bytes an event: how many it takes.

    Times do not go back, coordinates and steps of time are below LARGEST and STEP.
    """
    n = len(t)
    at = _times(t, out, 12)
    for i in range(8):
        out[4 + i] = t[0] >> 8 * i & 255
    begin = at
    rows = _runs(y, 5, 31, out, begin) - begin
    masks = _masks(x, out, begin) - begin
    ends = _polarities(p, out, begin) - begin
    packed, halves = (n + 3) // 4 * 12, (n + 3) // 4 * 6
    layout = 0
    if packed <= rows + min(halves, masks + ends):
        layout = 2
        at = _packed_xyp(x, y, p, out, begin)
    elif halves <= masks + ends:
        layout = 1
        at = _packed_xp(x, p, out, _runs(y, 5, 31, out, begin))
    else:
        at = _polarities(p, out, _masks(x, out, _runs(y, 5, 31, out, begin)))
    _put(n << 2 | layout, 4, out, 0)
    return at


@jit
def _put(value: Any, size: int, out: np.ndarray, at: int) -> int:
    for i in range(size):
        out[at + i] = value >> 8 * i & 255
    return at + size


@jit
def _times(t: np.ndarray, out: np.ndarray, at: int) -> int:
    i, now = 0, t[0]
    while i < len(t):
        j = i + 1
        while j < len(t) and t[j] == t[i]:
            j += 1
        step, now = t[i] - now, t[i]
        if step > 14:
            while step:
                out[at] = 0xF0 | step & 15
                step >>= 4
                at += 1
        out[at] = step << 4 | min(j - i, 15)
        at += 1
        if j - i >= 15:
            at = _put(j - i, 2, out, at)
        i = j
    return at


@jit
def _runs(values: np.ndarray, shift: int, most: int, out: np.ndarray, at: int) -> int:
    i = 0
    while i < len(values):
        j = i + 1
        while j < len(values) and values[j] == values[i]:
            j += 1
        at = _put(np.int64(values[i]) << shift | min(j - i, most), 2, out, at)
        if j - i >= most:
            at = _put(j - i, 2, out, at)
        i = j
    return at


@jit
def _masks(x: np.ndarray, out: np.ndarray, at: int) -> int:
    i = 0
    while i < len(x):
        first, last = np.int64(x[i]), np.int64(x[i])
        mask: Any = np.int64(0)
        i += 1
        while i < len(x) and last < x[i] <= first + 5:
            last = np.int64(x[i])
            mask |= 1 << (5 - (last - first))
            i += 1
        at = _put(first << 5 | mask, 2, out, at)
    return at


@jit
def _polarities(p: np.ndarray, out: np.ndarray, at: int) -> int:
    i = 0
    while i < len(p):
        j = i + 1
        while j < len(p) and p[j] == p[i]:
            j += 1
        out[at] = np.int64(p[i]) << 7 | min(j - i, 127)
        at += 1
        if j - i >= 127:
            at = _put(j - i, 2, out, at)
        i = j
    return at


@jit
def _packed_xyp(x: np.ndarray, y: np.ndarray, p: np.ndarray, out: np.ndarray, at: int) -> int:
    four = np.zeros(4, np.int64)
    for n in range(0, len(x), 4):
        four[:] = 0
        for i in range(min(4, len(x) - n)):
            k = n + i
            four[i] = np.int64(y[k]) << 12 | np.int64(x[k]) << 1 | p[k]
        at = _put(four[0] << 8 | four[1] & 0xFF, 4, out, at)
        at = _put(four[1] >> 8 << 16 | four[2] & 0xFFFF, 4, out, at)
        at = _put(four[2] >> 16 << 24 | four[3], 4, out, at)
    return at


@jit
def _packed_xp(x: np.ndarray, p: np.ndarray, out: np.ndarray, at: int) -> int:
    four = np.zeros(4, np.int64)
    for n in range(0, len(x), 4):
        four[:] = 0
        for i in range(min(4, len(x) - n)):
            four[i] = np.int64(x[n + i]) << 1 | p[n + i]
        at = _put(four[0] << 4 | four[1] & 0xF, 2, out, at)
        at = _put(four[1] >> 4 << 8 | four[2] & 0xFF, 2, out, at)
        at = _put(four[2] >> 8 << 12 | four[3], 2, out, at)
    return at
