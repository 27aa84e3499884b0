"""Dense arrays with other codecs than eventkit writes, read by zarr-python: slower, the same.

Somebody may have rewritten a store with other codecs. What zarr-python reads as zeros, a shard that
is missing, is an error here too.
"""

from typing import Any

import numpy as np

from eventkit.errors import StoreDamaged
from eventkit.store.storage import Storage


def is_ours(node: dict[str, Any]) -> bool:
    """Whether the array is encoded as shard.py reads it."""
    codecs = node["codecs"]
    sharding = codecs[0].get("configuration", {})
    if len(codecs) != 1 or sharding.get("index_location", "end") != "end":
        return False
    inner, index = sharding["codecs"], sharding["index_codecs"]
    little = all(
        chain[0].get("configuration", {}).get("endian", "little") == "little"
        for chain in (inner, index)
    )
    encoding = node["chunk_key_encoding"]
    return (
        [codec["name"] for codec in inner] == ["bytes", "blosc", "crc32c"]
        and [codec["name"] for codec in index] == ["bytes", "crc32c"]
        and little
        and encoding["name"] == "default"
        and encoding.get("configuration", {}).get("separator", "/") == "."
    )


class Foreign:
    """An array (N, T, C, H, W), read a sample or a part of its frames at a time."""

    def __init__(self, path: Storage) -> None:
        self.path = path
        self._array: Any = None

    def read(self, index: int, first: int, out: np.ndarray) -> None:
        """Frames first..first + len(out) of a sample."""
        if self._array is None:
            self._array = self.path.open_zarr()
        grid = self._array.shards or self._array.chunks
        for j in range(first // grid[1], -(-(first + len(out)) // grid[1])):
            key = self._array.metadata.encode_chunk_key((index // grid[0], j, 0, 0, 0))
            if not (self.path / key).exists():
                raise StoreDamaged(f"{self.path / key}: shard is missing; run eventkit verify")
        try:
            out[:] = self._array[index, first : first + len(out)]
        except (ValueError, RuntimeError, TypeError) as error:
            raise StoreDamaged(
                f"{self.path}: sample {index} cannot be read by zarr-python ({error})"
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}  # each process opens its own
