"""Frames, samples of the IMU, triggers and further events of an AEDAT 4 file; `aedat4` has the
layout."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eventkit.errors import FormatError
from eventkit.events import RECORD
from eventkit.formats.aedat._aedat4_bytes import (
    EVENT,
    find_events,
    read_frame,
    read_rows,
)
from eventkit.formats.aedat._aedat4_file import File, fault_at, note
from eventkit.formats.aedat._aedat4_sound import packet_size
from eventkit.formats.base import Report
from eventkit.formats.tracks import IMU, SOURCE, Track, inside, numbered

NAMES = {"FRME": "frames", "IMUS": "imu", "TRIG": "triggers", "EVTS": "events"}
ROWS = {"IMUS": IMU, "TRIG": SOURCE}


def tracks(path: Path, wanted: int | None, strict: bool, report: Report) -> list[Track]:
    """The tracks of all streams but the `wanted` one; those of unknown kinds have no rows.

    The streams that only other packets name are left out: they have none.
    """
    with File.open(path, strict, Report()) as file:
        counts = count(file, wanted)
        numbers = sorted(number for number in file.streams if number != wanted)
        kinds = [file.streams[number].kind for number in numbers]
        streams = dict(file.streams)
    found = []
    labels = [NAMES.get(kind, kind.lower()) for kind in kinds]
    first = [] if wanted is None else ["events"]  # the name of the wanted stream
    names = list(numbered([*first, *labels]))[len(first) :]
    for number, kind, name in zip(numbers, kinds, names, strict=True):
        known = streams[number]
        about = {"number": number, "source": known.source}
        if known.width and known.height:
            about["size"] = (known.width, known.height)

        def rows(low: int, high: int, number: int = number) -> Iterator[np.ndarray]:
            return _rows(path, number, low, high, strict, report)

        if kind in NAMES:
            found.append(Track(name, NAMES[kind], rows, counts[number], about))
        elif counts[number]:
            label = f"packets of stream {number} ({kind})"
            found.append(Track(label, "other", lambda *_: iter(()), counts[number], about))
    return found


def _rows(
    path: Path, number: int, low: int, high: int, strict: bool, report: Report
) -> Iterator[np.ndarray]:
    with File.open(path, strict, Report()) as file:
        kind = file.streams[number].kind
        for at, size in _packets(file, number, low, high, strict):
            data = file.inflate(os.pread(file.fd, size, at + 8))
            rows = None if data is None else _parsed(kind, data)
            if rows is None:
                reason = f"the {kind} of a packet are damaged"
                if strict:
                    raise FormatError(path, at, f"{reason}; strict=False leaves it out")
                note(report, at, at + 8 + size, reason)
                continue
            rows = inside(rows, low, high)
            if len(rows):
                yield rows


def _packets(
    file: File, number: int, low: int, high: int, strict: bool
) -> Iterator[tuple[int, int]]:
    """Where the packets of a stream begin and how large their payloads are.

    FormatError at damage, if `strict`; else the next packet is searched.
    """
    entries = file.entries(number, (low, high))
    if entries is not None:
        for at, (_, size) in zip(entries["at"].tolist(), entries["packet"].tolist(), strict=True):
            head = np.array([number, size], "<i4").tobytes()
            if os.pread(file.fd, 8, at - 8) == head:
                yield at - 8, size
            elif strict:
                raise FormatError(file.path, at - 8, fault_at(file, at - 8, number))
        return
    at = file.begin
    while at < file.last:
        size = packet_size(file, at)
        end = at + 8 + size
        if size < 0 or end > file.last:
            if strict:
                raise FormatError(file.path, at, fault_at(file, at, number))
            at = file.find(at + 1)
            continue
        if int.from_bytes(os.pread(file.fd, 4, at), "little", signed=True) == number:
            yield at, size
        at = end


def _parsed(kind: str, data: bytes) -> np.ndarray | None:
    """The rows of a plain payload, None if it is damaged."""
    if kind == "FRME":
        return read_frame(data)
    if kind == "EVTS":
        plain = np.frombuffer(data, np.uint8)
        at, n = find_events(plain, 0, len(plain))
        if n < 0:
            return None
        words = plain[at : at + EVENT * n]
        raw = np.frombuffer(words.tobytes(), "<i8,<u2,<u2,u1,u1,u2")
        rows = np.empty(n, RECORD)
        for name, column in zip("txyp", ("f0", "f1", "f2", "f3"), strict=True):
            rows[name] = raw[column]
        rows["p"] = rows["p"] != 0
        return rows
    return read_rows(data, kind.encode(), ROWS[kind])


def count(file: File, wanted: int | None) -> Counter[int]:
    """How many rows each stream has but the wanted one, and of unknown kinds how many packets."""
    counts: Counter[int] = Counter()
    index = file.index
    if index is not None and (index["n"] > 0).all():
        for number, n in zip(index["packet"]["stream"].tolist(), index["n"].tolist(), strict=True):
            if number in file.streams and number != wanted:
                counts[number] += n if file.streams[number].kind in NAMES else 1
        return counts
    at = file.begin
    while at < file.last:
        size = packet_size(file, at)
        end = at + 8 + size
        if size < 0 or end > file.last:
            at = file.find(at + 1)
            continue
        number = int.from_bytes(os.pread(file.fd, 4, at), "little", signed=True)
        kind = file.streams[number].kind
        if number != wanted and kind in NAMES and kind != "FRME":
            data = file.inflate(os.pread(file.fd, size, at + 8))
            rows = None if data is None else _parsed(kind, data)
            counts[number] += 0 if rows is None else len(rows)
        elif number != wanted:
            counts[number] += 1
        at = end
    return counts
