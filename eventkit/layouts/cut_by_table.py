"""Long recordings cut by a table of windows each: DVS128 Gesture, SL-Animals, N-Omniglot."""

import csv
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

from eventkit.datasets import Dataset
from eventkit.errors import FormatError, OptionError
from eventkit.layouts import LAYOUTS, Layout, Listing, Sample, every, listed, natural

Row = tuple[int, int, int]  # class, start, stop


def cut_by_table(
    dataset: Dataset,
    root: Path,
    *,
    table: str,
    columns: list[str],
    splits: dict[str, str] | None = None,
    pattern: str | None = None,
    first_label: int = 0,
    name: str | None = None,
    label: Literal["table", "folder"] = "table",
    by: Literal["time", "events"] = "time",
) -> Listing:
    """Recordings cut by a table of class, start and stop each; windows are half-open.

    The recordings are those that one list per split names, or with a `pattern`, those of it in the
    folder of each split. `{stem}` in `table` is the recording's path without suffix. `columns` are
    the three columns of the table by the names in its header, or as ["1", "2", "3"] by their places
    from 0 on, where it may have no header. start and stop are µs, or numbers of events with
    by="events". With label="folder", the class is the recording's folder below the split, `columns`
    are only start and stop, and the number of the row, from 0 on, becomes the column `row`. The
    named groups of the expression `name`, matched against the path without suffix, become columns
    too. Windows that overlap or end before they start are kept, as published, and reported.
    """
    if splits is None and pattern is None:
        raise OptionError(
            f"{dataset.name}: [layout] cut_by_table needs the option 'splits' or a pattern"
        )
    if not all(type(column) in (str, int) for column in columns) or len(columns) != (
        3 if label == "table" else 2
    ):
        wanted = "class, start, stop" if label == "table" else "start, stop"
        raise OptionError(f"[layout] columns is {columns}, expected those of {wanted}")
    recordings = list(_recordings(root, splits or {"all": "."}, pattern))
    classes = list(dataset.classes)
    if label == "folder" and not classes:
        classes = sorted({folder for _, _, folder in recordings}, key=natural)
    samples: list[Sample] = []
    warnings: list[str] = []
    for split, recording, folder in recordings:
        stem = recording.rpartition(".")[0]
        path = root / table.format(stem=stem)
        found = re.search(name, stem) if name else None
        rows = list(_windows(path, columns))
        if label == "folder":
            if folder not in classes:
                raise FormatError(root / recording, None, f"its folder {folder!r} is no class")
            rows = [(classes.index(folder) + first_label, *row[1:]) for row in rows]
        warnings += audit(recording, rows, by)
        for number, (told, start, stop) in enumerate(rows):
            if not 0 <= told - first_label < len(classes):
                last = first_label + len(classes) - 1
                reason = f"class {told} is not within {first_label}..{last}"
                raise FormatError(path, None, reason)
            extra = found.groupdict() if found else {}
            if label == "folder":
                extra = {"row": str(number), **extra}
            samples.append(
                Sample(split, told - first_label, recording, start, stop, extra, None, by)
            )
    if not samples:
        raise FormatError(root, None, "its split lists name no recording")
    return Listing(root, classes, samples, warnings)


def _recordings(
    root: Path, splits: dict[str, str], pattern: str | None
) -> Iterator[tuple[str, str, str]]:
    """Split, path below the root, and folder below the split of each recording."""
    for split, place in splits.items():
        if pattern is not None:
            below = root / place
            paths = [p.relative_to(below) for p in below.glob(pattern) if p.is_file()]
            for path in sorted(paths, key=lambda p: natural(p.as_posix())):
                yield split, (Path(place) / path).as_posix(), path.parent.as_posix()
            continue
        for recording, _ in listed(root / place):
            if not (root / recording).is_file():
                reason = f"names {recording}, which is not in {root}"
                raise FormatError(root / place, None, reason)
            yield split, recording, Path(recording).parent.as_posix()


def _windows(path: Path, columns: list[str]) -> Iterator[Row]:
    """Rows (class, start, stop) of a label table; the class is 0 where it has no such column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except FileNotFoundError:
        raise FormatError(path, None, "this label table is missing") from None
    except (UnicodeDecodeError, csv.Error):
        raise FormatError(path, None, "is not a CSV table") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    first = 1
    places = [int(column) for column in columns if column.isdecimal()]
    if len(places) < len(columns):
        if any(column not in header for column in columns):
            raise FormatError(path, None, f"its header is {header}, expected {columns}")
        places = [header.index(column) for column in columns]
    elif all(_whole(header[place]) for place in places if place < len(header)):
        first = 0  # it has no header
    for number, row in enumerate(rows[first:], first + 1):
        try:
            *label, start, stop = (int(row[place]) for place in places)
        except (ValueError, IndexError):
            reason = f"line {number} is {','.join(row)!r}, expected whole numbers {columns}"
            raise FormatError(path, None, reason) from None
        yield (label or [0])[0], start, stop


def _whole(text: str) -> bool:
    return re.fullmatch(r"-?\d+", text) is not None


def audit(recording: str, rows: list[Row], by: str) -> list[str]:
    """What is odd in the label windows of one recording, one sentence each."""
    notes = []
    for row, (label, start, stop) in enumerate(rows):
        if stop <= start:
            notes.append(f"{recording}: window {row + 1} (class {label}) is empty: {start}..{stop}")
    ordered = sorted(range(len(rows)), key=lambda row: rows[row][1])
    for earlier, later in pairwise(ordered):
        (a, _, stop), (b, start, _) = rows[earlier], rows[later]
        if start < stop:
            much = f"{(stop - start) / 1e6:.3f} s" if by == "time" else f"{stop - start:,} events"
            notes.append(
                f"{recording}: windows {earlier + 1} (class {a}) and {later + 1} (class {b}) "
                f"overlap by {much}"
            )
    return notes


def _marks(
    dataset: Dataset,
    *,
    splits: dict[str, str] | None = None,
    pattern: str | None = None,
    **_: object,
) -> list[str]:
    places = [place for told in (splits or {"all": "."}).values() for place in every(told)]
    return places if pattern is None else [(Path(place) / pattern).as_posix() for place in places]


LAYOUTS.register(Layout("cut_by_table", cut_by_table, _marks))
