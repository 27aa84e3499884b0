"""ECF: how Metavision's HDF5 files compress a chunk of events.

A uint32 comes first: number of events << 2, then whether x, y and p (bit 1), or x and p (bit 0),
are packed. Little endian:

    times   uint64 of the start; then bytes of a step in the high and a count in the low nibble: the
            time goes on by the step, and so many events have it (15: a uint16 that follows is the
            count). A byte whose step is 15 has four bits of a longer step instead, lowest first
    x y p   packed: 4 events of 24 bits in three uint32; p is bit 0, x bits 1-11, y bits 12-22
    y       else: uint16 of y << 5 and a count (31: a uint16 that follows is the count)
    x p     packed: 4 events of 12 bits in three uint16; p is bit 0, x bits 1-11
    x       else: uint16 of x << 5 and a mask of five bits, highest for x + 1, lowest for x + 5
    p       bytes of p << 7 and a count (127: a uint16 that follows is the count)

Source: the codec's specification, https://github.com/prophesee-ai/hdf5_ecf
"""

from typing import Any

import numpy as np

from eventkit._jit import jit

FILTER = 0x8ECF
MOST = 65535  # events of a chunk


@jit
def _u16(data: np.ndarray, at: int) -> Any:
    return np.int64(data[at]) | np.int64(data[at + 1]) << 8


@jit
def _u32(data: np.ndarray, at: int) -> Any:
    return _u16(data, at) | _u16(data, at + 2) << 16


@jit
def length(data: np.ndarray) -> int:
    """How many events a chunk says that it has; -1 if it is too short or they are too many."""
    if len(data) < 4 or _u32(data, 0) >> 2 > MOST:
        return -1
    return int(_u32(data, 0) >> 2)


@jit
def decode(data: np.ndarray, t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> int:
    """Decode a chunk into columns of its `length`. Returns 0, or the byte where it is damaged."""
    layout = data[0] & 3
    at = _times(data, 4, t)
    if at < 0:
        return -at
    if layout & 2:
        at = _packed_xyp(data, at, x, y, p)
        return -at if at < 0 else 0
    at = _runs(data, at, y, 2, 5)
    if at < 0:
        return -at
    if layout & 1:
        at = _packed_xp(data, at, x, p)
        return -at if at < 0 else 0
    at = _masks(data, at, x)
    if at < 0:
        return -at
    at = _runs(data, at, p, 1, 7)
    return -at if at < 0 else 0


@jit
def _times(data: np.ndarray, at: int, t: np.ndarray) -> int:
    """Fill t; the place behind, or minus the place of the damage (so in all below)."""
    if at + 8 > len(data):
        return -at
    now = _u32(data, at) | _u32(data, at + 4) << 32
    at += 8
    n = shift = 0
    step: Any = 0
    while n < len(t):
        if at >= len(data) or shift > 60:
            return -at
        byte: Any = np.int64(data[at])
        high, count = byte >> 4, byte & 15
        at += 1
        if high == 15:
            step |= count << shift
            shift += 4
            continue
        now += step + high
        step = shift = 0
        if count == 15:
            if at + 2 > len(data):
                return -at
            count = _u16(data, at)
            at += 2
        if n + count > len(t):
            return -at
        t[n : n + count] = now
        n += count
    return at


@jit
def _packed_xyp(data: np.ndarray, at: int, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> int:
    for n in range(0, len(x), 4):
        if at + 12 > len(data):
            return -at
        a, b, c = _u32(data, at), _u32(data, at + 4), _u32(data, at + 8)
        at += 12
        four = (a >> 8, (a & 0xFF) | b >> 16 << 8, (b & 0xFFFF) | c >> 24 << 16, c & 0xFFFFFF)
        for i in range(min(4, len(x) - n)):
            value = four[i]
            x[n + i], y[n + i], p[n + i] = value >> 1 & 0x7FF, value >> 12 & 0x7FF, value & 1
    return at


@jit
def _packed_xp(data: np.ndarray, at: int, x: np.ndarray, p: np.ndarray) -> int:
    for n in range(0, len(x), 4):
        if at + 6 > len(data):
            return -at
        a, b, c = _u16(data, at), _u16(data, at + 2), _u16(data, at + 4)
        at += 6
        four = (a >> 4, (a & 0xF) | b >> 8 << 4, (b & 0xFF) | c >> 12 << 8, c & 0xFFF)
        for i in range(min(4, len(x) - n)):
            x[n + i], p[n + i] = four[i] >> 1, four[i] & 1
    return at


@jit
def _runs(data: np.ndarray, at: int, values: np.ndarray, width: int, bits: int) -> int:
    """Runs of one value each, of `width` bytes: the lowest `bits` are how long the run is, or are
    all set where the next two bytes say that."""
    n, longest = 0, (1 << bits) - 1
    while n < len(values):
        if at + width > len(data):
            return -at
        word: Any = _u16(data, at) if width == 2 else np.int64(data[at])
        count = word & longest
        at += width
        if count == longest:
            if at + 2 > len(data):
                return -at
            count = _u16(data, at)
            at += 2
        if n + count > len(values):
            return -at
        values[n : n + count] = word >> bits
        n += count
    return at


@jit
def _masks(data: np.ndarray, at: int, x: np.ndarray) -> int:
    n = 0
    while n < len(x):
        if at + 2 > len(data):
            return -at
        value = _u16(data, at)
        at += 2
        x[n] = value >> 5
        n += 1
        for i in range(1, 6):
            if value >> (5 - i) & 1:
                if n == len(x):
                    return -at
                x[n] = (value >> 5) + i
                n += 1
    return at
