"""A folder per class: N-MNIST, N-Caltech101, CIFAR10-DVS, N-CARS, ASL-DVS and most others."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from eventkit.datasets import Dataset
from eventkit.errors import FormatError
from eventkit.formats._packed import suffix_within
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

# What the folders of splits are often called, in small letters: the split's name here.
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}


def class_folders(
    dataset: Dataset,
    root: Path,
    *,
    splits: dict[str, Any] | None = None,
    pattern: str | None = None,
    folders: list[str] | None = None,
    count: int | None = None,
) -> Listing:
    """root/<split>/<class>/<recording>, or root/<class>/<recording> as the one split `all`.

    Without `splits`, folders that have folders are the splits, where Training and Test, say, are
    called train and test; files that become no sample are told. Stores are no class folders.
    A split may have several names, of which one is there. Without a list of classes the folders'
    names are the classes, numbers in order of number; `count` says how many there should be.
    `folders` are the names of the classes' folders where these differ.
    """
    places = guess_splits(root) if splits is None else chosen(root, splits)
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
    if not samples:
        raise FormatError(root, None, "no recordings in its class folders")
    if splits is None:
        warnings += _left_out(root, samples)
    return Listing(root, classes, samples, warnings)


def _folders(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return [e.name for e in entries if e.is_dir() and not _is_no_class(e.name)]


def _is_no_class(name: str) -> bool:
    """Whether a folder is hidden, or a store, as one that was made of the folder it is in."""
    return name.startswith(".") or ".zarr" in PurePosixPath(name).suffixes


def guess_splits(root: Path) -> dict[str, str]:
    """The folder of each split: those with class folders in them, or the root as `all`.

    FormatError if some folders look like splits and others like classes.
    """
    names = sorted(_folders(root), key=natural)
    nested = [name for name in names if _folders(root / name)]
    flat = [name for name in names if name not in nested and _recordings(root / name, None)]
    if nested and flat:
        raise FormatError(
            root,
            None,
            f"{flat[0]} in it holds recordings, {nested[0]} holds folders; expected "
            "<class>/<recording> or <split>/<class>/<recording> throughout: move the others, or "
            "say in a TOML how they are laid out",
        )
    usual = {SPLITS.get(name.lower(), name): name for name in nested}
    return (usual if len(usual) == len(nested) else dict(zip(nested, nested, strict=True))) or {
        "all": "."
    }


def _left_out(root: Path, samples: list[Sample]) -> list[str]:
    """A warning of the files that are no samples, but for hidden ones and those of stores."""
    taken = {sample.source for sample in samples}
    left = sorted((name for name in _files(root) if name not in taken), key=natural)
    if not left:
        return []
    named = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
    count = f"{len(left):,} file{'' if len(left) == 1 else 's'}"
    where = "in no class folder or with a suffix of no format"
    return [f"{root.resolve().name}: {count} left out, {where}: {named}"]


def _files(root: Path, below: str = "", depth: int = 0) -> Iterator[str]:
    """The files below a folder, at most one folder deeper than recordings can be."""
    with os.scandir(root / below) as entries:
        for entry in entries:
            if not entry.is_dir():
                yield from [] if entry.name.startswith(".") else [below + entry.name]
            elif depth < 3 and not _is_no_class(entry.name):
                yield from _files(root, f"{below}{entry.name}/", depth + 1)


def _recordings(path: Path, pattern: str | None) -> list[str]:
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    if pattern is not None:
        names = [n for n in names if PurePosixPath(n).match(pattern)]
    else:
        known = suffixes()
        names = [n for n in names if suffix_within(n) in known]
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
