"""Download and install the files of a dataset, or use files that are already on disk.

http.py      one HTTP request; classifies failures as transient or permanent
download.py  one file from its mirrors: resumed, verified, locked
unpack.py    untrusted archives
adopt.py     archives and folders on disk, including those of SpikingJelly and Tonic
files.py     the root folder of a dataset and the receipt of its installed files
this file    fetch(): which files of a dataset are missing, and how to get them

ROOT/.fetch contains partial downloads and receipt.json, the list of verified and unpacked files.
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
from eventkit.fetch.download import (
    DEFAULT_RETRY,
    RESERVE,
    Progress,
    RetryPolicy,
    check,
    check_space,
    download,
    locked,
)
from eventkit.fetch.files import DatasetFiles

__all__ = ["adopt", "fetch"]

NOT_VERIFIED = "data found that was placed by hand; not verified"


def fetch(
    name: str | Path,
    *,
    root: str | Path | None = None,
    keep: bool = False,
    dry_run: bool = False,
    accept: bool = False,
    progress: Progress | None = None,
    retry: RetryPolicy = DEFAULT_RETRY,
) -> dict[str, Any]:
    """Download, verify and unpack the missing files of a dataset; return a summary.

    The summary has the keys dataset, root, note, samples (count by split), fetched_bytes, seconds
    and warnings; with `dry_run`, what would be done instead. An interrupted download resumes when
    called again. Archives are deleted after unpacking unless `keep`. Archives that are already in
    `root` or root/download are used instead of downloading.

    `accept` states that a person has accepted the terms of the dataset; this is recorded in `root`.

    Raises FetchError, listing the steps, if files must be downloaded or terms accepted by hand;
    FetchFailed if a download fails or a file does not match its checksum; FetchLocked if another
    process is fetching the same file.
    """
    started = time.perf_counter()
    dataset = datasets.load(name)
    data = DatasetFiles(Path(root) if root is not None else datasets.default_root(name))
    if not dataset.files and layouts.find(dataset, data.root) is None:
        raise FetchError(datasets.steps(dataset, data.root))
    missing = data.missing(dataset)
    if not dry_run and missing and not data.unpacked and layouts.find(dataset, data.root):
        return _summary(dataset, data, started, 0, NOT_VERIFIED)
    if dry_run:
        return _plan(dataset, data, missing)
    if missing and dataset.terms and not data.accepted(accept):
        raise FetchError(
            f"{dataset.title}: {dataset.terms} ({dataset.homepage}); then run "
            f"eventkit fetch {name} --accept-license"
        )
    fetched, manual = 0, []
    _check_space(data, [s for s in missing if s.urls or data.archive(s)], keep, dataset)
    for source in missing:
        local = data.archive(source)
        if local is None and not source.urls:
            manual.append(source)
            continue
        fetched += _get(source, data, local, keep, progress, retry, dataset)
    for source in dataset.files:
        if source not in missing:
            _tidy(source, data, keep)
    if manual:
        raise FetchError(datasets.steps(dataset, data.root, manual))
    note = "" if missing else "nothing to do"
    if not dataset.files:
        note = NOT_VERIFIED
    return _summary(dataset, data, started, fetched, note)


def _check_space(
    data: DatasetFiles, sources: list[SourceFile], keep: bool, dataset: Dataset
) -> None:
    """Raise FetchFailed before anything is downloaded unless all of it fits on the disk."""
    needed = room(data, sources, keep)
    if needed + RESERVE > data.free():
        raise FetchFailed(
            f"{data.root}: {data.free():,} bytes are free, about {needed:,} are needed for "
            f"{dataset.name}; free some space or choose another root folder"
        )


def room(data: DatasetFiles, sources: list[SourceFile], keep: bool = False) -> int:
    """The most bytes that getting these files, one after the other, adds to the disk.

    An archive is there beside its contents until it is unpacked, or longer if `keep`. Files whose
    size is unknown count as nothing; what is downloaded of a file already is not counted.
    """
    held = most = 0
    for source in sources:
        size = 0
        if data.archive(source) is None:
            size = max((source.bytes or source.about or 0) - data.begun(source), 0)
        most = max(most, held + size + (source.unpacked or 0))
        held += source.unpacked or size
        held += size if keep and source.unpacked else 0
    return max(most, held)


def _get(
    source: SourceFile,
    data: DatasetFiles,
    local: Path | None,
    keep: bool,
    progress: Progress | None,
    retry: RetryPolicy,
    dataset: Dataset,
) -> int:
    """Download or use one file and install its contents; the number of downloaded bytes."""
    data.create()
    with locked(data.folder / f"{source.name}.lock"):
        if data.has(source):
            return 0  # installed by the process that held the lock before
        if local is not None:
            check(source, local, progress)
            data.install(source, local, progress, nested=source.nested)
            return 0
        archive = data.folder / source.name
        needed = (source.bytes or source.about or 0) + (source.unpacked or 0)
        check_space(data.folder, needed - data.begun(source), source.name)
        try:
            download(source, archive, progress, retry)
        except FetchFailed:
            raise
        except FetchError as error:
            raise FetchError(f"{error}\n{datasets.steps(dataset, data.root, [source])}") from None
        size = archive.stat().st_size
        data.install(source, archive, progress, nested=source.nested)
        data.clean_up(source, keep=keep)
        return size


def _tidy(source: SourceFile, data: DatasetFiles, keep: bool) -> None:
    """Remove what a process that was killed after writing its receipt left behind."""
    if data.leftovers(source):
        with suppress(FetchLocked), locked(data.folder / f"{source.name}.lock"):
            data.clean_up(source, keep=keep)


def _plan(dataset: Dataset, data: DatasetFiles, missing: list[SourceFile]) -> dict[str, Any]:
    """What fetch would do, for dry_run."""
    files = []
    for source in dataset.files:
        local = data.archive(source)
        if source not in missing:
            action = "none (installed)"
        elif local is not None:
            action = f"use {local}"
        else:
            action = "download" if source.urls else "manual download"
        files.append({**asdict(source), "size": source.size, "action": action})
    free = data.free()
    needed = room(data, missing)
    return {
        "dataset": dataset.name,
        "root": str(data.root),
        "files": files,
        "needed_bytes": needed,
        "free_bytes": free,
        "steps": datasets.steps(dataset, data.root, [f for f in missing if not f.urls])
        if any(not f.urls and data.archive(f) is None for f in missing)
        else "",
    }


def _summary(
    dataset: Dataset, data: DatasetFiles, started: float, fetched: int, note: str
) -> dict[str, Any]:
    """The location of the data and its number of samples."""
    folder = layouts.find(dataset, data.root)
    samples: dict[str, int] = {}
    warnings: list[str] = []
    if folder is None:
        warning = f"{data.root}: the files are installed, but not in the expected layout"
        warnings.append(f"{warning}. {dataset.note}" if dataset.note else warning)
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
        "root": str(data.root),
        "note": note,
        "samples": samples,
        "fetched_bytes": fetched,
        "seconds": time.perf_counter() - started,
        "warnings": warnings,
    }
