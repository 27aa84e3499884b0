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
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats._threads import Arrays, Team, Unit
from eventkit.formats.aedat import _aedat3_packets as packets
from eventkit.formats.aedat._aedat3_decode import decode, measure
from eventkit.formats.aedat._aedat3_packets import EVENT, RUN, Block, File, blocks, chosen
from eventkit.formats.aedat._aedat3_write import DEVICES, write
from eventkit.formats.base import FORMATS, HEAD, Format, Report, Size, limits, parse_size
from eventkit.formats.filling import Chunks
from eventkit.formats.live.feed import Feed, cut_off

MAGIC, END = b"#!AER-DAT3", b"#!END-HEADER"
SETTLED = 100_000_000  # ns; a file changed just now may change again within a tick of its clock


@dataclass(frozen=True)
class _Head:
    """The ASCII lines: what they say, and the byte at which the packets begin."""

    version: str
    begin: int
    facts: dict[str, str] = field(default_factory=dict)

    def size(self, option: Size | None, report: Report) -> tuple[int, int]:
        """The size given, or that of the first camera known, or 128x128 with a note."""
        if option is not None:
            return option
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
    size: Size | None = None,
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
    chunks = Chunks(into, room, size)
    for buffer, offset, runs in found:
        run = k = 0
        while run < len(runs):
            n, run, k, invalid = decode(
                buffer, offset, runs, run, k, *window, *turn, *chunks.place()
            )
            if invalid:
                report.counts["invalid"] += invalid
            yield from chunks.take(n)
    yield from chunks.rest()


def live(
    feed: Feed, report: Report, into: Columns, *, strict: bool, size: Size | None = None
) -> Iterator[Events]:
    """Polarity events as they come, packet by packet. Counts as `stream`, but for clock resets."""
    for data in feed:
        if len(data) >= HEAD or not _in_head(bytes(data)):
            break
    text = bytes(feed.data[:HEAD])
    head = _parse_head(Path(feed.path), text, len(text), strict, report)
    sensor = head.size(size, report)
    turn, window = (0, 1) if head.version != "3.0" else (sensor[1] - 1, -1), limits(None, None)
    feed.use(head.begin)
    yield Events.empty(sensor)
    for data, ended in feed.to_the_end():
        # Where we stopped, the last packet may be cut off.
        whole = strict and not (ended and feed.stop)
        runs, used = packets.whole(data, feed, ended, whole, report)
        into.reserve(room := int(runs["n"].sum()))
        n, _, _, invalid = decode(data, 0, runs, 0, 0, *window, *turn, *into.arrays, 0, room)
        if invalid:
            report.counts["invalid"] += invalid
        yield into.events(n, sensor)
        feed.use(used)
    cut_off(feed, report, strict, "a packet")


def _in_head(text: bytes) -> bool:
    """Whether the ASCII lines go on beyond what is there."""
    if (end := text.find(END)) >= 0:
        return text.find(b"\n", end) < 0
    last = text.rfind(b"\n") + 1
    return last == len(text) or text.startswith(b"#", last)


def _units(
    found: Iterable[Block], window: tuple[int, int], turn: tuple[int, int], invalid: list[int]
) -> Iterator[Unit]:
    """The blocks as work for threads, each of which appends its number of invalid events."""

    def unit(buffer: np.ndarray, offset: int, runs: np.ndarray, columns: Arrays) -> int:
        room = len(columns[0])
        n, _, _, left_out = decode(buffer, offset, runs, 0, 0, *window, *turn, *columns, 0, room)
        invalid.append(left_out)
        return n

    for buffer, offset, runs in found:
        if len(runs):
            most = int(runs["n"].sum(dtype=np.int64))
            yield most, functools.partial(unit, buffer, offset, runs.copy())


def _read_head(file: File, strict: bool, report: Report) -> _Head:
    """The ASCII lines of a file."""
    return _parse_head(file.path, os.pread(file.fd, HEAD, 0), file.end, strict, report)


def _parse_head(path: Path, text: bytes, end: int, strict: bool, report: Report) -> _Head:
    """The ASCII lines; FormatError where they are not those of AEDAT 3.0 or 3.1."""
    version = text[len(MAGIC) - 1 : len(MAGIC) + 2].decode("latin-1")
    if not text.startswith(MAGIC) or version not in ("3.0", "3.1"):
        reason = f"starts with {text[:14]!r}, expected #!AER-DAT3.0 or #!AER-DAT3.1"
        raise FormatError(path, 0, reason)
    facts: dict[str, str] = {}
    begin, line = 0, b""
    while text.startswith(b"#", begin) and line != END and (stop := text.find(b"\n", begin)) >= 0:
        line, begin = text[begin:stop].rstrip(), stop + 1
        if match := re.fullmatch(rb"#(\w[\w -]*?)\s*:\s*(.*)", line):
            facts[match[1].decode("latin-1").lower()] = match[2].decode("latin-1")
    if facts.get("format", "RAW").upper() != "RAW":
        reason = f"its packets are compressed (#Format: {facts['format']}), only RAW can be read"
        raise FormatError(path, 0, reason)
    if text.startswith(b"#", begin) or (begin == end and version == "3.1" and line != END):
        if len(text) < end:
            raise FormatError(path, begin, f"no packets in the first {HEAD:,} bytes")
        reason = "the file ends before #!END-HEADER; it is cut off"
        if strict:
            raise FormatError(path, begin, reason)
        report.notes.append(reason)
        begin = end
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
            measure(buffer, offset, runs)
            parts.append(runs.copy())
    whole = np.concatenate(parts)
    whole.setflags(write=False)  # shared by all who read windows of the file
    return Index(head, whole, report)


FORMATS.register(
    Format(
        name="aedat3",
        title="AEDAT 3.0 and 3.1 (cAER, DVS128 Gesture)",
        suffixes=(".aedat",),
        stream=stream,
        write=write,
        appends=True,
        detect=lambda head: head.startswith(MAGIC),
        bound=bound,
        header=header,
        live=live,
        threads=True,
    )
)
