"""Times at which a recording is cut: those of a file, of its labels, of its images, and its ends.

All are int64 µs on the camera's clock, as the events have them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from eventkit import formats
from eventkit.errors import FormatError, OptionError

UNITS = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "µs": Fraction(1),
    "ms": Fraction(1000),
    "s": Fraction(1_000_000),
}
# A column of times, with its unit or without: t, ts, timestamp_us, "time [ms]", exposure_start_s.
_TIME = re.compile(
    r"(?:.*[_ ])?(?:t|ts|times?|timestamps?)(?:[_ ]+(ns|us|µs|ms|s)| *[\[(](ns|us|µs|ms|s)[\])])?",
    re.I,
)
_BRACKETS = re.compile(r"(?:t|ts|times?|timestamps?) *[\[(]([^\])]*)[\])]", re.I)
# Where data sets keep times beside a recording: {folder} and {stem} are those of the recording.
LABELS = {
    "Gen1, 1 Mpx": "{folder}/{sequence}_bbox.npy",
    "DSEC-Detection": "{folder}/../../object_detections/left/tracks.npy",
}
IMAGES = {
    "DSEC": "{folder}/../../images/timestamps.txt",
    "TUM-VIE": "{folder}/{sequence}-vi_gt_data/left_images/image_timestamps_left.txt",
    "TUM-VIE, unpacked beside it": "{folder}/left_images/image_timestamps_left.txt",
}
MOST = 1 << 24  # times in a file
LIMIT = 1 << 61  # µs


def filled(pattern: str, source: str) -> str:
    """A name with {stem}, {folder}, {parent} or {sequence} of a recording put in.

    {parent} is the name of its folder, as in "labels/{parent}/{sequence}.txt" of a parallel tree.
    {stem} is its path without suffixes, {sequence} its name without suffixes and without the part
    that says what it holds (_td, _events, -events_left).

    >>> filled("{folder}/{sequence}_bbox.npy", "train/17-03-30_td.dat")
    'train/17-03-30_bbox.npy'
    """
    path = PurePosixPath(source)
    name = path.name.partition(".")[0] or path.name
    sequence = re.sub(r"[_-](td|events|events_left|events_right)$", "", name)
    values = {"folder": str(path.parent), "parent": path.parent.name}
    values |= {"stem": str(path.parent / name), "sequence": sequence}
    for key, value in values.items():
        pattern = pattern.replace(f"{{{key}}}", value)
    return str(PurePosixPath(pattern)) if pattern.startswith("./") else pattern


def beside(root: Path, source: str, places: Mapping[str, str]) -> Path | None:
    """The first of these files that is there."""
    found = (root / filled(place, source) for place in places.values())
    return next((path for path in found if path.is_file()), None)


def of_images(path: Path, root: Path, source: str, format: str | None) -> np.ndarray:
    """The times of the images of a recording: those in it, or in a file beside it.

    OptionError where there are none.
    """
    found = formats.frame_times(path, format=format)
    if len(found):
        return checked(path, found, Fraction(1))
    file = beside(root, source, IMAGES)
    if file is None:
        raise OptionError(
            f"{path}: no image times in it or beside it; expected images in the recording, or "
            f"{_expected(source, IMAGES)}; give a file of times instead of frames"
        )
    return of_file(file)


def of_labels(root: Path, source: str) -> np.ndarray:
    """The times of the labels in a file beside a recording. OptionError where there is none."""
    file = beside(root, source, LABELS)
    if file is None:
        raise OptionError(
            f"{root / source}: no label times beside it; expected "
            f"{_expected(source, LABELS)}; give a file of times instead of labels"
        )
    return of_file(file)


def _expected(source: str, places: Mapping[str, str]) -> str:
    return ", ".join(f"{filled(place, source)} ({name})" for name, place in places.items())


def of_file(path: Path, unit: str | None = None) -> np.ndarray:
    """The times in a .npy, .csv or .txt file, in its order: int64 µs (n,).

    A table has its times in the first column called t, ts, time or timestamp, maybe with a unit
    (t_ms, "timestamp [us]"), or else in the first column. `unit` is that of the numbers where no
    name says it; µs by default. FormatError for what is not such a file.
    """
    if unit is not None and unit not in UNITS:
        raise OptionError(f"the unit of times is {unit!r}, expected one of {', '.join(UNITS)}")
    try:
        read = _of_npy if path.suffix.lower() == ".npy" else _of_text
        return read(path, unit)
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from None


def _of_npy(path: Path, unit: str | None) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise FormatError(path, None, f"is not a .npy file of times: {error}") from None
    if isinstance(found, np.ndarray) and found.dtype.names is not None:
        column, named = _column(path, found.dtype.names)
        found, unit = found[found.dtype.names[column]], _agreed(path, named, unit)
    elif isinstance(found, np.ndarray) and found.ndim == 2 and found.shape[1]:
        found = found[:, 0]
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.kind not in "iuf":
        raise FormatError(path, None, "expected a list of times, or a table with a column t")
    return checked(path, found, UNITS[unit or "us"])


def _of_text(path: Path, unit: str | None) -> np.ndarray:
    """Lines of numbers between commas, semicolons, tabs or spaces; a header may be a comment."""
    column = 0
    times: list[int] = []
    factor = UNITS[unit or "us"]
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, cells in _rows(file):
                if not times and (named := _header(path, cells)) is not None:
                    column, stated = named
                    factor = UNITS[_agreed(path, stated, unit) or "us"]
                    continue
                if cells[0].startswith("#"):
                    continue
                times.append(_number(path, number, cells, column, factor))
                if len(times) > MOST:
                    raise FormatError(path, None, f"has more than {MOST:,} times")
    except UnicodeDecodeError:
        raise FormatError(path, None, "is not a text file; expected one time per line") from None
    return np.array(times, np.int64)


def _rows(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text:
            cells = re.split(r"[,;\t]", text) if re.search(r"[,;\t]", text) else text.split()
            yield number, [cell.strip() for cell in cells]


def _agreed(path: Path, stated: str | None, asked: str | None) -> str | None:
    """The unit that a file states or the user gives; OptionError if they differ."""
    if stated is not None and asked is not None and UNITS[stated] != UNITS[asked]:
        raise OptionError(f"{path}: the unit of its times is {stated}, but {asked} was given")
    return stated or asked


def _header(path: Path, cells: Sequence[str]) -> tuple[int, str | None] | None:
    """The column of times and its unit, where a line has names instead of numbers."""
    text = re.sub(r"^#\s*", "", "\t".join(cells))
    names = re.sub(r"\t(?=[\[(])", " ", text).split("\t")  # a unit in brackets is not a column
    if any(map(_is_number, names)):
        return None
    if any(_TIME.fullmatch(name) or _BRACKETS.fullmatch(name) for name in names):
        return _column(path, names)
    return None if cells[0].startswith("#") else (0, None)


def _column(path: Path, names: Sequence[str]) -> tuple[int, str | None]:
    """The first column whose name is that of a time, and the unit in the name."""
    for name in names:
        brackets = _BRACKETS.fullmatch(name.strip())
        if brackets is not None and brackets[1].lower() not in UNITS:
            known = ", ".join(UNITS)
            raise OptionError(
                f"{path}: {name.strip()!r} has an unknown unit; expected one of {known}"
            )
    for number, name in enumerate(names):
        if match := _TIME.fullmatch(name.strip()):
            unit = match[1] or match[2]
            return number, unit.lower() if unit else None
    return 0, None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(path: Path, line: int, cells: Sequence[str], column: int, factor: Fraction) -> int:
    try:
        text = cells[column]
        time = round(Fraction(text) * factor)
    except (ValueError, IndexError, ZeroDivisionError):
        raise FormatError(
            path,
            None,
            f"line {line} is {','.join(cells):.80}, expected a time in column {column + 1}",
        ) from None
    if abs(time) >= LIMIT:
        raise FormatError(path, None, f"line {line}: {text:.40} is beyond 73,000 years in µs")
    return time


def checked(path: Path, times: np.ndarray, factor: Fraction) -> np.ndarray:
    """Numbers of any type as int64 µs. FormatError for what no clock shows."""
    if len(times) > MOST:
        raise FormatError(path, None, f"has {len(times):,} times, expected at most {MOST:,}")
    if not len(times):
        return np.empty(0, np.int64)
    low, high = times.min(), times.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise FormatError(path, None, "its times are not all numbers")
    if max(abs(Fraction(low.item())), abs(Fraction(high.item()))) * factor >= LIMIT:
        raise FormatError(path, None, "its times are beyond 73,000 years in µs; state their unit")
    if times.dtype.kind == "f":
        return np.rint(times.astype(np.float64) * float(factor)).astype(np.int64)
    whole = times.astype(np.int64)
    if factor >= 1:
        return whole * int(factor)
    step = factor.denominator  # of ns: to the nearest µs, halves up
    return (whole + step // 2) // step


def span(path: Path, format: str | None, options: Mapping[str, Any]) -> tuple[int, int] | None:
    """The first and the last time of a recording; None where it has no events."""
    first, last, n = counted_span(path, format, options)
    return (first, last) if n else None


def counted_span(
    path: Path, format: str | None, options: Mapping[str, Any]
) -> tuple[int, int, int]:
    """The first and the last time of a recording and its number of events; (0, -1, 0) without."""
    low, high, n = LIMIT, -LIMIT, 0
    for events in formats.stream(path, format=format, **options):
        if len(events):
            low, high = min(low, int(events.t.min())), max(high, int(events.t.max()))
            n += len(events)
    return (low, high, n) if n else (0, -1, 0)
