"""Labels of a recording to draw over it: boxes of a .npy file, intervals of a CSV table."""

import csv
from collections.abc import Sequence
from pathlib import Path

from eventkit.boxes import GEN1, MPX, read_boxes
from eventkit.errors import FormatError, OptionError
from eventkit.units import microseconds

from .viewer import Box, Interval

STARTS = ("starttime_usec", "start_us", "start", "t_start", "begin", "onset")
STOPS = ("endtime_usec", "stop_us", "end_us", "stop", "end", "t_end", "offset")
NAMES = ("label", "class", "name", "class_id")
MOST = 1 << 24  # bytes of a table


def find_labels(recording: Path) -> Path | None:
    """The file of labels that belongs to a recording by its name, if there is one.

    Those of Gen1 and 1 Mpx (x_td.dat: x_bbox.npy) and of DVS128 Gesture (x.aedat: x_labels.csv).
    """
    stem = recording.name.partition(".")[0]
    for name in (f"{stem.removesuffix('_td')}_bbox.npy", f"{stem}_labels.csv"):
        if (path := recording.with_name(name)).is_file():
            return path
    return None


def read_labels(path: str | Path, *, width: int = 0) -> tuple[list[Interval], list[Box]]:
    """The intervals of a .csv file and the boxes of a .npy file; times in µs on its clock.

    A table has a header with start, stop and label (or class). Plain times are µs; a unit may
    follow, as 5ms. `width`, that of the sensor, says which classes numbers of boxes stand for.
    Raises FormatError for a file without these, OptionError for one of another kind.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return [], _boxes(path, width)
    if path.suffix in (".csv", ".tsv", ".txt"):
        return _intervals(path), []
    raise OptionError(f"{path} must end in .csv (intervals) or .npy (boxes)")


def _boxes(path: Path, width: int) -> list[Box]:
    classes = {304: GEN1, 1280: MPX}.get(width, ())
    found = []
    for t, x, y, w, h, number, *_ in read_boxes(path).tolist():
        name = classes[number] if number < len(classes) else f"class {number}"
        found.append(Box(t, x, y, w, h, name))
    return found


def _intervals(path: Path) -> list[Interval]:
    if path.stat().st_size > MOST:
        raise FormatError(path, None, f"has more than {MOST >> 20} MB; expected a table of labels")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    rows = list(csv.reader(lines, delimiter=delimiter))
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    columns = [_column(path, head, names) for names in (STARTS, STOPS, NAMES)]
    found = []
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        try:
            start, stop, label = (row[column].strip() for column in columns)
            begin, end = microseconds(start), microseconds(stop)
        except (ValueError, IndexError):
            text = f"line {line}: expected start, stop and label, found {','.join(row)[:80]!r}"
            raise FormatError(path, None, text) from None
        found.append(Interval(begin, end, f"class {label}" if label.isdecimal() else label))
    return found


def _column(path: Path, head: Sequence[str], names: Sequence[str]) -> int:
    for name in names:
        if name in head:
            return head.index(name)
    raise FormatError(path, None, f"the header has no column {' or '.join(names)}")
