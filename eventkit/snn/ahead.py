"""Kernels compiled ahead of use, into Numba's cache, as `eventkit doctor --warm` wants them."""

import torch

from .neurons import NEURONS, neuron
from .saving import LEAST, packed_spikes


def warm() -> list[str]:
    """Run every neuron forwards and backwards on a few numbers of each type; their names."""
    for name in NEURONS:
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.rand(4, 1, 2, dtype=dtype, requires_grad=True)
            neuron(name, T=4, features=2)(x).sum().backward()  # type: ignore[no-untyped-call]
    for dtype in (torch.float32, torch.bfloat16):
        spikes = torch.zeros(LEAST, dtype=dtype)
        with packed_spikes():
            product = spikes * torch.ones(LEAST, dtype=dtype, requires_grad=True)
        product.sum().backward()  # type: ignore[no-untyped-call]
    return list(NEURONS)
