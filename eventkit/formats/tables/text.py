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
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import google_crc32c
import numpy as np

from eventkit.errors import FormatError
from eventkit.events import Columns, Events
from eventkit.formats.base import (
    FORMATS,
    HEAD,
    HIGHEST,
    LOWEST,
    Format,
    Report,
    Size,
    fill,
    limits,
    opened,
)
from eventkit.formats.filling import Chunks, Extent, fill_whole
from eventkit.formats.live.feed import Feed, cut_off, sensor_of
from eventkit.formats.tables._columns import (
    Clock,
    Unit,
    by_name,
    guess_columns,
    parse_columns,
    unit_in,
)
from eventkit.formats.tables._polarity import Polarity, convention
from eventkit.formats.tables._text_lines import LINE, NUMBER, Layout, Lines, words_of
from eventkit.formats.tables._text_write import write

BLOCK = 1 << 20  # bytes read at once
JUDGED = 1000  # first lines, from which order and unit are found
ROOM = 1 << 16  # events of a chunk of a live recording
SEEN = 1 << 12  # bytes of a live recording from which its columns are found
SAID = {"on": 1, "true": 1, "off": 0, "false": 0}  # words for polarities
COMMENTS = (b"#", b"%", b"//")
PLAIN = b"0123456789.+-eE \t\r\n,;"  # of which words of numbers and what is between them consist
SPACED = bytes.maketrans(b",;", b"  ")


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
    unit: Unit | None = None,
    columns: str | None = None,
    polarity: Polarity | None = None,
    round: bool = False,
) -> Iterator[Events]:
    """Events of a text file; columns (as xytp, - for one to leave out) are those of each line.

    Without `unit`, the times are in the unit that their name or a comment states, else in seconds
    if one of the first 1,000 has a fraction, else in µs. polarity=-1/+1 means that 0 is no event,
    1/2 that 1 is OFF; it is found from the first 64 kB by default; round rounds coordinates.
    Counts: sentinel lines; invalid (lines that are no events); with strict=False damaged lines.
    """
    window = limits(start, stop)
    with opened(path) as fd:
        layout = _layout(path, os.pread(fd, HEAD, 0), unit, columns, polarity)
        where = partial(_line_number, fd) if strict else None
        lines_of = Lines(path, layout, window, report, where, polarity is not None, round)
        sensor = size or layout.size or _survey(fd, lines_of)
        most = os.fstat(fd).st_size // 4 + 1
        counted = report if report.checksum else Report(report.counts, checksum=False)
        chunks = Chunks(into, max(1, min(chunk, most)), sensor, Clock(report).look)
        for lines, at in _lines(path, fd, layout.begin, counted):
            k = 0
            while k < len(lines):
                begun, room = chunks.begin()
                n, k = lines_of.parse(lines, k, at, into, begun, room)
                yield from chunks.take(n)
    yield from chunks.rest()


def live(
    feed: Feed,
    report: Report,
    into: Columns,
    *,
    strict: bool,
    size: Size | None = None,
    unit: Unit | None = None,
    columns: str | None = None,
    polarity: Polarity | None = None,
    round: bool = False,
) -> Iterator[Events]:
    """Events as they come; size is needed if no line names it. Counts as those of a file."""
    for data in feed:
        if len(data) >= SEEN:
            break
    path = Path(feed.path)
    layout = _layout(path, bytes(feed.data[:HEAD]), unit, columns, polarity)
    where = (lambda _: "a line") if strict else None
    window = LOWEST, HIGHEST
    lines_of = Lines(path, layout, window, report, where, polarity is not None, round)
    sensor = sensor_of(feed, size or layout.size)
    feed.use(layout.begin)
    clock = Clock(report)
    yield Events.empty(sensor)
    for _, ended in feed.to_the_end():
        # Where we stopped while lines came, the last one may lack digits.
        lines, used = _whole(feed, ended and feed.stop in (None, "idle"))
        k = 0
        while k < len(lines):
            into.reserve(ROOM)
            n, k = lines_of.parse(lines, k, feed.offset, into, 0, ROOM)
            clock.look(into.arrays[0][:n])
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
        block = fill_whole(path, fd, buffer[: min(BLOCK, end - at)], at)
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


def _layout(
    path: Path,
    head: bytes,
    unit: Unit | None,
    columns: str | None,
    polarity: Polarity | None = None,
) -> Layout:
    """The layout of a file, from its first bytes and what the reader is told."""
    begin, width, size, told = 0, 0, None, None
    names: list[str] = []
    rows: list[list[float]] = []
    lines = head.splitlines(keepends=True)
    cut = len(head) == HEAD and not head.endswith(b"\n")  # the last line may be half a line
    while lines and len(rows) < JUDGED:
        line = lines.pop(0)
        numbers = _numbers(line)
        if width or len(numbers) > 2:
            width = width or len(numbers)
            if _is_row(numbers, width) and (lines or not cut):
                rows.append(numbers)
            continue
        begin += len(line)
        if len(numbers) == 2 and (sides := _sides(*words_of(line.decode("latin-1")))):
            size = sides
        elif line.startswith(COMMENTS):
            size, told = _said(line.decode("latin-1"), size, told)
            names = names or _names(line.decode("utf-8", "replace").strip().lstrip("#%/"))
        elif words_of(line.decode("latin-1")) != [""]:
            names = _names(line.decode("utf-8", "replace"))
    order, named = _order(path, names, rows, columns)
    t = np.array([row[order.index("t")] for row in rows])
    found: Unit = "s" if (t != np.floor(t)).any() else "us"
    if polarity is None and "p" in order:
        at = order.index("p")
        polarity = convention(np.array([row[at] for row in rows]))
        more = lines[: len(lines) - cut]
        if polarity != "-1/+1" and (polarity != "0/1" or any(b"-" in line for line in more)):
            polarity = convention(np.array([*_others(more, width, at), *(row[at] for row in rows)]))
    return Layout(begin, order, unit or told or named or found, size, polarity)


def _others(lines: list[bytes], width: int, at: int) -> Iterator[float]:
    """The numbers in a column of lines; a line with a word that came before tells nothing new."""
    known: set[bytes] = set()
    for line in lines:
        words = line.translate(SPACED).split()
        word = words[at] if len(words) == width else b""
        if word not in known and _is_row(numbers := _numbers(line), width):
            known |= {word} - {b""}
            yield numbers[at]


def _is_row(numbers: list[float], width: int) -> bool:
    """Whether a line of numbers is an event, and no sentinel."""
    return len(numbers) == width and set(numbers) != {-1}


def _names(line: str) -> list[str]:
    """The names in a line: between commas or semicolons if there are any, else between spaces.

    The first may be empty, as that of an index is.
    """
    line = line.strip(" \t\r\n").rstrip(",;")
    words = re.split("[,;]", line) if re.search("[,;]", line) else line.split()
    return [word.strip().strip("\"'") for word in words]


def _numbers(line: bytes) -> list[float]:
    """The numbers in a line, or none if there are other words in it.

    A word for a polarity, as ON or False, is a number if it is the only word.
    """
    if not line.translate(None, PLAIN):  # what such words are is the same to `float`, and fast
        try:
            return [float(word) for word in line.translate(SPACED).split()]
        except ValueError:
            return []
    words = words_of(line.decode("latin-1"))
    others = [word for word in words if not NUMBER.fullmatch(word)]
    if not others or (len(others) == 1 < len(words) and others[0].lower() in SAID):
        return [float(SAID.get(word.lower(), word)) for word in words]
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
) -> tuple[str, Unit | None]:
    """The letters of the columns: as told, by their names, or by their values; and the unit that
    the name of the times states.

    Where there is one name less than columns, the first is an index.
    """
    known = {name: letter for letter, name in by_name(names).items()}
    n = len(rows[0]) if rows else len(names)
    if {"t", "x"} <= {*known.values()} and len(names) in (n - 1, n):
        named = ["", *names] if len(names) < n else names
        order = "".join(known.get(name, "-") for name in named)
        unit = unit_in(named[order.index("t")])
        return (order, unit) if columns is None else (parse_columns(columns, n), unit)
    if columns is not None:
        return parse_columns(columns, n or len(columns)), None
    if not rows:
        reason = "expected lines of numbers, as t x y p, or names of columns"
        raise FormatError(path, None, f"{reason}; found {' '.join(names)[:40]!r}")
    return guess_columns(path, np.array(rows)), None


def _line_number(fd: int, at: int) -> str:
    """The line in which a byte is."""
    number = 1
    for begin in range(0, at, BLOCK):
        number += os.pread(fd, min(BLOCK, at - begin), begin).count(b"\n")
    return f"line {number:,}"


def _survey(fd: int, lines_of: Lines) -> Size:
    """The smallest size that holds all events, with a note."""
    path, report = lines_of.path, lines_of.report
    again = lines_of.survey()
    room = 1 << 16
    into = Columns()
    into.reserve(room)
    extent = Extent()
    for lines, at in _lines(path, fd, again.layout.begin, again.report):
        k = 0
        while k < len(lines):
            n, k = again.parse(lines, k, at, into, 0, room)
            extent.see(into.arrays[1][:n], into.arrays[2][:n])
    return extent.size(path, report)


def bound(path: Path) -> int:
    """At most so many events are in the file: its lines."""
    lines = 1
    with opened(path) as fd:
        buffer = np.empty(BLOCK, np.uint8)
        at = 0
        while n := fill(fd, buffer, at):
            lines += int(np.count_nonzero(buffer[:n] == 10))
            at += n
    return lines


def header(path: Path, *, unit: Unit | None = None, columns: str | None = None) -> dict[str, str]:
    """The columns and the unit of the times, as the reader takes them."""
    with opened(path) as fd:
        layout = _layout(path, os.pread(fd, HEAD, 0), unit, columns)
    return {"columns": layout.order, "unit": layout.unit}


FORMATS.register(
    Format(
        name="text",
        title="text, one event a line (.csv, .txt)",
        suffixes=(".csv", ".txt", ".tsv"),
        stream=stream,
        write=write,
        appends=True,
        bound=bound,
        header=header,
        live=live,
    )
)
