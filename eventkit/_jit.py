"""The one Numba decorator: kernels release the GIL and are compiled once per machine."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile `function` in nopython mode, without the GIL, cached on disk.

    Kernels take arrays and scalars that their caller has checked: nothing here checks bounds.
    """
    compiled: F
    try:
        compiled = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # a read-only install and no home: keep the cache beside the temp files
        folder = Path(tempfile.gettempdir()) / f"eventkit-numba-{os.getuid()}"
        numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
        compiled = numba.njit(nogil=True, cache=True)(function)
    return compiled
