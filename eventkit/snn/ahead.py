"""Precompile the neuron kernels into Numba's cache."""

import torch
from torch import nn

from .fuse import SMALL, fuse
from .layers import Fold, Halve
from .neurons import NEURONS, neuron
from .saving import MIN_NUMEL, packed_spikes


def warm() -> list[str]:
    """Run every neuron forwards and backwards on a tiny input of each dtype; return the names."""
    for name in NEURONS:
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.rand(4, 1, 2, dtype=dtype, requires_grad=True)
            neuron(name, T=4, features=2)(x).sum().backward()  # type: ignore[no-untyped-call]
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.rand(2, 1, 2, 2, SMALL // 8, dtype=dtype, requires_grad=True)
        net = fuse(nn.Sequential(Fold(nn.BatchNorm2d(2)), neuron("lif"), Halve()))
        net(x).sum().backward()
        spikes = torch.zeros(MIN_NUMEL, dtype=dtype)
        with packed_spikes():
            product = spikes * torch.ones(MIN_NUMEL, dtype=dtype, requires_grad=True)
        product.sum().backward()  # type: ignore[no-untyped-call]
    return list(NEURONS)
