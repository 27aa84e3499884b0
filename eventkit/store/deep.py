"""Does what a store holds make sense? Everything decoded, against its checksums and its ledger.

The checksums of files say that nothing changed since it was written. This says that what was
written is whole and consistent: every sample decodes to the bytes that were made of it, its counts
are those of its ledger, what is no sample is zero, labels are classes, splits are those hashed.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from eventkit.errors import StoreDamaged, StoreError, StoreUnreachable
from eventkit.store import Split, Store, metadata
from eventkit.store.provenance import split_rows
from eventkit.store.reader import Problem

Unit = Callable[[], list[Problem]]


def examine_contents(
    store: Store, damaged: set[str], workers: int
) -> Iterator[tuple[int, list[Problem]]]:
    """Bytes done and what was found, shard row by shard row; files `damaged` are left out."""
    yield 0, list(_plan(store, damaged))
    units: list[tuple[int, Unit]] = []
    for split in store:
        parts = {f"{split}/{name}/{file}" for name in store[split].columns for file in _SMALL}
        parts |= {f"{split}/events/chunk_t/{file}" for file in _SMALL}
        targets = store[split].arrays_below("targets/")
        parts |= {f"{split}/{name}/{file}" for name in targets for file in _SMALL}
        if parts & damaged:
            yield 0, []  # said before; without its columns nothing can be compared
            continue
        try:
            yield 0, [*_columns(store, split), *store[split].targets.check()]
            units += _units(store, split, damaged)
        except StoreUnreachable:  # which is no damage
            raise
        except (StoreError, KeyError) as error:
            yield 0, [Problem(split, str(error))]
    with ThreadPoolExecutor(workers) as pool:
        # As bounded as the number of shards: the answers are a few sentences.
        yield from pool.map(lambda unit: (unit[0], unit[1]()), units)


_SMALL = ("c.0", "zarr.json")


def _plan(store: Store, damaged: set[str]) -> Iterator[Problem]:
    """The plan and the sources are those of the digests."""
    attributes = store.attributes
    if metadata.plan_digest(attributes["plan"]) != attributes["plan_digest"]:
        yield Problem("zarr.json", "its plan_digest is not that of its plan")
    copied = not any(name.startswith(metadata.COPY) for name in damaged)
    if copied and bytes(store.small(metadata.COPY)) != bytes(metadata.copy_of(attributes)):
        yield Problem(metadata.COPY, "is no copy of the root's attributes")
    if any(name.startswith("sources/") for name in damaged):
        return
    names = bytes(store.small("sources/names")).decode(errors="replace").split("\n")
    sizes = store.small("sources/bytes").tolist()
    if len(names) != len(sizes) or len(store.small("sources/crc32c")) != len(sizes):
        yield Problem("sources", f"has {len(names)} names and {len(sizes)} sizes")
    elif metadata.digest(sorted(zip(names, sizes, strict=True))) != attributes["plan"]["sources"]:
        yield Problem("sources", "names and sizes are not those of the plan")


def _columns(store: Store, split: str) -> Iterator[Problem]:
    """Labels, ledger and split hash."""
    part, ledger = store[split], store[split].ledger
    labels, source = part.labels, part.column("source")
    n_sources = len(store.small("sources/bytes"))
    lowest = 0 if store.classes else -1  # of recordings without classes
    if (wrong := (labels < lowest) | (labels >= len(store.classes))).any():
        where = int(wrong.argmax())
        text = f"sample {where} has label {labels[where]}, expected 0..{len(store.classes) - 1}"
        yield Problem(f"{split}/labels", text)
    if (wrong := (source < 0) | (source >= n_sources)).any():
        text = f"sample {int(wrong.argmax())} is of source {source[wrong.argmax()]} of {n_sources}"
        yield Problem(f"{split}/source", text)
    elif metadata.split_digest(split_rows(store, split)) != _entry(store, split)["sha256"]:
        yield Problem(split, "the samples (source, window, label) are not those of its sha256")
    placed = ledger["out_of_bounds"] + ledger["unbinned"] + ledger["binned"]
    dropped = [column for name, column in ledger.items() if name.startswith("dropped_")]
    for name, left, right in (
        ("ledger", ledger["read"], ledger["invalid"] + sum(dropped) + placed),
        ("n_events", part.column("n_events"), placed),
    ):
        if (left != right).any():
            where = int((left != right).argmax())
            text = f"sample {where} has {left[where]:,} events, accounted for are {right[where]:,}"
            yield Problem(f"{split}/{name}", text)
    if (part.column("t_start") > part.column("t_end")).any():
        yield Problem(f"{split}/t_end", "a sample ends before it begins")
    for name in part.columns:
        names = store.nodes[f"{split}/{name}"]["attributes"].get("names")
        if names is not None and not _within(part.column(name), len(names)):
            yield Problem(f"{split}/{name}", f"has values outside its {len(names)} names")


def _entry(store: Store, split: str) -> dict[str, object]:
    entry: dict[str, object] = store.attributes["splits"][split]
    return entry


def _within(column: np.ndarray, n: int) -> bool:
    return not len(column) or (int(column.min()) >= 0 and int(column.max()) < n)


def _units(store: Store, split: str, damaged: set[str]) -> list[tuple[int, Unit]]:
    """One unit of work for each row of shards of which every file is as it was written."""
    part = store[split]
    sizes = {name: size for array in part.arrays for name, size, _ in array.listed()}
    units: list[tuple[int, Unit]] = []
    for row in range(part.arrays[0].rows):
        files = {file for array in part.arrays for file in array.files(row)}
        if not files & damaged:
            work = sum(sizes.get(file, 0) for file in files)
            units.append((work, partial(_check, part, row, set(sizes))))
    return units


def _check(part: Split, row: int, present: set[str]) -> list[Problem]:
    try:
        return list(part.check_row(row, present))
    except (StoreDamaged, OSError) as error:
        return [Problem(f"{part.arrays[0].name}, shard row {row}", str(error))]
