"""Sources that keep what was read: decoded in memory, or what was made of events on disk."""

import hashlib
import mmap
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.augment import Draw
from eventkit.errors import OptionError, StoreDamaged, StoreError
from eventkit.loader.source import Source
from eventkit.store.shard import FAST, decode

SHARE = 0.8  # of the free memory that a cache may take


class InMemory:
    """Keeps every sample, as stored, in memory from its first reading on.

    OptionError if all of them would not fit into 0.8 of the memory that is free. Workers forked
    from this process share the memory, those started otherwise fill their own.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.shape, self.dtype, self.lengths = source.shape, source.dtype, source.lengths
        self._frame = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)]) * self._frame
        needed, free = int(self._starts[-1]), free_memory()
        if needed > SHARE * free:
            raise OptionError(
                f"cache='ram' needs {needed / 1e9:.1f} GB for {len(self.lengths)} samples, but "
                f"{SHARE:.0%} of the free memory is {SHARE * free / 1e9:.1f} GB; leave it out, the "
                "system keeps files in memory too, or take fewer frames"
            )
        self._allocate()

    def _allocate(self) -> None:
        # Anonymous and shared: pages cost nothing until they are filled, and forked workers see
        # what others have filled. The flags come first, a byte for each sample.
        n = len(self.lengths)
        memory = np.frombuffer(mmap.mmap(-1, max(n + int(self._starts[-1]), 1)), np.uint8)
        self._known, self._data = memory[:n], memory[n:]

    def read(self, index: int, out: np.ndarray, draw: Draw | None, first: int = 0) -> None:
        start, end = int(self._starts[index]), int(self._starts[index + 1])
        flat = self._data[start:end]
        if not self._known[index]:
            whole = np.empty((int(self.lengths[index]), *self.shape[1:]), self.dtype)
            self._source.read(index, whole, draw)
            flat[:] = whole.reshape(-1).view(np.uint8)
            self._known[index] = 1  # last: another thread may read it from now on
        begin = first * self._frame
        out.reshape(-1).view(np.uint8)[:] = flat[begin : begin + out.nbytes]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in _OWN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._allocate()


_OWN = ("_known", "_data")  # memory of one process and those forked from it


class OnDisk:
    """Keeps every sample, as it was made of events, in a file of its own, compressed and checked.

    A file that is damaged is made anew. `key` says what the samples are: a folder for each.
    """

    def __init__(self, source: Source, folder: Path, key: str) -> None:
        self._source = source
        self.shape, self.dtype, self.lengths = source.shape, source.dtype, source.lengths
        self._folder = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"cache={str(folder)!r}: {error.strerror}") from None

    def read(self, index: int, out: np.ndarray, draw: Draw | None, first: int = 0) -> None:
        n = int(self.lengths[index])
        whole = out if len(out) == n else np.empty((n, *self.shape[1:]), self.dtype)
        path = self._folder / str(index // 1000) / str(index)
        try:
            decode(path.read_bytes(), whole, str(path))
        except (FileNotFoundError, StoreDamaged):
            self._source.read(index, whole, draw)
            self._write(path, FAST.encode(whole))
        if whole is not out:
            out[:] = whole[first : first + len(out)]

    def _write(self, path: Path, data: bytes) -> None:
        """Whole or not at all, whoever else writes the same."""
        part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
        try:
            path.parent.mkdir(exist_ok=True)
            part.write_bytes(data)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise StoreError(f"{path}: cannot keep a sample in the cache: {error}") from None


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its control group if any."""
    free = 1 << 62
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free = int(lines["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdigit():
        free = min(free, max(int(text) - int(used.read_text()), 0))
    return free
