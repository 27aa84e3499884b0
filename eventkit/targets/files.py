"""Files of targets of a recording: .npy with fields, a table in .csv or .txt, PASCAL VOC's .xml."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.targets import KINDS, voc
from eventkit.units import microseconds

UNITS = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "ms": Fraction(1000),
    "s": Fraction(1_000_000),
}
# What files call a field of KINDS. x2 and y2 are the lower right corner.
NAMES = {
    "t": ("t", "ts", "time", "timestamp", "start", "start_time"),
    "stop": ("stop", "end", "end_time", "stop_time"),
    "class": ("class", "class_id", "label", "category"),
    "track": ("track", "track_id", "id", "object_id"),
    "confidence": ("confidence", "class_confidence", "score"),
    "x": ("x", "x1", "x_min", "xmin", "left"),
    "y": ("y", "y1", "y_min", "ymin", "top"),
    "x2": ("x2", "x_max", "xmax", "right"),
    "y2": ("y2", "y_max", "ymax", "bottom"),
    "w": ("w", "width"),
    "h": ("h", "height"),
    "cx": ("cx", "x_center"),
    "cy": ("cy", "y_center"),
    "text": ("text", "caption", "transcript"),
}
OPTIONAL = {"class": -1, "track": -1, "confidence": 1}
MOST = 1 << 26  # rows of a file
LIMIT = 1 << 61  # µs


@dataclass(frozen=True)
class TargetFile:
    """Where the targets of one kind are, and how they are written: [targets.KIND] of a TOML.

    `file` is named by {folder}, {stem} and {sequence} of the recording. `classes` are the names of
    the classes, in the order of their numbers; a table may have the names. `columns` are those of a
    table without a header, as "t x y w h class"; - is one that is not read. `unit` is that of the
    times (ns, us, ms or s). With `every` (as "10ms") the rows have no times: row i is at i times
    that, counted from the recording's first event; with at="start" all are at that event. Columns
    cx, cy, w and h are centre and sides of a box as shares of the sensor's, as YOLO has them.
    """

    file: str
    classes: tuple[str, ...] = ()
    columns: str = ""
    unit: str = "us"
    every: int | None = None
    at: str = ""

    @property
    def untimed(self) -> bool:
        """Whether the file has no times, so that its rows count from the first event."""
        return self.every is not None or bool(self.at)

    @classmethod
    def parse(cls, kind: str, told: Any, where: str) -> "TargetFile":
        """The description of one kind, checked; OptionError for what is wrong."""
        name = f"{where}: [targets.{kind}]"
        if kind not in KINDS:
            raise OptionError(f"{name} is no kind of targets; use {', '.join(KINDS)}")
        if not isinstance(told, dict) or not isinstance(told.get("file"), str):
            raise OptionError(f'{name} needs file = "...", as "{{folder}}/{{sequence}}_bbox.npy"')
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(told) - set(known)):
            raise OptionError(f"{name} has the unknown key {unknown[0]}; use {', '.join(known)}")
        classes = told.get("classes", [])
        if not isinstance(classes, list) or not all(isinstance(each, str) for each in classes):
            raise OptionError(f"{name} classes is {classes!r}, expected a list of names")
        if len(set(classes)) != len(classes):
            raise OptionError(f"{name} classes has a name twice")
        columns, unit, every = (told.get(key, "") for key in ("columns", "unit", "every"))
        if not isinstance(columns, str) or (unit and unit not in UNITS):
            raise OptionError(
                f"{name} has columns={columns!r} and unit={unit!r}, expected a text such as "
                f'"t x y w h class" and one of {", ".join(UNITS)}'
            )
        try:
            step = microseconds(every) if every else None
        except ValueError as error:
            raise OptionError(f"{name} every is {error}") from None
        if step is not None and step < 1:
            raise OptionError(f"{name} every is {every!r}, expected at least 1 µs")
        if told.get("at", "") not in ("", "start") or (step and told.get("at")):
            raise OptionError(f"{name} at is {told['at']!r}, expected start, without every")
        return cls(told["file"], tuple(classes), columns, unit or "us", step, told.get("at", ""))


def read(
    path: Path, kind: str, source: TargetFile, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, list[str]]:
    """The targets of a file in its order, of the type KINDS[kind], and the texts they number.

    `size` is that of the sensor, which boxes in shares of it need.

    FormatError for what is not such a file; pickled objects are not loaded.
    """
    try:
        suffix = path.suffix.lower()
        columns = (
            _npy(path, source)
            if suffix == ".npy"
            else voc.read(path)
            if suffix == ".xml"
            else _table(path, source)
        )
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from None
    wanted = list(KINDS[kind].names or ())
    if source.every is not None:
        n = len(next(iter(columns.values()), ()))
        columns["t"] = np.arange(n, dtype=np.int64) * source.every
    if source.at:
        n = len(next(iter(columns.values()), ()))
        columns["t"] = np.zeros(n, np.int64)
    if {"cx", "cy", "w", "h"} <= columns.keys():
        _scale(path, columns, size)
    for side, corner in (("w", "x2"), ("h", "y2")):
        start = columns.get(corner[0])
        if kind == "boxes" and side not in columns and corner in columns and start is not None:
            edge = _numbers(path, corner, columns[corner])
            columns[side] = edge - _numbers(path, corner[0], start)
    missing = [name for name in wanted if name not in columns and name not in OPTIONAL]
    if missing:
        raise FormatError(
            path,
            None,
            f"lacks {', '.join(missing)} of {kind}; found are {', '.join(columns) or 'none'}",
        )
    n = len(columns[wanted[0]])
    if n > MOST:
        raise FormatError(path, None, f"has {n:,} rows, expected at most {MOST:,}")
    rows = np.zeros(n, KINDS[kind])
    texts: list[str] = []
    for name in wanted:
        if name not in columns:
            rows[name] = OPTIONAL[name]
        elif name == "text":
            found = [str(value) for value in columns[name].tolist()]
            texts = sorted(set(found))
            numbers = {text: number for number, text in enumerate(texts)}
            rows[name] = [numbers[text] for text in found]
        elif name == "class":
            rows[name] = _classes(path, columns[name], source.classes)
        elif name in ("t", "stop"):
            unit = "us" if name == "t" and source.untimed else source.unit
            rows[name] = _times(path, columns[name], UNITS[unit])
        else:
            rows[name] = _numbers(path, name, columns[name])
    return rows, texts


def _scale(path: Path, columns: dict[str, np.ndarray], size: tuple[int, int] | None) -> None:
    """Boxes from shares of the sensor to pixels: x, y, w, h of cx, cy, w, h."""
    if size is None:
        raise FormatError(path, None, "has boxes in shares of the sensor, whose size is not known")
    for centre, side, whole in (("cx", "w", size[0]), ("cy", "h", size[1])):
        middle, length = (_numbers(path, name, columns[name]) for name in (centre, side))
        if (length < 0).any() or (np.abs(middle) > 2).any():
            raise FormatError(path, None, f"{centre} and {side} are no shares of the sensor")
        columns[centre[1]] = (middle - length / 2) * whole
        columns[side] = length * whole


def _npy(path: Path, source: TargetFile) -> dict[str, np.ndarray]:
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise FormatError(path, None, f"is not a .npy file of targets: {error}") from None
    if isinstance(found, np.ndarray) and found.ndim == 1 and found.dtype.names:
        return {name: found[own] for name, own in _named(found.dtype.names).items()}
    order = source.columns.split()
    if isinstance(found, np.ndarray) and found.ndim == 2 and len(order) == found.shape[1]:
        return {name: found[:, i] for i, name in enumerate(order) if name != "-"}
    shape = getattr(found, "shape", "")
    raise FormatError(
        path,
        None,
        f"holds an array {shape}, expected one with named fields, or (n, {len(order) or 'k'}) "
        "with the columns that the description names",
    )


def _table(path: Path, source: TargetFile) -> dict[str, np.ndarray]:
    """Lines with commas, semicolons, tabs or spaces between the cells; brackets are ignored."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FormatError(path, None, "is not a text file; expected one target per line") from None
    rows = [(n, cells) for n, line in enumerate(lines, 1) if (cells := _cells(line))]
    order: Sequence[str] = source.columns.split()
    if not order:
        if not rows:
            raise FormatError(path, None, "is empty; expected a header with names of columns")
        header = rows.pop(0)[1]
        named = {own: name for name, own in _named(header).items()}
        order = [named.get(cell, "-") for cell in header]
    for number, cells in rows:
        if len(cells) != len(order):
            raise FormatError(
                path, None, f"line {number} has {len(cells)} columns, expected {len(order)}"
            )
    return {
        name: np.array([cells[i] for _, cells in rows])
        for i, name in enumerate(order)
        if name != "-"
    }


def _cells(line: str) -> list[str]:
    text = line.strip()
    if not text or text.startswith("#"):
        return []
    if text[0] in "([" and text[-1] in ")]":
        text = text[1:-1]
    mark = next((mark for mark in ",;\t" if mark in text), None)
    if mark is None:
        return re.split(r"\s+", text)
    return [cell.strip() for cell in next(csv.reader([text], delimiter=mark))]


def _named(names: Sequence[str]) -> dict[str, str]:
    """The names that a file has for fields, by the field."""
    lower = {name.strip().lower(): name for name in names}
    return {
        field: next(lower[known] for known in aliases if known in lower)
        for field, aliases in NAMES.items()
        if any(known in lower for known in aliases)
    }


def _numbers(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    try:
        found = values.astype(np.float64)
    except (ValueError, TypeError):
        raise FormatError(path, None, f"{name} has what is not a number: {_odd(values)}") from None
    if not np.isfinite(found).all():
        raise FormatError(path, None, f"{name} has values that are not finite")
    return found


def _odd(values: np.ndarray) -> str:
    for value in values.tolist():
        try:
            float(value)
        except (ValueError, TypeError):
            return repr(value)[:40]
    return "?"


def _times(path: Path, values: np.ndarray, factor: Fraction) -> np.ndarray:
    """Times as int64 µs, rounded to the nearest; exact for whole numbers."""
    if values.dtype.kind in "iu" and factor.denominator == 1:
        most = int(values.max(initial=0)), -int(values.min(initial=0))
        if max(most) * int(factor) < LIMIT:
            return values.astype(np.int64) * int(factor)
    numbers = _numbers(path, "t", values)
    if (np.abs(numbers) * float(factor) >= LIMIT).any():
        raise FormatError(path, None, "its times are beyond 73,000 years in µs; state their unit")
    if values.dtype.kind in "fiu":
        return np.rint(numbers * float(factor)).astype(np.int64)
    return np.array([round(Fraction(str(text)) * factor) for text in values.tolist()], np.int64)


def _classes(path: Path, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Numbers of classes; a table may have their names."""
    known: Mapping[str, int] = {name: number for number, name in enumerate(names)}
    if values.dtype.kind == "U":
        texts = values.tolist()
        if not all(re.fullmatch(r"[+-]?\d{1,9}", text) for text in texts):
            if odd := [text for text in texts if text not in known]:
                raise FormatError(
                    path, None, f"has the class {odd[0]!r}, which is none of {', '.join(names)}"
                )
            return np.array([known[text] for text in texts], np.int32)
        values = np.array(texts, np.int64) if texts else np.zeros(0, np.int64)
    numbers = _numbers(path, "class", values)
    if (numbers != np.rint(numbers)).any() or (np.abs(numbers) >= 1 << 31).any():
        raise FormatError(path, None, "has classes that are not whole numbers")
    if names and ((numbers < -1) | (numbers >= len(names))).any():
        worst = int(numbers[(numbers < -1) | (numbers >= len(names))][0])
        raise FormatError(path, None, f"has the class {worst}, expected 0..{len(names) - 1}")
    return numbers.astype(np.int32)
