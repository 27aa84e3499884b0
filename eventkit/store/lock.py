"""The kernel's lock on a file (flock): it ends with its holder, however that ends."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventkit._platform import Lock, lock
from eventkit.errors import StoreError, StoreLocked

UNLOCKED = "EVENTKIT_LOCK"  # =none goes without locks, where the file system has none
_NONE = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


@contextmanager
def locked(folder: Path, name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock `name` in NAME.building, a folder that is made if it is missing.

    Raises StoreLocked if another process holds it, StoreError where nothing can be written or
    locked. A holder that ends may remove the folder: then a new one is made and locked.
    """
    target = folder.with_name(folder.name.removesuffix(".building"))
    handle = _opened(folder, name)
    try:
        try:
            lock(handle, Lock.SHARED if shared else Lock.EXCLUSIVE)
        except BlockingIOError:
            holder = os.pread(handle, 200, 0).decode(errors="replace").strip()
            raise StoreLocked(
                f"{target}: another conversion is writing it "
                f"({holder or 'just started'}); wait for it or choose another --out"
            ) from None
        except OSError as error:
            if error.errno not in _NONE:
                raise
            if os.environ.get(UNLOCKED) != "none":
                raise StoreError(
                    f"{folder.parent}: this file system has no locks ({error.strerror}); mount it "
                    "with them (Lustre: -o flock; NFS: version 4), choose an --out on another, or "
                    f"set {UNLOCKED}=none and see to it that only one conversion writes {target}"
                ) from None
        if os.fstat(handle).st_nlink == 0:  # removed, by a holder that has ended
            with locked(folder, name, shared=shared):
                yield
            return
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(handle)


def _opened(folder: Path, name: str) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be written ({error.strerror}); choose another --out"
        ) from None
