"""The one Numba decorator: kernels release the GIL and are compiled once per machine."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import cgutils
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F, *, fastmath: frozenset[str] = frozenset()) -> F:
    """Compile `function` in nopython mode, without the GIL, cached on disk.

    Kernels take arrays and scalars that their caller has checked: nothing here checks bounds.
    `fastmath` are the flags of LLVM by which sums may be rounded otherwise than as written.
    """
    compile_ = numba.njit(nogil=True, cache=True, fastmath=set(fastmath))
    try:
        return cast(F, compile_(function))
    except RuntimeError:  # a read-only install and no home that can be written
        numba.config.CACHE_DIR = _own_folder()  # type: ignore[attr-defined]
        return cast(F, compile_(function))


@cast(Callable[..., Any], intrinsic)
def trailing_zeros(context: Any, value: Any) -> Any:
    """In kernels: how many bits below the lowest one are 0, all if there is no one.

    It is one instruction of the processor, for which Numba has no public name.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.false_bit)

    return value(value), emit


def _own_folder() -> str:
    """A cache folder among the temporary files that nobody else can write: it holds code."""
    folder = Path(tempfile.gettempdir()) / f"eventkit-numba-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022 or folder.is_symlink():
        return tempfile.mkdtemp(prefix="eventkit-numba-")
    return str(folder)
