"""An AEDAT 4 file: its header and table, and where its packets are; `aedat4` has the layout.

A place counts as a packet when its stream is known, its size lies within the file, and its payload
begins as payloads do; so after damage the next packet is found by its first bytes.
"""

import functools
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from xml.parsers import expat

import google_crc32c
import numpy as np

from eventkit.errors import FormatError
from eventkit.formats.aedat._aedat4_bytes import (
    COMPRESSIONS,
    ENTRY,
    MAGIC,
    Stream,
    read_header,
    read_rows,
    read_streams,
)
from eventkit.formats.aedat._aedat4_inflate import LIMIT, LZ4_MAGIC, ZSTD_MAGIC, inflater
from eventkit.formats.aedat._aedat4_walk import find
from eventkit.formats.base import Report, fill, opened
from eventkit.formats.filling import shorter
from eventkit.formats.live.feed import Feed

BLOCK = 1 << 18
NEAR = 1 << 12  # bytes in which the next packet is searched at first after damage
TAIL = 1 << 24  # bytes at the end in which a table is searched that is not where it should be
LARGEST_HEADER = 1 << 22
NOWHERE = 1 << 62  # the end of a recording that has none yet


@dataclass
class File:
    """An open file: its header, its table if it has one, and where its packets are."""

    path: Path
    fd: int
    end: int
    begin: int = 0
    last: int = 0  # where the packets end
    compression: str = "NONE"
    magic: int = 0  # the first four bytes of a payload; 0 if it is not compressed
    streams: dict[int, Stream] = field(default_factory=dict)
    table: np.ndarray | None = None  # ENTRY
    shift: int = 0  # bytes that are missing before the table

    @functools.cached_property
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
        with opened(path) as fd:
            self = cls(path, fd, os.fstat(fd).st_size)
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
            self.magic = {"L": LZ4_MAGIC, "Z": ZSTD_MAGIC}.get(self.compression[0], 0)
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

    def inflate(self, payload: Any) -> bytes | None:
        """The plain bytes of a payload, or None if it is damaged or larger than LIMIT."""
        return inflater(self.magic)(memoryview(payload))

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
    """Count a damaged place."""
    report.skipped(at, end, reason)
