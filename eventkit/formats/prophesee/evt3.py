"""EVT3: recordings of Prophesee cameras in words of 16 bits.

After the header (see `_file`) come words, little endian; bits 12-15 are their type:

    0 row        0-10 y | 11 camera           6 time, low part    0-11 bits 0-11 of t [µs]
    2 event      0-10 x | 11 polarity         8 time, high part   0-11 bits 12-23 of t
    3 base       0-10 x | 11 polarity        10 trigger           0 value | 8-11 id
    4 vector     0-11 an event at each base + i with bit i set; then base += 12
    5 vector     0-7 likewise; then base += 8
    14 other     0-11 what; 7 and 15 are its continuation

Row, base, polarity and time hold until they change. Time wraps after 2^24 µs (16.8 s): when its
high part falls by 2,048 or more. A new high part sets the low part to 0, which may go back without
a carry: real cameras send a late time, then an older one, within 4,096 µs. What comes before the
first high part of a time is not used. Other types are counted as unknown. Coordinates beyond the
sensor are kept, as Events allows. Specification:
https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html; details as in openeb's decoder.
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
from eventkit.formats.prophesee._file import COUNT, U, lowest
from eventkit.formats.prophesee._live import live
from eventkit.formats.tracks import Packet, Track

FARTHEST = 65000  # where a damaged run of vectors stops: beyond any sensor, within 16 bits
PLAIN = np.isin(np.arange(16), (0, 2, 6))
EVENT = (np.arange(16) == 2).astype(np.uint64)
ROW, LOW = np.where(np.arange(16) == 0, 0x7FF, 0), np.where(np.arange(16) == 6, 0xFFF, 0)  # bits
LONGEST_WORDS = 2 * (writing.LONGEST >> 24) + 64  # a gap of time, each wrap two words; a group


@jit
def _now(state: Any) -> Any:
    return state.loops << 24 | state.high << 12 | state.low


@jit
def _begin(words: np.ndarray, k: int, state: Any) -> int:
    """The place of the first time from word k on; events before it are counted."""
    while k < len(words) and words[k] >> 12 != 8:
        kind = words[k] >> 12
        if kind == 2 or kind == 10:
            state.early += 1
        elif kind == 4 or kind == 5:
            state.early += COUNT[words[k] & (0xFFF if kind == 4 else 0xFF)]
        k += 1
    if k < len(words):
        state.started = 1
    return k


@jit
def _turn(word: np.int64, state: Any) -> None:
    """Take in a word of a rare type; `low` of the state is up to date."""
    kind = word >> 12
    if kind == 8:
        high = word & 0xFFF
        if high != state.high:
            state.loops += state.high >= high + 2048
            state.high, state.low = high, 0
    elif kind == 10:
        state.triggers += 1
    elif kind == 14 or kind == 15 or kind == 7:
        state.others += 1
    else:
        state.unknown += 1


@jit
def _is_triple(first: int, second: int, third: int) -> bool:
    """Whether three words are the usual vectors of 12, 12 and 8 bits."""
    return first >> 12 == 4 and second >> 12 == 4 and third >> 12 == 5


@jit
def _decode(
    words: np.ndarray, k: int, states: np.ndarray, out: Arrays, n: int, room: int, marks: np.ndarray
) -> tuple[Any, Any]:
    """Append events to n until there are `room` or a few more, as `_file.Code` says."""
    state, (t, x, y, p) = states[0], out
    if not state.started:
        k = _begin(words, k, state)
    now, row, base, on = _now(state), state.y, state.x, state.p
    # Unsigned, so that no place can be one from the end: that saves a fifth of the time.
    at, stop, i, end = U(k), U(len(words)), U(n), U(room)
    while at < stop and i < end:
        # No branch tells events, rows and times from each other: each would be guessed wrongly
        # about as often as an event comes. What is no event is overwritten by the next one.
        near = min(stop, at + (end - i))
        while at < near:
            word = np.int64(words[at])
            place = U(word >> 12)
            if not PLAIN[place]:
                break
            t[i], x[i], y[i], p[i] = now, word & 0x7FF, row, word >> 11 & 1
            i += EVENT[place]
            row ^= (word ^ row) & ROW[place]
            now ^= (word ^ now) & LOW[place]
            at += U(1)
        if at == near:
            continue
        word = np.int64(words[at])
        kind = word >> 12
        at += U(1)
        if 3 <= kind <= 5:
            mask, step = np.int64(0), 0
            if kind == 3:
                base, on = word & 0x7FF, word >> 11 & 1
                if at + U(2) < stop and _is_triple(words[at], words[at + U(1)], words[at + U(2)]):
                    mask = np.int64(words[at] & 0xFFF) | np.int64(words[at + U(1)] & 0xFFF) << 12
                    mask |= np.int64(words[at + U(2)] & 0xFF) << 24
                    step = 32
                    at += U(3)
            else:
                mask, step = (word & 0xFFF, 12) if kind == 4 else (word & 0xFF, 8)
            while mask:
                t[i], x[i], y[i], p[i] = now, base + lowest(mask), row, on
                i += U(1)
                mask &= mask - 1
            base = min(base + step, FARTHEST)
        else:
            state.low = now & 0xFFF
            _turn(word, state)
            now = _now(state)
            if kind == 10:
                mark = marks[state.marked]
                mark.t, mark.p, mark.id = now, word & 1, word >> 8 & 15
                state.marked += 1
    state.low, state.y, state.x, state.p = now & 0xFFF, row, base, on
    return np.int64(i), np.int64(at)


@jit
def _measure(words: np.ndarray, states: np.ndarray) -> tuple[int, int, int]:
    """The number of events and bounds of their times, as `_file.Code` says."""
    state = states[0]
    k = 0 if state.started else _begin(words, 0, state)
    row, base, on, low, n = state.y, state.x, state.p, state.low, 0
    first = last = _now(state) & ~0xFFF
    for i in range(k, len(words)):
        word = np.int64(words[i])
        kind = word >> 12
        if kind == 2:
            n += 1
        elif kind == 0 or kind == 6:
            row = word & 0x7FF if kind == 0 else row
            low = word & 0xFFF if kind == 6 else low
        elif kind == 3:
            base, on = word & 0x7FF, word >> 11 & 1
        elif kind == 4:
            n += COUNT[word & 0xFFF]
            base = min(base + 12, FARTHEST)
        elif kind == 5:
            n += COUNT[word & 0xFF]
            base = min(base + 8, FARTHEST)
        else:
            state.low = low
            _turn(word, state)
            low = state.low
            now = _now(state) & ~0xFFF
            first, last = min(first, now), max(last, now)
    state.low, state.y, state.x, state.p = low, row, base, on
    return n, first, last + 0xFFF


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
    """Words from event i on, as `_write.Pen` says.

    Each event is written on its own at first, without branches: words that hold already are
    overwritten by the next. Once five or more that belong together are written, one vector replaces
    them. `first` and `begin` are where the events that belong together, and their words, begin.
    """
    state = states[0]
    high, low, row, width = state.high, state.low, state.y, state.width
    now = px = pp = np.int64(-1)
    m, first, begin, mask = 0, i, 0, np.int64(0)
    while i < len(t) and m + LONGEST_WORDS < len(out):
        xi, yi, pi = np.int64(x[i]), np.int64(y[i]), np.int64(p[i])
        together = (t[i] == now) & (yi == row) & (pi == pp) & (xi > px) & (xi >> 5 == px >> 5)
        if not together and i - first > 4:
            m = _vector(px & ~31, pp, mask, begin, m, width, out)
        now = t[i]
        if now >> 12 != high:
            while now >> 12 != high:
                high = writing.next_high(high, now >> 12, 12)
                out[m] = 8 << 12 | (high & 0xFFF)
                m += 1
            low = -1
        out[m] = 6 << 12 | (now & 0xFFF)
        m += low != now & 0xFFF
        out[m] = yi
        m += row != yi
        first = first if together else i
        begin = begin if together else m
        mask = (mask if together else 0) | 1 << (xi & 31)
        out[m] = 2 << 12 | pi << 11 | xi
        m += 1
        low, row, px, pp = now & 0xFFF, yi, xi, pi
        i += 1
    if i == len(t) and final:
        if i - first > 4:
            m = _vector(px & ~31, pp, mask, begin, m, width, out)
    else:
        i, m = first, begin
    state.high, state.low, state.y = high, low, row
    return i, m


@jit
def _trigger(t: int, p: int, number: int, states: np.ndarray, out: np.ndarray) -> int:
    """The words of a trigger, as `_write.Pen` says."""
    state = states[0]
    m = 0
    while state.high != t >> 12:
        state.high = writing.next_high(state.high, t >> 12, 12)
        state.low = -1
        out[m] = 8 << 12 | (state.high & 0xFFF)
        m += 1
    if state.low != t & 0xFFF:
        state.low = t & 0xFFF
        out[m] = 6 << 12 | state.low
        m += 1
    out[m] = 10 << 12 | number << 8 | p
    return m + 1


@jit
def _vector(base: Any, on: Any, mask: Any, begin: int, m: int, width: int, out: np.ndarray) -> int:
    """Replace the words from `begin` to m by a vector, if it ends on the sensor; the new m."""
    if base + 32 > width:  # some readers refuse others
        return m
    out[begin] = 3 << 12 | on << 11 | base
    out[begin + 1] = 4 << 12 | (mask & 0xFFF)
    out[begin + 2] = 4 << 12 | (mask >> 12 & 0xFFF)
    out[begin + 3] = 5 << 12 | mask >> 24
    return begin + 4


def write(
    file: BinaryIO,
    chunks: Iterable[Events | Packet],
    *,
    _header: Mapping[str, str] = writing.NO_LINES,
    _tracks: Sequence[Track] = (),
) -> None:
    """EVT3: x and y below 2,048; the first time below 2^34 µs (t0=first makes it 0).

    From there on time wraps; it may go back by up to 2^23 µs, but not over a wrap, which is every
    2^24 µs. No gap is longer than 2^34 µs.
    """
    writing.write_words(file, chunks, CODE, PEN, _header)


PEN = writing.Pen(_encode, _trigger, low=12, wrap=24, fall=2048)
KINDS = (0, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15)
CODE = prophesee.Code("EVT3", "<u2", 2, 12, _decode, _measure, kinds=KINDS, row=True)
FORMATS.register(reading.raw(CODE, "Prophesee RAW, EVT3", write, live))
