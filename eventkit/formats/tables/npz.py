"""NumPy files (.npy, .npz): events as columns, as a structured array or as a table.

    arrays t, x, y, p (or names like them, as ts, xs, ys, ps)   SpikingJelly, HARDVS, this writer
    one structured array with fields t, x, y, p                 DVS-Lip, N-ImageNet, Tonic, faery
    one table (n, 4) or (4, n): txyp, xytp or xypt              Tonic's copy of DVS128 Gesture (ms)
    tables pos, neg (n, 3) of y, x, t; pos comes first          ES-ImageNet

A table's order is found from its values, or given as `columns`. Arrays of Python objects are
pickles, which may run any code when they are read; they are refused. An array `size` of width and
height is that of the sensor. Format of the files:
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import ast
import contextlib
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from eventkit.errors import FormatError
from eventkit.events import RECORD, Columns, Events
from eventkit.formats._limits import DEFAULT_EXPANSION
from eventkit.formats._zip import check_directory, skip
from eventkit.formats.base import FORMATS, Format, Report, Size
from eventkit.formats.tables._columns import (
    ROWS,
    WIDEST,
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

MAGIC = b"\x93NUMPY"
ZIP = b"PK\x03\x04"
LONGEST_HEADER = 10_000
EXPANSION = 1032  # bytes that one byte of a deflated file can become
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError),
    *(RuntimeError, OSError, ValueError, OverflowError),
)  # what zipfile raises on damaged files
EPOCH = (1980, 1, 1, 0, 0, 0)  # a time for all files of a zip: same events, same bytes


@dataclass(frozen=True)
class Array:
    """One array of a file: `open` gives its bytes, of which its values begin at `begin`.

    shape is (rows,) or (rows, columns), of which `stored` rows are in the file. by_column says
    that a whole column follows the other; fields have names instead. refused is why the array
    cannot hold events, as a picture beside them.
    """

    open: Callable[[], IO[bytes]]
    dtype: np.dtype
    shape: tuple[int, ...]
    by_column: bool
    begin: int
    stored: int
    refused: str | None = None

    def flat(self) -> "Array":
        """A table of one row or one column as a column; others as they are."""
        if len(self.shape) != 2 or 1 not in self.shape:
            return self
        rows, width = self.shape
        return replace(self, shape=(rows * width,), by_column=False, stored=self.stored * width)

    def blocks(self, column: int = 0) -> Iterator[np.ndarray]:
        """The rows, or those of one column of a table that is stored by columns."""
        width = 1 if self.by_column or len(self.shape) == 1 else self.shape[1]
        with self.open() as file:
            skip(file, self.begin + column * self.shape[0] * self.dtype.itemsize)
            for row in range(0, self.stored, ROWS):
                n = min(ROWS, self.stored - row)
                data = file.read(n * width * self.dtype.itemsize)
                if len(data) < n * width * self.dtype.itemsize:
                    raise EOFError("an array is shorter than the file says")
                values = np.frombuffer(data, self.dtype)
                yield values if width == 1 else values.reshape(n, width)

    def columns(self) -> Iterator[tuple[np.ndarray, ...]]:
        """All columns, block by block."""
        if len(self.shape) == 1:
            yield from ((rows,) for rows in self.blocks())
        elif self.by_column:
            yield from zip(*(self.blocks(i) for i in range(self.shape[1])), strict=True)
        else:
            yield from (tuple(rows.reshape(len(rows), -1).T) for rows in self.blocks())


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
    expansion: int = DEFAULT_EXPANSION,
) -> Iterator[Events]:
    """Events of a .npy or .npz file; columns (as txyp) are those of a table without names.

    Without `unit`, times are in the unit that their name states (as t_us); else those with
    fractions are seconds and others µs. polarity=-1/+1 means that 0 is no event, 1/2 that 1 is OFF;
    it is found from the first rows by default; round rounds coordinates; the events may have
    `expansion` times the bytes of the file. Counts: invalid; with strict=False also missing rows
    and trailing bytes of an array that is cut or too long.
    """
    asked = Asked(chunk, start, stop, strict, size, unit, polarity, round, expansion)
    with damaged(path, DAMAGE), _arrays(path, report, strict) as arrays:
        yield from events(path, report, into, _table(path, arrays, columns), asked)


@contextlib.contextmanager
def _arrays(path: Path, report: Report, strict: bool) -> Iterator[dict[str, Array]]:
    """The arrays of a file by their names; that of a .npy file is called array."""
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
    if head == MAGIC:
        whole = path.stat().st_size
        yield {"array": _array(path, "array", lambda: path.open("rb"), whole, report, strict)}
        return
    if not head.startswith(ZIP):
        raise FormatError(path, 0, f"starts with {head!r}, expected {MAGIC!r} or {ZIP!r}")
    with zipfile.ZipFile(path) as archive:
        check_directory(archive)
        arrays = {}
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                archive.open(info).close()  # compares its two names, of which one may be damaged
                continue
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FormatError(path, None, f"{info.filename} has an unknown compression")
            opened = _opener(archive, info)
            packed = info.compress_type == zipfile.ZIP_DEFLATED
            length = min(info.file_size, info.compress_size * (EXPANSION if packed else 1))
            name = info.filename.removesuffix(".npy")
            if name in arrays:
                raise FormatError(path, None, f"two arrays are called {name!r}")
            arrays[name] = _array(path, name, opened, length, report, strict)
        yield arrays


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(info)


def _array(
    path: Path,
    name: str,
    opened: Callable[[], IO[bytes]],
    length: int,
    report: Report,
    strict: bool,
) -> Array:
    """An array from its header; `length` is that of all its bytes."""
    with opened() as file:
        dtype, shape, by_column, begin = _header(path, name, file)
    if dtype.hasobject:
        reason = f"{name} holds Python objects, a pickle, which may run any code; where you trust "
        reason += "it, load it with NumPy and save it again as columns t, x, y, p"
        return Array(opened, dtype, shape, by_column, begin, 0, reason)
    if len(shape) > 2:
        reason = f"{name} has the shape {shape}, expected (n,) or (n, 4)"
        return Array(opened, dtype, shape, by_column, begin, 0, reason)
    if len(shape) == 2 and shape[0] in (3, 4) and shape[1] not in (3, 4):
        shape, by_column = (shape[1], shape[0]), not by_column
    width = shape[1] if len(shape) == 2 else 1
    rows = shape[0] if shape else 1
    there = max(0, length - begin) // max(1, dtype.itemsize)
    if by_column and width > 1:
        stored = min(rows, max(0, there - (width - 1) * rows))
    else:
        stored = min(rows, there // max(1, width))
    extra = length - begin - rows * width * dtype.itemsize
    if strict and extra:
        reason = f"{name} has {length - begin:,} bytes, expected {rows:,} rows of {dtype} by "
        reason += f"{width}; strict=False reads what is there"
        raise FormatError(path, None, reason)
    if rows > stored:
        report.counts["missing rows"] += rows - stored
    elif extra > 0:
        report.counts["trailing bytes"] += extra
    return Array(opened, dtype, shape, by_column and width > 1, begin, stored)


def _header(path: Path, name: str, file: IO[bytes]) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """Type, shape, whether it is stored by columns, and where the values begin."""
    fixed = file.read(12)
    if not fixed.startswith(MAGIC) or len(fixed) < 12:
        raise FormatError(path, None, f"{name} is no NumPy array: it starts with {fixed!r}")
    if fixed[6] not in (1, 2, 3):
        raise FormatError(path, None, f"{name} is of version {fixed[6]}, expected 1, 2 or 3")
    wide = fixed[6] > 1
    length = int.from_bytes(fixed[8 : 12 if wide else 10], "little")
    if length > LONGEST_HEADER:
        raise FormatError(path, None, f"the header of {name} has {length:,} bytes, too many")
    text = (b"" if wide else fixed[10:]) + file.read(length - (0 if wide else 2))
    try:
        words = re.sub(r"(?<=\d)L\b", "", text.decode("utf-8" if fixed[6] == 3 else "latin-1"))
        said = ast.literal_eval(words)
        dtype = np.lib.format.descr_to_dtype(said["descr"])
        shape, by_column = said["shape"], said["fortran_order"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        reason = f"the header of {name} cannot be understood: {text[:80]!r}"
        raise FormatError(path, None, reason) from error
    sound = type(shape) is tuple and all(type(n) is int and 0 <= n < 1 << 48 for n in shape)
    if not sound or type(by_column) is not bool or len(text) < length:
        raise FormatError(path, None, f"{name} has the shape {shape}, expected (n,) or (n, 4)")
    return dtype, shape, by_column, (12 if wide else 10) + length


def _table(path: Path, arrays: dict[str, Array], columns: str | None) -> Table:
    """The layout that fits."""
    known = by_name(arrays)
    if {"t", "x"} <= set(known):
        if refused := [a.refused for n, a in arrays.items() if n in known.values() and a.refused]:
            raise FormatError(path, None, refused[0])
        named = {c: arrays[name] for c, name in known.items()}
        return _separate(path, named, _size(arrays), unit_in(known["t"]))
    refused = [array.refused for array in arrays.values() if array.refused]
    arrays = {name: array for name, array in arrays.items() if not array.refused}
    if {"pos", "neg"} <= set(arrays):
        return _pos_and_neg(path, arrays["pos"], arrays["neg"])
    for array in arrays.values():
        fields = by_name(array.dtype.names or ())
        if {"t", "x"} <= set(fields) and len(array.shape) == 1:
            return _structured(path, array, fields, _size(arrays))
    tables = [a for a in arrays.values() if len(a.shape) == 2 and not a.dtype.names]
    if len(tables) > 1:  # beside a picture or the like
        tables = [a for a in tables if a.shape[1] in (3, 4)]
    if len(tables) == 1:
        return _unnamed(path, tables[0], columns, _size(arrays))
    if refused:
        raise FormatError(path, None, refused[0])
    found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())
    found = found if len(found) < 300 else found[:300] + " ..."
    expected = "expected arrays or fields t, x, y, p, tables pos and neg, or one table (n, 4)"
    raise FormatError(path, None, f"holds {found or 'no arrays'}; {expected}")


def _separate(path: Path, known: dict[str, Array], size: Size | None, unit: Unit | None) -> Table:
    known = {name: array.flat() for name, array in known.items()}
    for name, array in known.items():
        check_numbers(path, name, array.dtype)
        if len(array.shape) != 1:
            raise FormatError(path, None, f"{name} has the shape {array.shape}, expected (n,)")
    rows = check_lengths(path, {name: range(array.stored) for name, array in known.items()})

    def blocks() -> Iterator[Block]:
        for columns in zip(*(array.blocks() for array in known.values()), strict=True):
            yield block_of(dict(zip(known, columns, strict=True)))

    return Table(blocks, rows, size, unit)


def _structured(path: Path, array: Array, fields: dict[str, str], size: Size | None) -> Table:
    for name in fields.values():
        check_numbers(path, name, array.dtype[name])

    def blocks() -> Iterator[Block]:
        for rows in array.blocks():
            yield block_of({column: rows[name] for column, name in fields.items()})

    return Table(blocks, array.stored, size, unit_in(fields["t"]))


def _unnamed(path: Path, array: Array, columns: str | None, size: Size | None) -> Table:
    check_numbers(path, "the table", array.dtype)
    if not 2 <= array.shape[1] <= WIDEST:
        raise FormatError(path, None, f"the table has {array.shape[1]} columns, expected 4")
    if columns is None:
        first = next(array.columns(), (np.empty(0),) * array.shape[1])
        columns = guess_columns(path, np.stack(first, axis=1))
    order = parse_columns(columns, array.shape[1])

    def blocks() -> Iterator[Block]:
        for found in array.columns():
            yield block_of(dict(zip(order, found, strict=True)))

    return Table(blocks, array.stored, size)


def _pos_and_neg(path: Path, pos: Array, neg: Array) -> Table:
    for name, array in (("pos", pos), ("neg", neg)):
        check_numbers(path, name, array.dtype)
        if array.shape[1:] != (3,):
            raise FormatError(path, None, f"{name} has the shape {array.shape}, expected (n, 3)")

    def blocks() -> Iterator[Block]:
        for array, polarity in ((pos, True), (neg, False)):
            for y, x, t in array.columns():
                yield t, x, y, np.full(len(t), polarity)

    return Table(blocks, pos.stored + neg.stored)


def _size(arrays: dict[str, Array]) -> Size | None:
    """The array `size`, if there is one with a width and a height."""
    array = arrays.get("size")
    if array is None or array.dtype.kind not in "iu" or array.stored != 2 or len(array.shape) != 1:
        return None
    width, height = (int(side) for side in next(array.blocks()))
    return (width, height) if 0 < width <= 65536 and 0 < height <= 65536 else None


def beside(path: Path) -> dict[str, int]:
    """Arrays that are neither columns of the events nor their size."""
    with damaged(path, DAMAGE), _arrays(path, Report(), strict=False) as arrays:
        known = set(by_name(arrays).values()) | {"size"}
        if not {"t", "x"} <= set(by_name(arrays)):  # pos and neg, or one table
            known |= {"pos", "neg"} if {"pos", "neg"} <= set(arrays) else set(list(arrays)[:1])
        return {"other arrays": len(set(arrays) - known)}


def bound(path: Path) -> int:
    """At most so many events are in the file."""
    with damaged(path, DAMAGE), _arrays(path, Report(), strict=False) as arrays:
        rows = [array.stored for array in arrays.values()]
    return sum(rows) if {"pos", "neg"} <= set(arrays) else max(rows, default=0)


def write_npy(file: BinaryIO, chunks: Iterable[Events]) -> None:
    """One structured array with fields t, x, y, p. The sensor's size is not written."""
    n = 0
    file.write(_npy_header(RECORD, 0))
    for part in chunks:
        file.write(part.structured().tobytes())
        n += len(part)
    file.seek(0)
    file.write(_npy_header(RECORD, n))


def write_npz(file: BinaryIO, chunks: Iterable[Events], *, compress: bool = False) -> None:
    """Arrays t, x, y, p and size; compress=True deflates them. The same events, the same bytes."""
    with contextlib.ExitStack() as stack:
        spools = {name: stack.enter_context(tempfile.TemporaryFile()) for name in "txyp"}
        n, size = 0, (1, 1)
        for part in chunks:
            for name, spool in spools.items():
                spool.write(getattr(part, name).data)
            n, size = n + len(part), part.size
        archive = stack.enter_context(zipfile.ZipFile(file, "w"))
        for name, spool in spools.items():
            spool.seek(0)
            with archive.open(_member(name, compress), "w", force_zip64=True) as member:
                member.write(_npy_header(RECORD[name], n))
                while data := spool.read(1 << 20):
                    member.write(data)
        with archive.open(_member("size", compress), "w", force_zip64=True) as member:
            member.write(_npy_header(np.dtype(np.int64), 2) + np.array(size, np.int64).tobytes())


def _member(name: str, compress: bool) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    info.create_system, info.external_attr = 3, 0o644 << 16
    return info


def _npy_header(dtype: np.dtype, n: int) -> bytes:
    """The header of an array of n rows, in 192 bytes for all n."""
    said = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (n,)}
    text = str(said).encode().ljust(181) + b"\n"
    return MAGIC + bytes([1, 0]) + len(text).to_bytes(2, "little") + text


NPY = Format(
    name="npy",
    title="NumPy array of events (.npy)",
    suffixes=(".npy",),
    stream=stream,
    expansion=True,
    write=write_npy,
    detect=lambda head: head.startswith(MAGIC),
    bound=bound,
    bounded=True,
    sized=False,
)
NPZ = Format(
    name="npz",
    title="NumPy arrays of events (.npz)",
    suffixes=(".npz",),
    stream=stream,
    expansion=True,
    write=write_npz,
    detect=lambda head: head.startswith(ZIP),
    bound=bound,
    bounded=True,
    beside=beside,
    reveals="bytes",
)
FORMATS.register(NPY)
FORMATS.register(NPZ)
