"""HDF5 files of many recordings, each in a group or two of its own: EBSSA and N-TIDIGITS18.

    NAME/TD/x, y, p, ts                          a recording; (n,), (1, n) or (n, 1)       EBSSA
    train_labels, test_labels                    names, as speaker-...-digits       N-TIDIGITS18
    train_addresses/NAME, train_timestamps/NAME  channels 0-63, and times in s; of test likewise

EBSSA is written by MATLAB: its coordinates begin at 1 (lowest=1). A recording of N-TIDIGITS18 has a
class where its name ends in one digit: o, 1 to 9, z. Sources: tonic/datasets/ebssa.py and
ntidigits18.py of https://github.com/neuromorphs/tonic
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats.base import FORMATS, Format, Report, Size
from eventkit.formats.tables._columns import (
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
)
from eventkit.formats.tables._hdf5_read import check, get

DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError)
DIGITS = "o123456789z"
CHANNELS = 64
PARTS = ("train", "test")


@dataclass(frozen=True)
class _Recording:
    """Where the columns of a recording are; `split` is "" in a file without splits."""

    name: str
    columns: dict[str, str]  # t, x, y, p -> path in the file
    split: str = ""


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
    recording: int | None = None,
    lowest: int = 0,
) -> Iterator[Events]:
    """Events of one recording, from 0; lowest is the coordinate of the first pixel.

    Counts: invalid.
    """
    asked = Asked(chunk, start, stop, strict, size, unit)
    with _opened(path) as file:
        found = _recordings(path, file)
        if recording is None and len(found) != 1:
            last = len(found) - 1
            raise OptionError(f"{path} holds {len(found)} recordings: recording=0 to {last}")
        if not 0 <= (recording or 0) < len(found):
            raise OptionError(f"recording is {recording}, but {path} has 0 to {len(found) - 1}")
        chosen = found[recording or 0]
        block = _block(path, file, chosen)
        known: Size | None = (CHANNELS, 1) if chosen.split else None
        told: Unit | None = "s" if chosen.split else None
        table = Table(lambda: [block], len(block[0]), known, told, lowest=lowest)
        yield from events(path, report, into, table, asked)


def _block(path: Path, file: Any, recording: _Recording) -> Block:
    columns = {}
    for name, where in recording.columns.items():
        place = get(path, file, where)
        if place is None or not hasattr(place, "shape"):
            raise FormatError(path, None, f"it has no column {where!r}")
        check_numbers(path, where, place.dtype)
        if place.ndim not in (1, 2) or (place.ndim == 2 and min(place.shape) > 1):
            raise FormatError(path, None, f"{where} has the shape {place.shape}, expected (n,)")
        check(path, place)
        columns[name] = np.ravel(place[()])
    check_lengths(path, columns)
    return block_of(columns)


def _recordings(path: Path, file: Any) -> list[_Recording]:
    """All recordings of a file in their order, by the names of its groups alone."""
    found = [
        _Recording(name, {"x": f"{part}_addresses/{name}", "t": f"{part}_timestamps/{name}"}, part)
        for part in PARTS
        if f"{part}_labels" in file
        for name in _texts(path, get(path, file, f"{part}_labels"))
    ]
    if found:
        return found
    for name in sorted(file):
        group = get(path, file, f"{name}/TD") if hasattr(file[name], "keys") else None
        columns = {} if group is None or not hasattr(group, "keys") else by_name(group)
        if {"t", "x"} <= set(columns):
            found.append(_Recording(name, {c: f"{name}/TD/{k}" for c, k in columns.items()}))
    if not found:
        named = ", ".join(sorted(file)[:5])
        reason = f"holds {named or 'nothing'}, expected groups NAME/TD or train_labels"
        raise FormatError(path, None, reason)
    return found


def _texts(path: Path, place: Any) -> list[str]:
    check(path, place)
    return [each.decode(errors="replace") for each in np.ravel(place[()]).tolist()]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    with damaged(path, DAMAGE), h5py.File(path, "r") as file:
        yield file


def _listed(path: Path) -> list[_Recording]:
    with _opened(path) as file:
        return _recordings(path, file)


def names(path: Path) -> np.ndarray:
    """The name of each recording: text (recordings,)."""
    return np.array([each.name for each in _listed(path)], str)


def splits(path: Path) -> np.ndarray:
    """The split of each recording, or "" in a file without splits: text (recordings,)."""
    return np.array([each.split for each in _listed(path)], str)


def labels(path: Path) -> np.ndarray:
    """The digit of each recording of one digit, -1 of others: int64 (recordings,)."""
    digits = [each.name.rpartition("-")[2] if each.split else "" for each in _listed(path)]
    return np.array([DIGITS.index(d) if len(d) == 1 and d in DIGITS else -1 for d in digits])


def header(path: Path) -> dict[str, Any]:
    """How many recordings there are, and in which arrangement."""
    found = _listed(path)
    return {
        "layout": "n-tidigits" if found[0].split else "groups",
        "recordings": len(found),
    }


FORMATS.register(
    Format(
        name="hdf5_groups",
        title="HDF5 of many recordings (EBSSA, N-TIDIGITS18)",
        suffixes=(".h5", ".hdf5"),
        stream=stream,
        detect=lambda head: False,  # only where it is named
        header=header,
        extras={"names": names, "splits": splits, "labels": labels},
    )
)
