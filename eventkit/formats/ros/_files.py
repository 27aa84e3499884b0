"""Which reader a bag needs: by its first bytes, or by the metadata.yaml of a folder."""

import contextlib
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, Protocol

from eventkit.errors import FormatError, MissingExtra
from eventkit.formats._inflate import Budget
from eventkit.formats.ros._bag1 import MAGIC as BAG
from eventkit.formats.ros._bag1 import Bag1
from eventkit.formats.ros._mcap import MAGIC as MCAP
from eventkit.formats.ros._mcap import McapBag
from eventkit.formats.ros._sqlite import MAGIC as SQLITE
from eventkit.formats.ros._sqlite import ZSTD, SqliteBag
from eventkit.formats.tables._columns import damaged

MAGICS = (BAG, SQLITE, MCAP)
METADATA = "metadata.yaml"
DAMAGE = (
    *(OSError, EOFError, ValueError, KeyError, IndexError, TypeError, RuntimeError, MemoryError),
    *(AssertionError, AttributeError, OverflowError, struct.error, sqlite3.Error),
)


class Reader(Protocol):
    """Topics with the type of their messages, the messages of one, and what could not be read."""

    version: int
    losses: list[str]

    def topics(self) -> list[tuple[str, str]]:
        """Each topic with the type of its messages."""
        ...

    def messages(self, topic: str) -> Iterator[bytes]:
        """The messages of a topic."""
        ...


def opened(path: Path, strict: bool = True, times: float | None = None) -> Reader:
    """The reader of a bag, a file or a folder; `times` is the limit of `_inflate.Budget`."""
    if path.is_dir():
        return FolderBag(path, strict, times)
    with path.open("rb") as file:
        head = file.read(16)
    kinds: tuple[Any, ...] = (Bag1, SqliteBag, McapBag)
    for magic, kind in zip(MAGICS, kinds, strict=True):
        if head.startswith(magic):
            reader: Reader = kind(path, strict, Budget(path, path.stat().st_size, times))
            return reader
    raise FormatError(path, 0, f"starts with {head!r}, expected {BAG!r}, {SQLITE!r} or {MCAP!r}")


class FolderBag:
    """The topics and messages of a folder, whose metadata.yaml lists its files in their order.

    If that is damaged and not strict, all files are read in the order of their names; those that
    cannot be opened are left out.
    """

    version = 2

    def __init__(self, path: Path, strict: bool, times: float | None) -> None:
        self.losses: list[str] = []
        self._path, self._strict, self._times = path, strict, times
        self._lost: list[str] = []
        try:
            self._files = _listed(path)
        except (OSError, ValueError) as error:
            if strict:
                raise
            self._lost.append(f"{METADATA} cannot be used: {error}")
            kinds = {".db3", ".mcap"}
            found = (file for file in path.iterdir() if kinds & {*file.suffixes})
            self._files = sorted(found, key=lambda file: (len(file.name), file.name))

    def topics(self) -> list[tuple[str, str]]:
        """Each topic with the type of its messages."""
        found: set[tuple[str, str]] = set()
        for file in self._files:
            with self._read(file) as reader:
                found.update(reader.topics())
        return sorted(found)

    def messages(self, topic: str) -> Iterator[bytes]:
        """The messages of a topic, file after file."""
        self.losses[:] = self._lost
        for file in self._files:
            with self._read(file) as reader:
                yield from reader.messages(topic)
                self.losses += reader.losses

    @contextlib.contextmanager
    def _read(self, file: Path) -> Iterator[Reader]:
        """The reader of a file, which is inflated if need be; an error ends only this file."""
        try:
            with _plain(file, self._times) as plain:
                yield opened(plain, self._strict, self._times)
        except (OSError, ValueError, sqlite3.Error) as error:
            if self._strict:
                raise
            self.losses.append(f"{file.name} is not read to its end: {error}")


@contextlib.contextmanager
def _plain(file: Path, times: float | None) -> Iterator[Path]:
    """A file, or what it inflates to if it is compressed as a whole."""
    with file.open("rb") as source:
        if source.read(len(ZSTD)) != ZSTD:
            yield file
            return
        import zstandard

        source.seek(0)
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder, file.stem)
            with plain.open("wb") as target, damaged(file, (zstandard.ZstdError,)):
                inflated = zstandard.ZstdDecompressor().stream_reader(source)
                Budget(file, file.stat().st_size, times).copy(inflated, target)
            yield plain


def _listed(folder: Path) -> list[Path]:
    """The files of a bag, as its metadata says; ValueError if that is damaged."""
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError as error:
        raise MissingExtra(f"{folder}: folders of ROS bags need ruamel.yaml", "formats") from error
    try:
        told = YAML(typ="safe").load((folder / METADATA).read_text())
        names = told["rosbag2_bagfile_information"]["relative_file_paths"]
        files = [folder / PurePath(name).name for name in names]
    except (YAMLError, LookupError, TypeError) as error:
        raise ValueError(f"{METADATA} does not list the files of the bag") from error
    if missing := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{', '.join(missing)} is missing")
    return files
