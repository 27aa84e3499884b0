"""Bags of version 1, read record by record, so that a bag without its index can be read too.

    #ROSBAG V2.0\\n, then records: uint32 length, fields (uint32 length, name=value), uint32 length,
    data. The field op says what a record is:
        3 the bag: index_pos, where the index begins (0 until the bag is closed)
        5 chunk: compression (none, bz2, lz4), size when inflated; its data are records of
            7 connection: conn (a number), topic; its data are fields, of which type is one
            2 message: conn, time; its data are the message
        4 index of a chunk
    and from index_pos on: 7 all connections, 6 chunk: chunk_pos, its data are (conn, count)s.

Source: http://wiki.ros.org/Bags/Format/2.0
"""

import bz2
import contextlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from eventkit.errors import FormatError
from eventkit.formats._inflate import Budget

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, BAG, CHUNK, INFO, CONNECTION = 2, 3, 5, 6, 7
MARK = b"\x04\x00\x00\x00op=" + bytes([CHUNK])  # in the header of every chunk
LONGEST = 1 << 16  # bytes of the header of a record
Fields = dict[bytes, bytes]


class Bag1:
    """The topics and messages of a bag of version 1.

    With strict=False, what is sound in a bag that is damaged, cut off or was never closed;
    `losses` are sentences about the rest.
    """

    version = 1

    def __init__(self, path: Path, strict: bool, budget: Budget) -> None:
        self.losses: list[str] = []
        self._path, self._strict, self._budget = path, strict, budget
        self._end = path.stat().st_size
        # Which connections each chunk has, as the index says; None where there is none.
        self._chunks: dict[int, set[int]] | None = {}
        try:
            self._connections = self._indexed()
        except (ValueError, KeyError, struct.error) as error:
            if strict:
                reason = f"the bag has no whole index, so it was not closed or is cut off ({error})"
                raise FormatError(path, None, f"{reason}; strict=False reads the rest") from error
            self._chunks, self._connections = None, {}
            for offset, chunk, data in self._all_chunks():
                self._connections |= dict(_connections(self._inflated(offset, chunk, data)))

    def topics(self) -> list[tuple[str, str]]:
        """Each topic with the type of its messages."""
        return sorted({(topic, kind) for topic, kind in self._connections.values()})

    def messages(self, topic: str) -> Iterator[bytes]:
        """The messages of a topic, in the order of the chunks and of their times in each."""
        wanted = {i for i, (name, _) in self._connections.items() if name == topic}
        self.losses.clear()
        self._budget.begin()
        for offset, chunk, data in self._all_chunks():
            if self._chunks is not None and not self._chunks.get(offset, wanted) & wanted:
                continue
            found = []
            for fields, part in self._inflated(offset, chunk, data):
                if _op(fields) == MESSAGE and _number(fields, b"conn") in wanted:
                    second, ns = struct.unpack("<2I", fields[b"time"])
                    found.append(((second, ns), part))
            found.sort(key=lambda one: one[0])
            for _, part in found:
                yield bytes(part)

    def _indexed(self) -> dict[int, tuple[str, str]]:
        """The connections of the index, and in `_chunks` what each chunk has."""
        assert self._chunks is not None
        with self._path.open("rb") as file:
            file.seek(len(MAGIC))
            head, _ = _record(file, self._end)
            if _op(head) != BAG:
                raise ValueError("it does not begin with its header")
            if head.get(b"encryptor"):
                raise FormatError(self._path, None, "the bag is encrypted, which is not supported")
            begin = _number(head, b"index_pos")
            if not len(MAGIC) < begin <= self._end:
                raise ValueError(f"it should begin at byte {begin:,} of {self._end:,}")
            file.seek(begin)
            found: dict[int, tuple[str, str]] = {}
            for _ in range(_number(head, b"conn_count")):
                found |= dict(_connections([_record(file, self._end)]))
            for _ in range(_number(head, b"chunk_count")):
                fields, data = _record(file, self._end)
                if _op(fields) != INFO:
                    raise ValueError("it has no entry for each chunk")
                pairs = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
                self._chunks[_number(fields, b"chunk_pos")] = set(pairs[::2])
        return found

    def _all_chunks(self) -> Iterator[tuple[int, Fields, bytes]]:
        """The offset, header and data of each chunk; if not strict, data may be cut off."""
        with self._path.open("rb") as file:
            file.seek(len(MAGIC))
            while (offset := file.tell()) < self._end:
                fields: Fields = {}
                try:
                    fields, data = self._next(file)
                except (ValueError, struct.error) as error:
                    self._lose(offset, str(error))
                    if _find_chunk(file, offset + 1):
                        self.losses[-1] += f"; reading goes on at byte {file.tell():,}"
                    else:
                        file.seek(self._end)
                if fields and _op(fields) == CHUNK:
                    yield offset, fields, data
                elif fields and _op(fields) in (CONNECTION, INFO):
                    return  # the index

    def _next(self, file: BinaryIO) -> tuple[Fields, bytes]:
        """The next record; the data of a chunk may be cut off if not strict.

        They end where the next chunk begins if the length is wrong.
        """
        offset = file.tell()
        fields, data = _record(file, self._end, short=not self._strict, only=CHUNK)
        if file.tell() == self._end and _op(fields) == CHUNK and not self._strict:
            begin = self._end - len(data)
            if _find_chunk(file, begin):
                self.losses.append(f"at byte {offset:,}: a chunk states a length that is too great")
                return fields, data[: file.tell() - begin]
            file.seek(self._end)
        return fields, data

    def _inflated(
        self, offset: int, chunk: Fields, data: bytes
    ) -> Iterator[tuple[Fields, memoryview]]:
        """The records in a chunk: all, or if not strict those before its damage."""
        try:
            whole, size = self._unpacked(chunk, data), _number(chunk, b"size")
            yield from _records_of(whole)
            if len(whole) < size:
                raise ValueError(f"a chunk has {len(whole):,} of {size:,} bytes")
        except FormatError:
            raise
        except (ValueError, KeyError, struct.error, OSError, RuntimeError) as error:
            self._lose(offset, str(error))

    def _unpacked(self, chunk: Fields, data: bytes) -> bytes:
        """The bytes of a chunk, as many as its header says or fewer."""
        kind, size = chunk[b"compression"], _number(chunk, b"size")
        if kind == b"none":
            return data
        if kind == b"bz2":
            return self._budget.inflate(bz2.BZ2Decompressor(), data, size)
        if kind == b"lz4":
            import lz4.frame

            return self._budget.inflate(lz4.frame.LZ4FrameDecompressor(), data, size)
        raise ValueError(f"a chunk is compressed as {kind!r:.20}, expected none, bz2 or lz4")

    def _lose(self, offset: int, reason: str) -> None:
        if self._strict:
            raise FormatError(self._path, offset, f"{reason}; strict=False reads the rest")
        self.losses.append(f"at byte {offset:,}: {reason}")


def _record(
    file: BinaryIO, end: int, *, short: bool = False, only: int | None = None
) -> tuple[Fields, bytes]:
    """The record at the place where a file is: its fields and data, which are empty if not `only`.

    Raises ValueError unless it is whole; its data may be cut off if `short`.
    """
    fields = _fields(_exactly(file, _length(file, LONGEST)))
    size, left = _length(file, 1 << 32), end - file.tell()
    if size > left and not short:
        raise ValueError(f"the bag ends after {left:,} of the {size:,} bytes of a record")
    if only is not None and _op(fields) != only:
        file.seek(min(size, left), 1)
        return fields, b""
    return fields, file.read(min(size, left))


def _length(file: BinaryIO, most: int) -> int:
    n = int.from_bytes(_exactly(file, 4), "little")
    if n > most:
        raise ValueError(f"a record has a header of {n:,} bytes, expected at most {most:,}")
    return n


def _exactly(file: BinaryIO, n: int) -> bytes:
    data = file.read(n)
    if len(data) < n:
        raise ValueError("the bag ends within the header of a record")
    return data


def _fields(data: bytes | memoryview) -> Fields:
    """name=value pairs, each after its length."""
    data, at, fields = bytes(data), 0, {}
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        name, found, value = data[at + 4 : at + 4 + size].partition(b"=")
        at += 4 + size
        if not found or at > len(data):
            raise ValueError("the fields of a record are damaged")
        fields[name] = value
    return fields


def _records_of(chunk: bytes) -> Iterator[tuple[Fields, memoryview]]:
    """The records in the bytes of a chunk."""
    view, at = memoryview(chunk), 0

    def next_part() -> memoryview:
        nonlocal at
        size = int.from_bytes(view[at : at + 4], "little")
        part = view[at + 4 : at + 4 + size]
        if at + 4 + size > len(view):
            raise ValueError("the data of a chunk end within a record")
        at += 4 + size
        return part

    while at < len(view):
        fields = _fields(next_part())
        _op(fields)
        yield fields, next_part()


def _connections(
    records: Iterable[tuple[Fields, bytes | memoryview]],
) -> Iterator[tuple[int, tuple[str, str]]]:
    """The number of each connection among records, with its topic and the type of its messages."""
    for fields, data in records:
        if _op(fields) == CONNECTION:
            kind = _fields(data)[b"type"].decode("utf-8", "replace").replace("/", "/msg/", 1)
            yield _number(fields, b"conn"), (fields[b"topic"].decode("utf-8", "replace"), kind)


def _op(fields: Fields) -> int:
    return _number(fields, b"op")


def _number(fields: Fields, name: bytes) -> int:
    """A field that is an unsigned number."""
    if name not in fields:
        raise ValueError(f"a record has no field {name.decode()}")
    return int.from_bytes(fields[name], "little")


def _find_chunk(file: BinaryIO, start: int) -> bool:
    """Whether a chunk begins at or after a byte of the file, which is then the file's place."""
    file.seek(start)
    before, at = b"", start  # `before` begins at byte `at`
    while block := file.read(1 << 20):
        data, found = before + block, 0
        while (found := data.find(MARK, found)) >= 0:
            for i in range(max(0, found - 256), found - 3):
                size = int.from_bytes(data[i : i + 4], "little")
                if found < i + 4 + size <= len(data) and size <= LONGEST:
                    with contextlib.suppress(ValueError):
                        if {b"compression", b"size"} <= _fields(data[i + 4 : i + 4 + size]).keys():
                            file.seek(at + i)
                            return True
            found += 1
        before = data[-1024:]
        at += len(data) - len(before)
    return False
