"""The last step of a conversion: the small arrays and all metadata, from plan and journal."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.conversion import ragged
from eventkit.conversion.grids import Grid, Segments
from eventkit.conversion.plan import Plan
from eventkit.conversion.targets import joined
from eventkit.errors import FormatError, StoreError
from eventkit.store import metadata, notes
from eventkit.store import targets as stored
from eventkit.store.building import Building
from eventkit.store.tree import Tree

MOST = 10  # samples that are named one by one
# Columns that every sample has, with their types; the ledger is int64.
COLUMNS = {
    "labels": np.int32,
    "n_frames": np.int32,
    "empty_frames": np.int32,
    "n_events": np.int64,
    "t_start": np.int64,
    "t_end": np.int64,
    "source": np.int32,
    "frames_crc": np.uint32,
    "segment": np.int32,
    "events_crc": np.uint32,
}


def finish(
    plan: Plan, building: Building, command: str, failed: Mapping[str, str] | None = None
) -> None:
    """Write everything but the shards; the root document, which says `complete`, comes last.

    `failed` says why samples that are left out could not be converted, by their names.
    """
    _refuse_lost(building)
    tree = Tree(building)
    numbers = {name: i for i, name in enumerate(plan.sources)}
    for split in plan.grids:
        split_arrays(tree, plan, split, numbers)
    _sources(tree, plan)
    about = {
        "kind": plan.array,
        "dataset": plan.dataset.name,
        "title": plan.dataset.title or plan.dataset.name,
        "cite": plan.dataset.cite,
        "license": plan.dataset.license,
        "classes": plan.listing.classes,
        "size": list(plan.size),
        "represent": plan.spec,
        "command": command,
    }
    samples = {split: grid.samples for split, grid in plan.grids.items()}
    warnings = [*plan.listing.warnings, *plan.remarks, *_notes(plan, building), *_of_failed(failed)]
    more = {"failed": dict(sorted(failed.items()))} if failed else {}
    building.hold()
    shards = {name for entry in building.done.values() for name in entry["files"]}
    building.strays(shards | tree.files.keys())
    tree.root(plan.document(), samples, about, warnings, more)


def _refuse_lost(building: Building) -> None:
    """Raise StoreError where a shard is not there that a worker has recorded as written."""
    lost = building.missing()
    if not lost:
        return
    key, name = min(lost.items())
    worker = building.done[key].get("worker")
    raise StoreError(
        f"{building.target}: {len(lost)} of {len(building.done)} jobs are recorded as done, but "
        f"their files are not there, as {name}{f' of worker {worker}' if worker else ''}; all "
        "workers must write into the folder that is seen here; run the same command again, "
        "it does them again"
    )


def _of_failed(failed: Mapping[str, str] | None) -> list[str]:
    """A sentence on the samples that failed."""
    if not failed:
        return []
    return [f"{len(failed):,} samples failed and are left out: {few(failed)}"]


def few(names: Iterable[str], most: int = MOST) -> str:
    """Some names, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return "; ".join(listed[:most]) + more


def split_arrays(tree: Tree, plan: Plan, split: str, sources: dict[str, int]) -> None:
    """All small arrays and documents of one split and its checksums; `sources` numbers them."""
    grid, samples = plan.grids[split], plan.samples(split)
    entries = [tree.building.done[split, number] for number in range(grid.jobs)]
    rows: dict[str, list[int]] = {}
    for entry in entries:
        for name, values in entry["rows"].items():
            rows.setdefault(name, []).extend(values)
    rows["labels"] = [sample.label for sample in samples]
    rows["source"] = [sources[sample.source] for sample in samples]
    if any(sample.start is not None or sample.stop is not None for sample in samples):
        rows["window_start"] = [_limit(sample.start) for sample in samples]
        rows["window_stop"] = [_limit(sample.stop) for sample in samples]
    if isinstance(grid, Segments):
        _events(tree, plan, split, grid, entries)
    else:
        _dense(tree, plan, split, grid, entries, max(rows["n_frames"], default=0))
    for kind in plan.targets.files if plan.targets else ():
        found, texts = joined(kind, [entry["targets"][kind] for entry in entries])
        counts = np.array(rows.pop(f"targets/{kind}/count"), np.int64)
        names = texts if kind == "text" else plan.targets and plan.targets.classes(kind)
        stored.write(tree, split, kind, counts, found, list(names or ()))
    for name, values in rows.items():
        dtype = COLUMNS.get(name, np.int64)
        tree.column(f"{split}/{name}", np.array(values, dtype), "sample")
    for name in dict.fromkeys(name for sample in samples for name in sample.columns):
        texts = [sample.columns.get(name) or "" for sample in samples]
        if all(text.isdecimal() and int(text) < 1 << 31 for text in texts):
            tree.column(f"{split}/{name}", np.array(texts, np.int32), "sample")
        else:  # names become numbers, with the names beside them
            values = sorted(set(texts))
            numbers = {value: number for number, value in enumerate(values)}
            codes = np.array([numbers[text] for text in texts], np.int32)
            tree.column(f"{split}/{name}", codes, "sample", names=values)


def _dense(
    tree: Tree, plan: Plan, split: str, grid: Grid, entries: list[dict[str, Any]], longest: int
) -> None:
    """The array of frames, and the checksums of its shards."""
    files = {name: file for entry in entries for name, file in entry["files"].items()}
    n_frames = plan.n_frames or longest
    document = metadata.array(
        (grid.samples, n_frames, *plan.frame),
        plan.dtype,
        ("sample", "time", "channel", "y", "x"),
        chunk=(*grid.chunk, *plan.frame),
        shard=(*grid.shard, *plan.frame),
        codec=plan.codec,
    )
    tree.sharded(f"{split}/{plan.array}", document, f"integrity/{split}", files)


def _events(
    tree: Tree, plan: Plan, split: str, grid: Segments, entries: list[dict[str, Any]]
) -> None:
    """The columns of events, the time at which every chunk begins, and checksums of shards."""
    longest = grid.chunk * max(len(entry["chunk_t"]) for entry in entries)
    documents = ragged.documents(grid, plan.codec, plan.size, max(longest, grid.chunk))
    files = {name: file for entry in entries for name, file in entry["files"].items()}
    for name, document in documents.items():
        array = f"{split}/events/{name}"
        tree.sharded(array, document, f"integrity/{array}", files)
    times = [time for entry in entries for time in entry["chunk_t"]]
    # No chunk of an array may be empty.
    tree.column(f"{split}/events/chunk_t", np.array(times or [0], np.int64), "chunk")


def _limit(time: int | None) -> int:
    """One end of a window as a column has it."""
    return metadata.NO_LIMIT if time is None else time


def _sources(tree: Tree, plan: Plan) -> None:
    sums: dict[str, int] = {}
    for entry in tree.building.done.values():
        for name, crc in entry["sources"].items():
            if sums.setdefault(name, crc) != crc:
                raise FormatError(
                    Path(plan.listing.root, name), None, "changed while it was being converted"
                )
    source_arrays(tree, plan, sums)


def source_arrays(tree: Tree, plan: Plan, sums: dict[str, int]) -> None:
    """The files read: names (UTF-8, one per line), bytes, crc32c."""
    crcs = [sums.get(name, 0) for name in plan.sources]
    tree.sources(list(plan.sources), list(plan.sources.values()), crcs)


def _notes(plan: Plan, building: Building) -> list[str]:
    """What the tasks found odd, and how many samples have no events."""
    found: list[str] = []
    for split, grid in plan.grids.items():
        entries = [building.done[split, number] for number in range(grid.jobs)]
        found += [note for entry in entries for note in entry["notes"]]
        n_events = [n for entry in entries for n in entry["rows"]["n_events"]]
        gaps = [n for entry in entries for n in entry["rows"].get("empty_frames", [])]
        samples = [(sample.source, sample.start, sample.stop) for sample in plan.samples(split)]
        found += notes.of_empty(split, samples, n_events, gaps)
        found += _outside(entries)
    return found


def _outside(entries: list[dict[str, Any]]) -> list[str]:
    """A sentence on each recording of which windows lie before its events or after them."""
    counts: dict[str, list[int]] = {}
    for entry in entries:
        for name, (count, *ends) in entry.get("outside", {}).items():
            counts.setdefault(name, [0, *ends])[0] += count
    return [
        f"{name}: windows outside the recording, which is {first}..{last} µs: {count:,}"
        for name, (count, first, last) in counts.items()
        if count
    ]
