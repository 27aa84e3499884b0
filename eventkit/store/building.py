"""How a store comes to be: whole files, a journal, and a name that appears when all is there.

NAME.zarr.building/ holds the growing tree, the plan, the journal and the lock; each job of a job
array has a journal of its own, and they share the lock. A file is written
under a temporary name, synced and renamed, so it is either whole or not there; a line in the
journal says that a shard is whole. After a crash at any point the same command continues, and the
finished tree is the same bytes. The tree takes the store's name in one rename.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from eventkit._write import sync
from eventkit.errors import StoreError, StoreUnreachable
from eventkit.store import journal, metadata
from eventkit.store.journal import Key
from eventkit.store.local import Local, failpoint
from eventkit.store.lock import locked
from eventkit.store.storage import Storage

REPLACED = "replaced"  # where a store waits that is being replaced


def is_store(path: Storage) -> bool:
    """Whether a folder is a store of ours, finished or not (and may be replaced on request)."""
    try:
        document = json.loads((path / "zarr.json").read_bytes())
        return "eventkit" in document["attributes"]
    except StoreUnreachable:
        raise
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
        self.target = Local(target)
        self.part = part
        self.folder = self.target.with_name(self.target.name + ".building")
        self.tree = self.folder / "store"  # until the plan is known, see `begin`
        self.done: dict[Key, dict[str, Any]] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock; StoreLocked if another process does.

        Jobs of an array share it, and each holds one of its own.
        """
        with ExitStack() as stack:
            stack.enter_context(locked(self.folder, "lock", shared=self.part is not None))
            if self.part is not None:
                stack.enter_context(locked(self.folder, f"lock{self._suffix}"))
            yield

    @property
    def _suffix(self) -> str:
        return "" if self.part is None else "-{}-of-{}".format(*self.part)

    @contextmanager
    def begun(
        self, plan: dict[str, Any], *, overwrite: bool, may_differ: Collection[str] = ()
    ) -> Iterator[bool]:
        """Hold the lock with the plan begun; True if its store is there and nothing to do.

        An unfinished conversion whose plan differs in nothing but `may_differ` is continued: then
        the caller says which of what is done still holds. Another one is an error, or is dropped
        with `overwrite`. A run that fails before anything is done leaves nothing behind. Raises
        what `locked`, `already` and `begin` do.
        """
        metadata.check_little_endian()
        if self.already(plan, overwrite):
            yield True
            return
        with self.locked():
            self.settle()
            if self.already(plan, overwrite):  # made by who held the lock before
                self.remove()
                yield True
                return
            self.begin(plan, may_differ=may_differ, overwrite=overwrite)
            try:
                yield False
            except BaseException:
                if self._is_idle():
                    self.remove()
                raise

    def _is_idle(self) -> bool:
        """Whether a failed run has done nothing that another could continue."""
        return self.part is None and not self.done and not (self.folder / "failed.json").exists()

    def settle(self) -> None:
        """End what a run was at that was killed while its store took the place of another.

        Without this, what was replaced would lie in the way of the next store to be replaced.
        """
        replaced = self.folder / REPLACED
        if self.part is not None:  # others are at it
            return
        if is_store(replaced) and not self.target.exists():
            replaced.rename(self.target)
        else:
            shutil.rmtree(replaced, ignore_errors=True)

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

    def begin(
        self, plan: dict[str, Any], *, may_differ: Collection[str] = (), overwrite: bool = False
    ) -> None:
        """Start, or continue what an earlier run left; what is done of it is in `done`.

        Raises StoreError, naming the difference, when that had another plan.
        """
        plan_file = self.folder / "plan.json"
        earlier = json.loads(plan_file.read_bytes()) if plan_file.exists() else None
        if earlier is not None and not self.continues(earlier, plan, may_differ):
            if not overwrite:
                raise StoreError(
                    f"{self.folder}: an unfinished conversion with another plan is there "
                    f"({difference(earlier, plan)}); use --overwrite to drop it, or another --out"
                )
            self.reset()
        if earlier != plan:
            plan_file.write(metadata.dumps(plan))
        self._open_tree(plan)
        self.done = {}
        self._replay()

    def continues(
        self, earlier: dict[str, Any], plan: dict[str, Any], may_differ: Collection[str]
    ) -> bool:
        """Whether what was made by the earlier plan may be of use to this one."""
        # Jobs of an array are at it together: none may change the plan of the others.
        free = may_differ if self.part is None else ()
        keys = {key for key in (*earlier, *plan) if key not in free}
        return all(earlier.get(key) == plan.get(key) for key in keys)

    def _open_tree(self, plan: dict[str, Any]) -> None:
        """Make the tree, or give what is there a name of this plan and sweep it.

        So nobody who still writes by another plan finds it, such as a Dask worker at a task of a
        coordinator that was killed.
        """
        self.tree = self.folder / f"store-{metadata.plan_digest(plan)[:12]}"
        if self.part is None:
            others = [path for path in self.folder.glob("store-*") if path != self.tree]
            if others and not self.tree.exists():
                others.pop().rename(self.tree)
            for path in others:
                shutil.rmtree(path, ignore_errors=True)
            _sweep(self.tree)
        self.tree.mkdir(exist_ok=True)

    def ask(self, request: dict[str, Any]) -> None:
        """Keep what was asked for, so that `finalize` can end the conversion without asking."""
        (self.folder / "request.json").write(metadata.dumps(request))

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
        with (self.folder / f"journal{self._suffix}.jsonl").open("ab") as file:
            failpoint("before_journal")
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        failpoint("after_journal")
        self.done[key] = entry

    def finish(self, replace: bool) -> None:
        """Give the finished tree its name; with `replace`, in place of the store there."""
        _sweep(self.tree)  # what workers left that were killed
        for folder in [self.tree, *(path for path in self.tree.rglob("*") if path.is_dir())]:
            sync(folder)
        failpoint("before_publish")
        if replace and self.target.exists():
            self.target.rename(self.folder / REPLACED)
            failpoint("in_publish")
        self.tree.rename(self.target)
        _sweep(self.target)  # of a worker that was given up and still wrote; now none can
        sync(self.target.parent)
        failpoint("after_publish")
        self.remove()

    def reset(self) -> None:
        """Forget what an earlier, unfinished run left. Only under the lock."""
        for path in [*self.folder.glob("journal*.jsonl"), self.folder / "failed.json"]:
            path.unlink(missing_ok=True)
        for path in self.folder.glob("store-*"):
            shutil.rmtree(path, ignore_errors=True)
        (self.folder / "plan.json").unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the building folder and all in it."""
        # First, so that half of a store is not taken for one by `settle`.
        (self.folder / REPLACED / "zarr.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_if_idle(self) -> None:
        """Delete what a run that was killed just after publishing left, unless it is in use."""
        if self.folder.exists():
            with suppress(StoreError), self.locked():
                self.remove()

    def _replay(self) -> None:
        """Read all journals; those of other jobs of an array are trusted as to their contents."""
        for name in ["journal.jsonl", *self.journals()]:
            path = self.folder / name
            if not path.exists():
                continue
            mine = self.part is None or path.name == f"journal{self._suffix}.jsonl"
            lines = journal.read(path, self.tree, contents=mine)
            self.done |= {key: entry for _, key, entry in lines}
            text = b"".join(line + b"\n" for line, *_ in lines)
            if mine and text != path.read_bytes():
                path.write(text)

    def missing(self) -> dict[Key, str]:
        """The jobs that are done of which a file is not there or has another size; which file."""
        there = dict(self.tree.files())
        lost = {}
        for key, entry in self.done.items():
            for name, row in entry["files"].items():
                if there.get(name) != row["bytes"]:
                    lost[key] = name
        return lost

    def strays(self, known: Collection[str]) -> None:
        """Delete all files of the tree but these.

        Such as the shards of a job that failed and that needed fewer when it was done again.
        """
        for name, _ in list(self.tree.files()):
            if name not in known:
                (self.tree / name).unlink()
        self._prune()

    def _prune(self) -> None:
        """Delete the folders of the tree that are empty."""
        folders = [path for path in self.tree.rglob("*") if path.is_dir()]
        for folder in sorted(folders, reverse=True):  # those below come first
            with suppress(OSError):
                folder.rmdir()

    def journals(self) -> list[str]:
        """The journals of the jobs of an array."""
        return sorted(path.name for path in self.folder.glob("journal-*-of-*.jsonl"))


def _sweep(tree: Path) -> None:
    """Delete files that were begun and never got their names."""
    for leftover in tree.rglob(".*.part"):
        leftover.unlink(missing_ok=True)


def difference(earlier: dict[str, Any], plan: dict[str, Any], where: str = "") -> str:
    """The first thing in which two plans differ, in words."""
    for key in dict.fromkeys([*plan, *earlier]):
        a, b = earlier.get(key), plan.get(key)
        name = f"{where}{key}"
        if a == b:
            continue
        if name == "sources":
            return "the recordings are others or of other sizes"
        if isinstance(a, dict) and isinstance(b, dict):
            return difference(a, b, f"{name}.")
        shown = [text if len(text) < 60 else "..." for text in (json.dumps(a), json.dumps(b))]
        return f"{name} is {shown[0]} there, {shown[1]} now"
    return "no difference"
