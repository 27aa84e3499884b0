"""Objects of a store on an object store (s3://, gs://, az://), through obstore.

Credentials, region and address of the service come from the environment, as
AWS_ACCESS_KEY_ID, AWS_REGION and AWS_ENDPOINT_URL.
"""

import functools
import os
import re
import secrets
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self

from eventkit.errors import MissingExtra, StoreDamaged, StoreError, StoreUnreachable
from eventkit.store.local import Local, LocalFile, failpoint

LISTED = 1000  # names at once
_owner: list[int] = []  # the process whose threads do obstore's work


class Remote:
    """An object, or all objects whose names begin with it and a slash, used like a path.

    It has the methods of `Local`.
    """

    is_remote: ClassVar[Literal[True]] = True
    parallel: ClassVar[int] = 16  # how many small objects are read at once

    def __init__(self, url: str, cache: Local | None = None) -> None:
        scheme, _, rest = url.partition("://")
        bucket, _, key = rest.strip("/").partition("/")
        if not bucket or not key:
            raise StoreError(f"{url}: names no store, expected {scheme}://bucket/name.zarr")
        self.bucket, self.key, self.cache = f"{scheme}://{bucket}", key, cache

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    def __truediv__(self, name: str) -> Self:
        return type(self)(f"{self}/{name}", None if self.cache is None else self.cache / name)

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.bucket, *self.key.split("/"))

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> Self:
        return type(self)(str(self).rpartition("/")[0])

    def with_name(self, name: str) -> Self:
        return type(self)(f"{str(self).rpartition('/')[0]}/{name}")

    def joinpath(self, *names: str) -> Self:
        place = self
        for name in names:
            place = place / name
        return place

    def identity(self) -> str:
        return str(self)

    def cached(self, name: str) -> Self:
        """The same place, of which what is read stays in a folder of that name, in the cache."""
        return self if self.cache is None else type(self)(str(self), self.cache / name)

    def is_symlink(self) -> bool:
        return False

    def is_dir(self) -> bool:
        """Whether there is any object below."""
        return next(self.files(), None) is not None

    def exists(self) -> bool:
        """Whether there is an object of that name, or any below."""
        return self.head() is not None or self.is_dir()

    def head(self) -> dict[str, Any] | None:
        """What the store says of the object (size, last_modified, e_tag); None if there is none."""
        with self._client() as (obstore, client):
            try:
                return dict(obstore.head(client, self.key))
            except FileNotFoundError:
                return None

    def version(self) -> tuple[int, int | str]:
        """Size and tag of the object, which differ for another in its place."""
        head = self.head() or {"size": -1, "e_tag": ""}
        return int(head["size"]), str(head["e_tag"])

    def open_parts(self) -> "LocalFile | RemoteFile":
        """The object, for reading parts of it, or the copy of it in the cache, if there is one."""
        if self.cache is None:
            return RemoteFile(self)
        if not self.cache.exists():
            keep(self, self.cache)
        return CachedFile(self, self.cache)

    def read(self, limit: int) -> bytes:
        """All of an object of at most `limit` bytes. StoreDamaged when it is larger or missing."""
        size = RemoteFile(self).size
        if size > limit:
            raise StoreDamaged(f"{self}: has {size:,} bytes, expected at most {limit:,}")
        return self.read_bytes()

    def write(self, data: bytes) -> None:
        """Put the whole object, at once."""
        failpoint("before_rename")
        self.write_bytes(data)
        failpoint("after_rename")

    def linked(self, source: Any) -> bool:
        """Object stores have no links."""
        return False

    def entries(self) -> Iterator[tuple[str, bool]]:
        """The names of all objects below, in order; none is a link."""
        yield from sorted((name, False) for name, _ in self.files())

    def checksum(self, expected: int | None = None) -> tuple[int, int]:
        """Bytes and crc32 of the object, for which all of it is fetched."""
        size = crc = 0
        for block in self.blocks():
            crc = zlib.crc32(block, crc)
            size += len(block)
        return size, crc

    def read_bytes(self) -> bytes:
        """All of the object; FileNotFoundError if there is none."""
        with self._client() as (obstore, client):
            return bytes(obstore.get(client, self.key).bytes())

    def blocks(self) -> Iterator[bytes]:
        """The object in blocks."""
        with self._client() as (obstore, client):
            for block in obstore.get(client, self.key).stream():
                yield bytes(block)

    def part(self, start: int, length: int) -> bytes:
        """Some bytes of the object."""
        with self._client() as (obstore, client):
            return bytes(obstore.get_range(client, self.key, start=start, length=length))

    def write_bytes(self, data: bytes, mode: Any = "overwrite") -> str | None:
        """Put the whole object, at once; its tag. mode="create", or {"e_tag": ...} if unchanged.

        FileExistsError when another process was faster.
        """
        with self._client() as (obstore, client):
            try:
                # In one piece: what is put in parts leaves those behind when the process is killed.
                told = obstore.put(client, self.key, data, mode=mode, use_multipart=False)
                return str(told["e_tag"])
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                raise FileExistsError(f"{self}: was written by another process") from None

    def files(self) -> Iterator[tuple[str, int]]:
        """All objects below: their names from here on, and their sizes."""
        with self._client() as (obstore, client):
            for found in obstore.list(client, f"{self.key}/", chunk_size=LISTED):
                for entry in found:
                    yield entry["path"].removeprefix(f"{self.key}/"), int(entry["size"])

    def unlink(self, missing_ok: bool = True) -> None:
        with self._client() as (obstore, client):
            try:
                obstore.delete(client, self.key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def remove(self) -> None:
        """Delete all objects below."""
        names = [name for name, _ in self.files()]
        with self._client() as (obstore, client):
            for first in range(0, len(names), LISTED):
                part = names[first : first + LISTED]
                obstore.delete(client, [f"{self.key}/{name}" for name in part])

    def open_zarr(self) -> Any:
        """The array here as a zarr.Array."""
        import zarr

        objects = zarr.storage.ObjectStore(_client(self.bucket)[1], read_only=True)
        return zarr.open_array(objects, path=self.key, mode="r")

    @contextmanager
    def _client(self) -> Iterator[tuple[Any, Any]]:
        """The library and a client for the bucket; its errors become StoreError."""
        if _owner and _owner[0] != os.getpid():
            raise StoreError(
                f"{self}: object stores cannot be read in a forked process; use eventkit.loader."
                'loader, or DataLoader(..., multiprocessing_context="spawn")'
            )
        obstore, client = _client(self.bucket)
        try:
            yield obstore, client
        except obstore.exceptions.BaseError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise StoreUnreachable(f"{self}: the object store refuses: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """What an object store says of an error, or the library's first line of it."""
    told = str(error)
    said = re.search(r"<Code>([^<]*)</Code>\s*<Message>(?:<!\[CDATA\[)?([^<\]]*)", told)
    return f"{said[1]}, {said[2]}" if said else told.strip().splitlines()[0]


@functools.lru_cache(maxsize=16)
def _client(bucket: str) -> tuple[Any, Any]:
    try:
        import obstore
        from obstore.store import MemoryStore, from_url
    except ImportError:
        raise MissingExtra(f"{bucket}: stores there need obstore", "cloud") from None
    _owner[:] = [os.getpid()]
    if bucket.startswith("memory://"):
        return obstore, MemoryStore()
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    options: Any = {"allow_http": True} if endpoint.startswith("http://") else {}
    return obstore, from_url(bucket, client_options=options)


class RemoteFile:
    """An object of which parts are read, as `LocalFile` reads those of a file."""

    def __init__(self, place: Remote) -> None:
        head = place.head()
        if head is None:
            raise StoreDamaged(f"{place}: is missing; run eventkit verify")
        self.place, self.size = place, int(head["size"])

    def pread(self, length: int, offset: int) -> bytes:
        return self.place.part(offset, length) if length else b""

    def read_into(self, data: memoryview, offset: int) -> int:
        part = self.pread(len(data), offset)
        data[: len(part)] = part
        return len(part)

    def crc32(self) -> int:
        return self.place.checksum()[1]

    def renewed(self) -> None:
        """Nothing that is kept could be wrong."""
        return


class CachedFile(LocalFile):
    """The copy of an object in the cache."""

    def __init__(self, place: Remote, copy: Local) -> None:
        super().__init__(copy)
        self._place, self._copy = place, copy

    def renewed(self) -> LocalFile:
        """Another copy: the disk may have changed this one."""
        keep(self._place, self._copy)
        return CachedFile(self._place, self._copy)


def keep(place: Remote, copy: Local) -> None:
    """Bring an object into the cache, whole or not at all."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    part = copy.with_name(f".{copy.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            for block in place.blocks():
                file.write(block)
        part.replace(copy)
    except FileNotFoundError:
        raise StoreDamaged(f"{place}: is missing; run eventkit verify") from None
    finally:
        part.unlink(missing_ok=True)
