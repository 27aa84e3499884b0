"""Is a store, bit for bit, what was written? Checksums of every file, at the speed of the disk.

`deep.py` also decodes everything and asks whether it makes sense.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from eventkit._platform import cpus
from eventkit.errors import StoreDamaged, StoreError, StoreUnreachable
from eventkit.store import Store, metadata
from eventkit.store.deep import examine_contents
from eventkit.store.reader import Problem
from eventkit.store.shard import crc32
from eventkit.store.storage import Storage

Progress = Callable[[int, int], None]


def verify(
    path: str | Path,
    progress: Progress | None = None,
    *,
    deep: bool = False,
    workers: int | None = None,
) -> list[str]:
    """The problems of a store, one sentence each; an empty list if it is whole.

    Finds every changed bit, missing, cut or added file. With `deep`, every sample is decoded too
    and compared with its checksum, its ledger and its split. `progress(bytes done, in all)`.
    Raises StoreError when there is no store, or an unfinished one or one of a newer schema, and
    when it is replaced meanwhile.
    """
    workers = workers or cpus()
    try:
        store = Store(path, check=False)
    except StoreDamaged as error:
        return [str(error)]
    steps = 2 if deep else 1

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total * steps)

    problems, total = examine(store, workers, tell)
    if deep:
        damaged = {problem.name for problem in problems}
        contents = examine_contents(store, damaged, workers)
        done = total
        for size, found in contents:
            done += size
            problems += found
            tell(min(done, 2 * total), total)
    if problems:
        store.stamp.check()  # what was found is no damage if another store took this one's place
    return [str(problem) for problem in problems]


def examine(
    store: Store, workers: int, progress: Progress | None = None
) -> tuple[list[Problem], int]:
    """What is wrong with the files of a store, and how many bytes they have."""
    expected, problems = listed_files(store)
    problems += _unexpected(store.path, {*expected, "zarr.json"})
    total, done = sum(size for size, _ in expected.values()), 0
    with ThreadPoolExecutor(workers) as pool:
        checks = pool.map(lambda item: check_file(store.path, item[0], *item[1]), expected.items())
        for (size, _), problem in zip(expected.values(), checks, strict=True):
            done += size
            if problem:
                problems.append(problem)
            if progress is not None:
                progress(done, total)
    return problems, total


def listed_files(store: Store) -> tuple[dict[str, tuple[int, int]], list[Problem]]:
    """Every file but the root document: its bytes and crc32; and what is wrong with the lists."""
    files = {name: (size, crc) for name, (size, crc) in store.attributes["files"].items()}
    problems = []
    for name, node in store.nodes.items():
        document = metadata.dumps(node)
        listed = [(f"{name}/zarr.json", (len(document), crc32(document)))]
        if node["node_type"] == "array" and not metadata.is_sharded(node):
            listed.append((f"{name}/c.0", files.get(f"{name}/c.0", (0, 0))))
        for file, entry in listed:
            if files.setdefault(file, entry) != entry or file not in store.attributes["files"]:
                problems.append(Problem(file, "differs from what the root says of it"))
    for split in store:
        for array in store[split].arrays:
            try:
                files |= {name: (size, crc) for name, size, crc in array.listed()}
            except StoreUnreachable:  # which is no damage
                raise
            except (StoreError, KeyError, ValueError, OSError):
                what = f"the checksums of its shards cannot be read from {array.integrity}"
                problems.append(Problem(array.name, what))
    return files, problems


def _unexpected(path: Storage, expected: set[str]) -> Iterator[Problem]:
    for name, is_link in path.entries():
        if is_link:
            yield Problem(name, "is a link, expected a file or folder of the store's own")
        elif name not in expected:
            yield Problem(name, "does not belong to the store")


def check_file(path: Storage, name: str, size: int, crc: int) -> Problem | None:
    """What is wrong with one file, or None."""
    try:
        length, found = (path / name).checksum(size)
    except StoreDamaged as error:
        what = str(error).removeprefix(f"{path / name}: ").removesuffix("; run eventkit verify")
        return Problem(name, what)
    except FileNotFoundError:
        return Problem(name, "is missing")
    except OSError as error:
        return Problem(name, f"cannot be read ({error.strerror})")
    if length != size:
        return Problem(name, f"has {length:,} bytes, expected {size:,}")
    if found != crc:
        return Problem(name, f"its checksum is {found:08x}, expected {crc:08x}")
    return None
