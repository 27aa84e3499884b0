"""The flatbuffers of AEDAT 4, read and made by hand; `aedat4` has the layout.

A flatbuffer begins with the place of its root object. An object begins with the way back to a
table of its fields: uint16 bytes of that table, bytes of the object, and for each field where it is
in the object, or 0 if it is absent. A vector or text is a field with the way to its length. All
places are checked before they are looked at. Source: https://flatbuffers.dev/internals/
"""

import functools
import re
import struct
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

import numpy as np

from eventkit._jit import jit
from eventkit.events import Events

MAGIC = b"#!AER-DAT4.0\r\n"
COMPRESSIONS = ("NONE", "LZ4", "LZ4_HIGH", "ZSTD", "ZSTD_HIGH")
EVTS = 0x53545645  # these letters
EVENT = 16
BEYOND = -2
DEEPEST = 64
ENTRY = np.dtype(
    [
        ("at", np.int64),  # byte of the payload in the file
        ("packet", [("stream", np.int32), ("size", np.int32)]),
        ("n", np.int64),
        ("first", np.int64),  # earliest and latest time
        ("last", np.int64),
    ]
)
IMU = np.dtype(
    [
        ("t", np.int64),
        ("temperature", np.float32),
        *(
            (f"{sensor}_{axis}", np.float32)
            for sensor in ("accelerometer", "gyroscope", "magnetometer")
            for axis in "xyz"
        ),
    ]
)
TRIGGER = np.dtype([("t", np.int64), ("source", np.uint8)])


@dataclass
class Stream:
    """What the header says of one stream: EVTS, FRME, IMUS, TRIG, ..."""

    kind: str = ""
    width: int = 0
    height: int = 0
    source: str = ""


def read_header(data: bytes) -> tuple[int, int, str]:
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


@functools.lru_cache(maxsize=16)
def read_streams(text: str) -> dict[int, Stream]:
    """The streams of an infoNode, by number. Declarations of types or entities are refused.

    Kept for the last few texts: to parse one takes 100 µs.
    """
    found: dict[int, Stream] = {}
    nodes: list[str] = []
    key, value = "", [""]

    def refuse(*_: Any) -> None:
        raise ValueError("it has a DOCTYPE, which has no place here")

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal key, value
        if tag == "node":
            nodes.append(attributes.get("name", ""))
            if len(nodes) > DEEPEST:
                raise ValueError(f"it has more than {DEEPEST} nodes in each other")
        elif tag == "attr":
            key, value = attributes.get("key", ""), []

    def end(tag: str) -> None:
        if tag == "attr" and "outInfo" in nodes:
            path = nodes[nodes.index("outInfo") + 1 :]
            if path and re.fullmatch(r"[0-9]{1,9}", path[0]):
                _fact(found.setdefault(int(path[0]), Stream()), key, "".join(value).strip())
        elif tag == "node" and nodes:
            nodes.pop()

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = lambda text: value.append(text)
    parser.Parse(text, True)
    return found


def _fact(stream: Stream, key: str, value: str) -> None:
    if key == "typeIdentifier":
        stream.kind = value
    elif key == "source":
        stream.source = value
    elif (
        key in ("sizeX", "sizeY") and re.fullmatch(r"[0-9]{1,5}", value) and 0 < int(value) <= 65536
    ):
        setattr(stream, "width" if key == "sizeX" else "height", int(value))


def make_events(events: Events) -> bytes:
    """A size-prefixed flatbuffer EVTS."""
    records = np.empty((len(events), 2), "<i8")
    _records(events.t, events.x, events.y, events.p, records)
    # root at 20 | EVTS | table of fields: 6 bytes, of objects of 8, field 0 at 4 | object | vector
    words = np.array([28 + EVENT * len(events), 16], "<u4").tobytes() + b"EVTS"
    words += np.array([6, 8, 4, 0], "<u2").tobytes()
    words += np.array([8, 4, len(events)], "<u4").tobytes()
    return words + records.tobytes()


@jit
def _records(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(t)):
        out[i, 0] = t[i]
        out[i, 1] = np.int64(x[i]) | np.int64(y[i]) << 16 | np.int64(p[i]) << 32


def make_table(rows: list[tuple[int, int, int, int, int, int]]) -> bytes:
    """A size-prefixed flatbuffer FTAB. Its objects are of 48 bytes: where their fields are, five
    fields of 8 bytes, and 4 unused bytes so that the fields lie at multiples of 8."""
    n = len(rows)
    row = np.dtype(
        [
            ("fields", "<i4"),
            ("at", "<i8"),
            ("stream", "<i4"),
            ("size", "<i4"),
            ("n", "<i8"),
            ("first", "<i8"),
            ("last", "<i8"),
            ("unused", "<i4"),
        ]
    )
    begin = 48 + 4 * n  # of the objects, after the vector of their places
    begin += (4 - begin) % 8
    objects = np.zeros(n, row)
    where = begin + 48 * np.arange(n)
    objects["fields"] = where - 20
    for i, name in enumerate(("at", "stream", "size", "n", "first", "last")):
        objects[name] = [entry[i] for entry in rows]
    words = b"FTAB" + np.array([6, 8, 4, 0], "<u2").tobytes()  # bytes 8 to 20
    words += np.array([14, 44, 4, 12, 20, 28, 36, 0], "<u2").tobytes()  # to 36
    root = len(words) + 8
    words += np.array([root - 12, 4, n], "<u4").tobytes()
    first = len(words) + 8
    words += (where - (first + 4 * np.arange(n))).astype("<u4").tobytes()
    words += bytes(begin - len(words) - 8) + objects.tobytes()
    words += bytes(-len(words) % 8)
    return np.array([len(words) + 4, root - 4], "<u4").tobytes() + words


def make_header(compression: str, table: int, size: tuple[int, int]) -> bytes:
    """A size-prefixed flatbuffer IOHE."""
    xml = _XML.format(compression=compression, width=size[0], height=size[1]).encode()
    xml += bytes(1 + (-(len(xml) + 1)) % 8)  # ends in a zero
    words = np.array([0, 0], "<u4").tobytes()  # length and root, set below
    words += b"IOHE" + np.array([10, 24, 4, 8, 16, 0, 0, 0], "<u2").tobytes()
    words += np.array([len(words) - 12, COMPRESSIONS.index(compression)], "<i4").tobytes()
    words += np.array([table], "<i8").tobytes()
    words += np.array([8, 0, len(xml.rstrip(bytes(1)))], "<u4").tobytes() + xml
    return np.array([len(words) - 4, 24], "<u4").tobytes() + words[8:]


_XML = """<dv version="2.0">
    <node name="outInfo" path="/outInfo/">
        <node name="0" path="/outInfo/0/">
            <attr key="compression" type="string">{compression}</attr>
            <attr key="originalModuleName" type="string">eventkit</attr>
            <attr key="originalOutputName" type="string">events</attr>
            <attr key="typeDescription" type="string">Array of events (polarity ON/OFF).</attr>
            <attr key="typeIdentifier" type="string">EVTS</attr>
            <node name="info" path="/outInfo/0/info/">
                <attr key="sizeX" type="int">{width}</attr>
                <attr key="sizeY" type="int">{height}</attr>
                <attr key="source" type="string">eventkit</attr>
            </node>
        </node>
    </node>
</dv>
"""


@jit
def _u16(buffer: np.ndarray, at: int) -> int:
    low: Any = np.int64(buffer[at])  # signed: Numba would make floats of mixed integers
    bits: int = low | np.int64(buffer[at + 1]) << 8
    return bits


@jit
def u32(buffer: np.ndarray, at: int) -> int:
    return _u16(buffer, at) | _u16(buffer, at + 2) << 16


@jit
def i32(buffer: np.ndarray, at: int) -> int:
    bits = u32(buffer, at)
    return bits - ((bits & 0x80000000) << 1)


@jit
def _i64(buffer: np.ndarray, at: int) -> int:
    return u32(buffer, at) | i32(buffer, at + 4) << 32


@jit
def find_events(buffer: np.ndarray, at: int, size: int) -> tuple[int, int]:
    """Where the events of a plain payload begin and how many there are.

    Their number is -1 if it is damaged, and BEYOND if one must look beyond the buffer to know.
    """
    if size < 12 or u32(buffer, at + 8) != EVTS:
        return at, -1
    end = at + 4 + u32(buffer, at)
    if end != at + size:
        return at, -1
    there = min(end, len(buffer))
    lost = BEYOND if end > there else -1
    root = at + 4 + u32(buffer, at + 4)
    if root + 4 > there:
        return at, lost
    table = root - i32(buffer, root)
    if table < at + 4 or table + 6 > there:
        return at, lost if table >= at + 4 else -1
    step = _u16(buffer, table + 4) if _u16(buffer, table) >= 6 else 0
    if step == 0:
        return at, 0
    if root + step + 4 > there:
        return at, lost
    vector = root + step + u32(buffer, root + step)
    if vector + 4 > there:
        return at, lost
    n = u32(buffer, vector)
    return vector + 4, n if n <= (end - vector - 4) // 16 else -1


def read_rows(data: bytes, name: bytes, row: np.dtype) -> np.ndarray | None:
    """A plain payload that is a vector of objects, or None if it is damaged.

    `row` has the fields that belong together in one: an object has a field of each, in order.
    """
    buffer = np.frombuffer(data, np.uint8)
    if data[8:12] != name:
        return None
    sizes = np.array([row[field].itemsize for field in row.names or ()], np.int64)
    n = _rows(buffer, sizes, np.empty((0, row.itemsize), np.uint8))
    if n < 0:
        return None
    found = np.empty(n, row)
    return (
        found if _rows(buffer, sizes, found.view(np.uint8).reshape(n, row.itemsize)) == n else None
    )


def read_frame(data: bytes) -> tuple[int, int, int, np.ndarray] | None:
    """Time, begin and end of the exposure, and pixels of a payload FRME, or None if damaged."""
    buffer = np.frombuffer(data, np.uint8)
    if data[8:12] != b"FRME":
        return None
    root = 4 + u32(buffer, 4)
    wanted = ((0, 8), (3, 8), (4, 8), (6, 2), (7, 2), (10, 4))  # field, bytes
    t, begin, end, width, height, pixels = (_field(buffer, root, i, size) for i, size in wanted)
    if min(t, begin, end, width, height, pixels) < 0 or not (width and height and pixels):
        return None
    vector = pixels + u32(buffer, pixels)
    shape = _u16(buffer, height), _u16(buffer, width)
    if vector + 4 > len(buffer):
        return None
    n, area = u32(buffer, vector), shape[0] * shape[1]
    if not area or n % area or vector + 4 + n > len(buffer):
        return None
    image = buffer[vector + 4 :][:n].reshape(*shape, *([n // area] if n != area else []))
    t, begin, end = (_i64(buffer, place) if place else -1 for place in (t, begin, end))
    return t, begin, end, image


@jit
def _rows(buffer: np.ndarray, sizes: np.ndarray, out: np.ndarray) -> int:
    """How many objects a vector has, or -1 if it is damaged; `out` gets the first few."""
    root = 4 + u32(buffer, 4)
    vector = _field(buffer, root, 0, 4)
    if vector <= 0:
        return vector
    vector += u32(buffer, vector)
    if vector + 4 > len(buffer):
        return -1
    n = u32(buffer, vector)
    if n * 8 > len(buffer) or vector + 4 + 4 * n > len(buffer):  # an object and its place
        return -1
    for i in range(min(n, len(out))):
        place = vector + 4 + 4 * i
        row = place + u32(buffer, place)
        to = 0
        for index in range(len(sizes)):
            size = sizes[index]
            at = _field(buffer, row, index, size)
            if at < 0:
                return -1
            for j in range(size):
                out[i, to + j] = buffer[at + j] if at else 0
            to += size
    return n


@jit
def _field(buffer: np.ndarray, row: int, index: int, size: int) -> int:
    """Where a field of a flatbuffer table is; 0 if it is absent, -1 if the table is damaged."""
    if row < 4 or row + 4 > len(buffer):
        return -1
    table = row - i32(buffer, row)
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
