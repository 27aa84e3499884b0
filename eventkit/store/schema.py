"""Is the root document of a store one that this library could have written?

Its digest only says that it did not change by accident; whoever makes a store to deceive makes the
digest too. So names, shapes and sizes are checked once, on opening, before anything is allocated
or opened by them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventkit.errors import StoreDamaged

# Bytes; the largest that is written: a sample of any representation, a column of any split.
MAX_SAMPLE = 1 << 31
MAX_COLUMN = 1 << 30
MAX_ROOT = 1 << 26
MAX_AXIS = 1 << 48
MAX_CHUNKS = 1 << 22  # in one shard; its index is read at once
ITEM_SIZES = {
    **{f"{kind}int{bits}": bits // 8 for kind in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": bits // 8 for bits in (16, 32, 64)},
}
CODECS = {"bytes", "blosc", "zstd", "gzip", "transpose", "crc32c", "sharding_indexed"}
ATTRIBUTES: dict[str, type] = {
    "status": str,
    "kind": str,
    "dataset": str,
    "classes": list,
    "size": list,
    "represent": str,
    "splits": dict,
    "plan": dict,
    "plan_digest": str,
    "files": dict,
}


def check(attributes: dict[str, Any], nodes: dict[str, dict[str, Any]], root: Path) -> None:
    """Raise StoreDamaged, with what was found, if the root document cannot be followed safely."""
    problem = _attributes(attributes) or _nodes(nodes) or _splits(attributes, nodes)
    if problem is None:
        for name in nodes:
            if (root / name).is_symlink():
                problem = f"but {name} is a link, which may lead anywhere"
                break
    if problem is not None:
        raise StoreDamaged(f"{root}/zarr.json: is no description of a store: {problem}")


def safe_name(name: Any) -> bool:
    """Whether a name stays below the folder that it is joined to."""
    if not isinstance(name, str) or "\0" in name or "\\" in name:
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def _attributes(attributes: dict[str, Any]) -> str | None:
    for name, kind in ATTRIBUTES.items():
        if not isinstance(attributes.get(name), kind):
            return f"attribute {name} is {_shown(attributes.get(name))}, expected a {kind.__name__}"
    for name, entry in attributes["files"].items():
        if not (safe_name(name) and isinstance(entry, list) and len(entry) == 2):
            return f"file {_shown(name)} is listed as {_shown(entry)}"
        if not all(_whole(value, MAX_AXIS) for value in entry):
            return f"file {_shown(name)} is listed as {_shown(entry)}"
    sides = attributes["size"]
    if len(sides) != 2 or not all(_whole(side, 1 << 16) for side in sides):
        return f"the size is {_shown(sides)}"
    if not all(isinstance(name, str) for name in attributes["classes"]):
        return f"the classes are {_shown(attributes['classes'])}"
    return None


def _nodes(nodes: Mapping[str, Any]) -> str | None:
    if not isinstance(nodes, dict):
        return "it lists no arrays"
    for name, node in nodes.items():
        if not safe_name(name):
            return f"an array is called {_shown(name)}"
        if not isinstance(node, dict) or node.get("node_type") not in ("array", "group"):
            return f"{name} is neither array nor group"
        if node["node_type"] == "array":
            try:
                problem = _array(node)
            except (KeyError, IndexError, TypeError, AttributeError):
                problem = "is described incompletely"
            if problem is not None:
                return f"array {name} {problem}"
    return None


def _array(node: dict[str, Any]) -> str | None:
    """What is wrong with the shapes of an array, or None."""
    shape, item = node["shape"], ITEM_SIZES.get(node["data_type"])
    if item is None:
        return f"is of type {_shown(node['data_type'])}"
    outer = node["chunk_grid"]["configuration"]["chunk_shape"]
    codecs = node["codecs"]
    sharded = codecs[0]["name"] == "sharding_indexed"
    inner = codecs[0]["configuration"]["chunk_shape"] if sharded else outer
    encoding = [*codecs, *(codecs[0]["configuration"]["codecs"] if sharded else [])]
    if unknown := [str(codec["name"]) for codec in encoding if codec["name"] not in CODECS]:
        return f"is encoded by {_shown(unknown[0])}"
    if not all(_whole(n, MAX_AXIS) for n in shape) or not 1 <= len(shape) <= 8:
        return f"has the shape {_shown(shape)}"
    if len(node["dimension_names"]) != len(shape):
        return f"of shape {_shown(shape)} has the axes {_shown(node['dimension_names'])}"
    if not len(outer) == len(inner) == len(shape):
        return f"of shape {_shown(shape)} has chunks of {_shown(inner)} in {_shown(outer)}"
    if not all(_whole(n, MAX_AXIS) and n > 0 for n in (*outer, *inner)):
        return f"has chunks of {_shown(inner)} in {_shown(outer)}"
    if any(whole % part for whole, part in zip(outer, inner, strict=True)):
        return f"has chunks of {_shown(inner)}, which do not fill {_shown(outer)}"
    if _product(outer) // _product(inner) > MAX_CHUNKS:
        return f"has {_product(outer) // _product(inner):,} chunks in a shard"
    if sharded:
        largest, limit = _product(inner), MAX_SAMPLE
        if of_samples(node):
            largest = max(largest, _product(shape[1:]))
    else:
        largest, limit = _product(shape), MAX_COLUMN
    if largest * item > limit:
        return f"has chunks or samples of {largest * item:,} bytes"
    return None


def _splits(attributes: dict[str, Any], nodes: dict[str, dict[str, Any]]) -> str | None:
    """Every column of a split has one entry a sample."""
    if not attributes["splits"]:
        return "it has no split"
    for split, entry in attributes["splits"].items():
        if not safe_name(split) or "/" in split or not isinstance(entry, dict):
            return f"a split is called {_shown(split)}"
        samples = entry.get("samples")
        lengths = {
            name: node["shape"][0]
            for name, node in nodes.items()
            if name.startswith(f"{split}/") and node["node_type"] == "array" and of_samples(node)
        }
        if f"{split}/labels" not in lengths:
            return f"split {split} has no labels"
        for name, length in lengths.items():
            if length != samples:
                return f"{name} has {_shown(length)} entries, {split} {_shown(samples)} samples"
    return None


def of_samples(node: dict[str, Any]) -> bool:
    """Whether an array has one entry a sample: all but the columns of events."""
    return bool(node["dimension_names"][0] == "sample")


def _whole(value: Any, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit


def _product(numbers: list[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) < 60 else text[:50] + "..."
