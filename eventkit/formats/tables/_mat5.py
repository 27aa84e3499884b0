"""MATLAB files of versions 5 to 7, as far as events are in them: numbers, cells and structs.

After 128 bytes (text; at 124 a version, at 126 MI or IM, which tells the order of bytes) come
elements: uint32 type, uint32 length, then data to a multiple of 8; short ones have the length in
the upper half of the type and up to 4 bytes of data. A matrix consists of elements: flags, sizes,
name, then values by columns, or the matrices in it. An element may be zlib data of another.
Source: MAT-File Format, https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

HEADER = 128
MATRIX, COMPRESSED = 14, 15
STORED = dict(
    enumerate(("i1", "u1", "i2", "u2", "i4", "u4", "f4", "", "f8", "", "", "i8", "u8"), 1)
)
CELL, STRUCT = 1, 2
NUMBERS = dict(enumerate(("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"), 6))
DEPTH = 16  # of matrices within matrices
EXPANSION = 1032  # bytes that one byte of zlib data can become


@dataclass(frozen=True)
class Element:
    """One element: its type and its data."""

    kind: int
    data: memoryview


def variables(data: bytes, spend: Callable[[int], None], most: int) -> dict[str, Any]:
    """The variables of a file: arrays, lists (cells), lists of dicts (structs), None for others.

    `spend` is called with the bytes of everything that is unpacked or converted, and raises once
    they are too many; a single element may have `most`. Arrays have as many axes as in MATLAB.
    Raises ValueError for what is no such file.
    """
    mark = data[126:128]
    if len(data) < HEADER or mark not in (b"IM", b"MI"):
        raise ValueError("the header has no mark of the order of bytes")
    order = "<" if mark == b"IM" else ">"
    found = {}
    for element in _elements(memoryview(data)[HEADER:], order):
        if element.kind == COMPRESSED:
            element = _next(_elements(memoryview(_unpacked(element.data, spend, most)), order))
        if element.kind == MATRIX:
            name, value = _matrix(element.data, order, 0, spend)
            found[name] = value
    return found


def _unpacked(data: memoryview, spend: Callable[[int], None], most: int) -> bytes:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(data, max(1, min(len(data) * EXPANSION, most)))
    spend(len(unpacked) + (len(unpacked) == most and not unpacker.eof))
    if not unpacker.eof:
        raise ValueError("compressed data end early")
    return unpacked


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """The elements in data, one after the other."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("the file ends within an element")
        kind, length = struct.unpack_from(f"{order}2I", data, at)
        begin, end = at + 8, at + 8 + length
        if kind >> 16:
            kind, length = kind & 0xFFFF, kind >> 16
            begin, end = at + 4, at + 4 + length
            if length > 4:
                raise ValueError(f"a short element has {length} bytes, expected up to 4")
        if end > len(data):
            raise ValueError(f"an element of {length:,} bytes goes beyond the end")
        yield Element(kind, data[begin:end])
        at = end if kind == COMPRESSED else end + -end % 8


def _matrix(
    data: memoryview, order: str, depth: int, spend: Callable[[int], None]
) -> tuple[str, Any]:
    """The name and the value of a matrix; an empty one has no elements."""
    if depth > DEPTH:
        raise ValueError(f"matrices are more than {DEPTH} deep in each other")
    if not data:
        return "", None
    parts = _elements(data, order)
    flags = _numbers(_next(parts), order)
    sizes = [int(size) for size in _numbers(_next(parts), order)]
    name = bytes(_next(parts).data).decode("latin-1")
    if not len(flags) or len(sizes) < 2 or len(sizes) > 8 or min(sizes) < 0:
        raise ValueError(f"a matrix has the sizes {sizes}")
    kind = int(flags[0]) & 0xFF
    if kind in NUMBERS:
        values = _numbers(_next(parts), order)
        if len(values) != math.prod(sizes):
            raise ValueError(f"{name} has {len(values):,} values, expected {sizes}")
        spend(len(values) * np.dtype(NUMBERS[kind]).itemsize)
        return name, values.astype(NUMBERS[kind], copy=False).reshape(sizes, order="F")
    if kind == CELL:
        return name, [_matrix(_inner(part), order, depth + 1, spend)[1] for part in parts]
    if kind == STRUCT:
        return name, _structs(parts, order, depth, spend)
    return name, None


def _structs(
    parts: Iterator[Element], order: str, depth: int, spend: Callable[[int], None]
) -> list[dict[str, Any]]:
    """The elements of an array of structs."""
    length = int(_numbers(_next(parts), order)[0])
    text = bytes(_next(parts).data)
    if not 0 < length <= 64:
        raise ValueError(f"names of fields have {length} bytes, expected 1 to 64")
    cuts = range(0, len(text), length)
    fields = [text[i : i + length].partition(b"\0")[0].decode("latin-1") for i in cuts]
    inner = (_matrix(_inner(part), order, depth + 1, spend)[1] for part in parts)
    values = list(inner) if fields else []
    n = max(1, len(fields))
    rows = range(0, len(values) - n + 1, n)
    return [dict(zip(fields, values[i : i + n], strict=True)) for i in rows]


def _next(parts: Iterator[Element]) -> Element:
    part = next(parts, None)
    if part is None:
        raise ValueError("a matrix ends early")
    return part


def _inner(part: Element) -> memoryview:
    if part.kind != MATRIX:
        raise ValueError(f"found an element of type {part.kind} in a cell or struct")
    return part.data


def _numbers(part: Element, order: str) -> np.ndarray:
    """The numbers in an element, in the order of bytes of this machine."""
    stored = STORED.get(part.kind, "")
    if not stored:
        raise ValueError(f"found an element of type {part.kind}, expected numbers")
    found = np.frombuffer(part.data, order + stored)
    return found.astype(stored, copy=False)
