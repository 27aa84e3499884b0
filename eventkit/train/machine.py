"""What a training asks of its machine: device, bfloat16, memory, Ctrl-C, and other processes.

Several processes, as torchrun starts them, train one net; one process needs none of this. Each
takes its share of every step, and the gradients are added up after the backward pass in one flat
buffer, so that every rule works alike. Batch norm takes the statistics of its own process.
"""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eventkit.loader.ships import usable


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
    return usable(name)


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


@dataclass(frozen=True)
class World:
    """This process among all of them."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def largest(self, *values: float) -> list[float]:
        """Each number's largest over all processes, so that all of them decide alike."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return list(tensor.tolist())

    def add_gradients(self, net: nn.Module) -> None:
        """Every gradient becomes the sum over all processes."""
        if self.size == 1:
            return
        parameters = [p for p in net.parameters() if p.requires_grad]
        flat = torch.cat([_gradient(p).flatten() for p in parameters])
        dist.all_reduce(flat)
        for parameter, part in zip(
            parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True
        ):
            parameter.grad = part.reshape(parameter.shape).to(parameter.dtype)

    def same(self, net: nn.Module) -> None:
        """Weights and running statistics become those of the first process."""
        if self.size > 1:
            for tensor in net.state_dict().values():
                # Through a dense copy: channels-last tensors would arrive in another order.
                dense = tensor.detach().contiguous()
                dist.broadcast(dense, 0)
                tensor.copy_(dense)

    def tell(self, text: str) -> str:
        """The text of the first process."""
        if self.size == 1:
            return text
        texts = [text]
        dist.broadcast_object_list(texts, 0)
        return texts[0]


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        return torch.zeros_like(parameter, memory_format=torch.contiguous_format)
    return parameter.grad


def part() -> bool:
    """Wait for the other processes and leave them; whether this one reports.

    One that is gone before the others have ended tears their connections down.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return True
    reports = dist.get_rank() == 0
    dist.barrier()
    dist.destroy_process_group()
    return reports


def world() -> World:
    """The processes that torchrun started, joined; one alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not dist.is_available():
        return World()
    if not dist.is_initialized():
        # Gradients are where the net is; counts and decisions are on the CPU.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=30))
    return World(dist.get_rank(), dist.get_world_size())
