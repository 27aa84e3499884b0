"""Pickled lists of packets in NumPy files (.npy), as of Bullying10K. No code of a file is run.

    array of objects (packets,)     each a list of events, each a tuple (t, x, y, p, ...)

NumPy writes such an array as a pickle, a program that may call anything when it is read. Here it is
first walked through without being run: only the operations that build numbers, texts, tuples, lists
and arrays may be in it. Then the names that it calls stand for functions of this module, which
build plain numbers and nothing else; any other name is refused. Pickle's operations are those of
https://github.com/python/cpython/blob/main/Lib/pickletools.py
"""

import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from eventkit._jit import jit
from eventkit.errors import FormatError
from eventkit.events import Columns, Events
from eventkit.formats.base import FORMATS, Format, Report, Size
from eventkit.formats.tables import npz
from eventkit.formats.tables._columns import (
    Asked,
    Block,
    Table,
    Unit,
    block_of,
    check_numbers,
    damaged,
    events,
    parse_columns,
)

DAMAGE = (
    *npz.DAMAGE,
    *(pickle.UnpicklingError, AttributeError, TypeError, IndexError, KeyError, MemoryError),
)
WIDEST = 64  # values of an event
LINE, LENGTH_1, LENGTH_4, LENGTH_8 = 100, 101, 104, 108
# How many bytes follow each operation that is allowed.
ALLOWED = {
    **dict.fromkeys("(.N)}]aetl0\x85\x86\x87\x88\x89\x94R\x93b", 0),
    **dict.fromkeys("Khq\x80", 1),
    **dict.fromkeys("M", 2),
    **dict.fromkeys("Jjr", 4),
    **dict.fromkeys("G\x95", 8),
    **dict.fromkeys("c", LINE),
    **dict.fromkeys("CU\x8a\x8c", LENGTH_1),
    **dict.fromkeys("BTX", LENGTH_4),
    **dict.fromkeys("\x8e", LENGTH_8),
}
BYTES = np.full(256, -1, np.int64)
for _operation, _length in ALLOWED.items():
    BYTES[ord(_operation)] = _length


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
    columns: str = "txyp",
) -> Iterator[Events]:
    """Events of all packets in their order; columns are the first values of an event.

    A file is loaded as a whole. Counts: invalid.
    """
    asked = Asked(chunk, start, stop, strict, size, unit)
    with damaged(path, DAMAGE):
        block = _block(path, _load(path), parse_columns(columns, len(columns)))
    yield from events(path, report, into, Table(lambda: [block], len(block[0])), asked)


def _load(path: Path) -> list[Any]:
    """The packets of a file."""
    with path.open("rb") as file:
        dtype, shape, _, begin = npz._header(path, path.name, file)
        if not dtype.hasobject:
            raise FormatError(path, None, f"holds {dtype}, no pickle; it is of the format npz")
        file.seek(begin)
        data = file.read()
    if wrong := _walk(np.frombuffer(data, np.uint8), BYTES):
        at = wrong - 1
        found = f"{data[at : at + 1]!r}" if at < len(data) else "the end"
        reason = f"its pickle has {found}, which plain lists of numbers have not, or is cut off"
        raise FormatError(path, begin + at, f"{reason}; nothing of it was run")
    told = _Reader(io.BytesIO(data), path, begin).load()
    packets = told.items() if isinstance(told, _Array) else told
    if not isinstance(packets, list) or shape not in ((len(packets),), ()):
        raise FormatError(path, begin, f"holds no list of packets of the shape {shape}")
    return packets


@jit
def _walk(data: np.ndarray, lengths: np.ndarray) -> int:
    """0 if all operations are allowed and whole, otherwise 1 + the place of the first that is not.

    A place in pickle's memory beyond the length of the file would only be a way to fill ours.
    """
    at, end = 0, len(data)
    while at < end:
        operation = data[at]
        follow = lengths[operation]
        if follow < 0:
            return at + 1
        if operation == 46:  # . stops
            return 0 if at + 1 == end else at + 2
        if follow == 100:
            lines, to = 0, at + 1
            while to < end and lines < 2:
                lines += data[to] == 10
                to += 1
            if lines < 2:
                return end + 1
            at = to
            continue
        if follow > 100:
            n = np.int64(0)
            if at + follow - 100 >= end:
                return end + 1
            for i in range(min(follow - 100, 7)):
                n += np.int64(data[at + 1 + i]) << (8 * i)
            if follow == 108 and data[at + 8]:
                return at + 1
            follow += n - 100
        if follow >= end - at:
            return end + 1
        if operation == 114:  # r: a place in its memory
            place = np.int64(0)
            for i in range(4):
                place += np.int64(data[at + 1 + i]) << (8 * i)
            if place > end:
                return at + 1
        at += 1 + follow
    return end + 1


class _Named:
    """What a name of the pickle stands for: it can be called, and nothing in it be changed."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise TypeError("a pickle sets no state of a function")


class _Type:
    """A NumPy type, of which only the plain numbers and objects are known."""

    __slots__ = ("text",)

    def __init__(self, text: Any, *_: Any) -> None:
        if not isinstance(text, str) or text[:1] not in "biufO" or not text[1:].isdecimal():
            raise TypeError(f"{text!r} is no type of plain numbers")
        self.text = text

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|") or any(part is not None for part in state[2:5]):
            raise TypeError("a type with fields is no type of plain numbers")
        self.text = f"{state[1]}{self.text[-2:].lstrip('<>|')}"

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.text)


class _Array:
    """An array: its values as a list, or as the bytes of numbers."""

    __slots__ = ("values",)

    def __init__(self, *_: Any) -> None:
        self.values: Any = []

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_column, values = state
        if not isinstance(kind, _Type) or not isinstance(shape, tuple):
            raise TypeError("an array has no shape or no type")
        if isinstance(values, bytes):
            flat = np.frombuffer(values, kind.dtype)
            self.values = flat.reshape(shape[::-1]).T if by_column else flat.reshape(shape)
        elif isinstance(values, list) and kind.dtype.hasobject and shape == (len(values),):
            self.values = values
        else:
            raise TypeError(f"an array of the shape {shape} has no such values")

    def __len__(self) -> int:
        return len(self.values)

    def items(self) -> list[Any]:
        """The values as plain numbers in lists."""
        found: list[Any] = self.values if isinstance(self.values, list) else self.values.tolist()
        return found


def _scalar(kind: Any, data: Any) -> int | float:
    if not isinstance(kind, _Type) or not isinstance(data, bytes) or kind.dtype.hasobject:
        raise TypeError("a number has no type or no bytes")
    found: int | float = np.frombuffer(data, kind.dtype, 1)[0].item()
    return found


def _encoded(text: Any, encoding: Any) -> bytes:
    """How old pickles write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError("it encodes a text otherwise than in latin1")
    return text.encode("latin1")


NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encoded,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    NAMES |= {(_module, "_reconstruct"): _Array, (_module, "scalar"): _scalar}


class _Reader(pickle.Unpickler):
    """A reader of pickles in which names stand for what is in NAMES."""

    def __init__(self, file: io.BytesIO, path: Path, begin: int) -> None:
        super().__init__(file)
        self._where = path, begin

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            path, begin = self._where
            reason = f"its pickle calls {module}.{name}, which is no part of plain lists of numbers"
            raise FormatError(path, begin, f"{reason}; nothing of it was run")
        return _Named(NAMES[module, name])

    def persistent_load(self, _: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to something outside")


def _block(path: Path, packets: list[Any], order: str) -> Block:
    """The columns of all events."""
    parts: list[list[np.ndarray]] = [[] for _ in order]
    limit, n = path.stat().st_size, 0
    for number, packet in enumerate(packets):
        found = packet.items() if isinstance(packet, _Array) else packet
        if not isinstance(found, list | tuple):
            raise FormatError(path, None, f"packet {number} is a {type(found).__name__}, no list")
        n += len(found)
        if n > limit:  # lists that hold each other many times over
            raise FormatError(path, None, f"has more events than its {limit:,} bytes can hold")
        if not found:
            continue
        widths = {len(row) if isinstance(row, list | tuple | _Array) else 0 for row in found}
        if len(widths) != 1 or not len(order) <= min(widths) <= WIDEST:
            reason = f"packet {number} has events of {sorted(widths)} values, expected {order}"
            raise FormatError(path, None, reason)
        rows = [row.items() if isinstance(row, _Array) else row for row in found]
        for part, values in zip(parts, zip(*rows, strict=True), strict=False):
            if kinds := set(map(type, values)) - {int, float, bool}:
                names = ", ".join(sorted(kind.__name__ for kind in kinds))
                raise FormatError(path, None, f"packet {number} has a {names} in its events")
            part.append(np.array(values))
            check_numbers(path, "a column", part[-1].dtype)
    columns = [np.concatenate(part) if part else np.empty(0, np.int64) for part in parts]
    return block_of(dict(zip(order, columns, strict=True)))


FORMATS.register(
    Format(
        name="packets",
        title="pickled packets in .npy, read without running them (Bullying10K)",
        suffixes=(".npy",),
        stream=stream,
        detect=lambda head: False,  # only where it is named
    )
)
