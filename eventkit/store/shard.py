"""Shards of standard Zarr v3: compressed chunks behind an index, every part with a checksum.

A shard file is the encoded inner chunks one after the other and, at its end, the index: per chunk
its offset and length (uint64 little endian, 2^64 - 1 for a chunk that is absent) and a crc32c.
An inner chunk is a Blosc buffer and the crc32c of it (4 bytes, little endian).
Specification: https://zarr-specs.readthedocs.io, sharding_indexed, blosc, crc32c.
"""

import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc

from eventkit.errors import StoreDamaged
from eventkit.store.local import LocalFile
from eventkit.store.objects import RemoteFile
from eventkit.store.storage import Storage

File = LocalFile | RemoteFile

ABSENT = 2**64 - 1
OVERHEAD = 20  # bytes that an encoded chunk may have more than its data: two headers
SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
# One frame of one thread per task: the same bytes whatever the number of threads.
blosc.use_threads = False


def crc32c(data: Any) -> int:
    """The Castagnoli checksum of a bytes-like object; of bytes and arrays without a copy."""
    return int(google_crc32c.value(data if isinstance(data, bytes | np.ndarray) else bytes(data)))


def file_crc32c(path: Path) -> int:
    """The checksum of a whole file, in bounded memory."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = google_crc32c.extend(crc, block)
    return int(crc)


def crc32(data: bytes) -> int:
    """The checksum of a whole file of a store, that of gzip.

    Not crc32c: chunks end with their own, and the crc32c of any data followed by its crc32c is one
    and the same number, so that files of equal length with other contents would look alike.
    """
    return zlib.crc32(data)


@dataclass(frozen=True)
class Codec:
    """How a chunk is compressed: Blosc with a compressor, a level and a shuffle, then crc32c."""

    cname: str = "lz4"
    clevel: int = 5
    shuffle: str = "bitshuffle"

    def encode(self, chunk: np.ndarray) -> bytes:
        """The bytes of one contiguous little-endian chunk."""
        packed = blosc.compress(chunk, self.cname.encode(), self.clevel, SHUFFLES[self.shuffle], 0)
        return bytes(packed) + struct.pack("<I", crc32c(packed))

    def metadata(self, itemsize: int) -> list[dict[str, Any]]:
        """The codecs as `zarr.json` names them."""
        blosc_codec = {
            "typesize": itemsize,
            "cname": self.cname,
            "clevel": self.clevel,
            "shuffle": self.shuffle,
            "blocksize": 0,
        }
        return [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "blosc", "configuration": blosc_codec},
            {"name": "crc32c"},
        ]


FAST = Codec("lz4", 5, "bitshuffle")  # loading is the hot path
SMALL = Codec("zstd", 3, "bitshuffle")
CODECS = {"fast": FAST, "small": SMALL}


def chunk_bytes(data: bytes) -> int:
    """How many bytes an encoded chunk says that it holds; what `decode` does not rely on."""
    return int(struct.unpack_from("<I", data, 4)[0]) if len(data) >= 20 else 0


def decode(data: bytes | memoryview, out: np.ndarray, where: str) -> None:
    """Check one encoded chunk and decompress it into `out`, which must be contiguous."""
    packed = np.frombuffer(data, np.uint8)[:-4]  # a view, where a slice of bytes is a copy
    if len(data) < 20 or struct.unpack_from("<I", data, len(data) - 4)[0] != crc32c(packed):
        raise StoreDamaged(f"{where}: checksum differs; run eventkit verify")
    n_bytes, _, length = struct.unpack_from("<III", data, 4)
    if n_bytes != out.nbytes or length != len(packed):
        raise StoreDamaged(f"{where}: holds {n_bytes} bytes, expected {out.nbytes}")
    try:
        blosc.decompress(packed, out)
    except (RuntimeError, ValueError) as error:
        raise StoreDamaged(f"{where}: cannot be decompressed ({error})") from None


def shard_name(i: int, j: int, n_axes: int) -> str:
    """The file of shard (i, j) of an array whose further axes are not divided."""
    return ".".join(["c", str(i), str(j), *["0"] * (n_axes - 2)])


def pack(chunks: Sequence[bytes | None]) -> bytes:
    """The shard of these encoded chunks; None is a chunk that is absent."""
    index = np.full((len(chunks), 2), ABSENT, np.uint64)
    offset = 0
    for row, chunk in zip(index, chunks, strict=True):
        if chunk is not None:
            row[:] = offset, len(chunk)
            offset += len(chunk)
    table = index.tobytes()
    return b"".join([*filter(None, chunks), table, struct.pack("<I", crc32c(table))])


class _Room(threading.local):
    """Memory for one encoded chunk, of each thread its own: fresh memory costs page faults."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def of(self, n_bytes: int) -> np.ndarray:
        if len(self._memory) < n_bytes:
            self._memory = np.empty(n_bytes, np.uint8)
        return self._memory[:n_bytes]


_room = _Room()


class Shard:
    """An open shard file: its index is read and checked once, chunks are read by `pread`.

    Thread-safe, and safe after a fork: there is no shared file position. The file is closed when
    nobody holds the object any more.
    """

    def __init__(
        self,
        path: Storage,
        n_chunks: int,
        compare: Callable[[File, bool], None] | None = None,
    ) -> None:
        """`compare` raises StoreDamaged if a file is not the shard that was written there.

        It is asked again, with True, for a copy that took the place of a damaged one.
        """
        self.path, self._compare = path, compare
        self._file: File = path.open_parts()
        try:
            if compare is not None:
                compare(self._file, False)
            self._read_index(n_chunks)
        except StoreDamaged:
            if not self._renew():
                raise
            self._read_index(n_chunks)

    def _read_index(self, n_chunks: int) -> None:
        size, length = self._file.size, 16 * n_chunks + 4
        table = self._file.pread(length, size - length) if size >= length else b""
        good = len(table) == length
        if not good or struct.unpack("<I", table[-4:])[0] != crc32c(table[:-4]):
            raise StoreDamaged(f"{self.path}: the shard's index is damaged; run eventkit verify")
        # Python integers: indexing them costs a fifth of indexing an array.
        self._index = np.frombuffer(table[:-4], np.uint64).tolist()
        self._end = size - length

    def has(self, chunk: int) -> bool:
        """Whether the shard has inner chunk number `chunk`."""
        return bool(self._index[2 * chunk] != ABSENT)

    def _renew(self) -> bool:
        """Take a new copy of what a cache keeps, if this is one: the disk may have changed it."""
        copy = self._file.renewed()
        if copy is not None:
            self._file = copy
            if self._compare is not None:
                self._compare(copy, True)
        return copy is not None

    def encoded(self, chunk: int) -> bytes | None:
        """Inner chunk number `chunk` as it is in the file, unchecked; None if there is none."""
        offset, length = self._index[2 * chunk], self._index[2 * chunk + 1]
        if offset == ABSENT:
            return None
        if offset + length > self._end:
            raise StoreDamaged(f"{self.path}, chunk {chunk}: lies beyond the file")
        return self._file.pread(length, offset)

    def read(self, chunk: int, out: np.ndarray) -> bool:
        """Decode inner chunk number `chunk` into `out`; False if the shard has none there."""
        offset, length = self._index[2 * chunk], self._index[2 * chunk + 1]
        if offset == ABSENT:
            return False
        where = f"{self.path}, chunk {chunk}"
        if offset + length > self._end:
            raise StoreDamaged(f"{where}: lies beyond the file; run eventkit verify")
        data = _room.of(length).data
        try:
            self._decode(data, offset, out, where)
        except StoreDamaged:
            if not self._renew():
                raise
            self._decode(data, offset, out, where)
        return True

    def _decode(self, data: memoryview, offset: int, out: np.ndarray, where: str) -> None:
        if self._file.read_into(data, offset) != len(data):
            raise StoreDamaged(f"{where}: is cut off; run eventkit verify")
        decode(data, out, where)
