"""What a disk may hold after the power failed, at every moment of some work.

The folder is looked at before every change that Python's audit hooks announce, and at every sync,
so how a file is written does not matter. Of a file, the bytes at its last fsync are certain; of a
folder, the names at its last. Later changes of names are lost or kept, in their order in each
folder, a rename in both its folders or in none; later bytes are lost, torn, zeros, or kept.
"""

import os
import random
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from killing import PATHS, changed

WAYS = ("lost", "kept", "zeros", "torn")  # and a number, which draws among all of them
Names = dict[str, int]


@dataclass(frozen=True)
class File:
    """The bytes of a file, and those that are certain; of a link, its target."""

    data: bytes
    certain: bytes = b""
    link: bool = False


@dataclass(frozen=True)
class Folder:
    """What is in a folder by name, what of it is certain, and the changes since by step."""

    names: Names = field(default_factory=dict)
    certain: Names = field(default_factory=dict)
    later: tuple[tuple[int, str, int | None], ...] = ()


Moment = dict[int, File | Folder]  # by number; 0 is the folder that is recorded


class Recorder:
    """Moments of a folder; see `recorded`."""

    def __init__(self, root: Path) -> None:
        self.root, self.syncs = root, 0
        self.moments: list[Moment] = []
        self._nodes: Moment = {0: Folder()}
        self._numbers: dict[int, int] = {root.stat().st_ino: 0}  # of inodes
        self._stats: dict[int, tuple[int, ...]] = {}
        self._step = self._last = 0
        self._lock, self._busy = threading.RLock(), threading.local()
        self.sync(None)  # what was there before is certain
        del self.moments[:-1]

    def look(self) -> None:
        """Note what has changed; a moment."""
        if getattr(self._busy, "now", False):
            return
        with self._lock:
            self._busy.now = True
            try:
                self._step += 1
                inodes: dict[int, int] = {self.root.stat().st_ino: 0}
                self._look(self.root, 0, inodes)
                # The inode of a file that is removed may be that of the next one.
                self._numbers = inodes
                self.moments.append(dict(self._nodes))
            finally:
                self._busy.now = False

    def _look(self, path: Path, number: int, inodes: dict[int, int]) -> None:
        names: Names = {}
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            try:
                found = os.lstat(entry.path)
                child = self._numbers.get(found.st_ino, inodes.get(found.st_ino))
                if child is None:
                    self._last += 1
                    child = self._last
                inodes[found.st_ino] = child
                self._see(child, Path(entry.path), found)
            except FileNotFoundError:  # another thread removed it
                continue
            names[entry.name] = child
            if stat.S_ISDIR(found.st_mode):
                self._look(Path(entry.path), child, inodes)
        folder = self._nodes[number]
        assert isinstance(folder, Folder)
        later = [
            (self._step, name, names.get(name))
            for name in sorted(names.keys() | folder.names.keys())
            if names.get(name) != folder.names.get(name)
        ]
        if later:
            self._nodes[number] = replace(folder, names=names, later=(*folder.later, *later))

    def _see(self, number: int, path: Path, found: os.stat_result) -> None:
        if stat.S_ISDIR(found.st_mode):
            self._nodes.setdefault(number, Folder())
            return
        seen = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if self._stats.get(number) == seen and number in self._nodes:
            return
        self._stats[number] = seen
        if link := stat.S_ISLNK(found.st_mode):
            target = os.fsencode(path.readlink())
            self._nodes[number] = File(target, target, link)
        else:
            old = self._nodes.get(number, File(b""))
            self._nodes[number] = replace(old, data=path.read_bytes())

    def sync(self, handle: int | None) -> None:
        """Of a file or folder, or of all (None), what is there now is certain."""
        with self._lock:
            self._stats.clear()  # the clock of a file is coarse
            self.look()
            self.syncs += 1
            if handle is None:
                numbers = list(self._nodes)
            else:
                numbers = [self._numbers.get(os.fstat(handle).st_ino, -1)]
            steps: set[int] = set()
            for number in numbers:
                node = self._nodes.get(number)
                if isinstance(node, File):
                    self._nodes[number] = replace(node, certain=node.data)
                elif node is not None:
                    steps |= {step for step, *_ in node.later}
                    self._nodes[number] = replace(node, certain=node.names, later=())
            for number, node in self._nodes.items():  # the other half of a rename is certain too
                if isinstance(node, Folder) and any(step in steps for step, *_ in node.later):
                    self._nodes[number] = _applied(node, steps)
            self.moments.append(dict(self._nodes))


def _applied(folder: Folder, steps: set[int]) -> Folder:
    """A folder with those of its later changes certain."""
    certain = dict(folder.certain)
    for step, name, child in folder.later:
        if step in steps:
            certain.pop(name, None)
            if child is not None:
                certain[name] = child
    later = tuple(change for change in folder.later if change[0] not in steps)
    return replace(folder, certain=certain, later=later)


_active: list[Recorder] = []


def _hook(event: str, arguments: tuple) -> None:
    if _active and (event == "open" or event in PATHS) and changed(event, arguments):
        _active[-1].look()


@contextmanager
def recorded(root: Path):
    """Record what happens below a folder: `moments` of the Recorder, for `after`."""
    if not hasattr(sys, "_eventkit_power"):
        sys._eventkit_power = True  # a hook cannot be taken away
        sys.addaudithook(_hook)
    recorder = Recorder(root)
    fsync, sync = os.fsync, os.sync
    os.fsync, os.sync = recorder.sync, lambda: recorder.sync(None)
    _active.append(recorder)
    try:
        yield recorder
    finally:
        _active.pop()
        os.fsync, os.sync = fsync, sync
        recorder._stats.clear()
        recorder.look()


def after(moment: Moment, way: str | int, root: Path) -> None:
    """Make the folder what the disk may hold when the power fails at a moment."""
    rng = random.Random(way)
    folders = {n: node for n, node in moment.items() if isinstance(node, Folder)}
    kept = _steps(folders, way, rng)
    names = {n: _applied(folder, kept).certain for n, folder in folders.items()}
    shutil.rmtree(root)
    made: dict[int, Path] = {}

    def make(number: int, path: Path) -> None:
        node = moment[number]
        if isinstance(node, Folder):
            path.mkdir()
            for name, child in names[number].items():
                make(child, path / name)
        elif number in made:
            os.link(made[number], path)
        elif node.link:
            path.symlink_to(os.fsdecode(node.data))
        else:
            path.write_bytes(_bytes(node, way, rng))
            made[number] = path

    make(0, root)


def _steps(folders: dict[int, Folder], way: str | int, rng: random.Random) -> set[int]:
    """The changes of names that are kept."""
    steps = sorted({step for folder in folders.values() for step, *_ in folder.later})
    if isinstance(way, str):
        return set() if way == "lost" else set(steps)
    ended, kept = set(), set()
    share = rng.random()
    for step in steps:
        where = {n for n, folder in folders.items() if any(s == step for s, *_ in folder.later)}
        if where & ended or rng.random() < share / 4:
            ended |= where
        else:
            kept.add(step)
    return kept


def _bytes(file: File, way: str | int, rng: random.Random) -> bytes:
    if file.data == file.certain:
        return file.data
    if isinstance(way, int):
        way = rng.choice((*WAYS, "all"))
    start = len(file.certain) if file.data.startswith(file.certain) else 0
    if way == "zeros":
        return file.data[:start] + bytes(len(file.data) - start)
    if way == "torn":
        return file.data[: start + (len(file.data) - start) // 2]
    return file.data if way == "all" else file.certain


def failures(
    work: Callable[[], object], root: Path, moments: int
) -> Iterator[tuple[int, str | int, bool]]:
    """Make the folder what it may be when the power fails during work; the moment and the way.

    Of about so many moments, evenly spread, the last among them: each of WAYS and a drawn one.
    """
    with recorded(root) as recorder:
        work()
    assert recorder.syncs
    seen = set()
    last = len(recorder.moments) - 1
    for number in sorted({round(n * last / moments) for n in range(moments + 1)}):
        for way in (*WAYS, number):
            after(recorder.moments[number], way, root)
            state = frozenset(
                (str(path.relative_to(root)), path.read_bytes() if path.is_file() else b"")
                for path in root.rglob("*")
            )
            if state not in seen:  # the work knows no other difference
                seen.add(state)
                yield number, way, number == last
