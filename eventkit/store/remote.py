"""A conversion whose target is on an object store, where nothing can be renamed or appended to.

Objects go straight to their places below the target; the root document, put last, makes a store of
them. NAME.zarr.building/ holds the plan, one journal object for each shard, and the lock, which its
holder renews: one that was not renewed for a while belonged to a process that is gone.
"""

import json
import os
import secrets
import socket
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from eventkit.errors import OptionError, StoreError, StoreLocked
from eventkit.store.building import Building
from eventkit.store.journal import Key
from eventkit.store.local import failpoint
from eventkit.store.objects import Remote
from eventkit.store.storage import Storage

RENEWED = 20.0  # seconds between two renewals of the lock
EXPIRED = 90.0  # seconds without one after which its holder is taken for dead
_held: set[str] = set()  # the locks that this process holds


def building_at(target: Storage, part: tuple[int, int] | None = None) -> Building:
    """What makes a store at a place; OptionError for a job of an array on an object store."""
    if not target.is_remote:
        return Building(target, part)
    if part is not None:
        raise OptionError(
            f"{target}: jobs of an array share a folder, no object store; take --engine dask there"
        )
    return RemoteBuilding(target)


class RemoteBuilding(Building):
    """A conversion in progress on an object store."""

    def __init__(self, target: Remote) -> None:
        self.target: Any = target
        self.part = None
        self.folder: Any = target.with_name(target.name + ".building")
        self.tree: Any = target
        self.done: dict[Key, dict[str, Any]] = {}
        self.lock = Lock(self.folder / "lock", self.folder / "clock")
        self._begun = False

    def occupied(self) -> bool:
        """Whether there is a store, or objects that no conversion of ours has put there."""
        if (self.target / "zarr.json").head() is not None:
            return True
        return self.target.is_dir() and (self.folder / "plan.json").head() is None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock object; StoreLocked if another process does."""
        with self.lock.held():
            yield

    def hold(self) -> None:
        self.lock.check()

    def settle(self) -> None:
        """Nothing is renamed here, so nothing can be left between two names."""

    def continues(
        self, earlier: dict[str, Any], plan: dict[str, Any], may_differ: Collection[str]
    ) -> bool:
        """Whether what was made by the earlier plan, in this process, may be of use to this one.

        A worker of another process may still put objects by that plan, at the same places.
        """
        return earlier == plan or (self._begun and super().continues(earlier, plan, may_differ))

    def _open_tree(self, plan: dict[str, Any]) -> None:
        """Make room for the objects: they go straight to their places."""
        self._begun = True
        cleared = self.folder / "cleared"
        if cleared.head() is None:
            # A store that is replaced stops being one before anything else of it is touched.
            (self.target / "zarr.json").unlink()
            self.target.remove()
            cleared.write_bytes(b"\n")

    def folder_of(self, *parts: str) -> Any:
        return self.tree.joinpath(*"/".join(parts).split("/")) if any(parts) else self.tree

    def record(self, key: Key, entry: dict[str, Any]) -> None:
        self.lock.check()
        failpoint("before_journal")
        line = json.dumps({"split": key[0], "shard": key[1], **entry}) + "\n"
        (self.folder / "journal" / f"{key[0]}.{key[1]}").write_bytes(line.encode())
        failpoint("after_journal")
        self.done[key] = entry

    def finish(self, replace: bool) -> None:
        """The root is there already; only what was needed on the way is deleted."""
        failpoint("before_publish")
        failpoint("after_publish")
        self.remove()

    def reset(self) -> None:
        (self.folder / "cleared").unlink()
        (self.folder / "journal").remove()
        (self.folder / "failed.json").unlink()
        (self.folder / "plan.json").unlink()  # last: it says whose objects lie at the target

    def _prune(self) -> None:
        """An object store has no empty folders."""

    def remove(self) -> None:
        for name, _ in list(self.folder.files()):
            if name != "lock":  # its holder deletes it last
                (self.folder / name).unlink()

    def remove_if_idle(self) -> None:
        if (self.folder / "plan.json").head() is not None:
            with suppress(StoreLocked), self.locked():
                self.remove()

    def journals(self) -> list[str]:
        return []

    def _replay(self) -> None:
        """Read the journal; a shard must be there and have its size."""
        there = dict(self.target.files())
        journal = self.folder / "journal"
        names = [name for name, _ in journal.files()]
        with ThreadPoolExecutor(8) as pool:
            for text in pool.map(lambda name: (journal / name).read_bytes(), names):
                entry = json.loads(text)
                key = (entry.pop("split"), entry.pop("shard"))
                if all(there.get(name) == row["bytes"] for name, row in entry["files"].items()):
                    self.done[key] = entry


class Lock:
    """An object that one process owns: made only if it is not there, and renewed by its owner."""

    def __init__(self, place: Remote, clock: Remote) -> None:
        self.place, self.clock = place, clock
        self._tag: str | None = None
        self._lost = False
        self._stop = threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock, renewing it from a thread."""
        self._take()
        _held.add(str(self.place))
        self._lost = False
        self._stop.clear()
        thread = threading.Thread(target=self._renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            _held.discard(str(self.place))
            if not self._lost:
                with suppress(StoreError):
                    self.place.unlink()

    def check(self) -> None:
        """Raise StoreLocked when another process took over, as after a pause of this machine."""
        if self._lost:
            raise StoreLocked(f"{self.place}: another process took it over; run the command again")

    def _take(self) -> None:
        mode: Any = "create"
        for _ in range(3):
            if self._put(mode):
                return
            head = self.place.head()
            if head is None:  # deleted meanwhile
                mode = "create"
                continue
            holder = self._holder()
            if not self._gone(head, holder):
                break
            mode = {"e_tag": head["e_tag"]}
        else:
            holder = {}
        who = f"process {holder.get('process', '?')} on {holder.get('host', '?')}"
        raise StoreLocked(
            f"{self.place}: another conversion is writing there ({who}); wait for it or choose "
            f"another --out. The lock of one that was killed ends after {EXPIRED:.0f} s"
        )

    def _put(self, mode: Any) -> bool:
        """Write the lock; False if it is another's.

        Where the answer is lost on the way, the client asks again, and is refused as the object is
        there already or has changed: by its own first try.
        """
        card = self._card()
        try:
            self._tag = self.place.write_bytes(card, mode)
            return True
        except FileExistsError:
            head = self.place.head()
        with suppress(FileNotFoundError):
            if head is not None and self.place.read_bytes() == card:
                self._tag = head["e_tag"]
                return True
        return False

    def _card(self) -> bytes:
        """Who holds the lock; never twice the same bytes, as their hash is the object's tag."""
        card = {"process": os.getpid(), "host": socket.gethostname(), "machine": _machine()}
        return json.dumps({**card, "beat": secrets.token_hex(8)}).encode()

    def _holder(self) -> dict[str, Any]:
        with suppress(ValueError, FileNotFoundError):
            told = json.loads(self.place.read_bytes())
            if isinstance(told, dict):
                return told
        return {}

    def _gone(self, head: dict[str, Any], holder: dict[str, Any]) -> bool:
        """Whether the holder is dead: a process of this machine that is not there, or silent."""
        if holder.get("machine") == _machine() and isinstance(holder.get("process"), int):
            try:
                os.kill(holder["process"], 0)
            except ProcessLookupError:
                return True
            except OSError:
                return False
            # Our own number: of this very process, or of one that is gone.
            return holder["process"] == os.getpid() and str(self.place) not in _held
        self.clock.write_bytes(secrets.token_bytes(8))  # what time is it at the object store?
        now = self.clock.head()
        return now is not None and bool(
            (now["last_modified"] - head["last_modified"]).total_seconds() > EXPIRED
        )

    def _renew(self) -> None:
        while not self._stop.wait(RENEWED):
            try:
                self._lost = not self._put({"e_tag": self._tag})
            except StoreError:
                continue  # the network may be back before the lock expires
            if self._lost:
                return


def _machine() -> str:
    """What tells this machine, and this container, from all others."""
    parts = []
    for name in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
        with suppress(OSError):
            parts.append(Path(name).read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts) or socket.gethostname()
