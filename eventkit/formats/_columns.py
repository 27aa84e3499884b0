"""Events from columns of any type: what .npz, text, HDF5 and .mat files have in common.

Columns are known by their names (NAMES) or, where a table has none, by their values: polarities
are -1, 0 or 1, times seldom go back, and coordinates are whole numbers.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eventkit.errors import EventkitError, FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats import LOWEST, Report, limits, parse_size

Unit = Literal["s", "ms", "us", "ns"]
Size = tuple[int, int]
Block = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]  # t, x, y, p

ROWS = 1 << 17  # of a block
WIDEST = 64  # columns of a table
FAR = 1 << 62  # µs: greater times than this are only read from int64 that are µs already
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps", "t_us", "time_us", "timestamp_us"),
    "x": ("x", "xs", "x_pos", "col", "column"),
    "y": ("y", "ys", "y_pos", "row"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
ORDERS = ("txyp", "xytp", "xypt", "txy", "xyt")  # in which tables without names are written


@dataclass(frozen=True)
class Asked:
    """The arguments of a reader, as in `eventkit.formats.Format`.

    size is that of the sensor (as 346x260) and unit that of the times (s, ms, us or ns), if the
    file does not tell them.
    """

    chunk: int
    start: int | None
    stop: int | None
    strict: bool
    size: str | None = None
    unit: Unit | None = None


@dataclass(frozen=True)
class Table:
    """Rows of columns: `blocks` goes over all of them anew each time; there are at most `rows`.

    A block is the columns t, x, y and p, of any numbers; without y it is 0, without p it is 1.
    size and unit are None if the file does not tell them; offset (µs) is added to all times, and
    lowest is subtracted from all coordinates.
    """

    blocks: Callable[[], Iterable[Block]]
    rows: int
    size: Size | None = None
    unit: Unit | None = None
    offset: int = 0
    lowest: int = 0


def events(
    path: Path, report: Report, into: Columns, table: Table, asked: Asked
) -> Iterator[Events]:
    """The events of a table, as a format's `stream` yields them. Counts: invalid.

    An event is invalid if it has no polarity of -1, 0 or 1, no coordinates that are whole numbers
    from 0 to 65535, or no time that fits 64 bits (such a one comes before all others). Times are
    rounded to the nearest µs; those of fractions are in seconds, others in µs, unless told.
    """
    low, high = limits(asked.start, asked.stop)
    unit = asked.unit or table.unit or _unit(table)
    size = parse_size(asked.size) if asked.size else table.size or _survey(path, table, report)
    room = max(1, min(asked.chunk, table.rows))
    n, row, empty = 0, 0, True
    into.reserve(room)
    for block in table.blocks():
        *columns, good = _normal(block, unit, table)
        row += len(good)
        if not good.all():
            if asked.strict:
                raise FormatError(path, None, _complain(block, good, row - len(good)))
            inside = (columns[0] >= low) & (columns[0] < high)
            if lost := np.count_nonzero(inside & ~good):
                report.counts["invalid"] += int(lost)
        if asked.start is not None or asked.stop is not None:
            good &= (columns[0] >= low) & (columns[0] < high)
        if not good.all():
            columns = [column[good] for column in columns]
        k = 0
        while k < len(columns[0]):
            if n == 0:
                into.reserve(room)
            m = min(len(columns[0]) - k, room - n)
            for target, values in zip(into.arrays, columns, strict=True):
                target[n : n + m] = values[k : k + m]
            n, k = n + m, k + m
            if n == room:
                yield into.events(n, size)
                n, empty = 0, False
    if n or empty:
        yield into.events(n, size)


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
    """The column (t, x, y, p) of each of the names that is one in NAMES, by the column."""
    lower = {name.strip().lower(): name for name in names}
    return {
        column: next(lower[alias] for alias in aliases if alias in lower)
        for column, aliases in NAMES.items()
        if any(alias in lower for alias in aliases)
    }


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
    first = " ".join(f"{value:g}" for value in rows[0]) if len(rows) else "no rows"
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
    if "p" in column and not np.isin(column["p"], (-1, 0, 1)).all():
        return False
    back = np.count_nonzero(np.diff(column["t"]) < 0)
    return bool(3 * back <= len(rows) and column["t"].max() >= column["t"].min())


def _unit(table: Table) -> Unit:
    """Seconds if the first times have fractions, else µs."""
    t = next(iter(table.blocks()), (np.empty(0),))[0]
    if t.dtype.kind != "f":
        return "us"
    t = t[np.isfinite(t)]
    return "s" if (t != np.floor(t)).any() else "us"


def _survey(path: Path, table: Table, report: Report) -> Size:
    """The smallest size that holds all events, with a note."""
    width = height = 0
    for block in table.blocks():
        _, x, y, _, good = _normal(block, "us", table)
        if len(x) and good.any():
            width = max(width, int(x[good].max()) + 1)
            height = max(height, int(y[good].max()) + 1)
    if not width:
        reason = "neither the file nor an event tells the sensor's size; size=WxH sets it"
        raise FormatError(path, None, reason)
    taken = f"taken as {width}x{height} from the events; size=WxH sets it"
    report.notes.append(f"the sensor's size is not in the file, {taken}")
    return width, height


def _normal(
    block: Block, unit: Unit, table: Table
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The columns in the types of Events, and which rows are good; a bad time is the lowest."""
    t, x, y, p = block
    times, good = _times(t, unit, table.offset)
    columns, fine = _coordinates(x, table.lowest)
    good &= fine
    if y is None:
        rows = np.zeros(len(t), np.uint16)
    else:
        rows, fine = _coordinates(y, table.lowest)
        good &= fine
    if p is None:
        return times, columns, rows, np.ones(len(t), np.uint8), good
    if p.dtype == bool:
        return times, columns, rows, p.view(np.uint8), good
    if p.dtype == np.uint8:
        return times, columns, rows, p, good & (p <= 1)
    good &= (p == 0) | (p == 1) | (p == -1)
    return times, columns, rows, (p > 0).view(np.uint8), good


def _coordinates(values: np.ndarray, lowest: int) -> tuple[np.ndarray, np.ndarray]:
    """uint16, and which of them are so."""
    if values.dtype == np.uint16 and not lowest:
        return values, np.ones(len(values), bool)
    if values.dtype == bool:
        values = values.view(np.uint8)
    if values.dtype == np.float16:  # which has no 65535
        values = values.astype(np.float32)
    good = (values >= lowest) & (values <= 65535 + lowest)
    if values.dtype.kind == "f":
        good &= values == np.floor(values)
    if not good.all():
        values = np.where(good, values, lowest)
    return (values.astype(np.int64) - lowest).astype(np.uint16), good


def _times(t: np.ndarray, unit: Unit, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 µs, rounded to the nearest, and which of them are so; LOWEST where not."""
    if t.dtype == np.int64 and unit == "us" and not offset:
        return t, np.ones(len(t), bool)
    per_second = PER_SECOND[unit]
    if t.dtype.kind == "f":
        wide = t.astype(np.float64) * (10**6 / per_second)
        good = np.abs(wide) < FAR
        us = np.rint(np.where(good, wide, 0)).astype(np.int64)
    else:
        scale = max(1, 10**6 // per_second)
        good = (t >= -(FAR // scale)) & (t <= FAR // scale)
        us = np.where(good, t, 0).astype(np.int64) * scale
        if unit == "ns":
            us = (us + 500) // 1000
    us += offset
    return us if good.all() else np.where(good, us, LOWEST), good


def _complain(block: Block, good: np.ndarray, row: int) -> str:
    """What is wrong with the first bad row of a block that begins with a row of the file."""
    i = int(np.argmin(good))
    values = ", ".join(
        f"{name} = {column[i]}" for name, column in zip("txyp", block, strict=True)
        if column is not None
    )  # fmt: skip
    expected = "whole x and y from 0 to 65535, p of 0/1 or -1/+1 and a time within 64 bits"
    return f"event {row + i:,} has {values}, expected {expected}; strict=False leaves such out"
