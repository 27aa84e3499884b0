"""AEDAT 3.0 and 3.1: the recordings of cAER, and the format of DVS128 Gesture.

ASCII lines that start with # and end in CRLF (or LF), the last of them #!END-HEADER in 3.1; then
packets, little endian, each a header of 28 bytes and events of one type:

    packet header                      polarity event (type 1), 8 bytes
     0 int16 type                      0 uint32: 0 valid | 1 ON | 2-16 y | 17-31 x
     2 int16 source (camera)           4 int32: time (31 bits)
     4 int32 size of an event
     8 int32 offset of its time        t = overflow << 31 | time [µs]
    12 int32 overflow
    16 int32 capacity                  special event (type 0), 8 bytes
    20 int32 number of events          0 uint32: 0 valid | 1-7 kind | 8-31 data
    24 int32 number of valid events    4 int32: time

The body has `number` events; some writers pad it to `capacity`: the one is right after which
another packet, or the end of the file, follows. The origin is at the top left in 3.1, at the bottom
left in 3.0. Specification:
https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-3.1.html

A file is read block by block, never mapped. `index` keeps where the events of a file are and when
they happened, so that a window of time is read without reading what lies outside.
"""

import contextlib
import functools
import itertools
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from eventkit._jit import jit
from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats import FORMATS, HEAD, Format, Report, limits, parse_size
from eventkit.formats._aedat3 import EVENT, HEADER, RUN, Block, File, blocks, chosen
from eventkit.formats._threads import Arrays, Team, Unit

MAGIC, END = b"#!AER-DAT3", b"#!END-HEADER"
PIECE = 2048  # events that are decoded at once, if all of them are good
SETTLED = 100_000_000  # ns; a file changed just now may change again within a tick of its clock
# Sizes of the sensors, by the names that libcaer gives to its devices; a family has one size.
DEVICES = {
    "DVS128": (128, 128),
    "DAVIS240C": (240, 180),
    "DAVIS346B": (346, 260),
    "DAVIS128": (128, 128),
    "DAVIS208": (208, 192),
    "DAVIS640": (640, 480),
    "EDVS4337": (128, 128),
}


@dataclass(frozen=True)
class _Head:
    """The ASCII lines: what they say, and the byte at which the packets begin."""

    version: str
    begin: int
    facts: dict[str, str] = field(default_factory=dict)

    def size(self, option: str | None, report: Report) -> tuple[int, int]:
        """The size given, or that of the first camera known, or 128x128 with a note."""
        if option is not None:
            return parse_size(option)
        devices = [value for key, value in self.facts.items() if key.startswith("source")]
        for device in devices:
            if match := re.search(r"\b\d+x\d+\b", device):
                with contextlib.suppress(OptionError):
                    return parse_size(match[0])
            for known, size in DEVICES.items():
                if device.upper().startswith(known[:8]):  # the letter after the number is a make
                    return size
        named = f"of {devices[0]!r} is unknown" if devices else "is not in the file"
        report.notes.append(f"the sensor's size {named}, taken as 128x128; size=WxH sets it")
        return 128, 128


@dataclass(frozen=True)
class Index:
    """Where the events of a file are and when they happened.

    runs is a structured array (RUN), a row for at most one packet; report has the counts, notes
    and checksum of the whole file.
    """

    head: _Head
    runs: np.ndarray
    report: Report

    @property
    def events(self) -> int:
        """The number of valid polarity events."""
        return int(self.runs["valid"].sum(dtype=np.int64))

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last time (µs), if there are events."""
        if not len(self.runs):
            return None
        return int(self.runs["first"].min()), int(self.runs["last"].max())


def stream(
    path: Path,
    report: Report,
    into: Columns,
    *,
    chunk: int,
    start: int | None,
    stop: int | None,
    strict: bool,
    size: str | None = None,
    threads: int = 1,
) -> Iterator[Events]:
    """Polarity events; size (as 128x128) is that of the sensor, if the file does not name it.

    Several `threads` decode side by side. Counts: invalid events (marked so, or with a negative
    time). If the whole file is read, also special, frame, imu6, ... events, damaged places and
    skipped bytes.
    """
    window = limits(start, stop)
    with File.open(path) as file, Team(threads) as team:
        if start is None and stop is None:
            head = _read_head(file, strict, report)
            most = (file.end - head.begin) // EVENT
            found = blocks(file, head.begin, strict, report, team)
        else:
            whole = index(path, strict=strict)
            head, runs = whole.head, whole.runs
            report.notes += whole.report.notes
            report.crc32c, report.span = whole.report.crc32c, whole.span
            runs = runs[(runs["last"] >= window[0]) & (runs["first"] < window[1])]
            most = int(runs["valid"].sum(dtype=np.int64))
            found = chosen(file, runs, team)
        sensor = head.size(size, report)
        turn = (0, 1) if head.version != "3.0" else (sensor[1] - 1, -1)
        if team.alone:
            room = max(1, min(chunk, most))
            yield from _events(found, report, into, room, window, turn, sensor)
        else:
            invalid: list[int] = []
            units = _units(found, window, turn, invalid)
            try:
                yield from team.decode(units, into, chunk, most, sensor)
            finally:
                if any(invalid):
                    report.counts["invalid"] += sum(invalid)


def _events(
    found: Iterable[Block],
    report: Report,
    into: Columns,
    room: int,
    window: tuple[int, int],
    turn: tuple[int, int],
    size: tuple[int, int],
) -> Iterator[Events]:
    """The valid events of the window, in chunks of `room`, the last of what is left."""
    into.reserve(room)
    n, empty = 0, True
    for buffer, offset, runs in found:
        run = k = 0
        while run < len(runs):
            if n == 0:
                into.reserve(room)
            n, run, k, invalid = _decode(
                buffer, offset, runs, run, k, *window, *turn, *into.arrays, n, room
            )
            if invalid:
                report.counts["invalid"] += invalid
            if n == room:
                yield into.events(n, size)
                n, empty = 0, False
    if n or empty:
        yield into.events(n, size)


def _units(
    found: Iterable[Block], window: tuple[int, int], turn: tuple[int, int], invalid: list[int]
) -> Iterator[Unit]:
    """The blocks as work for threads, each of which appends its number of invalid events."""

    def decode(buffer: np.ndarray, offset: int, runs: np.ndarray, columns: Arrays) -> int:
        room = len(columns[0])
        n, _, _, left_out = _decode(buffer, offset, runs, 0, 0, *window, *turn, *columns, 0, room)
        invalid.append(left_out)
        return n

    for buffer, offset, runs in found:
        if len(runs):
            most = int(runs["n"].sum(dtype=np.int64))
            yield most, functools.partial(decode, buffer, offset, runs.copy())


def _read_head(file: File, strict: bool, report: Report) -> _Head:
    """The ASCII lines; FormatError where they are not those of AEDAT 3.0 or 3.1."""
    text = os.pread(file.fd, HEAD, 0)
    version = text[len(MAGIC) - 1 : len(MAGIC) + 2].decode("latin-1")
    if not text.startswith(MAGIC) or version not in ("3.0", "3.1"):
        reason = f"starts with {text[:14]!r}, expected #!AER-DAT3.0 or #!AER-DAT3.1"
        raise FormatError(file.path, 0, reason)
    facts: dict[str, str] = {}
    begin, line = 0, b""
    while text.startswith(b"#", begin) and line != END and (stop := text.find(b"\n", begin)) >= 0:
        line, begin = text[begin:stop].rstrip(), stop + 1
        if match := re.fullmatch(rb"#(\w[\w -]*?)\s*:\s*(.*)", line):
            facts[match[1].decode("latin-1").lower()] = match[2].decode("latin-1")
    if facts.get("format", "RAW").upper() != "RAW":
        reason = f"its packets are compressed (#Format: {facts['format']}), only RAW can be read"
        raise FormatError(file.path, 0, reason)
    if text.startswith(b"#", begin) or (begin == file.end and version == "3.1" and line != END):
        if len(text) < file.end:
            raise FormatError(file.path, begin, f"no packets in the first {HEAD:,} bytes")
        reason = "the file ends before #!END-HEADER; it is cut off"
        if strict:
            raise FormatError(file.path, begin, reason)
        report.notes.append(reason)
        begin = file.end
    return _Head(version, begin, facts)


def header(path: Path) -> dict[str, Any]:
    """The version and the facts of the ASCII lines: format, source 1, start-time, ..."""
    with File.open(path) as file:
        head = _read_head(file, False, Report())
    return {"version": head.version, **head.facts}


def bound(path: Path) -> int:
    """At most so many events are in the file."""
    return path.stat().st_size // EVENT


class _Slot:
    """Room for an index: made once, while who else wants it waits."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.index: Index | None = None


@functools.lru_cache(maxsize=16)
def _slot(*key: Any) -> _Slot:
    return _Slot()


def index(path: Path, *, strict: bool = True) -> Index:
    """The index of a file, from one pass over all of it; kept for the last few files.

    Raises FormatError as reading the whole file would.
    """
    now = path.stat()
    if abs(time.time_ns() - now.st_mtime_ns) < SETTLED:
        return _index(path, strict)
    # A lock that another thread holds stays locked in a forked child: hence the process.
    slot = _slot(str(path), now.st_ino, now.st_size, now.st_mtime_ns, strict, os.getpid())
    with slot.lock:
        if slot.index is None:
            slot.index = _index(path, strict)
        return slot.index


def _index(path: Path, strict: bool) -> Index:
    report = Report()
    parts = [np.empty(0, RUN)]
    with File.open(path) as file:
        head = _read_head(file, strict, report)
        for buffer, offset, runs in blocks(file, head.begin, strict, report):
            _measure(buffer, offset, runs)
            parts.append(runs.copy())
    whole = np.concatenate(parts)
    whole.setflags(write=False)  # shared by all who read windows of the file
    return Index(head, whole, report)


def write(file: BinaryIO, chunks: Iterable[Events], *, packet: int = 4096) -> None:
    """AEDAT 3.1 as libcaer writes it, `packet` events at a time; coordinates below 32,768.

    Times go from 0 to 2^62 − 1 µs. The same events give the same bytes, however they are cut into
    chunks: the header has no date.
    """
    if packet < 1:
        raise OptionError(f"packet is {packet}, expected at least 1")
    rest = None
    for events in chunks:
        if rest is None:
            names = [name for name, size in DEVICES.items() if size == events.size]
            device = names[0] if names else f"eventkit {events.width}x{events.height}"
            lines = ("#!AER-DAT3.1", "#Format: RAW", f"#Source 0: {device}", "#!END-HEADER")
            file.write("".join(f"{line}\r\n" for line in lines).encode())
            rest = events[:0]
        _check(events)
        *full, rest = _packets(Events.concat([rest, events]) if len(rest) else events, packet)
        for part in full:
            file.write(_encode(part))
        rest = rest.copy()
    if rest is not None and len(rest):
        file.write(_encode(rest))


def _check(events: Events) -> None:
    if not len(events):
        return
    low, high = int(events.t.min()), int(events.t.max())
    if low < 0 or high >= 1 << 62:
        raise OptionError(f"aedat3 holds times from 0 to 2^62 - 1 µs, found {low} to {high}")
    x, y = int(events.x.max()), int(events.y.max())
    if max(x, y) >= 1 << 15:
        raise OptionError(f"aedat3 holds coordinates below 32,768, found x {x}, y {y}")


def _packets(events: Events, packet: int) -> list[Events]:
    """Events cut where t >> 31 changes, and into packets; at least one, the last maybe not full."""
    overflow = events.t >> 31
    cuts = [0, *(np.flatnonzero(overflow[1:] != overflow[:-1]) + 1).tolist(), len(events)]
    starts = [at for a, b in itertools.pairwise(cuts) for at in range(a, b, packet)]
    return [events[a:b] for a, b in zip(starts or [0], [*starts[1:], len(events)], strict=True)]


def _encode(events: Events) -> bytes:
    words = np.empty((len(events), 2), "<u4")
    words[:, 0] = events.x.astype(np.uint32) << 17 | events.y.astype(np.uint32) << 2
    words[:, 0] |= events.p.astype(np.uint32) << 1 | 1
    words[:, 1] = events.t & 0x7FFFFFFF
    n = len(events)
    return HEADER.pack(1, 0, EVENT, 4, int(events.t[0] >> 31), n, n, n) + words.tobytes()


@jit
def _decode(
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
def _measure(buffer: np.ndarray, offset: int, runs: np.ndarray) -> None:
    """First and last time and the number of valid events of each run."""
    for run in range(len(runs)):
        at = runs[run].at - offset
        first, last, valid = _extent(buffer[at : at + 8 * runs[run].n].view(np.int32))
        runs[run].first, runs[run].last = runs[run].base + first, runs[run].base + last
        runs[run].valid = valid


FORMATS.register(
    Format(
        name="aedat3",
        title="AEDAT 3.0 and 3.1 (cAER, DVS128 Gesture)",
        suffixes=(".aedat",),
        stream=stream,
        write=write,
        detect=lambda head: head.startswith(MAGIC),
        bound=bound,
        header=header,
    )
)
