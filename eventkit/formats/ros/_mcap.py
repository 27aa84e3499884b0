"""Bags of version 2 in MCAP, read record by record, so that one without its summary can be too.

    \\x89MCAP0\\r\\n, then records: uint8 kind, uint64 length, data; little endian, strings and maps
    after their uint32 length in bytes:
        3 schema: uint16 number, name of the type
        4 channel: uint16 number, uint16 schema, topic
        5 message: uint16 channel, uint32 number, uint64 time, uint64 time, the message
        6 chunk: uint64 start, uint64 end, uint64 size when inflated, uint32 CRC of that (0: none),
          compression ("", lz4, zstd), uint64 length, records
        8 of the summary, for a chunk: uint64 start, uint64 end, uint64 place, uint64 length,
          map of uint16 channel, uint64 place
        15 the end of the data
        2 footer: uint64 place of the summary (0: none), ...; then the first 8 bytes again

Source: https://mcap.dev/spec
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from eventkit.errors import FormatError
from eventkit.formats._inflate import Budget

MAGIC = b"\x89MCAP0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, INDEX, END = 2, 3, 4, 5, 6, 8, 15
KINDS = range(1, 16)
HEAD, TAIL = struct.Struct("<BQ"), 9 + 20 + len(MAGIC)  # of a record; bytes of the footer
NEEDED = (SCHEMA, CHANNEL, MESSAGE, CHUNK, INDEX, FOOTER)
FAULTS = (ValueError, KeyError, struct.error, RuntimeError)


class McapBag:
    """The topics and messages of an .mcap file; not strict, of one that is damaged or cut off.

    `losses` are sentences about what is not read.
    """

    version = 2

    def __init__(self, path: Path, strict: bool, budget: Budget) -> None:
        self.losses: list[str] = []
        self._path, self._strict, self._budget = path, strict, budget
        self._end = path.stat().st_size
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, int]] = {}  # topic, schema
        self._chunks: dict[int, set[int]] = {}  # channels of each, by its place
        try:
            self._read_summary()
        except FAULTS as error:
            if strict:
                reason = (
                    f"the bag has no whole summary, so it was not closed or is cut off ({error})"
                )
                raise FormatError(path, None, f"{reason}; strict=False reads the rest") from error
        if not self._channels:
            for _ in self._records_of_all(None):
                pass

    def topics(self) -> list[tuple[str, str]]:
        """Each topic with the type of its messages."""
        return sorted({(topic, self._schemas.get(n, "")) for topic, n in self._channels.values()})

    def messages(self, topic: str) -> Iterator[bytes]:
        """The messages of a topic, in the order of the chunks and of their times in each."""
        self.losses.clear()
        self._budget.begin()
        return self._records_of_all(topic)

    def _records_of_all(self, topic: str | None) -> Iterator[bytes]:
        """The messages of a topic; what a channel or schema says is kept on the way."""
        for offset, kind, data in self._walk():
            found: list[tuple[int, bytes]] = []
            wanted = {n for n, (name, _) in self._channels.items() if name == topic}
            # A chunk whose index names no channels may have any.
            there = self._chunks.get(offset) if kind == CHUNK else None
            if there and wanted and there.isdisjoint(wanted):
                continue
            try:
                for one, part in self._inflated(data) if kind == CHUNK else [(kind, data)]:
                    self._note(one, part)
                    if one == MESSAGE:
                        channel, _, time = struct.unpack_from("<HIQ", part)
                        if self._channels.get(channel, ("", 0))[0] == topic:
                            found.append((time, bytes(part[22:])))
            except FormatError:
                raise
            except FAULTS as error:
                self._lose(offset, str(error))
            found.sort(key=lambda message: message[0])
            for _, message in found:
                yield message

    def _walk(self) -> Iterator[tuple[int, int, bytes]]:
        """The place, kind and data of each record up to the end of the data."""
        with self._path.open("rb") as file:
            file.seek(len(MAGIC))
            while (offset := file.tell()) < self._end:
                try:
                    kind, data = _record(file, self._end, not self._strict)
                except FAULTS as error:
                    self._lose(offset, str(error))
                    after = [place for place in self._chunks if place > offset]
                    if not after:
                        return
                    file.seek(min(after))
                    self.losses[-1] += f"; reading goes on at byte {min(after):,}"
                    continue
                if kind in (END, FOOTER):
                    return
                yield offset, kind, data

    def _inflated(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """The records of a chunk; ValueError after those that are whole, if it is cut off."""
        size, crc = struct.unpack_from("<QI", data, 16)
        compression, at = _text(data, 28)
        packed = data[at + 8 :]
        if compression == "lz4":
            import lz4.frame

            whole = self._budget.inflate(lz4.frame.LZ4FrameDecompressor(), packed, size)
        elif compression == "zstd":
            import zstandard

            target = io.BytesIO()
            reader = zstandard.ZstdDecompressor().stream_reader(packed)
            try:
                self._budget.copy(reader, target, size)
            except zstandard.ZstdError as error:
                raise ValueError(str(error)) from error
            whole = target.getvalue()
        elif compression:
            raise ValueError(f"a chunk is compressed as {compression!r:.20}, not lz4 or zstd")
        else:
            whole = packed
        if len(whole) == size and crc and zlib.crc32(whole) != crc:
            raise ValueError("a chunk has another checksum than it states")
        yield from _records(whole)
        if len(whole) != size:
            raise ValueError(f"a chunk has {len(whole):,} of {size:,} bytes")

    def _note(self, kind: int, data: memoryview | bytes) -> None:
        """Keep what a schema, a channel or an index of a chunk says."""
        if kind == SCHEMA:
            self._schemas[_short(data, 0)] = _text(data, 2)[0]
        elif kind == CHANNEL:
            self._channels[_short(data, 0)] = (_text(data, 4)[0], _short(data, 2))
        elif kind == INDEX:
            (place,) = struct.unpack_from("<Q", data, 16)
            (size,) = struct.unpack_from("<I", data, 32)
            self._chunks[place] = {_short(data, 36 + i) for i in range(0, size, 10)}

    def _read_summary(self) -> None:
        """Take the schemas, channels and chunks of the summary; ValueError if it is not whole."""
        with self._path.open("rb") as file:
            file.seek(max(0, self._end - len(MAGIC)))
            if file.read() != MAGIC:
                raise ValueError("it does not end as it begins")
            file.seek(max(0, self._end - TAIL))
            kind, data = _record(file, self._end, False)
            if kind != FOOTER:
                raise ValueError("it has no footer")
            (place,) = struct.unpack_from("<Q", data)
            while place and place < self._end - TAIL:
                file.seek(place)
                self._note(*_record(file, self._end, False))
                place = file.tell()

    def _lose(self, offset: int, reason: str) -> None:
        if self._strict:
            raise FormatError(self._path, offset, f"{reason}; strict=False reads the rest")
        self.losses.append(f"at byte {offset:,}: {reason}")


def _record(file: BinaryIO, end: int, short: bool) -> tuple[int, bytes]:
    """The kind and data of the record where a file is; the data are empty if nobody needs them.

    Raises ValueError unless it is whole; the data of a chunk may be cut off if `short`.
    """
    kind, size = HEAD.unpack(file.read(HEAD.size))
    left = end - file.tell()
    if kind not in KINDS and kind < 128:
        raise ValueError(f"a record is of the unknown kind {kind}")
    if size > left and not (short and kind == CHUNK):
        raise ValueError(f"the bag ends after {left:,} of the {size:,} bytes of a record")
    if kind in NEEDED:
        return kind, file.read(min(size, left))
    file.seek(size, 1)
    return kind, b""


def _records(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """The kind and data of each record in a chunk."""
    view, at = memoryview(data), 0
    while at < len(view):
        kind, size = HEAD.unpack_from(view, at)
        at += HEAD.size + size
        if at > len(view):
            raise ValueError("the data of a chunk end within a record")
        yield kind, view[at - size : at]


def _short(data: memoryview | bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _text(data: memoryview | bytes, at: int) -> tuple[str, int]:
    """A string and what comes after it."""
    (size,) = struct.unpack_from("<I", data, at)
    return bytes(data[at + 4 : at + 4 + size]).decode("utf-8", "replace"), at + 4 + size
