"""The root folder of a dataset: which files are installed, and how to install one atomically."""

import filecmp
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from eventkit._platform import lock
from eventkit._write import replace, sync
from eventkit.datasets import FETCH_FOLDER, MOVING, Dataset, SourceFile
from eventkit.errors import FetchFailed
from eventkit.fetch.download import Progress
from eventkit.fetch.unpack import folded, is_archive, unpack


class DatasetFiles:
    """A dataset's root folder, and root/.fetch with the receipt of its installed files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / FETCH_FOLDER

    def create(self) -> None:
        """Create the folders."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise FetchFailed(f"{self.root}: is a file; choose another root folder") from None

    def receipt(self) -> dict[str, Any]:
        """The installed files: size, checksum and number of members by file name."""
        with suppress(OSError, ValueError):
            receipt = json.loads((self.folder / "receipt.json").read_bytes())
            if isinstance(receipt, dict):
                return receipt
        return {}

    def missing(self, dataset: Dataset) -> list[SourceFile]:
        """The dataset's files that are not in the receipt with their current checksum."""
        return [source for source in dataset.files if not self.has(source)]

    def has(self, source: SourceFile) -> bool:
        """Whether a file is in the receipt with its current checksum."""
        entry = self.receipt().get(source.name)
        return isinstance(entry, dict) and entry.get("md5", "") == (source.md5 or "")

    def accepted(self, now: bool) -> bool:
        """Whether the terms were accepted: now, which is noted, or before."""
        note = self.folder / "terms-accepted"
        if now:
            self.create()
            note.touch()
        return note.exists()

    @property
    def unpacked(self) -> bool:
        """Whether fetch or adopt has installed anything here."""
        return bool(self.receipt())

    def archive(self, source: SourceFile) -> Path | None:
        """The file if downloaded by hand: in the root, or in download/ as by SpikingJelly."""
        for folder in (self.root, self.root / "download"):
            if (folder / source.name).is_file():
                return folder / source.name
        return None

    def begun(self, source: SourceFile) -> int:
        """The bytes of a file that an interrupted download has got."""
        part = self.folder / f"{source.name}.part"
        return part.stat().st_size if part.exists() else 0

    def free(self) -> int:
        """Free bytes on the disk of the root folder, which need not exist yet."""
        path = self.root.absolute()
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free

    def install(
        self, source: SourceFile, archive: Path, progress: Progress | None, *, nested: str
    ) -> None:
        """Unpack a verified file into the root, then add it to the receipt.

        The caller must hold the file's lock. Leftovers of a killed process are replaced.
        """
        self.create()
        fresh = self.folder / f"unpacking-{source.name}"
        shutil.rmtree(fresh, ignore_errors=True)
        entry = {"md5": source.md5 or "", "bytes": archive.stat().st_size}
        if source.unpack and is_archive(archive):
            found = unpack(archive, fresh, nested=nested, progress=progress)
            entry |= {"files": found.files, "unpacked": found.bytes, "left_out": found.left_out}
        else:
            fresh.mkdir()
            try:
                os.link(archive, fresh / source.name)
            except OSError:  # another disk, or a file system without hard links
                shutil.copyfile(archive, fresh / source.name)
        for top in fresh.iterdir():
            if folded(PurePosixPath(source.into, top.name)) == FETCH_FOLDER:
                shutil.rmtree(fresh, ignore_errors=True)
                raise FetchFailed(
                    f"{archive}: contains {top.name!r}, a folder reserved for eventkit; "
                    "not unpacked"
                )
        moving = self.folder / f"{source.name}{MOVING}"
        moving.touch()
        # One call for many small files: the mark, and what is moved, survive a power failure.
        os.sync()
        _merge(fresh, self.root / source.into)
        shutil.rmtree(fresh, ignore_errors=True)
        os.sync()  # the moves, before the receipt says that they are done
        self._record(source.name, entry)
        moving.unlink()
        sync(self.folder)

    def clean_up(self, source: SourceFile, *, keep: bool) -> None:
        """Move an installed archive to the root if `keep`, else delete it, and its leftovers."""
        archive = self.folder / source.name
        if keep and archive.is_file():
            archive.replace(self.root / source.name)
        for path in self._temporary(source):
            path.unlink(missing_ok=True)

    def leftovers(self, source: SourceFile) -> bool:
        """Whether a killed process left temporary files of an installed file."""
        return any(path.exists() for path in self._temporary(source))

    def _temporary(self, source: SourceFile) -> list[Path]:
        """The files that exist only while a file is fetched, except its lock."""
        return [self.folder / f"{source.name}{end}" for end in ("", ".part", ".part.json", MOVING)]

    def _record(self, name: str, entry: dict[str, Any]) -> None:
        """Add an entry to the receipt, one process at a time."""
        handle = os.open(self.folder / "receipt.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            lock(handle, wait=True)
            text = json.dumps({**self.receipt(), name: entry}, indent=1) + "\n"
            replace(self.folder / "receipt.json", text.encode())
        finally:
            os.close(handle)


def _merge(fresh: Path, folder: Path) -> None:
    """Move a tree into another; files that already exist must have identical bytes."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(folder)
        return
    if not folder.is_dir():
        raise FetchFailed(f"{folder}: is a file, expected a folder; move it away")
    for entry in sorted(fresh.iterdir()):
        target = folder / entry.name
        if entry.is_dir():
            _merge(entry, target)
        elif not target.exists():
            entry.rename(target)
        elif not target.is_file() or not filecmp.cmp(entry, target, shallow=False):
            raise FetchFailed(
                f"{target}: already exists with different content; move it away and fetch again"
            )
