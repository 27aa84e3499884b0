"""AEDAT 4.0: the recordings of DV and dv-processing (iniVation).

    14 bytes  #!AER-DAT4.0 CR LF
    uint32    size of the header, then the header: a flatbuffer IOHE with the compression, the
              place of the table (-1: none) and an XML text that names the streams
    packets   int32 stream, int32 size, then a payload of so many bytes
    table     a payload with a flatbuffer FTAB: place, size, number of events, first and last time
              of each packet; absent in a recording that was cut short

A payload is plain, an LZ4 frame or a Zstandard frame; in it is a size-prefixed flatbuffer: uint32
length, uint32 place of the root, four letters (EVTS, FRME, IMUS, TRIG). EVTS has one field, a
vector of structs of 16 bytes: int64 time [µs], int16 x, int16 y, bool polarity (1 ON), 3 unused.
All is little endian, times are those of a Unix clock, the origin is at the top left. Source:
dv-processing, include/dv-processing/io and the flatbuffer schemes in include/dv-processing/data.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Columns, Events
from eventkit.formats import FORMATS, Format, Report, limits, parse_size
from eventkit.formats._aedat4 import COMPRESSIONS, EVENT, MAGIC, Block, File, chosen, count, runs

EVENTS = np.dtype(
    {
        "names": ["t", "x", "y", "p"],
        "formats": ["<i8", "<i2", "<i2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": EVENT,
    }
)


def stream(
    path: Path,
    report: Report,
    into: Columns,
    *,
    chunk: int,
    start: int | None,
    stop: int | None,
    strict: bool,
    stream: int | None = None,
    size: str | None = None,
) -> Iterator[Events]:
    """Events of one stream, by default the first that has some; size is that of the sensor.

    A window (start, stop) of a file with a table reads only the packets that meet it, if strict.
    Counts, with strict=False: damaged places, skipped bytes.
    """
    window = limits(start, stop)
    with File.open(path, strict, report) as file:
        number = _choose(file, stream, report)
        sensor = parse_size(size) if size is not None else _size(file, number, report)
        if number is None:
            yield Events.empty(sensor)
            return
        if file.table is not None and strict and (start is not None or stop is not None):
            entries = file.table
            meets = (entries["last"] >= window[0]) & (entries["first"] < window[1])
            entries = entries[(entries["stream"] == number) & (entries["n"] > 0) & meets]
            most = int(entries["n"].sum())
            found = chosen(file, entries)
        else:
            most = (file.end - file.begin) * (1 if file.compression == "NONE" else 255) // EVENT
            found = runs(file, number, strict, report)
        yield from _chunks(found, into, max(1, min(chunk, most)), window, sensor)


def _chunks(
    found: Iterable[Block],
    into: Columns,
    room: int,
    window: tuple[int, int],
    size: tuple[int, int],
) -> Iterator[Events]:
    """The events of the window, in chunks of `room`, the last of what is left."""
    n, empty = 0, True
    into.reserve(room)
    for buffer, packets in found:
        run = k = 0
        while run < len(packets):
            if n == 0:
                into.reserve(room)
            n, run, k = _decode(buffer, packets, run, k, *window, *into.arrays, n, room)
            if n == room:
                yield into.events(n, size)
                n, empty = 0, False
    if n or empty:
        yield into.events(n, size)


def _choose(file: File, stream: int | None, report: Report) -> int | None:
    """The number of the stream to read."""
    there = sorted(number for number, known in file.streams.items() if known.kind == "EVTS")
    if stream is not None and stream not in there:
        known = ", ".join(map(str, there)) or "none"
        raise OptionError(f"{file.path}: stream {stream} has no events; those that have: {known}")
    if not there:
        kinds = ", ".join(f"{n}: {known.kind}" for n, known in sorted(file.streams.items()))
        report.notes.append(f"no stream of events; there are {kinds or 'none at all'}")
        return None
    if len(there) > 1 and stream is None:
        numbers = ", ".join(map(str, there))
        report.notes.append(f"event streams {numbers}: read is {there[0]}; stream= chooses another")
    return there[0] if stream is None else stream


def _size(file: File, number: int | None, report: Report) -> tuple[int, int]:
    """The size of the sensor as the stream has it, or else another stream, or else 346x260."""
    streams = [file.streams[number]] if number is not None else []
    for known in [*streams, *(file.streams[n] for n in sorted(file.streams))]:
        if known.width and known.height:
            return known.width, known.height
    report.notes.append("the sensor's size is not in the file, taken as 346x260; size=WxH sets it")
    return 346, 260


def header(path: Path) -> dict[str, Any]:
    """Compression, and per stream its type, size, source, and number of packets and events."""
    with File.open(path, False, Report()) as file:
        facts: dict[str, Any] = {"version": "4.0", "compression": file.compression}
        facts["table"] = file.table is not None
        for number, known in sorted(file.streams.items()):
            about: dict[str, Any] = {"type": known.kind, "source": known.source}
            if known.width and known.height:
                about["size"] = f"{known.width}x{known.height}"
            if file.table is not None:
                entries = file.table[file.table["stream"] == number]
                about |= {"packets": len(entries), "elements": int(entries["n"].sum())}
            facts[f"stream {number}"] = about
        return facts


def bound(path: Path) -> int:
    """At most so many events are in one stream of the file, if its table is right."""
    with File.open(path, False, Report()) as file:
        return count(file)


def write(
    file: BinaryIO,
    chunks: Iterable[Events],
    *,
    compression: Literal["none", "lz4", "zstd"] = "lz4",
    packet: int = 8192,
) -> None:
    """AEDAT 4 with one stream, a table, and packets of `packet` events; coordinates below 32,768.

    The same events give the same bytes, however they are cut into chunks.
    """
    if not 1 <= packet <= 1 << 20:
        raise OptionError(f"packet is {packet}, expected 1 to {1 << 20}")
    compress = _compressor(compression)
    rows: list[tuple[int, int, int, int, int, int]] = []
    at, rest = 0, None
    for events in chunks:
        if rest is None:
            head = _io_header(compression.upper(), -1, events.size)
            at, rest = file.write(MAGIC + head), events[:0]
        _check(events)
        events = Events.concat([rest, events]) if len(rest) else events
        full = len(events) - len(events) % packet
        for i in range(0, full, packet):
            at = _put(file, events[i : i + packet], at, rows, compress)
        rest = events[full:].copy()
    if rest is None:
        return
    if len(rest):
        at = _put(file, rest, at, rows, compress)
    file.write(compress(_table(rows)))
    file.seek(0)
    file.write(MAGIC + _io_header(compression.upper(), at, rest.size))


def _check(events: Events) -> None:
    x, y = (int(side.max(initial=0)) for side in (events.x, events.y))
    if max(x, y) >= 1 << 15:
        raise OptionError(f"aedat4 holds coordinates below 32,768, found x {x}, y {y}")


def _put(
    file: BinaryIO,
    events: Events,
    at: int,
    rows: list[tuple[int, int, int, int, int, int]],
    compress: Callable[[bytes], bytes],
) -> int:
    """Write a packet at a byte, note it in `rows`, and say where it ends."""
    payload = compress(_payload(events))
    file.write(np.array([0, len(payload)], "<i4").tobytes() + payload)
    span = int(events.t.min()), int(events.t.max())
    rows.append((at + 8, 0, len(payload), len(events), *span))
    return at + 8 + len(payload)


def _compressor(name: str) -> Callable[[bytes], bytes]:
    if name == "none":
        return bytes
    if name == "lz4":
        import lz4.frame

        return lambda data: bytes(lz4.frame.compress(data, store_size=False))
    import zstandard

    return zstandard.ZstdCompressor(level=3).compress


def _payload(events: Events) -> bytes:
    """A size-prefixed flatbuffer EVTS."""
    records = np.zeros(len(events), EVENTS)
    for name in "txyp":
        records[name] = getattr(events, name)
    # root at 20 | EVTS | table of fields: 6 bytes, of objects of 8, field 0 at 4 | object | vector
    words = np.array([28 + EVENT * len(events), 16], "<u4").tobytes() + b"EVTS"
    words += np.array([6, 8, 4, 0], "<u2").tobytes()
    words += np.array([8, 4, len(events)], "<u4").tobytes()
    return words + records.tobytes()


def _table(rows: list[tuple[int, int, int, int, int, int]]) -> bytes:
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


def _io_header(compression: str, table: int, size: tuple[int, int]) -> bytes:
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
def _decode(
    buffer: np.ndarray,
    runs: np.ndarray,
    run: int,
    k: int,
    low: int,
    high: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    n: int,
    room: int,
) -> tuple[int, int, int]:
    """Append to n events those from event k of a run on, until `room` are there or runs end.

    Returns the new n, run and k.
    """
    while run < len(runs) and n < room:
        m = min(runs[run].n - k, room - n)
        at = runs[run].at + 16 * k
        # Not aligned: the processors we know do not mind.
        words = buffer[at : at + 16 * m].view(np.int64)
        inside = 0
        for i in range(m):
            inside += (words[2 * i] >= low) & (words[2 * i] < high)
        if inside == m:
            _copy(words, t[n : n + m], x[n : n + m], y[n : n + m], p[n : n + m])
        elif inside:
            _pick(words, low, high, t, x, y, p, n)
        n += inside
        k += m
        if k == runs[run].n:
            run, k = run + 1, 0
    return n, run, k


@jit
def _copy(words: np.ndarray, t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> None:
    """All events: a loop without branches, which the compiler turns into vectors."""
    for i in range(len(t)):
        word = words[2 * i + 1]
        t[i] = words[2 * i]
        x[i] = word
        y[i] = word >> 16
        p[i] = (word >> 32 & 0xFF) != 0


@jit
def _pick(
    words: np.ndarray,
    low: int,
    high: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    n: int,
) -> None:
    """Append the events with low <= t < high to n others."""
    for i in range(len(words) // 2):
        time, word = words[2 * i], words[2 * i + 1]
        if low <= time < high:
            t[n] = time
            x[n] = word
            y[n] = word >> 16
            p[n] = (word >> 32 & 0xFF) != 0
            n += 1


FORMATS.register(
    Format(
        name="aedat4",
        title="AEDAT 4.0 (DV, dv-processing)",
        suffixes=(".aedat4",),
        stream=stream,
        write=write,
        detect=lambda head: head.startswith(MAGIC),
        bound=bound,
        header=header,
    )
)
