"""Less memory in training: spikes kept as bits, and sequences gone through in pieces.

What a training step holds are mostly the inputs that layers keep for their backward pass, and in a
spiking net those are zeros and ones, which need a bit instead of four bytes. And a long sequence
need not be held as a whole: a piece of it can be computed again from the states at its start.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from eventkit.errors import OptionError

from .bits import pack, unpack
from .layers import Dropout
from .memory import flat, is_dense, split
from .neurons import run

LEAST = 1 << 14  # numbers below which a tensor is not worth the look


@contextmanager
def packed_spikes() -> Iterator[None]:
    """Forward passes inside keep tensors of nothing but zeros and ones as bits.

    Results and gradients are the same: what autograd keeps on the CPU is looked through, which ends
    at the first numbers that are neither. It pays where layers keep spikes, as convolutions and
    linear layers after a neuron do, for one pass over them forwards and one backwards.
    """
    with saved_tensors_hooks(_pack, _unpack):
        yield


def _values(x: Tensor) -> tuple[np.ndarray, Any]:
    """The memory of x as one row for kernels, and what a one is in it."""
    if x.dtype == torch.bfloat16:
        return flat(x, 1).view(torch.uint16).numpy()[0], np.uint16(0x3F80)
    return flat(x, 1).numpy()[0], np.float32(1)


def _pack(x: Tensor) -> Any:
    if (
        x.numel() < LEAST
        or x.device.type != "cpu"
        or x.dtype not in (torch.float32, torch.bfloat16)
        or isinstance(x, nn.Parameter)
        or not is_dense(x.unsqueeze(0))
    ):
        return x
    values, one = _values(x)
    first = values[:64]  # mostly enough to tell, without waking a thread
    if not ((first == 0) | (first == one)).all():
        return x
    bits = np.empty(-(-x.numel() // 8), np.uint8)
    if not all(split(lambda a, b: pack(values, bits, one, a, b), x.numel(), 1)):
        return x
    return bits, x.shape, x.stride(), x.dtype


def _unpack(saved: Any) -> Tensor:
    if isinstance(saved, Tensor):
        return saved
    bits, shape, stride, dtype = saved
    x = torch.empty_strided(shape, stride, dtype=dtype)
    values, one = _values(x)
    split(lambda a, b: unpack(bits, values, one, a, b), x.numel(), 1)
    return x


def checkpointed(net: nn.Module, x: Tensor, *, pieces: int) -> Tensor:
    """What net(x) gives for x (T, N, ...), in the memory of one of `pieces` parts of the sequence.

    A backward pass computes each part again from the states of the neurons at its start, so its
    gradients are those of the whole. Those of layers with statistics over time would not be, nor
    of a dropout whose mask is one for the sequence: OptionError if such a layer is in training, or
    is a batch norm without running statistics.
    """
    if not 1 <= pieces <= len(x):
        raise OptionError(f"pieces is {pieces}, expected 1 to T={len(x)}")
    for name, module in net.named_modules():
        trouble = _trouble(module, pieces)
        if trouble:
            raise OptionError(
                f"{name or 'the net'} is a {type(module).__name__} that {trouble}; call eval() on "
                f"it, or go through the whole sequence"
            )
    said, states = [], None
    for piece in x.chunk(pieces):
        y, states = checkpoint(run, net, piece, states, use_reentrant=False)
        said.append(y)
    return torch.cat(said)


def _trouble(module: nn.Module, pieces: int) -> str:
    """Why a layer does not give in pieces what it gives for the whole; empty if it does.

    A norm in training has trouble even with one piece: what is computed again would count twice.
    """
    if isinstance(module, Dropout) and module.training and module.p and pieces > 1:
        return "is in training: it would drop others in each part of the sequence"
    part = "its statistics over a part of the sequence are not those of the whole"
    norms = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
    if isinstance(module, norms) and module.training and module.track_running_stats:
        return f"is in training: {part}"
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
        return f"has no running statistics: {part}"
    return ""
