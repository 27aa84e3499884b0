"""EVT2.1: recordings of Prophesee cameras in words of 64 bits, with vectors of events.

After the header (see `_file`) come words of two halves; bits 28-31 of the high one are their
type:

                   high half                                       low half
    0 OFF, 1 ON    0-10 y | 11-21 x | 22-27 bits 0-5 of t [µs]     an event at each x + i, bit i set
    8 time         0-27 bits 6-33 of t                             0
    10 trigger     0 value | 8-12 id | 22-27 bits 0-5 of t
    14 other, 15 its continuation

The halves are little endian. The order "little" has the low one first, "legacy" the high one. Which
it is, the words tell: only those of a time have a half of 0. Where they do not, the header does
(endianness, or the number of the camera). Time wraps after 2^34 µs (4.8 h), from its greatest to 0;
other falls are kept. What comes before the first time is not used. Other types are counted as
unknown. Coordinates beyond the sensor are kept, as Events allows. Specification:
https://docs.prophesee.ai/stable/data/encoding_formats/evt21.html; details as in openeb's decoder.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Literal

import numpy as np

from eventkit._jit import jit
from eventkit.events import Arrays, Events
from eventkit.formats.base import FORMATS
from eventkit.formats.prophesee import _file as prophesee
from eventkit.formats.prophesee import _read as reading
from eventkit.formats.prophesee import _write as writing
from eventkit.formats.prophesee._file import U, lowest, ones
from eventkit.formats.prophesee._live import live
from eventkit.formats.tracks import Packet, Track

FALL = (1 << 28) - 1  # of the high part of time that is a wrap
LITTLE_FROM = 55  # system_ID of the first cameras with this order


def variant(header: prophesee.Header, data: bytes) -> int:
    """1 when the high half of a word comes first, 0 when the low one does."""
    halves = np.frombuffer(data[: len(data) // 8 * 8], "<u4").reshape(-1, 2)
    is_time, is_zero = halves >> 28 == 8, halves == 0
    little = np.count_nonzero(is_zero[:, 0] & is_time[:, 1])
    legacy = np.count_nonzero(is_time[:, 0] & is_zero[:, 1])
    if little != legacy:
        return int(legacy > little)
    order = header.facts.get("format", "") + " endianness=" + header.facts.get("endianness", "")
    if "endianness=little" in order or "endianness=legacy" in order:
        return int("endianness=legacy" in order)
    number = re.fullmatch(r"\d{1,4}", header.facts.get("system_id", ""))
    named = header.facts.get("integrator_name", "").lower() == "prophesee"
    return int(named and number is not None and int(number[0]) < LITTLE_FROM)


@jit
def _now(state: Any) -> Any:
    return state.loops << 34 | state.high << 6


@jit
def _begin(words: np.ndarray, k: int, state: Any) -> int:
    """The place of the first time from half k on; events before it are counted."""
    while k < len(words):
        kind = words[k + 1 - state.variant] >> 28
        if kind == 8:
            state.started = 1
            break
        if kind <= 1:
            state.early += ones(words[k + state.variant])
        state.early += kind == 10
        k += 2
    return k


@jit
def _turn(word: np.int64, state: Any) -> None:
    """Take in the high half of a word that is no event."""
    kind = word >> 28
    if kind == 8:
        high = word & 0xFFFFFFF
        state.loops += state.high - high >= FALL
        state.high = high
    elif kind == 10:
        state.triggers += 1
    elif kind >= 14:
        state.others += 1
    else:
        state.unknown += 1


@jit
def _decode(
    words: np.ndarray, k: int, states: np.ndarray, out: Arrays, n: int, room: int, marks: np.ndarray
) -> tuple[Any, Any]:
    """Append events to n until there are `room` or a few more, as `_file.Code` says."""
    state, (t, x, y, p) = states[0], out
    if not state.started:
        k = _begin(words, k, state)
    now = _now(state)
    # Unsigned, so that no place can be one from the end: that saves a fifth of the time.
    high, low, at, stop = U(1 - state.variant), U(state.variant), U(k), U(len(words))
    i, end, most = U(n), U(room), U(len(t))
    while at < stop and i < end:
        word, mask = np.int64(words[at + high]), np.int64(words[at + low])
        at += U(2)
        time = now + (word >> 22 & 63)
        if word >> 28 <= 1:
            row, base, on = word & 0x7FF, word >> 11 & 0x7FF, word >> 28
            if i + U(2) <= most:  # nearly all words have one event or two: no branch for these
                j, rest = i + U(1), mask & (mask - 1)
                t[i], x[i], y[i], p[i] = time, base + lowest(mask), row, on
                t[j], x[j], y[j], p[j] = time, base + lowest(rest), row, on
                i += U(mask != 0) + U(rest != 0)
                mask = rest & (rest - 1)
            while mask:
                t[i], x[i], y[i], p[i] = time, base + lowest(mask), row, on
                i += U(1)
                mask &= mask - 1
        else:
            _turn(word, state)
            now = _now(state)
            if word >> 28 == 10:
                mark = marks[state.marked]
                mark.t, mark.p, mark.id = time, word & 1, word >> 8 & 31
                state.marked += 1
    return np.int64(i), np.int64(at)


@jit
def _measure(words: np.ndarray, states: np.ndarray) -> tuple[int, int, int]:
    """The number of events and bounds of their times, as `_file.Code` says."""
    state = states[0]
    k = 0 if state.started else _begin(words, 0, state)
    n, order = 0, state.variant
    first = last = _now(state)
    for i in range(k, len(words), 2):
        word = np.int64(words[i + 1 - order])
        if word >> 28 <= 1:
            n += ones(words[i + order])
        else:
            _turn(word, state)
            now = _now(state)
            first, last = min(first, now), max(last, now)
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
    """Words from event i on, as `_write.Pen` says.

    Without branches: each event writes its whole word, that of the event before once more if the
    two belong together. `first` is the event with which the last word begins.
    """
    state = states[0]
    order, high = state.variant, state.high
    now = px = py = pp = np.int64(-1)
    m, first = 0, i
    mask: Any = np.int64(0)
    while i < len(t) and m + 16 < len(out):  # a gap takes few words: it has one wrap at most
        if t[i] >> 6 != high:
            while t[i] >> 6 != high:
                high = writing.next_high(high, t[i] >> 6, 28)
                out[m + 1 - order], out[m + order] = 8 << 28 | (high & 0xFFFFFFF), 0
                m += 2
            now = np.int64(-1)
        xi, yi, pi = np.int64(x[i]), np.int64(y[i]), np.int64(p[i])
        together = (t[i] == now) & (yi == py) & (pi == pp) & (xi > px) & (xi >> 5 == px >> 5)
        m += 0 if together else 2
        first = first if together else i
        mask = (mask if together else 0) | 1 << (xi & 31)
        out[m - 1 - order] = pi << 28 | (t[i] & 63) << 22 | (xi & ~31) << 11 | yi
        out[m - 2 + order] = mask
        now, px, py, pp = t[i], xi, yi, pi
        i += 1
    state.high = high
    if i == len(t) and final:
        return i, m
    return first, m - 2 * (i > first)


@jit
def _trigger(t: int, p: int, number: int, states: np.ndarray, out: np.ndarray) -> int:
    """The words of a trigger, as `_write.Pen` says."""
    state = states[0]
    order, m = state.variant, 0
    while state.high != t >> 6:
        state.high = writing.next_high(state.high, t >> 6, 28)
        out[m + 1 - order], out[m + order] = 8 << 28 | (state.high & 0xFFFFFFF), 0
        m += 2
    out[m + 1 - order], out[m + order] = 10 << 28 | (t & 63) << 22 | number << 8 | p, 0
    return m + 2


def write(
    file: BinaryIO,
    chunks: Iterable[Events | Packet],
    *,
    order: Literal["little", "legacy"] = "little",
    _header: Mapping[str, str] = writing.NO_LINES,
    _tracks: Sequence[Track] = (),
) -> None:
    """EVT2.1: x and y below 2,048; the first time below 2^34 µs (t0=first makes it 0).

    From there on time wraps; it may go back, but not over a wrap. No gap is longer than 2^34 µs.
    """
    writing.write_words(
        file,
        chunks,
        CODE,
        PEN,
        _header,
        variant=int(order == "legacy"),
        detail=f"endianness={order};",
    )


PEN = writing.Pen(_encode, _trigger, low=6, wrap=34, fall=FALL)
KINDS = (0, 1, 8, 10, 14, 15)
CODE = prophesee.Code("EVT21", "<u4", 8, 32, _decode, _measure, variant, KINDS)
FORMATS.register(reading.raw(CODE, "Prophesee RAW, EVT2.1", write, live))
