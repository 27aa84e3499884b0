"""Is a store, bit for bit, what was written? Checksums of every file, at the speed of the disk."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import google_crc32c

from eventkit.errors import StoreDamaged, StoreError
from eventkit.store import Store, metadata, read_small, shard_name

_BLOCK = 1 << 20


def verify(path: str | Path, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """The problems of a store, one sentence each; an empty list if it is whole.

    Finds every changed bit, missing, cut or added file. `progress(bytes done, bytes in all)`.
    Raises StoreError when there is no store, or an unfinished one or one of a newer schema.
    """
    path = Path(path)
    try:
        store = Store(path)
    except StoreDamaged as error:
        return [str(error)]
    expected, problems = _expected(store)
    problems += _unexpected(path, {*expected, "zarr.json"})
    total, done = sum(size for size, _ in expected.values()), 0
    with ThreadPoolExecutor(2) as pool:
        checks = pool.map(lambda item: _check(path, item[0], *item[1]), expected.items())
        for (size, _), problem in zip(expected.values(), checks, strict=True):
            done += size
            if problem:
                problems.append(problem)
            if progress is not None:
                progress(done, total)
    return problems


def _expected(store: Store) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Every file but the root document: its bytes and crc32c; and what is wrong with the lists."""
    files = {name: (size, crc) for name, (size, crc) in store.attributes["files"].items()}
    problems = []
    for name, node in store.nodes.items():
        document = metadata.dumps(node)
        if name + "/zarr.json" in files and files[name + "/zarr.json"][0] != len(document):
            problems.append(f"{name}/zarr.json differs from the copy in the root")
    for split in store:
        for array, where in _sharded(store, split):
            try:
                sizes, sums = (
                    read_small(store.path / where / column, store.nodes[f"{where}/{column}"])
                    for column in ("shard_bytes", "shard_crc")
                )
            except StoreError as error:
                problems.append(str(error))
                continue
            shape = store.nodes[array]["shape"]
            extent = store.nodes[array]["chunk_grid"]["configuration"]["chunk_shape"][1]
            columns = max(1, -(-shape[1] // extent))
            for number, (size, crc) in enumerate(zip(sizes.tolist(), sums.tolist(), strict=True)):
                if size:
                    name = shard_name(number // columns, number % columns, len(shape))
                    files[f"{array}/{name}"] = (size, crc)
    return files, problems


def _sharded(store: Store, split: str) -> list[tuple[str, str]]:
    """The arrays of a split that are divided into shards, and where their checksums are."""
    kind = store[split].kind
    if kind != "events":
        return [(f"{split}/{kind}", f"integrity/{split}")]
    return [(f"{split}/events/{name}", f"integrity/{split}/events/{name}") for name in "txyp"]


def _unexpected(path: Path, expected: set[str]) -> Iterator[str]:
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_file() and name not in expected:
            yield f"{name}: does not belong to the store"


def _check(path: Path, name: str, size: int, crc: int) -> str | None:
    """What is wrong with one file, or None."""
    found, length = 0, 0
    try:
        with (path / name).open("rb") as file:
            while block := file.read(_BLOCK):
                found = google_crc32c.extend(found, block)
                length += len(block)
    except FileNotFoundError:
        return f"{name}: is missing"
    except OSError as error:
        return f"{name}: cannot be read ({error.strerror})"
    if length != size:
        return f"{name}: has {length:,} bytes, expected {size:,}"
    if found != crc:
        return f"{name}: its checksum is {found:08x}, expected {crc:08x}"
    return None
