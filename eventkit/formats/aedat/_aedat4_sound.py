"""What is sound in a damaged AEDAT 4 file; `aedat4` has the layout.

A packet is read whole or not at all: of one that fails a check nobody knows which events are those
that were recorded. Where the table is there, it says of each packet how many events it has and
their first and last time. Without it a packet must be complete, and followed by another packet or
by the end; one that is not may have lost a part and have taken in the beginning of the next, so its
times must not go back.
"""

import os
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from eventkit.formats.aedat._aedat4_bytes import EVENT, i32
from eventkit.formats.aedat._aedat4_file import Digest, File, fault_at, note
from eventkit.formats.aedat._aedat4_inflate import EXPANSION, LIMIT
from eventkit.formats.aedat._aedat4_packets import Block, promise, promised, unpacked
from eventkit.formats.aedat._aedat4_walk import in_order, is_packet
from eventkit.formats.base import HIGHEST, LOWEST, Report

SHORTEST = 20  # bytes of a packet


def sound(file: File, wanted: int, window: tuple[int, int], report: Report) -> Iterator[Block]:
    """The events of the packets of a stream that pass every check; others are noted and left out.

    Packets that the table knows to lie outside of the window are not read. The report gets the
    checksum of the file, if it wants one.
    """
    entries = file.entries(None, window)
    if entries is not None:
        yield from _by_table(file, wanted, entries, report)
    else:
        yield from _by_search(file, wanted, report)
    if report.checksum:
        digest = Digest(file)
        digest.rest()
        report.crc32c = digest.crc


def _by_table(file: File, wanted: int, entries: np.ndarray, report: Report) -> Iterator[Block]:
    for i, (at, (stream, size), *_) in enumerate(entries.tolist()):
        place = at - 8
        if stream != wanted:
            if os.pread(file.fd, 8, place) == struct.pack("<ii", wanted, size):
                reason = f"a packet of stream {wanted}, which the table has as one of {stream}"
                note(report, place, at + size, reason)
            continue
        places = sorted({place, place - file.shift}, reverse=True)
        blocks = (promised(file, entries[i : i + 1], at) for at in places if at >= file.begin)
        block = next((block for block in blocks if len(block[1])), None)
        if block is not None:
            yield block
        else:
            reason = f"the packet has not {promise(entries[i])} that the table promises"
            note(report, place, at + size, reason)


def _by_search(file: File, wanted: int, report: Report) -> Iterator[Block]:
    at = file.begin
    while at < file.last:
        end, block = _packet(file, at, wanted)
        if end < 0:
            reason = fault_at(file, at, wanted)
            end = file.find(at + 1)
            note(report, at, end, reason)
        elif block is not None:
            yield block
        at = end


def _packet(file: File, at: int, wanted: int) -> tuple[int, Block | None]:
    """Where the packet at a byte ends, -1 if it is damaged, and its events if it has any."""
    size = packet_size(file, at)
    end = at + 8 + size
    if size < 0 or size > LIMIT or end > file.last:
        return -1, None
    payload = np.frombuffer(os.pread(file.fd, size + 8, at), np.uint8)
    if i32(payload, 0) != wanted:
        return end, None
    block = unpacked(file, payload[8:])
    if block is None:
        return -1, None
    if (
        file.last - end >= SHORTEST
        and packet_size(file, end) < 0
        and not _ends_well(file, end, block)
    ):
        return -1, None
    return end, block


def _ends_well(file: File, end: int, block: Block) -> bool:
    """Whether a packet that is followed by no other is whole nevertheless."""
    return bool(file.magic) or (any(os.pread(file.fd, SHORTEST, end)) and in_order(*block))


def packet_size(file: File, at: int) -> int:
    """The size of the payload of the packet at a byte, or -1 if there is none."""
    head: Any = np.frombuffer(os.pread(file.fd, SHORTEST, at), np.uint8)
    if len(head) < SHORTEST or not is_packet(head, 0, file.known, file.magic):
        return -1
    return int(i32(head, 4))


def most(file: File, number: int) -> tuple[int, bool]:
    """At most so many events are in a stream, and whether that is near their number."""
    plain = (file.last - file.begin) // EVENT
    if not file.magic:
        return plain, True
    rows = file.entries(number, (LOWEST, HIGHEST))
    if rows is None or not (rows["n"] > 0).all():
        return EXPANSION * plain, False
    return min(int(rows["n"].sum()), EXPANSION * plain), True


def count(file: File) -> int:
    """At most so many events are in the longest stream, by the table or else by inflating all."""
    totals = [0]
    for number in (number for number, stream in file.streams.items() if stream.kind == "EVTS"):
        total, known = most(file, number)
        if not known:
            blocks = sound(file, number, (LOWEST, HIGHEST), Report(checksum=False))
            total = sum(int(found["n"].sum()) for _, found in blocks)
        totals.append(total)
    return max(totals)
