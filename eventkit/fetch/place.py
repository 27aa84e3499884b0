"""The folder of a dataset: what was put there, and how an archive's files get into it whole."""

import filecmp
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from eventkit._platform import lock
from eventkit.datasets import FETCH_FOLDER, MOVING, Dataset, SourceFile
from eventkit.errors import FetchFailed
from eventkit.fetch.download import Progress
from eventkit.fetch.unpack import folded, is_archive, unpack


class Place:
    """A dataset's root, and root/.fetch with the receipt of what is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / FETCH_FOLDER

    def begin(self) -> None:
        """Make the folders, so that files can be written there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise FetchFailed(f"{self.root}: is a file; choose another --root") from None

    def receipt(self) -> dict[str, Any]:
        """What was checked and put here: by file name its size, checksums and members."""
        with suppress(OSError, ValueError):
            told = json.loads((self.folder / "receipt.json").read_bytes())
            if isinstance(told, dict):
                return told
        return {}

    def missing(self, dataset: Dataset) -> list[SourceFile]:
        """The dataset's files that are not in the receipt as they are described now."""
        return [source for source in dataset.files if not self.has(source)]

    def has(self, source: SourceFile) -> bool:
        """Whether a file is in the receipt as it is described now."""
        entry = self.receipt().get(source.name)
        return isinstance(entry, dict) and entry.get("md5", "") == (source.md5 or "")

    def accepted(self, now: bool) -> bool:
        """Whether the terms were accepted: now, which is noted, or before."""
        note = self.folder / "terms-accepted"
        if now:
            self.begin()
            note.touch()
        return note.exists()

    @property
    def unpacked(self) -> bool:
        """Whether anything was put here by fetch or adopt."""
        return bool(self.receipt())

    def archive(self, source: SourceFile) -> Path | None:
        """The file as somebody downloaded it, in the root or where SpikingJelly keeps it."""
        for folder in (self.root, self.root / "download"):
            if (folder / source.name).is_file():
                return folder / source.name
        return None

    def free(self) -> int:
        """Bytes free on the disk that has the root, or will have it."""
        path = self.root.absolute()
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free

    def take(
        self, source: SourceFile, archive: Path, progress: Progress | None, *, nested: str
    ) -> None:
        """Put what is in a checked file into the root, then note it in the receipt.

        The caller holds the file's lock. What an earlier, killed run left is done again.
        """
        self.begin()
        fresh = self.folder / f"unpacking-{source.name}"
        shutil.rmtree(fresh, ignore_errors=True)
        entry = {"md5": source.md5 or "", "bytes": archive.stat().st_size}
        if source.unpack and is_archive(archive):
            told = unpack(archive, fresh, nested=nested, progress=progress)
            entry |= {"files": told.files, "unpacked": told.bytes, "left_out": told.left_out}
        else:
            fresh.mkdir()
            try:
                os.link(archive, fresh / source.name)
            except OSError:  # another disk, or one that has no links
                shutil.copyfile(archive, fresh / source.name)
        for top in fresh.iterdir():
            if folded(PurePosixPath(source.into, top.name)) == FETCH_FOLDER:
                shutil.rmtree(fresh, ignore_errors=True)
                raise FetchFailed(
                    f"{archive}: holds {top.name!r}, the folder in which eventkit keeps what it "
                    "fetched; not unpacked"
                )
        moving = self.folder / f"{source.name}{MOVING}"
        moving.touch()
        _merge(fresh, self.root / source.into)
        shutil.rmtree(fresh, ignore_errors=True)
        os.sync()  # one call for many small files: what the receipt names survives a power failure
        self._note(source.name, entry)
        moving.unlink()

    def dispose(self, source: SourceFile, *, keep: bool) -> None:
        """Move an archive that was taken into the root if `keep`, else delete it.

        Also what a run that was killed after its entry in the receipt left of one.
        """
        archive = self.folder / source.name
        if keep and archive.is_file():
            archive.replace(self.root / source.name)
        for path in self._own(source):
            path.unlink(missing_ok=True)

    def leftovers(self, source: SourceFile) -> bool:
        """Whether a killed run left something of a file that is in the receipt."""
        return any(path.exists() for path in self._own(source))

    def _own(self, source: SourceFile) -> list[Path]:
        """The files that are there only while a file is fetched, other than its lock."""
        return [self.folder / f"{source.name}{end}" for end in ("", ".part", ".part.json", MOVING)]

    def _note(self, name: str, entry: dict[str, Any]) -> None:
        """Add to the receipt, one process at a time."""
        handle = os.open(self.folder / "receipt.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            lock(handle, wait=True)
            temporary = self.folder / "receipt.json.part"
            temporary.write_text(json.dumps({**self.receipt(), name: entry}, indent=1) + "\n")
            temporary.replace(self.folder / "receipt.json")
        finally:
            os.close(handle)


def _merge(fresh: Path, place: Path) -> None:
    """Move a tree into another; a file that is there already must have the same bytes."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(place)
        return
    if not place.is_dir():
        raise FetchFailed(f"{place}: is a file where a folder belongs; move it away")
    for entry in sorted(fresh.iterdir()):
        target = place / entry.name
        if entry.is_dir():
            _merge(entry, target)
        elif not target.exists():
            entry.rename(target)
        elif not target.is_file() or not filecmp.cmp(entry, target, shallow=False):
            raise FetchFailed(
                f"{target}: is there already with other content; move it away and run the same "
                "command again"
            )
