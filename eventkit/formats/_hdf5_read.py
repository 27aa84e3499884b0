"""Rows of the groups and datasets of an HDF5 file, as blocks of columns."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, MissingExtra
from eventkit.formats import _ecf
from eventkit.formats._columns import (
    ROWS,
    WIDEST,
    Block,
    block_of,
    by_name,
    check_lengths,
    check_numbers,
    guess_columns,
    parse_columns,
)

LARGEST_CHUNK = 1 << 28  # bytes; the library takes memory for a whole one
Part = tuple[int, int]  # rows from the first to before the second


@dataclass(frozen=True)
class Rows:
    """`length` rows, in chunks of `step`; read gives a part of them."""

    read: Callable[[Part], Block]
    length: int
    step: int


def read_rows(path: Path, place: Any, columns: str | None) -> Rows:
    """The rows of a group of columns, of a dataset with fields or of a table."""
    import h5py

    if isinstance(place, h5py.Group):
        return _of_group(path, place)
    check(path, place)
    if _is_ecf(place):
        read: Callable[[Part], Block] = partial(_read_ecf, path, place)
    elif place.dtype.names:
        read = _of_compound(path, place)
    else:
        read = _of_table(path, place, columns)
    return Rows(read, len(place), (place.chunks or (1,))[0])


def get(path: Path, group: Any, name: str) -> Any:
    """A group or dataset of this file by its name, or None."""
    found = group.get(name)
    if found is not None and found.file.filename != group.file.filename:
        raise FormatError(path, None, f"{name} is a link to another file, {found.file.filename!r}")
    return found


def check(path: Path, dataset: Any) -> None:
    """FormatError if a dataset is elsewhere, too large to read, or not there in full."""
    if dataset.is_virtual or dataset.external:
        raise FormatError(path, None, f"{dataset.name} refers to other files")
    _filters(path, dataset)
    rows, width = (dataset.shape or (0,))[0], dataset.dtype.itemsize
    width *= int(np.prod(dataset.shape[1:], dtype=np.float64)) if len(dataset.shape) > 1 else 1
    if dataset.chunks:
        if (
            float(np.prod(dataset.chunks, dtype=np.float64)) * dataset.dtype.itemsize
            > LARGEST_CHUNK
        ):
            raise FormatError(path, None, f"the chunks of {dataset.name} are too large to be true")
        there = dataset.id.get_num_chunks() * dataset.chunks[0]
    else:
        there = dataset.id.get_storage_size() // max(1, width)
    if rows > there:
        reason = f"{dataset.name} has {rows:,} rows, of which at most {there:,} are in the file"
        raise FormatError(path, None, reason)


def _filters(path: Path, dataset: Any) -> None:
    """Have the filters of a dataset at hand; its own of ECF is not needed."""
    import h5py

    plan = dataset.id.get_create_plist()
    used = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    missing = [n for n in used if not h5py.h5z.filter_avail(n)]
    if not missing or used == [_ecf.FILTER]:
        return
    try:
        importlib.import_module("hdf5plugin")
    except ImportError as error:
        needs = f"{path}: {dataset.name} is compressed with the HDF5 filter {missing[0]}"
        raise MissingExtra(needs, "formats") from error
    if missing := [n for n in missing if not h5py.h5z.filter_avail(n)]:
        reason = f"{dataset.name} is compressed with the HDF5 filter {missing[0]}, not known here"
        raise FormatError(path, None, reason)


def _of_group(path: Path, place: Any) -> Rows:
    import h5py

    known = {column: get(path, place, name) for column, name in by_name(place).items()}
    if not {"t", "x"} <= set(known):
        raise FormatError(path, None, f"{place.name} has no columns t, x, y, p")
    for dataset in known.values():
        if not isinstance(dataset, h5py.Dataset) or np.ndim(dataset) != 1:
            raise FormatError(path, None, f"{dataset.name} is no column")
        check_numbers(path, dataset.name, dataset.dtype)
        check(path, dataset)

    def read(part: Part) -> Block:
        return block_of({name: dataset[slice(*part)] for name, dataset in known.items()})

    return Rows(read, check_lengths(path, known), (known["t"].chunks or (1,))[0])


def _of_compound(path: Path, place: Any) -> Callable[[Part], Block]:
    fields = by_name(place.dtype.names)
    if not {"t", "x"} <= set(fields) or len(place.shape) != 1:
        raise FormatError(path, None, f"{place.name} has the fields {place.dtype.names}, not t, x")
    for name in fields.values():
        check_numbers(path, name, place.dtype[name])

    def read(part: Part) -> Block:
        rows = place[slice(*part)]
        return block_of({column: rows[name] for column, name in fields.items()})

    return read


def _of_table(path: Path, place: Any, columns: str | None) -> Callable[[Part], Block]:
    if len(place.shape) != 2 or not 0 < place.shape[1] <= WIDEST:
        raise FormatError(path, None, f"{place.name} has the shape {place.shape}, not (n, 4)")
    check_numbers(path, place.name, place.dtype)
    if columns is None:
        columns = guess_columns(path, place[:ROWS]) if len(place) else "txyp"
    order = parse_columns(columns, place.shape[1])

    def read(part: Part) -> Block:
        return block_of(dict(zip(order, place[slice(*part)].T, strict=True)))

    return read


def _is_ecf(place: Any) -> bool:
    plan = place.id.get_create_plist()
    return bool(plan.get_nfilters() == 1 and plan.get_filter(0)[0] == _ecf.FILTER)


def _read_ecf(path: Path, place: Any, part: Part) -> Block:
    """Rows of a dataset whose chunks are ECF."""
    pieces = []
    length, total = place.chunks[0], len(place)
    for begin in range(part[0] // length * length, part[1], length):
        needed = min(length, total - begin)
        columns = _ecf_chunk(path, place, begin, needed)
        a, b = max(part[0] - begin, 0), min(part[1] - begin, needed)
        pieces.append([column[a:b] for column in columns])
    t, x, y, p = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return t, x, y, p


def _ecf_chunk(path: Path, place: Any, begin: int, needed: int) -> list[np.ndarray]:
    mask, data = place.id.read_direct_chunk((begin,))
    where = place.id.get_chunk_info_by_coord((begin,)).byte_offset
    raw = np.frombuffer(data, np.uint8)
    if mask & 1:  # stored as it is
        rows = raw[: len(raw) // place.dtype.itemsize * place.dtype.itemsize].view(place.dtype)
        columns = [rows[name] for name in "txyp"]
    else:
        n = _ecf.length(raw)
        columns = [np.empty(max(n, 0), kind) for kind in ("<i8", "<u2", "<u2", "u1")]
        wrong = _ecf.decode(raw, *columns) if n >= 0 else 0
        if n < 0 or wrong:
            raise FormatError(path, where + wrong, "a chunk of ECF events is damaged")
    if len(columns[0]) < needed:
        reason = f"a chunk has {len(columns[0]):,} events, expected {needed:,}"
        raise FormatError(path, where, reason)
    return columns
