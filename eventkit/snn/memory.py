"""Memory and threads for the CPU kernels, which see a tensor (T, N, ...) as rows of neurons."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

GRAIN = 1 << 17  # minimum neuron steps per thread
HUGE = 1 << 22  # minimum bytes for which memory is allocated in huge pages
PAGE = 1 << 21  # size and alignment of a huge page in bytes
HARD, SOFT, NEVER = 0, 1, 2  # reset: set the membrane, subtract the threshold, no reset
TRITON = find_spec("triton") is not None
DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def has_kernels(x: Tensor, gpu: bool = False) -> bool:
    """Whether the kernels support x; other tensors use torch operations step by step.

    `gpu`: whether there is also a Triton kernel.
    """
    if x.device.type == "cuda":
        return gpu and TRITON and x.dtype in (*DTYPES, torch.float16)
    return x.device.type == "cpu" and x.dtype in DTYPES


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """A thread pool per process, because threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="eventkit-snn")


def split(part: Callable[[int, int], Any], neurons: int, steps: int, unit: int = 16) -> list[Any]:
    """The results of part(start, stop) over all neurons, using as many threads as torch does.

    Every start is a multiple of `unit`; 16 neurons are a cache line.
    """
    threads = max(1, min(torch.get_num_threads(), neurons * steps // GRAIN))
    width = -(-neurons // (threads * unit)) * unit
    spans = [(a, min(a + width, neurons)) for a in range(0, neurons, width or 1)]
    if len(spans) < 2:
        return [part(*span) for span in spans]
    pool = _pool(os.getpid(), torch.get_num_threads())
    others = [pool.submit(part, *span) for span in spans[1:]]
    return [part(*spans[0]), *(other.result() for other in others)]


def is_dense(x: Tensor) -> bool:
    """Whether the memory is (T, neurons) without gaps, with the neurons in any order."""
    if torch.compiler.is_compiling():  # strides may be symbolic, which cannot be sorted
        return x.is_contiguous()
    size = 1
    for stride, n in sorted(zip(x.stride(), x.shape, strict=True)):
        if n > 1 and stride != size:
            return False
        size *= n
    return x.shape[0] < 2 or x.stride(0) * x.shape[0] == size


def empty_like(x: Tensor, dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor with x's layout.

    Large allocations are always fresh memory, and the first access to its pages costs more than the
    arithmetic, unless they are huge pages, which NumPy requests from the system.
    """
    return empty(x.shape, x.stride(), dtype)


def empty(shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """`empty_like` for a dense layout given by its shape and strides."""
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes < HUGE:
        return torch.empty_strided(shape, stride, dtype=dtype)
    memory = np.empty(n_bytes + PAGE, np.uint8)
    memory = memory[-memory.ctypes.data % PAGE :][:n_bytes]
    return torch.from_numpy(memory).view(dtype).as_strided(shape, stride)


def like(x: Tensor, layout: Tensor) -> Tensor:
    """x in the dtype and memory layout of `layout`, which has the same shape."""
    if x.dtype == layout.dtype and x.stride() == layout.stride():
        return x
    return torch.empty_like(layout).copy_(x)


def state_dtype(x: Tensor) -> torch.dtype:
    """The dtype of membranes: float64 if the input is, else float32 (also for bfloat16)."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def flat(x: Tensor, steps: int | None = None) -> Tensor:
    """The memory of a dense x, viewed as (steps, neurons)."""
    steps = len(x) if steps is None else steps
    neurons = x.numel() // max(steps, 1)
    return x.detach().as_strided((steps, neurons), (neurons, 1))


def as_rows(x: Tensor, steps: int) -> np.ndarray:
    """`flat` as a NumPy array; bfloat16, which NumPy lacks, as uint16."""
    table = flat(x, steps)
    rows: np.ndarray = (table.view(torch.uint16) if x.dtype == torch.bfloat16 else table).numpy()
    return rows


def as_row(v: Tensor | None, layout: Tensor) -> np.ndarray:
    """The memory of one step as a NumPy row in the order of `layout`; empty for None."""
    row: np.ndarray = as_rows(layout.new_empty(0) if v is None else like(v, layout), 1)[0]
    return row


def keeps_graph() -> bool:
    """Whether the graph is kept for another backward pass, so that what it saved must stay."""
    if torch.compiler.is_compiling():
        return True
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or bool(ask())
