"""What only some systems have: the processors of a process, hints to the page cache, file locks."""

import errno
import os
import sys
from enum import Enum

from eventkit.errors import EventkitError

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None  # type: ignore[assignment]


UNLOCKED = "EVENTKIT_LOCK"
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class Lock(Enum):
    """A kind of lock on a whole file, which the kernel frees when its holder ends."""

    SHARED = "shared"
    EXCLUSIVE = "exclusive"


def cpus() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def lock(handle: int, kind: Lock = Lock.EXCLUSIVE, *, wait: bool = False) -> None:
    """Lock an open file; BlockingIOError if another process holds it and `wait` is false.

    Raises EventkitError on systems without flock and on file systems without locks, unless
    EVENTKIT_LOCK=none says that no other process writes there.
    """
    if fcntl is None:
        raise EventkitError(
            f"this command locks files with flock, which Python on {sys.platform} does not have; "
            "run it on Linux or macOS, or on Windows inside WSL"
        )
    flag = fcntl.LOCK_EX if kind is Lock.EXCLUSIVE else fcntl.LOCK_SH
    try:
        fcntl.flock(handle, flag if wait else flag | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS or isinstance(error, BlockingIOError):
            raise
        if os.environ.get(UNLOCKED) != "none":
            raise EventkitError(
                f"this file system has no locks ({error.strerror}); mount it with them (Lustre: "
                f"-o flock; NFS: version 4), choose a folder on another, or set {UNLOCKED}=none "
                "and see to it that only one process writes there"
            ) from None


def drop_cached(handle: int) -> bool:
    """Ask the system to forget the cached pages of an open file; whether it can be asked."""
    if not hasattr(os, "posix_fadvise"):  # not on macOS
        return False
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def unread(handle: int) -> int:
    """How many bytes wait in a pipe or a terminal; 0 where the system does not say."""
    if termios is None:
        return 0
    return int.from_bytes(fcntl.ioctl(handle, termios.FIONREAD, bytes(4)), sys.byteorder)
