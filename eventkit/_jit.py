"""The one Numba decorator: kernels release the GIL and are compiled once per machine."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import cgutils
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])
_numba_config = threading.Lock()


def jit(function: F, *, fastmath: frozenset[str] = frozenset()) -> F:
    """Compile `function` in nopython mode, without the GIL, cached on disk.

    Kernels take arrays and scalars that their caller has checked: nothing here checks bounds.
    `fastmath` are the flags of LLVM by which sums may be rounded otherwise than as written.
    """
    compile_ = numba.njit(nogil=True, cache=True, fastmath=set(fastmath))
    with _cached_in(folder()):
        return cast(F, compile_(function))


@cast(Callable[..., Any], intrinsic)
def trailing_zeros(context: Any, value: Any) -> Any:
    """In kernels: how many bits below the lowest one are 0, all if there is no one.

    It is one instruction of the processor, for which Numba has no public name.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.false_bit)

    return value(value), emit


@cache
def folder() -> str:
    """Where compiled kernels are kept: $NUMBA_CACHE_DIR, the user's cache, or temporary files.

    Not beside the sources, where Numba would put them: pip would leave them there when it
    uninstalls the package.
    """
    if numba.config.CACHE_DIR:  # type: ignore[attr-defined]
        return str(numba.config.CACHE_DIR)  # type: ignore[attr-defined]
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not Path(base).is_absolute():  # as the XDG specification has it
        base = os.path.expanduser("~/.cache")  # noqa: PTH111 Path fails where there is no home
    own = Path(base) / "eventkit" / "kernels"
    if not own.is_absolute():
        return _temporary()
    try:
        own.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=own):
            return str(own)
    except OSError:
        return _temporary()


def nothing_compiled() -> bool:
    """Whether no kernel is in the cache yet, so that the first call of each takes seconds."""
    return next(Path(folder()).rglob("*.nbi"), None) is None


@contextmanager
def _cached_in(folder: str) -> Iterator[None]:
    """Let Numba cache what is decorated meanwhile in `folder`; other libraries' is not moved."""
    with _numba_config:
        before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
        numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]
        try:
            yield
        finally:
            numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


def _temporary() -> str:
    """A cache folder among the temporary files that nobody else can write: it holds code."""
    folder = Path(tempfile.gettempdir()) / f"eventkit-numba-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022 or folder.is_symlink():
        return tempfile.mkdtemp(prefix="eventkit-numba-")
    return str(folder)
