"""What a training asks of its machine: the device, bfloat16, memory, and Ctrl-C."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from eventkit.errors import OptionError


@contextmanager
def interruptible() -> Iterator[Any]:
    """Inside, Ctrl-C waits for the end of a step: gives a function that says if it was pressed.

    The second one interrupts at once. In other threads than the main one nothing changes.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def device(name: str) -> torch.device:
    """`auto` is a GPU where there is one; OptionError for what torch cannot use here."""
    if name == "auto":
        own = int(os.environ.get("LOCAL_RANK", "0"))  # torchrun's processes take one GPU each
        name = f"cuda:{own % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return found


def keep_memory() -> None:
    """Let the process keep the memory that it frees, where the C library is glibc.

    Tensors of some megabytes otherwise go back to the system with every step, and touching fresh
    pages for the next ones takes a small net longer than its arithmetic.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large block
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere and later
    if device.type != "cpu":
        return False
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)
