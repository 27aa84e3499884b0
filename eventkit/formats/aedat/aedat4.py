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

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Columns, Events
from eventkit.formats._threads import Arrays, Team, Unit
from eventkit.formats.aedat import _aedat4_sides as sides
from eventkit.formats.aedat._aedat4_bytes import (
    MAGIC,
)
from eventkit.formats.aedat._aedat4_file import File
from eventkit.formats.aedat._aedat4_packets import Block, arrived, chosen, runs
from eventkit.formats.aedat._aedat4_sound import count, most, sound
from eventkit.formats.aedat._aedat4_write import write
from eventkit.formats.base import (
    CHUNK,
    FORMATS,
    HIGHEST,
    LOWEST,
    WHOLE,
    Format,
    Report,
    Size,
    limits,
)
from eventkit.formats.filling import Chunks
from eventkit.formats.live.feed import Feed, cut_off
from eventkit.formats.tracks import Track, as_images, as_imu, as_sources, unchanged


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
    size: Size | None = None,
    threads: int = 1,
) -> Iterator[Events]:
    """Events of one stream, by default the first that has some; size is that of the sensor.

    A window (start, stop) of a file with a table reads only the packets that meet it. Several
    `threads` inflate packets and decode events side by side. With strict=False a packet that fails
    a check is left out as a whole. Counts, with strict=False: damaged places, skipped bytes.
    """
    window = limits(start, stop)
    with File.open(path, strict, report) as file, Team(threads) as team:
        number = _choose(file, stream, report)
        sensor = size or _size(file, number, report)
        if number is None:
            yield Events.empty(sensor)
            return
        room, known = most(file, number)
        if chunk == WHOLE and not known:
            chunk = CHUNK
        windowed = start is not None or stop is not None
        entries = file.entries(number, window) if windowed else None
        if not strict:
            found = sound(file, number, window, report)
        elif entries is not None:
            room = int(entries["n"].sum()) if (entries["n"] > 0).all() else room
            found = chosen(file, entries, team)
        else:
            found = runs(file, number, report, team)
        chunk = max(1, min(chunk, room))
        if team.alone:
            yield from _chunks(found, into, chunk, window, sensor)
        else:
            yield from team.decode(_units(found, window), into, chunk, room, sensor)


def _chunks(
    found: Iterable[Block],
    into: Columns,
    room: int,
    window: tuple[int, int],
    size: tuple[int, int],
) -> Iterator[Events]:
    """The events of the window, in chunks of `room`, the last of what is left."""
    chunks = Chunks(into, room, size)
    for buffer, packets in found:
        run = k = 0
        while run < len(packets):
            n, run, k = _decode(buffer, packets, run, k, *window, *chunks.place())
            yield from chunks.take(n)
    yield from chunks.rest()


def live(
    feed: Feed,
    report: Report,
    into: Columns,
    *,
    strict: bool,
    stream: int | None = None,
    size: Size | None = None,
) -> Iterator[Events]:
    """Events as they come, packet by packet. Counts as `stream`."""
    file = File.of(feed)
    number = _choose(file, stream, report)
    sensor = size or _size(file, number, report)
    yield Events.empty(sensor)
    if number is None:
        feed.drain()
        return
    window = limits(None, None)
    for block, found in arrived(file, feed, number, strict, report):
        into.reserve(room := int(found["n"].sum()))
        n, _, _ = _decode(block, found, 0, 0, *window, *into.arrays, 0, room)
        yield into.events(n, sensor)
    cut_off(feed, report, strict, "a packet")


def _units(found: Iterable[Block], window: tuple[int, int]) -> Iterator[Unit]:
    """The blocks as work for threads."""

    def decode(buffer: np.ndarray, packets: np.ndarray, columns: Arrays) -> int:
        n, _, _ = _decode(buffer, packets, 0, 0, *window, *columns, 0, len(columns[0]))
        return n

    for buffer, packets in found:
        yield int(packets["n"].sum()), partial(decode, buffer, packets)


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
                entries = file.table[file.table["packet"]["stream"] == number]
                about |= {"packets": len(entries), "elements": int(entries["n"].sum())}
            facts[f"stream {number}"] = about
        return facts


def tracks(
    path: Path, *, stream: int | None = None, _strict: bool = True, _report: Report | None = None
) -> list[Track]:
    """Frames, samples of the IMU, triggers, and events of all other streams."""
    report = _report or Report()
    with File.open(path, _strict, Report()) as file:
        wanted = _choose(file, stream, Report())
    return sides.tracks(path, wanted, _strict, report)


def bound(path: Path) -> int:
    """At most so many events are in one stream of the file, if its table is right."""
    with File.open(path, False, Report()) as file:
        return count(file)


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
        inside = m if low == LOWEST and high == HIGHEST else _inside(words, low, high)
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
def _inside(words: np.ndarray, low: int, high: int) -> int:
    """How many times are in the window."""
    inside = 0
    for i in range(len(words) // 2):
        inside += (words[2 * i] >= low) & (words[2 * i] < high)
    return inside


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
        bounded=True,
        header=header,
        live=live,
        threads=True,
        tracks=tracks,
        holds={"frames": as_images, "imu": as_imu, "triggers": as_sources, "events": unchanged},
        reveals="blocks",
    )
)
