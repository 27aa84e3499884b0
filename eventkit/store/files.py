"""Files of a store, opened as what may come from anywhere: damaged, swapped, or made to deceive.

A store is a tree of regular files and folders. Links are refused, as they lead out of the tree;
so are pipes and devices, at which a reader would wait for ever, and files larger than what they
are said to hold.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eventkit.errors import StoreDamaged, StoreError

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


def read_file(path: Path, limit: int) -> bytes:
    """All of a file of at most `limit` bytes; StoreDamaged when it is larger or not there."""
    handle = open_file(path)
    try:
        size = os.fstat(handle).st_size
        if size > limit:
            raise StoreDamaged(f"{path}: has {size:,} bytes, expected at most {limit:,}")
        with os.fdopen(os.dup(handle), "rb") as file:
            return file.read(limit + 1)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Stamp:
    """Which store is at a path, so that a reader notices when another takes its place.

    A conversion with --overwrite swaps whole trees. Shards that a reader has open stay those of the
    old tree; without this, the next one that it opens would be of the new one.
    """

    root: Path
    size: int
    modified: int  # ns

    @classmethod
    def of(cls, root: Path) -> Self:
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
