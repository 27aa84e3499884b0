"""The packets of an AEDAT 3 file, as runs of polarity events; `aedat3` has the layout.

A file is read block by block, and `_walk` hops from packet to packet within a block. The end of a
packet counts as sure when another packet, or the end of the file, follows; where that is beyond
the block or does not hold, `File` finds out by reading elsewhere in the file. So a packet whose
header is damaged never takes later packets with it.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import google_crc32c
import numpy as np

from eventkit._jit import jit
from eventkit.errors import FormatError
from eventkit.formats._holes import in_hole
from eventkit.formats._threads import ALONE, Team
from eventkit.formats.base import HEAD, Report, fill, opened
from eventkit.formats.filling import fill_whole
from eventkit.formats.live.feed import Feed

HEADER = struct.Struct("<hhiiiiii")
EVENT = 8
BLOCK = 1 << 19  # stays in the second-level cache between read, checksum and decoding
LARGEST = 1 << 26  # bytes of one event; frames of pixels are the largest
SECOND = 1_000_000  # µs: a larger step back in a packet is that of other bytes
KINDS = (
    *("special", "polarity", "frame", "imu6", "imu9", "sample", "ear", "config"),
    *("point1d", "point2d", "point3d", "point4d", "spike", "matrix4x4", "unknown type"),
)
RUN = np.dtype(
    [
        ("at", np.int64),  # byte of the first event in the file
        ("base", np.int64),  # overflow << 31
        ("first", np.int64),  # earliest and latest time
        ("last", np.int64),
        ("n", np.int32),  # events, and those of them that are valid
        ("valid", np.int32),
    ]
)
STATE = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("kind", "base", "left"),  # of this packet; `left` are its events to come
            *("after", "skip"),  # bytes to skip after them, and now
            *("sure", "end"),  # the last packet with a sure end, and the byte of that
            *("source", "foreign", "resets"),  # first camera, events of others, clock resets
        )
    ]
)
Block = tuple[np.ndarray, int, np.ndarray]  # bytes, the place in the file of the first, runs


@dataclass(frozen=True)
class File:
    """An open file, seen as packets."""

    path: Path
    fd: int
    end: int

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        with opened(path) as fd:
            yield cls(path, fd, os.fstat(fd).st_size)

    def fill(self, buffer: np.ndarray, at: int) -> int:
        """Fill the buffer with the bytes from a place on, which must be there."""
        return len(fill_whole(self.path, self.fd, buffer, at))

    def header(self, at: int) -> tuple[int, ...] | None:
        """The fields of the packet header at a byte, if there is one."""
        head = os.pread(self.fd, HEADER.size, at)
        if len(head) < HEADER.size or not _is_header(np.frombuffer(bytearray(head), np.uint8), 0):
            return None
        return HEADER.unpack(head)

    def end_of(self, at: int) -> int | None:
        """The byte where the packet at a byte ends, if a packet or the end of the file follows."""
        fields = self.header(at)
        if fields is None:
            return None
        _, _, size, _, _, capacity, number, _ = fields
        for count in (number, capacity):
            end = at + HEADER.size + count * size
            if end == self.end or (end < self.end and self.header(end) is not None):
                return end
        return None

    def find(self, at: int) -> int:
        """The first byte from `at` on where a packet begins for certain, or the end.

        The sizes in a header of polarity or special events are proof enough: ten bytes are as
        they must be. Of other types the end must be sure.
        """
        buffer = np.empty(HEAD, np.uint8)
        while (n := fill(self.fd, buffer, at)) >= HEADER.size:
            found = _find(buffer, 0, n)
            while found >= 0:
                if buffer[found] <= 1 or self.end_of(at + found) is not None:
                    return at + found
                found = _find(buffer, found + 1, n)
            at += n - HEADER.size + 1
        return self.end

    def fault(self, at: int) -> str:
        """What is wrong at a byte where a packet should begin, when `end_of` finds no end."""
        fields = self.header(at)
        if fields is None and self.end - at < HEADER.size:
            return f"the file ends {self.end - at} bytes into a packet header; it is cut off"
        if fields is None:
            found = os.pread(self.fd, HEADER.size, at)
            return f"expected a packet header, found {found.hex(' ', 4)}"
        kind, _, size, _, _, _, number, _ = fields
        end = at + HEADER.size + number * size
        what = f"{number:,} {KINDS[min(kind, len(KINDS) - 1)]} events"
        if end > self.end:
            there = (self.end - at - HEADER.size) // size
            return f"a packet promises {what}, the file ends after {there:,}; it is cut off"
        return f"a packet promises {what}, but no other packet follows them at byte {end:,}"


def blocks(
    file: File, begin: int, strict: bool, report: Report, team: Team = ALONE
) -> Iterator[Block]:
    """The whole file; its packets begin at a byte. Fills the report but for invalid events.

    strict=False skips what is damaged, with a note; otherwise FormatError is raised there.
    """
    longest = min(BLOCK, file.end)
    free = team.buffers(longest)
    runs = np.empty(longest // (HEADER.size + EVENT) + 2, RUN)
    tally = np.zeros(len(KINDS), np.int64)
    state = np.zeros(1, STATE)
    state["skip"], state["sure"], state["source"] = begin, -1, -1
    offset = hashed = crc = 0
    while hashed < file.end:
        buffer = next(free)
        n = file.fill(buffer[: file.end - offset], offset)
        crc = google_crc32c.extend(crc, buffer[hashed - offset : n])
        hashed = offset + n
        at, doubt = 0, True
        while doubt:
            found, at, doubt = _walk(buffer[:n], at, offset, hashed == file.end, state, runs, tally)
            yield buffer, offset, _whole(file, buffer, offset, runs[:found], strict, report)
            if doubt:
                end, sound = _settle(file, offset + at, strict, report)
                if sound:
                    state["sure"], state["end"] = offset + at, end
                else:
                    state["skip"] = end - offset - at
        offset += at
    report.crc32c = crc
    _summarise(report, tally, state)


def _whole(
    file: File, buffer: np.ndarray, offset: int, runs: np.ndarray, strict: bool, report: Report
) -> np.ndarray:
    """The runs without those in which bytes were replaced by zeros, which are noted as damage."""
    zeroed = np.zeros(len(runs), bool)
    if not _mark_zeroed(buffer, offset, runs, zeroed):
        return runs
    for at, n in runs[["at", "n"]][zeroed].tolist():
        reason = f"{n:,} events of a packet are partly zeros: bytes were lost"
        if strict:
            raise FormatError(file.path, at, f"{reason}; strict=False leaves them out")
        report.skipped(at, at + n * EVENT, reason, f"at byte {at:,}: {reason}")
    return runs[~zeroed]


@jit
def _mark_zeroed(buffer: np.ndarray, offset: int, runs: np.ndarray, zeroed: np.ndarray) -> bool:
    """Mark the runs of a block that hold zeros in place of events; whether there are any."""
    found = False
    for i in range(len(runs)):
        at = runs[i].at - offset
        zeroed[i] = in_hole(buffer[at : at + EVENT * runs[i].n])
        found |= zeroed[i]
    return found


def chosen(file: File, runs: np.ndarray, team: Team) -> Iterator[Block]:
    """Some runs of a file only; what lies before, after and far between them is not read."""
    if not len(runs):
        return
    ends = runs["at"] + EVENT * runs["n"].astype(np.int64)
    free = team.buffers(min(BLOCK, int(ends[-1] - runs["at"][0])))
    i = 0
    while i < len(runs):
        offset = int(runs["at"][i])
        j = int(np.searchsorted(ends, offset + BLOCK, "right"))  # a run was in one block: it fits
        buffer = next(free)
        file.fill(buffer[: int(ends[j - 1]) - offset], offset)
        yield buffer, offset, runs[i:j]
        i = j


def whole(
    data: np.ndarray, feed: Feed, ended: bool, strict: bool, report: Report
) -> tuple[np.ndarray, int]:
    """The packets that are there of a live recording, as runs, and the bytes they take.

    Damage raises FormatError, or is skipped with a count. At the end, the whole events of a packet
    that is cut off are taken if not strict.
    """
    rows, at, n = [], 0, len(data)
    while n - at >= HEADER.size:
        if not _is_header(data, at):
            if strict:
                reason = f"expected a packet header, found {bytes(data[at : at + 28]).hex(' ', 4)}"
                hint = "strict=False reads what is sound"
                raise FormatError(feed.path, feed.offset + at, f"{reason}; {hint}")
            found = _find(data, at + 1, n)
            end = found if found >= 0 else n - HEADER.size + 1
            first, last = feed.offset + at, feed.offset + end
            report.skipped(first, last, "there is no packet header")
            at = end
            continue
        kind, _, size, _, overflow, capacity, number, _ = HEADER.unpack(
            data[at : at + 28].tobytes()
        )
        end = at + HEADER.size + number * size
        if number != capacity:  # which of them it is, tells what follows
            sure = _end(data, at, ended)
            if sure < 0 and end + HEADER.size > n and not ended:
                break
            end = sure if sure >= 0 else end
        events = min(number, (n - at - HEADER.size) // size)
        if end > n:
            if strict or not ended:
                break
            end = at + HEADER.size + events * size
        if kind == 1 and events:
            rows.append((at + HEADER.size, overflow << 31, 0, 0, events, 0))
        elif events:
            report.counts[KINDS[min(kind, len(KINDS) - 1)]] += events
        at = end
    return np.array(rows, RUN), at


def _settle(file: File, at: int, strict: bool, report: Report) -> tuple[int, bool]:
    """The byte where the packet at a byte ends, of which `_walk` is not sure; whether to read it.

    A damaged packet ends where the next one begins for certain. One of which bytes are missing is
    left out as a whole: nobody knows where, and what of it is of the next; so is one whose times
    jump back. Of the last packet the events that are there are kept: the file is cut off.
    """
    end = file.end_of(at)
    if end is not None:
        return end, True
    fault = file.fault(at)
    if strict:
        raise FormatError(file.path, at, f"{fault}; strict=False reads what is sound")
    fields = file.header(at)
    skipped = at if fields is None else at + HEADER.size
    end = file.find(max(skipped, at + 1))
    sound = fields is not None and _holds(file, at, end, fields)
    if fields is not None and sound:
        _, _, size, _, _, _, number, _ = fields
        skipped += min(number, (end - skipped) // size) * size
    else:
        skipped = at
    where = f"; skipped bytes {skipped:,} to {end:,}" if skipped < end else ""
    report.skipped(skipped, end, fault, f"at byte {at:,}: {fault}{where}")
    return end, sound


def _holds(file: File, at: int, end: int, fields: tuple[int, ...]) -> bool:
    """Whether the packet from a byte to another has what it promises, or is cut off at the end."""
    kind, _, size, stamp, _, _, number, _ = fields
    there = (end - at - HEADER.size) // size
    if kind > 1 or (there < number and end < file.end):
        return there >= number
    data = np.empty(min(there, number) * size, np.uint8)
    file.fill(data, at + HEADER.size)
    times = data.reshape(-1, size)[:, stamp : stamp + 4].copy().view("<i4")[:, 0]
    return not bool((np.diff(times.astype(np.int64)) < -SECOND).any())


def _summarise(report: Report, tally: np.ndarray, state: np.ndarray) -> None:
    for kind, n in zip(KINDS, tally.tolist(), strict=True):
        if n and kind != "polarity":
            report.counts[kind] += n
    resets, foreign = int(state["resets"][0]), int(state["foreign"][0])
    if resets:
        report.notes.append(f"clock resets after the first event: {resets:,}; times begin anew")
    if foreign:
        report.notes.append(f"events of other cameras than the first: {foreign:,}; all are kept")


@jit
def _int16(buffer: np.ndarray, at: int) -> int:
    bits: int = buffer[at] | buffer[at + 1] << 8
    return bits - ((bits & 0x8000) << 1)


@jit
def _int32(buffer: np.ndarray, at: int) -> int:
    bits: int = buffer[at] | buffer[at + 1] << 8 | buffer[at + 2] << 16 | buffer[at + 3] << 24
    return bits - ((bits & 0x80000000) << 1)


@jit
def _is_header(buffer: np.ndarray, at: int) -> bool:
    """Whether the 28 bytes at a place can be the header of a packet."""
    kind, source, size = _int16(buffer, at), _int16(buffer, at + 2), _int32(buffer, at + 4)
    stamp, overflow = _int32(buffer, at + 8), _int32(buffer, at + 12)
    capacity, number = _int32(buffer, at + 16), _int32(buffer, at + 20)
    valid = _int32(buffer, at + 24)
    if kind < 0 or source < 0 or overflow < 0 or not (0 <= valid <= number <= capacity):
        return False
    if kind <= 1:
        return size == 8 and stamp == 4
    return 0 < size <= LARGEST and 0 <= stamp <= size - 4


@jit
def _find(buffer: np.ndarray, at: int, n: int) -> int:
    """The first place from `at` on that can be the header of a packet of a known type, or -1."""
    for i in range(at, n - 27):
        if buffer[i] <= 13 and buffer[i + 1] == 0 and _is_header(buffer, i):
            return i
    return -1


@jit
def _walk(
    buffer: np.ndarray,
    at: int,
    offset: int,
    ends: bool,
    state: np.ndarray,
    runs: np.ndarray,
    tally: np.ndarray,
) -> tuple[int, int, bool]:
    """Fill `runs` with the polarity events from buffer[at] on, which begins at byte `offset`.

    Returns how many runs there are, the place up to which the buffer is used, and whether it is
    in doubt where the packet ends that begins there. A packet that goes on beyond the buffer is
    remembered in `state`; `tally` counts the events of each type. The file ends with the buffer
    if `ends`.
    """
    packet = state[0]
    n = len(buffer)
    found = 0
    while True:
        step = min(packet.skip, n - at)
        packet.skip -= step
        at += step
        if packet.left > 0:
            m = min(packet.left, (n - at) // 8)
            if m == 0:
                return found, at, False
            if packet.kind == 1:
                runs[found].at, runs[found].base, runs[found].n = offset + at, packet.base, m
                found += 1
            else:  # a special event of kind 1 says that the clock was reset
                for i in range(at, at + 8 * m, 8):
                    packet.resets += (buffer[i] == 3) & (packet.source >= 0)
            at += 8 * m
            packet.left -= m
            if packet.left == 0:
                packet.skip = packet.after
        elif at == n or (n - at < 28 and not ends):
            return found, at, False
        else:
            if packet.sure != offset + at:
                end = _end(buffer, at, ends)
                if end < 0:
                    return found, at, True
                packet.sure, packet.end = offset + at, offset + end
            at += _enter(buffer, at, offset, packet, tally)


@jit
def _end(buffer: np.ndarray, at: int, ends: bool) -> int:
    """Where the packet at a place ends, or -1 if that is not sure from the buffer alone."""
    n = len(buffer)
    if n - at < 28 or not _is_header(buffer, at):
        return -1
    for field in (20, 16):  # number of events, capacity
        end = at + 28 + _int32(buffer, at + field) * _int32(buffer, at + 4)
        if end + 28 <= n:
            if _is_header(buffer, end):
                return end
        elif not ends:
            return -1
        elif end == n:
            return end
    return -1


@jit
def _enter(buffer: np.ndarray, at: int, offset: int, packet: Any, tally: np.ndarray) -> int:
    """Begin the packet at a place, whose end is known, and say how many bytes its header has.

    What is not a packet is skipped.
    """
    room = packet.end - offset - at
    if min(room, len(buffer) - at) < 28 or not _is_header(buffer, at):
        packet.skip = room
        return 0
    size, number = _int32(buffer, at + 4), _int32(buffer, at + 20)
    events = min(number, (room - 28) // size)
    packet.kind, source = _int16(buffer, at), _int16(buffer, at + 2)
    packet.base = _int32(buffer, at + 12) << 31
    tally[min(packet.kind, len(tally) - 1)] += events
    if packet.kind > 1 or events == 0:
        packet.skip = room - 28
        return 28
    packet.left, packet.after = events, room - 28 - 8 * events
    if packet.kind == 1 and packet.source < 0:
        packet.source = source
    elif packet.kind == 1 and packet.source != source:
        packet.foreign += events
    return 28
