"""Online training through time (Xiao et al., NeurIPS 2022)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eventkit.evaluate.activity import SYNAPSES
from eventkit.registry import Share

from . import RULES, Step, Update, windows


@RULES.register
def ottt(step: Step, frames: Tensor, *, decay: Share = 0.5, update: Update = "sequence") -> float:
    """As `sltt`, but weights see trace = decay trace + input; `decay` as the neurons, 1 - 1/tau.

    The first layer sees its input itself. update=window changes the weights in every step
    (OTTT-O), otherwise the gradients of all steps add up (OTTT-A). With `--loss tet` the loss of a
    step is that of the paper. The paper's nets have no batch norm.
    """
    with _traces(step.net, decay):
        return windows(step, frames, 1, update)


class _Seen(torch.autograd.Function):
    """The trace, whose gradient goes to the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, trace: Tensor) -> Tensor:
        return trace.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _Said(torch.autograd.Function):
    """The true output, whose gradient goes to that of the trace."""

    @staticmethod
    def forward(ctx: Any, of_trace: Tensor, out: Tensor) -> Tensor:
        return out.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


@contextmanager
def _traces(net: nn.Module, decay: float) -> Iterator[None]:
    """Layers compute with their input and learn from its trace; the first has no trace."""
    synapses = [module for module in net.modules() if isinstance(module, SYNAPSES)]
    traces: dict[nn.Module, Tensor] = {}
    inside: list[nn.Module] = []

    def hook(module: Any, args: Any, out: Tensor) -> Tensor | None:
        if module in inside or not torch.is_grad_enabled():
            return None
        x = args[0]
        before = traces.get(module)
        traces[module] = x.detach() if before is None else decay * before + x.detach()
        inside.append(module)
        try:
            of_trace = module(_Seen.apply(x, traces[module]))  # type: ignore[no-untyped-call]
        finally:
            inside.remove(module)
        said: Tensor = _Said.apply(of_trace, out.detach())  # type: ignore[no-untyped-call]
        return said

    hooks = [module.register_forward_hook(hook) for module in synapses[1:]]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()
