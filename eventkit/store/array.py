"""Arrays in shards: where their chunks are, and the shards that are open, each compared once.

Chunks have checksums of their own, by which a changed bit is found whenever one is read. They do
not say where a chunk belongs: a shard in the place of another, or of another store, is sound in
itself. Only the lists below `integrity/` know what was written here.
"""

import math
import mmap
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np

from eventkit.errors import StoreDamaged
from eventkit.store.shard import File, Shard, shard_name
from eventkit.store.storage import Stamp, Storage

KEPT = 64  # shards that are kept open


class Checksums:
    """Bytes and crc32 of every shard of an array, and which of them were compared.

    The latter is in memory that forked processes share: a shard is compared once, and not by every
    worker anew.
    """

    def __init__(self, sizes: np.ndarray, crcs: np.ndarray) -> None:
        self.sizes, self.crcs = sizes.tolist(), crcs.tolist()
        self._allocate()

    def _allocate(self) -> None:
        self._seen = mmap.mmap(-1, max(len(self.sizes), 1))

    def compare(self, number: int, path: Storage, file: File, anew: bool) -> None:
        """Raise StoreDamaged if a file is not shard `number`; `anew`, if it was compared too."""
        if anew or not self._seen[number]:
            self._compare(number, path, file)
            self._seen[number] = 1

    def _compare(self, number: int, path: Storage, file: File) -> None:
        size, crc = self.sizes[number], self.crcs[number]
        if not size:
            raise StoreDamaged(f"{path}: does not belong to the store; run eventkit verify")
        if file.size != size:
            raise StoreDamaged(
                f"{path}: has {file.size:,} bytes, expected {size:,}; run eventkit verify"
            )
        if (found := file.crc32()) != crc:
            raise StoreDamaged(
                f"{path}: its checksum differs, {found:08x} instead of {crc:08x}: it is damaged "
                "or belongs elsewhere; run eventkit verify"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"sizes": self.sizes, "crcs": self.crcs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._allocate()


class ShardGrid:
    """How an array is divided: into chunks along its first two axes, and those into shards.

    Shard number n holds the chunks of shard row n // columns and column n % columns.
    """

    def __init__(self, name: str, document: dict[str, Any]) -> None:
        """`name` is <split>/<array>, and `document` the array's `zarr.json`."""
        self.name, self.document = name, document
        self.shape: tuple[int, ...] = tuple(document["shape"])
        self.dtype = np.dtype(document["data_type"])
        self.shard: tuple[int, ...] = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
        self.chunk: tuple[int, ...] = tuple(document["codecs"][0]["configuration"]["chunk_shape"])
        self.per_axis = self.shard[0] // self.chunk[0], self.shard[1] // self.chunk[1]  # chunks
        self.per_shard = math.prod(self.per_axis)
        self.rows = -(-self.shape[0] // self.shard[0])  # of shards
        self.columns = max(1, -(-self.shape[1] // self.shard[1]))

    def place(self, i: int, j: int) -> tuple[int, int]:
        """Of the chunk in row i and column j: the number of its shard, and its own in there."""
        rows, columns = self.per_axis
        return i // rows * self.columns + j // columns, i % rows * columns + j % columns

    def file(self, number: int) -> str:
        """The file of a shard, below the store."""
        i, j = divmod(number, self.columns)
        return f"{self.name}/{shard_name(i, j, len(self.shape))}"

    def files(self, row: int | None = None) -> list[str]:
        """The files that all shards may have, or those of one row of shards."""
        rows = range(self.rows) if row is None else [row]
        return [self.file(row * self.columns + j) for row in rows for j in range(self.columns)]

    def listing(
        self, found: Callable[[str], tuple[int, int] | None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """`shard_bytes` and `shard_crc`: what `found` says of each file; 0 where there is none."""
        entries = [found(file) or (0, 0) for file in self.files()]
        sizes, crcs = zip(*entries, strict=True) if entries else ((), ())
        return np.array(sizes, np.uint64), np.array(crcs, np.uint32)


class ShardedArray(ShardGrid):
    """An array of a store, read by chunks. Thread-safe, as what it opens is."""

    def __init__(
        self,
        root: Storage,
        name: str,
        document: dict[str, Any],
        integrity: str = "",
        checksums: Callable[[], Checksums] | None = None,
        stamp: Stamp | None = None,
    ) -> None:
        """`integrity` is where the lists are that `checksums` reads; without, none is compared.

        `stamp` tells a store that was replaced.
        """
        super().__init__(name, document)
        self.path, self.integrity = root / name, integrity
        self._root, self._checksums, self._stamp = root, checksums, stamp
        self._open: OrderedDict[int, Shard] = OrderedDict()

    @cached_property
    def checksums(self) -> Checksums | None:
        """Bytes and checksum of every shard. StoreDamaged if they are not of so many shards."""
        if self._checksums is None:
            return None
        found = self._checksums()
        if len(found.sizes) != self.rows * self.columns:
            raise StoreDamaged(
                f"{self.path}: its list of checksums is of {len(found.sizes):,} shards; run "
                "eventkit verify"
            )
        return found

    def listed(self) -> Iterator[tuple[str, int, int]]:
        """File, bytes and crc32 of each shard that there is."""
        if self.checksums is not None:
            rows = zip(self.checksums.sizes, self.checksums.crcs, strict=True)
            for file, (size, crc) in zip(self.files(), rows, strict=True):
                if size:
                    yield file, size, crc

    def open(self, number: int) -> Shard:
        """A shard. StoreDamaged when it is not what was written there."""
        shard = self._open.get(number)
        if shard is None:
            path, checksums = self._root / self.file(number), self.checksums
            compare = partial(checksums.compare, number, path) if checksums else None
            try:
                shard = Shard(path, self.per_shard, compare)
            except StoreDamaged:
                if self._stamp is not None:  # what belongs to a store that took this one's place
                    self._stamp.check()
                raise
            self._open[number] = shard
            if len(self._open) > KEPT:
                # Whoever reads from it still holds it; the file closes with its last holder.
                self._open.popitem(last=False)
        return shard

    def read(self, i: int, j: int, out: np.ndarray) -> None:
        """Decode the chunk in row i and column j. StoreDamaged if it is absent or damaged."""
        rows, columns = self.per_axis  # as in `place`, without the calls: this is the hot path
        number = i // rows * self.columns + j // columns
        shard = self._open.get(number) or self.open(number)
        if not shard.read(i % rows * columns + j % columns, out):
            raise StoreDamaged(f"{shard.path}: chunk {i}, {j} is absent; run eventkit verify")

    def encoded(self, i: int, j: int) -> bytes | None:
        """The bytes of a chunk as they are in its shard, unchecked; None if it is absent."""
        number, slot = self.place(i, j)
        return self.open(number).encoded(slot)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}  # open files stay in their process
