"""Encoded samples of stores, put together in new shards: links, raw chunks, and at worst anew."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from eventkit.errors import StoreDamaged, StoreError
from eventkit.store import Store
from eventkit.store.building import link_file, write_file
from eventkit.store.files import read_file
from eventkit.store.objects import Place
from eventkit.store.shard import Codec, crc32, crc32c, pack
from eventkit.store.sharded import Sharded
from eventkit.store.verify import file_sum


@dataclass(frozen=True)
class Row:
    """One sample: where it is now."""

    store: Store
    split: str
    index: int


class Copier:
    """The samples of one new split, in the shards of the largest of their stores' shape."""

    def __init__(
        self, split: str, samples: list[Row], first: Store, counts: dict[str, int]
    ) -> None:
        self.split, self.samples, self.counts = split, samples, counts
        self.events = first.kind == "events"
        self.codec = Codec(**first.attributes["plan"]["codec"])
        origins = {(id(row.store), row.split): row for row in samples}
        self._arrays = {key: Sharded.of(row.store, row.split) for key, row in origins.items()}
        self._present: dict[tuple[int, str], dict[str, tuple[int, int]]] = {}
        largest = max(origins, key=lambda key: (self._arrays[key][0].shard, key[1]))
        self._check(origins)
        self.model = self._arrays[largest]
        self.per_group = self._samples_per_group(origins)
        self._names = [array.name.partition("/")[2] for array in self.model]

    def _check(self, origins: dict[tuple[int, str], Row]) -> None:
        """Chunks must be of one shape, and of events of one codec."""
        chunks = {
            tuple((a.chunk, a.dtype.str) for a in arrays): origins[key].store.path
            for key, arrays in self._arrays.items()
        }
        if len(chunks) > 1:
            shapes = [f"{path} of {a[0][0]} {a[0][1]}" for a, path in chunks.items()]
            raise StoreError(
                f"these stores are divided differently: chunks in {' and '.join(shapes)}; "
                "convert their recordings together instead"
            )
        codecs = {str(row.store.attributes["plan"]["codec"]) for row in origins.values()}
        if self.events and len(codecs) > 1:
            raise StoreError(
                "these stores of events have different codecs; convert one of them again"
            )

    def _samples_per_group(self, origins: dict[tuple[int, str], Row]) -> int:
        """How many samples a row of shards has: as many as in the fullest of the parents."""
        if not self.events:
            return max(arrays[0].shard[0] for arrays in self._arrays.values())
        return max(
            int(np.bincount(row.store[row.split].column("segment")).max())
            for row in origins.values()
        )

    @cached_property
    def arrays(self) -> list[Sharded]:
        """The arrays of the new split."""
        made = []
        for array, name in zip(self.model, self._names, strict=True):
            integrity = f"integrity/{self.split}" + (f"/{name}" if self.events else "")
            shape = list(array.shape)
            shard = array.shard
            if self.events:
                chunk = array.chunk[1]
                shape[:2] = len(list(self.groups())), max(1, self._longest()) * chunk
                shard = (1, max(a[0].shard[1] for a in self._arrays.values()) // self._pack(name))
            else:
                shape[0] = len(self.samples)
                shape[1] = max(1, max(self._frames(row) for row in self.samples))
                shard = (self.per_group, *array.shard[1:])
            made.append(
                replace(
                    array,
                    name=f"{self.split}/{name}",
                    integrity=integrity,
                    shape=tuple(shape),
                    shard=tuple(shard),
                )
            )
        return made

    def _pack(self, name: str) -> int:
        return 8 if name == "events/p" else 1

    def documents(self) -> Iterator[tuple[Sharded, dict[str, Any]]]:
        """Each new array and its document: that of a parent with another shape."""
        row = self.samples[0]
        for array, name in zip(self.arrays, self._names, strict=True):
            old = row.store.nodes[f"{row.split}/{name}"]
            document = {**old, "shape": list(array.shape)}
            grid = {"chunk_shape": list(array.shard)}
            document["chunk_grid"] = {"name": "regular", "configuration": grid}
            yield array, document

    def groups(self) -> Iterator[tuple[int, list[Row]]]:
        """The samples of each row of shards, with its number."""
        for first in range(0, len(self.samples), self.per_group):
            yield first // self.per_group, self.samples[first : first + self.per_group]

    def places(self) -> dict[str, np.ndarray]:
        """Where the events of each sample are, and when their chunks begin."""
        if not self.events:
            return {}
        segments, starts, times = [], [], []
        chunk = self.model[0].chunk[1]
        for number, rows in self.groups():
            used = 0
            for row in rows:
                segments.append(number)
                starts.append(used * chunk)
                used += self._chunks(row)
                ragged = row.store[row.split].ragged
                times.append(ragged.chunk_times(row.index))
        gathered = np.concatenate(times) if times else np.zeros(0, np.int64)
        return {
            "segment": np.array(segments, np.int32),
            "start": np.array(starts, np.int64),
            "events/chunk_t": gathered if len(gathered) else np.zeros(1, np.int64),
        }

    def write(self, tree: Place, number: int, rows: list[Row]) -> dict[str, dict[str, int]]:
        """The files of one row of shards, with their bytes and checksums."""
        linked = self._whole(tree, number, rows)
        if linked is not None:
            return linked
        files = {}
        for place, array in enumerate(self.arrays):
            chunks = self._event_chunks(rows, place) if self.events else self._dense_chunks(rows)
            columns = array.per_axis[1]
            encoded: dict[int, dict[int, bytes]] = {}
            for i, j, data in chunks:
                slot = i * columns + j % columns
                encoded.setdefault(j // columns, {})[slot] = data
            for j, found in sorted(encoded.items()):
                data = pack([found.get(slot) for slot in range(array.per_shard)])
                name = array.file(number * array.columns + j)
                write_file(tree / name, data)
                files[name] = {"bytes": len(data), "crc": crc32(data)}
        return files

    def _whole(self, tree: Place, number: int, rows: list[Row]) -> dict[str, dict[str, int]] | None:
        """Link or copy the shards of a parent if the row of shards is just that, else None."""
        first = rows[0]
        arrays = self._arrays[id(first.store), first.split]
        part = first.store[first.split]
        if self.events:
            old = int(part.column("segment")[first.index])
            same = np.flatnonzero(part.column("segment") == old).tolist()
        else:
            old = first.index // arrays[0].shard[0]
            end = min((old + 1) * arrays[0].shard[0], len(part))
            same = list(range(old * arrays[0].shard[0], end))
        here = [(id(row.store), row.split, row.index) for row in rows]
        alike = all(a.shard == b.shard for a, b in zip(arrays, self.arrays, strict=True))
        if not alike or here != [(id(first.store), first.split, i) for i in same]:
            return None
        if not self.events and not self._same_codec(first):
            return None
        files = {}
        for mine, theirs in zip(self.arrays, arrays, strict=True):
            present = self._sums(first, theirs)
            for j in range(theirs.columns):
                source = theirs.file(old * theirs.columns + j)
                if source not in present:
                    continue
                size, crc = present[source]
                name = mine.file(number * mine.columns + j)
                self._put(first.store.path / source, tree / name, size, crc)
                files[name] = {"bytes": size, "crc": crc}
        return files

    def _put(self, source: Place, target: Place, size: int, crc: int) -> None:
        """Link a shard of a parent, or copy it; compared with its entry either way."""
        if file_sum(source, size) != (size, crc):
            raise StoreDamaged(f"{source}: is not what was written there; run eventkit verify")
        if link_file(source, target):
            self.counts["linked"] += 1
            return
        data = read_file(source, size)
        if crc32(data) != crc:  # what is copied, as it may have changed since
            raise StoreDamaged(f"{source}: is not what was written there; run eventkit verify")
        write_file(target, data)
        self.counts["whole"] += 1

    def _sums(self, row: Row, array: Sharded) -> dict[str, tuple[int, int]]:
        key = (id(row.store), array.name)
        if key not in self._present:
            self._present[key] = {n: (size, crc) for n, size, crc in array.sums(row.store)}
        return self._present[key]

    def _same_codec(self, row: Row) -> bool:
        return Codec(**row.store.attributes["plan"]["codec"]) == self.codec

    def _dense_chunks(self, rows: list[Row]) -> Iterator[tuple[int, int, bytes]]:
        """Row, column and bytes of the chunks of some samples."""
        (array,) = self.model
        k, step = array.chunk[:2]
        for i in range(-(-len(rows) // k)):
            group = rows[i * k : (i + 1) * k]
            longest = max(map(self._frames, group))
            raw = self._same_codec(group[0]) and self._together(group, k)
            for j in range(-(-longest // step)):
                if raw:
                    data = self._raw(group[0], 0, group[0].index // k, j)
                    self.counts["copied"] += 1
                else:
                    data = self.codec.encode(self._decoded(group, j * step))
                    self.counts["encoded"] += 1
                yield i, j, data

    def _together(self, group: list[Row], k: int) -> bool:
        """Whether samples are all of one chunk of a parent, in their order."""
        first = group[0]
        count = min(k, len(first.store[first.split]) - first.index)
        same = [Row(first.store, first.split, first.index + n) for n in range(len(group))]
        return first.index % k == 0 and len(group) == count and group == same

    def _decoded(self, group: list[Row], first: int) -> np.ndarray:
        chunk = np.zeros(self.model[0].chunk, self.model[0].dtype)
        for out, row in zip(chunk, group, strict=False):
            frames = row.store[row.split].read([row.index])[0][first : first + len(out)]
            out[: len(frames)] = frames
        return chunk

    def _event_chunks(self, rows: list[Row], place: int) -> Iterator[tuple[int, int, bytes]]:
        used = 0
        for row in rows:
            part = row.store[row.split]
            segment = int(part.column("segment")[row.index])
            first = int(part.column("start")[row.index]) // self.model[0].chunk[1]
            for n in range(self._chunks(row)):
                yield 0, used + n, self._raw(row, place, segment, first + n)
                self.counts["copied"] += 1
            used += self._chunks(row)

    def _raw(self, row: Row, place: int, i: int, j: int) -> bytes:
        """One encoded chunk of a parent, compared with its checksum."""
        array = self._arrays[id(row.store), row.split][place]
        number, slot = array.place(i, j)
        data = array.open(row.store, number).encoded(slot)
        good = data is not None and len(data) >= 20
        if data is None or not good or struct.unpack("<I", data[-4:])[0] != crc32c(data[:-4]):
            where = row.store.path / array.file(number)
            raise StoreDamaged(f"{where}: a chunk is damaged or absent; run eventkit verify")
        return data

    def _frames(self, row: Row) -> int:
        return int(row.store[row.split].n_frames[row.index])

    def _chunks(self, row: Row) -> int:
        """How many chunks of events a sample has."""
        return -(-int(row.store[row.split].column("count")[row.index]) // self.model[0].chunk[1])

    def _longest(self) -> int:
        """The chunks of the fullest row of shards."""
        return max(sum(map(self._chunks, rows)) for _, rows in self.groups())
