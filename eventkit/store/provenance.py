"""From what, by what and how a store was made: enough to make it again and to know it."""

import hashlib
from pathlib import Path
from typing import Any

from eventkit.errors import StoreDamaged, StoreError
from eventkit.store import Store, metadata
from eventkit.store.schema import safe_name
from eventkit.store.shard import file_crc32c


def provenance(store: Store, root: str | Path | None = None) -> dict[str, Any]:
    """The command, versions, codec, plan and its digest, parents, and every source, as JSON has it.

    With `root`, the folder of the sources: each is read, compared with its bytes and crc32c, and
    its SHA-256 added. StoreError for one that is missing or not the one the store was made from.
    """
    told = store.attributes
    found = sources(store)
    if root is not None:
        for source in found:
            check_source(store, Path(root), source)
            with Path(root, source["name"]).open("rb") as file:
                source["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "store": str(store.path),
        **{key: told[key] for key in ("dataset", "command", "versions")},
        "codec": told["plan"]["codec"],
        **{key: told[key] for key in ("plan", "plan_digest", "digest", "splits")},
        "plugins": told["plan"].get("plugins", {}),
        "parents": told.get("parents", []),
        "source_bytes": sum(source["bytes"] for source in found),
        "sources": found,
    }


def sources(store: Store) -> list[dict[str, Any]]:
    """Name, bytes and crc32c (eight hexadecimal digits) of every file a store was made from."""
    names = bytes(store.small("sources/names")).decode(errors="replace").split("\n")
    n, m = len(store.small("sources/bytes")), len(store.small("sources/crc32c"))
    if not len(names) == n == m:
        raise StoreDamaged(f"{store.path}: names {len(names)} sources with {n} sizes and {m} sums")
    if not all(map(safe_name, names)):
        raise StoreDamaged(f"{store.path}: a source's name leads out of its folder")
    sizes = store.small("sources/bytes").tolist()
    crcs = store.small("sources/crc32c").tolist()
    return [
        {"name": name, "bytes": size, "crc32c": f"{crc:08x}"}
        for name, size, crc in zip(names, sizes, crcs, strict=True)
    ]


def split_rows(store: Store, split: str) -> list[tuple[object, ...]]:
    """Source, start, stop and label of each sample, of which the split's sha256 is made."""
    part = store[split]
    names = bytes(store.small("sources/names")).decode(errors="replace").split("\n")
    sources = [names[number] for number in part.column("source").tolist()]
    limits: list[list[int | None]] = []
    for name in ("window_start", "window_stop"):
        if name in part.columns:
            times = part.column(name).tolist()
            limits.append([None if time == metadata.NO_LIMIT else time for time in times])
        else:
            limits.append([None] * len(part))
    return list(zip(sources, *limits, part.labels.tolist(), strict=True))


def check_source(store: Store, root: Path, source: dict[str, Any]) -> None:
    """Raise StoreError if the file in `root` is not the one that the store was made from."""
    path = root / source["name"]
    if not path.is_file():
        raise StoreError(f"{path}: is not there, {store.path} was made from it; give its folder")
    size, wanted = path.stat().st_size, source["bytes"]
    if size != wanted:
        raise StoreError(
            f"{path}: has {size:,} bytes, {store.path} was made from {wanted:,}; "
            "get the original file, or convert again"
        )
    crc = f"{file_crc32c(path):08x}"
    if crc != source["crc32c"]:
        raise StoreError(
            f"{path}: its crc32c is {crc}, {store.path} was made from {source['crc32c']}; "
            "get the original file, or convert again"
        )
