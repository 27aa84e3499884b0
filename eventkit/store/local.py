"""Files of a store on a disk, opened as untrusted: damaged, swapped, or crafted maliciously.

A store is a tree of regular files and folders. Links are refused, as they lead out of the tree;
so are pipes and devices, at which a reader would wait for ever, and files larger than what they
are said to hold.
"""

import errno
import os
import secrets
import shutil
import signal
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from eventkit.errors import StoreDamaged, StoreError

BLOCK = 1 << 20
FAILPOINT = "EVENTKIT_FAILPOINT"
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "files may not be that large here (ulimit -f)",
}
_passed: dict[str, int] = {}
if TYPE_CHECKING:
    _Path = Path
else:
    _Path = type(Path())  # Python 3.11 cannot subclass Path itself


def failpoint(name: str) -> None:
    """Kill this process here if EVENTKIT_FAILPOINT=name:n says so, at the n-th passage.

    Lets the tests interrupt a conversion between any two of its steps, as kill -9 would; with
    stop_name:n the process is stopped instead, for them to send it another signal.
    """
    wanted, _, count = os.environ.get(FAILPOINT, "").partition(":")
    if wanted.removeprefix("stop_") == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGSTOP if wanted != name else signal.SIGKILL)


class Local(_Path):
    """A path on a disk, with all that stores need of it; `Remote` has the same methods."""

    is_remote: ClassVar[Literal[False]] = False
    parallel: ClassVar[int] = 1  # how many small files are read at once

    def open_parts(self) -> "LocalFile":
        """The file, for reading parts of it. StoreDamaged when it is missing or no file."""
        return LocalFile(self)

    def read(self, limit: int) -> bytes:
        """All of a file of at most `limit` bytes. StoreDamaged when it is larger or missing."""
        file = LocalFile(self)
        if file.size > limit:
            raise StoreDamaged(f"{self}: has {file.size:,} bytes, expected at most {limit:,}")
        data = b""
        while block := file.pread(file.size + 1 - len(data), len(data)):
            data += block
        return data

    def write(self, data: bytes) -> None:
        """Put a whole file here: written beside, synced, renamed. Folders are not made.

        The rename itself becomes durable when the finished tree is synced; a file whose rename is
        lost with the power is missing, which a later run notices.
        """
        # Not the process's number: another machine may write the same shard at the same time.
        temporary = self.with_name(f".{self.name}.{secrets.token_hex(4)}.part")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                failpoint("before_sync")
                os.fsync(file.fileno())
            failpoint("before_rename")
            temporary.replace(self)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in _FULL:
                free = shutil.disk_usage(self.parent).free
                what = _FULL[error.errno]
                raise StoreError(
                    f"{self.parent}: {what} ({free:,} bytes free, {len(data):,} needed "
                    "next); make room and run the same command again, it continues"
                ) from None
            raise
        failpoint("after_rename")

    def linked(self, source: Path) -> bool:
        """Make this a hard link to a file; False where that cannot be, as on another disk."""
        self.unlink(missing_ok=True)
        try:
            os.link(source, self)
            return True
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
        return False

    def files(self) -> Iterator[tuple[str, int]]:
        """All files below: their names from here on, with slashes, and their sizes."""
        for path in self.rglob("*"):
            if path.is_file():
                yield path.relative_to(self).as_posix(), path.stat().st_size

    def entries(self) -> Iterator[tuple[str, bool]]:
        """The names of all files and links below, in order, and whether it is a link."""
        for folder, folders, names in os.walk(self):
            folders.sort()
            for name in sorted([*names, *folders]):
                path = Path(folder, name)
                if path.is_symlink() or name in names:
                    yield path.relative_to(self).as_posix(), path.is_symlink()

    def checksum(self, expected: int | None = None) -> tuple[int, int]:
        """Bytes and crc32 of the file; 0 for the latter if it has not the bytes expected."""
        file = LocalFile(self)
        wrong = expected is not None and file.size != expected
        return file.size, 0 if wrong else file.crc32()

    def version(self) -> tuple[int, int | str]:
        """Size and time of the file, which differ for another in its place."""
        found = self.stat()
        return found.st_size, found.st_mtime_ns

    def identity(self) -> str:
        """What is the same for two names of one place."""
        return str(self.resolve())

    def cached(self, name: str) -> Self:
        """The same place: what is on a disk needs no cache."""
        return self

    def open_zarr(self) -> Any:
        """The array here as a zarr.Array."""
        import zarr

        return zarr.open_array(self, mode="r")


class LocalFile:
    """An open file of which parts are read, from any thread; it closes with its last holder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, _FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            raise StoreDamaged(f"{path}: is missing; run eventkit verify") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise StoreDamaged(f"{path}: is a link or a socket, expected a file") from None
            raise
        found = os.fstat(self._fd)
        self.size = found.st_size
        if not stat.S_ISREG(found.st_mode):
            raise StoreDamaged(f"{path}: is a folder or a pipe, expected a file")

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

    def renewed(self) -> "LocalFile | None":
        """Another copy of a file that turned out to be damaged, if it is one of a cache."""
        return None

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)
