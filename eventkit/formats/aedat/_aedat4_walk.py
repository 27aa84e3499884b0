"""The kernels that hop over the packets of `aedat4`, which has the layout."""

from typing import Any

import numpy as np

from eventkit._jit import jit
from eventkit.formats.aedat._aedat4_bytes import BEYOND, find_events, i32, u32
from eventkit.formats.base import HIGHEST, LOWEST

HOLE = 31  # events: the fewest that lie wholly in a sector of 512 bytes


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
                first, n = find_events(buffer, at + 8, size)
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
def kept(
    buffer: np.ndarray, found: np.ndarray, offset: int, promises: np.ndarray, counts: np.ndarray
) -> tuple[int, int]:
    """How many runs have plausible events, and the packet of the first that is not, -1: none.

    The run in which the first lies is cut before it, so that blocks of any length do the same.
    The buffer begins at a byte of the file. `promises` has a row for each packet (its place,
    events, first and last time; no rows: nothing is known); its events are added up in `counts`.
    """
    k = 0
    for r in range(len(found)):
        place = offset + found[r].at
        if len(promises) and (k == 0 or (k < len(promises) and promises[k, 0] < place)):
            k = np.searchsorted(promises[:, 0], place)
        known = k > 0 and promises[k - 1, 1] > 0
        first, last = (promises[k - 1, 2], promises[k - 1, 3]) if known else (LOWEST, HIGHEST)
        if not plausible(buffer, found[r].at, found[r].n, first, last):
            n, beyond = 0, found[r].n
            while beyond - n > 1:
                middle = (n + beyond) // 2
                if plausible(buffer, found[r].at, middle, first, last):
                    n = middle
                else:
                    beyond = middle
            found[r].n = n
            return r + 1, promises[k - 1, 0] if k > 0 else place
        if k > 0:
            counts[k - 1] += found[r].n
    return len(found), -1


@jit
def opened(
    plain: np.ndarray,
    sizes: np.ndarray,
    offset: int,
    rows: np.ndarray,
    promises: np.ndarray,
    tabled: bool,
) -> tuple[int, int]:
    """Replace the payloads in `rows` by the events in them, up to the first that is not sound.

    The payloads are those of a buffer that begins at byte `offset` of the file: it is `plain`; or
    they were inflated, and lie there one after the other with these sizes. `promises` is as in
    `kept`; if `tabled`, it has a row for each sound packet. Returns how many are sound, and the
    packet of the first that is not (-1: none).
    """
    next_ = 0
    k = np.searchsorted(promises[:, 0], offset + rows[0].at - 8) if len(rows) else 0
    for i in range(len(rows)):
        place = offset + rows[i].at - 8
        begin, size = (next_, sizes[i]) if len(sizes) else (rows[i].at, rows[i].n)
        next_ += size
        at, n = find_events(plain, begin, size)
        while k < len(promises) and promises[k, 0] < place:
            k += 1
        there = k < len(promises) and promises[k, 0] == place
        known = there and promises[k, 1] > 0
        first, last = (promises[k, 2], promises[k, 3]) if known else (LOWEST, HIGHEST)
        wrong = (tabled and not there) or (known and n != promises[k, 1])
        if n < 0 or wrong or not plausible(plain, at, n, first, last):
            return i, place
        rows[i].at, rows[i].n = at, n
    return len(rows), -1


@jit
def plausible(buffer: np.ndarray, at: int, n: int, first: int, last: int) -> bool:
    """Whether n events from a byte on have times from first to last, and there is no hole."""
    words = buffer[at : at + 16 * n].view(np.int64)
    if (first > LOWEST or last < HIGHEST) and _outside(words, first, last):
        return False
    for i in range(0, n, HOLE // 2):  # one of these lies in any hole
        if words[2 * i] | words[2 * i + 1] == 0:
            return not _has_hole(words)
    return True


@jit
def _outside(words: np.ndarray, first: int, last: int) -> bool:
    """Whether a time is not from first to last: then one of two differences is negative.

    That holds although they may overflow, as both cannot. Without branches, so that the loop
    becomes vectors.
    """
    signs: Any = np.int64(0)
    for i in range(len(words) // 2):
        signs |= (words[2 * i] - first) | (last - words[2 * i])
    return bool(signs < 0)


@jit
def _has_hole(words: np.ndarray) -> bool:
    """Whether HOLE events in a row are nothing but zeros: a disk or a copy lost what was there."""
    zeros = 0
    for i in range(len(words) // 2):
        zeros = zeros + 1 if words[2 * i] | words[2 * i + 1] == 0 else 0
        if zeros == HOLE:
            return True
    return False


@jit
def in_order(buffer: np.ndarray, found: np.ndarray) -> bool:
    """Whether time never goes back in the events of a packet."""
    words = buffer[found[0].at : found[0].at + 16 * found[0].n].view(np.int64)
    forward = True
    for i in range(1, found[0].n):
        forward &= words[2 * i] >= words[2 * i - 2]
    return forward
