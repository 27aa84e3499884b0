"""The kernels that decode the polarity events of `aedat3`, which has the layout."""

import numpy as np

from eventkit._jit import jit

PIECE = 2048  # events that are decoded at once, if all of them are good


@jit
def decode(
    buffer: np.ndarray,
    offset: int,
    runs: np.ndarray,
    run: int,
    k: int,
    low: int,
    high: int,
    y0: int,
    dy: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    n: int,
    room: int,
) -> tuple[int, int, int, int]:
    """Append to n events those from event k of a run on, until `room` are there or runs end.

    Returns the new n, run and k, and how many events of the window are invalid.
    """
    invalid = 0
    while run < len(runs) and n < room:
        m = min(runs[run].n - k, room - n, PIECE)
        at, base = runs[run].at - offset + 8 * k, runs[run].base
        # Not aligned, as text comes before: the processors we know do not mind.
        words = buffer[at : at + 8 * m].view(np.uint32)
        times = buffer[at : at + 8 * m].view(np.int32)
        first, last, valid = _extent(times)
        a, b = t[n : n + m], x[n : n + m]
        c, d = y[n : n + m], p[n : n + m]
        if valid == m and first >= 0 and base + first >= low and base + last < high:
            _copy(words, times, base, y0, dy, a, b, c, d)
            n += m
        else:
            kept, inside = _select(words, times, base, low, high, y0, dy, a, b, c, d)
            n += kept
            invalid += inside - kept
        k += m
        if k == runs[run].n:
            run, k = run + 1, 0
    return n, run, k, invalid


@jit
def _extent(times: np.ndarray) -> tuple[int, int, int]:
    """First and last time of the events, without overflow, and how many are valid."""
    first, last, valid = times[1], times[1], 0
    for i in range(len(times) // 2):
        time = times[2 * i + 1]
        first, last = min(first, time), max(last, time)
        valid += times[2 * i] & (time >= 0)
    return first, last, valid


@jit
def _copy(
    words: np.ndarray,
    times: np.ndarray,
    base: int,
    y0: int,
    dy: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
) -> None:
    """All events: a loop without conditions, of which the compiler makes vector instructions."""
    for i in range(len(t)):
        word = words[2 * i]
        t[i] = base + times[2 * i + 1]
        x[i] = word >> 17
        y[i] = y0 + dy * (word >> 2 & 0x7FFF)
        p[i] = word >> 1 & 1


@jit
def _select(
    words: np.ndarray,
    times: np.ndarray,
    base: int,
    low: int,
    high: int,
    y0: int,
    dy: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
) -> tuple[int, int]:
    """The valid events of the window: how many there are, and how many are in the window at all."""
    kept = inside = 0
    for i in range(len(t)):
        word, time = words[2 * i], times[2 * i + 1]
        t[kept] = base + time
        x[kept] = word >> 17
        y[kept] = y0 + dy * (word >> 2 & 0x7FFF)
        p[kept] = word >> 1 & 1
        within = (base + time >= low) & (base + time < high)
        inside += within
        kept += within & (word & 1) & (time >= 0)
    return kept, inside


@jit
def measure(buffer: np.ndarray, offset: int, runs: np.ndarray) -> None:
    """First and last time and the number of valid events of each run."""
    for run in range(len(runs)):
        at = runs[run].at - offset
        first, last, valid = _extent(buffer[at : at + 8 * runs[run].n].view(np.int32))
        runs[run].first, runs[run].last = runs[run].base + first, runs[run].base + last
        runs[run].valid = valid
