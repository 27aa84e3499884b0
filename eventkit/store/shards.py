"""The shards of one array: opened when they are needed, each compared once with what was written.

Chunks have checksums of their own, by which a changed bit is found whenever one is read. They do
not say where a chunk belongs: a shard in the place of another, or of another store, is sound in
itself. Only the lists below `integrity/` know what was written here.
"""

import mmap
from collections import OrderedDict
from typing import Any

import numpy as np

from eventkit.errors import StoreDamaged
from eventkit.store.files import Opened, Stamp
from eventkit.store.objects import Place, Ranged
from eventkit.store.shard import Shard, shard_name

KEPT = 64  # shards that are kept open


class Sums:
    """Bytes and crc32 of every shard of an array, and which of them were compared.

    The latter is in memory that forked processes share: a shard is compared once, and not by every
    worker anew.
    """

    def __init__(self, sizes: np.ndarray, crcs: np.ndarray) -> None:
        self.sizes, self.crcs = sizes.tolist(), crcs.tolist()
        self._allocate()

    def _allocate(self) -> None:
        self._seen = mmap.mmap(-1, max(len(self.sizes), 1))

    def compare(self, number: int, file: Opened | Ranged, path: Place, *, anew: bool) -> None:
        """Raise StoreDamaged if a file is not shard `number`; `anew`, if it was compared too."""
        if anew or not self._seen[number]:
            self._compare(number, file, path)
            self._seen[number] = 1

    def _compare(self, number: int, file: Opened | Ranged, path: Place) -> None:
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


class Shards:
    """The shards of one array, by row and column. Thread-safe, as what it opens is."""

    def __init__(
        self,
        path: Place,
        node: dict[str, Any],
        sums: Sums | None = None,
        stamp: Stamp | None = None,
    ) -> None:
        """Without `sums`, shards are not compared; `stamp` tells a store that was replaced."""
        self.path, self._sums, self._stamp = path, sums, stamp
        shape = node["shape"]
        outer = node["chunk_grid"]["configuration"]["chunk_shape"]
        inner = node["codecs"][0]["configuration"]["chunk_shape"]
        self._axes = len(shape)
        self._columns = max(1, -(-shape[1] // outer[1]))
        self._chunks = int(np.prod([o // i for o, i in zip(outer, inner, strict=True)]))
        self._open: OrderedDict[tuple[int, int], Shard] = OrderedDict()
        if sums is not None and len(sums.sizes) != -(-shape[0] // outer[0]) * self._columns:
            raise StoreDamaged(
                f"{path}: its list of checksums is of {len(sums.sizes):,} shards; run eventkit "
                "verify"
            )

    def open(self, i: int, j: int) -> Shard:
        """The shard in row i and column j. StoreDamaged when it is not what was written there."""
        shard = self._open.get((i, j))
        if shard is None:
            path = self.path / shard_name(i, j, self._axes)
            try:
                shard = Shard(path, self._chunks, self._sums, i * self._columns + j)
            except StoreDamaged:
                if self._stamp is not None:  # what belongs to a store that took this one's place
                    self._stamp.check()
                raise
            self._open[i, j] = shard
            if len(self._open) > KEPT:
                # Whoever reads from it still holds it; the file closes with its last holder.
                self._open.popitem(last=False)
        return shard

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}  # open files stay in their process
