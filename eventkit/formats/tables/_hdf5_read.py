"""Rows of the groups and datasets of an HDF5 file, as blocks of columns."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, MissingExtra
from eventkit.formats._limits import DEFAULT_EXPANSION, check_expansion
from eventkit.formats.tables import _ecf
from eventkit.formats.tables._columns import (
    ROWS,
    WIDEST,
    Block,
    Unit,
    block_of,
    by_name,
    check_lengths,
    check_numbers,
    guess_columns,
    parse_columns,
    unit_in,
)

DEPTH = 8  # links to links
CHUNK_COST = 1 << 12  # bytes
CHUNKS_READ = 256  # at once: the library takes longer for each chunk, and 7 kB, when there are more
LARGEST_CHUNK = 1 << 28  # bytes; the library takes memory for a whole one
Part = tuple[int, int]  # rows from the first to before the second


@dataclass(frozen=True)
class Rows:
    """`length` rows; read gives a part of them, best of whole chunks, of which one has `step`.

    unit is that of the times, if the name of their column states it; unsigned says that
    polarities cannot be negative. times gives those of a part alone, if they are whole numbers in a
    column of their own.
    """

    read: Callable[[Part], Block]
    length: int
    step: int
    unit: Unit | None = None
    unsigned: bool = False
    times: Callable[[Part], np.ndarray] | None = None


class Spans:
    """The least and the greatest time in parts of files, as a window without an index needs them.

    Kept for the files that were looked at last, as a conversion reads many windows of one.
    """

    KEPT = 8

    def __init__(self) -> None:
        self._known: dict[Any, tuple[np.ndarray, np.ndarray]] = {}

    def window(self, path: Path, name: str, rows: Rows, low: int, high: int) -> Part:
        """Rows among which all of low <= t < high are, in whole parts of ROWS."""
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino, name)
        if (known := self._known.get(key)) is None:
            known = self._look(rows)
            self._known = {**dict(list(self._known.items())[1 - self.KEPT :]), key: known}
        least, greatest = known
        there = np.flatnonzero((least < high) & (greatest >= low))
        if not len(there):
            return 0, 0
        return int(there[0]) * ROWS, min(int(there[-1] + 1) * ROWS, rows.length)

    def _look(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        assert rows.times is not None
        ends = []
        for first in range(0, rows.length, 16 * ROWS):
            t = rows.times((first, min(first + 16 * ROWS, rows.length)))
            borders = np.arange(0, len(t), ROWS)
            ends.append((np.minimum.reduceat(t, borders), np.maximum.reduceat(t, borders)))
        least, greatest = (np.concatenate(each) for each in zip(*ends, strict=True))
        return least, greatest


def read_rows(path: Path, place: Any, columns: str | None, expansion: int) -> Rows:
    """The rows of a group of columns, of a dataset with fields or of a table."""
    import h5py

    if isinstance(place, h5py.Group):
        return _of_group(path, place, expansion)
    check(path, place, expansion)
    if not place.dtype.names:
        return _of_table(path, place, columns)
    if _is_ecf(place):
        read: Callable[[Part], Block] = partial(_read_ecf, path, place)
    else:
        read = _of_compound(path, place)
    fields = by_name(place.dtype.names)
    unsigned = _is_ecf(place) or ("p" in fields and place.dtype[fields["p"]].kind in "ub")
    step = (place.chunks or (ROWS,))[0]
    return Rows(read, len(place), step, unit_in(fields["t"]), unsigned)


def get(path: Path, group: Any, name: str, depth: int = 0) -> Any:
    """A group or dataset of this file by its name, or None.

    Links are looked at before they are followed: one to another file is refused and never opened,
    as that may be a pipe, which would block.
    """
    import h5py

    here = group.file if name.startswith("/") else group
    for part in filter(None, name.split("/")):
        raw = part.encode("utf-8", "surrogateescape")
        if not isinstance(here, h5py.Group) or (part != "." and not here.id.links.exists(raw)):
            return None
        kind = h5py.h5l.TYPE_HARD if part == "." else here.id.links.get_info(raw).type
        if kind == h5py.h5l.TYPE_SOFT:
            if depth == DEPTH:
                raise FormatError(path, None, f"{part} is a link to a link, and so on without end")
            target = here.id.links.get_val(raw).decode("utf-8", "surrogateescape")
            here = get(path, here, target, depth + 1)
        elif kind == h5py.h5l.TYPE_HARD:
            here = here if part == "." else here[part]
        else:
            raise FormatError(path, None, f"{part:.100} is a link to another file; expected none")
    if isinstance(here, h5py.Dataset) and (here.is_virtual or here.external):
        raise FormatError(path, None, f"{here.name} refers to other files; expected none")
    return here


def check(path: Path, dataset: Any, expansion: int = DEFAULT_EXPANSION) -> None:
    """FormatError if a dataset is too large to read, or not there in full.

    The library takes as long for one chunk as for CHUNK_COST bytes.
    """
    _filters(path, dataset)
    width, size = dataset.dtype.itemsize, float(np.prod(dataset.shape or (0,), dtype=np.float64))
    chunks = 0
    if dataset.chunks:
        each = float(np.prod(dataset.chunks, dtype=np.float64))
        if each * width > LARGEST_CHUNK:
            raise FormatError(path, None, f"the chunks of {dataset.name} are too large to be true")
        chunks = dataset.id.get_num_chunks()
        there = chunks * each
    else:
        there = dataset.id.get_storage_size() // max(1, width)
    if size > there:
        reason = f"{dataset.name} has {size:,.0f} values, of which at most {there:,.0f} are in the"
        raise FormatError(path, None, f"{reason} file")
    cost = max(size * width, chunks * CHUNK_COST)
    check_expansion(path, f"{dataset.name}, in {chunks:,} chunks,", cost, expansion)


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


@dataclass(frozen=True)
class _Column:
    """A dataset of one axis, or of two of which one has a length of 1, as MATLAB writes them."""

    dataset: Any
    axis: int
    length: int

    def __len__(self) -> int:
        return self.length

    def read(self, part: Part) -> np.ndarray:
        if len(self.dataset.shape) == 1:
            return np.asarray(self.dataset[slice(*part)])
        return np.asarray(
            self.dataset[0, slice(*part)] if self.axis else self.dataset[slice(*part), 0]
        )

    @property
    def step(self) -> int:
        return int(self.dataset.chunks[self.axis]) if self.dataset.chunks else ROWS


def _column(path: Path, name: str, dataset: Any, expansion: int) -> _Column:
    import h5py

    shape = dataset.shape if isinstance(dataset, h5py.Dataset) else None
    if not shape or len(shape) > 2 or (len(shape) == 2 and 1 not in shape):
        raise FormatError(path, None, f"{name:.100} is no column; it has the shape {shape}")
    check_numbers(path, name, dataset.dtype)
    check(path, dataset, expansion)
    if dataset.attrs.get("MATLAB_empty"):  # its values are the lengths of its axes
        return _Column(dataset, 0, 0)
    axis = int(np.argmax(shape))
    return _Column(dataset, axis, shape[axis])


def _of_group(path: Path, place: Any, expansion: int) -> Rows:
    names = by_name(place)
    if not {"t", "x"} <= set(names):
        raise FormatError(path, None, f"{place.name} has no columns t, x, y, p")
    found = {column: get(path, place, name) for column, name in names.items()}
    known = {c: _column(path, names[c], dataset, expansion) for c, dataset in found.items()}

    def read(part: Part) -> Block:
        return block_of({name: column.read(part) for name, column in known.items()})

    unsigned = "p" in known and known["p"].dataset.dtype.kind in "ub"
    length = check_lengths(path, known)
    whole = known["t"].dataset.dtype.kind in "iu"
    times = known["t"].read if whole else None
    return Rows(read, length, known["t"].step, unit_in(names["t"]), unsigned, times)


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


def _of_table(path: Path, place: Any, columns: str | None) -> Rows:
    """The rows of a table (n, 4), or of (4, n), as MATLAB writes the former."""
    if len(place.shape) != 2:
        raise FormatError(path, None, f"{place.name} has the shape {place.shape}, not (n, 4)")
    across = is_table(place.shape) and place.shape[0] < place.shape[1]
    length, width = place.shape[::-1] if across else place.shape
    if not 0 < width <= WIDEST:
        raise FormatError(path, None, f"{place.name} has the shape {place.shape}, not (n, 4)")
    check_numbers(path, place.name, place.dtype)

    def rows(part: Part) -> np.ndarray:
        return np.asarray(place[:, slice(*part)] if across else place[slice(*part)].T)

    if columns is None:
        columns = guess_columns(path, rows((0, ROWS)).T) if length else "txyp"
    order = parse_columns(columns, width)

    def read(part: Part) -> Block:
        return block_of(dict(zip(order, rows(part), strict=True)))

    return Rows(read, length, (place.chunks or (ROWS, ROWS))[int(across)])


def is_table(shape: tuple[int, ...]) -> bool:
    """Whether a shape is that of a table of 3 or 4 columns, whichever axis they are."""
    return len(shape) == 2 and (shape[1] in (3, 4) or (shape[0] in (3, 4) and shape[1] > 4))


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
