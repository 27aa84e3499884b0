"""EVT2: recordings of Prophesee cameras in words of 32 bits.

After the header (see `_file`) come words, little endian; bits 28-31 are their type:

    0 OFF, 1 ON    0-10 y | 11-21 x | 22-27 bits 0-5 of t [µs]
    8 time         0-27 bits 6-33 of t
    10 trigger     0 value | 8-12 id | 22-27 bits 0-5 of t
    13 motion, 14 other, 5 and 15 their continuations

Time wraps after 2^34 µs (4.8 h): when it falls by no less than 2^34 - 10,064 µs; smaller falls are
kept. What comes before the first time is not used. Other types are counted as unknown. Coordinates
beyond the sensor are kept, as Events allows. Specification:
https://docs.prophesee.ai/stable/data/encoding_formats/evt2.html; details as in openeb's decoder.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from eventkit._jit import jit
from eventkit.events import Arrays, Events
from eventkit.formats.base import FORMATS
from eventkit.formats.prophesee import _file as prophesee
from eventkit.formats.prophesee import _read as reading
from eventkit.formats.prophesee import _write as writing
from eventkit.formats.prophesee._live import live
from eventkit.formats.tracks import Packet, Track

FALL = (1 << 34) - 64 - 10_000  # of time that is a wrap
RUN = 32  # events that are looked at together
SPECIAL = np.uint32(2 << 28)  # words from here on are no events


@jit
def _now(state: Any) -> Any:
    return state.loops << 34 | state.high << 6


@jit
def _begin(words: np.ndarray, k: int, state: Any) -> int:
    """The place of the first time from word k on; events before it are counted."""
    while k < len(words) and words[k] >> 28 != 8:
        kind = words[k] >> 28
        state.early += kind <= 1 or kind == 10
        k += 1
    if k < len(words):
        state.started = 1
    return k


@jit
def _turn(word: np.int64, state: Any) -> None:
    """Take in a word that is no event."""
    kind = word >> 28
    if kind == 8:
        high = word & 0xFFFFFFF
        state.loops += (state.high - high) << 6 >= FALL
        state.high = high
    elif kind == 10:
        state.triggers += 1
    elif kind >= 13 or kind == 5:
        state.others += 1
    else:
        state.unknown += 1


@jit
def _run(words: np.ndarray, k: int, stop: int) -> int:
    """The place from word k on, up to `stop`, where events end: many at once, in vectors."""
    while k + RUN <= stop:
        bits = np.uint32(0)
        for word in words[k : k + RUN]:
            bits |= word
        if bits >= SPECIAL:
            break
        k += RUN
    while k < stop and words[k] < SPECIAL:
        k += 1
    return k


@jit
def _decode(
    words: np.ndarray, k: int, states: np.ndarray, out: Arrays, n: int, room: int, marks: np.ndarray
) -> tuple[int, int]:
    """Append events to n until there are `room`, as `_file.Code` says."""
    state, (t, x, y, p) = states[0], out
    if not state.started:
        k = _begin(words, k, state)
    now = _now(state)
    while k < len(words) and n < room:
        run = words[k : _run(words, k, min(len(words), k + room - n))]
        m = len(run)
        ts, xs, ys, ps = t[n : n + m], x[n : n + m], y[n : n + m], p[n : n + m]
        for i in range(m):
            word = run[i]
            ts[i] = now + np.int64(word >> np.uint32(22) & np.uint32(63))
            xs[i] = word >> np.uint32(11) & np.uint32(0x7FF)
            ys[i] = word & np.uint32(0x7FF)
            ps[i] = word >> np.uint32(28)
        n += m
        k += m
        while k < len(words) and words[k] >= SPECIAL:
            word = np.int64(words[k])
            k += 1
            _turn(word, state)
            now = _now(state)
            if word >> 28 == 10:
                mark = marks[state.marked]
                mark.t, mark.p, mark.id = now + (word >> 22 & 63), word & 1, word >> 8 & 31
                state.marked += 1
    return n, k


@jit
def _measure(words: np.ndarray, states: np.ndarray) -> tuple[int, int, int]:
    """The number of events and bounds of their times, as `_file.Code` says."""
    state = states[0]
    k, n = 0, 0
    if not state.started:
        k = _begin(words, 0, state)
    first = last = _now(state)
    while k < len(words):
        end = _run(words, k, len(words))
        n += end - k
        k = end
        if k < len(words):
            _turn(np.int64(words[k]), state)
            now = _now(state)
            first, last = min(first, now), max(last, now)
            k += 1
    return n, first, last + 63


@jit
def _encode(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    i: int,
    final: bool,
    states: np.ndarray,
    out: np.ndarray,
) -> tuple[int, int]:
    """Words from event i on, as `_prophesee_write.Pen` says."""
    state = states[0]
    m = 0
    while i < len(t) and m + 16 < len(out):  # a gap takes few words: it has one wrap at most
        while state.high != t[i] >> 6:
            state.high = writing.next_high(state.high, t[i] >> 6, 28)
            out[m] = 8 << 28 | (state.high & 0xFFFFFFF)
            m += 1
        out[m] = np.int64(p[i]) << 28 | (t[i] & 63) << 22 | np.int64(x[i]) << 11 | y[i]
        m += 1
        i += 1
    return i, m


@jit
def _trigger(t: int, p: int, number: int, states: np.ndarray, out: np.ndarray) -> int:
    """The words of a trigger, as `_write.Pen` says."""
    state = states[0]
    m = 0
    while state.high != t >> 6:
        state.high = writing.next_high(state.high, t >> 6, 28)
        out[m] = 8 << 28 | (state.high & 0xFFFFFFF)
        m += 1
    out[m] = 10 << 28 | (t & 63) << 22 | number << 8 | p
    return m + 1


def write(
    file: BinaryIO,
    chunks: Iterable[Events | Packet],
    *,
    _header: Mapping[str, str] = writing.NO_LINES,
    _tracks: Sequence[Track] = (),
) -> None:
    """EVT2: x and y below 2,048; the first time below 2^34 µs (t0=first makes it 0).

    From there on time wraps; it may go back, but not over a wrap. No gap is longer than 2^34 µs.
    """
    writing.write_words(file, chunks, CODE, PEN, _header)


PEN = writing.Pen(_encode, _trigger, low=6, wrap=34, fall=FALL >> 6)
KINDS = (0, 1, 5, 8, 10, 13, 14, 15)
CODE = prophesee.Code("EVT2", "<u4", 4, 1, _decode, _measure, kinds=KINDS)
FORMATS.register(reading.raw(CODE, "Prophesee RAW, EVT2", write, live))
