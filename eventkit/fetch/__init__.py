"""Getting a dataset's files: from the internet, or from what is already on the disk.

http.py      one answer of a server, and what is wrong with it
download.py  one file from its mirrors, continued, checked, locked
unpack.py    archives, none of which is trusted
adopt.py     archives and folders that are there, of SpikingJelly and Tonic too
here         a dataset: which of its files are missing, and how they get their place

ROOT/.fetch holds what is on its way, and receipt.json: which files were checked and unpacked.
"""

import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eventkit import datasets, layouts
from eventkit.datasets import Dataset, SourceFile
from eventkit.errors import EventkitError, FetchError, FetchFailed, FetchLocked
from eventkit.fetch.adopt import adopt
from eventkit.fetch.download import PATIENT, Manners, Progress, check, download, locked, room
from eventkit.fetch.place import Place

__all__ = ["adopt", "fetch"]


def fetch(
    name: str | Path,
    *,
    root: str | Path | None = None,
    keep: bool = False,
    dry_run: bool = False,
    accept: bool = False,
    progress: Progress | None = None,
    manners: Manners = PATIENT,
) -> dict[str, Any]:
    """Download what is missing of a dataset to `root`, check it, unpack it; the summary.

    An interrupted download continues when called again. Archives are deleted when they are
    unpacked, unless `keep`; archives that lie in `root` (or root/download) already are taken.

    `accept` says that a person has accepted the terms of the dataset, which is noted in `root`.

    Raises FetchError, with the steps, for what only a person can download or accept; FetchFailed
    when a download breaks or is not what it should be; FetchLocked when another process is at it.
    """
    started = time.perf_counter()
    dataset = datasets.load(name)
    place = Place(Path(root) if root is not None else datasets.default_root(name))
    if not dataset.files and layouts.find(dataset, place.root) is None:
        raise FetchError(datasets.steps(dataset, place.root))
    missing = place.missing(dataset)
    if not dry_run and missing and not place.unpacked and layouts.find(dataset, place.root):
        return _summary(dataset, place, started, 0, "is there, put by hand; nothing was checked")
    if dry_run:
        return _plan(dataset, place, missing)
    if missing and dataset.terms and not place.accepted(accept):
        raise FetchError(
            f"{dataset.title}: {dataset.terms} ({dataset.homepage}); then run "
            f"eventkit fetch {name} --accept-license"
        )
    fetched, manual = 0, []
    for source in missing:
        local = place.archive(source)
        if local is None and not source.urls:
            manual.append(source)
            continue
        fetched += _one(source, place, local, keep, progress, manners, dataset)
    for source in dataset.files:
        if source not in missing:
            _tidy(source, place, keep)
    if manual:
        raise FetchError(datasets.steps(dataset, place.root, manual))
    note = "" if missing else "nothing to do"
    if not dataset.files:
        note = "is there, put by hand; nothing was checked"
    return _summary(dataset, place, started, fetched, note)


def _one(
    source: SourceFile,
    place: Place,
    local: Path | None,
    keep: bool,
    progress: Progress | None,
    manners: Manners,
    dataset: Dataset,
) -> int:
    """Get one file and put what is in it into its place; the bytes that came from afar."""
    place.begin()
    with locked(place.folder / f"{source.name}.lock"):
        if place.has(source):
            return 0  # by the process that held the lock before
        if local is not None:
            check(source, local, progress)
            place.take(source, local, progress, nested=source.nested)
            return 0
        archive = place.folder / source.name
        needed = (source.bytes or source.about or 0) + (source.unpacked or 0)
        there = archive.with_name(archive.name + ".part")
        room(place.folder, needed - (there.stat().st_size if there.exists() else 0), source.name)
        try:
            download(source, archive, progress, manners)
        except FetchFailed:
            raise
        except FetchError as error:
            raise FetchError(f"{error}\n{datasets.steps(dataset, place.root, [source])}") from None
        size = archive.stat().st_size
        place.take(source, archive, progress, nested=source.nested)
        place.dispose(source, keep=keep)
        return size


def _tidy(source: SourceFile, place: Place, keep: bool) -> None:
    """End what a run that was killed after its entry in the receipt left undone."""
    if place.leftovers(source):
        with suppress(FetchLocked), locked(place.folder / f"{source.name}.lock"):
            place.dispose(source, keep=keep)


def _plan(dataset: Dataset, place: Place, missing: list[SourceFile]) -> dict[str, Any]:
    """What fetch would do."""
    files = []
    for source in dataset.files:
        local = place.archive(source)
        if source not in missing:
            what = "there"
        elif local is not None:
            what = f"take {local}"
        else:
            what = "download" if source.urls else "by hand"
        files.append({**asdict(source), "size": source.size, "action": what})
    free = place.free()
    needed = sum((f.bytes or f.about or 0) + (f.unpacked or 0) for f in missing)
    return {
        "dataset": dataset.name,
        "root": str(place.root),
        "files": files,
        "needed_bytes": needed,
        "free_bytes": free,
        "steps": datasets.steps(dataset, place.root, [f for f in missing if not f.urls])
        if any(not f.urls and place.archive(f) is None for f in missing)
        else "",
    }


def _summary(
    dataset: Dataset, place: Place, started: float, fetched: int, note: str
) -> dict[str, Any]:
    """Where the data is and how many samples it has."""
    folder = layouts.find(dataset, place.root)
    samples: dict[str, int] = {}
    warnings: list[str] = []
    if folder is None:
        told = f"{place.root}: the files are there, but not yet in the layout that is known"
        warnings.append(f"{told}. {dataset.note}" if dataset.note else told)
    else:
        try:
            found = layouts.listing(dataset, folder)
        except EventkitError as error:
            warnings.append(str(error))
        else:
            warnings += found.warnings
            for sample in found.samples:
                samples[sample.split] = samples.get(sample.split, 0) + 1
    return {
        "dataset": dataset.name,
        "root": str(place.root),
        "note": note,
        "samples": samples,
        "fetched_bytes": fetched,
        "seconds": time.perf_counter() - started,
        "warnings": warnings,
    }
