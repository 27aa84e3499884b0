"""What reads an open store: its root, the small arrays that it lists, and those in shards."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from eventkit.errors import StoreDamaged, StoreError
from eventkit.store import metadata
from eventkit.store.array import Checksums, ShardedArray
from eventkit.store.shard import crc32, decode
from eventkit.store.storage import Stamp, Storage


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file or array of a store."""

    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


class Reader:
    """The files of a store, as its root document describes them."""

    def __init__(
        self,
        path: Storage,
        attributes: dict[str, Any],
        nodes: dict[str, dict[str, Any]],
        stamp: Stamp,
    ) -> None:
        """`nodes` are the documents of all arrays and groups by their paths."""
        self.path, self.attributes, self.nodes, self.stamp = path, attributes, nodes, stamp
        self._arrays: dict[str, ShardedArray] = {}

    def small(self, name: str) -> np.ndarray:
        """A one-dimensional array by its path, as "integrity/train/shard_bytes"."""
        node = self.nodes[name]
        out = np.empty(node["shape"], node["data_type"])
        decode(self._encoded(name), out, str(self.path / name / "c.0"))
        return out

    def array(self, name: str, integrity: str) -> ShardedArray:
        """An array in shards by its path, as "train/frames", and that of its checksums."""
        if name not in self._arrays:
            self._arrays[name] = ShardedArray(
                self.path,
                name,
                self.nodes[name],
                integrity,
                partial(self._checksums, integrity),
                self.stamp,
            )
        return self._arrays[name]

    def _checksums(self, integrity: str) -> Checksums:
        return Checksums(
            self.small(f"{integrity}/shard_bytes"), self.small(f"{integrity}/shard_crc")
        )

    def check_small(self) -> None:
        """Compare every column, and every list of checksums, with what the root says of it."""
        tops = {*self.attributes["splits"], "integrity"}
        names = [
            name
            for name, node in self.nodes.items()
            if node["node_type"] == "array"
            and name.partition("/")[0] in tops
            and name != metadata.COPY
            and not metadata.is_sharded(node)
        ]
        with ThreadPoolExecutor(self.path.parallel) as pool:
            list(pool.map(self._encoded, names))

    def _encoded(self, name: str) -> bytes:
        """The file of a one-dimensional array, compared with what the root says of it."""
        file = self.path / name / "c.0"
        size, crc = self.attributes["files"].get(f"{name}/c.0", (0, 0))
        try:
            data = file.read(size)
            if len(data) != size or crc32(data) != crc:
                raise StoreDamaged(
                    f"{file}: differs from what the root says of it: it is damaged or belongs "
                    "elsewhere; run eventkit verify"
                )
        except StoreDamaged:
            self.stamp.check()  # what belongs to a store that took this one's place
            raise
        return data


def read_root(path: Storage) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Stamp]:
    """The attributes and documents of a finished store, its digest checked, and its stamp."""
    if path.name.endswith(".building"):
        raise StoreError(f"{path}: unfinished conversion; run the same convert command again")
    document = path / "zarr.json"
    if not (document.exists() or document.is_symlink()):
        raise _no_store(path)
    stamp = Stamp.of(path)  # first: what is swapped from here on is noticed
    text = document.read(metadata.MAX_ROOT)
    if b'"eventkit"' not in text and not (path / "integrity").is_dir():
        raise StoreError(f"{path}: is a Zarr group, but not an eventkit store")
    attributes, nodes = metadata.parse_root(text, str(path))
    if attributes.get("status") != "complete":
        raise StoreError(f"{path}: unfinished; run the same convert command again")
    return attributes, nodes, stamp


def _no_store(path: Storage) -> StoreError:
    """What is wrong with a path without a root document."""
    unfinished = path.with_name(path.name + ".building").exists()
    in_place = unfinished and path.is_remote  # there, files grow where they will stay
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
