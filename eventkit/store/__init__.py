"""Stores: one Zarr v3 group per converted dataset, readable by any Zarr library.

    NAME.zarr/
      zarr.json               attributes.eventkit: what it is and how it was made; all metadata
      <split>/frames          (N, T, 2, H, W), one sample a chunk, in shards  (`data`: any other
                              dense representation; T is padded with zeros where it differs)
      <split>/events/*        instead of frames, with `represent="events"`: columns t, x, y, p of
                              all samples, and chunk_t; ragged.py says how they are laid
      <split>/labels n_events t_start t_end source            and columns of the dataset
      <split>/n_frames frames_crc                             of a dense store
      <split>/segment start count events_crc                  of an events store
      <split>/ledger/*        events per sample: read = invalid + dropped_* + out_of_bounds
                              + unbinned + binned (that is, counted in the array, or stored)
      integrity/<split>/*     bytes and crc32 of every shard
      integrity/attributes    the root's attributes once more, to restore a damaged root from
      sources/*               names, bytes and crc32c of the files it was made from

Readers refuse a store that is unfinished, changed by a bit, or of a newer schema.

A dense store is read by `split.read(indices)` and `split.frames[...]`. An events store by

    split.events(i)                                 Events of sample i, in order of time
    split.events(i, start=1_000_000, stop=2_000_000)    those of a second, and no others are read
    batch = split.read_events(indices, batch)       many samples into memory that is used again
    split.column("count"), ("t_start"), ("t_end")   what representations.Whole needs, unread

`store.kind` is "frames", "data" or "events".
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eventkit.errors import StoreDamaged, StoreError
from eventkit.registry import unknown
from eventkit.store import metadata, schema
from eventkit.store.dense import Dense
from eventkit.store.files import Stamp, read_file
from eventkit.store.foreign import is_ours, open_zarr
from eventkit.store.objects import Place, Remote, at
from eventkit.store.shard import crc32, decode
from eventkit.store.shards import Shards, Sums

if TYPE_CHECKING:
    from eventkit.events import Events
    from eventkit.store.ragged import EventBatch, Ragged


class Split:
    """One split of a store: `frames`, `labels` and the other columns, one entry per sample."""

    def __init__(self, store: "Store", name: str) -> None:
        self.name = name
        self.size = store.size
        self._store = store
        self._path = store.path / name
        self._nodes = {
            key.removeprefix(f"{name}/"): node
            for key, node in store.nodes.items()
            if key.startswith(f"{name}/") and node["node_type"] == "array"
        }
        self._columns: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self._nodes["labels"]["shape"][0])

    @property
    def kind(self) -> str:
        """What is stored: "frames", "data" (any other dense representation) or "events"."""
        return next(key for key in ("frames", "data", "events/t") if key in self._nodes)[:6]

    @cached_property
    def frames(self) -> Dense:
        """The dense representation, (N, T, C, H, W). StoreError in an events store."""
        if self.kind == "events":
            raise StoreError(
                f"{self._path.parent}: holds events, not frames; make them while loading, as "
                'EventDataset(store, represent="frames:n=16"), or read split.events(i)'
            )
        node = self._nodes[self.kind]
        shards = self._store.shards(f"{self.name}/{self.kind}") if is_ours(node) else None
        return Dense(self._path / self.kind, node, shards)

    @cached_property
    def ragged(self) -> "Ragged":
        """The columns of an events store. StoreError in a store of frames."""
        if self.kind != "events":
            raise StoreError(
                f"{self._path.parent}: holds {self.kind}, no events; convert with --events to "
                "store events"
            )
        from eventkit.store.ragged import Ragged  # kernels: not for who reads frames

        nodes = {name: self._nodes[f"events/{name}"] for name in "txyp"}
        where = {name: self.column(name) for name in ("segment", "start", "count")}
        where["chunk_t"] = self._store.small(f"{self.name}/events/chunk_t")
        shards = {name: self._store.shards(f"{self.name}/events/{name}") for name in "txyp"}
        return Ragged(self._path / "events", nodes, self.size, where, shards)

    def events(self, index: int, *, start: int | None = None, stop: int | None = None) -> "Events":
        """The events of one sample in order of time, or those of start <= t < stop (µs).

        Times are those of the recording. Only the chunks that hold the events are read.
        """
        return self.ragged.slice(range(len(self))[index], start, stop)

    def read_events(
        self, indices: Sequence[int], out: "EventBatch | None" = None, *, columns: str = "txyp"
    ) -> "EventBatch":
        """The events of many samples, one after the other, in the memory of `out`.

        Give the batch of an earlier call as `out` (one for each thread) and nothing is allocated.
        Only the columns named are decoded, the others are zero: frames by number need no t.
        """
        from eventkit.store.ragged import EventBatch

        return self.ragged.read(indices, EventBatch() if out is None else out, columns)

    @property
    def zarr(self) -> Any:
        """The dense representation as a zarr.Array, for slicing, dask or xarray.

        It checks checksums too, but reads a shard that is missing as zeros; `frames` does not.
        """
        return open_zarr(self.frames.path)

    @property
    def labels(self) -> np.ndarray:
        """Class numbers, int32 (N,)."""
        return self.column("labels")

    @property
    def n_frames(self) -> np.ndarray:
        """How many of the T frames each sample has, int32 (N,)."""
        return self.column("n_frames")

    @property
    def ledger(self) -> dict[str, np.ndarray]:
        """Events per sample, int64 (N,) each: what was read and where it went."""
        names = [key for key in self._nodes if key.startswith("ledger/")]
        return {name.removeprefix("ledger/"): self.column(name) for name in names}

    @property
    def columns(self) -> list[str]:
        """The names of all arrays with one number for each sample."""
        return [
            key
            for key, node in self._nodes.items()
            if len(node["shape"]) == 1 and not key.startswith("events/")
        ]

    def column(self, name: str) -> np.ndarray:
        """One of `columns` as a numpy array."""
        if name not in self._columns:
            if name not in self._nodes:
                raise unknown("column", name, self.columns)
            self._columns[name] = self._store.small(f"{self.name}/{name}")
        return self._columns[name]

    def read(self, indices: Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
        """Samples as one batch (n, T, C, H, W); T is that of the longest sample asked for."""
        wanted = np.asarray(indices, np.intp)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise StoreError(
                f"samples {wanted.min():,} to {wanted.max():,} were asked for; "
                f"{self.name} has {len(self):,}, from 0 on"
            )
        longest = int(self.n_frames[wanted].max()) if len(wanted) else 0
        if (self.n_frames[wanted] == longest).all():
            return self.frames.read(wanted.tolist(), longest, out)
        batch = np.zeros((len(wanted), longest, *self.frames.shape[2:]), self.frames.dtype)
        for row, index in zip(batch, wanted.tolist(), strict=True):
            n = int(self.n_frames[index])
            self.frames.read([index], n, row[None, :n])
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_columns": {}}

    def __repr__(self) -> str:
        if self.kind == "events":
            return f"Split({self.name!r}: {len(self)} samples, events)"
        return f"Split({self.name!r}: {self.kind} {self.frames.shape} {self.frames.dtype})"


class Store(Mapping[str, Split]):
    """A finished store: its splits by name, and what it is.

    Raises StoreError when there is none, when it is unfinished or of a newer schema, and
    StoreDamaged when its metadata or its columns changed or are those of another store.
    """

    def __init__(
        self, path: str | Path, *, cache: str | Path | None = None, check: bool = True
    ) -> None:
        """`path` may be an address such as s3://bucket/name.zarr, and `cache` a folder that keeps
        the shards that were read of it (by default $EVENTKIT_CACHE, if set): see docs/s3.md.
        Without `check`, damaged columns are met only when they are read, as who repairs needs it.
        """
        self.path = at(path, cache)
        self.attributes, self.nodes, self.stamp = _read_root(self.path)
        if isinstance(self.path, Remote) and self.path.cache is not None:
            # Another store of that name must not meet this one's files.
            name = f"{self.path.name}-{self.attributes['digest'][:16]}"
            self.path = self.path.kept_in(self.path.cache / name)
        self._splits = {name: Split(self, name) for name in self.attributes["splits"]}
        self._shards: dict[str, Shards] = {}
        if check:
            self._check()

    def _check(self) -> None:
        """Compare every column, and every list of checksums, with what the root says of it."""
        tops = {*self.attributes["splits"], "integrity"}
        names = [
            name
            for name, node in self.nodes.items()
            if node["node_type"] == "array"
            and name.partition("/")[0] in tops
            and name != metadata.COPY
            and not schema.is_sharded(node)
        ]
        if isinstance(self.path, Remote):
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(self._encoded, names))
        else:
            for name in names:
                self._encoded(name)

    @property
    def splits(self) -> list[str]:
        """The names of the splits, in the order of the dataset's description."""
        return list(self._splits)

    @property
    def kind(self) -> str:
        """What is stored: "frames", "data" (any other dense representation) or "events"."""
        return str(self.attributes["kind"])

    @property
    def classes(self) -> list[str]:
        """Class names: label i is classes[i]."""
        return list(self.attributes["classes"])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames, or of the sensor."""
        width, height = self.attributes["size"]
        return width, height

    def small(self, name: str) -> np.ndarray:
        """A one-dimensional array by its path, as "integrity/train/shard_bytes"."""
        node = self.nodes[name]
        out = np.empty(node["shape"], node["data_type"])
        decode(self._encoded(name), out, str(self.path / name / "c.0"))
        return out

    def _encoded(self, name: str) -> bytes:
        """The file of a one-dimensional array, compared with what the root says of it."""
        file = self.path / name / "c.0"
        size, crc = self.attributes["files"].get(f"{name}/c.0", (0, 0))
        try:
            data = read_file(file, size)
            if len(data) != size or crc32(data) != crc:
                raise StoreDamaged(
                    f"{file}: differs from what the root says of it: it is damaged or belongs "
                    "elsewhere; run eventkit verify"
                )
        except StoreDamaged:
            self.stamp.check()  # what belongs to a store that took this one's place
            raise
        return data

    def shards(self, name: str) -> Shards:
        """The shards of an array by its path, as "train/frames"."""
        if name not in self._shards:
            split = name.partition("/")[0]
            lists = f"integrity/{name if name.count('/') > 1 else split}"
            sums = Sums(self.small(f"{lists}/shard_bytes"), self.small(f"{lists}/shard_crc"))
            self._shards[name] = Shards(self.path / name, self.nodes[name], sums, self.stamp)
        return self._shards[name]

    def __getitem__(self, name: str) -> Split:
        if name not in self._splits:
            raise unknown("split", name, self.splits)
        return self._splits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{name} {f'{len(split)} x events' if self.kind == 'events' else split.frames.shape}"
            for name, split in self.items()
        )
        return f"Store({str(self.path)!r}: {parts})"


def open(path: str | Path, *, cache: str | Path | None = None) -> Store:
    """Open a finished store: open(path)["train"].frames[0] is the first sample's frames.

    `path` may be an address on an object store (s3://bucket/name.zarr); `cache` is a folder for
    what is read of it.
    """
    return Store(path, cache=cache)


def _read_root(path: Place) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Stamp]:
    if path.name.endswith(".building"):
        raise StoreError(f"{path}: unfinished conversion; run the same convert command again")
    document = path / "zarr.json"
    if not (document.exists() or document.is_symlink()):
        raise _no_store(path)
    stamp = Stamp.of(path)  # first: what is swapped from here on is noticed
    text = read_file(document, schema.MAX_ROOT)
    if b'"eventkit"' not in text and not (path / "integrity").is_dir():
        raise StoreError(f"{path}: is a Zarr group, but not an eventkit store")
    attributes, nodes = metadata.parse_root(text, str(path))
    if attributes.get("status") != "complete":
        raise StoreError(f"{path}: unfinished; run the same convert command again")
    schema.check(attributes, nodes, path)
    return attributes, nodes, stamp


def _no_store(path: Place) -> StoreError:
    """What is wrong with a path without a root document."""
    unfinished = path.with_name(path.name + ".building").exists()
    in_place = unfinished and isinstance(path, Remote)  # there, files grow where they will stay
    if (path / "integrity").is_dir() and not in_place:
        return StoreDamaged(f"{path}/zarr.json is missing; run eventkit repair")
    if unfinished:
        return StoreError(
            f"{path}: its conversion is unfinished; run the same convert command again, "
            "it continues"
        )
    if path.exists():
        return StoreError(f"{path}: is no eventkit store")
    return StoreError(f"{path}: no such store; eventkit convert makes one")
