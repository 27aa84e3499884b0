"""Event Stream 2.0 (.es): events with the time since the one before.

    12 bytes  "Event Stream"
     3 bytes  version: 2, x, x
     1 byte   type: 0 generic, 1 dvs, 2 atis, 3 reserved, 4 color
     uint16   width, uint16 height; not in generic files
    events, little endian, each of one byte b, and what follows it:

    generic   255: t += 254 | 254: nothing | else t += b; length in 7-bit groups (bit 0: one more
              group follows, lowest group first), then so many bytes
    dvs       255: t += 127 | 254: nothing | else t += b >> 1, bit 0 polarity; uint16 x, uint16 y
    atis      b >= 252: t += 63 (b & 3) | else t += b >> 2, bits 0-1: 0 OFF, 2 ON, 1 and 3 begin and
              end of an exposure; uint16 x, uint16 y
    color     255: t += 254 | 254: nothing | else t += b; uint16 x, uint16 y, bytes r, g, b

The origin is at the bottom left; times [µs] begin at 0 and never go back. Source: the specification
at https://github.com/neuromorphic-paris/event_stream
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import google_crc32c
import numpy as np

from eventkit._jit import jit
from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats._holes import first_zero
from eventkit.formats.base import FIRST, FORMATS, Format, Report, limits, opened
from eventkit.formats.filling import Chunks, cut_short, fill_whole
from eventkit.formats.live.feed import Feed, cut_off

MAGIC = b"Event Stream"
BLOCK = 1 << 18  # bytes that are written at once
GENERIC, DVS, ATIS, COLOR = 0, 1, 2, 4
TYPES = {GENERIC: "generic", DVS: "dvs", ATIS: "atis", COLOR: "color"}
LEAST = {GENERIC: 2, DVS: 5, ATIS: 5, COLOR: 8}  # bytes of an event
LEFT_OUT = {GENERIC: "payload bytes", ATIS: "exposure events", COLOR: "colors"}
BLOCK = 1 << 18
ROOM = 1 << 16  # events of a chunk of a live recording
GAP = 1 << 32  # steps of time from which on a writer refuses: a byte for every 127 µs
AHEAD = 64  # bytes after damage in which all events must be sound
LONGEST = 1 << 32  # bytes of a payload
DONE, FULL, OVER, CUT, DAMAGED = range(5)  # why a kernel stops
STATE = np.dtype([(name, np.int64) for name in ("t", "skip", "lost", "left", "damaged", "skipped")])


def stream(
    path: Path,
    report: Report,
    into: Columns,
    *,
    chunk: int,
    start: int | None,
    stop: int | None,
    strict: bool,
) -> Iterator[Events]:
    """Events of the sensor; those of generic files have a time, but x = y = p = 0 and size 1x1.

    Events of color files are ON. Counts: payload bytes (generic), exposure events (atis), colors
    (color); with strict=False damaged places, where an event lies outside the sensor, and bytes
    skipped there. Reading ends where times reach stop, as none goes back.
    """
    low, high = limits(start, stop)
    with opened(path) as fd:
        kind, size, begin = _head(path, os.pread(fd, 20, 0))
        end = whole = os.fstat(fd).st_size
        chunks = Chunks(into, max(1, min(chunk, (end - begin) // LEAST[kind])), size)
        state = np.zeros(1, STATE)
        buffer = np.empty(min(BLOCK, end), np.uint8)
        crc, at, why = google_crc32c.value(os.pread(fd, begin, 0)), begin, DONE
        while at < end and why == DONE:
            block = fill_whole(path, fd, buffer[: end - at], at)
            if kind != GENERIC and (hole := first_zero(block)) >= 0:
                end = _lost(path, at + hole, end, strict, report)
                block = block[: end - at]
            used, why = 0, FULL
            while why == FULL:
                n, used, why = _decode(
                    *(block, used, end - at, kind, *size, strict, state, low, high),
                    *chunks.place(),
                )
                yield from chunks.take(n)
            crc = google_crc32c.extend(crc, block[:used])
            at += used
        if why in (CUT, DAMAGED):
            _stopped(path, fd, at, end, why, strict, report)
        report.crc32c = crc if why == DONE and end == whole else None
    _tell(report, kind, state)
    yield from chunks.rest()


def live(feed: Feed, report: Report, into: Columns, *, strict: bool) -> Iterator[Events]:
    """Events as they come. Counts as those of a file."""
    for data in feed:
        if len(data) >= 20:
            break
    path = Path(feed.path)
    kind, size, begin = _head(path, bytes(feed.data[:20]))
    feed.use(begin)
    yield Events.empty(size)
    state, (low, high) = np.zeros(1, STATE), limits(None, None)
    # Of generic events, how long a payload may be is only known at the end: a last look is for it.
    for data, ended in feed.to_the_end():
        left = LONGEST if kind == GENERIC and not ended else len(data)
        used, why = 0, FULL
        while why == FULL:
            into.reserve(ROOM)
            n, used, why = _decode(
                *(data, used, left, kind, *size, strict, state, low, high),
                *(*into.arrays, 0, ROOM),
            )
            yield into.events(n, size)
        if why == DAMAGED:
            _damaged(path, feed.offset + used, bytes(data[used : used + 9]))
        feed.use(used)
    cut_off(feed, report, strict, "an event", int(state["skip"][0]))
    _tell(report, kind, state)


def _head(path: Path, head: bytes) -> tuple[int, tuple[int, int], int]:
    """The type, the size of the sensor, and where events begin, from the first 20 bytes."""
    if not head.startswith(MAGIC):
        raise FormatError(path, 0, f"starts with {head[:12]!r}, expected {MAGIC!r}")
    if len(head) < 16 or (head[15] != GENERIC and len(head) < 20):
        raise FormatError(path, len(head), "the file ends within its header; it is cut off")
    if head[12] != 2:
        raise FormatError(path, 12, f"it is Event Stream {head[12]}, expected version 2")
    kind = head[15]
    if kind not in TYPES:
        reason = f"its type is {kind}, expected one of {', '.join(map(str, TYPES))}"
        raise FormatError(path, 15, reason)
    if kind == GENERIC:
        return kind, (1, 1), 16
    width, height = int.from_bytes(head[16:18], "little"), int.from_bytes(head[18:20], "little")
    if not width or not height:
        raise FormatError(path, 16, f"the sensor's size is {width}x{height}, expected some pixels")
    return kind, (width, height), 20


def _lost(path: Path, at: int, end: int, strict: bool, report: Report) -> int:
    """Where events end that are sound, if zeros begin at a byte: all later times are unknown."""
    reason = "bytes were replaced by zeros, and times are steps from event to event"
    if strict:
        raise FormatError(path, at, f"{reason}; strict=False reads what comes before")
    report.skipped(at, end, reason, f"at byte {at:,}: {reason}; what follows is left out")
    return at


def _stopped(
    path: Path, fd: int, at: int, end: int, why: int, strict: bool, report: Report
) -> None:
    """FormatError where a kernel stopped early; a cut event is only counted if not strict."""
    if why == DAMAGED:
        _damaged(path, at, os.pread(fd, min(end - at, 9), at))
    cut_short(path, end, end - at, "an event", strict, report)


def _damaged(path: Path, at: int, found: bytes) -> NoReturn:
    reason = f"expected an event on the sensor, found {found.hex(' ')}"
    raise FormatError(path, at, f"{reason}; strict=False reads what is sound")


def _tell(report: Report, kind: int, state: np.ndarray) -> None:
    left, damaged, skipped = (int(state[name][0]) for name in ("left", "damaged", "skipped"))
    if left:
        report.counts[LEFT_OUT[kind]] += left
    if damaged:
        report.counts["damaged places"] += damaged
        report.counts["skipped bytes"] += skipped
        report.notes.append(f"damaged places: {damaged:,}; times after the first are uncertain")


def header(path: Path) -> dict[str, Any]:
    """The version and the type: generic, dvs, atis or color."""
    with opened(path) as fd:
        kind, _, _ = _head(path, os.pread(fd, 20, 0))
        version = os.pread(fd, 3, 12)
    return {"version": ".".join(map(str, version)), "type": TYPES[kind]}


def bound(path: Path) -> int:
    """At most so many events are in the file."""
    with opened(path) as fd:
        kind, _, begin = _head(path, os.pread(fd, 20, 0))
    return (path.stat().st_size - begin) // LEAST[kind]


def write(file: BinaryIO, chunks: Iterable[Events]) -> None:
    """A dvs file. Events must be on the sensor, in order of time, and times not negative."""
    last, size, out = 0, None, np.empty(BLOCK, np.uint8)
    for events in chunks:
        if size is None:
            size = events.size
            if max(size) > 65535:
                raise OptionError(f"es holds sizes up to 65535x65535, found {size}")
            file.write(MAGIC + bytes([2, 0, 0, DVS]) + np.array(size, "<u2").tobytes())
        if not len(events):
            continue
        if events.out_of_bounds:
            raise OptionError(
                f"es cannot hold the {events.out_of_bounds:,} events outside {events.size}: "
                "the transform crop drops them"
            )
        steps = np.diff(events.t, prepend=last)
        if (first := int(events.t[0])) < 0:
            raise OptionError(f"es holds times from 0 on, found {first} µs: {FIRST}")
        if steps.min() < 0:
            i = int(steps.argmin())
            raise OptionError(
                f"es cannot hold t = {events.t[i]} µs after {events.t[i] - steps[i]} µs: "
                "read with sort=True, or sort the events"
            )
        if steps.max() >= GAP:
            i = int(steps.argmax())
            raise OptionError(
                f"es holds steps of time below 2^32 µs, found one of {steps[i]:,} µs to "
                f"t = {events.t[i]}: {FIRST}, or cut the recording"
            )
        i = wait = 0
        while i < len(events):
            i, wait, n = _encode(events.x, events.y, events.p, steps, i, wait, size[1], out)
            file.write(out[:n].data)
        last = int(events.t[-1])


@jit
def _encode(
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    steps: np.ndarray,
    i: int,
    wait: int,
    height: int,
    out: np.ndarray,
) -> tuple[int, int, int]:
    """Fill `out` with events from i on, of whose step of time `wait` µs are written already.

    Returns the next i, its `wait`, and how many bytes there are.
    """
    m = 0
    while i < len(steps) and m + 5 <= len(out):
        step = steps[i] - wait
        while step >= 127 and m + 5 < len(out):
            out[m] = 255
            step -= 127
            m += 1
        if step >= 127:
            return i, steps[i] - step, m
        row = height - 1 - np.int64(y[i])
        out[m] = step << 1 | p[i]
        out[m + 1], out[m + 2] = x[i] & 255, x[i] >> 8
        out[m + 3], out[m + 4] = row & 255, row >> 8
        i, wait, m = i + 1, 0, m + 5
    return i, wait, m


@jit
def _event(block: np.ndarray, at: int, kind: int) -> tuple[int, int, int, int]:
    """Time step, bytes, polarity (-1: none) and whether there is an event, of the byte at a place.

    The polarity of the exposure events of atis is 2.
    """
    b: Any = np.int64(block[at])
    if kind == DVS:
        if b < 254:
            return b >> 1, 5, b & 1, 1
        return 127 * (b & 1), 1, 0, 0
    if kind == ATIS:
        if b < 252:
            return b >> 2, 5, 2 if b & 1 else b >> 1 & 1, 1
        return 63 * (b & 3), 1, 0, 0
    if b < 254:
        return b, 8 if kind == COLOR else 1, 1 if kind == COLOR else 0, 1
    return 254 * (b & 1), 1, 0, 0


@jit
def _sound(block: np.ndarray, at: int, kind: int, width: int, height: int) -> bool:
    """Whether all events in the next bytes lie on the sensor."""
    end = min(at + AHEAD, len(block))
    while at < end:
        _, size, _, event = _event(block, at, kind)
        if event and at + size <= len(block):
            column = np.int64(block[at + 1]) | np.int64(block[at + 2]) << 8
            row = np.int64(block[at + 3]) | np.int64(block[at + 4]) << 8
            if column >= width or row >= height:
                return False
        at += size
    return True


@jit
def _payload(block: np.ndarray, at: int) -> tuple[int, int]:
    """Length of a payload and bytes of that length; 0 bytes if it goes beyond the block."""
    length = 0
    for i in range(5):
        if at + i >= len(block):
            return 0, 0
        byte: Any = np.int64(block[at + i])
        length |= byte >> 1 << 7 * i
        if not byte & 1:
            return length, i + 1
    return LONGEST, 5


@jit
def _decode(
    block: np.ndarray,
    at: int,
    left: int,
    kind: int,
    width: int,
    height: int,
    strict: bool,
    states: np.ndarray,
    low: int,
    high: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    n: int,
    room: int,
) -> tuple[int, int, int]:
    """Append to n events those from a place on. The file has `left` bytes from block[0] on.

    Returns the new n, the place reached, and why it stops there.
    """
    state = states[0]
    end = len(block)
    last = end if left == end else end - AHEAD - 8  # an event, and what decides if it is sound
    now = state.t
    why = DONE
    while True:
        if state.skip:
            step = min(state.skip, end - at)
            state.skip -= step
            at += step
        while state.lost and at < last:
            state.lost = not _sound(block, at, kind, width, height)
            at += state.lost
            state.skipped += state.lost
        if at >= last:
            break
        step, size, polarity, event = _event(block, at, kind)
        if not event:
            now += step
            at += size
            continue
        if at + size > end:
            why = CUT
            break
        column = row = np.int64(0)
        if kind != GENERIC:
            column = np.int64(block[at + 1]) | np.int64(block[at + 2]) << 8
            row = np.int64(block[at + 3]) | np.int64(block[at + 4]) << 8
        outside = column >= width or row >= height
        if now + step >= high and (strict or not outside):  # the time of damage means nothing
            why = OVER
            break
        if kind == GENERIC:
            length, more = _payload(block, at + 1)
            if more == 0 or at + 1 + more + length > left:
                why = CUT
                break
            state.left += length * (now + step >= low)
            state.skip = more + length
            t[n], x[n], y[n], p[n] = now + step, 0, 0, 0
        elif outside:
            if strict:
                why = DAMAGED
                break
            state.damaged += 1
            state.skipped += 1
            state.lost = 1
            at += 1
            continue
        else:
            t[n], x[n], y[n], p[n] = now + step, column, height - 1 - row, polarity & 1
        now += step
        at += size
        keep = now >= low
        if kind == ATIS and polarity == 2:
            state.left += keep
            keep = False
        elif kind == COLOR:
            state.left += keep
        n += keep
        if n == room:
            why = FULL
            break
    state.t = now
    return n, at, why


FORMATS.register(
    Format(
        name="es",
        title="Event Stream 2 (.es)",
        suffixes=(".es",),
        stream=stream,
        write=write,
        appends=True,
        detect=lambda head: head.startswith(MAGIC),
        bound=bound,
        bounded=True,
        header=header,
        live=live,
    )
)
