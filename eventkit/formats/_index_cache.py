"""Indexes of large recordings, kept between processes in the user's cache folder.

An index belongs to a file as it is: its name there is a digest of the file's size, time of change,
inode, first and last bytes, and of what the index depends on. A file that changed has no index.
What cannot be read, written or trusted (another checksum) counts as absent.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import numpy as np

SMALLEST = 16 << 20  # bytes of a recording that gets one: smaller ones are indexed in no time
MOST = 256 << 20  # bytes of all of them; the ones that were not used for longest are removed
ENDS = 1 << 16  # bytes at the begin and at the end of the file that are part of its identity
MAGIC = b"eventkit index 1"


def load(fd: int, about: Sequence[bytes], dtypes: Sequence[np.dtype]) -> list[np.ndarray] | None:
    """The arrays of the index of an open file, or None if there is none."""
    path = _place(fd, about)
    if path is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        data = path.read_bytes()
        body = data[len(MAGIC) : -4]
        crc = int.from_bytes(data[-4:], "little")
        if not data.startswith(MAGIC) or google_crc32c.value(body) != crc:
            return None
        lengths = np.frombuffer(body[: 8 * len(dtypes)], np.int64).tolist()
        arrays, at = [], 8 * len(dtypes)
        for n, dtype in zip(lengths, dtypes, strict=True):
            arrays.append(np.frombuffer(body, dtype, n, at).copy())
            at += n * dtype.itemsize
        os.utime(path)
        return arrays
    return None


def save(fd: int, about: Sequence[bytes], arrays: Sequence[np.ndarray]) -> None:
    """Keep the arrays as the index of an open file, if it is large and that can be written."""
    path = _place(fd, about)
    if path is None:
        return
    lengths = np.array([len(array) for array in arrays], np.int64).tobytes()
    body = lengths + b"".join(array.tobytes() for array in arrays)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            crc = google_crc32c.value(body).to_bytes(4, "little")
            temporary.write_bytes(MAGIC + body + crc)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _prune(path.parent)


def folder() -> Path | None:
    """Where indexes are kept: $XDG_CACHE_HOME or ~/.cache; None if EVENTKIT_INDEX is 0."""
    if os.environ.get("EVENTKIT_INDEX") == "0":
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # as the XDG specification has it
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            return None
    return base / "eventkit" / "indexes"


def _place(fd: int, about: Sequence[bytes]) -> Path | None:
    """The file of an index; None if none should be kept."""
    where = folder()
    status = os.fstat(fd)
    if where is None or status.st_size < SMALLEST:
        return None
    identity = status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev
    ends = os.pread(fd, ENDS, 0), os.pread(fd, ENDS, max(0, status.st_size - ENDS))
    digest = hashlib.sha256(repr((identity, *about)).encode())
    for end in ends:
        digest.update(end)
    return where / digest.hexdigest()


def _prune(where: Path) -> None:
    files = [(path.stat(), path) for path in where.iterdir() if path.name[0] != "."]
    total = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda pair: pair[0].st_mtime_ns):
        if total <= MOST:
            return
        path.unlink(missing_ok=True)
        total -= status.st_size
