"""A folder per class: N-MNIST, N-Caltech101, CIFAR10-DVS, N-CARS, ASL-DVS and most others."""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from eventkit.datasets import Dataset
from eventkit.errors import FormatError
from eventkit.layouts import (
    LAYOUTS,
    Layout,
    Listing,
    Sample,
    chosen,
    every,
    natural,
    suffixes,
)


def class_folders(
    dataset: Dataset,
    root: Path,
    *,
    splits: dict[str, Any] | None = None,
    pattern: str | None = None,
    folders: list[str] | None = None,
    count: int | None = None,
    by_number: dict[str, list[int]] | None = None,
) -> Listing:
    """root/<split>/<class>/<recording>, or root/<class>/<recording> as the one split `all`.

    A split may have several names, of which one is there. Without a list of classes the folders'
    names are the classes, numbers in order of number; `count` says how many there should be.
    `folders` are the names of the classes' folders where these differ. by_number divides a set
    that has no splits by the last number in a file's name: { test = [0, 99], train = [100, 999] }.
    """
    places = _guess_splits(root) if splits is None else chosen(root, splits)
    if by_number is not None:
        places = {"": "."}
    there = {split: root / part for split, part in places.items() if (root / part).is_dir()}
    seen = {name for path in there.values() for name in _folders(path)}
    classes = list(dataset.classes) or sorted(seen, key=natural)
    if not classes:
        raise FormatError(root, None, "no class folders; expected <class>/<recording> in it")
    names = folders or classes
    warnings = [
        f"{root.name}: folder {name!r} is no class of {dataset.name}; left out"
        for name in sorted(seen - set(names), key=natural)
    ]
    if count is not None and len(classes) != count:
        warnings.append(
            f"{root.name}: {len(classes)} class folders, {dataset.name} has {count}; the labels "
            "number those that are there"
        )
    samples = [
        Sample(split, label, str(PurePosixPath(places[split], name, file)))
        for split, path in there.items()
        for label, name in enumerate(names)
        if (path / name).is_dir()
        for file in _recordings(path / name, pattern)
    ]
    if by_number is not None:
        samples = _divided(samples, by_number, warnings)
    if not samples:
        raise FormatError(root, None, "no recordings in its class folders")
    return Listing(root, classes, samples, warnings)


def _divided(
    samples: list[Sample], by_number: dict[str, list[int]], warnings: list[str]
) -> list[Sample]:
    """The samples in splits by their number; those without a split are counted."""
    divided: dict[str, list[Sample]] = {split: [] for split in by_number}
    left = 0
    for sample in samples:
        numbers = re.findall(r"\d+", PurePosixPath(sample.source).stem)
        number = int(numbers[-1]) if numbers else -1
        split = next((s for s, (low, high) in by_number.items() if low <= number <= high), None)
        if split is None:
            left += 1
        else:
            moved = Sample(split, sample.label, sample.source)
            divided[split].append(moved)
    if left:
        warnings.append(f"{left:,} recordings have a number that is in no split; left out")
    return [sample for part in divided.values() for sample in part]


def _folders(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]


def _guess_splits(root: Path) -> dict[str, str]:
    nested = [name for name in _folders(root) if _folders(root / name)]
    return {name: name for name in sorted(nested, key=natural)} or {"all": "."}


def _recordings(path: Path, pattern: str | None) -> list[str]:
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    if pattern is not None:
        names = [n for n in names if PurePosixPath(n).match(pattern)]
    else:
        known = suffixes()
        names = [n for n in names if PurePosixPath(n).suffix.lower() in known]
    return sorted(names, key=natural)


def _marks(
    dataset: Dataset,
    *,
    splits: dict[str, Any] | None = None,
    folders: list[str] | None = None,
    **_: object,
) -> list[str]:
    bases = [name for names in (splits or {"": "."}).values() for name in every(names)]
    names = folders or list(dataset.classes)
    if not names:
        return [] if splits is None else bases
    return [str(PurePosixPath(base, name)) for base in bases for name in names]


LAYOUTS.register(Layout("class_folders", class_folders, _marks))
