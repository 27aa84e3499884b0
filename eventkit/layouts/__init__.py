"""How the files of a dataset become samples: one module per arrangement of files.

A layout lists samples without opening a recording; it reads names, sizes and label tables only.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from eventkit.datasets import Dataset, interrupted
from eventkit.errors import FormatError, OptionError
from eventkit.formats import FORMATS
from eventkit.layouts import _division
from eventkit.registry import Registry, bind

UNLABELLED = -1


@dataclass(frozen=True)
class Sample:
    """One training sample: a recording, or its part start <= t < stop (µs), and what it shows.

    `recording` is its number in a file of many; `label` is -1 where the dataset has no classes.
    Where `by` is events, start and stop are numbers of events in the order of the file, from 0.
    `rows` are the first row and the number of its labels in the file of labels of its recording.
    """

    split: str
    label: int
    source: str  # path below the root, with forward slashes
    start: int | None = None
    stop: int | None = None
    columns: dict[str, str] = field(default_factory=dict)
    recording: int | None = None
    by: Literal["time", "events"] = "time"
    rows: tuple[int, int] | None = None


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


@dataclass(frozen=True)
class Layout:
    """One arrangement of files; its functions take the options of [layout] as keywords.

    samples(dataset, root, **options) is the Listing of what is in `root`.
    marks(dataset, **options) are patterns of names below the root of which at least one is there;
    none means that any folder may be such a dataset.
    """

    name: str
    samples: Callable[..., Listing]
    marks: Callable[..., list[str]]


LAYOUTS: Registry[Layout] = Registry("layout", __name__, options=lambda entry: entry.samples)


def find(dataset: Dataset, root: Path) -> Path | None:
    """The folder below `root` that holds the dataset's files, or None.

    Tried are root itself, the archive's top folder in it, and both below SpikingJelly's extract/.
    A folder that a killed fetch has filled in part holds nothing yet.
    OptionError for a dataset that is known but has no layout.
    """
    _convertible(dataset)
    if interrupted(root):
        return None
    expected = marks(dataset)
    folder: str | None = dataset.layout.get("folder")
    for base in (root, root / "extract"):
        for candidate in [base, base / folder] if folder else [base]:
            if candidate.is_dir() and (not expected or _any(candidate, expected)):
                return candidate
    return None


def marks(dataset: Dataset) -> list[str]:
    """Patterns of names of which at least one is in the dataset's folder."""
    if not dataset.layout:
        return []
    layout, options, _ = _bound(dataset)
    return layout.marks(dataset, **options)


def _convertible(dataset: Dataset) -> None:
    if not dataset.layout:
        raise OptionError(
            f"{dataset.name} is known, but cannot be converted yet: {dataset.missing}. A folder of "
            "class folders, or a TOML that says how your files are laid out, can be"
        )


def listing(dataset: Dataset, folder: Path) -> Listing:
    """Every sample of the dataset in `folder`, in an order that no file system changes.

    Beside its own options each layout takes those of `_division.divide`. The known defects of the
    dataset are among the warnings.
    """
    _convertible(dataset)
    layout, options, division = _bound(dataset)
    found = _division.divide(layout.samples(dataset, folder, **options), **division)
    found.warnings += [f"known defect of {dataset.name}: {told}" for told in dataset.defects]
    if not found.samples:
        raise FormatError(folder, None, f"no recordings of {dataset.name} in it")
    counts = dict.fromkeys((*dataset.samples, *found.splits()), 0)
    for sample in found.samples:
        counts[sample.split] += 1
    for split, count in counts.items():
        published = dataset.samples.get(split, count)
        if count != published:
            found.warnings.append(f"{split} has {count:,} samples of the published {published:,}")
    return found


def _bound(dataset: Dataset) -> tuple[Layout, dict[str, Any], dict[str, Any]]:
    """The layout of a dataset, all its options, and those that every layout takes.

    OptionError for what is wrong or missing.
    """
    told: Any = dataset.layout
    if not isinstance(told, dict) or not isinstance(told.get("kind"), str):
        raise OptionError(f"{dataset.name}: [layout] is {told!r}, expected a table with a kind")
    if not isinstance(told.get("folder", ""), str):
        raise OptionError(f"{dataset.name}: [layout] folder is {told['folder']!r}, expected a text")
    layout = LAYOUTS[told["kind"]]
    given = {k: v for k, v in told.items() if k not in ("kind", "folder")}
    division = {key: given.pop(key) for key in _division.OPTIONS if key in given}
    options = bind(layout.samples, given, f"{dataset.name}: [layout] {layout.name}")
    return layout, options, division


def _any(folder: Path, patterns: list[str]) -> bool:
    return any(
        next(folder.glob(pattern), None) is not None
        if any(c in pattern for c in "*?[")
        else (folder / pattern).exists()
        for pattern in patterns
    )


def chosen(root: Path, splits: dict[str, Any]) -> dict[str, str]:
    """The name of each split below `root`: the first of its names that is there, or its first."""
    found = {}
    for split, names in splits.items():
        several = every(names)
        found[split] = next((n for n in several if (root / n).exists()), several[0])
    return found


def every(names: Any) -> list[str]:
    """All names that a split may have, at least one."""
    several = [names] if isinstance(names, str) else names
    if not (isinstance(several, list) and several and all(isinstance(n, str) for n in several)):
        raise OptionError(f"[layout]: a split is {names!r}, expected a folder or a list of them")
    return several


def suffixes() -> set[str]:
    """The suffixes of all formats that can be read."""
    return {suffix for fmt in FORMATS.values() for suffix in fmt.suffixes}


def natural(text: str) -> list[Any]:
    """Sorts class10 after class2, and is a total order."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def listed(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Lines of a list: the name of a recording, which stays within the folder, and more words."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise FormatError(path, None, "this list of recordings is missing") from None
    except UnicodeDecodeError:
        raise FormatError(path, None, "is not a text file; expected one name per line") from None
    seen: set[str] = set()
    for line in filter(None, map(str.strip, lines)):
        name, *words = line.split()
        if name in seen:
            raise FormatError(path, None, f"names {name} twice")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise FormatError(path, None, f"names {name!r}, which is outside the dataset")
        seen.add(name)
        yield name, words
