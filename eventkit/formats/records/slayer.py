"""Spike files of SLAYER and lava-dl: .bs1, .bs2 and .bs3.

No header; events of equal length, big endian:

    .bs1, 5 bytes   16 bits neuron | 1 bit polarity | 23 bits time [µs]
    .bs2, 5 bytes    8 bits x |  8 bits y | 1 bit polarity | 23 bits time [µs]
    .bs3, 7 bytes   12 bits x | 12 bits y | 8 bits channel | 24 bits time [µs]

.bs2 is the layout of the ATIS .bin files, but y = 240 is an event as any other. A neuron of .bs1 is
an x of a sensor that is one pixel high. Channels are polarities (1 ON); events of channels above 1
are counted and left out. Source: src/spikeFileIO.py of https://github.com/bamsumit/slayerPytorch

With no magic bytes, a file is known by its suffix alone. The sensor's size is not in the file:
unless given, it is the smallest of 34x34, 128x128, 256x256, 512x512, ... that holds all events;
for .bs1, it is as wide as the greatest neuron needs.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Columns, Events
from eventkit.formats.base import CROP, FIRST, FORMATS, Format, Report, Size, limits, opened
from eventkit.formats.filling import Chunks, blocks, cut_short
from eventkit.formats.live.feed import Feed, cut_off, sensor_of

SIZES = (34, 128, 256, 512, 1024, 2048, 4096)
BLOCK = 1 << 18
LONGEST = (1 << 23) - 1


@dataclass(frozen=True)
class _Layout:
    """Bits of the parts of an event, which come in the order x, y, p, t."""

    name: str
    x: int
    y: int
    p: int
    t: int

    @property
    def record(self) -> int:
        return (self.x + self.y + self.p + self.t) // 8

    @property
    def bits(self) -> tuple[int, int, int, int]:
        return self.x, self.y, self.p, self.t


BS1, BS2, BS3 = (
    _Layout("bs1", 16, 0, 1, 23),
    _Layout("bs2", 8, 8, 1, 23),
    _Layout("bs3", 12, 12, 8, 24),
)


def _stream(
    layout: _Layout,
    path: Path,
    report: Report,
    into: Columns,
    chunk: int,
    window: tuple[int, int],
    strict: bool,
    size: Size | None,
) -> Iterator[Events]:
    with opened(path) as fd:
        end = os.fstat(fd).st_size
        records, trailing = divmod(end, layout.record)
        cut_short(path, end, trailing, f"the {layout.record} of an event", strict, report)
        sensor = size or _survey(layout, path, fd, end)
        chunks, crc = Chunks(into, max(1, min(chunk, records)), sensor), 0
        for block in _blocks(layout, path, fd, end):
            crc = google_crc32c.extend(crc, block)
            k = 0
            while k < len(block) // layout.record:
                place = chunks.place()
                n, k, others = _decode(block, k, layout.record, layout.bits, *window, *place)
                del place  # so that its memory can be used again
                if others:
                    report.counts["other channels"] += others
                yield from chunks.take(n)
        report.crc32c = crc
    yield from chunks.rest()


def _blocks(layout: _Layout, path: Path, fd: int, end: int) -> Iterator[np.ndarray]:
    """The file in blocks of whole events, but for the last."""
    return blocks(path, fd, 0, end, BLOCK // layout.record * layout.record)


def _survey(layout: _Layout, path: Path, fd: int, end: int) -> tuple[int, int]:
    """The size of the sensor, from the coordinates."""
    x = y = 0
    for block in _blocks(layout, path, fd, end):
        x_max, y_max = _measure(block, layout.record, layout.bits)
        x, y = max(x, x_max), max(y, y_max)
    if layout.y == 0:
        return x + 1, 1
    side = next(side for side in SIZES if max(x, y) < side)
    return side, side


def _reader(layout: _Layout) -> Callable[..., Iterator[Events]]:
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
        """Events; size (as 128x128) is the sensor's. Counts: other channels, trailing bytes."""
        window = limits(start, stop)
        return _stream(layout, path, report, into, chunk, window, strict, size)

    return stream


def _live(layout: _Layout) -> Callable[..., Iterator[Events]]:
    def live(
        feed: Feed, report: Report, into: Columns, *, strict: bool, size: Size | None = None
    ) -> Iterator[Events]:
        """Events as they come; size is needed. Counts: other channels, trailing bytes."""
        sensor, window = sensor_of(feed, size), limits(None, None)
        yield Events.empty(sensor)
        for data in feed:
            records = len(data) // layout.record
            into.reserve(records)
            place = (layout.record, layout.bits, *window)
            n, _, others = _decode(data, 0, *place, *into.arrays, 0, records)
            if others:
                report.counts["other channels"] += others
            yield into.events(n, sensor)
            feed.use(records * layout.record)
        cut_off(feed, report, strict, f"the {layout.record} of an event")

    return live


def _bound(layout: _Layout) -> Callable[[Path], int]:
    def bound(path: Path) -> int:
        """At most so many events are in the file."""
        return path.stat().st_size // layout.record

    return bound


def write(file: BinaryIO, chunks: Iterable[Events]) -> None:
    """A .bs2 file of at least one event: x and y below 256, times from 0 to 2^23 − 1 µs (8.4 s)."""
    empty = True
    for events in chunks:
        if not len(events):
            continue
        low, high = int(events.t.min()), int(events.t.max())
        if low < 0 or high > LONGEST:
            raise OptionError(
                f"bs2 holds times from 0 to {LONGEST} µs, found {low} to {high}: "
                f"{FIRST}, or cut the recording"
            )
        x, y = int(events.x.max()), int(events.y.max())
        if max(x, y) > 255:
            raise OptionError(f"bs2 holds coordinates below 256, found x {x}, y {y}: {CROP}")
        high_bits = events.t >> 16 | events.p.astype(np.int64) << 7
        columns = (events.x, events.y, high_bits, events.t >> 8, events.t)
        file.write(np.stack([column.astype(np.uint8) for column in columns], axis=1).tobytes())
        empty = False
    if empty:
        raise OptionError("a bs2 file with no events would be an empty file, which is not read")


@jit
def _number(block: np.ndarray, at: int, record: int) -> int:
    """All bits of an event of 5 or 7 bytes."""
    high: Any = np.int64(block[at])  # signed: Numba would make floats of mixed integers
    bits: int = high << 32 | block[at + 1] << 24 | block[at + 2] << 16 | block[at + 3] << 8
    bits |= block[at + 4]
    if record == 7:
        bits = bits << 16 | block[at + 5] << 8 | block[at + 6]
    return bits


@jit
def _measure(block: np.ndarray, record: int, bits: tuple[int, int, int, int]) -> tuple[int, int]:
    """Greatest x and y."""
    _, y_bits, p_bits, t_bits = bits
    x = y = 0
    for at in range(0, len(block) - record + 1, record):
        word = _number(block, at, record)
        x = max(x, word >> y_bits + p_bits + t_bits)
        y = max(y, word >> p_bits + t_bits & (1 << y_bits) - 1)
    return x, y


@jit
def _decode(
    block: np.ndarray,
    k: int,
    record: int,
    bits: tuple[int, int, int, int],
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

    Returns the new n, the next record, and how many events have a channel above 1.
    """
    _, y_bits, p_bits, t_bits = bits
    others = 0
    records = len(block) // record
    while k < records and n < room:
        word = _number(block, k * record, record)
        k += 1
        time = word & (1 << t_bits) - 1
        channel = word >> t_bits & (1 << p_bits) - 1
        t[n], p[n] = time, channel & 1
        x[n] = word >> y_bits + p_bits + t_bits
        y[n] = word >> p_bits + t_bits & (1 << y_bits) - 1
        within = (time >= low) & (time < high)
        n += within & (channel < 2)
        others += within & (channel > 1)
    return n, k, others


for _layout, _title, _write in (
    (BS1, "SLAYER spikes of neurons", None),
    (BS2, "SLAYER spikes of pixels", write),
    (BS3, "SLAYER spikes of pixels, 12 bits", None),
):
    FORMATS.register(
        Format(
            name=_layout.name,
            title=_title,
            suffixes=(f".{_layout.name}",),
            stream=_reader(_layout),
            write=_write,
            appends=True,
            bound=_bound(_layout),
            bounded=True,
            sized=False,
            live=_live(_layout),
        )
    )
