"""How the files of a dataset become samples: one function per arrangement of files.

A layout lists samples without opening a recording; it reads names, sizes and label tables only.
"""

import csv
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from eventkit.datasets import Dataset
from eventkit.errors import FormatError, OptionError
from eventkit.formats import FORMATS
from eventkit.registry import unknown


@dataclass(frozen=True)
class Sample:
    """One training sample: a recording, or its part start <= t < stop (µs), and what it shows."""

    split: str
    label: int
    source: str  # path below the root, with forward slashes
    start: int | None = None
    stop: int | None = None
    columns: dict[str, str] = field(default_factory=dict)


@dataclass
class Listing:
    """All samples of a dataset in their fixed order, its classes, and what looked odd."""

    root: Path
    classes: list[str]
    samples: list[Sample]
    warnings: list[str] = field(default_factory=list)

    def splits(self) -> list[str]:
        """The splits that have samples, in the order of the description."""
        return list(dict.fromkeys(sample.split for sample in self.samples))


def find(dataset: Dataset, root: Path) -> Path | None:
    """The folder below `root` that holds the dataset's files, or None.

    Tried are root itself, the archive's top folder in it, and both below SpikingJelly's extract/.
    """
    folder: str | None = dataset.layout.get("folder")
    splits: dict[str, str] = dataset.layout.get("splits", {})
    for base in (root, root / "extract"):
        candidates: list[Path] = [base, base / folder] if folder else [base]
        for candidate in candidates:
            needed = [candidate / part for part in splits.values()]
            if candidate.is_dir() and (any(p.exists() for p in needed) if needed else True):
                return candidate
    return None


def listing(dataset: Dataset, folder: Path) -> Listing:
    """Every sample of the dataset in `folder`, in an order that no file system changes."""
    kind = dataset.layout["kind"]
    if kind not in LAYOUTS:
        raise unknown("layout", kind, LAYOUTS)
    found = LAYOUTS[kind](dataset, folder, **_options(dataset))
    counts = dict.fromkeys((*dataset.samples, *found.splits()), 0)
    for sample in found.samples:
        counts[sample.split] += 1
    for split, count in counts.items():
        published = dataset.samples.get(split, count)
        if count != published:
            found.warnings.append(f"{split} has {count:,} samples of the published {published:,}")
    return found


def _options(dataset: Dataset) -> dict[str, Any]:
    return {k: v for k, v in dataset.layout.items() if k not in ("kind", "folder")}


def class_folders(
    dataset: Dataset,
    root: Path,
    *,
    splits: dict[str, str] | None = None,
    pattern: str | None = None,
) -> Listing:
    """root/<split>/<class>/<recording>, or root/<class>/<recording> as the one split `all`.

    Without a list of classes the folders' names are the classes, numbers in order of number.
    """
    if splits is None:
        splits = _guess_splits(root)
    folders = {split: root / part for split, part in splits.items() if (root / part).is_dir()}
    seen = {name for path in folders.values() for name in _folders(path)}
    classes = list(dataset.classes) or sorted(seen, key=_natural)
    if not classes:
        raise FormatError(root, None, "no class folders; expected <class>/<recording> in it")
    warnings = [
        f"{root.name}: folder {name!r} is no class of {dataset.name}; left out"
        for name in sorted(seen - set(classes), key=_natural)
    ]
    samples = [
        Sample(split, label, str(PurePosixPath(splits[split], name, file)))
        for split, path in folders.items()
        for label, name in enumerate(classes)
        if (path / name).is_dir()
        for file in _recordings(path / name, pattern)
    ]
    if not samples:
        raise FormatError(root, None, "no recordings in its class folders")
    return Listing(root, classes, samples, warnings)


def cut_by_table(
    dataset: Dataset,
    root: Path,
    *,
    splits: dict[str, str],
    table: str,
    columns: list[str],
    first_label: int = 0,
    name: str | None = None,
) -> Listing:
    """Recordings named in one list per split, cut by a table of class, start, stop (µs) each.

    `{stem}` in `table` is the recording's name without suffix; the named groups of the pattern
    `name`, matched against it, become columns of the store. Windows are half-open. Windows that
    overlap or end before they start are kept, as published, and reported.
    """
    samples: list[Sample] = []
    warnings: list[str] = []
    for split, list_name in splits.items():
        for recording in _listed(root / list_name):
            stem = recording.rpartition(".")[0]
            source = root / recording
            if not source.is_file():
                raise FormatError(
                    root / list_name, None, f"names {recording}, which is not in {root}"
                )
            found = re.search(name, stem) if name else None
            rows = list(_windows(root / table.format(stem=stem), columns))
            warnings += _audit(recording, rows, dataset.classes, first_label)
            for label, start, stop in rows:
                if not 0 <= label - first_label < len(dataset.classes):
                    raise FormatError(
                        root / table.format(stem=stem),
                        None,
                        f"class {label} is not within {first_label}.."
                        f"{first_label + len(dataset.classes) - 1}",
                    )
                extra = found.groupdict() if found else {}
                samples.append(Sample(split, label - first_label, recording, start, stop, extra))
    if not samples:
        raise FormatError(root, None, "its split lists name no recording")
    return Listing(root, list(dataset.classes), samples, warnings)


LAYOUTS: dict[str, Callable[..., Listing]] = {
    "class_folders": class_folders,
    "cut_by_table": cut_by_table,
}


def _folders(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]


def _guess_splits(root: Path) -> dict[str, str]:
    nested = [name for name in _folders(root) if _folders(root / name)]
    return {name: name for name in sorted(nested, key=_natural)} or {"all": "."}


def _recordings(path: Path, pattern: str | None) -> list[str]:
    known = {suffix for fmt in FORMATS.values() for suffix in fmt.suffixes}
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    if pattern is not None:
        names = [n for n in names if PurePosixPath(n).match(pattern)]
    else:
        names = [n for n in names if PurePosixPath(n).suffix.lower() in known]
    return sorted(names, key=_natural)


def _natural(text: str) -> list[Any]:
    """Sorts class10 after class2, and is a total order."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]


def _listed(path: Path) -> Iterator[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise FormatError(path, None, "this list of recordings is missing") from None
    except UnicodeDecodeError:
        raise FormatError(path, None, "is not a text file; expected one name per line") from None
    seen: set[str] = set()
    for line in map(str.strip, lines):
        if not line:
            continue
        if line in seen:
            raise FormatError(path, None, f"names {line} twice")
        if PurePosixPath(line).is_absolute() or ".." in PurePosixPath(line).parts:
            raise FormatError(path, None, f"names {line!r}, which is outside the dataset")
        seen.add(line)
        yield line


def _windows(path: Path, columns: list[str]) -> Iterator[tuple[int, int, int]]:
    """Rows (class, start, stop) of a label table with a header line."""
    if len(columns) != 3:
        raise OptionError("a label table has the three columns class, start, stop")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except FileNotFoundError:
        raise FormatError(path, None, "this label table is missing") from None
    except (UnicodeDecodeError, csv.Error):
        raise FormatError(path, None, "is not a CSV table") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    if any(column not in header for column in columns):
        raise FormatError(path, None, f"its header is {header}, expected {columns}")
    places = [header.index(column) for column in columns]
    for number, row in enumerate(rows[1:], 2):
        try:
            label, start, stop = (int(row[place]) for place in places)
        except (ValueError, IndexError):
            raise FormatError(
                path, None, f"line {number} is {','.join(row)!r}, expected whole numbers {columns}"
            ) from None
        yield label, start, stop


def _audit(
    recording: str, rows: list[tuple[int, int, int]], classes: tuple[str, ...], first: int
) -> list[str]:
    """What is odd in the label windows of one recording, one sentence each."""
    notes = []
    for row, (label, start, stop) in enumerate(rows):
        if stop <= start:
            notes.append(f"{recording}: window {row + 1} (class {label}) is empty: {start}..{stop}")
    ordered = sorted(range(len(rows)), key=lambda row: rows[row][1])
    for earlier, later in pairwise(ordered):
        (a, _, stop), (b, start, _) = rows[earlier], rows[later]
        if start < stop:
            notes.append(
                f"{recording}: windows {earlier + 1} (class {a}) and {later + 1} (class {b}) "
                f"overlap by {(stop - start) / 1e6:.3f} s"
            )
    return notes
