"""Kills work at its n-th change of a file, as kill -9 or a failing machine would."""

import os
import signal
import sys
import threading
from collections.abc import Callable
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


def changed(event: str, arguments: tuple) -> list[str]:
    """The paths that a call is about to change."""
    if event == "open":
        path, mode, flags = arguments
        writes = (flags or 0) & WRITES or (isinstance(mode, str) and set(mode) & set("wxa+"))
        return [path] if writes else []
    return [arguments[place] for place in PATHS.get(event, ())]


def kill_at(n: int, folder: Path) -> None:
    """End this process just before the n-th time that it changes anything below a folder.

    That is, makes, opens for writing, renames, links, cuts or deletes it. The work knows nothing
    of it: Python tells an audit hook of every such call before it is made.
    """
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
    return _killed(lambda: kill_at(n, folder), work)


def killed_by(failpoint: str, work: Callable[[], object]) -> bool:
    """Whether work in a process of its own was killed at a failpoint, as before_root:1."""
    return _killed(lambda: os.environ.update(EVENTKIT_FAILPOINT=failpoint), work)


def _killed(prepare: Callable[[], object], work: Callable[[], object]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            prepare()
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
