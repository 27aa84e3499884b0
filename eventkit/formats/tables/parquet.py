"""Parquet files (.parquet): events as columns t, x, y, p, or with names like them.

Times may be integers (µs), timestamps and durations of any unit, or floats. This writer adds the
sensor's size to the file's metadata (size = 346x260), compresses with Zstandard, codes times as
differences, and sums up every page; the footer has no sum in this format, so that only what it says
twice is checked. pyarrow, of the extra `parquet`, reads and writes. Format:
https://parquet.apache.org/docs/file-format/
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from eventkit.errors import FormatError, MissingExtra, OptionError
from eventkit.events import Columns, Events
from eventkit.formats._limits import DEFAULT_EXPANSION
from eventkit.formats.base import FORMATS, Format, Report, Size, parse_size
from eventkit.formats.filling import pieces
from eventkit.formats.tables._columns import (
    ROWS,
    Asked,
    Block,
    Table,
    Unit,
    block_of,
    by_name,
    check_numbers,
    damaged,
    events,
    unit_in,
)
from eventkit.formats.tables._polarity import Polarity

MAGIC = b"PAR1"
GROUP = 1 << 20  # events of a row group, which is what a reader may skip
LARGEST_TEXT, MOST_PARTS = 1 << 20, 1 << 16  # of the metadata, which a damaged file may exaggerate
DAMAGE = (OSError, ValueError, KeyError, TypeError, NotImplementedError, MemoryError)


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
    polarity: Polarity | None = None,
    round: bool = False,
    expansion: int = DEFAULT_EXPANSION,
) -> Iterator[Events]:
    """Events of a .parquet file, read batch by batch. MissingExtra without pyarrow.

    Without `unit`, times are in the unit of their type or name (as t_us); else numbers with
    fractions are seconds and others µs. polarity=-1/+1 means that 0 is no event, 1/2 that 1 is OFF;
    it is found from the first rows by default; round rounds coordinates; the events may have
    `expansion` times the bytes of the file. Counts: invalid, also of values that are missing
    (null).
    """
    asked = Asked(chunk, start, stop, strict, size, unit, polarity, round, expansion)
    with _opened(path) as file:
        yield from events(path, report, into, _table(path, file), asked)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file as pyarrow's ParquetFile; what pyarrow raises on a damaged one is FormatError."""
    parquet = _pyarrow().parquet
    with path.open("rb") as file, damaged(path, DAMAGE):
        yield parquet.ParquetFile(
            file,
            page_checksum_verification=True,
            thrift_string_size_limit=LARGEST_TEXT,
            thrift_container_size_limit=MOST_PARTS,
        )


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("Parquet needs pyarrow", "parquet") from None
    return pyarrow


def _table(path: Path, file: Any) -> Table:
    types = _pyarrow().types
    schema = file.schema_arrow
    known = by_name(schema.names)
    if not {"t", "x"} <= set(known):
        found = ", ".join(schema.names) or "none"
        raise FormatError(path, None, f"expected columns t, x, y, p; found {found}"[:300])
    if twice := [name for name in known.values() if schema.names.count(name) > 1]:
        raise FormatError(path, None, f"more than one column is named {twice[0]}")
    kinds = {column: schema.field(name).type for column, name in known.items()}
    timed = types.is_timestamp(kinds["t"]) or types.is_duration(kinds["t"])
    for column, kind in kinds.items():
        if not (column == "t" and timed):
            whole = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
            check_numbers(path, known[column], np.dtype(kind.to_pandas_dtype() if whole else "O"))
    return Table(
        lambda: _blocks(path, file, known, timed),
        _rows(path, file),
        _size(schema.metadata or {}),
        kinds["t"].unit if timed else unit_in(known["t"]),
    )


def beside(path: Path) -> dict[str, int]:
    """Columns that are not those of events."""
    with _opened(path) as file:
        names = file.schema_arrow.names
        return {"other columns": len(names) - len(by_name(names))}


def _rows(path: Path, file: Any) -> int:
    """The number of rows; FormatError unless the file says the same of its groups."""
    said = file.metadata
    if sum(said.row_group(i).num_rows for i in range(said.num_row_groups)) != said.num_rows:
        raise FormatError(path, None, f"its {said.num_rows:,} rows are not those of its groups")
    return int(said.num_rows)


def _blocks(path: Path, file: Any, known: dict[str, str], timed: bool) -> Iterator[Block]:
    """All rows, group by group; a missing value is NaN, and x is where a whole time is missing."""
    pyarrow, names = _pyarrow(), list(known.values())
    leaves = [i for i in range(len(file.schema)) if file.schema.column(i).path in names]
    for number in range(file.metadata.num_row_groups):
        group, n = file.metadata.row_group(number), 0
        for batch in file.iter_batches(ROWS, [number], columns=names, use_threads=False):
            if not n:
                _check_columns(path, group, leaves)
            found, missing = {}, None
            for column, name in known.items():
                values = batch.column(name)
                if column == "t" and timed:
                    values = values.cast(pyarrow.int64())
                elif pyarrow.types.is_boolean(values.type):
                    values = values.cast(pyarrow.uint8())
                if column == "t" and values.null_count and pyarrow.types.is_integer(values.type):
                    missing = values.is_null().to_numpy(zero_copy_only=False)
                    values = values.fill_null(0)  # with NaN, all would be floats, and less exact
                found[column] = values.to_numpy(zero_copy_only=False)
            if missing is not None:
                found["x"] = np.where(missing, np.nan, found["x"])
            yield block_of(found)
            n += len(batch)
        if n != group.num_rows:
            reason = f"row group {number} has {n:,} rows, not the {group.num_rows:,} told"
            raise FormatError(path, None, reason)


def _check_columns(path: Path, group: Any, leaves: list[int]) -> None:
    """FormatError if one of these columns has other rows than its group.

    Only for groups of which pyarrow has read rows: `column` ends the process where a column's
    metadata contradict themselves, and only reading them says so with an exception.
    """
    if any(group.column(i).num_values != group.num_rows for i in leaves):
        raise FormatError(path, None, f"its {group.num_rows:,} rows are not those of its columns")


def _size(metadata: dict[bytes, bytes]) -> Size | None:
    """The sensor's size, if the metadata tell it."""
    try:
        return parse_size(metadata[b"size"].decode("latin-1"))
    except (KeyError, OptionError):
        return None


def bound(path: Path) -> int:
    """The number of rows."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def header(path: Path) -> dict[str, Any]:
    """The columns with their types, the row groups, who wrote the file, and its metadata."""
    with _opened(path) as file:
        schema, said = file.schema_arrow, file.metadata
        texts = {
            k.decode("latin-1"): v.decode("latin-1") for k, v in (schema.metadata or {}).items()
        }
        return {
            "columns": {field.name: str(field.type) for field in schema},
            "row_groups": said.num_row_groups,
            "created_by": said.created_by,
            **texts,
        }


def write(file: BinaryIO, chunks: Iterable[Events]) -> None:
    """All events: columns t (int64 µs), x, y (uint16) and p (uint8), and the sensor's size."""
    pyarrow = _pyarrow()
    kinds = {"t": pyarrow.int64(), "x": pyarrow.uint16(), "y": pyarrow.uint16()}
    writer = None
    for part in pieces(chunks, GROUP):
        if writer is None:
            width, height = part.size
            about = {"size": f"{width}x{height}"}
            schema = pyarrow.schema({**kinds, "p": pyarrow.uint8()}, metadata=about)
            writer = pyarrow.parquet.ParquetWriter(
                file,
                schema,
                compression="zstd",
                use_dictionary=["x", "y", "p"],
                column_encoding={"t": "DELTA_BINARY_PACKED"},
                write_page_checksum=True,
            )
        if len(part):
            columns = [getattr(part, name) for name in "txyp"]
            writer.write_table(pyarrow.table(columns, schema=schema), row_group_size=GROUP)
    if writer is not None:
        writer.close()


FORMATS.register(
    Format(
        name="parquet",
        title="Parquet (.parquet)",
        suffixes=(".parquet",),
        stream=stream,
        expansion=True,
        write=write,
        detect=lambda head: head.startswith(MAGIC),
        bound=bound,
        bounded=True,
        header=header,
        beside=beside,
    )
)
