"""MATLAB files (.mat of versions 5 to 7, see `_mat5`): events in variables.

    ts, x, y, pol           columns, or fields of a struct                   ASL-DVS
    one table (n, 4)        txyp, xytp or xypt                               Event Lifetime
    cells of such structs   many recordings, of which one is read            HFirst's characters
    spiketrain (101, n)     taxels 0-99 (-1, 0 or 1), then the times (s)     ST-MNIST

Coordinates are as they stand: HFirst's begin at 1 (lowest=1), ASL-DVS counts y from the bottom.
Files of version 7.3 are HDF5, and read as such. A file is loaded as a whole.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats import FORMATS, Format, Report, _mat5
from eventkit.formats._columns import (
    Asked,
    Block,
    Size,
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
)

MAGIC = b"MATLAB 5.0 MAT-file"
DAMAGE = (ValueError, IndexError, OverflowError, zlib.error)
TAXELS, SIDE = 100, 10  # of the tactile sensor of ST-MNIST
Found = tuple[Block, Size | None, Unit | None]


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
    recording: int | None = None,
    lowest: int = 0,
) -> Iterator[Events]:
    """Events of a .mat file; recording chooses one of many, from 0.

    columns (as txyp) are those of a table; lowest is the coordinate of the first pixel. Of
    ST-MNIST, taxel i is x = i % 10, y = i // 10. Counts: invalid.
    """
    asked = Asked(chunk, start, stop, strict, size, unit)
    with damaged(path, DAMAGE):
        found = _recordings(path, _load(path), columns)
        if recording is None and len(found) > 1:
            raise OptionError(
                f"{path} holds {len(found)} recordings: recording=0 to {len(found) - 1} chooses one"
            )
        if not 0 <= (recording or 0) < len(found):
            raise OptionError(f"recording is {recording}, but {path} has 0 to {len(found) - 1}")
        block, known, told = found[recording or 0]
        table = Table(lambda: [block], len(block[0]), known, told, lowest=lowest)
        yield from events(path, report, into, table, asked)


def _load(path: Path) -> dict[str, Any]:
    """The variables of a file."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise FormatError(path, 0, f"starts with {data[:19]!r}, expected {MAGIC!r}")
    return _mat5.variables(data)


def _recordings(path: Path, variables: dict[str, Any], columns: str | None) -> list[Found]:
    """All recordings in the variables of a file."""
    arrays = {name: value for name, value in variables.items() if isinstance(value, np.ndarray)}
    names = by_name(arrays)
    if {"t", "x"} <= set(names):
        chosen = {column: arrays[name] for column, name in names.items()}
        return [(_columns(path, chosen), None, None)]
    spikes = arrays.get("spiketrain")
    if spikes is not None and spikes.ndim == 2 and len(spikes) == TAXELS + 1:
        return [(_taxels(path, spikes), (SIDE, SIDE), "s")]
    found: list[Found] = [
        (_columns(path, fields), None, None) for fields in _structs(list(variables.values()))
    ]
    tables = [array for array in arrays.values() if array.ndim == 2 and min(array.shape) > 2]
    if not found and len(tables) == 1:
        return [(_table(path, tables[0], columns), None, None)]
    if not found:
        there = ", ".join(f"{name} {_shape(value)}" for name, value in variables.items())
        expected = "expected ts, x, y, pol, structs of them, or one table (n, 4)"
        raise FormatError(path, None, f"it holds {there or 'no variables'}; {expected}")
    return found


def _structs(value: Any) -> Iterator[dict[str, np.ndarray]]:
    """The columns of all structs of events, in cells within cells."""
    for item in value if isinstance(value, list) else []:
        fields = item.items() if isinstance(item, dict) else ()
        arrays = {name: inner for name, inner in fields if isinstance(inner, np.ndarray)}
        names = by_name(arrays)
        if {"t", "x"} <= set(names):
            yield {column: arrays[name] for column, name in names.items()}
        else:
            yield from _structs(item)


def _shape(value: Any) -> list[int]:
    return list(value.shape) if isinstance(value, np.ndarray) else [len(value or [])]


def _columns(path: Path, named: dict[str, Any]) -> Block:
    columns = {name: np.ravel(value) for name, value in named.items()}
    for name, column in columns.items():
        check_numbers(path, name, column.dtype)
    check_lengths(path, columns)
    return block_of(columns)


def _table(path: Path, table: np.ndarray, columns: str | None) -> Block:
    rows = table.T if table.shape[0] in (3, 4) and table.shape[1] > 4 else table
    order = guess_columns(path, rows) if columns is None else columns
    order = parse_columns(order, rows.shape[1])
    return _columns(path, dict(zip(order.replace("-", "?"), rows.T, strict=True)))


def _taxels(path: Path, spikes: np.ndarray) -> Block:
    """The changes of pressure, column by column."""
    place, taxel = np.nonzero(spikes[:TAXELS].T)
    return _columns(
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
        count = sum(1 for _ in _structs(list(variables.values())))
        shapes = {name: _shape(value) for name, value in variables.items()}
        return {"variables": shapes, "recordings": count or 1}


FORMATS.register(
    Format(
        name="mat",
        title="MATLAB (ASL-DVS, ST-MNIST, characters)",
        suffixes=(".mat",),
        stream=stream,
        detect=lambda head: head.startswith(MAGIC),
        header=header,
    )
)
