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

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eventkit.errors import StoreDamaged, StoreError
from eventkit.registry import unknown
from eventkit.store import metadata, schema
from eventkit.store.files import Stamp, read_file
from eventkit.store.foreign import Foreign, is_ours, open_zarr
from eventkit.store.objects import Place, Remote, at
from eventkit.store.shard import OVERHEAD, Shard, decode

if TYPE_CHECKING:
    from eventkit.events import Events
    from eventkit.store.ragged import EventBatch, Ragged

OPEN_SHARDS = 64


class Dense:
    """An array (N, T, C, H, W) of a store, read sample by sample and checked.

    Without zarr-python, unless somebody encoded the array anew with other codecs.

    Indexing works as in numpy along the first axis; what follows is applied to what was read.
    """

    def __init__(self, path: Place, node: dict[str, Any], stamp: Stamp | None = None) -> None:
        self.path = path
        self._stamp = stamp
        self.shape: tuple[int, ...] = tuple(node["shape"])
        self.dtype = np.dtype(node["data_type"])
        self._shard_shape: list[int] = node["chunk_grid"]["configuration"]["chunk_shape"]
        self._chunk: tuple[int, ...] = tuple(node["codecs"][0]["configuration"]["chunk_shape"])
        self._per_axis = [s // c for s, c in zip(self._shard_shape, self._chunk, strict=True)]
        self._shards: OrderedDict[tuple[int, int], Shard] = OrderedDict()
        self._foreign = None if is_ours(node) else Foreign(path)

    def read(
        self,
        indices: Sequence[int],
        n_frames: int,
        out: np.ndarray | None = None,
        *,
        first: int = 0,
    ) -> np.ndarray:
        """Frames first..first + n_frames of samples `indices`: (len(indices), n_frames, C, H, W).

        `out`, if given, is filled and returned; it must be contiguous and of that shape.
        """
        shape = (len(indices), n_frames, *self.shape[2:])
        if out is None:
            out = np.empty(shape, self.dtype)
        if out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise StoreError(f"out must be contiguous {self.dtype} {shape}")
        if not 0 <= first <= first + n_frames <= self.shape[1]:
            raise StoreError(f"frames {first}..{first + n_frames} of {self.shape[1]}: {self.path}")
        for row, index in zip(out, indices, strict=True):
            self._read_one(int(index), first, row)
        return out

    def _read_one(self, index: int, first: int, out: np.ndarray) -> None:
        if not 0 <= index < self.shape[0]:
            raise StoreError(f"sample {index} of {self.shape[0]}: {self.path}")
        if self._foreign is not None:
            self._foreign.read(index, first, out)
            return
        k, step = self._chunk[:2]
        scratch = None
        for block in range(first // step, -(-(first + len(out)) // step)):
            low, high = max(first - block * step, 0), min(first + len(out) - block * step, step)
            part = out[block * step + low - first : block * step + high - first]
            if k == 1 and high - low == step:
                self._read_chunk(index, block, part)
                continue
            if scratch is None:
                scratch = np.empty(self._chunk, self.dtype)
            self._read_chunk(index // k, block, scratch)
            part[:] = scratch[index % k, low:high]

    def _read_chunk(self, i: int, j: int, out: np.ndarray) -> None:
        rows, columns = self._per_axis[:2]
        shard = self._open((i // rows, j // columns))
        if not shard.read((i % rows) * columns + j % columns, out):
            raise StoreDamaged(f"{shard.path}: sample chunk {i} is absent; run eventkit verify")

    def _open(self, key: tuple[int, int]) -> Shard:
        shard = self._shards.get(key)
        if shard is None:
            n_chunks = int(np.prod(self._per_axis))
            shard = Shard(self.path / shard_name(*key, len(self.shape)), n_chunks)
            if self._stamp is not None and shard.fetched:
                self._stamp.check()
            self._shards[key] = shard
            if len(self._shards) > OPEN_SHARDS:
                # Whoever reads from it still holds it; the file closes with its last holder.
                self._shards.popitem(last=False)
        return shard

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        wanted = np.arange(len(self))[first]
        read = self.read(np.atleast_1d(wanted).tolist(), self.shape[1])
        read = read if np.ndim(wanted) else read[0]
        return read[(slice(None), *rest) if np.ndim(wanted) else tuple(rest)] if rest else read

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": OrderedDict()}  # open files stay in their process

    def __repr__(self) -> str:
        return f"Dense({self.shape}, {self.dtype})"


class Split:
    """One split of a store: `frames`, `labels` and the other columns, one entry per sample."""

    def __init__(self, store: "Store", name: str) -> None:
        self.name = name
        self.size = store.size
        self._path = store.path / name
        self._stamp = store.stamp
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
        return Dense(self._path / self.kind, self._nodes[self.kind], self._stamp)

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
        where["chunk_t"] = read_small(self._path / "events/chunk_t", self._nodes["events/chunk_t"])
        return Ragged(self._path / "events", nodes, self.size, where, self._stamp)

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
            self._columns[name] = read_small(self._path / name, self._nodes[name])
            self._stamp.check()
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
    StoreDamaged when its metadata changed.
    """

    def __init__(self, path: str | Path, *, cache: str | Path | None = None) -> None:
        """`path` may be an address such as s3://bucket/name.zarr, and `cache` a folder that keeps
        the shards that were read of it (by default $EVENTKIT_CACHE, if set): see docs/s3.md.
        """
        self.path = at(path, cache)
        self.attributes, self.nodes, self.stamp = _read_root(self.path)
        if isinstance(self.path, Remote) and self.path.cache is not None:
            # Another store of that name must not meet this one's files.
            name = f"{self.path.name}-{self.attributes['digest'][:16]}"
            self.path = self.path.kept_in(self.path.cache / name)
        self._splits = {name: Split(self, name) for name in self.attributes["splits"]}

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
        return read_small(self.path / name, self.nodes[name])

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


def shard_name(i: int, j: int, n_axes: int) -> str:
    """The file of shard (i, j) of an array whose further axes are not divided."""
    return ".".join(["c", str(i), str(j), *["0"] * (n_axes - 2)])


def read_small(path: Place, node: dict[str, Any]) -> np.ndarray:
    """A one-dimensional array that is one chunk."""
    out = np.empty(node["shape"], node["data_type"])
    decode(read_file(path / "c.0", out.nbytes + OVERHEAD), out, str(path / "c.0"))
    return out


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
