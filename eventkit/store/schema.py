"""Is the root document of a store one that this library could have written?

Its digest only says that it did not change by accident; whoever makes a store to deceive makes the
digest too. So names, shapes and sizes are checked once, on opening, before anything is allocated
or opened by them.
"""

from collections.abc import Mapping
from typing import Any

from eventkit.errors import StoreDamaged
from eventkit.store.kinds import KINDS
from eventkit.store.metadata import COPY, is_sharded, of_samples
from eventkit.store.shard import SHUFFLES
from eventkit.store.storage import Storage

# Bytes; the largest that is written: a sample of any representation, a column of any split.
MAX_SAMPLE = 1 << 31
MAX_COLUMN = 1 << 30
MAX_AXIS = 1 << 48
MAX_CHUNKS = 1 << 22  # in one shard; its index is read at once
ITEM_SIZES = {
    **{f"{kind}int{bits}": bits // 8 for kind in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": bits // 8 for bits in (16, 32, 64)},
}
CNAMES = ("lz4", "lz4hc", "zstd", "zlib", "blosclz", "snappy")
CODECS = {"bytes", "blosc", "zstd", "gzip", "transpose", "crc32c", "sharding_indexed"}
COLUMNS = ("labels", "n_events", "t_start", "t_end", "source")  # of every split
RESERVED = ("integrity", "sources")  # groups of every store, which no split can be called
LEDGER = ("read", "invalid", "out_of_bounds", "unbinned", "binned")
SOURCES = ("sources/names", "sources/bytes", "sources/crc32c")
# What every root says, and of what type; a table may say more. `object` is anything.
ATTRIBUTES: dict[str, Any] = {
    **dict.fromkeys(("status", "kind", "dataset", "title", "cite", "license", "represent"), str),
    **dict.fromkeys(("command", "plan_digest", "digest"), str),
    "classes": [str],
    "size": [int],
    "splits": dict,
    "versions": dict,
    "warnings": [str],
    "files": dict,
    "plan": {
        "representation": {"name": str},
        "transforms": [{"name": str}],
        "codec": {"cname": str, "clevel": int, "shuffle": str},
        "sources": str,
        **dict.fromkeys(("classes", "sensor", "size"), object),
    },
}
SPLIT = {"samples": int, "sha256": str}
PARENT = dict.fromkeys(("name", "digest", "plan_digest", "command"), str) | {"versions": dict}


def check(attributes: dict[str, Any], nodes: dict[str, dict[str, Any]], root: Storage) -> None:
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
    problem = _differs(attributes, ATTRIBUTES, "attribute ")
    problem = problem or _differs(attributes.get("parents", []), [PARENT], "parents")
    plugins = attributes["plan"].get("plugins", {}) if problem is None else {}
    problem = problem or _differs(plugins, dict.fromkeys(plugins, str), "plugins")
    if problem is not None:
        return problem
    for name, entry in attributes["files"].items():
        if not (safe_name(name) and isinstance(entry, list) and len(entry) == 2):
            return f"file {_shown(name)} is listed as {_shown(entry)}"
        if not all(_whole(value, MAX_AXIS) for value in entry):
            return f"file {_shown(name)} is listed as {_shown(entry)}"
    sides = attributes["size"]
    if len(sides) != 2 or not all(_whole(side, 1 << 16) for side in sides):
        return f"the size is {_shown(sides)}"
    codec = attributes["plan"]["codec"]
    known = codec["cname"] in CNAMES and codec["shuffle"] in SHUFFLES
    if len(codec) != 3 or not known or not _whole(codec["clevel"], 9):
        return f"its codec is {_shown(codec)}"
    return None


def _differs(value: Any, expected: Any, name: str) -> str | None:
    """What is not of the type expected: a type, a list of one, or a table of some."""
    if isinstance(expected, dict):
        if not isinstance(value, dict):
            return f"{name} is {_shown(value)}, expected a table"
        for key, kind in expected.items():
            where = f"{name}{key}" if name.endswith(" ") else f"{name}.{key}"
            if key not in value:
                return f"{where} is missing"
            if problem := _differs(value[key], kind, where):
                return problem
        return None
    if isinstance(expected, list):
        if not isinstance(value, list):
            return f"{name} is {_shown(value)}, expected a list"
        return next(filter(None, (_differs(item, expected[0], name) for item in value)), None)
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        return f"{name} is {_shown(value)}, expected a {expected.__name__}"
    return None


def _nodes(nodes: Mapping[str, Any]) -> str | None:
    if not isinstance(nodes, dict):
        return "it lists no arrays"
    for name, node in nodes.items():
        if not safe_name(name):
            return f"an array is called {_shown(name)}"
        if not isinstance(node, dict) or node.get("node_type") not in ("array", "group"):
            return f"{name} is neither array nor group"
        if problem := _differs(node.get("attributes"), dict, f"attributes of {name}"):
            return problem
        if problem := _differs(node["attributes"].get("names", []), [str], f"names of {name}"):
            return problem
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
    sharded = is_sharded(node)
    inner = codecs[0]["configuration"]["chunk_shape"] if sharded else outer
    encoding = [*codecs, *(codecs[0]["configuration"]["codecs"] if sharded else [])]
    if unknown := [str(codec["name"]) for codec in encoding if codec["name"] not in CODECS]:
        return f"is encoded by {_shown(unknown[0])}"
    if not all(_whole(n, MAX_AXIS) for n in shape) or not 1 <= len(shape) <= 8:
        return f"has the shape {_shown(shape)}"
    if not isinstance(node["dimension_names"], list) or len(node["dimension_names"]) != len(shape):
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
        if len(shape) != 1 or outer != shape:
            return f"of shape {_shown(shape)} is divided into chunks of {_shown(outer)}"
    if largest * item > limit:
        return f"has chunks or samples of {largest * item:,} bytes"
    return None


def _splits(attributes: dict[str, Any], nodes: dict[str, dict[str, Any]]) -> str | None:
    """Every split has its arrays, and every column one entry a sample."""
    if not attributes["splits"]:
        return "it has no split"
    for split, entry in attributes["splits"].items():
        if not safe_name(split) or "/" in split or split in RESERVED:
            return f"a split is called {_shown(split)}"
        problem = _differs(entry, SPLIT, f"split {split}")
        problem = problem or _arrays(split, attributes["kind"], nodes)
        if problem is not None:
            return problem
        samples = entry["samples"]
        for name, node in nodes.items():
            if node["node_type"] == "array" and name.startswith(f"{split}/") and of_samples(node):
                length = node["shape"][0]
                if length != samples:
                    return f"{name} has {length} entries, {split} {_shown(samples)} samples"
    return None


def _arrays(split: str, kind: str, nodes: dict[str, dict[str, Any]]) -> str | None:
    """What is missing or misshapen among the arrays that every reader needs, or None."""
    if kind not in KINDS:
        return f"it holds {_shown(kind)}"
    arrays = {name: node for name, node in nodes.items() if node["node_type"] == "array"}
    lists = KINDS[kind].layout(split, kind)
    for column in (
        *(f"{split}/{name}" for name in (*COLUMNS, *KINDS[kind].NEEDED)),
        *(f"{split}/ledger/{name}" for name in LEDGER),
        *(f"{where}/{part}" for where in lists.values() for part in ("shard_bytes", "shard_crc")),
        *SOURCES,
        COPY,
    ):
        if column not in arrays:
            return f"{column} is missing"
        node = arrays[column]
        if is_sharded(node) or "int" not in node["data_type"]:
            return f"{column} is no column of whole numbers"
    for name in lists:
        if name not in arrays or not is_sharded(arrays[name]):
            return f"array {name} is missing"
    return KINDS[kind].misshapen({name: arrays[name] for name in lists})


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
