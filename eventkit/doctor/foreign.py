"""Detect events that come from corrupted bytes (zeros or noise), not from a camera."""

import numpy as np

from eventkit.events import Events

EQUAL = 32  # identical events in a row that count as zeros: a pixel fires at most once per µs
SECOND = 1_000_000  # µs: a larger backward step is a jump
LEAPS = 8  # jumps within a BLOCK that indicate noise; a clock that was set back jumps once
BLOCK = 4096  # events; large enough that the median time is valid even if some are noise


def foreign(events: Events) -> tuple[np.ndarray, int]:
    """A mask of the corrupted events, bool (n,) in file order, and the number of jumps in time.

    Corrupted are runs of at least EQUAL identical events and, where time jumps back repeatedly,
    events more than a second away from the median time of the blocks around them. The events
    directly before and after are included, because they may be decoded from corrupted bytes too.
    """
    found = np.zeros(len(events), bool)
    if len(events) < 2:
        return found, 0
    _mark_equal(events, found)
    noise = _mark_leaps(events.t, found)
    if found.any():
        found[1:] |= found[:-1].copy()
        found[:-1] |= found[1:].copy()
    return found, noise


def _mark_equal(events: Events, found: np.ndarray) -> None:
    """Mark all events in long runs of identical events."""
    other = np.zeros(len(events) + 1, bool)
    other[0] = other[-1] = True
    for column in (events.t, events.x, events.y, events.p):
        other[1:-1] |= column[1:] != column[:-1]
    ends = np.flatnonzero(other)
    for i in np.flatnonzero(np.diff(ends) >= EQUAL).tolist():
        found[ends[i] : ends[i + 1]] = True


def _mark_leaps(t: np.ndarray, found: np.ndarray) -> int:
    """Mark events far from the surrounding times where time often jumps back; count the jumps."""
    leaps = 0
    back = np.flatnonzero(t[1:] < t[:-1] - SECOND)
    counts = np.bincount(back // BLOCK, minlength=-(-len(t) // BLOCK))
    for block in np.flatnonzero(counts >= LEAPS).tolist():
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        if counts[block] > len(t[part]) // 4:
            continue  # not noise, but an unsorted recording
        leaps += int(counts[block])
        around = [t[max(0, i) * BLOCK :][:BLOCK] for i in (block - 1, block, block + 1)]
        middles = [np.median(times) for times in around if len(times)]
        found[part] |= (t[part] < min(middles) - SECOND) | (t[part] > max(middles) + SECOND)
    return leaps
