"""The cost of a net for one sample: parameters, multiply-accumulates and neurons."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from eventkit.snn import Neuron
from eventkit.snn.event_driven import EventDriven


@dataclass(frozen=True)
class Cost:
    """The cost of a net; `macs` and `neurons` are per sample and time step."""

    parameters: int
    macs: int  # multiply-accumulates of convolutions, linear layers and attention, dense
    neurons: int


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the multiply-accumulates of convolutions and matrix products by torch's formulas."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.macs += formula(*args, **(kwargs or {}), out_val=out) // 2
        return out


def cost(net: nn.Module, in_shape: tuple[int, ...], T: int = 1) -> Cost:
    """The cost of `net` for samples (C, H, W) of `T` frames, without computing any values.

    A copy of the net runs once on the meta device. Matrix products are counted densely, as if every
    input were nonzero. Products inside neurons are included (e.g. a PSN mixes time steps).
    """
    net = copy.deepcopy(net).to("meta").eval()
    neurons = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal neurons
        neurons += output.numel()

    for module in net.modules():
        if isinstance(module, EventDriven):
            module.register_forward_hook(count)
        if isinstance(module, Neuron):
            module.register_forward_hook(count)
            if all(p.ndim < 2 for p in module.parameters()):
                module.run = _same  # type: ignore[method-assign]  # no products to count
    with torch.no_grad(), _Products() as products:
        net(torch.empty(T, 1, *in_shape, device="meta"))
    return Cost(
        parameters=sum(p.numel() for p in net.parameters()),
        macs=products.macs // T,
        neurons=neurons // T,
    )


def _same(x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    return x, state
