"""Files of a store, opened as what may come from anywhere: damaged, swapped, or made to deceive.

A store is a tree of regular files and folders. Links are refused, as they lead out of the tree;
so are pipes and devices, at which a reader would wait for ever, and files larger than what they
are said to hold.
"""

import errno
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eventkit.errors import StoreDamaged, StoreError
from eventkit.store.objects import Place, Ranged, Remote, keep

BLOCK = 1 << 20
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def open_file(path: Path) -> int:
    """A descriptor of a regular file.

    Raises StoreDamaged when it is missing, a link or no file, OSError when it cannot be opened.
    """
    try:
        handle = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreDamaged(f"{path}: is missing; run eventkit verify") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise StoreDamaged(f"{path}: is a link or a socket, expected a file") from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StoreDamaged(f"{path}: is a folder or a pipe, expected a file")
    return handle


class Opened:
    """An open file of which parts are read, from any thread; it closes with its last holder."""

    def __init__(self, path: Path, remote: Remote | None = None) -> None:
        """`remote` is the object of which the file is a copy in the cache."""
        self.path, self.remote = path, remote
        self._fd = open_file(path)
        self.size = os.fstat(self._fd).st_size

    def pread(self, length: int, offset: int) -> bytes:
        """Some bytes; fewer at the end of the file."""
        return os.pread(self._fd, length, offset)

    def read_into(self, data: memoryview, offset: int) -> int:
        """Fill `data` with the bytes from `offset` on, and say how many there were."""
        return os.preadv(self._fd, [data], offset)

    def crc32(self) -> int:
        """The checksum of the whole file."""
        crc, offset = 0, 0
        while block := self.pread(BLOCK, offset):
            crc = zlib.crc32(block, crc)
            offset += len(block)
        return crc

    def renewed(self) -> "Opened | None":
        """Another copy of the object, for one that turned out to be damaged; None for a file."""
        if self.remote is None:
            return None
        keep(self.remote, self.path)
        return Opened(self.path, self.remote)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)


def opened(place: Place) -> Opened | Ranged:
    """A file of a store, for reading parts of it; of a remote one, the copy in its cache if any."""
    if isinstance(place, Path):
        return Opened(place)
    if place.cache is None:
        return Ranged(place)
    if not place.cache.exists():
        keep(place, place.cache)
    return Opened(place.cache, place)


def sizes(place: Place) -> Iterator[tuple[str, int]]:
    """All files below a place: their names from there on, with slashes, and their sizes."""
    if isinstance(place, Remote):
        yield from place.files()
        return
    for path in place.rglob("*"):
        if path.is_file():
            yield path.relative_to(place).as_posix(), path.stat().st_size


def read_file(path: Place, limit: int) -> bytes:
    """All of a file of at most `limit` bytes; StoreDamaged when it is larger or not there."""
    if isinstance(path, Remote):
        return _read_object(path, limit)
    handle = open_file(path)
    try:
        size = os.fstat(handle).st_size
        if size > limit:
            raise StoreDamaged(f"{path}: has {size:,} bytes, expected at most {limit:,}")
        with os.fdopen(os.dup(handle), "rb") as file:
            return file.read(limit + 1)
    finally:
        os.close(handle)


def _read_object(place: Remote, limit: int) -> bytes:
    head = place.head()
    if head is None:
        raise StoreDamaged(f"{place}: is missing; run eventkit verify")
    if head["size"] > limit:
        raise StoreDamaged(f"{place}: has {head['size']:,} bytes, expected at most {limit:,}")
    return place.read_bytes()


def file_sum(path: Place, expected: int | None = None) -> tuple[int, int]:
    """Bytes and crc32 of a file; 0 for the latter if it has not the bytes expected."""
    found = 0
    if isinstance(path, Remote):
        size = 0
        for block in path.blocks():
            found = zlib.crc32(block, found)
            size += len(block)
        return size, found
    with os.fdopen(open_file(path), "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if expected is not None and size != expected:
            return size, 0
        while block := file.read(BLOCK):
            found = zlib.crc32(block, found)
    return size, found


@dataclass(frozen=True)
class Stamp:
    """Which store is at a path, so that a reader notices when another takes its place.

    A conversion with --overwrite swaps whole trees. Shards that a reader has open stay those of the
    old tree; without this, the next one that it opens would be of the new one.
    """

    root: Place
    size: int
    modified: int | str  # ns, or the tag of an object

    @classmethod
    def of(cls, root: Place) -> Self:
        if isinstance(root, Remote):
            head = (root / "zarr.json").head() or {"size": -1, "e_tag": ""}
            return cls(root, head["size"], str(head["e_tag"]))
        found = (root / "zarr.json").stat()
        return cls(root, found.st_size, found.st_mtime_ns)

    def check(self) -> None:
        """Raise StoreError if the store is no longer the one it was. After opening a file of it."""
        try:
            same = Stamp.of(self.root) == self
        except OSError:
            same = False
        if not same:
            raise StoreError(f"{self.root}: was replaced or removed since it was opened")
