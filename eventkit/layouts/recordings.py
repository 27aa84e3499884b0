"""Recordings known by their names: NavGesture by class, DSEC and Gen1 without classes."""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from eventkit.datasets import Dataset
from eventkit.layouts import LAYOUTS, UNLABELLED, Layout, Listing, Sample, chosen, every, natural


def recordings(
    dataset: Dataset,
    root: Path,
    *,
    pattern: str,
    splits: dict[str, Any] | None = None,
    name: str | None = None,
    codes: list[str] | None = None,
    first_label: int | None = None,
    cameras: int | None = None,
) -> Listing:
    """Every file of the pattern, which may name folders (*/events.h5), in the order of its name.

    The named groups of the expression `name`, matched against the path below the split, become
    columns; a group `class` is the label by its place in `codes`, which are the names of the
    classes unless told, or as a number that begins at `first_label`. Otherwise there are no labels.
    Of a file of several `cameras`, each is a sample, with its number, from 0, in the column
    `camera`.
    """
    if first_label is not None:
        codes = [str(first_label + i) for i in range(len(dataset.classes))]
    elif codes is None and name is not None and "(?P<class>" in name:
        codes = list(dataset.classes)
    samples: list[Sample] = []
    warnings: list[str] = []
    for split, place in chosen(root, splits or {"all": "."}).items():
        below = root / place
        paths = [p.relative_to(below).as_posix() for p in below.glob(pattern) if p.is_file()]
        odd = 0
        for path in sorted(paths, key=natural):
            found = re.search(name, path) if name else None
            columns = found.groupdict() if found else {}
            code = columns.pop("class", None)
            if first_label is not None and code is not None and code.isdecimal():
                code = str(int(code))
            if codes is not None and code not in codes:
                odd += 1
                continue
            label = UNLABELLED if codes is None else codes.index(str(code))
            sample = Sample(split, label, str(PurePosixPath(place, path)), columns=columns)
            samples += [sample] if cameras is None else _of_cameras(sample, cameras)
        if odd:
            warnings.append(f"{split}: {odd:,} files have no known class in their name; left out")
    return Listing(root, list(dataset.classes), samples, warnings)


def _of_cameras(sample: Sample, cameras: int) -> list[Sample]:
    """The samples of a file, one of each camera."""
    return [
        replace(sample, columns={**sample.columns, "camera": str(n)}, recording=n)
        for n in range(cameras)
    ]


def _marks(
    dataset: Dataset, *, pattern: str, splits: dict[str, Any] | None = None, **_: object
) -> list[str]:
    bases = [name for names in (splits or {"": "."}).values() for name in every(names)]
    return [str(PurePosixPath(base, pattern)) for base in bases]


LAYOUTS.register(Layout("recordings", recordings, _marks))
