"""Text (.csv, .txt): one event a line, numbers between commas, semicolons, spaces or tabs.

    t x y p          Event Camera Dataset and E2VID (seconds), Insightness (µs)
    x y t p          Prophesee's copy of MNIST-DVS
    x,y,p,t          Metavision (µs), eDVS

Before the events may stand the sensor's size, a line of two numbers (E2VID) or `%geometry:W,H`
(Metavision); names of the columns, as t,x,y,p or X,Y,Polarity,Timestamp; and comments, which begin
with #, % or //. Without names, the order is found from the values. Decimals are taken exactly, to
18 digits, and rounded to the nearest µs: 13.582595999 s are 13,582,596 µs. A line of nothing but -1
marks an end.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import google_crc32c
import numpy as np

from eventkit.errors import FormatError
from eventkit.events import Columns, Events
from eventkit.formats import (
    FORMATS,
    HEAD,
    HIGHEST,
    LOWEST,
    Format,
    Report,
    fill,
    limits,
    parse_size,
)
from eventkit.formats._columns import Size, Unit, by_name, guess_columns, parse_columns
from eventkit.formats._live import Feed, cut_off, sensor_of
from eventkit.formats._text_parse import BAD, SCALE, parse
from eventkit.formats._text_write import write

BLOCK, LINE = 1 << 20, 1 << 16  # bytes read at once, and of the longest line
JUDGED = 1000  # first lines, from which order and unit are found
ROOM = 1 << 16  # events of a chunk of a live recording
SEEN = 1 << 12  # bytes of a live recording from which its columns are found
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COMMENTS = (b"#", b"%", b"//")


@dataclass(frozen=True)
class Layout:
    """Where the lines begin, what their columns are (as txyp, - for others), and of what size."""

    begin: int
    order: str
    unit: Unit
    size: Size | None

    @property
    def roles(self) -> np.ndarray:
        """0 t, 1 x, 2 y, 3 p, -1 another, for each column."""
        return np.array(["txyp".find(letter) for letter in self.order], np.int64)


def stream(
    path: Path,
    report: Report,
    into: Columns,
    *,
    chunk: int,
    start: int | None,
    stop: int | None,
    strict: bool,
    size: str | None = None,
    unit: Unit | None = None,
    columns: str | None = None,
) -> Iterator[Events]:
    """Events of a text file; columns (as xytp, - for one to leave out) are those of each line.

    Without `unit`, the times are in seconds if one of the first 1,000 has a fraction, else in µs.
    Counts: sentinel lines; with strict=False damaged lines.
    """
    low, high = limits(start, stop)
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        layout = _layout(path, os.pread(fd, HEAD, 0), unit, columns)
        sensor = parse_size(size) if size else layout.size or _survey(path, fd, layout, report)
        room = max(1, min(chunk, os.fstat(fd).st_size // 4 + 1))
        counted = report if report.checksum else Report(report.counts, checksum=False)
        n, empty = 0, True
        into.reserve(room)
        for lines, at in _lines(path, fd, layout.begin, counted):
            k = 0
            while k < len(lines):
                if n == 0:
                    into.reserve(room)
                n, k, why = parse(
                    *(lines, k, layout.roles, SCALE[layout.unit], low, high),
                    *(*into.arrays, n, room),
                )
                if why == BAD:
                    number = partial(_line_number, fd, at + k) if strict else None
                    k = _skip(path, lines, k, at, layout, report, number)
                if n == room:
                    yield into.events(n, sensor)
                    n, empty = 0, False
    if n or empty:
        yield into.events(n, sensor)


def live(
    feed: Feed,
    report: Report,
    into: Columns,
    *,
    strict: bool,
    size: str | None = None,
    unit: Unit | None = None,
    columns: str | None = None,
) -> Iterator[Events]:
    """Events as they come; size is needed if no line names it. Counts as those of a file."""
    for data in feed:
        if len(data) >= SEEN:
            break
    path = Path(feed.path)
    layout = _layout(path, bytes(feed.data[:HEAD]), unit, columns)
    sensor = sensor_of(feed, parse_size(size) if size else layout.size)
    feed.use(layout.begin)
    yield Events.empty(sensor)
    for _, ended in feed.to_the_end():
        # Where we stopped while lines came, the last one may lack digits.
        lines, used = _whole(feed, ended and feed.stop in (None, "idle"))
        k = 0
        while k < len(lines):
            into.reserve(ROOM)
            n, k, why = parse(
                *(lines, k, layout.roles, SCALE[layout.unit], LOWEST, HIGHEST),
                *(*into.arrays, 0, ROOM),
            )
            if why == BAD:
                number = (lambda: "a line") if strict else None
                k = _skip(path, lines, k, feed.offset, layout, report, number)
            yield into.events(n, sensor)
        feed.use(used)
    cut_off(feed, report, strict, "a line")


def _whole(feed: Feed, last: bool) -> tuple[np.ndarray, int]:
    """The lines that are there, the last of all ended if it is not; how many bytes they are."""
    data = feed.data
    if last and len(data):
        return np.append(data, np.uint8(10)), len(data)
    ends = np.flatnonzero(data[-LINE:] == 10)
    if len(ends):
        used = max(len(data) - LINE, 0) + int(ends[-1]) + 1
        return data[:used], used
    if len(data) > LINE:
        reason = f"a line has more than {LINE:,} bytes; this is no text"
        raise FormatError(feed.path, feed.offset, reason)
    return data[:0], 0


def _lines(path: Path, fd: int, begin: int, report: Report) -> Iterator[tuple[np.ndarray, int]]:
    """Whole lines in blocks, each with its place in the file; one buffer for all."""
    end = os.fstat(fd).st_size
    buffer = np.empty(min(BLOCK, end) + 1, np.uint8)
    crc = google_crc32c.value(os.pread(fd, begin, 0))
    at = begin
    while at < end:
        block = buffer[: min(BLOCK, end - at)]
        if (got := fill(fd, block, at)) < len(block):
            raise FormatError(path, at + got, "the file became shorter while it was read")
        length = len(block)
        if at + length == end:
            buffer[length] = 10  # ends the last line, if it has no end
            used, whole = length, length + (block[-1] != 10)
        else:
            ends = np.flatnonzero(block[-LINE:] == 10)
            if not len(ends):
                raise FormatError(path, at, f"a line has more than {LINE:,} bytes; this is no text")
            used = whole = length - LINE + 1 + int(ends[-1])
        yield buffer[:whole], at
        if report.checksum:
            crc = google_crc32c.extend(crc, block[:used])
        at += used
    if report.checksum:
        report.crc32c = crc


def _layout(path: Path, head: bytes, unit: Unit | None, columns: str | None) -> Layout:
    """The layout of a file, from its first bytes and what the reader is told."""
    begin, size, told = 0, None, None
    names: list[str] = []
    rows: list[list[float]] = []
    for line in head.splitlines(keepends=True):
        words = re.split(r"[\s,;]+", line.decode("latin-1").strip(" \t\r\n,;"))
        numbers = _numbers(words)
        if rows or len(numbers) > 2:
            rows.append(numbers)
        elif len(numbers) == 2 and (sides := _sides(*words)):
            size = sides
        elif line.startswith(COMMENTS):
            size, told = _said(line.decode("latin-1"), size, told)
            names = names or [word for word in words if word.strip("#%/")]
        elif words != [""]:
            names = words
        begin += 0 if rows else len(line)
    cut = len(head) == HEAD and not head.endswith(b"\n")  # the last line may be half a line
    rows = rows[: len(rows) - cut][:JUDGED]
    rows = [row for row in rows if len(row) == len(rows[0]) and set(row) != {-1}]
    order = _order(path, names, rows, columns)
    t = np.array([row[order.index("t")] for row in rows])
    found: Unit = "s" if (t != np.floor(t)).any() else "us"
    return Layout(begin, order, unit or told or found, size)


def _numbers(words: list[str]) -> list[float]:
    """The numbers in a line, or none if there are other words in it."""
    if all(NUMBER.fullmatch(word) for word in words):
        return [float(word) for word in words]
    return []


def _sides(width: str, height: str) -> Size | None:
    """The size of a sensor, if the numbers can be one."""
    if not (width.isdecimal() and height.isdecimal() and len(width + height) < 12):
        return None
    sides = int(width), int(height)
    return sides if all(0 < side <= 65536 for side in sides) else None


def _said(line: str, size: Size | None, unit: Unit | None) -> tuple[Size | None, Unit | None]:
    """What a comment says of the sensor's size and the unit of the times."""
    if found := re.search(r"(?:geometry|size)\W*(\d+)\s*[x, ]\s*(\d+)", line, re.IGNORECASE):
        size = _sides(found[1], found[2]) or size
    if found := re.search(r"\bt \[(s|ms|us|ns)\]", line):
        unit = found[1]  # type: ignore[assignment]
    return size, unit


def _order(
    path: Path,
    names: list[str],
    rows: list[list[float]],
    columns: str | None,
) -> str:
    """The letters of the columns: as told, by their names, or by their values."""
    known = {name: letter for letter, name in by_name(names).items()}
    n = len(rows[0]) if rows else len(names)
    if columns is not None:
        return parse_columns(columns, n or len(columns))
    if {"t", "x"} <= {*known.values()} and len(names) == n:
        return "".join(known.get(name, "-") for name in names)
    if not rows:
        reason = "expected lines of numbers, as t x y p, or names of columns"
        raise FormatError(path, None, f"{reason}; found {' '.join(names)[:40]!r}")
    return guess_columns(path, np.array(rows))


def _skip(
    path: Path,
    lines: np.ndarray,
    k: int,
    at: int,
    layout: Layout,
    report: Report,
    number: Callable[[], str] | None,
) -> int:
    """The place after a line that is no event: it is counted, or refused if it is damaged.

    `number` says which line it is, for a reader that is strict.
    """
    line = lines[k : k + 1 + int(np.argmax(lines[k:] == 10))]
    text = line.tobytes().decode("latin-1").strip()
    if re.fullmatch(r"(-1(\.0*)?[\s,;]*)+", text):
        report.counts["sentinel lines"] += 1
    elif number is None:
        report.counts["damaged lines"] += 1
    else:
        unit = f"{layout.order} with t in {layout.unit}, x and y from 0 to 65535, p of 0/1 or -1/+1"
        reason = f"{number()} is {text[:60]!r}, expected the columns {unit}"
        raise FormatError(path, at + k, f"{reason}; strict=False leaves such lines out")
    return k + len(line)


def _line_number(fd: int, at: int) -> str:
    """The line in which a byte is."""
    number = 1
    for begin in range(0, at, BLOCK):
        number += os.pread(fd, min(BLOCK, at - begin), begin).count(b"\n")
    return f"line {number:,}"


def _survey(path: Path, fd: int, layout: Layout, report: Report) -> Size:
    """The smallest size that holds all events, with a note."""
    room = 1 << 16
    into = Columns()
    into.reserve(room)
    width = height = 0
    for lines, _ in _lines(path, fd, layout.begin, Report(checksum=False)):
        k = 0
        while k < len(lines):
            n, k, why = parse(
                *(lines, k, layout.roles, SCALE[layout.unit], LOWEST, HIGHEST),
                *(*into.arrays, 0, room),
            )
            k += (1 + int(np.argmax(lines[k:] == 10))) if why == BAD else 0
            if n:
                width = max(width, int(into.arrays[1][:n].max()) + 1)
                height = max(height, int(into.arrays[2][:n].max()) + 1)
    if not width:
        reason = "neither the file nor an event tells the sensor's size; size=WxH sets it"
        raise FormatError(path, None, reason)
    taken = f"taken as {width}x{height} from the events; size=WxH sets it"
    report.notes.append(f"the sensor's size is not in the file, {taken}")
    return width, height


def bound(path: Path) -> int:
    """At most so many events are in the file: its lines."""
    lines = 1
    with path.open("rb", buffering=0) as file:
        buffer = np.empty(BLOCK, np.uint8)
        at = 0
        while n := fill(file.fileno(), buffer, at):
            lines += int(np.count_nonzero(buffer[:n] == 10))
            at += n
    return lines


def header(path: Path, *, unit: Unit | None = None, columns: str | None = None) -> dict[str, str]:
    """The columns and the unit of the times, as the reader takes them."""
    with path.open("rb", buffering=0) as file:
        layout = _layout(path, os.pread(file.fileno(), HEAD, 0), unit, columns)
    return {"columns": layout.order, "unit": layout.unit}


FORMATS.register(
    Format(
        name="text",
        title="text, one event a line (.csv, .txt)",
        suffixes=(".csv", ".txt", ".tsv"),
        stream=stream,
        write=write,
        bound=bound,
        header=header,
        live=live,
    )
)
