"""Events that no camera made: what bytes become that were zeroed, or replaced by noise."""

import numpy as np

from eventkit.events import Events

EQUAL = 32  # equal events in a row that are zeros: a pixel fires at most once in a µs
SECOND = 1_000_000  # µs: time that goes back by more leaps
LEAPS = 8  # leaps in a BLOCK that make it suspect: a clock that is set back leaps once
BLOCK = 4096  # events of which the median time is that of the recording, though some are noise


def foreign(events: Events) -> tuple[np.ndarray, int]:
    """Which events, in file order, are of zeroed bytes or of noise: bool (n,); and its leaps.

    Those are runs of EQUAL events and more, and, where times leap back again and again, events more
    than a second before or after the median times of the events around. The event before and the
    one after are taken for foreign too, as they may be made of bytes of both.
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
    """Mark all events of long runs of equal ones."""
    other = np.zeros(len(events) + 1, bool)
    other[0] = other[-1] = True
    for column in (events.t, events.x, events.y, events.p):
        other[1:-1] |= column[1:] != column[:-1]
    ends = np.flatnonzero(other)
    for i in np.flatnonzero(np.diff(ends) >= EQUAL).tolist():
        found[ends[i] : ends[i + 1]] = True


def _mark_leaps(t: np.ndarray, found: np.ndarray) -> int:
    """Mark what is far from the times around where time leaps back often, and count these leaps."""
    leaps = 0
    back = np.flatnonzero(t[1:] < t[:-1] - SECOND)
    counts = np.bincount(back // BLOCK, minlength=-(-len(t) // BLOCK))
    for block in np.flatnonzero(counts >= LEAPS).tolist():
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        if counts[block] > len(t[part]) // 4:
            continue  # no noise in a recording, but a recording without order
        leaps += int(counts[block])
        around = [t[max(0, i) * BLOCK :][:BLOCK] for i in (block - 1, block, block + 1)]
        middles = [np.median(times) for times in around if len(times)]
        found[part] |= (t[part] < min(middles) - SECOND) | (t[part] > max(middles) + SECOND)
    return leaps
