"""Where the chunks of a store are: which file of which array, at which place in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from eventkit.store import Store
from eventkit.store.shard import Shard, shard_name


@dataclass(frozen=True)
class Sharded:
    """An array in shards: frames or data (N, T, C, H, W), or one column of events (segments, L).

    Shard number n holds the chunks of shard row n // columns and column n % columns.
    """

    name: str  # <split>/<array>
    integrity: str  # where the bytes and checksums of its shards are
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, store: Store, split: str) -> list[Self]:
        """The arrays of a split that are in shards: one, or the four columns of events."""
        kind = store[split].kind
        if kind != "events":
            return [cls.make(f"{split}/{kind}", f"integrity/{split}", store.nodes)]
        names = [f"{split}/events/{column}" for column in "txyp"]
        return [cls.make(name, f"integrity/{name}", store.nodes) for name in names]

    @classmethod
    def make(cls, name: str, integrity: str, nodes: dict[str, dict[str, Any]]) -> Self:
        """The array of that name, as its document describes it."""
        node = nodes[name]
        return cls(
            name,
            integrity,
            tuple(node["shape"]),
            tuple(node["codecs"][0]["configuration"]["chunk_shape"]),
            tuple(node["chunk_grid"]["configuration"]["chunk_shape"]),
            np.dtype(node["data_type"]),
        )

    @cached_property
    def columns(self) -> int:
        """How many shards there are along the second axis."""
        return max(1, -(-self.shape[1] // self.shard[1]))

    @cached_property
    def rows(self) -> int:
        """How many shards there are along the first axis."""
        return -(-self.shape[0] // self.shard[0])

    @cached_property
    def per_axis(self) -> tuple[int, int]:
        """How many chunks a shard has along its first two axes; the others are not divided."""
        return self.shard[0] // self.chunk[0], self.shard[1] // self.chunk[1]

    @cached_property
    def per_shard(self) -> int:
        """How many chunks a shard has."""
        rows, columns = self.per_axis
        return rows * columns

    def place(self, i: int, j: int) -> tuple[int, int]:
        """Of the chunk in row i and column j: the number of its shard, and its own in there."""
        rows, columns = self.per_axis
        return i // rows * self.columns + j // columns, i % rows * columns + j % columns

    def file(self, number: int) -> str:
        """The file of a shard, below the store."""
        i, j = divmod(number, self.columns)
        return f"{self.name}/{shard_name(i, j, len(self.shape))}"

    def open(self, store: Store, number: int) -> Shard:
        """An open shard. StoreDamaged when it is not what was written there."""
        return store.shards(self.name).open(*divmod(number, self.columns))

    def sums(self, store: Store) -> Iterator[tuple[str, int, int]]:
        """File, bytes and crc32 of each shard that there is."""
        sizes = store.small(f"{self.integrity}/shard_bytes").tolist()
        crcs = store.small(f"{self.integrity}/shard_crc").tolist()
        for number, (size, crc) in enumerate(zip(sizes, crcs, strict=True)):
            if size:
                yield self.file(number), size, crc
