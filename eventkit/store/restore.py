"""What of a damaged store can be restored from the rest of it, exactly and without its sources.

The documents of arrays are twice in a store, in their own files and in the root; the attributes of
the root are once more in `integrity/attributes`; the lists of checksums can be made again from the
shards. All of it is proven right by a checksum kept elsewhere before it is put in its place.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from eventkit.errors import StoreDamaged, StoreError
from eventkit.store import Store, metadata, schema
from eventkit.store.local import Local
from eventkit.store.shard import chunk_bytes, crc32, decode
from eventkit.store.storage import Storage
from eventkit.store.verify import check_file

Put = Callable[[str, bytes], None]


def restore_root(path: Local, put: Put) -> list[str]:
    """Make `zarr.json` again if it is damaged or another store's; the names of what was put there.

    Raises StoreDamaged when too much is damaged, StoreError when there is no store.
    """
    document = path / "zarr.json"
    if document.exists() or document.is_symlink():
        try:
            if not _of_another(Store(path, check=False)):
                return []
            damage = StoreDamaged(f"{document} is that of another store")
        except StoreDamaged as error:
            damage = error
    elif (path / "integrity").is_dir():
        damage = StoreDamaged(f"{document} is missing")
    else:
        Store(path)  # says what is there instead
    try:
        attributes, packed = _read_copy(path)
    except (StoreError, OSError, ValueError, KeyError, TypeError):
        raise StoreDamaged(
            f"{damage.args[0].partition(';')[0]}, and so is its copy in {metadata.COPY}; "
            "convert again with --overwrite"
        ) from None
    nodes = _documents(path, attributes["files"])
    twin = metadata.copy_of(attributes)
    nodes[metadata.COPY] = metadata.array(twin.shape, twin.dtype, ("byte",), chunk=twin.shape)
    described = metadata.dumps(nodes[metadata.COPY])
    own = {metadata.COPY_FILES[0]: described, metadata.COPY_FILES[1]: packed}
    files = {name: [len(data), crc32(data)] for name, data in own.items()}
    attributes["files"] = dict(sorted({**attributes["files"], **files}.items()))
    put("zarr.json", metadata.root(attributes, nodes))
    return ["zarr.json"]


def _of_another(store: Store) -> bool:
    """Whether the copy of the root fits the files that are there better than the root does."""
    try:
        attributes, _ = _read_copy(store.path)
        if np.array_equal(metadata.copy_of(attributes), metadata.copy_of(store.attributes)):
            return False
        told = [
            {name: entry for name, entry in files.items() if schema.safe_name(name)}
            for files in (attributes["files"], store.attributes["files"])
        ]
        copy, root = (
            sum(not check_file(store.path, name, size, crc) for name, (size, crc) in files.items())
            for files in told
        )
    except (StoreError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return copy > root


def _read_copy(path: Storage) -> tuple[dict[str, Any], bytes]:
    """The attributes in `integrity/attributes`, and the encoded chunk they are in."""
    file = path / metadata.COPY / "c.0"
    packed = file.read(metadata.MAX_ROOT)
    size = chunk_bytes(packed)
    if size > metadata.MAX_ROOT:
        raise StoreDamaged(f"{file}: claims {size:,} bytes")
    text = np.empty(size, np.uint8)
    decode(packed, text, str(file))
    attributes: dict[str, Any] = json.loads(bytes(text))
    return attributes, packed


def _documents(path: Local, files: dict[str, list[int]]) -> dict[str, dict[str, Any]]:
    """The document of every node, from its own file or, if that is damaged, from the root."""
    try:
        root = json.loads((path / "zarr.json").read(metadata.MAX_ROOT))
        spare = dict(root["consolidated_metadata"]["metadata"])
    except (StoreError, OSError, ValueError, KeyError, TypeError, RecursionError):
        spare = {}
    nodes = {}
    for name, (size, crc) in files.items():
        if not (schema.safe_name(name) and name.endswith("/zarr.json")):
            continue
        node = name.removesuffix("/zarr.json")
        for text in _texts(path / name, size, spare.get(node)):
            if crc32(text) == crc:
                nodes[node] = json.loads(text)
                break
        else:
            raise StoreDamaged(
                f"{path}: both zarr.json and {name} are damaged; convert again with --overwrite"
            )
    return nodes


def _texts(file: Local, size: int, spare: Any) -> Iterator[bytes]:
    """A document as its own file has it, then as the root has it."""
    with suppress(StoreError, OSError):
        yield file.read(size)
    with suppress(ValueError, TypeError):
        yield metadata.dumps(spare)


def restore_small(store: Store, damaged: set[str], put: Put) -> list[str]:
    """Put documents, lists of checksums and the copy of the attributes in their places again."""
    made: dict[str, bytes] = {}
    if store.path.is_remote:
        raise StoreError(f"{store.path}: only stores on a disk can be restored")
    for name in sorted(damaged):
        node = store.nodes.get(name.removesuffix("/zarr.json"))
        if name.endswith("/zarr.json") and node is not None:
            made[name] = metadata.dumps(node)
    if metadata.COPY_FILES[1] in damaged:
        twin = metadata.copy_of(store.attributes)
        made[metadata.COPY_FILES[1]] = metadata.SMALL_ARRAY.encode(twin)
    for split in store:
        for array in store[split].arrays:
            names = [f"{array.integrity}/{part}/c.0" for part in ("shard_bytes", "shard_crc")]
            if damaged.intersection(names):
                found = array.listing(partial(_sum, store.path))
                made |= dict(zip(names, map(metadata.SMALL_ARRAY.encode, found), strict=True))
    listed = store.attributes["files"]
    put_back = []
    for name, data in made.items():
        if name in damaged and listed.get(name) == [len(data), crc32(data)]:
            put(name, data)
            put_back.append(name)
    return put_back


def _sum(path: Local, name: str) -> tuple[int, int] | None:
    """Bytes and checksum of a shard as it is on disk, if it is there."""
    file = path / name
    return file.checksum() if file.is_file() and not file.is_symlink() else None
