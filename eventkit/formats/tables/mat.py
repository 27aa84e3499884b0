"""MATLAB files (.mat of versions 5 to 7, see `_mat5`): events in variables.

    ts, x, y, pol           columns, or fields of a struct (as TD)           ASL-DVS, N-MNIST
    tables (n, 4)           txyp, xytp or xypt; several are recordings       Event Lifetime
    cells of such structs   many recordings, of which one is read            HFirst's characters
    spiketrain (101, n)     taxels 0-99 (-1, 0 or 1), then the times (s)     ST-MNIST

Coordinates are as they stand: HFirst's begin at 1 (lowest=1), ASL-DVS counts y from the bottom.
Files of version 7.3 are HDF5, and read as such. A file is loaded as a whole.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats._limits import DEFAULT_EXPANSION, check_expansion, largest
from eventkit.formats.base import FORMATS, Format, Report, Size
from eventkit.formats.tables import _mat5
from eventkit.formats.tables._columns import (
    Asked,
    Block,
    Table,
    Unit,
    block_of,
    by_name,
    check_lengths,
    check_numbers,
    damaged,
    events,
    guess_columns,
    parse_columns,
    unit_in,
)
from eventkit.formats.tables._polarity import Polarity

MAGIC = b"MATLAB 5.0 MAT-file"
DAMAGE = (ValueError, IndexError, OverflowError, zlib.error)
TAXELS, SIDE = 100, 10  # of the tactile sensor of ST-MNIST
SHOWN, LISTED = 8, 300  # names of recordings, and letters of names of variables, in a message


@dataclass(frozen=True)
class Found:
    """One recording of a file, and the name of what holds it."""

    name: str
    block: Block
    size: Size | None = None
    unit: Unit | None = None
    polarity: Polarity | None = None


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
    recording: int | None = None,
    lowest: int = 0,
    polarity: Polarity | None = None,
    round: bool = False,
    expansion: int = DEFAULT_EXPANSION,
) -> Iterator[Events]:
    """Events of a .mat file; recording chooses one of many, from 0.

    columns (as txyp) are those of a table; lowest is the coordinate of the first pixel. Of
    ST-MNIST, taxel i is x = i % 10, y = i // 10. polarity=-1/+1 means that 0 is no event, 1/2 that
    1 is OFF; it is found from the events by default; round rounds coordinates; the variables may
    have `expansion` times the bytes of the file. Counts: invalid.
    """
    asked = Asked(chunk, start, stop, strict, size, unit, polarity, round, expansion)
    with damaged(path, DAMAGE):
        found = _recordings(path, _load(path, expansion), columns)
        if recording is None and len(found) > 1:
            names = ", ".join(f"{i} {one.name}" for i, one in enumerate(found[:SHOWN]))
            names += ", ..." if len(found) > SHOWN else ""
            reason = f"{len(found)} recordings ({names:.200})"
            raise OptionError(f"{path} holds {reason}: recording=0 to {len(found) - 1} chooses one")
        if not 0 <= (recording or 0) < len(found):
            raise OptionError(f"recording is {recording}, but {path} has 0 to {len(found) - 1}")
        one = found[recording or 0]
        rows = len(one.block[0])
        table = Table(
            lambda: [one.block], rows, one.size, one.unit, lowest=lowest, polarity=one.polarity
        )
        yield from events(path, report, into, table, asked)


def _load(path: Path, expansion: int = DEFAULT_EXPANSION) -> dict[str, Any]:
    """The variables of a file, which may have so many times its bytes."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise FormatError(path, 0, f"starts with {data[:19]!r}, expected {MAGIC!r}")
    total = 0

    def spend(size: int) -> None:
        nonlocal total
        total += size
        check_expansion(path, "its variables", total, expansion)

    return _mat5.variables(data, spend, largest(path, expansion))


def _recordings(path: Path, variables: dict[str, Any], columns: str | None) -> list[Found]:
    """All recordings in the variables of a file: columns, structs of columns, or tables."""
    arrays = {name: value for name, value in variables.items() if isinstance(value, np.ndarray)}
    if _has_columns(arrays):
        return [_columns(path, "the variables", arrays)]
    spikes = arrays.get("spiketrain")
    if spikes is not None and spikes.ndim == 2 and len(spikes) == TAXELS + 1:
        block = _taxels(path, spikes)
        return [Found("spiketrain", block, (SIDE, SIDE), "s", "-1/+1")]
    structs = [s for name, value in variables.items() for s in _structs(value, name)]
    if structs:
        return [_columns(path, name, fields) for name, fields in structs]
    tables = _tables(arrays)
    if not tables:
        there = ", ".join(f"{name} {_shape(value)}" for name, value in variables.items())
        expected = "expected ts, x, y, pol, structs of them, or tables (n, 4)"
        reason = f"it holds {there[:LISTED] or 'no variables'}; {expected}"
        raise FormatError(path, None, reason)
    return [_table(path, name, table, columns) for name, table in tables.items()]


def _tables(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tables; where there are several, those of 3 or 4 columns, as others are pictures."""
    tables = {n: a for n, a in arrays.items() if a.ndim == 2 and min(a.shape) > 2}
    narrow = {n: a for n, a in tables.items() if {3, 4} & {*a.shape}}
    return narrow if len(tables) > 1 and narrow else tables


def _has_columns(arrays: dict[str, Any]) -> bool:
    return {"t", "x"} <= set(by_name(arrays))


def _structs(value: Any, name: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """All structs of events, in cells and structs within each other, with their names."""
    items = value if isinstance(value, list) else []
    for i, item in enumerate(items, 1):
        here = f"{name}({i})" if len(items) > 1 else name
        fields = item if isinstance(item, dict) else {}
        arrays = {field: inner for field, inner in fields.items() if isinstance(inner, np.ndarray)}
        if _has_columns(arrays):
            yield here, arrays
        else:
            yield from _structs(item, here)
            for field, inner in fields.items():
                yield from _structs(inner, f"{here}.{field}")


def _shape(value: Any) -> list[int]:
    return list(value.shape) if isinstance(value, np.ndarray) else [len(value or [])]


def _columns(path: Path, name: str, arrays: dict[str, np.ndarray]) -> Found:
    """The recording in the arrays that have the names of columns."""
    names = by_name(arrays)
    block = _block(path, {column: arrays[array] for column, array in names.items()})
    return Found(name, block, unit=unit_in(names["t"]))


def _block(path: Path, named: dict[str, Any]) -> Block:
    columns = {name: np.ravel(value) for name, value in named.items()}
    for name, column in columns.items():
        check_numbers(path, name, column.dtype)
    check_lengths(path, columns)
    return block_of(columns)


def _table(path: Path, name: str, table: np.ndarray, columns: str | None) -> Found:
    rows = table.T if table.shape[0] in (3, 4) and table.shape[1] > 4 else table
    order = guess_columns(path, rows) if columns is None else columns
    order = parse_columns(order, rows.shape[1])
    return Found(name, _block(path, dict(zip(order.replace("-", "?"), rows.T, strict=True))))


def _taxels(path: Path, spikes: np.ndarray) -> Block:
    """The changes of pressure, column by column."""
    place, taxel = np.nonzero(spikes[:TAXELS].T)
    return _block(
        path,
        {
            "t": spikes[TAXELS, place],
            "x": taxel % SIDE,
            "y": taxel // SIDE,
            "p": spikes[taxel, place],
        },
    )


def header(path: Path) -> dict[str, Any]:
    """The variables and their shapes, and how many recordings there are."""
    with damaged(path, DAMAGE):
        variables = _load(path)
        arrays = {n: value for n, value in variables.items() if isinstance(value, np.ndarray)}
        count = sum(1 for name, value in variables.items() for _ in _structs(value, name))
        if not _has_columns(arrays):
            count = count or len(_tables(arrays))
        shapes = {name: _shape(value) for name, value in variables.items()}
        return {"variables": shapes, "recordings": count or 1}


FORMATS.register(
    Format(
        name="mat",
        title="MATLAB (ASL-DVS, ST-MNIST, characters)",
        suffixes=(".mat",),
        stream=stream,
        expansion=True,
        detect=lambda head: head.startswith(MAGIC),
        header=header,
    )
)
