"""The kernels that hop over the packets of `aedat4`, which has the layout."""

import numpy as np

from eventkit._jit import jit
from eventkit.formats._aedat4_bytes import BEYOND, find_events, i32, u32


@jit
def is_packet(buffer: np.ndarray, at: int, known: np.ndarray, magic: int) -> bool:
    """Whether the twenty bytes at a place can be those of a packet; its size is not looked at."""
    stream, size = i32(buffer, at), i32(buffer, at + 4)
    if size < 12:
        return False
    if magic:
        if u32(buffer, at + 8) != magic:
            return False
    elif u32(buffer, at + 8) + 4 != size or not _is_name(buffer, at + 16):
        return False
    there = False
    for number in known:
        there |= number == stream
    return there


@jit
def _is_name(buffer: np.ndarray, at: int) -> bool:
    """Whether four bytes are the identifier of a type."""
    named = True
    for byte in buffer[at : at + 4]:
        named &= 48 <= byte <= 57 or 65 <= byte <= 90 or byte == 95
    return named


@jit
def find(buffer: np.ndarray, left: int, known: np.ndarray, magic: int) -> int:
    """The first place where a packet begins that ends in the `left` bytes to come, or -1."""
    for at in range(len(buffer) - 19):
        if is_packet(buffer, at, known, magic) and at + 8 + i32(buffer, at + 4) <= left:
            return at
    return -1


@jit
def walk(
    buffer: np.ndarray,
    left: int,
    wanted: int,
    known: np.ndarray,
    magic: int,
    states: np.ndarray,
    rows: np.ndarray,
) -> tuple[int, int, int]:
    """Fill `rows` with the events of a stream, or with its payloads if they are compressed.

    `left` bytes are to come, counted from buffer[0] on. A packet that goes on beyond the buffer is
    remembered in the state. Returns how many rows there are, the bytes used, and how many bytes are
    needed to go on, or -1 if there is no sound packet at the place reached.
    """
    state = states[0]
    found = at = 0
    while at < len(buffer) and found < len(rows):
        step = min(state.skip, len(buffer) - at)
        state.skip -= step
        at += step
        if state.more > 0:
            m = min(state.more, (len(buffer) - at) // 16)
            if m == 0:
                return found, at, 16
            rows[found].at, rows[found].n = at, m
            found, at = found + 1, at + 16 * m
            state.more -= m
            if state.more == 0:
                state.skip = state.after
        elif at < len(buffer):
            if left - at < 20:
                return found, at, -1
            if len(buffer) - at < 20:
                return found, at, 20
            size = i32(buffer, at + 4)
            end = at + 8 + size
            if not is_packet(buffer, at, known, magic) or end > left:
                return found, at, -1
            if i32(buffer, at) != wanted:
                state.skip = end - at
            elif magic:
                if end > len(buffer):
                    return found, at, end - at
                rows[found].at, rows[found].n = at + 8, size
                found, at = found + 1, end
            else:
                first, n = find_events(buffer, at + 8, size, False)
                if n == BEYOND:
                    return found, at, end - at
                if n < 0:
                    return found, at, -1
                state.more, state.after = n, end - first - 16 * n
                at = first
                if n == 0:
                    state.skip = end - first
    return found, at, 0


@jit
def span(buffer: np.ndarray, found: np.ndarray, first: int, last: int) -> bool:
    """Whether all times lie between first and last."""
    at, n = found[0].at, found[0].n
    words = buffer[at : at + 16 * n].view(np.int64)
    good = True
    for i in range(n):
        good &= (words[2 * i] >= first) & (words[2 * i] <= last)
    return good
