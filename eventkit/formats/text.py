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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import google_crc32c
import numpy as np

from eventkit._jit import jit
from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.events import chunks as cut
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

BLOCK, LINE = 1 << 20, 1 << 16  # bytes read at once, and of the longest line
JUDGED = 1000  # first lines, from which order and unit are found
LONGEST = 40  # bytes of a line that is written
SCALE = {"s": 6, "ms": 3, "us": 0, "ns": -3}  # powers of ten
POWERS = 10 ** np.arange(19, dtype=np.int64)
TENTH = HIGHEST // 10  # less than this can take one more digit
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
DONE, FULL, BAD = range(3)  # why the kernel stops
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
                n, k, why = _parse(
                    *(lines, k, layout.roles, SCALE[layout.unit], low, high),
                    *(*into.arrays, n, room),
                )
                if why == BAD:
                    k = _skip(path, fd, lines, k, at, layout, report, strict)
                if n == room:
                    yield into.events(n, sensor)
                    n, empty = 0, False
    if n or empty:
        yield into.events(n, sensor)


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
    fd: int,
    lines: np.ndarray,
    k: int,
    at: int,
    layout: Layout,
    report: Report,
    strict: bool,
) -> int:
    """The place after a line that is no event: it is counted, or refused if it is damaged."""
    line = lines[k : k + 1 + int(np.argmax(lines[k:] == 10))]
    text = line.tobytes().decode("latin-1").strip()
    if re.fullmatch(r"(-1(\.0*)?[\s,;]*)+", text):
        report.counts["sentinel lines"] += 1
    elif not strict:
        report.counts["damaged lines"] += 1
    else:
        number = 1
        for begin in range(0, at + k, BLOCK):
            number += os.pread(fd, min(BLOCK, at + k - begin), begin).count(b"\n")
        unit = f"{layout.order} with t in {layout.unit}, x and y from 0 to 65535, p of 0/1 or -1/+1"
        reason = f"line {number:,} is {text[:60]!r}, expected the columns {unit}"
        raise FormatError(path, at + k, f"{reason}; strict=False leaves such lines out")
    return k + len(line)


def _survey(path: Path, fd: int, layout: Layout, report: Report) -> Size:
    """The smallest size that holds all events, with a note."""
    room = 1 << 16
    into = Columns()
    into.reserve(room)
    width = height = 0
    for lines, _ in _lines(path, fd, layout.begin, Report(checksum=False)):
        k = 0
        while k < len(lines):
            n, k, why = _parse(
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


def header(path: Path) -> dict[str, str]:
    """The columns and the unit of the times, as the reader takes them."""
    with path.open("rb", buffering=0) as file:
        layout = _layout(path, os.pread(file.fileno(), HEAD, 0), None, None)
    return {"columns": layout.order, "unit": layout.unit}


def write(
    file: BinaryIO,
    chunks: Iterable[Events],
    *,
    unit: Literal["us", "s"] = "us",
    separator: Literal["comma", "space"] = "comma",
    header: bool = True,
) -> None:
    """Lines of t, x, y, p, under a comment with size and unit and a line of names.

    unit=s writes seconds with six decimals. header=False, unit=s, separator=space is as the Event
    Camera Dataset.
    """
    mark = "," if separator == "comma" else " "
    first = True
    out = np.empty(0, np.uint8)
    for events in chunks:
        if first and header:
            width, height = events.size
            names = mark.join("txyp")
            file.write(f"# size {width}x{height}, t [{unit}]\n{names}\n".encode())
        first = False
        for part in cut(events, BLOCK // LONGEST):
            out = out if len(out) else np.empty(BLOCK, np.uint8)
            columns = (part.t, part.x, part.y, part.p)
            file.write(out[: _print(*columns, ord(mark), unit == "s", out)].data)
    if not file.tell():
        raise OptionError("a text file with no events and no header would be empty")


@jit
def _number(line: np.ndarray, at: int) -> tuple[Any, Any, int]:
    """A decimal number: its digits, their power of ten, and the place after it (-1: none).

    Every scan ends at the end of the line at the latest. Digits beyond what 64 bits hold only
    count for the power; so a number is never taken for a greater one.
    """
    minus = line[at] == 45
    at += minus or line[at] == 43
    digits: Any = 0
    point = power = seen = 0
    while True:
        digit = np.int64(line[at]) - 48
        if 0 <= digit <= 9:
            seen += 1
            if digits < TENTH or (digits == TENTH and digit <= 7):
                digits = 10 * digits + digit
                power -= point
            else:
                power += 1 - point
        elif digit == -2 and not point:
            point = 1
        else:
            break
        at += 1
    if seen == 0:
        return 0, 0, -1
    if line[at] == 101 or line[at] == 69:
        at += 1
        down = line[at] == 45
        at += down or line[at] == 43
        seen = 0
        exponent: Any = 0
        while 0 <= np.int64(line[at]) - 48 <= 9:
            exponent = min(10 * exponent + np.int64(line[at]) - 48, 10_000)
            seen += 1
            at += 1
        if seen == 0:
            return 0, 0, -1
        power += -exponent if down else exponent
    return -digits if minus else digits, power, at


@jit
def _scaled(digits: Any, power: int) -> tuple[Any, bool, bool]:
    """digits * 10^power to the nearest, halves away from 0; whether it is exact, and in 64 bits."""
    if power == 0 or digits == 0:
        return digits, True, True
    if power > 0:
        fits = power <= 18 and abs(digits) <= HIGHEST // POWERS[min(power, 18)]
        return digits * POWERS[min(power, 18)], True, fits
    if power < -18:
        whole = 1 if power == -19 and abs(digits) >= 5 * POWERS[18] else 0
        return whole if digits > 0 else -whole, False, True
    unit = POWERS[-power]
    size = abs(digits)
    whole = size // unit
    rest = size - whole * unit
    whole += rest >= unit - rest
    return whole if digits > 0 else -whole, rest == 0, True


@jit
def _parse(
    lines: np.ndarray,
    k: int,
    roles: np.ndarray,
    scale: int,
    low: int,
    high: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    n: int,
    room: int,
) -> tuple[int, int, int]:
    """Append to n events those of the lines from byte k on; the last byte ends a line.

    Returns the new n, the place reached (of the line, if it is bad), and why it stops there.
    """
    while k < len(lines) and n < room:
        n, k = _plain(lines, k, roles, scale, low, high, t, x, y, p, n, room)
        if k < len(lines) and n < room:
            n, k, good = _line(lines, k, roles, scale, low, high, t, x, y, p, n)
            if not good:
                return n, k, BAD
    return n, k, FULL if n == room else DONE


@jit
def _plain(
    lines: np.ndarray,
    k: int,
    roles: np.ndarray,
    scale: int,
    low: int,
    high: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    n: int,
    room: int,
) -> tuple[int, Any]:
    """Like `_parse`, but only up to a line that is not plain; that is three times as fast.

    Plain are numbers of 1 to 18 digits, with a point only in the time, and one comma or space
    between them. The place has an unsigned type, so that no index can count from the end.
    """
    one, ten, zero, end = np.uint64(1), np.uint64(10), np.uint64(48), np.uint64(len(lines))
    at: Any = np.uint64(k)
    begin = at
    last = len(roles) - 1
    while at < end and n < room:
        begin = at
        time: Any = 0
        column: Any = 0
        row: Any = 0
        polarity: Any = 1
        for i in range(len(roles)):
            role = roles[i]
            minus = lines[at] == 45
            at += np.uint64(minus)
            first = at
            number: Any = np.uint64(0)
            digit: Any = np.uint64(lines[at]) - zero
            while digit < ten:
                number = number * ten + digit
                at += one
                digit = np.uint64(lines[at]) - zero
            count: Any = np.int64(at - first)
            if role == 0:
                power: Any = scale
                if lines[at] == 46:
                    at += one
                    first = at
                    digit = np.uint64(lines[at]) - zero
                    while digit < ten:
                        number = number * ten + digit
                        at += one
                        digit = np.uint64(lines[at]) - zero
                    count += np.int64(at - first)
                    power -= np.int64(at - first)
                if count + max(power, 0) > 18 or power < -18:
                    return n, np.int64(begin)
                time, _, _ = _scaled(np.int64(number), power)
                time = -time if minus else time
            elif role == 3:
                polarity = -np.int64(number) if minus else np.int64(number)
            elif role >= 0:
                column = np.int64(number) if role == 1 else column
                row = np.int64(number) if role == 2 else row
                count = 0 if minus else count
            if i == last and lines[at] == 13:
                at += one
            mark = lines[at]
            good = mark == 10 if i == last else (mark == 44) | (mark == 32)
            if not good or count < 1 or count > 18:
                return n, np.int64(begin)
            at += one
        if column > 65535 or row > 65535 or polarity < -1 or polarity > 1:
            return n, np.int64(begin)
        t[n], x[n], y[n], p[n] = time, column, row, polarity > 0
        n += (time >= low) & (time < high)
    return n, np.int64(at)


@jit
def _line(
    lines: np.ndarray,
    k: int,
    roles: np.ndarray,
    scale: int,
    low: int,
    high: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    n: int,
) -> tuple[int, int, bool]:
    """Append the event of any line to n events: the new n, the next line, whether it is good."""
    at = k
    while lines[at] == 32 or lines[at] == 9 or lines[at] == 13:
        at += 1
    if lines[at] == 35 or lines[at] == 37 or (lines[at] == 47 and lines[at + 1] == 47):
        while lines[at] != 10:
            at += 1
    if lines[at] == 10:
        return n, at + 1, True
    time, column, row, polarity = 0, 0, 0, 1
    for role in roles:
        digits, power, after = _number(lines, at)
        if after < 0:
            return n, k, False
        value, exact, fits = _scaled(digits, power + scale if role == 0 else power)
        if role >= 0 and not (fits and (exact or role == 0)):
            return n, k, False
        time = value if role == 0 else time
        column = value if role == 1 else column
        row = value if role == 2 else row
        polarity = value if role == 3 else polarity
        at = after
        while lines[at] == 44 or lines[at] == 32 or lines[at] == 59 or lines[at] == 9:
            at += 1
    at += lines[at] == 13
    good = lines[at] == 10 and 0 <= column <= 65535 and 0 <= row <= 65535
    if not good or polarity < -1 or polarity > 1 or time == HIGHEST:
        return n, k, False
    t[n], x[n], y[n], p[n] = time, column, row, polarity > 0
    return n + ((time >= low) & (time < high)), at + 1, True


@jit
def _digits(value: Any, least: int, out: np.ndarray, at: int) -> int:
    """Write a number that is not negative with at least so many digits; the place after it."""
    n = 1
    while n < 19 and POWERS[n] <= value:
        n += 1
    n = max(n, least)
    for i in range(at + n - 1, at - 1, -1):
        rest = value // 10
        out[i] = 48 + value - 10 * rest
        value = rest
    return at + n


@jit
def _print(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    mark: int,
    seconds: bool,
    out: np.ndarray,
) -> int:
    """Write lines of events, of at most LONGEST bytes each; how many bytes they are."""
    at = 0
    for i in range(len(t)):
        time = t[i]
        if time < 0:
            out[at] = 45
            at += 1
            time = -time
        if seconds:
            at = _digits(time // 1_000_000, 1, out, at)
            out[at] = 46
            at = _digits(time % 1_000_000, 6, out, at + 1)
        else:
            at = _digits(time, 1, out, at)
        out[at] = mark
        at = _digits(np.int64(x[i]), 1, out, at + 1)
        out[at] = mark
        at = _digits(np.int64(y[i]), 1, out, at + 1)
        out[at] = mark
        out[at + 1] = 48 + p[i]
        out[at + 2] = 10
        at += 3
    return at


FORMATS.register(
    Format(
        name="text",
        title="text, one event a line (.csv, .txt)",
        suffixes=(".csv", ".txt", ".tsv"),
        stream=stream,
        write=write,
        bound=bound,
        header=header,
    )
)
