"""DAT: recordings of Prophesee cameras in records of 8 bytes, as N-CARS, Gen1 and 1 Mpx.

Lines `% key value` come first (see `_file`), then a byte each for the type of the events (0 or
12: these; 14: external triggers) and their size (8). A file without lines has neither. Records,
little endian:

    uint32 t [µs]                          version 2             version 1 (first ATIS cameras)
    uint32 x, y and polarity (1 ON)        0-13 x | 14-27 y | 28    0-8 x | 9-16 y | 17
           of a trigger                    0 value | 26-31 id

Time wraps after 2^32 µs (71.6 min): when it falls by more than 2^31. Specification:
https://docs.prophesee.ai/stable/data/file_formats/dat.html; version 1 as in openeb's event2d.h.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from eventkit._jit import jit
from eventkit.errors import FormatError, OptionError
from eventkit.events import Arrays, Columns, Events
from eventkit.formats.base import FORMATS, Format, Report, Size
from eventkit.formats.live.feed import Feed
from eventkit.formats.prophesee import _file as prophesee
from eventkit.formats.prophesee import _live as living
from eventkit.formats.prophesee import _read as reading
from eventkit.formats.prophesee._file import U

CD, TRIGGERS = (0, 12), 14  # types of events
RUN = 2048  # records that are looked at together
FALL = np.uint64(1 << 31)
LOW = np.uint64((1 << 32) - 1)  # the bits of the time
WRAP = 1 << 32


@contextmanager
def _open(path: Path, types: tuple[int, ...] = CD) -> Iterator[prophesee.File]:
    """The records of a file; FormatError when they are not of these types."""
    with prophesee.File.open(path, CODE) as file:
        begin, facts = file.header.begin, file.header.facts
        state = file.state
        state["started"], state["variant"] = 1, facts.get("version", "2") != "1"
        if begin:
            _check_type(path, begin, os.pread(file.fd, 2, begin), types)
            begin += 2
        yield replace(file, begin=begin)


def _check_type(path: Path, begin: int, kind: bytes, types: tuple[int, ...]) -> None:
    """FormatError where the two bytes behind the lines name other records than those expected."""
    if len(kind) == 2 and (kind[0] not in types or kind[1] != 8):
        reason = f"holds events of type {kind[0]} and {kind[1]} bytes, expected 8 bytes of "
        reason += f"type {' or '.join(map(str, types))}"
        hint = '; formats.extra(path, "triggers") reads them' if kind[0] == TRIGGERS else ""
        raise FormatError(path, begin, reason + hint)


def stream(
    path: Path,
    report: Report,
    into: Columns,
    *,
    chunk: int,
    start: int | None,
    stop: int | None,
    strict: bool,
    size: Size | None = None,
    t0: Literal["sensor", "first"] = "sensor",
    threads: int = 1,
) -> Iterator[Events]:
    """Events; size (as 304x240) is that of the sensor, if the header does not name it.

    t0=first sets the time of the first event to 0. Several `threads` decode whole blocks after a
    pass that counts; their chunks may be shorter than asked. Counts: trailing bytes.
    """
    with _open(path) as file:
        if file.begin > file.end and strict:
            raise FormatError(path, file.end, "the file ends before the type of its events")
        asked = reading.Asked(chunk, start, stop, strict, size, t0, threads)
        yield from reading.events(file, report, into, asked)


def live(
    feed: Feed,
    report: Report,
    into: Columns,
    *,
    strict: bool,
    size: Size | None = None,
    t0: Literal["sensor", "first"] = "sensor",
) -> Iterator[Events]:
    """Events as they come; size is needed if the header does not name it."""
    head = living.live_header(feed, 2)
    begin = head.begin + 2 * bool(head.begin)
    _check_type(Path(feed.path), head.begin, bytes(feed.data[head.begin : begin]), CD)
    feed.use(min(begin, len(feed.data)))
    feed.settle()
    state = np.zeros(1, prophesee.STATE)
    state["started"], state["variant"] = 1, head.facts.get("version", "2") != "1"
    file = prophesee.File(Path(feed.path), -1, CODE, head, begin, 0, state, ())
    yield from living.live_words(feed, file, report, into, strict, size, t0)


def header(path: Path) -> dict[str, Any]:
    """The lines of the header: version, width, height, date, ..."""
    with prophesee.File.open(path, CODE) as file:
        return file.header.facts


def bound(path: Path) -> int:
    """So many events are in the file."""
    with _open(path) as file:
        return file.records


def triggers(path: Path) -> np.ndarray:
    """External triggers of a file that has them instead of events: t (µs), p (1 rising) and id."""
    with _open(path, (TRIGGERS,)) as file:
        parts = [file.words(block).copy() for block in file.blocks()]
    records = np.concatenate([np.empty(0, np.uint64), *parts])
    found = np.empty(len(records), prophesee.TRIGGER)
    time = (records & LOW).astype(np.int64)
    found["t"] = time + WRAP * np.cumsum(np.diff(time, prepend=0) < -int(FALL))
    found["p"], found["id"] = records >> U(32) & U(1), records >> U(58)
    return found


def write(
    file: BinaryIO,
    chunks: Iterable[Events],
    *,
    version: int = 2,
) -> None:
    """DAT of version 2 (x and y below 16,384) or 1 (x below 512, y below 256).

    The first time is below 2^32 µs (t0=first makes it 0); from there on, time wraps:
    it may go back by 2^31 µs or ahead by less than that.
    """
    if version not in (1, 2):
        raise OptionError(f"version is {version}, expected 1 or 2")
    sides = (1 << 14, 1 << 14) if version == 2 else (1 << 9, 1 << 8)
    shifts = (14, 28) if version == 2 else (9, 17)
    last, out = None, np.empty(1 << 15, "<u8")
    for events in chunks:
        _check(events, sides, last)
        if last is None:
            lines = ("Data file containing CD events.", f"Version {version}")
            sensor = (f"Width {events.width}", f"Height {events.height}")
            file.write("".join(f"% {line}\n" for line in (*lines, *sensor)).encode())
            file.write(bytes([12 if version == 2 else 0, 8]))
            last = 0
        for at in range(0, len(events), len(out)):
            part = events[at : at + len(out)]
            records = out[: len(part)]
            _encode(part.t, part.x, part.y, part.p, *shifts, records)
            file.write(records.data)
        if len(events):
            last = int(events.t[-1])


def _check(events: Events, sides: tuple[int, int], last: int | None) -> None:
    """OptionError for what cannot be written after an event at the time `last`."""
    if not len(events):
        return
    t = events.t
    x, y, low, wrong = _faults(t, events.x, events.y, last or 0)
    if x >= sides[0] or y >= sides[1]:
        raise OptionError(
            f"dat of that version holds x below {sides[0]} and y below {sides[1]}, found {x}, {y}"
        )
    if low < 0:
        raise OptionError(f"dat holds times from 0 on, found {low} µs")
    if wrong < len(t):
        before = t[wrong - 1] if wrong else last
        after = "at the start" if before is None else f"after {before} µs"
        raise OptionError(
            f"dat has 32 bits for the time and cannot hold t = {t[wrong]} µs {after}; "
            "t0=first subtracts the first time, sort=True or transforms mend the order"
        )


@jit
def _faults(t: np.ndarray, x: np.ndarray, y: np.ndarray, last: int) -> Any:
    """The greatest x and y, the least time, and where a reader would find another time."""
    x_max, y_max, least, wrong = np.int64(0), np.int64(0), t[0], len(t)
    for i in range(len(t)):
        x_max, y_max, least = (
            max(x_max, np.int64(x[i])),
            max(y_max, np.int64(y[i])),
            min(least, t[i]),
        )
    for i in range(len(t)):
        wraps = (t[i] >> 32) - (last >> 32)
        falls = t[i] - last - (wraps << 32) < -np.int64(FALL)
        if wraps != falls and wrong == len(t):
            wrong = i
        last = t[i]
    return x_max, y_max, least, wrong


@jit
def _encode(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    row: int,
    polarity: int,
    out: np.ndarray,
) -> None:
    """Records whose y and p begin at the bits `row` and `polarity` of their second half."""
    for i in range(len(t)):
        place = np.int64(x[i]) | np.int64(y[i]) << row | np.int64(p[i]) << polarity
        out[i] = place << 32 | (t[i] & 0xFFFFFFFF)


@jit
def _falls(words: np.ndarray, last: Any) -> Any:
    """How often the time falls so much that it wrapped."""
    falls = np.int64(last > (words[0] & LOW) + FALL)
    for i in range(1, len(words)):
        falls += (words[i - 1] & LOW) > (words[i] & LOW) + FALL
    return falls


@jit
def _decode(
    words: np.ndarray, k: int, states: np.ndarray, out: Arrays, n: int, room: int, marks: np.ndarray
) -> tuple[int, int]:
    """Append events to n until there are `room`, as `_file.Code` says."""
    state, (t, x, y, p) = states[0], out
    y_at, p_at = (U(46), U(60)) if state.variant else (U(41), U(49))
    x_mask, y_mask = (U(0x3FFF), U(0x3FFF)) if state.variant else (U(0x1FF), U(0xFF))
    while k < len(words) and n < room:
        m = min(RUN, len(words) - k, room - n)
        run = words[k : k + m]
        ts, xs, ys, ps = t[n : n + m], x[n : n + m], y[n : n + m], p[n : n + m]
        falls = _falls(run, U(state.high))
        base = U(state.loops << 32)
        for i in range(m):
            word = run[i]
            ts[i] = base + (word & LOW)
            xs[i] = word >> U(32) & x_mask
            ys[i] = word >> y_at & y_mask
            ps[i] = word >> p_at & U(1)
        if falls:  # rare: once in 71 minutes
            last = U(state.high)
            for i in range(m):
                state.loops += last > (run[i] & LOW) + FALL
                last = run[i] & LOW
                ts[i] = (state.loops << 32) + np.int64(last)
        state.high = run[m - 1] & LOW
        n += m
        k += m
    return n, k


@jit
def _measure(words: np.ndarray, states: np.ndarray) -> tuple[int, int, int]:
    """The number of events and bounds of their times, as `_file.Code` says."""
    state = states[0]
    if len(words) == 0:
        return 0, 0, 0
    low = high = words[0] & LOW
    for word in words:
        low, high = min(low, word & LOW), max(high, word & LOW)
    before = state.loops
    state.loops += _falls(words, U(state.high))
    state.high = words[-1] & LOW
    return len(words), (before << 32) + np.int64(low), (state.loops << 32) + np.int64(high)


CODE = prophesee.Code("DAT", "<u8", 8, 1, _decode, _measure)


def detect(head: bytes) -> bool:
    """Whether the lines are those of a DAT file."""
    try:
        found = prophesee.parse_header(head)
    except ValueError:
        return False
    named = "version" in found.facts or found.facts.get("data", "").startswith("file containing")
    return found.kind is None and named


FORMATS.register(
    Format(
        name="dat",
        title="Prophesee DAT (N-CARS, Gen1, 1 Mpx)",
        suffixes=(".dat",),
        stream=stream,
        write=write,
        appends=True,
        detect=detect,
        bound=bound,
        bounded=True,
        header=header,
        extras={"triggers": triggers},
        live=live,
        threads=True,
    )
)
