"""What a net costs for one sample: parameters, multiplications and neurons, counted as it runs."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eventkit.snn import Neuron


@dataclass(frozen=True)
class Cost:
    """`macs` and `neurons` are of one sample in one time step."""

    parameters: int
    macs: int  # multiply-accumulates of convolutions, linear layers and attention, dense
    neurons: int


def cost(net: nn.Module, in_shape: tuple[int, ...], T: int = 1) -> Cost:
    """The cost of `net` for samples (C, H, W) of `T` frames, without computing anything.

    A copy of the net without data runs once; every product of matrices is counted as if all its
    inputs were spikes, and so is every neuron. Multiplications inside of neurons count too (those
    of a PSN mix the time steps).
    """
    net = copy.deepcopy(net).to("meta").eval()
    neurons = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal neurons
        neurons += output.numel()

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, Neuron)]
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net(torch.empty(T, 1, *in_shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return Cost(
        parameters=sum(p.numel() for p in net.parameters()),
        macs=counter.get_total_flops() // 2 // T,
        neurons=neurons // T,
    )
