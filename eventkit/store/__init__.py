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
      <split>/targets/*       boxes, points, intervals and text of the samples: see targets.py
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

`split.targets[i]` are the targets of sample i. `store.kind` is "frames", "data" or "events".
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from eventkit.registry import unknown
from eventkit.store import schema
from eventkit.store.dense import Dense as Dense
from eventkit.store.kinds import KINDS
from eventkit.store.kinds.base import Split as Split
from eventkit.store.reader import Reader, read_root
from eventkit.store.storage import at


class Store(Reader, Mapping[str, Split]):
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
        place = at(path, cache)
        attributes, nodes, stamp = read_root(place)
        schema.check(attributes, nodes, place)
        # In a cache, another store of that name must not meet this one's files.
        place = place.cached(f"{place.name}-{attributes['digest'][:16]}")
        super().__init__(place, attributes, nodes, stamp)
        kind = KINDS[self.kind]
        self._splits = {name: kind(self, name) for name in attributes["splits"]}
        if check:
            self.check_small()

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

    def __getitem__(self, name: str) -> Split:
        if name not in self._splits:
            raise unknown("split", name, self.splits)
        return self._splits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {split.holds}" for name, split in self.items())
        return f"Store({str(self.path)!r}: {parts})"


def open(path: str | Path, *, cache: str | Path | None = None) -> Store:
    """Open a finished store: open(path)["train"].frames[0] is the first sample's frames.

    `path` may be an address on an object store (s3://bucket/name.zarr); `cache` is a folder for
    what is read of it.
    """
    return Store(path, cache=cache)
