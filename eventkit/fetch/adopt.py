"""Data that is on the disk already: archives downloaded by hand, folders of other libraries.

A folder is not copied but linked to, after it was recognised: the dataset's own layout at its top
or below (as SpikingJelly's extract/ and Tonic's NAME/), or the archives themselves (SpikingJelly's
download/). Copies that another library has cut or rounded are not taken for the original.
"""

import os
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eventkit import datasets, formats, layouts
from eventkit.datasets import Dataset, SourceFile
from eventkit.errors import EventkitError, FetchFailed
from eventkit.fetch.download import Progress, check, locked
from eventkit.fetch.place import Place


def adopt(
    name: str | Path,
    sources: list[str | Path],
    *,
    root: str | Path | None = None,
    copy: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make archives or a folder that are there the data of a dataset at `root`; the summary.

    Archives are checked and unpacked; they stay as they are. A folder is linked to, or copied
    if `copy`. Raises FetchFailed when something is not what it should be.
    """
    started = time.perf_counter()
    dataset = datasets.load(name)
    place = Place(Path(root) if root is not None else datasets.default_root(name))
    taken: list[str] = []
    notes: list[str] = []
    for source in map(Path, sources):
        if source.is_dir():
            taken += _folder(dataset, source, place, copy, progress, notes)
        elif source.is_file():
            taken.append(_archive(dataset, source, place, progress, notes))
        else:
            raise FetchFailed(f"{source}: no such file or folder")
    missing = [s.name for s in place.missing(dataset)] if place.unpacked else []
    if missing:
        notes.append(f"still missing: {', '.join(missing)}")
    samples, warnings = _samples(dataset, place)
    return {
        "dataset": dataset.name,
        "root": str(place.root),
        "taken": taken,
        "missing": missing,
        "samples": samples,
        "seconds": time.perf_counter() - started,
        "warnings": [*notes, *warnings],
    }


def _archive(
    dataset: Dataset, path: Path, place: Place, progress: Progress | None, notes: list[str]
) -> str:
    """Check and unpack one file of the dataset, known by its name or by its checksum."""
    source = _known(dataset, path, progress)
    check(source, path, progress)
    if not source.sums:
        notes.append(f"{path.name}: its publisher gives no checksum, so it was not checked")
    place.begin()
    with locked(place.folder / f"{source.name}.lock"):
        place.take(source, path, progress, nested=source.nested)
    return str(path)


def _known(dataset: Dataset, path: Path, progress: Progress | None) -> SourceFile:
    for source in dataset.files:
        if source.name == path.name:
            return source
    for source in dataset.files:  # renamed, as by a browser: "Train (1).zip"
        if source.sums:
            try:
                check(source, path, progress)
            except FetchFailed:
                continue
            return source
    names = ", ".join(source.name for source in dataset.files) or "no archives"
    raise FetchFailed(
        f"{path}: is none of the files of {dataset.name} ({names}), neither by name nor by checksum"
    )


def _folder(
    dataset: Dataset,
    path: Path,
    place: Place,
    copy: bool,
    progress: Progress | None,
    notes: list[str],
) -> list[str]:
    """Link to the data in a folder, or take the archives in it."""
    found = _recognised(dataset, path)
    if found is not None:
        _prove(dataset, found)
        _link(found, place, copy)
        return [str(found)]
    archives = [
        folder / source.name
        for source in dataset.files
        for folder in (path, path / "download", path / dataset.name)
        if (folder / source.name).is_file()
    ]
    if archives:
        return [_archive(dataset, archive, place, progress, notes) for archive in archives]
    raise FetchFailed(_unknown(dataset, path))


def _recognised(dataset: Dataset, path: Path) -> Path | None:
    """The folder in the dataset's own layout at `path`, below extract/ or one folder further."""
    below = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    for base in (path, *below):
        found = layouts.find(dataset, base)
        if found is not None:
            return found
    return None


def _unknown(dataset: Dataset, path: Path) -> str:
    """Why a folder is not the dataset's: what it is instead, if that can be told."""
    for other in map(datasets.load, datasets.names()):
        if other.name != dataset.name and other.layout and _is(other, path):
            return (
                f"{path}: holds {other.title or other.name}, not {dataset.title}; "
                f"run eventkit adopt {other.name} {shlex.quote(str(path))}"
            )
    names = {entry.name for entry in path.iterdir()}
    if "events_np" in names:
        return (
            f"{path}: holds only SpikingJelly's own copy of the events (events_np), not the "
            "original recordings; eventkit convert "
            f"{shlex.quote(str(path / 'events_np'))} reads it as it is"
        )
    if any(entry.startswith(("frames_number_", "duration_")) for entry in names):
        return f"{path}: holds only frames made by SpikingJelly; the recordings are needed"
    everywhere = any("**" in mark for mark in layouts.marks(dataset))  # was looked for already
    places = () if everywhere else _below(path)
    deeper = next((found for p in places if (found := layouts.find(dataset, p))), None)
    if deeper is not None:
        return (
            f"{path}: holds {dataset.title or dataset.name} further down; "
            f"run eventkit adopt {dataset.name} {shlex.quote(str(deeper))}"
        )
    expected = ", ".join(layouts.marks(dataset)) or "its recordings"
    archives = ", ".join(source.name for source in dataset.files)
    return f"{path}: no data of {dataset.name} there; expected {expected}" + (
        f", or {archives}" if archives else ""
    )


def _below(path: Path, depth: int = 3) -> Iterator[Path]:
    """The folders below a folder, so deep; not the hidden ones."""
    for entry in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        yield entry
        if depth > 1:
            yield from _below(entry, depth - 1)


def _is(dataset: Dataset, path: Path) -> bool:
    """Whether a folder is that dataset beyond doubt: by a name of its own, or by its classes.

    Names that any dataset may have say nothing: train, *.h5.
    """
    found = _recognised(dataset, path)
    if found is None:
        return False
    try:
        samples = layouts.listing(dataset, found).samples
    except EventkitError:
        return False
    names = [Path(mark).name for mark in layouts.marks(dataset)]
    if not any(name.startswith(("*", ".", "train", "val", "test")) for name in names):
        return True
    return bool(dataset.classes) and any(sample.label >= 0 for sample in samples)


def _prove(dataset: Dataset, folder: Path) -> None:
    """FetchFailed unless the first recording can be read."""
    found = layouts.listing(dataset, folder)
    sample = found.samples[0]
    path = folder / sample.source
    options: dict[str, Any] = {} if sample.recording is None else {"recording": sample.recording}
    try:
        fmt = formats.FORMATS[dataset.format] if dataset.format else formats.guess(path)
        options |= dataset.reading(fmt.stream)
        next(iter(formats.stream(path, 1000, format=fmt.name, **options)))
    except EventkitError as error:
        raise FetchFailed(f"{folder}: its first recording cannot be read: {error}") from None


def _link(found: Path, place: Place, copy: bool) -> None:
    found, root = found.resolve(), place.root
    if root.resolve() == found or (root / "extract").resolve() == found:
        return
    if root.is_symlink() or (root.exists() and not root.is_dir()):
        raise FetchFailed(f"{root}: is there already; remove it or choose another --root")
    if root.exists() and any(root.iterdir()):
        raise FetchFailed(f"{root}: is not empty; choose another --root")
    root.parent.mkdir(parents=True, exist_ok=True)
    if root.exists():
        root.rmdir()
    if copy:
        part = root.with_name(f".{root.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(found, part)
        os.sync()  # the name of the whole folder must not survive a power failure without its files
        part.rename(root)
    else:
        root.symlink_to(found, target_is_directory=True)


def _samples(dataset: Dataset, place: Place) -> tuple[dict[str, int], list[str]]:
    folder = layouts.find(dataset, place.root)
    if folder is None:
        return {}, []
    found = layouts.listing(dataset, folder)
    counts: dict[str, int] = {}
    for sample in found.samples:
        counts[sample.split] = counts.get(sample.split, 0) + 1
    return counts, found.warnings
