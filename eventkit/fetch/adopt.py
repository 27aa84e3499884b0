"""Use data that is already on disk: archives downloaded by hand, folders of other libraries.

A recognised folder is linked to, not copied. It may contain the dataset's own layout, at the top or
one level below (SpikingJelly's extract/, Tonic's NAME/), or the archives (SpikingJelly's
download/). Copies that another library has split or rounded are not accepted as the original.
"""

import os
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eventkit import datasets, formats, layouts
from eventkit._write import sync
from eventkit.datasets import Dataset, SourceFile
from eventkit.errors import EventkitError, FetchFailed
from eventkit.fetch.download import Progress, check, locked
from eventkit.fetch.files import DatasetFiles


def adopt(
    name: str | Path,
    sources: list[str | Path],
    *,
    root: str | Path | None = None,
    copy: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Install archives or folders that are already on disk as a dataset at `root`.

    Returns a summary with the keys dataset, root, taken (the paths used), missing (files),
    samples (count by split), seconds and warnings. Archives are verified and unpacked and left
    unchanged. A folder is linked to, or copied if `copy`. Raises FetchFailed if a source does not
    exist, does not match its checksum or is not data of this dataset.
    """
    started = time.perf_counter()
    dataset = datasets.load(name)
    data = DatasetFiles(Path(root) if root is not None else datasets.default_root(name))
    taken: list[str] = []
    notes: list[str] = []
    for source in map(Path, sources):
        if source.is_dir():
            taken += _folder(dataset, source, data, copy, progress, notes)
        elif source.is_file():
            taken.append(_archive(dataset, source, data, progress, notes))
        else:
            raise FetchFailed(f"{source}: no such file or folder")
    missing = [s.name for s in data.missing(dataset)] if data.unpacked else []
    if missing:
        notes.append(f"still missing: {', '.join(missing)}")
    samples, warnings = _samples(dataset, data)
    return {
        "dataset": dataset.name,
        "root": str(data.root),
        "taken": taken,
        "missing": missing,
        "samples": samples,
        "seconds": time.perf_counter() - started,
        "warnings": [*notes, *warnings],
    }


def _archive(
    dataset: Dataset, path: Path, data: DatasetFiles, progress: Progress | None, notes: list[str]
) -> str:
    """Verify and unpack one file of the dataset, identified by its name or checksum."""
    source = _known(dataset, path, progress)
    check(source, path, progress)
    if not source.sums:
        notes.append(f"{path.name}: not verified, because its publisher provides no checksum")
    data.create()
    with locked(data.folder / f"{source.name}.lock"):
        data.install(source, path, progress, nested=source.nested)
    return str(path)


def _known(dataset: Dataset, path: Path, progress: Progress | None) -> SourceFile:
    for source in dataset.files:
        if source.name == path.name:
            return source
    for source in dataset.files:  # renamed, e.g. by a browser: "Train (1).zip"
        if source.sums:
            try:
                check(source, path, progress)
            except FetchFailed:
                continue
            return source
    names = ", ".join(source.name for source in dataset.files) or "no archives"
    raise FetchFailed(
        f"{path}: is not a file of {dataset.name}; neither its name nor its checksum matches "
        f"{names}"
    )


def _folder(
    dataset: Dataset,
    path: Path,
    data: DatasetFiles,
    copy: bool,
    progress: Progress | None,
    notes: list[str],
) -> list[str]:
    """Link to the data in a folder, or install the archives in it."""
    found = _recognised(dataset, path)
    if found is not None:
        _check_readable(dataset, found)
        _link(found, data, copy)
        return [str(found)]
    archives = [
        folder / source.name
        for source in dataset.files
        for folder in (path, path / "download", path / dataset.name)
        if (folder / source.name).is_file()
    ]
    if archives:
        return [_archive(dataset, archive, data, progress, notes) for archive in archives]
    raise FetchFailed(_unknown(dataset, path))


def _recognised(dataset: Dataset, path: Path) -> Path | None:
    """The folder with the dataset's own layout: `path`, or one or two levels below it."""
    below = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    for base in (path, *below):
        found = layouts.find(dataset, base)
        if found is not None:
            return found
    return None


def _unknown(dataset: Dataset, path: Path) -> str:
    """Why a folder is rejected, including what it contains instead if that is recognised."""
    for other in map(datasets.load, datasets.names()):
        if other.name != dataset.name and other.layout and _is(other, path):
            return (
                f"{path}: contains {other.title or other.name}, not {dataset.title}; "
                f"run: eventkit adopt {other.name} {shlex.quote(str(path))}"
            )
    names = {entry.name for entry in path.iterdir()}
    if "events_np" in names:
        return (
            f"{path}: contains only SpikingJelly's copy of the events (events_np), not the "
            "original recordings; to convert the copy, run: eventkit convert "
            f"{shlex.quote(str(path / 'events_np'))}"
        )
    if any(path.glob("*/*/event_representations_v2")):
        return (
            f"{path}: contains only tensors that RVT has made, not the original recordings; "
            "eventkit.conversion.preprocessed.adopt makes a store of them"
        )
    if any(entry.startswith(("frames_number_", "duration_")) for entry in names):
        return f"{path}: contains only frames created by SpikingJelly; expected recordings"
    everywhere = any("**" in mark for mark in layouts.marks(dataset))  # was looked for already
    places = () if everywhere else _below(path)
    deeper = next((found for p in places if (found := layouts.find(dataset, p))), None)
    if deeper is not None:
        return (
            f"{path}: contains {dataset.title or dataset.name} in a subfolder; "
            f"run: eventkit adopt {dataset.name} {shlex.quote(str(deeper))}"
        )
    expected = ", ".join(layouts.marks(dataset)) or "its recordings"
    archives = ", ".join(source.name for source in dataset.files)
    return f"{path}: contains no data of {dataset.name}; expected {expected}" + (
        f", or {archives}" if archives else ""
    )


def _below(path: Path, depth: int = 3) -> Iterator[Path]:
    """Yield the folders below a folder, up to `depth` levels, without the hidden ones."""
    for entry in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        yield entry
        if depth > 1:
            yield from _below(entry, depth - 1)


def _is(dataset: Dataset, path: Path) -> bool:
    """Whether a folder is certainly that dataset: by a name of its own, or by its classes.

    Names that any dataset may use identify nothing: train, *.h5.
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


def _check_readable(dataset: Dataset, folder: Path) -> None:
    """Raise FetchFailed unless the first recording can be read."""
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


def _link(found: Path, data: DatasetFiles, copy: bool) -> None:
    found, root = found.resolve(), data.root
    if root.resolve() == found or (root / "extract").resolve() == found:
        return
    if root.is_symlink() or (root.exists() and not root.is_dir()):
        raise FetchFailed(f"{root}: already exists; remove it or choose another root folder")
    if root.exists() and any(root.iterdir()):
        raise FetchFailed(f"{root}: is not empty; choose another root folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    if root.exists():
        root.rmdir()
    if copy:
        part = root.with_name(f".{root.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(found, part)
        os.sync()  # after a power failure, the folder must not exist without its files
        part.rename(root)
        sync(root.parent)
    else:
        root.symlink_to(found, target_is_directory=True)


def _samples(dataset: Dataset, data: DatasetFiles) -> tuple[dict[str, int], list[str]]:
    folder = layouts.find(dataset, data.root)
    if folder is None:
        return {}, []
    found = layouts.listing(dataset, folder)
    counts: dict[str, int] = {}
    for sample in found.samples:
        counts[sample.split] = counts.get(sample.split, 0) + 1
    return counts, found.warnings
