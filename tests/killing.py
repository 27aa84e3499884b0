"""A process that is killed at the n-th change it makes to files, for laws about what then is left.

Changes are opening for writing, renaming, linking, removing, making and removing folders, as
Python's audit hooks see them. What was written to a file that is still open is lost with the
process' buffers, in part or whole, as when a real process is killed.
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator

CHANGES = {
    *("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"),
    *("os.chmod", "os.utime"),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def killed_at(n: int, work: Callable[[], object]) -> bool:
    """Run `work` in a forked process that dies at its n-th change; whether it came so far.

    An exception in `work` is one here, an AssertionError with its traceback.
    """
    read, write = os.pipe()
    with warnings.catch_warnings():  # Python 3.12 warns of threads, which the child has no use for
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(read)
        try:
            _die_at(n)
            work()
        except BaseException:
            os.write(write, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        failed = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    assert not failed, failed
    return os.WIFSIGNALED(status)


def kills(work: Callable[[], object], again: Callable[[], object]) -> Iterator[int]:
    """For each n: kill `work` at its n-th change, then call `again` and yield n for the checks.

    Ends with the first n that `work` does not reach. What was made is to be removed in between.
    """
    n = 1
    while killed_at(n, work):
        again()
        yield n
        n += 1


def _die_at(n: int) -> None:
    left = n

    def watch(event: str, arguments: tuple) -> None:
        nonlocal left
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & WRITING and path != os.devnull
        else:
            changes = event in CHANGES
        if changes:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
