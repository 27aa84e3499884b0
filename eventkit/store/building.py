"""How a store comes to be: whole files, a journal, and a name that appears when all is there.

NAME.zarr.building/ holds the growing tree, the plan, the journal and the lock; each job of a job
array has a journal of its own, and they share the lock. A file is written
under a temporary name, synced and renamed, so it is either whole or not there; a line in the
journal says that a shard is whole. After a crash at any point the same command continues, and the
finished tree is the same bytes. The tree takes the store's name in one rename.
"""

import errno
import json
import os
import secrets
import shutil
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from eventkit._platform import Lock, lock
from eventkit.errors import StoreError, StoreLocked
from eventkit.store import metadata
from eventkit.store.files import sizes
from eventkit.store.objects import Place, Remote

Key = tuple[str, int]  # split, shard number
FAILPOINT = "EVENTKIT_FAILPOINT"
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "files may not be that large here (ulimit -f)",
}
_passed: dict[str, int] = {}


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


def write_file(path: Place, data: bytes) -> None:
    """Put a whole file at `path`: written beside it, synced, renamed. Folders are not made.

    On an object store it is one object, put at once.

    The rename itself becomes durable when the finished tree is synced; a file whose rename is
    lost with the power is missing, which a later run notices.
    """
    if isinstance(path, Remote):
        failpoint("before_rename")
        path.write_bytes(data)
        failpoint("after_rename")
        return
    # Not the process's number: another machine may write the same shard at the same time.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            failpoint("before_sync")
            os.fsync(file.fileno())
        failpoint("before_rename")
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            free = shutil.disk_usage(path.parent).free
            what = _FULL[error.errno]
            raise StoreError(
                f"{path.parent}: {what} ({free:,} bytes free, {len(data):,} needed "
                "next); make room and run the same command again, it continues"
            ) from None
        raise
    failpoint("after_rename")


def link_file(source: Place, target: Place) -> bool:
    """Put a file at `target` by a hard link; False where that cannot be, as on another disk."""
    if isinstance(source, Remote) or isinstance(target, Remote):
        return False
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
        return True
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
    return False


def sync_folder(path: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_store(path: Place) -> bool:
    """Whether a folder is a store of ours, finished or not (and may be replaced on request)."""
    try:
        document = json.loads((path / "zarr.json").read_bytes())
        return "eventkit" in document["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


class Building:
    """A conversion in progress: the tree, what is done of it, and the right to write it.

    `part` = (i, n) is that of one job of a job array: it writes beside the other n - 1.
    """

    def occupied(self) -> bool:
        """Whether something is at the target that is not this conversion's."""
        return self.target.exists()

    def hold(self) -> None:
        """Raise StoreLocked if the lock was lost, as one on an object store can be."""

    def __init__(self, target: Path, part: tuple[int, int] | None = None) -> None:
        self.target = target
        self.part = part
        self.folder = target.with_name(target.name + ".building")
        self.tree = self.folder / "store"
        self.done: dict[Key, dict[str, Any]] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock; StoreLocked if another process does.

        Jobs of an array share it, and each holds one of its own. The lock is the kernel's (flock):
        it ends with its holder, however that ends.
        """
        with ExitStack() as stack:
            if self.part is None:
                stack.enter_context(self._lock("lock", Lock.EXCLUSIVE))
            else:
                stack.enter_context(self._lock("lock", Lock.SHARED))
                stack.enter_context(self._lock(f"lock{self._suffix}", Lock.EXCLUSIVE))
            yield

    @property
    def _suffix(self) -> str:
        return "" if self.part is None else "-{}-of-{}".format(*self.part)

    @contextmanager
    def _lock(self, name: str, kind: Lock) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(
                f"{self.folder}: cannot be written ({error.strerror}); choose another --out"
            ) from None
        try:
            try:
                lock(handle, kind)
                gone = os.fstat(handle).st_nlink == 0  # removed, by a holder that has ended
            except BlockingIOError:
                holder = os.pread(handle, 200, 0).decode(errors="replace").strip()
                raise StoreLocked(
                    f"{self.target}: another conversion is writing it "
                    f"({holder or 'just started'}); wait for it or choose another --out"
                ) from None
            if gone:
                with self._lock(name, kind):
                    yield
                return
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def begun(self, plan: dict[str, Any], *, overwrite: bool) -> Iterator[bool]:
        """Hold the lock with the plan begun; True if its store is there and nothing to do.

        Raises what `locked`, `already` and `begin` do.
        """
        metadata.check_little_endian()
        if self.already(plan, overwrite):
            yield True
            return
        with self.locked():
            if self.already(plan, overwrite):  # made by who held the lock before
                self.remove()
                yield True
                return
            if overwrite and (self.folder / "plan.json").exists():
                self.reset()
            self.begin(plan)
            yield False

    def already(self, plan: dict[str, Any], overwrite: bool) -> bool:
        """Whether the target is the finished store of this plan; StoreError if it is another."""
        occupied = self.occupied()
        if not occupied or overwrite:
            if occupied and not is_store(self.target):
                raise StoreError(
                    f"{self.target}: is no eventkit store, so it is not overwritten; move it"
                )
            return False
        if not is_store(self.target):
            raise StoreError(
                f"{self.target}: exists and is no eventkit store; choose another --out"
            )
        attributes, _ = metadata.parse_root(
            (self.target / "zarr.json").read_bytes(), str(self.target)
        )
        if attributes["plan_digest"] != metadata.plan_digest(plan):
            raise StoreError(
                f"{self.target}: is a finished store of another plan "
                f"({difference(attributes['plan'], plan)}); "
                "use --overwrite to replace it or another --out"
            )
        self.remove_if_idle()
        return True

    def begin(self, plan: dict[str, Any]) -> None:
        """Start, or continue what an earlier run with the same plan left.

        Raises StoreError, naming the difference, when the earlier run had another plan.
        """
        plan_file = self.folder / "plan.json"
        if plan_file.exists():
            earlier = json.loads(plan_file.read_bytes())
            if earlier != plan:
                raise StoreError(
                    f"{self.folder}: an unfinished conversion with another plan is there "
                    f"({difference(earlier, plan)}); use --overwrite to drop it, or another --out"
                )
        else:
            write_file(plan_file, metadata.dumps(plan))
        self.tree.mkdir(exist_ok=True)
        if self.part is None:  # nobody else writes
            _sweep(self.tree)
        self._replay()

    def ask(self, request: dict[str, Any]) -> None:
        """Keep what was asked for, so that `finalize` can end the conversion without asking."""
        write_file(self.folder / "request.json", metadata.dumps(request))

    def asked(self) -> dict[str, Any]:
        """What `ask` kept. StoreError when no conversion is in progress here."""
        try:
            request: dict[str, Any] = json.loads((self.folder / "request.json").read_bytes())
        except FileNotFoundError:
            raise StoreError(
                f"{self.target}: no conversion is in progress there; eventkit convert starts one"
            ) from None
        return request

    def folder_of(self, *parts: str) -> Path:
        """A folder of the tree, made if it is missing."""
        path = self.tree.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def record(self, key: Key, entry: dict[str, Any]) -> None:
        """Note that a shard is whole. Only the coordinator calls this."""
        line = json.dumps({"split": key[0], "shard": key[1], **entry}) + "\n"
        with (self.folder / f"journal{self._suffix}.jsonl").open("ab") as journal:
            failpoint("before_journal")
            journal.write(line.encode())
            journal.flush()
            os.fsync(journal.fileno())
        failpoint("after_journal")
        self.done[key] = entry

    def finish(self, replace: bool) -> None:
        """Give the finished tree its name; with `replace`, in place of the store there."""
        _sweep(self.tree)  # what workers left that were killed
        for folder in [self.tree, *(path for path in self.tree.rglob("*") if path.is_dir())]:
            sync_folder(folder)
        failpoint("before_publish")
        if replace and self.target.exists():
            old = self.folder / "replaced"
            self.target.rename(old)
        self.tree.rename(self.target)
        _sweep(self.target)  # of a worker that was given up and still wrote; now none can
        sync_folder(self.target.parent)
        failpoint("after_publish")
        self.remove()

    def reset(self) -> None:
        """Forget what an earlier, unfinished run left. Only under the lock."""
        shutil.rmtree(self.tree, ignore_errors=True)
        for path in [self.folder / "plan.json", *self.folder.glob("journal*.jsonl")]:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the building folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_if_idle(self) -> None:
        """Delete what a run that was killed just after publishing left, unless it is in use."""
        if self.folder.exists():
            with suppress(StoreError), self.locked():
                self.remove()

    def _replay(self) -> None:
        """Read all journals: a last line may be torn, and a shard must have its size."""
        for name in ["journal.jsonl", *self.journals()]:
            journal = self.folder / name
            if not journal.exists():
                continue
            mine = self.part is None or journal.name == f"journal{self._suffix}.jsonl"
            self._read(journal, mend=mine)

    def strays(self, folders: Sequence[str]) -> None:
        """Delete shards in these folders of the tree that no journal knows.

        A job that failed had written them, and when it was done again it needed fewer.
        """
        known = {name for entry in self.done.values() for name in entry["files"]}
        for folder in folders:
            for name, _ in list(sizes(self.tree / folder)):
                if name.startswith("c.") and f"{folder}/{name}" not in known:
                    (self.tree / folder / name).unlink()

    def journals(self) -> list[str]:
        """The journals of the jobs of an array."""
        return sorted(path.name for path in self.folder.glob("journal-*-of-*.jsonl"))

    def _read(self, journal: Path, mend: bool) -> None:
        text = journal.read_bytes()
        lines = text.split(b"\n")
        good = []
        for line in lines:
            try:
                entry = json.loads(line)
                key = (entry.pop("split"), entry.pop("shard"))
                sizes = {name: row["bytes"] for name, row in entry["files"].items()}
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if all(_size(self.tree / name) == size for name, size in sizes.items()):
                self.done[key] = entry
                good.append(line)
        if mend and b"".join(line + b"\n" for line in good) != text:
            write_file(journal, b"".join(line + b"\n" for line in good))


def _sweep(tree: Path) -> None:
    """Delete files that were begun and never got their names."""
    for leftover in tree.rglob(".*.part"):
        leftover.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def difference(earlier: dict[str, Any], plan: dict[str, Any], where: str = "") -> str:
    """The first thing in which two plans differ, in words."""
    for key in dict.fromkeys([*plan, *earlier]):
        a, b = earlier.get(key), plan.get(key)
        name = f"{where}{key}"
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            return difference(a, b, f"{name}.")
        shown = [text if len(text) < 60 else "..." for text in (json.dumps(a), json.dumps(b))]
        return f"{name} is {shown[0]} there, {shown[1]} now"
    return "no difference"
