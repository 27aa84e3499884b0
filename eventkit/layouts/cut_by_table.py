"""Recordings named in one list per split, and cut by a table of windows: DVS128 Gesture."""

import csv
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from eventkit.datasets import Dataset
from eventkit.errors import FormatError, OptionError
from eventkit.layouts import LAYOUTS, Layout, Listing, Sample, listed


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
        for recording, _ in listed(root / list_name):
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


def _marks(dataset: Dataset, *, splits: dict[str, str], **_: object) -> list[str]:
    return list(splits.values())


LAYOUTS.register(Layout("cut_by_table", cut_by_table, _marks))
