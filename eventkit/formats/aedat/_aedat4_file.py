"""The packets of an AEDAT 4 file, as runs of events; `aedat4` has the layout.

A file is read block by block, and `_walk` hops from packet to packet within a block. Events of
plain packets are found in the block itself; compressed packets are inflated one by one, never
beyond LIMIT bytes. A place counts as a packet when its stream is known, its size lies within the
file, and its payload begins as payloads do; so after damage the next packet is found by its first
bytes.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Self
from xml.parsers import expat

import google_crc32c
import numpy as np

from eventkit.errors import FormatError
from eventkit.formats._threads import ALONE, Team
from eventkit.formats.aedat._aedat4_bytes import (
    COMPRESSIONS,
    ENTRY,
    MAGIC,
    Stream,
    find_events,
    read_header,
    read_rows,
    read_streams,
)
from eventkit.formats.aedat._aedat4_inflate import LIMIT, unlz4, unzstd
from eventkit.formats.aedat._aedat4_walk import find, is_packet, kept, plausible, walk
from eventkit.formats.base import HIGHEST, LOWEST, Report, fill
from eventkit.formats.filling import fill_whole, shorter
from eventkit.formats.live.feed import Feed

LZ4_MAGIC, ZSTD_MAGIC = 0x184D2204, 0xFD2FB528
BLOCK = 1 << 18
NEAR = 1 << 12  # bytes in which the next packet is searched at first after damage
TAIL = 1 << 24  # bytes at the end in which a table is searched that is not where it should be
LARGEST_HEADER = 1 << 22
NOWHERE = 1 << 62  # the end of a recording that has none yet
LISTED = 10  # damaged places that get a note of their own
RUN = np.dtype([("at", np.int64), ("n", np.int64)])  # events in a buffer, or a payload of n bytes
# Of the packet in which a block ends: events to come, bytes to skip after them, and now.
STATE = np.dtype([(name, np.int64) for name in ("more", "after", "skip")])
ANYTHING = 0, LOWEST, HIGHEST  # what is known of a packet without a table
Block = tuple[np.ndarray, np.ndarray]  # bytes, runs in them


@dataclass
class File:
    """An open file: its header, its table if it has one, and where its packets are."""

    path: Path
    fd: int
    end: int
    begin: int = 0
    last: int = 0  # where the packets end
    compression: str = "NONE"
    streams: dict[int, Stream] = field(default_factory=dict)
    table: np.ndarray | None = None  # ENTRY
    shift: int = 0  # bytes that are missing before the table

    @property
    def index(self) -> np.ndarray | None:
        """The table, if it accounts for every byte of the packets: only then none is missing."""
        if self.table is None:
            return None
        at, size = self.table["at"], self.table["packet"]["size"]
        begins = np.append(at - 8, self.last + self.shift)
        ends = np.append(self.begin, at + size)
        return self.table if np.array_equal(begins, ends) else None

    def entries(self, wanted: int | None, window: tuple[int, int]) -> np.ndarray | None:
        """The rows of the index for packets of a stream, or of all, that may meet a window of time.

        Some writers leave out the counts and times: what a row does not say is no reason to skip
        its packet.
        """
        if (rows := self.index) is None:
            return None
        meets = (rows["last"] >= window[0]) & (rows["first"] < window[1])
        meets |= rows["n"] == 0
        if wanted is not None:
            meets &= rows["packet"]["stream"] == wanted
        found: np.ndarray = rows[meets]
        return found

    @classmethod
    @contextmanager
    def open(cls, path: Path, strict: bool, report: Report) -> Iterator[Self]:
        """FormatError for a header that cannot be read; strict=False does without the table."""
        with path.open("rb", buffering=0) as file:
            self = cls(path, file.fileno(), os.fstat(file.fileno()).st_size)
            position = self._read_header()
            self.last = self.end
            if position != -1:
                try:
                    self.table = self._read_table(position)
                    self.last = position
                except FormatError as error:
                    if strict:
                        raise
                    report.notes.append(f"at byte {error.offset:,}: {error.reason}")
                    report.counts["damaged places"] += 1
                    self._search_table(position)
            yield self

    def _read_header(self) -> int:
        """The IOHeader; says where the table is, or -1."""
        head = os.pread(self.fd, len(MAGIC) + 4, 0)
        size = self._header_size(head)
        return self._parse_header(os.pread(self.fd, size, len(head)), len(head))

    def _header_size(self, head: bytes) -> int:
        """How long the IOHeader is, from the bytes before it."""
        if not head.startswith(MAGIC):
            raise FormatError(self.path, 0, f"starts with {head[:14]!r}, expected {MAGIC!r}")
        size = int.from_bytes(head[len(MAGIC) :], "little")
        if len(head) < len(MAGIC) + 4 or size > self.end - len(head):
            reason = f"its header promises {size:,} bytes, the file ends before; it is cut off"
            raise FormatError(self.path, len(MAGIC), reason)
        if size > LARGEST_HEADER:
            reason = f"its header promises {size:,} bytes, expected at most {LARGEST_HEADER:,}"
            raise FormatError(self.path, len(MAGIC), reason)
        return size

    def _parse_header(self, data: bytes, at: int) -> int:
        """Take in the IOHeader, which begins at a byte; says where the table is, or -1."""
        try:
            compression, position, text = read_header(data)
            self.compression = COMPRESSIONS[compression]
            self.streams = read_streams(text)
        except (struct.error, IndexError, ValueError, expat.ExpatError) as error:
            reason = f"its header cannot be read ({error}); without it nothing can be"
            raise FormatError(self.path, at, reason) from None
        self.begin = at + len(data)
        return position

    @classmethod
    def of(cls, feed: Feed) -> Self:
        """A live recording, whose header is used then; where it says that a table is, packets end.

        FormatError for a header that cannot be read.
        """
        self, least = cls(Path(feed.path), -1, NOWHERE), len(MAGIC) + 4
        for data in feed:
            if len(data) >= least and len(data) >= self._header_size(bytes(data[:least])) + least:
                break
        head = bytes(feed.data)
        if feed.ended:
            self.end = len(head)
        size = self._header_size(head[:least])
        position = self._parse_header(head[least : least + size], least)
        self.last = position if position >= self.begin else NOWHERE
        feed.use(self.begin)
        return self

    def _read_table(self, position: int) -> np.ndarray:
        """The FileDataTable; FormatError where it is not one, or speaks of what is not there."""
        if not self.begin <= position < self.end:
            reason = f"its table should be at byte {position:,}, the file ends at {self.end:,}"
            raise FormatError(self.path, position, f"{reason}; strict=False reads without it")
        if self.end - position > LIMIT:
            raise FormatError(self.path, position, f"its table is larger than {LIMIT:,} bytes")
        data = self.inflate(os.pread(self.fd, self.end - position, position))
        table = None if data is None else read_rows(data, b"FTAB", ENTRY)
        if table is None or not self._holds(table, position):
            reason = "its table of packets is damaged; strict=False reads without it"
            raise FormatError(self.path, position, reason)
        return table

    def _search_table(self, position: int) -> None:
        """Take the table from the end of the file, if bytes before it are missing."""
        reach = min(self.end - self.begin, TAIL)
        tail = os.pread(self.fd, reach, self.end - reach)
        mark = self.magic.to_bytes(4, "little") if self.magic else b"FTAB"
        at = tail.rfind(mark) - (0 if self.magic else 8)
        found = self.end - reach + at
        data = self.inflate(tail[at:]) if at >= 0 and found < position else None
        table = None if data is None else read_rows(data, b"FTAB", ENTRY)
        if table is not None and self._holds(table, position):
            self.table, self.last, self.shift = table, found, position - found

    def _holds(self, table: np.ndarray, position: int) -> bool:
        """Whether the packets of a table lie where packets are."""
        size, at = table["packet"]["size"], table["at"]
        inside = (size >= 0) & (at >= self.begin + 8) & (at + size <= position)
        return bool((inside & (table["n"] >= 0)).all())

    @property
    def known(self) -> np.ndarray:
        """The numbers of the streams, in order."""
        return np.array(sorted(self.streams), np.int64)

    @property
    def magic(self) -> int:
        """The first four bytes of a payload; 0 if it is not compressed."""
        return {"L": LZ4_MAGIC, "Z": ZSTD_MAGIC}.get(self.compression[0], 0)

    def inflate(self, payload: Any) -> bytes | None:
        """The plain bytes of a payload, or None if it is damaged or larger than LIMIT."""
        data = memoryview(payload)
        if self.magic and int.from_bytes(data[:4], "little") != self.magic:
            return None
        if not self.magic:
            return bytes(data)
        return unlz4(data) if self.magic == LZ4_MAGIC else unzstd(data)

    def find(self, at: int) -> int:
        """The first byte from `at` on where a packet begins, or where packets end."""
        buffer, reach = np.empty(BLOCK, np.uint8), NEAR
        known = self.known
        while (n := fill(self.fd, buffer[: min(reach, self.last - at)], at)) >= 20:
            found = find(buffer[:n], self.last - at, known, self.magic)
            if found >= 0:
                return at + found
            at, reach = at + n - 19, min(2 * reach, BLOCK)
        return self.last


def runs(file: File, wanted: int, report: Report, team: Team = ALONE) -> Iterator[Block]:
    """All events of a stream; FormatError at the first damage.

    The report gets the checksum of the file, if it wants one.
    """
    walk = _Walk(file, wanted, team, Digest(file) if report.checksum else None)
    entries = file.entries(wanted, (LOWEST, HIGHEST))
    promises = _promises(entries)
    unseen = set(promises[:, 0].tolist())
    counts, fault = np.zeros(len(promises), np.int64), -1
    if file.magic:
        packets = walk.payloads(file.begin, walk.block)
        known = {place: rest for place, *rest in promises.tolist() if rest[0]}
        work = partial(_inflated, file, known)
        for place, block in team.map(work, packets, itemgetter(2)):
            if block is None or (entries is not None and place not in unseen):
                fault = place
                break
            unseen.discard(place)
            yield block
        if fault < 0 and walk.fault < 0:
            fault = min(unseen, default=-1)
    else:
        for buffer, at, rows in walk.blocks(file.begin, walk.block):
            data = _frozen(buffer)
            sound, fault = kept(data, rows, at, promises, counts)
            if sound:
                yield data, rows[:sound]
            if fault >= 0:
                break
    fault = walk.fault if fault < 0 else fault
    missed = promises[(counts != promises[:, 1]) & (promises[:, 1] > 0), 0]
    if fault < 0 and len(missed) and not file.magic:
        fault = int(missed[0])
    if fault >= 0:
        hint = "strict=False reads what is sound"
        raise FormatError(file.path, fault, f"{fault_at(file, fault, wanted)}; {hint}")
    if walk.digest is not None:
        walk.digest.rest()
        report.crc32c = walk.digest.crc


def _promises(entries: np.ndarray | None) -> np.ndarray:
    """What the table says of packets: rows of place, events, first and last time."""
    if entries is None:
        return np.zeros((0, 4), np.int64)
    return np.stack([entries["at"] - 8, *(entries[name] for name in ("n", "first", "last"))], 1)


class _Walk:
    """The packets of a stream, up to the end of all packets or to a `fault` (-1: none)."""

    def __init__(self, file: File, wanted: int, team: Team, digest: "Digest | None") -> None:
        self.digest, self.fault = digest, -1
        self._file, self._wanted, self._team = file, wanted, team
        self._known = file.known
        self.block = BLOCK if team.alone else 8 * BLOCK  # fewer to hand over
        self._longest = min(self.block, file.last - file.begin)
        self._free = team.buffers(self._longest)

    def blocks(self, at: int, reach: int) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
        """From a packet on: blocks, where they begin in the file, and the RUNs in them.

        `reach` bytes are read at first.
        """
        file, self.fault = self._file, -1
        rows, state = np.empty(self._longest // 20 + 2, RUN), np.zeros(1, STATE)
        while at < file.last and self.fault < 0:
            reach = min(reach, file.last - at)
            buffer = self._read(at, reach)
            found, used, need = walk(
                buffer, file.last - at, self._wanted, self._known, file.magic, state, rows
            )
            if found == used == 0 and reach < need <= LIMIT:
                reach = need
                continue
            if need < 0 or found == used == 0:
                self.fault = at + used
            if found:
                yield buffer, at, rows[:found].copy()
            at, reach = at + used, min(2 * reach, self.block)

    def payloads(self, at: int, reach: int) -> Iterator[tuple[np.ndarray, int, int]]:
        """From a packet on: compressed packets, where they begin in the file, and their size."""
        for buffer, offset, rows in self.blocks(at, reach):
            for begin, size in rows.tolist():
                yield buffer[begin : begin + size], offset + begin - 8, size

    def _read(self, at: int, n: int) -> np.ndarray:
        if n > self._longest:
            self._longest, self._free = n, self._team.buffers(n)
        buffer = fill_whole(self._file.path, self._file.fd, next(self._free)[:n], at)
        if self.digest is not None:
            self.digest.add(buffer, at)
        return buffer


def _frozen(buffer: np.ndarray) -> np.ndarray:
    """A view that cannot be written, as inflated bytes are: kernels are compiled for one type."""
    view = buffer.view()
    view.flags.writeable = False
    return view


def _inflated(
    file: File, promises: dict[int, list[int]], packet: tuple[Any, int, int]
) -> tuple[int, Block | None]:
    """Where a compressed packet begins, and its events, or None if it is damaged."""
    payload, place, _ = packet
    return place, unpacked(file, payload, *promises.get(place, ANYTHING))


def unpacked(file: File, payload: Any, n: int, first: int, last: int) -> Block | None:
    """The events of a payload, or None if it is damaged or has not n events of these times.

    n is 0 where the number and the times are not known.
    """
    data = file.inflate(payload)
    if data is None:
        return None
    plain = np.frombuffer(data, np.uint8)
    at, found = find_events(plain, 0, len(plain))
    if found < 0 or (n and found != n) or not plausible(plain, at, found, first, last):
        return None
    return plain, np.array([(at, found)], RUN)


def arrived(file: File, feed: Feed, wanted: int, strict: bool, report: Report) -> Iterator[Block]:
    """The events of a stream of a live recording, each packet as it is there.

    Damage raises FormatError, or is skipped with a count. A table ends the packets.
    """
    known = file.known
    for data in feed:
        at, n = 0, min(len(data), file.last - feed.offset)
        while n - at >= 20 and not _is_table(file, bytes(data[at : at + 12])):
            stream, size = struct.unpack("<ii", data[at : at + 8].tobytes())
            if is_packet(data, at, known, file.magic) and size <= LIMIT:
                if at + 8 + size > n:
                    break
                block = None
                if stream == wanted:
                    block = unpacked(file, data[at + 8 : at + 8 + size], *ANYTHING)
                if block is not None:
                    yield block
                if block is not None or stream != wanted:
                    at += 8 + size
                    continue
            reason = (
                f"expected a packet of stream {wanted}, found {bytes(data[at : at + 20]).hex(' ')}"
            )
            if strict:
                raise FormatError(
                    feed.path, feed.offset + at, f"{reason}; strict=False reads what is sound"
                )
            found = find(data[at + 1 : n], NOWHERE, known, file.magic)
            end = at + 1 + found if found >= 0 else n - 19
            note(report, feed.offset + at, feed.offset + end, reason)
            at = end
        if file.last <= feed.offset + at or _is_table(file, bytes(data[at : at + 12])):
            feed.drain()
            return
        feed.use(at)


def _is_table(file: File, head: bytes) -> bool:
    """Whether a payload without a packet header begins here, which only the table has."""
    if file.magic:
        return int.from_bytes(head[:4], "little") == file.magic
    return head[8:12] == b"FTAB"


def chosen(file: File, entries: np.ndarray, team: Team) -> Iterator[Block]:
    """The events of some packets of the table; what lies between is not read.

    FormatError where a packet is not what the table says of it.
    """
    return team.map(partial(_required, file), entries.tolist(), lambda entry: entry[1][1])


def _required(file: File, entry: Any) -> Block:
    block = promised(file, entry, entry[0] - 8)
    if block is None:
        reason = f"the packet has not {promise(entry)} that the table promises"
        hint = "strict=False leaves it out"
        raise FormatError(file.path, entry[0] - 8, f"{reason}; {hint}")
    return block


def promise(entry: Any) -> str:
    """What a row of the table says of a packet."""
    _, (_, size), n, first, last = entry
    return f"the {n:,} events from {first} to {last} µs" if n else f"the {size:,} bytes of events"


def promised(file: File, entry: Any, place: int) -> Block | None:
    """The events of a packet of the table that begins at a place, or None if it is another."""
    _, (stream, size), n, first, last = entry
    data = np.empty(size + 8, np.uint8)
    if fill(file.fd, data, place) < len(data) or data[:8].view("<i4").tolist() != [stream, size]:
        return None
    return unpacked(file, data[8:], *((n, first, last) if n else ANYTHING))


def payloads(file: File, kind: str) -> Iterator[tuple[int, bytes]]:
    """The plain payloads of all streams of a kind (FRME), and where their packets are.

    FormatError where a packet is damaged.
    """
    at = file.begin
    while at < file.last:
        head = os.pread(file.fd, 8, at)
        stream, size = struct.unpack("<ii", head) if len(head) == 8 else (-1, -1)
        if stream not in file.streams or not 0 <= size <= min(LIMIT, file.last - at - 8):
            raise FormatError(file.path, at, fault_at(file, at, min(file.streams, default=0)))
        if file.streams[stream].kind == kind:
            data = file.inflate(os.pread(file.fd, size, at + 8))
            if data is None:
                raise FormatError(file.path, at, "the payload of a packet is damaged")
            yield at, data
        at += 8 + size


class Digest:
    """The checksum of a file of which blocks are read, some bytes maybe twice or not at all."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._done = self.crc = 0

    def add(self, data: np.ndarray, at: int) -> None:
        """The bytes from a place on, of which a part may be known."""
        self._upto(at)
        if at + len(data) > self._done:
            self.crc = google_crc32c.extend(self.crc, data[self._done - at :])
            self._done = at + len(data)

    def rest(self) -> None:
        self._upto(self._file.end)

    def _upto(self, at: int) -> None:
        while self._done < at:
            data = os.pread(self._file.fd, min(BLOCK, at - self._done), self._done)
            if not data:
                raise shorter(self._file.path, self._done)
            self.crc = google_crc32c.extend(self.crc, data)
            self._done += len(data)


def fault_at(file: File, at: int, wanted: int) -> str:
    """What is wrong with the packet at a byte."""
    head = os.pread(file.fd, 8, at)
    if len(head) < 8 or file.last - at < 8:
        return f"the packets end {file.last - at} bytes into a packet header; the file is cut off"
    stream, size = struct.unpack("<ii", head)
    if stream not in file.streams or size < 0:
        return f"expected a packet of stream {wanted}, found stream {stream} with {size:,} bytes"
    if at + 8 + size > file.last:
        return f"a packet promises {size:,} bytes, of which {file.last - at - 8:,} are there"
    if size > LIMIT:
        return f"a packet promises {size:,} bytes, expected at most {LIMIT:,}"
    return "the payload of a packet is damaged, or it is not what the table says"


def note(report: Report, at: int, end: int, reason: str) -> None:
    """Count a damaged place, and tell of the first few."""
    report.counts["damaged places"] += 1
    report.counts["skipped bytes"] += end - at
    places = report.counts["damaged places"]
    if places <= LISTED:
        report.notes.append(f"at byte {at:,}: {reason}; skipped to byte {end:,}")
    elif places == LISTED + 1:
        report.notes.append("further damaged places are counted, not listed")
