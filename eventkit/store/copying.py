"""Encoded samples of stores, put together in new shards: links, raw chunks, and at worst anew.

What a chunk holds depends on the kind of store: see `kinds/`.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from eventkit.errors import StoreDamaged, StoreError
from eventkit.store.array import ShardedArray, ShardGrid
from eventkit.store.kinds.base import Split
from eventkit.store.shard import Codec, crc32, crc32c, pack
from eventkit.store.storage import Storage

Files = dict[str, dict[str, int]]  # name -> bytes and crc


@dataclass(frozen=True)
class Row:
    """One sample: where it is now."""

    part: Split
    index: int


class Copier(ABC):
    """The samples of one new split, in the shards of the largest of their stores' shape."""

    def __init__(
        self, split: str, samples: list[Row], codec: dict[str, Any], counts: dict[str, int]
    ) -> None:
        """`codec` is that of the plan; `counts` of what was linked, copied and encoded go up."""
        self.split, self.samples, self.plan_codec, self.counts = split, samples, codec, counts
        self.codec = Codec(**codec)
        parts = list({id(row.part): row.part for row in samples}.values())
        self._check(parts)
        self.model = max(parts, key=lambda part: (part.arrays[0].shard, part.name)).arrays
        self.per_row = max(part.per_row for part in parts)

    def _check(self, parts: list[Split]) -> None:
        chunks = {
            tuple((a.chunk, a.dtype.str) for a in part.arrays): part.store.path for part in parts
        }
        if len(chunks) > 1:
            shapes = [f"{path} of {a[0][0]} {a[0][1]}" for a, path in chunks.items()]
            raise StoreError(
                f"these stores are divided differently: chunks in {' and '.join(shapes)}; "
                "convert their recordings together instead"
            )

    @abstractmethod
    def shape_of(self, array: ShardGrid) -> tuple[int, ...]:
        """The shape of a new array, of which one of a parent is the model."""

    @abstractmethod
    def chunks(self, rows: list[Row], number: int) -> Iterator[tuple[int, int, bytes]]:
        """Row and column of each chunk of a row of shards, with its bytes, of array `number`."""

    def columns(self) -> dict[str, np.ndarray]:
        """The columns that say where samples are."""
        return {}

    @cached_property
    def arrays(self) -> list[ShardGrid]:
        """The arrays of the new split: those of a parent with another shape."""
        first, made = self.samples[0].part, []
        names = first.layout(self.split, first.kind)
        for name, old, model in zip(names, first.arrays, self.model, strict=True):
            grid = {"name": "regular", "configuration": {"chunk_shape": list(model.shard)}}
            document = {**old.document, "shape": list(self.shape_of(model)), "chunk_grid": grid}
            made.append(ShardGrid(name, document))
        return made

    def groups(self) -> Iterator[tuple[int, list[Row]]]:
        """The samples of each row of shards, with its number."""
        for first in range(0, len(self.samples), self.per_row):
            yield first // self.per_row, self.samples[first : first + self.per_row]

    def write(self, tree: Storage, number: int, rows: list[Row]) -> Files:
        """The files of one row of shards, with their bytes and checksums."""
        files: Files = {}
        if self._is_whole(rows):
            self._link(tree, number, rows[0], files)
            return files
        for which, array in enumerate(self.arrays):
            shards: dict[int, dict[int, bytes]] = {}
            for i, j, data in self.chunks(rows, which):
                shard, slot = array.place(i, j)
                shards.setdefault(shard, {})[slot] = data
            for shard, found in sorted(shards.items()):
                data = pack([found.get(slot) for slot in range(array.per_shard)])
                name = array.file(number * array.columns + shard)
                (tree / name).write(data)
                files[name] = {"bytes": len(data), "crc": crc32(data)}
        return files

    def may_link(self, row: Row) -> bool:
        """Whether the chunks of a sample's store may be those of the new one."""
        return True

    def _is_whole(self, rows: list[Row]) -> bool:
        """Whether samples are just a row of shards of a parent."""
        part = rows[0].part
        here = [(id(row.part), row.index) for row in rows]
        whole = [(id(part), i) for i in part.samples_of(part.row_of(rows[0].index))]
        pairs = zip(part.arrays, self.arrays, strict=True)
        return (
            here == whole and all(a.shard == b.shard for a, b in pairs) and self.may_link(rows[0])
        )

    def _link(self, tree: Storage, number: int, first: Row, files: Files) -> None:
        """Link or copy the shards of a parent."""
        row = first.part.row_of(first.index)
        for mine, theirs in zip(self.arrays, first.part.arrays, strict=True):
            present = self._listed(theirs)
            for source, name in zip(theirs.files(row), mine.files(number), strict=False):
                if source in present:
                    size, crc = present[source]
                    self._put(first.part.store.path / source, tree / name, size, crc)
                    files[name] = {"bytes": size, "crc": crc}

    def _put(self, source: Storage, target: Storage, size: int, crc: int) -> None:
        """Link a shard of a parent, or copy it; compared with its entry either way."""
        if source.checksum(size) != (size, crc):
            raise StoreDamaged(f"{source}: is not what was written there; run eventkit verify")
        if not source.is_remote and target.linked(source):
            self.counts["linked"] += 1
            return
        data = source.read(size)
        if crc32(data) != crc:  # what is copied, as it may have changed since
            raise StoreDamaged(f"{source}: is not what was written there; run eventkit verify")
        target.write(data)
        self.counts["whole"] += 1

    def _listed(self, array: ShardedArray) -> dict[str, tuple[int, int]]:
        if id(array) not in self._present:
            self._present[id(array)] = {n: (size, crc) for n, size, crc in array.listed()}
        return self._present[id(array)]

    @cached_property
    def _present(self) -> dict[int, dict[str, tuple[int, int]]]:
        return {}

    def raw(self, row: Row, number: int, i: int, j: int) -> bytes:
        """One encoded chunk of array `number` of a parent, compared with its checksum."""
        array = row.part.arrays[number]
        data = array.encoded(i, j)
        good = data is not None and len(data) >= 20
        if data is None or not good or struct.unpack("<I", data[-4:])[0] != crc32c(data[:-4]):
            where = row.part.store.path / array.file(array.place(i, j)[0])
            raise StoreDamaged(f"{where}: a chunk is damaged or absent; run eventkit verify")
        self.counts["copied"] += 1
        return data
