"""The packets of an AEDAT 4 file, as runs of events; `aedat4` has the layout.

A file is read block by block. Plain packets are found in the block itself (`_split`, `_locate`);
compressed ones are inflated one by one, never beyond LIMIT bytes. A place counts as a packet when
its stream is known, its size lies within the file, and its payload begins as payloads do; so after
damage the next packet is found by its first twelve bytes.
"""

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

from eventkit._jit import jit
from eventkit.errors import FormatError
from eventkit.formats import Report, fill

MAGIC = b"#!AER-DAT4.0\r\n"
COMPRESSIONS = ("NONE", "LZ4", "LZ4_HIGH", "ZSTD", "ZSTD_HIGH")
LZ4_MAGIC, ZSTD_MAGIC = 0x184D2204, 0xFD2FB528
EVTS, FTAB = 0x53545645, 0x42415446
EVENT = 16
BLOCK = 1 << 18
LIMIT = 1 << 27  # bytes of one packet or of the table, inflated: 8 million events
LARGEST_HEADER = 1 << 24
LISTED = 10  # damaged places that get a note of their own
PACKET = np.dtype([("at", np.int64), ("size", np.int64)])  # a payload in a buffer
RUN = np.dtype([("at", np.int64), ("n", np.int64)])  # events in a buffer
ENTRY = np.dtype(
    [
        ("at", np.int64),  # byte of the payload in the file
        ("stream", np.int32),
        ("size", np.int32),
        ("n", np.int64),
        ("first", np.int64),  # earliest and latest time
        ("last", np.int64),
    ]
)
Block = tuple[np.ndarray, np.ndarray]  # bytes, runs in them


@dataclass
class Stream:
    """What the header says of one stream: EVTS, FRME, IMUS, TRIG, ..."""

    kind: str = ""
    width: int = 0
    height: int = 0
    source: str = ""


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
            yield self

    def _read_header(self) -> int:
        """The IOHeader; says where the table is, or -1."""
        head = os.pread(self.fd, len(MAGIC) + 4, 0)
        if not head.startswith(MAGIC):
            raise FormatError(self.path, 0, f"starts with {head[:14]!r}, expected {MAGIC!r}")
        size = int.from_bytes(head[len(MAGIC) :], "little")
        if len(head) < len(MAGIC) + 4 or size > self.end - len(head):
            reason = f"its header promises {size:,} bytes, the file ends before; it is cut off"
            raise FormatError(self.path, len(MAGIC), reason)
        if size > LARGEST_HEADER:
            reason = f"its header promises {size:,} bytes, expected at most {LARGEST_HEADER:,}"
            raise FormatError(self.path, len(MAGIC), reason)
        data = os.pread(self.fd, size, len(head))
        try:
            compression, position, text = _io_header(data)
            self.compression = COMPRESSIONS[compression]
            self.streams = _streams(text)
        except (struct.error, IndexError, ValueError, expat.ExpatError) as error:
            reason = f"its header cannot be read ({error}); without it nothing can be"
            raise FormatError(self.path, len(head), reason) from None
        self.begin = len(head) + size
        return position

    def _read_table(self, position: int) -> np.ndarray:
        """The FileDataTable; FormatError where it is not one, or speaks of what is not there."""
        if not self.begin <= position < self.end:
            reason = f"its table should be at byte {position:,}, the file ends at {self.end:,}"
            raise FormatError(self.path, position, f"{reason}; strict=False reads without it")
        if self.end - position > LIMIT:
            raise FormatError(self.path, position, f"its table is larger than {LIMIT:,} bytes")
        data = self.inflate(os.pread(self.fd, self.end - position, position))
        entries = np.empty(0 if data is None else min(len(data), position) // 4, ENTRY)
        n = -1 if data is None else _entries(np.frombuffer(data, np.uint8), entries)
        table = entries[: max(n, 0)].copy()
        ends = table["at"] + table["size"]
        inside = (table["size"] >= 0) & (table["at"] >= self.begin + 8) & (ends <= position)
        if n < 0 or not (inside & (table["n"] >= 0)).all():
            reason = "its table of packets is damaged; strict=False reads without it"
            raise FormatError(self.path, position, reason)
        return table

    @property
    def magic(self) -> int:
        """The first four bytes of a payload; 0 if it is not compressed."""
        return {"L": LZ4_MAGIC, "Z": ZSTD_MAGIC}.get(self.compression[0], 0)

    def inflate(self, data: bytes | np.ndarray, cut: bool = False) -> bytes | None:
        """The plain bytes of a payload, or None if it is damaged or larger than LIMIT.

        cut=True takes what there is of a payload whose end is missing.
        """
        if self.compression == "NONE":
            return bytes(data)
        if len(data) < 4 or int.from_bytes(bytes(data[:4]), "little") != self.magic:
            return None
        return _unlz4(data, cut) if self.magic == LZ4_MAGIC else _unzstd(data, cut)

    def find(self, at: int) -> int:
        """The first byte from `at` on where a packet begins, or where packets end."""
        buffer = np.empty(BLOCK, np.uint8)
        known = np.array(sorted(self.streams), np.int64)
        while (n := fill(self.fd, buffer[: self.last - at], at)) >= 20:
            found = _find(buffer[:n], self.last - at, known, self.magic)
            if found >= 0:
                return at + found
            at += n - 19
        return self.last


def runs(file: File, wanted: int, strict: bool, report: Report) -> Iterator[Block]:
    """All events of a stream. Damage raises FormatError, or is skipped with a note.

    The report gets the checksum of the file.
    """
    known = np.array(sorted(file.streams), np.int64)
    buffer = np.empty(min(BLOCK, max(file.last - file.begin, 1)), np.uint8)
    packets = np.empty(len(buffer) // 20 + 1, PACKET)
    digest = _Digest(file)
    at = file.begin
    while at < file.last:
        n = fill(file.fd, buffer[: file.last - at], at)
        if n < min(len(buffer), file.last - at):
            raise FormatError(file.path, at + n, "the file became shorter while it was read")
        digest.add(buffer[:n], at)
        found, used, need = _split(buffer[:n], file.last - at, wanted, known, file.magic, packets)
        if found == used == 0 and n < need <= LIMIT:
            buffer = np.empty(need, np.uint8)
            continue
        bad = -1
        for block, bad in _unpack(file, buffer, packets[:found]):
            yield block
        if bad >= 0:
            fault = at + bad
        elif found == used == 0 or need < 0:
            fault = at + used
        else:
            at += used
            continue
        reason = _fault(file, fault, wanted)
        if strict:
            raise FormatError(file.path, fault, f"{reason}; strict=False reads what is sound")
        at = file.find(fault + 1)
        saved = _salvage(file, fault, at, wanted)
        _note(report, fault, at, reason, saved is not None)
        if saved is not None:
            yield saved
    digest.rest()
    report.crc32c = digest.crc


def chosen(file: File, entries: np.ndarray) -> Iterator[Block]:
    """The events of some packets of the table; what lies between is not read.

    FormatError where a packet is not what the table says of it.
    """
    packet = np.zeros(1, PACKET)
    for at, stream, size, n, first, last in entries.tolist():
        data = np.empty(size + 8, np.uint8)
        got = fill(file.fd, data, at - 8)
        said = got == len(data) and data[:8].view("<i4").tolist() == [stream, size]
        plain = file.inflate(data[8:]) if said else None
        buffer = np.frombuffer(b"" if plain is None else plain, np.uint8)
        packet[0] = (0, len(buffer))
        found = np.empty(1, RUN)
        if plain is None or _locate(buffer, packet, found) < 1 or found[0]["n"] != n:
            reason = f"the table promises {n:,} events in this packet, which it does not have"
            raise FormatError(file.path, at - 8, f"{reason}; strict=False reads without the table")
        if n and not _span(buffer, found, first, last):
            reason = f"the packet has times outside {first}..{last} µs, which the table promises"
            raise FormatError(file.path, at - 8, f"{reason}; strict=False reads without the table")
        yield buffer, found


def count(file: File) -> int:
    """The number of events in the longest event stream, from the table or by inflating all."""
    streams = [number for number, stream in file.streams.items() if stream.kind == "EVTS"]
    if file.table is not None:
        promised = [
            int(file.table["n"][file.table["stream"] == number].sum()) for number in streams
        ]
        return min(max(promised, default=0), 255 * file.end // EVENT)
    if file.compression == "NONE":
        return (file.last - file.begin) // EVENT
    totals = [
        sum(int(found["n"].sum()) for _, found in runs(file, number, False, Report()))
        for number in streams
    ]
    return max(totals, default=0)


class _Digest:
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
                reason = "the file became shorter while it was read"
                raise FormatError(self._file.path, self._done, reason)
            self.crc = google_crc32c.extend(self.crc, data)
            self._done += len(data)


def _unpack(file: File, buffer: np.ndarray, packets: np.ndarray) -> Iterator[tuple[Block, int]]:
    """The runs of packets in a block, and in the last pair the place of a bad packet, or -1."""
    if not len(packets):
        return
    if file.compression == "NONE":
        found = np.empty(len(packets), RUN)
        buffer = np.frombuffer(memoryview(buffer).toreadonly(), np.uint8)  # as inflated ones are
        good = _locate(buffer, packets, found)
        yield (buffer, found[:good]), -1 if good == len(packets) else int(packets["at"][good]) - 8
        return
    inside = np.zeros(1, PACKET)
    for at, size in packets.tolist():
        data = file.inflate(buffer[at : at + size])
        plain = np.frombuffer(b"" if data is None else data, np.uint8)
        inside[0] = (0, len(plain))
        found = np.empty(1, RUN)
        good = _locate(plain, inside, found)
        yield (plain, found[:good]), -1 if good else at - 8
        if not good:
            return


def _fault(file: File, at: int, wanted: int) -> str:
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
    return "the payload of a packet is damaged"


def _salvage(file: File, at: int, end: int, wanted: int) -> Block | None:
    """What events can be read from a damaged packet that ends before a byte."""
    head = os.pread(file.fd, 8, at)
    if len(head) < 8 or int.from_bytes(head[:4], "little", signed=True) != wanted:
        return None
    size = min(end - at - 8, LIMIT, max(int.from_bytes(head[4:], "little", signed=True), 0))
    data = file.inflate(os.pread(file.fd, size, at + 8), cut=True)
    if data is None:
        return None
    buffer = np.frombuffer(data, np.uint8)
    first, n = _events(buffer, 0, len(buffer), True)
    return (buffer, np.array([(first, n)], RUN)) if n > 0 else None


def _note(report: Report, at: int, end: int, reason: str, saved: bool) -> None:
    report.counts["damaged places"] += 1
    if not saved:
        report.counts["skipped bytes"] += end - at
    places = report.counts["damaged places"]
    if places <= LISTED:
        what = "; kept the events that are whole" if saved else f"; skipped to byte {end:,}"
        report.notes.append(f"at byte {at:,}: {reason}{what}")
    elif places == LISTED + 1:
        report.notes.append("further damaged places are counted, not listed")


def _unlz4(data: bytes | np.ndarray, cut: bool) -> bytes | None:
    import lz4.frame

    inflater, parts, total = lz4.frame.LZ4FrameDecompressor(), [], 0
    more: Any = memoryview(data)
    try:
        while not inflater.eof:
            part = inflater.decompress(more, max_length=1 << 20)
            more = b""
            parts.append(part)
            total += len(part)
            if total > LIMIT or (not part and not inflater.eof and inflater.needs_input):
                break
    except (RuntimeError, EOFError, ValueError):
        return None
    whole = inflater.eof and not inflater.unused_data
    if total > LIMIT or not (whole or cut):
        return None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unzstd(data: bytes | np.ndarray, cut: bool) -> bytes | None:
    import zstandard

    try:
        size = zstandard.frame_content_size(data)
        inflater = zstandard.ZstdDecompressor(max_window_size=LIMIT)
        if 0 <= size <= LIMIT and not cut:
            return bytes(inflater.decompress(data, allow_extra_data=False))
        if size > LIMIT:
            return None
        with inflater.stream_reader(data) as reader:
            plain = bytes(reader.read(LIMIT + 1))
    except (zstandard.ZstdError, MemoryError):
        return None
    return plain if len(plain) <= LIMIT else None


def _io_header(data: bytes) -> tuple[int, int, str]:
    """Compression, place of the table (-1: none) and the XML text of the IOHeader flatbuffer."""
    if data[4:8] != b"IOHE":
        raise ValueError(f"its identifier is {data[4:8]!r}, expected IOHE")
    (root,) = struct.unpack_from("<I", data, 0)
    (back,) = struct.unpack_from("<i", data, root)
    if not 0 <= root - back < len(data):
        raise ValueError("it points outside of itself")
    (length,) = struct.unpack_from("<H", data, root - back)
    fields = struct.unpack_from(f"<{max(length - 4, 0) // 2}H", data, root - back + 4)
    compression, position, text = (*fields, 0, 0, 0)[:3]
    xml = ""
    if text:
        (step,) = struct.unpack_from("<I", data, root + text)
        (n,) = struct.unpack_from("<I", data, root + text + step)
        xml = data[root + text + step + 4 :][:n].decode("utf-8")
    return (
        struct.unpack_from("<I", data, root + compression)[0] if compression else 0,
        struct.unpack_from("<q", data, root + position)[0] if position else -1,
        xml,
    )


def _streams(text: str) -> dict[int, Stream]:
    """The streams of an infoNode, by number. Declarations of types or entities are refused."""
    found: dict[int, Stream] = {}
    nodes: list[str] = []
    key, value = "", ""

    def refuse(*_: Any) -> None:
        raise ValueError("it has a DOCTYPE, which has no place here")

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal key, value
        if tag == "node":
            nodes.append(attributes.get("name", ""))
        elif tag == "attr":
            key, value = attributes.get("key", ""), ""

    def inside(characters: str) -> None:
        nonlocal value
        value += characters

    def end(tag: str) -> None:
        if tag == "attr" and "outInfo" in nodes:
            path = nodes[nodes.index("outInfo") + 1 :]
            if path and path[0].isdecimal():
                _fact(found.setdefault(int(path[0]), Stream()), key, value.strip())
        elif tag == "node" and nodes:
            nodes.pop()

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = inside
    parser.Parse(text, True)
    return found


def _fact(stream: Stream, key: str, value: str) -> None:
    if key == "typeIdentifier":
        stream.kind = value
    elif key == "source":
        stream.source = value
    elif key in ("sizeX", "sizeY") and value.isdecimal() and 0 < int(value) <= 65536:
        setattr(stream, "width" if key == "sizeX" else "height", int(value))


@jit
def _u16(buffer: np.ndarray, at: int) -> int:
    bits: int = buffer[at] | buffer[at + 1] << 8
    return bits


@jit
def _u32(buffer: np.ndarray, at: int) -> int:
    return _u16(buffer, at) | _u16(buffer, at + 2) << 16


@jit
def _i32(buffer: np.ndarray, at: int) -> int:
    bits = _u32(buffer, at)
    return bits - ((bits & 0x80000000) << 1)


@jit
def _i64(buffer: np.ndarray, at: int) -> int:
    return _u32(buffer, at) | _i32(buffer, at + 4) << 32


@jit
def _is_packet(buffer: np.ndarray, at: int, known: np.ndarray, magic: int) -> bool:
    """Whether the twenty bytes at a place can be those of a packet; its size is not looked at."""
    stream, size = _i32(buffer, at), _i32(buffer, at + 4)
    if size < 12:
        return False
    if magic:
        if _u32(buffer, at + 8) != magic:
            return False
    elif _u32(buffer, at + 8) + 4 > size or not _is_name(buffer, at + 16):
        return False
    for number in known:
        if number == stream:
            return True
    return False


@jit
def _is_name(buffer: np.ndarray, at: int) -> bool:
    """Whether four bytes are the identifier of a type."""
    for byte in buffer[at : at + 4]:
        if not (48 <= byte <= 57 or 65 <= byte <= 90 or byte == 95):
            return False
    return True


@jit
def _find(buffer: np.ndarray, left: int, known: np.ndarray, magic: int) -> int:
    """The first place where a packet begins that ends in the `left` bytes to come, or -1."""
    for at in range(len(buffer) - 19):
        if _is_packet(buffer, at, known, magic) and at + 8 + _i32(buffer, at + 4) <= left:
            return at
    return -1


@jit
def _split(
    buffer: np.ndarray,
    left: int,
    wanted: int,
    known: np.ndarray,
    magic: int,
    packets: np.ndarray,
) -> tuple[int, int, int]:
    """Fill `packets` with those of a stream. `left` bytes are to come, counted from buffer[0] on.

    Returns how many there are, the bytes used, and how many bytes are needed to go on, or -1 if
    there is no packet at the place reached.
    """
    found = at = 0
    while at < len(buffer):
        if left - at < 20:
            return found, at, -1
        if len(buffer) - at < 20:
            return found, at, 20
        if not _is_packet(buffer, at, known, magic):
            return found, at, -1
        end = at + 8 + _i32(buffer, at + 4)
        if end > left:
            return found, at, -1
        if end > len(buffer):
            return found, at, end - at
        if _i32(buffer, at) == wanted:
            packets[found].at, packets[found].size = at + 8, end - at - 8
            found += 1
        at = end
    return found, at, 0


@jit
def _events(buffer: np.ndarray, at: int, size: int, cut: bool) -> tuple[int, int]:
    """Where the events of a plain payload begin and how many there are; -1 if it is damaged.

    If it is cut, those that are whole.
    """
    if size < 12 or _u32(buffer, at + 8) != EVTS:
        return at, -1
    end = at + 4 + _u32(buffer, at)
    if end > at + size:
        if not cut:
            return at, -1
        end = at + size
    root = at + 4 + _u32(buffer, at + 4)
    if root + 4 > end:
        return at, -1
    table = root - _i32(buffer, root)
    if table < at + 4 or table + 4 > end:
        return at, -1
    if _u16(buffer, table) < 6:
        return at, 0
    if table + 6 > end:
        return at, -1
    place = root + _u16(buffer, table + 4)
    if place == root:
        return at, 0
    if place + 4 > end:
        return at, -1
    vector = place + _u32(buffer, place)
    if vector + 4 > end:
        return at, -1
    n, there = _u32(buffer, vector), (end - vector - 4) // 16
    if n > there:
        return vector + 4, there if cut else -1
    return vector + 4, n


@jit
def _locate(buffer: np.ndarray, packets: np.ndarray, found: np.ndarray) -> int:
    """Fill `found` with the events of packets, and say how many packets are sound."""
    for i in range(len(packets)):
        found[i].at, found[i].n = _events(buffer, packets[i].at, packets[i].size, False)
        if found[i].n < 0:
            return i
    return len(packets)


@jit
def _span(buffer: np.ndarray, found: np.ndarray, first: int, last: int) -> bool:
    """Whether all times lie between first and last."""
    at, n = found[0].at, found[0].n
    words = buffer[at : at + 16 * n].view(np.int64)
    good = True
    for i in range(n):
        good &= (words[2 * i] >= first) & (words[2 * i] <= last)
    return good


@jit
def _entries(buffer: np.ndarray, entries: np.ndarray) -> int:
    """Fill `entries` from a plain FileDataTable, and say how many there are, or -1."""
    if len(buffer) < 12 or _u32(buffer, 8) != FTAB:
        return -1
    root = 4 + _u32(buffer, 4)
    vector = _field(buffer, root, 0, 4)
    if vector <= 0:
        return vector
    vector += _u32(buffer, vector)
    if vector + 4 > len(buffer):
        return -1
    n = _u32(buffer, vector)
    if n > len(entries) or vector + 4 + 4 * n > len(buffer):
        return -1
    for i in range(n):
        place = vector + 4 + 4 * i
        row = place + _u32(buffer, place)
        at, packet = _field(buffer, row, 0, 8), _field(buffer, row, 1, 8)
        number, first, last = (
            _field(buffer, row, 2, 8),
            _field(buffer, row, 3, 8),
            _field(buffer, row, 4, 8),
        )
        if min(at, packet, number, first, last) < 0:
            return -1
        entries[i].at = _i64(buffer, at) if at else 0
        entries[i].stream = _i32(buffer, packet) if packet else 0
        entries[i].size = _i32(buffer, packet + 4) if packet else 0
        entries[i].n = _i64(buffer, number) if number else 0
        entries[i].first = _i64(buffer, first) if first else 0
        entries[i].last = _i64(buffer, last) if last else 0
    return n


@jit
def _field(buffer: np.ndarray, row: int, index: int, size: int) -> int:
    """Where a field of a flatbuffer table is; 0 if it is absent, -1 if the table is damaged."""
    if row < 4 or row + 4 > len(buffer):
        return -1
    table = row - _i32(buffer, row)
    if table < 4 or table + 4 > len(buffer):
        return -1
    slot = table + 4 + 2 * index
    if 6 + 2 * index > _u16(buffer, table):
        return 0
    if slot + 2 > len(buffer):
        return -1
    step = _u16(buffer, slot)
    if step == 0:
        return 0
    return row + step if row + step + size <= len(buffer) else -1
