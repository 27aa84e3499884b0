"""AEDAT 1.0 and 2.0: the recordings of jAER, and the format of CIFAR10-DVS.

ASCII lines that start with # (none in many files of version 1.0), then records, big endian:

    1.0, 6 bytes                        2.0, 8 bytes
    0 uint16 address                    0 uint32 address
    2 int32 time [µs]                   4 int32 time [µs]

Times are signed, and negative in some recordings. The clock has 32 bits: where it wraps, times go
on beyond them. So a time is the one of its 32 bits that is nearest to the time before.

    address of a DVS128                 address of a DAVIS
    0 polarity (0 ON) | 1-7 x | 8-14 y  31: 0 event, 1 sample of an image (APS) or IMU word
    15 special event                    10: special event | 11: polarity (1 ON) | 12-21 x | 22-30 y
                                        0-3: number of the camera, where there are several (DHP19)

The origin of x and y is at the bottom right. A cochlea has no pixels: x is its address (channel,
side, neuron), of 1024x1, and p is 0. Sources: the file format pages of iniVation, and jAER
(DVS128.java, DavisBaseCamera.java), which has polarity 0 as ON where these pages have 1; recordings
of dark objects, whose front is OFF, agree with jAER. The camera's number is as read by
SensorsINI/DHP19 (read_aedat/ImportAedatDataVersion1or2.m).
"""

import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import google_crc32c
import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats._threads import ALONE, Arrays, Team, Unit
from eventkit.formats.aedat import _aedat2_decode as kernels
from eventkit.formats.aedat._aedat2_chips import ALIASES, CHIPS, DAVIS, Chip, Chips, placement
from eventkit.formats.aedat._aedat2_decode import KINDS
from eventkit.formats.base import CROP, FIRST, FORMATS, HEAD, Format, Report, limits
from eventkit.formats.filling import Chunks, cut_short, fill_whole
from eventkit.formats.live.feed import Feed, cut_off
from eventkit.registry import Range

MAGIC, END = b"#!AER-DAT", "end of ascii header"
BLOCK = 1 << 19
LARGEST = 1 << 20  # bytes of the ASCII lines of a live recording
FACTS = 64  # lines of the header that are kept
JUDGED = 32  # records from which on a file without header is judged to be something else


@dataclass(frozen=True)
class _Recording:
    """An open file: its ASCII lines, the byte at which records begin, and how long one is."""

    path: Path
    fd: int
    end: int
    version: str
    begin: int
    crc: int  # of the ASCII lines
    facts: dict[str, str]

    @property
    def record(self) -> int:
        return 6 if self.version.startswith("1") else 8

    @property
    def records(self) -> int:
        return (self.end - self.begin) // self.record

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Bytes in blocks of whole records, but for the last; and the records, an address and a
        time each, as int32. One buffer for all."""
        words = np.empty((min(BLOCK, self.end - self.begin) // self.record, 2), np.int32)
        for block in self.bytes(ALONE):
            records = words[: len(block) // self.record]
            kernels.turn(block, self.record, records.view(np.uint32))
            yield block, records

    def bytes(self, team: Team) -> Iterator[np.ndarray]:
        """Blocks of whole records, but for the last."""
        step = BLOCK // self.record * self.record
        free = team.buffers(min(step, self.end - self.begin))
        for offset in range(self.begin, self.end, step):
            yield fill_whole(self.path, self.fd, next(free)[: self.end - offset], offset)


def stream(
    path: Path,
    report: Report,
    into: Columns,
    *,
    chunk: int,
    start: int | None,
    stop: int | None,
    strict: bool,
    chip: Chips | None = None,
    origin: Literal["jaer", "raw", "cifar10dvs"] = "jaer",
    polarity: Literal["jaer", "reversed"] = "jaer",
    recording: Annotated[int | None, Range(0, 15)] = None,
    threads: int = 1,
) -> Iterator[Events]:
    """Events of the camera; chip names it where neither the header nor the addresses do.

    origin="jaer" puts the origin at the top left; "raw" keeps addresses as they are; "cifar10dvs"
    also swaps x and y, as those recordings lie on their side (the pixels of SpikingJelly).
    polarity="reversed" swaps ON and OFF. `recording` is the number, from 0, of a camera in a file
    of several DAVIS cameras. Several `threads` decode version 2.0 side by side. Counts: special,
    aps, imu and adc words, events out of bounds or of other cameras, trailing bytes.
    """
    window = limits(start, stop)
    with path.open("rb") as file, Team(threads) as team:
        opened = _open(path, file)
        trailing = (opened.end - opened.begin) % opened.record
        what = f"the {opened.record} of an event"
        cut_short(path, opened.end, trailing, what, strict, report)
        if not opened.begin and strict:
            _judge(opened)
        sensor = CHIPS[chip or _guess_chip(opened, report)]
        place = placement(sensor, origin, polarity)
        one = _Camera(recording, sensor)
        if team.alone or opened.record == 6:
            yield from _events(opened, report, into, chunk, window, sensor.size, place, one)
            return
        tallies = [np.zeros(len(KINDS), np.int64)]
        units = _units(opened, report, team, window, place, tallies, one)
        yield from team.decode(units, into, chunk, opened.records, sensor.size)
        _count(report, np.sum(tallies, axis=0), one)


class _Camera:
    """The records of one camera of several; of all, where its number is None."""

    def __init__(self, number: int | None, chip: Chip) -> None:
        if number is not None and chip.layout is not DAVIS:
            raise OptionError(
                f"recording is {number}, but only addresses of a DAVIS have the number of a "
                f"camera, not those of a chip of {chip.size[0]}x{chip.size[1]}"
            )
        self.number, self.no_event, self.others = number, chip.layout.no_event, 0

    def of(self, records: np.ndarray) -> np.ndarray:
        """Those of these records that are of the camera or no events; the array is changed."""
        if self.number is None:
            return records
        n = kernels.select(records, self.number, self.no_event)
        self.others += len(records) - n
        return records[:n]


def live(
    feed: Feed,
    report: Report,
    into: Columns,
    *,
    strict: bool,
    chip: Chips | None = None,
    origin: Literal["jaer", "raw", "cifar10dvs"] = "jaer",
    polarity: Literal["jaer", "reversed"] = "jaer",
) -> Iterator[Events]:
    """Events as they come; chip is needed if the header does not name it. Counts as `stream`."""
    recording = _live_head(feed)
    known = chip or _named_chip(recording)[1]
    if known is None:
        raise OptionError(f"{feed.path}: its header names no chip that is known; chip= sets it")
    sensor = CHIPS[known]
    place, window = placement(sensor, origin, polarity), limits(None, None)
    tally, clock, record = np.zeros(len(KINDS), np.int64), np.zeros(3, np.int64), recording.record
    feed.use(recording.begin)
    feed.settle()
    yield Events.empty(sensor.size)
    for data in feed:
        records = np.empty((len(data) // record, 2), np.int32)
        kernels.turn(data, record, records.view(np.uint32))
        n = len(records)
        into.reserve(n)
        n, _ = kernels.decode(records, 0, clock, tally, *window, place, *into.arrays, 0, n)
        yield into.events(n, sensor.size)
        feed.use(len(records) * record)
    _count(report, tally)
    cut_off(feed, report, strict, f"the {record} of an event")


def _live_head(feed: Feed) -> _Recording:
    """The ASCII lines of a live recording, when a record is behind them or it has ended."""
    for data in feed:
        head = bytes(data)
        if len(head) < len(MAGIC) + 5:
            continue
        recording = _parse(Path(feed.path), io.BytesIO(head), -1, len(head))
        rest = head[recording.begin :]
        cut = rest.startswith(b"#") and b"\n" not in rest and len(rest) < HEAD
        if (len(rest) >= recording.record and not cut) or len(head) > LARGEST:
            return recording
    return _parse(Path(feed.path), io.BytesIO(bytes(feed.data)), -1, len(feed.data))


def _units(
    recording: _Recording,
    report: Report,
    team: Team,
    window: tuple[int, int],
    place: tuple[int, ...],
    tallies: list[np.ndarray],
    camera: _Camera,
) -> Iterator[Unit]:
    """The blocks as work for threads, each of which appends what is no event, by its kind."""

    def decode(block: np.ndarray, clock: np.ndarray, columns: Arrays) -> int:
        room, tally = len(columns[0]), np.zeros(len(KINDS), np.int64)
        records = np.empty((room, 2), np.int32)
        kernels.turn(block, recording.record, records.view(np.uint32))
        mine = camera.of(records)
        n, _ = kernels.decode(mine, 0, clock, tally, *window, place, *columns, 0, room)
        tallies.append(tally)
        return n

    clock, crc = np.zeros(3, np.int64), recording.crc
    for block in recording.bytes(team):
        crc = google_crc32c.extend(crc, block)
        yield len(block) // recording.record, partial(decode, block, clock.copy())
        kernels.tick(block, clock)
    report.crc32c = crc


def _count(report: Report, tally: np.ndarray, camera: _Camera | None = None) -> None:
    report.counts.update({kind: n for kind, n in zip(KINDS, tally.tolist(), strict=True) if n})
    if camera is not None and camera.others:
        report.counts["of other cameras"] = camera.others


def _events(
    recording: _Recording,
    report: Report,
    into: Columns,
    chunk: int,
    window: tuple[int, int],
    size: tuple[int, int],
    place: tuple[int, ...],
    camera: _Camera,
) -> Iterator[Events]:
    chunks = Chunks(into, max(1, min(chunk, recording.records)), size)
    tally = np.zeros(len(KINDS), np.int64)
    clock = np.zeros(3, np.int64)  # time, its 32 bits, and whether there was one
    crc = recording.crc
    for block, records in recording.blocks():
        crc = google_crc32c.extend(crc, block)
        k, mine = 0, camera.of(records)
        while k < len(mine):
            n, k = kernels.decode(mine, k, clock, tally, *window, place, *chunks.place())
            yield from chunks.take(n)
    report.crc32c = crc
    _count(report, tally, camera)
    yield from chunks.rest()


def _open(path: Path, file: BinaryIO) -> _Recording:
    """The ASCII lines of a file."""
    return _parse(path, file, file.fileno(), os.fstat(file.fileno()).st_size)


def _parse(path: Path, file: BinaryIO, fd: int, end: int) -> _Recording:
    """The ASCII lines; a line that does not end within 64 KiB, or is not text, is data."""
    begin, version, crc = 0, "1.0", 0
    facts: dict[str, str] = {}
    while True:
        line = file.readline(HEAD)
        whole = line.endswith(b"\n") or begin + len(line) == end
        if not line.startswith(b"#") or not whole or not _is_text(line):
            break
        if begin == 0 and line.startswith(MAGIC):
            version = line[len(MAGIC) :].strip().decode("latin-1")
            if version[:2] not in ("1.", "2."):
                reason = f"it is AEDAT {version}, expected #!AER-DAT1.0 or #!AER-DAT2.0"
                raise FormatError(path, 0, reason)
        begin += len(line)
        crc = google_crc32c.extend(crc, line)
        text = line[1:].decode("utf-8").strip()
        if text.lower().startswith(END):
            break
        match = re.fullmatch(r"(created|\w[\w -]*:) (.*)", text)
        if match and len(facts) < FACTS and line.startswith(b"# "):
            facts.setdefault(match[1].rstrip(":").lower(), match[2])
    return _Recording(path, fd, end, version, begin, crc, facts)


def _is_text(line: bytes) -> bool:
    try:
        return line.rstrip(b"\r\n").replace(b"\t", b" ").decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def _judge(recording: _Recording) -> None:
    """FormatError for a file without header that looks like anything but AEDAT 1.0."""
    if recording.records < JUDGED:
        return
    _, words = next(recording.blocks())
    records, backward = len(words), kernels.backward(words)
    if backward > records // 3:
        reason = f"no header, and times go back {backward:,} times in {records:,} records"
        hint = "this is no AEDAT 1.0; strict=False reads it all the same"
        raise FormatError(recording.path, 0, f"{reason}: {hint}")


def _named_chip(recording: _Recording) -> tuple[str, str | None]:
    """The chip as the header names it, and as we do, if we know it."""
    named = recording.facts.get("aechip", "").rpartition(".")[2].lower()
    known = {**{name: name for name in CHIPS}, **ALIASES}
    return named, next((chip for name, chip in known.items() if name in named), None)


def _guess_chip(recording: _Recording, report: Report) -> str:
    """The chip that the header names, or else what the addresses look like, with a note."""
    named, known = _named_chip(recording)
    if known is not None:
        return known
    bits = x = y = 0
    for _, records in recording.blocks():
        seen, x_max, y_max = kernels.survey(records)
        bits, x, y = bits | seen, max(x, x_max), max(y, y_max)
        if 1024 <= bits < 1 << 16:
            break
    chip = "dvs128"
    if bits >> 16:
        sizes = ((name, CHIPS[name].size) for name in ("davis240", "davis346", "davis640"))
        chip = next((name for name, (w, h) in sizes if x < w and y < h), "davis640")
    elif bits < 1024 and recording.records >= JUDGED:
        chip = "cochlea"
    about = f"{named!r} is unknown" if named else "is not named"
    if named or chip != "dvs128":
        report.notes.append(f"the chip {about}, its addresses look like {chip}; chip= sets it")
    return chip


def header(path: Path) -> dict[str, Any]:
    """The version and the facts of the ASCII lines: aechip, hardwareinterface, created, ..."""
    with path.open("rb") as file:
        recording = _open(path, file)
    return {"version": recording.version, **recording.facts}


def bound(path: Path) -> int:
    """At most so many events are in the file."""
    with path.open("rb") as file:
        return _open(path, file).records


def write(file: BinaryIO, chunks: Iterable[Events], *, chip: Chips | None = None) -> None:
    """AEDAT 2.0 of the chip given, or the one with the size of the events: DVS128 or a DAVIS.

    Events must lie on the sensor, the first time and every step from one event to the next
    between −2^31 and 2^31 − 1 µs, so that the clock of 32 bits is understood.
    """
    sensor, last = None, 0
    for events in chunks:
        if sensor is None:
            sensor = _chip_for(events.size, chip)
            lines = ("#!AER-DAT2.0", f"# AEChip: {sensor.java}", "#End Of ASCII Header")
            file.write("".join(f"{line}\r\n" for line in lines).encode())
        if not len(events):
            continue
        if events.out_of_bounds:
            raise OptionError(
                f"aedat2 cannot hold the {events.out_of_bounds:,} events outside {events.size}: "
                "the transform crop drops them"
            )
        steps = np.diff(events.t, prepend=last)
        bad = np.flatnonzero((steps < -(1 << 31)) | (steps >= 1 << 31))
        if len(bad):
            raise OptionError(
                f"aedat2 holds steps of time below 2^31 µs, found one to {events.t[bad[0]]} µs: "
                f"{FIRST}, or cut the recording"
            )
        last = int(events.t[-1])
        file.write(_encode(events, sensor).tobytes())


def _chip_for(size: tuple[int, int], chip: str | None) -> Chip:
    names = [name for name, known in CHIPS.items() if known.size == size]
    if chip in names or (chip is None and names):
        return CHIPS[chip or names[0]]
    if chip is not None:
        raise OptionError(f"the chip {chip} has the size {CHIPS[chip].size}, the events {size}")
    sizes = ", ".join(sorted({f"{c.size[0]}x{c.size[1]}" for c in CHIPS.values()}))
    raise OptionError(f"aedat2 knows no chip of the size {size}; there are {sizes}: {CROP}")


def _encode(events: Events, chip: Chip) -> np.ndarray:
    x, x_mask, y, y_mask, p, p_mask, x0, dx, y0, dy, flip, _ = placement(chip, "jaer", "jaer")
    words = np.empty((len(events), 2), ">u4")
    address = (x0 + dx * events.x.astype(np.int64) & x_mask) << x
    address |= (y0 + dy * events.y.astype(np.int64) & y_mask) << y
    address |= ((events.p ^ flip) & p_mask).astype(np.int64) << p
    words[:, 0] = address
    words[:, 1] = events.t & 0xFFFFFFFF
    return words


FORMATS.register(
    Format(
        name="aedat2",
        title="AEDAT 1.0 and 2.0 (jAER, CIFAR10-DVS)",
        suffixes=(".aedat2",),
        stream=stream,
        write=write,
        appends=True,
        detect=lambda head: head.startswith((MAGIC + b"1", MAGIC + b"2")),
        bound=bound,
        header=header,
        live=live,
        threads=True,
    )
)
FORMATS.register(
    Format(
        name="aedat1",
        title="AEDAT 1.0 without a header (jAER before 2010)",
        suffixes=(".dat",),
        stream=stream,
        bound=bound,
        live=live,
        threads=True,
    )
)
