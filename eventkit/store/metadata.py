"""The `zarr.json` documents of a store, as plain dictionaries, always written the same way."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from eventkit.errors import StoreDamaged, StoreError
from eventkit.store.shard import Codec

SCHEMA = 1  # what is written; older ones are read
COPY = "integrity/attributes"  # the root's attributes once more, as UTF-8
COPY_FILES = (f"{COPY}/zarr.json", f"{COPY}/c.0")  # which it cannot list itself
MAX_ROOT = 1 << 26  # bytes of the root document
COLUMNS = "txyp"  # of events
NO_LIMIT = -(2**63)  # in window_start and window_stop: the recording's own begin or end
_INDEX_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
SMALL_ARRAY = Codec("zstd", 3, "shuffle")


def dumps(document: Any) -> bytes:
    """Canonical JSON: one text for one document, so that every changed bit can be seen."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def array(
    shape: tuple[int, ...],
    dtype: np.dtype,
    dims: tuple[str, ...],
    *,
    chunk: tuple[int, ...],
    shard: tuple[int, ...] | None = None,
    codec: Codec = SMALL_ARRAY,
) -> dict[str, Any]:
    """The document of one array; with `shard`, inner chunks of shape `chunk` in shards."""
    codecs = codec.metadata(dtype.itemsize)
    if shard is not None:
        configuration = {
            "chunk_shape": list(chunk),
            "codecs": codecs,
            "index_codecs": _INDEX_CODECS,
            "index_location": "end",
        }
        codecs = [{"name": "sharding_indexed", "configuration": configuration}]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shard or chunk)}},
        # One flat file per shard: c.0.0.0, not a chain of folders with one entry each.
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0 if dtype.kind in "iu" else 0.0,
        "codecs": codecs,
        "attributes": {},
        "dimension_names": list(dims),
    }


def of_samples(node: dict[str, Any]) -> bool:
    """Whether an array has one entry a sample: all but the columns of events."""
    return bool(node["dimension_names"][0] == "sample")


def is_sharded(node: dict[str, Any]) -> bool:
    """Whether an array's chunks are in shards; the others are one chunk."""
    return bool(node["codecs"][0]["name"] == "sharding_indexed")


def per_entry(column: str) -> int:
    """How many events an entry of a column of events holds: eight polarities are one byte."""
    return 8 if column.endswith("p") else 1


def digest(value: Any) -> str:
    """The sha256 of any JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def plan_digest(plan: dict[str, Any]) -> str:
    """The digest of a plan's document, whatever version of eventkit made it."""
    return digest({key: value for key, value in plan.items() if key != "version"})


def split_digest(rows: Iterable[Sequence[Any]]) -> str:
    """The digest of a split: of (source, start, stop, label) of each sample, in order."""
    return digest([list(row) for row in rows])


def copy_of(attributes: dict[str, Any]) -> np.ndarray:
    """The array `integrity/attributes`: the root's attributes but for its own files and digest."""
    files = {name: entry for name, entry in attributes["files"].items() if name not in COPY_FILES}
    return np.frombuffer(dumps({**attributes, "files": files, "digest": ""}), np.uint8)


def group(attributes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The document of one group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes or {}}


def root(attributes: dict[str, Any], nodes: dict[str, dict[str, Any]]) -> bytes:
    """The root document: attributes, a digest of itself, and all other documents consolidated."""
    document = group({"eventkit": {**attributes, "digest": ""}})
    document["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": dict(sorted(nodes.items())),
    }
    digest = hashlib.sha256(dumps(document)).hexdigest()
    document["attributes"]["eventkit"]["digest"] = digest
    return dumps(document)


def parse_root(text: bytes, where: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The attributes and the documents of all nodes of a root document, its digest checked.

    Raises StoreDamaged when a bit of it changed, StoreError when it is of a newer schema.
    """
    check_little_endian()
    try:
        document = json.loads(text)
        attributes: dict[str, Any] = document["attributes"]["eventkit"]
        found, attributes["digest"] = attributes["digest"], ""
        right = hashlib.sha256(dumps(document)).hexdigest() == found
        attributes["digest"] = found
        right = right and dumps(document) == text
    except (ValueError, KeyError, TypeError, RecursionError):
        right = False
    if not right:
        raise StoreDamaged(
            f"{where}/zarr.json was changed or cut; its digest differs; run eventkit repair"
        )
    schema = attributes.get("schema")
    if not isinstance(schema, int) or schema < 1:
        raise StoreDamaged(f"{where}/zarr.json: its schema is {schema!r}, expected a number")
    if schema > SCHEMA:
        raise StoreError(
            f"{where}: store of schema {schema}, this eventkit reads up to schema {SCHEMA}; "
            "update eventkit"
        )
    return attributes, document.get("consolidated_metadata", {}).get("metadata")


def check_little_endian() -> None:
    """Raise StoreError on a machine whose arrays would have to be byte-swapped."""
    if not np.little_endian:
        raise StoreError("eventkit stores are written and read on little-endian machines only")
