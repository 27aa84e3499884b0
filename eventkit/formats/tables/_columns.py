"""Events from columns of any type: what .npz, text, HDF5 and .mat files have in common.

Columns are known by their names (NAMES) or, where a table has none, by their values: polarities
are -1, 0 or 1, times seldom go back, and coordinates are whole numbers.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eventkit.errors import EventkitError, FormatError, OptionError
from eventkit.events import RECORD, Columns, Events
from eventkit.formats._limits import DEFAULT_EXPANSION, check_expansion
from eventkit.formats.base import Report, Size, limits
from eventkit.formats.filling import Chunks, Extent
from eventkit.formats.tables._numbers import PER_SECOND, coordinates, times
from eventkit.formats.tables._polarity import (
    Polarity,
    contradiction,
    contradicts,
    convention,
    decoded,
)

Unit = Literal["s", "ms", "us", "ns"]
Block = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]  # t, x, y, p

ROWS = 1 << 17  # of a block
WIDEST, SHOWN = 64, 8  # columns of a table, and of its first row in a message
NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),  # and these with a unit
    "x": ("x", "xs", "x_pos", "col", "column"),
    "y": ("y", "ys", "y_pos", "row"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
UNITS: dict[Unit, str] = {
    "s": "s|secs?|seconds?",
    "ms": "ms|msecs?|milliseconds?",
    "us": "us|µs|μs|usecs?|microseconds?",
    "ns": "ns|nsecs?|nanoseconds?",
}
TIMED = re.compile(  # as t_us, timestamp (ms), time [s], but ts is a name of its own
    rf"({'|'.join(NAMES['t'])})[\s_./-]*"
    rf"(?:(?<=[\s_./-])|(?=[\[(]))[\[(]?({'|'.join(UNITS.values())})[\])]?"
)
YEAR, LATEST = 365 * 86_400 * 10**6, 2100 - 1970  # µs; no clock of a camera is beyond this year
ORDERS = ("txyp", "xytp", "xypt", "txy", "xyt")  # in which tables without names are written


@dataclass(frozen=True)
class Asked:
    """The arguments of a reader, as in `eventkit.formats.Format`.

    size is that of the sensor (as 346x260), unit that of the times (s, ms, us or ns) and polarity
    the convention of the polarities (see `_polarity`), if the file does not tell them. round
    rounds coordinates that have fractions. expansion limits the bytes of the events to so many
    times those of the file.
    """

    chunk: int
    start: int | None
    stop: int | None
    strict: bool
    size: Size | None = None
    unit: Unit | None = None
    polarity: Polarity | None = None
    round: bool = False
    expansion: int = DEFAULT_EXPANSION

    @property
    def has_window(self) -> bool:
        """Whether a part of the time is asked for."""
        return self.start is not None or self.stop is not None


@dataclass(frozen=True)
class Table:
    """Rows of columns: `blocks` goes over all of them anew each time; there are at most `rows`.

    A block is the columns t, x, y and p, of any numbers; without y it is 0, without p it is 1.
    size, unit and polarity are None if the file does not tell them; offset (µs) is added to all
    times, and lowest is subtracted from all coordinates. Where `blocks` goes over a window only,
    `whole` goes over the file, so that all windows are read alike.
    """

    blocks: Callable[[], Iterable[Block]]
    rows: int
    size: Size | None = None
    unit: Unit | None = None
    offset: int = 0
    lowest: int = 0
    polarity: Polarity | None = None
    whole: Callable[[], Iterable[Block]] | None = None


def events(
    path: Path, report: Report, into: Columns, table: Table, asked: Asked
) -> Iterator[Events]:
    """The events of a table, as a format's `stream` yields them. Counts: invalid.

    An event is invalid if it has no polarity of the file's convention (see `_polarity`), no
    coordinates that are whole numbers from 0 to 65535, or no time that fits 64 bits (such a one
    comes before all others). Times are rounded to the nearest µs; those of fractions are in
    seconds, others in µs, unless the file or the option `unit` states another.
    """
    check_expansion(path, "its events", table.rows * RECORD.itemsize, asked.expansion)
    low, high = limits(asked.start, asked.stop)
    if table.whole is None and table.rows <= ROWS:  # unpacked once, looked at up to three times
        kept = list(table.blocks())
        table = replace(table, blocks=lambda: kept)
    unit, meaning, blocks = _first_look(table, asked)
    size = asked.size or table.size or _survey(path, table, report, asked.round, meaning)
    chunks = Chunks(into, max(1, min(asked.chunk, table.rows)), size, Clock(report).look)
    row = 0
    for block in blocks:
        if meaning is None and block[3] is not None:
            meaning = convention(block[3])
            if meaning == "1/2" and row:
                raise contradiction(path, f"event {row:,} or a later one", 2, None)
        *columns, good, none = _normal(block, unit, table, asked.round, meaning)
        row += len(good)
        inside = None
        if asked.has_window:
            inside = (columns[0] >= low) & (columns[0] < high)
        if none is not None and none.any():
            good &= ~none
            report.counts["invalid"] += _count(none, inside)
        if not good.all():
            _check_bad(path, block, good, none, row - len(good), meaning, asked)
            if lost := _count(~good if none is None else ~good & ~none, inside):
                report.counts["invalid"] += lost
        if inside is not None:
            good &= inside
        if not good.all():
            columns = [column[good] for column in columns]
        k = 0
        while k < len(columns[0]):
            n, room = chunks.begin()
            m = min(len(columns[0]) - k, room - n)
            for target, values in zip(into.arrays, columns, strict=True):
                target[n : n + m] = values[k : k + m]
            del target
            k += m
            yield from chunks.take(n + m)
    yield from chunks.rest()


class Clock:
    """Adds one note to a report if times cannot be µs: after 2100, or over more than a year."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._first: int | None = None
        self._noted = False

    def look(self, t: np.ndarray) -> None:
        """See the next times (µs), of which only the first and the last are looked at."""
        if self._noted or not len(t):
            return
        first, last = int(t[0]), int(t[-1])
        self._first = first if self._first is None else self._first
        if max(abs(first), abs(last)) > LATEST * YEAR:
            found = f"a time is {max(first, last, key=abs):,} µs, which is after the year 2100"
        elif abs(last - self._first) > YEAR:
            found = f"times go from {self._first:,} to {last:,} µs, which is more than a year"
        else:
            return
        self._noted = True
        self._report.notes.append(f"{found}; unit= (s, ms, us or ns) sets the unit of the times")


def _count(rows: np.ndarray, inside: np.ndarray | None) -> int:
    return int(np.count_nonzero(rows if inside is None else rows & inside))


def _check_bad(
    path: Path,
    block: Block,
    good: np.ndarray,
    none: np.ndarray | None,
    row: int,
    meaning: Polarity | None,
    asked: Asked,
) -> None:
    """FormatError for the first bad event if the reader is strict, or if it shows that the
    convention of the polarities is another than was decided; `row` is that of the block."""
    bad = np.flatnonzero(~good if none is None else ~good & ~none)
    if asked.polarity is None and block[3] is not None:
        values = block[3][bad]
        for value in np.unique(values[np.isfinite(values)]):
            if contradicts(value, meaning):
                at = row + bad[np.argmax(values == value)]
                raise contradiction(path, f"event {at:,}", value, meaning)
    if asked.strict and len(bad):
        raise FormatError(path, None, _complain(block, int(bad[0]), row, meaning, asked.round))


@contextlib.contextmanager
def damaged(path: Path, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """Errors of these kinds, which a library raises on a damaged file, become FormatError."""
    try:
        yield
    except EventkitError:
        raise
    except kinds as error:
        said = str(error).strip().split("\n")[0] or type(error).__name__
        raise FormatError(path, None, f"it is damaged or cut off: {said}") from error


def by_name(names: Iterable[str]) -> dict[str, str]:
    """The column (t, x, y, p) of each of the names that is one in NAMES, by the column.

    A time may have its unit behind its name, as t_us or timestamp [ms]: see `unit_in`.
    """
    lower = {name.strip().lower(): name for name in names}
    known = {
        column: next(lower[alias] for alias in aliases if alias in lower)
        for column, aliases in NAMES.items()
        if any(alias in lower for alias in aliases)
    }
    timed = next((name for name in lower.values() if unit_in(name)), None)
    return known if "t" in known or timed is None else {"t": timed, **known}


def unit_in(name: str) -> Unit | None:
    """The unit of the times that the name of their column states.

    >>> unit_in("timestamp_us"), unit_in("Time [ms]"), unit_in("ts")
    ('us', 'ms', None)
    """
    found = TIMED.fullmatch(name.strip().lower())
    if found is None:
        return None
    return next(unit for unit, words in UNITS.items() if re.fullmatch(words, found[2]))


def check_numbers(path: Path, name: str, dtype: np.dtype) -> None:
    """FormatError unless a column is of bool, integers or floats of at most 64 bits."""
    if dtype.kind not in "biuf" or not 0 < dtype.itemsize <= 8:
        raise FormatError(path, None, f"{name} is no column of whole or real numbers: {dtype}")


def check_lengths(path: Path, columns: Mapping[str, Any]) -> int:
    """The length of all columns; FormatError if they have several."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise FormatError(path, None, f"the columns have different lengths: {lengths}")
    return next(iter(lengths.values()))


def block_of(columns: Mapping[str, np.ndarray]) -> Block:
    """A block of the columns t, x, y and p, of which y and p may be missing."""
    return columns["t"], columns["x"], columns.get("y"), columns.get("p")


def parse_columns(text: str, n: int) -> str:
    """The option `columns`, checked for a table of n columns: letters t, x, y, p, and - for others.

    >>> parse_columns("-xytp", 5)
    '-xytp'
    """
    letters = text.replace("-", "")
    if set(letters) - set("txyp") or len(set(letters)) < len(letters) or not {"t", "x"} <= {*text}:
        raise OptionError(
            f"columns is {text!r}, expected one letter for each column, t and x and at most once "
            "y and p among them, - for others, as txyp"
        )
    if len(text) != n:
        raise OptionError(f"columns is {text!r}, but the table has {n} columns")
    return text


def guess_columns(path: Path, rows: np.ndarray) -> str:
    """The order of a table's columns, by its first rows (n, columns), as txyp.

    Raises FormatError unless exactly one of ORDERS fits.
    """
    rows = rows.astype(np.float64)
    fitting = [order for order in ORDERS if len(order) == rows.shape[1] and _fits(rows, order)]
    if len(fitting) == 1:
        return fitting[0]
    seen = "nothing tells which column is which" if not fitting else " or ".join(fitting) + " fit"
    first = " ".join(f"{value:g}" for value in rows[0][:SHOWN]) if len(rows) else "no rows"
    first += " ..." if rows.shape[1] > SHOWN else ""
    reason = f"{seen} (first row: {first}); columns= says what they are, as columns=txyp"
    raise FormatError(path, None, reason)


def _fits(rows: np.ndarray, order: str) -> bool:
    column = dict(zip(order, rows.T, strict=True))
    if not all(
        np.isfinite(column[axis]).all()
        and (column[axis] == np.floor(column[axis])).all()
        and (column[axis] >= 0).all()
        and (column[axis] <= 65535).all()
        for axis in "xy"
    ):
        return False
    if "p" in column and not any(np.isin(column["p"], s).all() for s in ((-1, 0, 1), (1, 2))):
        return False
    back = np.count_nonzero(np.diff(column["t"]) < 0)
    return bool(3 * back <= len(rows) and column["t"].max() >= column["t"].min())


def _first_look(table: Table, asked: Asked) -> tuple[Unit, Polarity | None, Iterable[Block]]:
    """Unit and polarities: as asked, as the file states them, or as its first block tells them.

    The unit is s if the first times have fractions, else µs. A window looks on until the
    polarities are clear, as reading the whole file does. Third are the blocks to read, of which
    the first is not read twice.
    """
    unit, meaning = asked.unit or table.unit, asked.polarity or table.polarity
    if unit is not None and meaning is not None:
        return unit, meaning, table.blocks()
    looked = iter((table.whole or table.blocks)())
    first: list[Block] = []
    for block in looked:
        t, _, _, p = block
        unit = unit or _unit(t)
        meaning = meaning or ("0/1" if p is None else convention(p))
        if table.whole is None:
            first = [block]
            break
        if meaning is not None:
            break
    return unit or "us", meaning, chain(first, looked) if table.whole is None else table.blocks()


def _unit(t: np.ndarray) -> Unit:
    if t.dtype.kind != "f":
        return "us"
    t = t[np.isfinite(t)]
    return "s" if (t != np.floor(t)).any() else "us"


def _survey(
    path: Path, table: Table, report: Report, rounded: bool, meaning: Polarity | None
) -> Size:
    """The smallest size that holds all events, with a note."""
    extent = Extent()
    for block in (table.whole or table.blocks)():
        if meaning is None and block[3] is not None:
            meaning = convention(block[3])
        _, x, y, _, good, none = _normal(block, "us", table, rounded, meaning)
        if none is not None:
            good &= ~none
        extent.see(x[good], y[good])
    return extent.size(path, report)


def _normal(
    block: Block, unit: Unit, table: Table, rounded: bool, meaning: Polarity | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """The columns in the types of Events, which rows are good, and which are no events.

    A bad time is the lowest.
    """
    t, x, y, p = block
    us, good = times(t, PER_SECOND[unit], table.offset)
    columns, fine = coordinates(x, table.lowest, rounded)
    good &= fine
    if y is None:
        rows = np.zeros(len(t), np.uint16)
    else:
        rows, fine = coordinates(y, table.lowest, rounded)
        good &= fine
    if p is None:
        return us, columns, rows, np.ones(len(t), np.uint8), good, None
    polarities, valid, none = decoded(p, meaning)
    if valid is not None:
        good &= valid
    return us, columns, rows, polarities, good, none


def _complain(block: Block, i: int, row: int, meaning: Polarity | None, rounded: bool) -> str:
    """What is wrong with row i of a block that begins with a row of the file."""
    values = ", ".join(
        f"{name} = {column[i]}" for name, column in zip("txyp", block, strict=True)
        if column is not None
    )  # fmt: skip
    expected = "whole x and y from 0 to 65535, p of "
    expected += f"{meaning or '0/1 or -1/+1'} and a time within 64 bits"
    hint = "strict=False leaves such out"
    fractions = [c[i] for c in block[1:3] if c is not None and c.dtype.kind == "f"]
    if not rounded and any(np.isfinite(c) and c != np.floor(c) for c in fractions):
        hint = f"round=true rounds coordinates; {hint}"
    return f"event {row + i:,} has {values}, expected {expected}; {hint}"
