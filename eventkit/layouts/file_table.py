"""One table of all samples: file, label, start, end, split. Own data with --labels FILE."""

import csv
import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from eventkit import formats
from eventkit.datasets import Dataset
from eventkit.errors import FormatError
from eventkit.layouts import LAYOUTS, UNLABELLED, Layout, Listing, Sample, natural
from eventkit.layouts.cut_by_table import audit
from eventkit.units import microseconds

NAMES = {"path": "file", "filename": "file", "class": "label", "stop": "end"}  # other names: ours
ORDER = ("file", "label", "start", "end", "split")  # of the columns where there is no header
TIMES = ("start", "end", "clock_start", "clock_end")
_TIME = re.compile(r"(start|end|clock_start|clock_end)(?:_(us|ms|s|min))?")
MOST = 1 << 24  # rows


def file_table(dataset: Dataset, root: Path, *, table: str) -> Listing:
    """A row per sample of a CSV (comma, semicolon or tab) or JSON table.

    The columns are `file` (below the root), and optionally `label`, `start`, `end` and `split`, in
    this order where the table has no header; a JSON table is a list of objects, or an object of
    labels by file. Every other column becomes a column of the store. Labels are names of the
    classes or their numbers; without `classes`, the labels themselves are the classes, numbers in
    order of number. start and end count from the first event of the recording in µs, unless their
    names say start_ms, start_s, or their values "1.5s"; clock_start and clock_end are on the
    camera's clock. Empty cells are no limit, no label or the split `all`.
    """
    path = root / table
    rows = list(_rows(path))
    classes = list(dataset.classes)
    if not classes:
        classes = sorted({_text(row.get("label")) for row in rows} - {""}, key=natural)
    numbers = {name: number for number, name in enumerate(classes)}
    splits = dict.fromkeys(_text(row.get("split")) or "all" for row in rows)
    parts: dict[str, list[Sample]] = {split: [] for split in splits}
    origins: dict[str, int] = {}
    cut: dict[str, list[tuple[int, int, int]]] = {}
    for number, row in enumerate(rows, 1):
        where = f"row {number}"
        source = _source(path, root, where, row)
        label = UNLABELLED
        if text := _text(row.get("label")):
            label = numbers.get(text, int(text) if text.isdecimal() else UNLABELLED)
            if not 0 <= label < len(classes):
                raise FormatError(path, None, f"{where} has the label {text!r}, which is no class")
        start, stop = _window(path, root, where, row, source, dataset, origins)
        if start is not None and stop is not None:
            cut.setdefault(source, []).append((label, start, stop))
        columns = {k: _text(v) for k, v in row.items() if k not in ORDER and not _TIME.fullmatch(k)}
        split = _text(row.get("split")) or "all"
        parts[split].append(Sample(split, label, source, start, stop, columns))
    warnings = [note for source, windows in cut.items() for note in audit(source, windows, "time")]
    return Listing(root, classes, [sample for part in parts.values() for sample in part], warnings)


def is_table(path: Path, root: Path) -> bool:
    """Whether a file in a folder of recordings is such a table: it has a column `file`, or a file.

    FormatError for a file that is no CSV and no JSON.
    """
    first = next(_rows(path), {})
    with path.open(encoding="utf-8-sig") as file:
        names = {_ours(cell) for cell in re.split("[,;\t]", file.readline())}
    return "file" in names or (root / _text(first.get("file"))).is_file()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table, with our names of the columns."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise FormatError(path, None, "this table of files and labels is missing") from None
    except UnicodeDecodeError:
        raise FormatError(path, None, "is not a text file; expected a CSV or JSON table") from None
    read = _of_json if path.suffix.lower() == ".json" else _of_csv
    for number, row in enumerate(read(path, text), 1):
        if number > MOST:
            raise FormatError(path, None, f"has more than {MOST:,} rows")
        yield row


def _of_json(path: Path, text: str) -> Iterator[dict[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(path, None, f"is not JSON: {error}") from None
    if isinstance(found, dict):
        found = [{"file": file, "label": label} for file, label in found.items()]
    if not isinstance(found, list) or not found or not all(isinstance(r, dict) for r in found):
        raise FormatError(path, None, 'expected a list of objects, as [{"file": ..., "label": 0}]')
    yield from ({_ours(key): value for key, value in row.items()} for row in found)


def _of_csv(path: Path, text: str) -> Iterator[dict[str, Any]]:
    first = text.partition("\n")[0]
    comma = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=comma) if any(row)]
    except csv.Error as error:
        raise FormatError(path, None, f"is not a CSV table: {error}") from None
    if not rows:
        raise FormatError(path, None, "is empty; expected the columns file and label")
    names = [_ours(cell) for cell in rows[0]]
    if "file" in names:
        rows = rows[1:]
    elif len(names) > len(ORDER):
        raise FormatError(
            path, None, f"has no column 'file' in its header, found {', '.join(rows[0])}"
        )
    else:
        names = list(ORDER[: len(names)])
    if twice := [name for name in names if names.count(name) > 1]:
        raise FormatError(path, None, f"has two columns {twice[0]!r}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            reason = f"row {number} has {len(row)} cells, expected {len(names)}: {','.join(row)}"
            raise FormatError(path, None, reason)
        yield dict(zip(names, row, strict=True))


def _ours(name: Any) -> str:
    key = str(name).strip()
    lower = key.lower()
    base, _, unit = lower.rpartition("_")
    known = {"stop": "end", "clock_stop": "clock_end"}
    if base in known:
        return f"{known[base]}_{unit}"
    lower = {**NAMES, **known}.get(lower, lower)
    return lower if lower in ORDER or _TIME.fullmatch(lower) else key


def _text(value: Any) -> str:
    if value is None:
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value).strip()


def _source(path: Path, root: Path, where: str, row: Mapping[str, Any]) -> str:
    name = PurePosixPath(_text(row.get("file")).replace("\\", "/")).as_posix()
    if name in ("", "."):
        raise FormatError(path, None, f"{where} names no file")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        reason = f"{where} names {name!r}, which is outside the folder {root}"
        raise FormatError(path, None, reason)
    if not (root / name).is_file():
        folder = (root / name).parent
        there = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        base = PurePosixPath(name).name
        near = [entry for entry in there if entry.lower() == base.lower()]
        near = near or difflib.get_close_matches(base, there, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise FormatError(path, None, f"{where} names {name!r}, which is not in {root}{hint}")
    return name


def _window(
    path: Path,
    root: Path,
    where: str,
    row: Mapping[str, Any],
    source: str,
    dataset: Dataset,
    origins: dict[str, int],
) -> tuple[int | None, int | None]:
    """Start and stop of a row on the camera's clock; `origins` are the first times of files."""
    found: dict[str, int] = {}
    for key, value in row.items():
        match, text = _TIME.fullmatch(key), _text(value)
        if match is None or not text:
            continue
        end = match[1].removeprefix("clock_")
        try:
            time = microseconds(text + (match[2] or "" if text[-1:].isdecimal() else ""))
        except ValueError as error:
            raise FormatError(
                path,
                None,
                f"{where}: {key} is {error}; state the unit in its name, as {match[1]}_ms",
            ) from None
        if end in found:
            raise FormatError(path, None, f"{where} has {key} and another {end}")
        if match[1] == end:
            if source not in origins:
                origins[source] = _first_time(root / source, dataset)
            time += origins[source]
        found[end] = time
    return found.get("start"), found.get("end")


def _first_time(path: Path, dataset: Dataset) -> int:
    """The time of the first event of a recording; 0 where it has none."""
    options: dict[str, Any] = {}
    if dataset.format is not None:
        options = dataset.reading(formats.FORMATS[dataset.format].stream)
    for events in formats.stream(path, 1024, format=dataset.format, strict=False, **options):
        if len(events):
            return int(events.t[0])
    return 0


def _marks(dataset: Dataset, *, table: str) -> list[str]:
    return [table] if not Path(table).is_absolute() else []


LAYOUTS.register(Layout("file_table", file_table, _marks))
