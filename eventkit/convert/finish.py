"""The last step of a conversion: the small arrays and all metadata, from plan and journal."""

from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eventkit import __version__
from eventkit.convert import ragged
from eventkit.convert.plan import Grid, Plan, Segments
from eventkit.errors import FormatError
from eventkit.store import metadata
from eventkit.store.building import Building, Key, failpoint, write_file
from eventkit.store.shard import crc32

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


class Growing(Protocol):
    """A tree that grows, and what the jobs told that filled it."""

    tree: Path
    done: dict[Key, dict[str, Any]]

    def folder_of(self, *parts: str) -> Path:
        """A folder of the tree, made if it is missing."""


class Tree:
    """Writes arrays and documents and remembers both for the root."""

    def __init__(self, building: Growing) -> None:
        self.building = building
        self.nodes: dict[str, dict[str, Any]] = {}
        self.files: dict[str, list[int]] = {}

    def file(self, name: str, data: bytes) -> None:
        path = self.building.folder_of(*name.split("/")[:-1]) / name.rpartition("/")[2]
        write_file(path, data)
        self.files[name] = [len(data), crc32(data)]

    def node(self, name: str, document: dict[str, Any]) -> None:
        """A group or an array; the groups above it come first."""
        parent = name.rpartition("/")[0]
        if parent and parent not in self.nodes:
            self.node(parent, metadata.group())
        self.nodes[name] = document
        self.file(f"{name}/zarr.json", metadata.dumps(document))

    def column(self, name: str, values: np.ndarray, dim: str, **attributes: Any) -> None:
        """A one-dimensional array in one chunk."""
        values = np.ascontiguousarray(values)
        document = metadata.array(values.shape, values.dtype, (dim,), chunk=values.shape)
        document["attributes"] = attributes
        self.node(name, document)
        self.file(f"{name}/c.0", metadata.SMALL_ARRAY.encode(values))

    def attributes(self, attributes: dict[str, Any]) -> None:
        """A copy of the root's attributes, from which a damaged root can be restored."""
        self.column(metadata.COPY, metadata.copy_of(attributes), "byte")
        attributes["files"] = dict(sorted(self.files.items()))


def finish(plan: Plan, building: Building, command: str) -> None:
    """Write everything but the shards; the root document, which says `complete`, comes last."""
    tree = Tree(building)
    numbers = {name: i for i, name in enumerate(plan.sources)}
    for split in plan.grids:
        split_arrays(tree, plan, split, numbers)
    _sources(tree, plan)
    attributes = {
        "schema": metadata.SCHEMA,
        "kind": plan.array,
        "status": "complete",
        "dataset": plan.dataset.name,
        "title": plan.dataset.title or plan.dataset.name,
        "cite": plan.dataset.cite,
        "license": plan.dataset.license,
        "classes": plan.listing.classes,
        "size": list(plan.size),
        "represent": plan.spec,
        "splits": {
            split: {"samples": grid.samples, "sha256": plan.split_digest(split)}
            for split, grid in plan.grids.items()
        },
        "command": command,
        "plan": plan.document(),
        "plan_digest": plan.digest(),
        "versions": versions(),
        "warnings": [*plan.listing.warnings, *_notes(plan, building)],
        "files": dict(sorted(tree.files.items())),
    }
    tree.attributes(attributes)
    failpoint("before_root")
    building.hold()
    write_file(building.tree / "zarr.json", metadata.root(attributes, tree.nodes))


def versions() -> dict[str, str]:
    """What made the bytes of a store."""
    return {
        "eventkit": __version__,
        "numpy": np.__version__,
        "numba": version("numba"),
        "numcodecs": version("numcodecs"),
    }


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
    for name, values in rows.items():
        dtype = COLUMNS.get(name, np.int64)
        tree.column(f"{split}/{name}", np.array(values, dtype), "sample")
    for name in dict.fromkeys(name for sample in samples for name in sample.columns):
        texts = [sample.columns.get(name) or "" for sample in samples]
        if all(text.isdigit() for text in texts):
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
    n_frames = plan.n_frames or longest
    document = metadata.array(
        (grid.samples, n_frames, *plan.frame),
        plan.dtype,
        ("sample", "time", "channel", "y", "x"),
        chunk=(*grid.chunk, *plan.frame),
        shard=(*grid.shard, *plan.frame),
        codec=plan.codec,
    )
    tree.node(f"{split}/{plan.array}", document)
    _integrity(tree, f"{split}/{plan.array}", document, entries, f"integrity/{split}")


def _events(
    tree: Tree, plan: Plan, split: str, grid: Segments, entries: list[dict[str, Any]]
) -> None:
    """The columns of events, the time at which every chunk begins, and checksums of shards."""
    longest = grid.chunk * max(len(entry["chunk_t"]) for entry in entries)
    documents = ragged.documents(grid, plan.codec, plan.size, max(longest, grid.chunk))
    for name, document in documents.items():
        tree.node(f"{split}/events/{name}", document)
        where = f"integrity/{split}/events/{name}"
        _integrity(tree, f"{split}/events/{name}", document, entries, where)
    times = [time for entry in entries for time in entry["chunk_t"]]
    # No chunk of an array may be empty.
    tree.column(f"{split}/events/chunk_t", np.array(times or [0], np.int64), "chunk")


def _integrity(
    tree: Tree, array: str, document: dict[str, Any], entries: list[dict[str, Any]], where: str
) -> None:
    """Bytes and checksum of shard (i, j) at i * J + j; 0 bytes where there is no shard."""
    extent = document["chunk_grid"]["configuration"]["chunk_shape"][1]
    columns = max(1, -(-document["shape"][1] // extent))
    sizes = np.zeros(len(entries) * columns, np.uint64)
    sums = np.zeros(len(entries) * columns, np.uint32)
    for i, entry in enumerate(entries):
        for name, file in entry["files"].items():
            folder, _, shard = name.rpartition("/")
            if folder == array:
                j = int(shard.split(".")[2])
                sizes[i * columns + j], sums[i * columns + j] = file["bytes"], file["crc"]
    tree.column(f"{where}/shard_bytes", sizes, "shard")
    tree.column(f"{where}/shard_crc", sums, "shard")


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
    names = "\n".join(plan.sources).encode()
    crcs = np.array([sums.get(name, 0) for name in plan.sources], np.uint32)
    tree.column("sources/names", np.frombuffer(names, np.uint8), "byte")
    tree.column("sources/bytes", np.array(list(plan.sources.values()), np.int64), "source")
    tree.column("sources/crc32c", crcs, "source")


def _notes(plan: Plan, building: Building) -> list[str]:
    """What the tasks found odd, and the samples without events, in the order of the samples."""
    notes: list[str] = []
    for split, grid in plan.grids.items():
        samples = plan.samples(split)
        gaps = 0
        for number in range(grid.jobs):
            entry = building.done[split, number]
            notes += entry["notes"]
            for row, n in enumerate(entry["rows"]["n_events"]):
                gaps += n > 0 and any(entry["rows"].get("empty_frames", [])[row : row + 1])
                if n == 0:
                    sample = samples[number * grid.per_job + row]
                    window = "" if sample.start is None else f", {sample.start}..{sample.stop} µs"
                    notes.append(f"{sample.source}{window}: no events in this sample")
        if gaps:
            notes.append(f"{split}: {gaps:,} samples have frames without events; they are zero")
    return list(dict.fromkeys(notes))
