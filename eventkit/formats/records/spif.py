"""SPIF words: events as AEStream and SpiNNaker's interface SPIF send them in datagrams.

No header; words of 32 bits, little endian:

    0-14 y | 15 polarity (1 ON) | 16-30 x | 31 no time
    uint32 time [µs], if bit 31 is 0

The time is the one of its 32 bits that is nearest to that of the event before; an event without
one has the time of the event before, or in a live recording that of its arrival, in µs from the
first. The origin is at the top left. `udp://HOST:PORT` receives and sends such words; a file of
them is known by its suffix alone. The sensor's size is not in them: unless given, it is the
smallest that holds all events of a file. Source: src/cpp/output/dvs_to_udp.cpp of
https://github.com/aestream/aestream
"""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Columns, Events
from eventkit.formats.base import FIRST, FORMATS, Format, Report, Size, limits, opened
from eventkit.formats.filling import Chunks, Extent, blocks, cut_short
from eventkit.formats.live.feed import Feed, cut_off, is_address, sensor_of

WORD, BLOCK = 4, 1 << 19
WRAP, HALF = 1 << 32, 1 << 31
# Now, its 32 bits, whether there was a time, and whether a word is there of which the time is not.
STATE = np.dtype([(name, np.int64) for name in ("now", "bits", "begun", "owed", "word")])


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
    """Events; size (as 346x260) is that of the sensor. Counts: trailing bytes."""
    window = limits(start, stop)
    with opened(path) as fd:
        end = os.fstat(fd).st_size
        sensor = size or _survey(path, fd, end, report)
        chunks = Chunks(into, max(1, min(chunk, end // WORD)), sensor)
        state, crc = np.zeros(1, STATE), 0
        for block in blocks(path, fd, 0, end, BLOCK):
            crc = google_crc32c.extend(crc, block)
            words, k = _words(block), 0
            while k < len(words):
                n, k = _decode(words, k, state, *window, *chunks.place())
                yield from chunks.take(n)
        report.crc32c = crc
        left = end % WORD + WORD * int(state["owed"][0])
        cut_short(path, end, left, "the 8 of an event with its time", strict, report)
    yield from chunks.rest()


def live(
    feed: Feed, report: Report, into: Columns, *, strict: bool, size: Size | None = None
) -> Iterator[Events]:
    """Events as they come; size is needed. Counts: trailing bytes.

    Those from a port also: outside the sensor, which are left out, as anybody may send there.
    """
    sensor = sensor_of(feed, size)
    yield Events.empty(sensor)
    state, began, window = np.zeros(1, STATE), None, limits(None, None)
    for data in feed:
        began = time.monotonic_ns() if began is None and len(data) else began
        if not state["begun"][0] and began is not None:
            state["now"] = (time.monotonic_ns() - began) // 1000
        words, k = _words(data), 0
        while k < len(words):
            into.reserve(BLOCK)
            n, k = _decode(words, k, state, *window, *into.arrays, 0, BLOCK)
            events = into.events(n, sensor)
            if is_address(feed.path) and (outside := events.out_of_bounds):
                report.counts["outside the sensor"] += outside
                events = events[(events.x < sensor[0]) & (events.y < sensor[1])]
            yield events
        feed.use(WORD * len(words))
    cut_off(feed, report, strict, "a word of 4", WORD * int(state["owed"][0]))


def _words(block: np.ndarray) -> np.ndarray:
    return block[: len(block) // WORD * WORD].view("<u4")


def _survey(path: Path, fd: int, end: int, report: Report) -> tuple[int, int]:
    """The smallest size that holds all events, with a note."""
    into, state, window = Columns(), np.zeros(1, STATE), limits(None, None)
    into.reserve(BLOCK // WORD)
    extent = Extent(least=1)
    for block in blocks(path, fd, 0, end, BLOCK):
        n, _ = _decode(_words(block), 0, state, *window, *into.arrays, 0, BLOCK)
        extent.see(into.arrays[1][:n], into.arrays[2][:n])
    return extent.size(path, report)


def bound(path: Path) -> int:
    """At most so many events are in the file."""
    return path.stat().st_size // WORD


def write(file: BinaryIO, chunks: Iterable[Events]) -> None:
    """Words with times, at least one event: x and y below 32,768, the first time from 0 to 2^32 - 1
    µs, and every step from one event to the next between -2^31 and 2^31 - 1 µs."""
    last = None
    for events in chunks:
        if not len(events):
            continue
        x, y = int(events.x.max()), int(events.y.max())
        if max(x, y) >= 1 << 15:
            raise OptionError(f"spif holds coordinates below 32,768, found x {x}, y {y}")
        first = int(events.t[0])
        if last is None and not 0 <= first < WRAP:
            reason = f"spif holds a first time from 0 to 2^32 - 1 µs, found {first}"
            raise OptionError(f"{reason}: {FIRST}")
        steps = np.diff(events.t, prepend=first if last is None else last)
        bad = np.flatnonzero((steps < -HALF) | (steps >= HALF))
        if len(bad):
            reason = f"spif holds steps of time below 2^31 µs, found one to {events.t[bad[0]]} µs"
            raise OptionError(f"{reason}: {FIRST}, or cut the recording")
        last = int(events.t[-1])
        words = np.empty((len(events), 2), "<u4")
        words[:, 0] = events.x.astype(np.uint32) << 16 | events.p.astype(np.uint32) << 15
        words[:, 0] |= events.y
        words[:, 1] = events.t & (WRAP - 1)
        file.write(words.tobytes())
    if last is None:
        raise OptionError("a spif file with no events would be an empty file, which is not read")


@jit
def _decode(
    words: np.ndarray,
    k: int,
    states: np.ndarray,
    low: int,
    high: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    n: int,
    room: int,
) -> tuple[int, int]:
    """Append to n events those from word k on, until `room` are there or words end: new n and k."""
    state = states[0]
    while k < len(words) and n < room:
        word = np.int64(words[k])
        k += 1
        if state.owed:
            bits = word
            word, state.owed = state.word, 0
            step = bits - state.bits
            if state.begun:
                state.now += step - ((step + HALF) >> 32 << 32)  # the nearest
            else:
                state.now, state.begun = bits, 1
            state.bits = bits
        elif not word >> 31:
            state.word, state.owed = word, 1
            continue
        t[n], x[n], y[n], p[n] = state.now, word >> 16 & 0x7FFF, word & 0x7FFF, word >> 15 & 1
        n += (state.now >= low) & (state.now < high)
    return n, k


FORMATS.register(
    Format(
        name="spif",
        title="SPIF words (AEStream, SpiNNaker), also by udp://",
        suffixes=(".spif",),
        stream=stream,
        write=write,
        appends=True,
        bound=bound,
        bounded=True,
        live=live,
        sized=False,
    )
)
