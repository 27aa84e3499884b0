"""Reduce training memory: store spikes as bits, and recompute parts of a sequence.

Most of the memory of a training step is inputs that layers save for the backward pass. In a spiking
net these are zeros and ones, which need one bit instead of four bytes. In addition, a long sequence
can be split: a part is recomputed in the backward pass from the states at its start.
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

MIN_NUMEL = 1 << 14  # smaller tensors are not packed


@contextmanager
def packed_spikes() -> Iterator[None]:
    """Within this context, autograd stores tensors that contain only zeros and ones as bits.

    Results and gradients do not change. CPU tensors saved by autograd are scanned until the first
    other value. This saves memory where layers save spikes, e.g. convolutions and linear layers
    after a neuron, and costs one pass over the spikes in the forward and backward pass each.
    """
    with saved_tensors_hooks(_pack, _unpack):
        yield


def _values(x: Tensor) -> tuple[np.ndarray, Any]:
    """The memory of x as one row, and the value that represents 1 in it."""
    if x.dtype == torch.bfloat16:
        return flat(x, 1).view(torch.uint16).numpy()[0], np.uint16(0x3F80)
    return flat(x, 1).numpy()[0], np.float32(1)


def _pack(x: Tensor) -> Any:
    if (
        x.numel() < MIN_NUMEL
        or x.device.type != "cpu"
        or x.dtype not in (torch.float32, torch.bfloat16)
        or isinstance(x, nn.Parameter)
        or not is_dense(x.unsqueeze(0))
    ):
        return x
    values, one = _values(x)
    first = values[:64]  # usually sufficient to reject a tensor, without starting threads
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
    """The output net(x) for x (T, N, ...), with the memory of one of `pieces` parts of x.

    The backward pass recomputes each part from the neuron states at its start, so gradients equal
    those of the whole sequence. This does not hold for layers with statistics over time or dropout
    with one mask per sequence: raises OptionError if such a layer is in training mode, or is a
    batch norm without running statistics.
    """
    if not 1 <= pieces <= len(x):
        raise OptionError(f"pieces is {pieces}, expected 1 to T={len(x)}")
    for name, module in net.named_modules():
        problem = _problem(module, pieces)
        if problem:
            raise OptionError(
                f"{name or 'the net'} is a {type(module).__name__} that {problem}; call eval() on "
                "it, or process the whole sequence at once"
            )
    outputs, states = [], None
    for piece in x.chunk(pieces):
        y, states = checkpoint(run, net, piece, states, use_reentrant=False)
        outputs.append(y)
    return torch.cat(outputs)


def _problem(module: nn.Module, pieces: int) -> str:
    """Why a layer gives a different result for parts of a sequence; empty if it does not.

    For a norm in training even one piece is a problem: recomputing it updates statistics twice.
    """
    if isinstance(module, Dropout) and module.training and module.p and pieces > 1:
        return "is in training: it would draw a different mask for each part of the sequence"
    part = "its statistics over a part of the sequence differ from those of the whole"
    norms = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
    if isinstance(module, norms) and module.training and module.track_running_stats:
        return f"is in training: {part}"
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
        return f"has no running statistics: {part}"
    return ""
