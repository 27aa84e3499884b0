"""EVT4: recordings of Prophesee cameras in words of 32 bits, with vectors of events.

After the header (see `_file`) come words, little endian; bits 28-31 are their type:

    10 OFF, 11 ON    0-10 y | 11-21 x | 22-27 bits 0-5 of t [µs]
    12 OFF, 13 ON    the same of a vector; the next word has bit i set for an event at x + i
    14 time          0-27 bits 6-33 of t
    9 trigger        0 value | 8-12 id | 22-27 bits 0-5 of t
    6 other, 7 its continuation, 15 padding

Time wraps after 2^34 µs (4.8 h): when it falls by half of that. What comes before the first time is
not used. Other types are counted as unknown. Coordinates beyond the sensor are kept, as Events
allows. Layout as in openeb's evt4 decoder, https://github.com/prophesee-ai/openeb
"""

from typing import Any

import numpy as np

from eventkit._jit import jit
from eventkit.events import Arrays
from eventkit.formats.base import FORMATS
from eventkit.formats.prophesee import _file as prophesee
from eventkit.formats.prophesee import _read as reading
from eventkit.formats.prophesee._file import lowest, ones
from eventkit.formats.prophesee._live import live

FALL = 1 << 27  # of the high part of time that is a wrap


@jit
def _now(state: Any) -> Any:
    return state.loops << 34 | state.high << 6


@jit
def _turn(word: np.int64, state: Any) -> None:
    """Take in a word that is no event."""
    kind = word >> 28
    if kind == 14:
        high = word & 0xFFFFFFF
        state.loops += state.high - high >= FALL
        state.high, state.started = high, 1
    elif not state.started:
        state.early += kind == 9
    elif kind == 9:
        state.triggers += 1
    elif kind == 6 or kind == 7:
        state.others += 1
    elif kind != 15:
        state.unknown += 1


@jit
def _decode(
    words: np.ndarray, k: int, states: np.ndarray, out: Arrays, n: int, room: int, marks: np.ndarray
) -> tuple[int, int]:
    """Append events to n until there are `room` or a few more, as `_file.Code` says."""
    state, (t, x, y, p) = states[0], out
    now = _now(state)
    while k < len(words) and n < room:
        word = np.int64(words[k])
        kind = word >> 28
        k += 1
        mask = np.int64(0)
        if state.vector:  # the first word of a vector, kept as it may be in another block
            word, mask = state.vector, word
            state.vector = 0
        elif kind == 10 or kind == 11:
            mask = np.int64(1)
        elif kind == 12 or kind == 13:
            state.vector = word
            continue
        else:
            _turn(word, state)
            now = _now(state)
            if kind == 9 and state.started:
                mark = marks[state.marked]
                mark.t, mark.p, mark.id = now + (word >> 22 & 63), word & 1, word >> 8 & 31
                state.marked += 1
            continue
        if not state.started:
            state.early += ones(mask)
            continue
        time, base, row, on = now + (word >> 22 & 63), word >> 11 & 0x7FF, word & 0x7FF, word >> 28
        while mask:
            t[n], x[n], y[n], p[n] = time, base + lowest(mask), row, on & 1
            n += 1
            mask &= mask - 1
    return n, k


@jit
def _measure(words: np.ndarray, states: np.ndarray) -> tuple[int, int, int]:
    """The number of events and bounds of their times, as `_file.Code` says."""
    state = states[0]
    n = 0
    first = last = _now(state)
    for i in range(len(words)):
        word = np.int64(words[i])
        kind = word >> 28
        found = 0
        if state.vector:
            found = ones(word)
            state.vector = 0
        elif kind == 10 or kind == 11:
            found = 1
        elif kind == 12 or kind == 13:
            state.vector = word
        else:
            _turn(word, state)
            now = _now(state)
            first, last = min(first, now), max(last, now)
        if state.started:
            n += found
        else:
            state.early += found
    return n, first, last + 63


CODE = prophesee.Code("EVT4", "<u4", 4, 32, _decode, _measure)
FORMATS.register(reading.raw(CODE, "Prophesee RAW, EVT4", None, live))
