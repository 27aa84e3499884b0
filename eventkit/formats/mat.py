"""MATLAB files (.mat of versions 5 to 7): events in variables, read by the library SciPy.

    ts, x, y, pol           columns, or fields of a struct                   ASL-DVS
    one table (n, 4)        txyp, xytp or xypt                               Event Lifetime
    cells of such structs   many recordings, of which one is read            HFirst's characters
    spiketrain (101, n)     taxels 0-99 (-1, 0 or 1), then the times (s)     ST-MNIST

Coordinates are as they stand: HFirst's begin at 1 (lowest=1), ASL-DVS counts y from the bottom.
Files of version 7.3 are HDF5, and read as such. SciPy loads a file as a whole, and unpacks what is
compressed in it: a file made on purpose can take 1,000 times its size of memory.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, MissingExtra, OptionError
from eventkit.events import Columns, Events
from eventkit.formats import FORMATS, Format, Report
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

DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, RuntimeError, MemoryError),
    *(AttributeError, OverflowError, NotImplementedError, struct.error, zlib.error),
)
TAXELS, SIDE = 100, 10  # of the tactile sensor of ST-MNIST
DEPTH = 8  # of cells within cells
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
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtra(f"{path}: .mat files need pip install 'eventkit[formats]'") from error
    found: dict[str, Any] = loadmat(path)
    return {name: value for name, value in found.items() if not name.startswith("__")}


def _recordings(path: Path, variables: dict[str, Any], columns: str | None) -> list[Found]:
    """All recordings in the variables of a file."""
    names = by_name(variables)
    if {"t", "x"} <= set(names):
        chosen = {column: variables[name] for column, name in names.items()}
        return [(_columns(path, chosen), None, None)]
    spikes = variables.get("spiketrain")
    if spikes is not None and np.shape(spikes)[:1] == (TAXELS + 1,):
        return [(_taxels(path, spikes), (SIDE, SIDE), "s")]
    found: list[Found] = [
        (_columns(path, fields), None, None)
        for value in variables.values()
        for fields in _structs(value)
    ]
    tables = [v for v in variables.values() if v.dtype.kind in "biuf" and min(np.shape(v)) > 2]
    if not found and len(tables) == 1 and tables[0].ndim == 2:
        return [(_table(path, tables[0], columns), None, None)]
    if not found:
        there = ", ".join(f"{name} {np.shape(value)}" for name, value in variables.items())
        expected = "expected ts, x, y, pol, structs of them, or one table (n, 4)"
        raise FormatError(path, None, f"it holds {there or 'no variables'}; {expected}")
    return found


def _structs(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The columns of all structs of events, in cells within cells."""
    if not isinstance(value, np.ndarray | np.void) or depth > DEPTH:
        return
    names = by_name(value.dtype.names or ())
    for item in np.ravel(value):
        if {"t", "x"} <= set(names):
            yield {column: item[name] for column, name in names.items()}
        elif value.dtype == object:
            yield from _structs(item, depth + 1)


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
        shapes = {name: list(np.shape(value)) for name, value in variables.items()}
        count = sum(1 for value in variables.values() for _ in _structs(value))
        return {"variables": shapes, "recordings": count or 1}


FORMATS.register(
    Format(
        name="mat",
        title="MATLAB (ASL-DVS, ST-MNIST, characters)",
        suffixes=(".mat",),
        stream=stream,
        detect=lambda head: head.startswith(b"MATLAB 5.0 MAT-file"),
        header=header,
    )
)
