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
from xml.sax.saxutils import escape

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
# Fields of a frame, in the order of the flatbuffer, with their bytes; `begin` and `end` are of the
# exposure, x and y where the image lies on the sensor.
FRAME_FIELDS = (
    *((name, 8) for name in ("t", "frame_begin", "frame_end", "begin", "end")),
    *(("format", 1), ("width", 2), ("height", 2), ("x", 2), ("y", 2), ("pixels", 4)),
    *(("exposure", 8), ("source", 1)),
)
FRAME = [
    *((name, np.int64) for name in ("t", "begin", "end", "frame_begin", "frame_end", "exposure")),
    *(("x", np.int16), ("y", np.int16), ("source", np.int8)),
]


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
    """A size-prefixed flatbuffer FTAB of (place, stream, size, n, first, last) of each packet."""
    table = np.zeros(len(rows), ENTRY)
    for row, (at, stream, size, *rest) in zip(table, rows, strict=True):
        row["at"], row["packet"] = at, (stream, size)
        row["n"], row["first"], row["last"] = rest
    return make_rows(b"FTAB", table)


def make_rows(name: bytes, rows: np.ndarray) -> bytes:
    """A size-prefixed flatbuffer: a vector of objects, one for each row, as `read_rows` reads it.

    All objects share one table of fields. An object has where that is, its fields in their order,
    and unused bytes so that those of the next lie at multiples of 8.
    """
    n, names = len(rows), rows.dtype.names or ()
    sizes = [rows.dtype[field].itemsize for field in names]
    places = np.cumsum([4, *sizes])
    length = -(-int(places[-1]) // 8) * 8
    fields = np.array([4 + 2 * len(names), places[-1], *places[:-1]], "<u2").tobytes()
    fields += bytes(-len(fields) % 4)
    words = name + np.array([6, 8, 4, 0], "<u2").tobytes() + fields  # from byte 8 on
    table, root = 20, 20 + len(fields)  # where the fields of the objects and the root begin
    words += np.array([root - 12, 4, n], "<u4").tobytes()
    first = root + 12
    begin = first + 4 * n
    begin += (4 - begin) % 8
    objects = np.zeros((n, length), np.uint8)
    where = begin + length * np.arange(n)
    objects[:, :4] = (where - table).astype("<i4")[:, None].view(np.uint8).reshape(n, 4)
    for field, place, size in zip(names, places.tolist(), sizes, strict=False):
        column = np.ascontiguousarray(rows[field])
        objects[:, place : place + size] = column.view(np.uint8).reshape(n, size)
    words += (where - (first + 4 * np.arange(n))).astype("<u4").tobytes()
    words += bytes(begin - len(words) - 8) + objects.tobytes()
    words += bytes(-len(words) % 8)
    return np.array([len(words) + 4, root - 4], "<u4").tobytes() + words


def make_header(compression: str, table: int, streams: dict[int, Stream]) -> bytes:
    """A size-prefixed flatbuffer IOHE that names the streams."""
    nodes = "".join(
        _NODE.format(
            number=number,
            compression=compression,
            name=_NAMES.get(stream.kind, stream.kind.lower()),
            kind=stream.kind,
            width=stream.width,
            height=stream.height,
            source=escape(stream.source or "eventkit"),
        )
        for number, stream in sorted(streams.items())
    )
    xml = _XML.format(nodes=nodes).encode()
    xml += bytes(1 + (-(len(xml) + 1)) % 8)  # ends in a zero
    words = np.array([0, 0], "<u4").tobytes()  # length and root, set below
    words += b"IOHE" + np.array([10, 24, 4, 8, 16, 0, 0, 0], "<u2").tobytes()
    words += np.array([len(words) - 12, COMPRESSIONS.index(compression)], "<i4").tobytes()
    words += np.array([table], "<i8").tobytes()
    words += np.array([8, 0, len(xml.rstrip(bytes(1)))], "<u4").tobytes() + xml
    return np.array([len(words) - 4, 24], "<u4").tobytes() + words[8:]


_NAMES = {"EVTS": "events", "FRME": "frames", "IMUS": "imu", "TRIG": "triggers"}
_XML = """<dv version="2.0">
    <node name="outInfo" path="/outInfo/">
{nodes}    </node>
</dv>
"""
_NODE = """        <node name="{number}" path="/outInfo/{number}/">
            <attr key="compression" type="string">{compression}</attr>
            <attr key="originalModuleName" type="string">eventkit</attr>
            <attr key="originalOutputName" type="string">{name}</attr>
            <attr key="typeDescription" type="string">{name}</attr>
            <attr key="typeIdentifier" type="string">{kind}</attr>
            <node name="info" path="/outInfo/{number}/info/">
                <attr key="sizeX" type="int">{width}</attr>
                <attr key="sizeY" type="int">{height}</attr>
                <attr key="source" type="string">{source}</attr>
            </node>
        </node>
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


def read_frame(data: bytes) -> np.ndarray | None:
    """The one row of a payload FRME, as FRAME says, or None if it is damaged."""
    buffer = np.frombuffer(data, np.uint8)
    if data[8:12] != b"FRME":
        return None
    root = 4 + u32(buffer, 4)
    places = {name: _field(buffer, root, i, size) for i, (name, size) in enumerate(FRAME_FIELDS)}
    wanted = places["width"], places["height"], places["pixels"]
    if min(places.values()) < 0 or not all(wanted):
        return None
    vector = places["pixels"] + u32(buffer, places["pixels"])
    shape = _u16(buffer, places["height"]), _u16(buffer, places["width"])
    if vector + 4 > len(buffer):
        return None
    n, area = u32(buffer, vector), shape[0] * shape[1]
    if not area or n % area or vector + 4 + n > len(buffer):
        return None
    sides = (*shape, n // area) if n != area else shape
    row = np.zeros(1, [*FRAME, ("pixels", np.uint8, sides)])
    for name, kind in FRAME:
        place = places[name]
        missing = -1 if kind == np.int64 else 0
        step = np.dtype(kind).itemsize
        row[name] = buffer[place : place + step].view(kind)[0] if place else missing
    row["pixels"] = buffer[vector + 4 :][:n].reshape(sides)
    return row


def make_frame(row: np.void) -> bytes:
    """A size-prefixed flatbuffer FRME of one row; fields that are -1 or missing are absent."""
    pixels = np.ascontiguousarray(row["pixels"], np.uint8)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    there = [name for name, _ in FRAME if name in (row.dtype.names or ())]
    values = {name: row[name] for name in there if row[name] != -1}  # -1: absent
    values |= {"width": pixels.shape[1], "height": pixels.shape[0], "format": 8 * (channels - 1)}
    # root at 44 | FRME | table of fields: 4 + 2 * 13 bytes, and 2 unused | object | vector
    sizes = np.array([size for _, size in FRAME_FIELDS])
    order = np.argsort(-sizes, kind="stable")  # so that all are aligned
    at = np.empty(len(sizes), np.int64)
    at[order] = 4 + np.cumsum([0, *sizes[order]])[:-1]
    words = np.zeros(4 + -(-int(sizes.sum()) // 4) * 4, np.uint8)
    words[:4].view("<i4")[0] = 32
    for (name, size), place in zip(FRAME_FIELDS, at.tolist(), strict=True):
        if name == "pixels":
            words[place : place + 4].view("<u4")[0] = len(words) - place
        elif name not in values:
            at[[field for field, _ in FRAME_FIELDS].index(name)] = 0
        else:
            words[place : place + size] = np.frombuffer(
                int(values[name]).to_bytes(size, "little", signed=True), np.uint8
            )
    fields = np.array([30, len(words), *at, 0], "<u2").tobytes()
    body = b"FRME" + fields + words.tobytes() + np.array([pixels.size], "<u4").tobytes()
    body += pixels.tobytes()
    return np.array([len(body) + 4, 40], "<u4").tobytes() + body


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
