"""Kills work at its n-th change of a file, as kill -9 or a failing machine would.

Changes are opening for writing, renaming, linking, removing, making and removing folders, as
Python's audit hooks see them; the work knows nothing of it. What was written to a file that is
still open is lost with the process' buffers, in part or whole.
"""

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS = {  # the arguments of an event that are paths
    "os.rename": (0, 1),
    "os.link": (0, 1),
    "os.symlink": (1,),
    "os.mkdir": (0,),
    "os.rmdir": (0,),
    "os.remove": (0,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.utime": (0,),
}
ANYWHERE = Path("/")


def changed(event: str, arguments: tuple) -> list[str]:
    """The paths that a call is about to change."""
    if event == "open":
        path, mode, flags = arguments
        writes = (flags or 0) & WRITES or (isinstance(mode, str) and set(mode) & set("wxa+"))
        return [path] if writes and path != os.devnull else []
    return [arguments[place] for place in PATHS.get(event, ())]


def kill_at(n: int, folder: Path) -> None:
    """End this process just before the n-th time that it changes anything below a folder."""
    lock = threading.Lock()
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event != "open" and event not in PATHS:
            return
        # A path that is relative to an open folder, as rmtree gives it, is below what is deleted.
        below = [
            isinstance(path, str | bytes | os.PathLike)
            and (not (name := os.fsdecode(path)).startswith("/") or name.startswith(str(folder)))
            for path in changed(event, arguments)
        ]
        if any(below):
            with lock:
                seen += 1
                if seen == n:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def killed_at(n: int, folder: Path, work: Callable[[], object]) -> bool:
    """Whether work in a process of its own was killed at its n-th change; it may fail otherwise."""
    return _killed(lambda: kill_at(n, folder), work)[0]


def killed_by(failpoint: str, work: Callable[[], object]) -> bool:
    """Whether work in a process of its own was killed at a failpoint, as before_root:1."""
    return _killed(lambda: os.environ.update(EVENTKIT_FAILPOINT=failpoint), work)[0]


def kills(work: Callable[[], object], again: Callable[[], object]) -> Iterator[int]:
    """For each n: kill `work` at its n-th change, then call `again` and yield n for the checks.

    Ends with the first n that `work` does not reach. What was made is to be removed in between. An
    exception in `work` is an AssertionError here, with its traceback.
    """
    n, killed = 1, True
    while killed:
        killed, failed = _killed(lambda n=n: kill_at(n, ANYWHERE), work)
        assert not failed, failed
        if killed:
            again()
            yield n
            n += 1
    assert n > 1, "nothing was killed: the shim saw no change"


def _killed(prepare: Callable[[], object], work: Callable[[], object]) -> tuple[bool, str]:
    """Whether a forked process was killed, and the traceback of its failure if it failed."""
    read, write = os.pipe()
    with warnings.catch_warnings():  # Python 3.12 warns of threads, which the child has no use for
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(read)
        try:
            prepare()
            work()
        except BaseException:
            os.write(write, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        failed = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status), failed
