"""40-bit ATIS events: the .bin files of N-MNIST and N-Caltech101.

No header; each event has 5 bytes, big endian:

    byte 0: x | byte 1: y | byte 2, bit 7: polarity (1 ON) | the other 23 bits: time [µs]

A record with y = 240 is no event: it says that all later times are 8,192 µs greater. No file of the
two data sets has one, as 23 bits last for 8.388607 s; SpikingJelly takes them for events.
Source: the reader of the data sets' author, https://github.com/gorchard/event-Python

With no magic bytes, a file is known by its suffix alone; so one that is text, or whose times go
back in more than a third of the first records, is refused unless strict=False. The sensor's size
is not in the file: unless given, it is the smallest of 34x34 (N-MNIST), 240x180 (N-Caltech101) and
256x256 that holds all coordinates of the file.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np

from eventkit._jit import jit
from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats.base import CROP, FIRST, FORMATS, Format, Report, Size, limits, opened
from eventkit.formats.filling import Chunks, blocks, cut_short
from eventkit.formats.live.feed import Feed, cut_off, sensor_of

RECORD = 5
BLOCK = RECORD << 16
SIZES = ((34, 34), (240, 180), (256, 256))
MARKER, STEP = 240, 8192  # the y that is no event, and what it adds to later times
LONGEST = (1 << 23) - 1
JUDGED, ENOUGH = 1000, 32  # first records, and how many tell text or random bytes from events
PIECE = 2048  # records that are decoded at once, if all of them are good


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
) -> Iterator[Events]:
    """Events; size (as 34x34) is that of the sensor. Counts: overflow markers, trailing bytes."""
    low, high = limits(start, stop)
    with opened(path) as fd:
        end = os.fstat(fd).st_size
        records, trailing = divmod(end, RECORD)
        found: Iterable[np.ndarray] = blocks(path, fd, 0, end, BLOCK)
        if end <= BLOCK:
            found = list(found)  # read once, looked at twice
        sensor = _survey(path, found, strict, size)
        cut_short(path, end, trailing, f"the {RECORD} of an event", strict, report)
        if size is None and sensor == SIZES[-1]:
            report.notes.append("events lie outside 240x180, so the size is taken as 256x256")
        chunks = Chunks(into, max(1, min(chunk, records)), sensor)
        shift = crc = 0
        for block in found if end <= BLOCK else blocks(path, fd, 0, end, BLOCK):
            crc = google_crc32c.extend(crc, block)
            k = 0
            while k < len(block) // RECORD:
                n, k, markers = _decode(block, k, shift, low, high, *chunks.place())
                shift += STEP * markers
                if markers:
                    report.counts["overflow markers"] += markers
                yield from chunks.take(n)
        report.crc32c = crc
    yield from chunks.rest()


def live(
    feed: Feed, report: Report, into: Columns, *, strict: bool, size: Size | None = None
) -> Iterator[Events]:
    """Events as they come; size is needed. Counts: overflow markers, trailing bytes."""
    sensor, window, shift = (
        sensor_of(feed, size),
        limits(None, None),
        0,
    )
    yield Events.empty(sensor)
    for data in feed:
        records = len(data) // RECORD
        into.reserve(records)
        n, _, markers = _decode(data, 0, shift, *window, *into.arrays, 0, records)
        shift += STEP * markers
        if markers:
            report.counts["overflow markers"] += markers
        yield into.events(n, sensor)
        feed.use(records * RECORD)
    cut_off(feed, report, strict, f"the {RECORD} of an event")


def _survey(
    path: Path, blocks: Iterable[np.ndarray], strict: bool, size: tuple[int, int] | None
) -> tuple[int, int]:
    """The sensor's size, from the coordinates if need be; FormatError for text and random bytes."""
    x = y = 0
    for first, block in enumerate(blocks):
        if strict and first == 0:
            _refuse(path, block[: RECORD * JUDGED])
        if size is not None:
            return size
        x_block, y_block = _greatest(block)
        x, y = max(x, x_block), max(y, y_block)
    return next(known for known in SIZES if x < known[0] and y < known[1])


def _refuse(path: Path, block: np.ndarray) -> None:
    """FormatError if the first records of a file look like text or random bytes."""
    records = len(block) // RECORD
    backward, text = _judge(block)
    if records < ENOUGH:
        return
    if text:
        raise FormatError(path, 0, "expected 5-byte ATIS events, found text")
    if 3 * backward > records:
        reason = f"times go back {backward:,} times in the first {records:,} records"
        hint = "these are no ATIS events; strict=False reads them all the same"
        raise FormatError(path, 0, f"{reason}: {hint}")


def bound(path: Path) -> int:
    """At most so many events are in the file."""
    return path.stat().st_size // RECORD


def write(file: BinaryIO, chunks: Iterable[Events]) -> None:
    """40-bit events, at least one: x and y below 256, y not 240, 0 <= t < 2^32 µs.

    Times past 8.388607 s need overflow markers, which some readers ignore; time must not go back
    by so much that they would have to be undone. The size is not written.
    """
    markers, empty = 0, True
    for events in chunks:
        if not len(events):
            continue
        _check(events)
        needed = np.maximum(-((LONGEST - events.t) // STEP), markers)
        so_far = np.maximum.accumulate(needed)
        time = events.t - STEP * so_far
        if time.min() < 0:
            i = int(time.argmin())
            low = STEP * int(so_far[i])
            raise OptionError(
                f"atis cannot hold t = {events.t[i]} µs after times that need markers of {low} µs"
            )
        records = np.zeros((len(events) + int(so_far[-1]) - markers, RECORD), np.uint8)
        records[:, 1] = MARKER
        rows = np.arange(len(events)) + so_far - markers
        high = time >> 16 | events.p.astype(np.int64) << 7
        columns = (events.x, events.y, high, time >> 8, time)
        records[rows] = np.stack([column.astype(np.uint8) for column in columns], axis=1)
        file.write(records.tobytes())
        markers, empty = int(so_far[-1]), False
    if empty:
        raise OptionError("an atis file with no events would be an empty file, which is not read")


def _check(events: Events) -> None:
    low, high = int(events.t.min()), int(events.t.max())
    if low < 0 or high >= 1 << 32:
        raise OptionError(f"atis holds times from 0 to 2^32 - 1 µs, found {low} to {high}: {FIRST}")
    x, y = int(events.x.max()), int(events.y.max())
    if max(x, y) > 255:
        raise OptionError(f"atis holds coordinates below 256, found x {x}, y {y}: {CROP}")
    if (events.y == MARKER).any():
        raise OptionError(f"atis cannot hold y = {MARKER}, which marks an overflow of time")


@jit
def _judge(block: np.ndarray) -> tuple[int, bool]:
    """How often the time goes back from event to event, and whether all bytes are text."""
    backward = last = shift = 0
    text = True
    for at in range(0, len(block) - 4, 5):
        for byte in block[at : at + 5] if text else block[:0]:
            text &= 32 <= byte < 127 or 9 <= byte <= 13
        if block[at + 1] == MARKER:
            shift += STEP
            continue
        time = shift + ((block[at + 2] & 127) << 16 | block[at + 3] << 8 | block[at + 4])
        backward += time < last
        last = time
    return backward, text


@jit
def _greatest(block: np.ndarray) -> tuple[int, int]:
    """The greatest x and y of the events."""
    x = y = np.uint8(0)
    for i in range(len(block) // 5):
        row = block[5 * i + 1]
        x = max(x, block[5 * i])
        y = max(y, row if row != MARKER else np.uint8(0))
    return int(x), int(y)


@jit
def _decode(
    block: np.ndarray,
    k: int,
    shift: int,
    low: int,
    high: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    n: int,
    room: int,
) -> tuple[int, int, int]:
    """Append to n events those of record k on, until `room` are there or the block ends.

    Returns the new n, the next record, and how many overflow markers there were.
    """
    markers = 0
    while k < len(block) // 5 and n < room:
        m = min(len(block) // 5 - k, room - n, PIECE)
        data = block[5 * k : 5 * (k + m)]
        base = shift + STEP * markers
        a, b, c, d = t[n : n + m], x[n : n + m], y[n : n + m], p[n : n + m]
        found = _copy(data, base, a, b, c, d)
        if found or a.min() < low or a.max() >= high:
            n += _select(data, base, low, high, a, b, c, d)
        else:
            n += m
        markers += found
        k += m
    return n, k, markers


@jit
def _copy(
    data: np.ndarray, base: int, t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray
) -> int:
    """All records, as if they were events: a loop of which the compiler makes vector instructions.

    Returns how many are overflow markers.
    """
    markers = 0
    for i in range(len(t)):
        x[i], y[i], p[i] = data[5 * i], data[5 * i + 1], data[5 * i + 2] >> 7
        time = (data[5 * i + 2] & 127) << 16 | data[5 * i + 3] << 8 | data[5 * i + 4]
        t[i] = base + time
        markers += data[5 * i + 1] == MARKER
    return markers


@jit
def _select(
    data: np.ndarray,
    base: int,
    low: int,
    high: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
) -> int:
    """The events of the window, and how many there are."""
    kept = 0
    for i in range(len(data) // 5):
        if data[5 * i + 1] == MARKER:
            base += STEP
            continue
        time = (data[5 * i + 2] & 127) << 16 | data[5 * i + 3] << 8 | data[5 * i + 4]
        t[kept] = base + time
        x[kept], y[kept], p[kept] = data[5 * i], data[5 * i + 1], data[5 * i + 2] >> 7
        kept += (base + time >= low) & (base + time < high)
    return kept


FORMATS.register(
    Format(
        name="atis",
        title="40-bit ATIS events (N-MNIST, N-Caltech101)",
        suffixes=(".bin",),
        stream=stream,
        write=write,
        appends=True,
        bound=bound,
        bounded=True,
        live=live,
        sized=False,
    )
)
