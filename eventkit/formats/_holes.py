"""Zeros in place of bytes: what a disk or an interrupted copy leaves where a block was lost.

A sector of zeros is no events: the same pixel would have to fire dozens of times in one µs.
"""

import numpy as np

from eventkit._jit import jit

HOLE = 512  # bytes of a sector: so many zeros in a row are a hole
EDGE = 16  # zeros at an end of what belongs together are the rest of a hole


@jit
def find_hole(data: np.ndarray) -> tuple[int, int]:
    """The first and the last + 1 of at least HOLE bytes in a row that are 0; -1, -1 if none are."""
    for at in range(HOLE // 2, len(data), HOLE // 2):  # one of these lies in any hole
        if data[at] == 0:
            first, last = at, at + 1
            while first > 0 and data[first - 1] == 0 and at - first < HOLE:
                first -= 1
            while last < len(data) and data[last] == 0:
                last += 1
            if last - first >= HOLE:
                return first, last
    return -1, -1


@jit
def in_hole(data: np.ndarray) -> bool:
    """Whether bytes that belong together hold a hole, or end or begin in one."""
    if len(data) < EDGE:
        return False
    edges = not data[:EDGE].any() or not data[-EDGE:].any()
    return edges or find_hole(data)[0] >= 0


@jit
def first_zero(data: np.ndarray) -> int:
    """Where a hole begins that is in a block, or goes on in the next one; -1 if none does."""
    first = find_hole(data)[0]
    if first >= 0:
        return first
    first = len(data)
    while first > 0 and data[first - 1] == 0:
        first -= 1
    return first if len(data) - first >= EDGE else -1
