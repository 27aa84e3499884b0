"""Where stores are: on a disk (`Local`) or an object store (`Remote`), with the same methods."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eventkit.errors import StoreError
from eventkit.store.local import Local
from eventkit.store.objects import Remote

SCHEMES = ("s3://", "gs://", "az://", "memory://")
Storage = Local | Remote


def is_remote(where: object) -> bool:
    """Whether this is the address of an object store."""
    return _text(where).startswith(SCHEMES)


def _text(where: object) -> str:
    """What a user gave, as text: a Path of an address has lost one of its two slashes."""
    return re.sub(r"^([a-z][a-z0-9+.-]+):/(?=[^/])", r"\1://", str(where))


def at(where: "str | Path | Remote", cache: str | Path | None = None) -> Storage:
    """The place that a user names: a path, or an address such as s3://bucket/name.zarr.

    `cache` is a folder that keeps what is read of a remote store; by default that of
    $EVENTKIT_CACHE, if it is set.
    """
    if isinstance(where, Local | Remote):
        return where
    if not isinstance(where, str | os.PathLike):
        raise StoreError(
            f"a store is {type(where).__name__}, expected a path or an address such as "
            "s3://bucket/name.zarr"
        )
    text = _text(where)
    if is_remote(text):
        kept = cache if cache is not None else os.environ.get("EVENTKIT_CACHE") or None
        return Remote(text, None if kept is None else Local(kept))
    if "://" in text:
        known = ", ".join(SCHEMES[:3])
        raise StoreError(f"{where}: is no address of a store; known are paths, {known}")
    path = Local(where)
    if path.name in ("", ".."):
        path = path.resolve()
        if not path.name:
            raise StoreError(f"{where}: is no store, and cannot be one; expected as NAME.zarr")
    return path


@dataclass(frozen=True)
class Stamp:
    """Which store is at a path, so that a reader notices when another takes its place.

    A conversion with --overwrite swaps whole trees. Shards that a reader has open stay those of the
    old tree; without this, the next one that it opens would be of the new one.
    """

    root: Storage
    version: tuple[int, int | str]

    @classmethod
    def of(cls, root: Storage) -> Self:
        return cls(root, (root / "zarr.json").version())

    def check(self) -> None:
        """Raise StoreError if the store is no longer the one it was. After opening a file of it."""
        try:
            same = (self.root / "zarr.json").version() == self.version
        except OSError:
            same = False
        if not same:
            raise StoreError(f"{self.root}: was replaced or removed since it was opened")
