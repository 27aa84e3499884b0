"""The small arrays and all documents of a store that grows, and the root that lists them."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from eventkit import __version__
from eventkit.store import metadata, notes
from eventkit.store.array import ShardGrid
from eventkit.store.journal import Key
from eventkit.store.local import failpoint
from eventkit.store.shard import crc32


def versions() -> dict[str, str]:
    """What made the bytes of a store."""
    return {
        "eventkit": __version__,
        "numpy": np.__version__,
        "numba": version("numba"),
        "numcodecs": version("numcodecs"),
    }


class Growing(Protocol):
    """A tree that grows, and what the jobs told that filled it."""

    tree: Any  # Storage
    done: dict[Key, dict[str, Any]]

    def folder_of(self, *parts: str) -> Any:
        """A folder of the tree, made if it is missing."""


class Tree:
    """Writes arrays and documents and remembers both for the root."""

    def __init__(self, building: Growing) -> None:
        self.building = building
        self.nodes: dict[str, dict[str, Any]] = {}
        self.files: dict[str, list[int]] = {}

    def file(self, name: str, data: bytes) -> None:
        path = self.building.folder_of(*name.split("/")[:-1]) / name.rpartition("/")[2]
        path.write(data)
        self.files[name] = [len(data), crc32(data)]

    def node(self, name: str, document: dict[str, Any]) -> None:
        """A group or an array; the groups above it come first."""
        parent = name.rpartition("/")[0]
        if parent and parent not in self.nodes:
            self.node(parent, metadata.group())
        self.nodes[name] = document
        self.file(f"{name}/zarr.json", metadata.dumps(document))

    def column(self, name: str, values: np.ndarray, dim: str, **attributes: Any) -> None:
        """A one-dimensional array in one chunk."""
        values = np.ascontiguousarray(values)
        document = metadata.array(values.shape, values.dtype, (dim,), chunk=values.shape)
        document["attributes"] = attributes
        self.node(name, document)
        self.file(f"{name}/c.0", metadata.SMALL_ARRAY.encode(values))

    def sources(self, names: Sequence[str], sizes: Sequence[int], crcs: Sequence[int]) -> None:
        """The files that the samples are of: names (UTF-8, one per line), bytes, crc32c."""
        text = np.frombuffer("\n".join(names).encode(), np.uint8)
        self.column("sources/names", text, "byte")
        self.column("sources/bytes", np.array(sizes, np.int64), "source")
        self.column("sources/crc32c", np.array(crcs, np.uint32), "source")

    def sharded(
        self,
        name: str,
        document: dict[str, Any],
        integrity: str,
        files: Mapping[str, Mapping[str, int]],
    ) -> None:
        """An array in shards: its document, and below `integrity` the checksums of its files."""
        self.node(name, document)

        def found(file: str) -> tuple[int, int] | None:
            return (files[file]["bytes"], files[file]["crc"]) if file in files else None

        sizes, crcs = ShardGrid(name, document).listing(found)
        self.column(f"{integrity}/shard_bytes", sizes, "shard")
        self.column(f"{integrity}/shard_crc", crcs, "shard")

    def root(
        self,
        plan: dict[str, Any],
        samples: dict[str, int],
        about: dict[str, Any],
        warnings: Sequence[str],
        more: dict[str, Any] | None = None,
    ) -> None:
        """The root document, which says `complete`; last.

        `samples` is how many each split has; `about` are kind, dataset, title, cite, license,
        classes, size, represent and command; `more` is what only some stores say.
        """
        more = dict(more or {})
        attributes = {
            "schema": metadata.SCHEMA,
            "kind": about["kind"],
            "status": "complete",
            **{key: about[key] for key in ("dataset", "title", "cite", "license")},
            **{key: about[key] for key in ("classes", "size", "represent")},
            "splits": {
                split: {"samples": count, "sha256": plan["splits"][split]}
                for split, count in samples.items()
            },
            "command": about["command"],
            "plan": plan,
            "plan_digest": metadata.plan_digest(plan),
            "versions": versions(),
            **{key: more.pop(key) for key in ("parents",) if key in more},
            "warnings": notes.bounded(warnings),
            "files": dict(sorted(self.files.items())),
            **more,
        }
        # A copy of the attributes, from which a damaged root can be restored.
        self.column(metadata.COPY, metadata.copy_of(attributes), "byte")
        attributes["files"] = dict(sorted(self.files.items()))
        failpoint("before_root")
        (self.building.tree / "zarr.json").write(metadata.root(attributes, self.nodes))
