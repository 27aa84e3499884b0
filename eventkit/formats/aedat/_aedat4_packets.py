"""The events in the packets of an AEDAT 4 file, in batches of packets; `aedat4` has the layout.

A file is read block by block, and `walk` hops from packet to packet within a block. Events of plain
packets are decoded where they lie in the block. Compressed packets are inflated one after the other
into the same bytes, never beyond LIMIT bytes each, and one kernel then checks them all: a camera of
128 x 128 pixels sends packets of 40 events, for which each call from Python takes longer than the
decoding.
"""

import struct
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np

from eventkit.errors import FormatError
from eventkit.formats._threads import ALONE, Team
from eventkit.formats.aedat._aedat4_file import BLOCK, Digest, File, fault_at, note
from eventkit.formats.aedat._aedat4_inflate import LIMIT, inflater
from eventkit.formats.aedat._aedat4_walk import find, is_packet, kept, opened, walk
from eventkit.formats.base import HIGHEST, LOWEST, Report, fill
from eventkit.formats.filling import fill_whole
from eventkit.formats.live.feed import Feed

BATCH = 1 << 15  # compressed bytes: inflated, they stay in the second-level cache
NEAR = 1 << 12  # bytes between packets that are read along with them
NOWHERE = 1 << 62  # the end of a recording that has none yet
RUN = np.dtype([("at", np.int64), ("n", np.int64)])  # events in a buffer, or a payload of n bytes
# Of the packet in which a block ends: events to come, bytes to skip after them, and now.
STATE = np.dtype([(name, np.int64) for name in ("more", "after", "skip")])
NO_SIZES = np.zeros(0, np.int64)
UNKNOWN = np.zeros((0, 4), np.int64)  # the promises of packets without a table
Block = tuple[np.ndarray, np.ndarray]  # bytes, runs in them
Batch = tuple[np.ndarray, int, np.ndarray]  # bytes, where they begin in the file, payloads in them


def runs(file: File, wanted: int, report: Report, team: Team = ALONE) -> Iterator[Block]:
    """All events of a stream; FormatError at the first damage.

    The report gets the checksum of the file, if it wants one.
    """
    walker = _Walk(file, wanted, team, Digest(file) if report.checksum else None)
    promises = _promises(file.entries(wanted, (LOWEST, HIGHEST)))
    found = (_inflated if file.magic else _kept)(file, walker, promises, team)
    fault = -1
    for block, fault in found:
        if len(block[1]):
            yield block
        if fault >= 0:
            break
    fault = walker.fault if fault < 0 else fault
    if fault >= 0:
        hint = "strict=False reads what is sound"
        raise FormatError(file.path, fault, f"{fault_at(file, fault, wanted)}; {hint}")
    if walker.digest is not None:
        walker.digest.rest()
        report.crc32c = walker.digest.crc


def _inflated(
    file: File, walker: "_Walk", promises: np.ndarray, team: Team
) -> Iterator[tuple[Block, int]]:
    """The events of compressed packets, and where the first damaged one is (-1: none)."""
    work, places = partial(_open, file, promises), [np.zeros(0, np.int64)]

    def batches() -> Iterator[Batch]:
        for batch in walker.batches(file.begin):
            places.append(batch[1] + batch[2]["at"] - 8)  # before `work` replaces the rows
            yield batch

    yield from team.map(work, batches(), lambda batch: int(batch[2]["n"].sum()))
    unseen = np.setdiff1d(promises[:, 0], np.concatenate(places))
    if walker.fault < 0 and len(unseen):
        yield (np.empty(0, np.uint8), np.empty(0, RUN)), int(unseen[0])


def _kept(
    file: File, walker: "_Walk", promises: np.ndarray, team: Team
) -> Iterator[tuple[Block, int]]:
    """The events of plain packets, and where the first damaged one is (-1: none)."""
    counts = np.zeros(len(promises), np.int64)
    for buffer, at, rows in walker.blocks(file.begin):
        data = _frozen(buffer)
        sound, fault = kept(data, rows, at, promises, counts)
        yield (data, rows[:sound]), fault
    missed = promises[(counts != promises[:, 1]) & (promises[:, 1] > 0), 0]
    if walker.fault < 0 and len(missed):
        yield (np.empty(0, np.uint8), np.empty(0, RUN)), int(missed[0])


def _open(file: File, promises: np.ndarray, batch: Batch) -> tuple[Block, int]:
    """The events of a batch of packets, and where the first damaged one is (-1: none).

    `promises` has a row for each packet that is known (its place, events, first and last time), in
    order of places; no events mean that nothing else is known. Other packets are damaged, but of
    UNKNOWN packets nothing is known. The rows of payloads are replaced.
    """
    buffer, offset, rows = batch
    plain, sizes = _inflate(file, buffer, rows) if file.magic else (_frozen(buffer), NO_SIZES)
    tabled = promises is not UNKNOWN
    n, fault = opened(plain, sizes, offset, rows, promises, tabled)
    return (plain, rows[:n]), fault


def _inflate(file: File, buffer: np.ndarray, payloads: np.ndarray) -> Block:
    """The plain payloads one after the other and their sizes, -1 for the first that is damaged."""
    parts, sizes, view, inflate = [], [], buffer.data, inflater(file.magic)
    for at, size in payloads.tolist():
        part = inflate(view[at : at + size])
        if part is None:
            sizes.append(-1)
            break
        parts.append(part)
        sizes.append(len(part))
    return np.frombuffer(b"".join(parts), np.uint8), np.array(sizes, np.int64)


def _promises(entries: np.ndarray | None) -> np.ndarray:
    """What the table says of packets: rows of place, events, first and last time."""
    if entries is None:
        return UNKNOWN
    return np.stack([entries["at"] - 8, *(entries[name] for name in ("n", "first", "last"))], 1)


class _Walk:
    """The packets of a stream, up to the end of all packets or to a `fault` (-1: none)."""

    def __init__(self, file: File, wanted: int, team: Team, digest: "Digest | None") -> None:
        self.digest, self.fault = digest, -1
        self._file, self._wanted, self._team = file, wanted, team
        self._known = file.known
        self.block = BLOCK if team.alone else 8 * BLOCK  # fewer to hand over
        self._longest = min(self.block, file.last - file.begin)
        self._free = team.buffers(self._longest)

    def blocks(self, at: int) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
        """From a packet on: blocks, where they begin in the file, and the RUNs in them."""
        file, reach, self.fault = self._file, self.block, -1
        rows, state = np.empty(self._longest // 20 + 2, RUN), np.zeros(1, STATE)
        while at < file.last and self.fault < 0:
            reach = min(reach, file.last - at)
            buffer = self._read(at, reach)
            found, used, need = walk(
                buffer, file.last - at, self._wanted, self._known, file.magic, state, rows
            )
            if found == used == 0 and reach < need <= LIMIT:
                reach = need
                continue
            if need < 0 or found == used == 0:
                self.fault = at + used
            if found:
                yield buffer, at, rows[:found].copy()
            at, reach = at + used, min(2 * reach, self.block)

    def batches(self, at: int) -> Iterator[Batch]:
        """From a packet on: compressed packets, some at a time."""
        for buffer, offset, rows in self.blocks(at):
            begin = total = 0
            for end, size in enumerate(rows["n"].tolist(), 1):
                total += size
                if total >= BATCH or end == len(rows):
                    yield buffer, offset, rows[begin:end]
                    begin, total = end, 0

    def _read(self, at: int, n: int) -> np.ndarray:
        if n > self._longest:
            self._longest, self._free = n, self._team.buffers(n)
        buffer = fill_whole(self._file.path, self._file.fd, next(self._free)[:n], at)
        if self.digest is not None:
            self.digest.add(buffer, at)
        return buffer


def _frozen(buffer: np.ndarray) -> np.ndarray:
    """A view that cannot be written, as inflated bytes are: kernels are compiled for one type."""
    view = buffer.view()
    view.flags.writeable = False
    return view


def unpacked(file: File, payload: np.ndarray) -> Block | None:
    """The events of a payload, or None if it is damaged."""
    (plain, found), _ = _open(file, UNKNOWN, (payload, 0, np.array([(0, len(payload))], RUN)))
    return (plain, found) if len(found) else None


def arrived(file: File, feed: Feed, wanted: int, strict: bool, report: Report) -> Iterator[Block]:
    """The events of a stream of a live recording, each packet as it is there.

    Damage raises FormatError, or is skipped with a count. A table ends the packets.
    """
    known = file.known
    for data in feed:
        at, n = 0, min(len(data), file.last - feed.offset)
        while n - at >= 20 and not _is_table(file, bytes(data[at : at + 12])):
            stream, size = struct.unpack("<ii", data[at : at + 8].tobytes())
            if is_packet(data, at, known, file.magic) and size <= LIMIT:
                if at + 8 + size > n:
                    break
                block = None
                if stream == wanted:
                    block = unpacked(file, data[at + 8 : at + 8 + size])
                if block is not None:
                    yield block
                if block is not None or stream != wanted:
                    at += 8 + size
                    continue
            reason = (
                f"expected a packet of stream {wanted}, found {bytes(data[at : at + 20]).hex(' ')}"
            )
            if strict:
                raise FormatError(
                    feed.path, feed.offset + at, f"{reason}; strict=False reads what is sound"
                )
            found = find(data[at + 1 : n], NOWHERE, known, file.magic)
            end = at + 1 + found if found >= 0 else n - 19
            note(report, feed.offset + at, feed.offset + end, reason)
            at = end
        if file.last <= feed.offset + at or _is_table(file, bytes(data[at : at + 12])):
            feed.drain()
            return
        feed.use(at)


def _is_table(file: File, head: bytes) -> bool:
    """Whether a payload without a packet header begins here, which only the table has."""
    if file.magic:
        return int.from_bytes(head[:4], "little") == file.magic
    return head[8:12] == b"FTAB"


def chosen(file: File, entries: np.ndarray, team: Team) -> Iterator[Block]:
    """The events of some packets of the table; what lies far between them is not read.

    FormatError where a packet is not what the table says of it.
    """
    begins, ends = entries["at"] - 8, entries["at"] + entries["packet"]["size"]
    gaps = np.cumsum(begins > np.append(begins[:1], ends[:-1] + NEAR))
    together = gaps + (ends - begins[:1]) // (BATCH if file.magic else BLOCK)
    edges = [0, *(np.flatnonzero(np.diff(together)) + 1).tolist(), len(entries)]
    parts = [entries[begin:end] for begin, end in pairwise(edges) if begin < end]
    return team.map(partial(_required, file), parts, lambda part: int(part["packet"]["size"].sum()))


def _required(file: File, entries: np.ndarray) -> Block:
    block = promised(file, entries, int(entries["at"][0]) - 8)
    if len(block[1]) < len(entries):
        entry = entries[len(block[1])]
        reason = f"the packet has not {promise(entry)} that the table promises"
        hint = "strict=False leaves it out"
        raise FormatError(file.path, int(entry["at"]) - 8, f"{reason}; {hint}")
    return block


def promise(entry: np.void) -> str:
    """What a row of the table says of a packet."""
    if entry["n"]:
        return f"the {entry['n']:,} events from {entry['first']} to {entry['last']} µs"
    return f"the {entry['packet']['size']:,} bytes of events"


def promised(file: File, entries: np.ndarray, place: int) -> Block:
    """The events of packets of the table, of which the first begins at a place, up to the first
    packet that is not what the table says of it."""
    payloads = np.empty(len(entries), RUN)
    payloads["at"] = entries["at"] - entries["at"][0] + 8
    payloads["n"] = entries["packet"]["size"]
    data = np.zeros(int(payloads["at"][-1] + payloads["n"][-1]), np.uint8)
    there = fill(file.fd, data, place)
    heads = data[payloads["at"][:, np.newaxis] + np.arange(-8, 0)].view(entries["packet"].dtype)
    right = (heads[:, 0] == entries["packet"]) & (payloads["at"] + payloads["n"] <= there)
    n = len(right) if right.all() else int(right.argmin())
    promises = _promises(entries[:n])
    promises[:, 0] += place - promises[:1, 0]
    return _open(file, promises, (data, place, payloads[:n]))[0]
