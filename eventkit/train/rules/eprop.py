"""Eligibility propagation (Bellec et al., Nature Communications 2020)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.snn import Neuron, Recurrent

from . import RULES, Step

Feedback = Literal["symmetric", "random"]


@RULES.register
def eprop(step: Step, frames: Tensor, *, feedback: Feedback = "symmetric") -> float:
    """Gradients local to a layer: a learning signal from the outputs times an eligibility trace.

    dL/dW_ji = sum_t L_j[t] e_ji[t]. The trace e follows the membrane of neuron j alone, as no
    gradient passes from neuron to neuron, be it between layers or through recurrent weights. The
    signal L of a layer is the error of the outputs through a fixed random matrix. With symmetric
    feedback that of the last layer of neurons comes through the weights of the outputs instead.
    """
    with _local(step.net) as layers:
        votes = step.votes(frames)
        if not layers:
            raise OptionError("the network has no spiking neurons, expected some with eprop")
        said = votes.detach().requires_grad_()
        loss = step.criterion(said, 0)
        if not bool(loss.detach().isfinite()):
            return float(loss.detach())
        loss.backward()  # type: ignore[no-untyped-call]
        assert said.grad is not None
        if votes.requires_grad:
            torch.autograd.backward(votes, said.grad)
        last = len(layers) - 1
        for number, (spikes, outer) in enumerate(layers):
            if not spikes.requires_grad:
                continue
            if number == last and feedback == "symmetric":
                signal = torch.zeros_like(spikes) if outer.grad is None else outer.grad
            else:
                error = said.grad.to(spikes)
                matrix = _feedback(number, said.shape[-1], spikes[0, 0].numel()).to(spikes)
                signal = (error @ matrix).reshape(spikes.shape)
            torch.autograd.backward(spikes, signal)
    return float(loss.detach())


@lru_cache(maxsize=64)
def _feedback(number: int, classes: int, neurons: int) -> Tensor:
    """The fixed matrix (classes, neurons) of a layer, with normal entries over sqrt(classes)."""
    draws = torch.Generator().manual_seed(number)
    matrix: Tensor = torch.randn(classes, neurons, generator=draws)
    return matrix / float(classes**0.5)


@contextmanager
def _local(net: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Inside, no gradient leaves a layer of neurons: yields their spikes, and copies passed on."""
    layers: list[tuple[Tensor, Tensor]] = []
    recurrent = [module for module in net.modules() if isinstance(module, Recurrent)]
    inner = {id(child) for module in recurrent for child in module.modules() if child is not module}

    def cut(module: nn.Module, inputs: Any, spikes: Tensor) -> Tensor:
        outer = spikes.detach().requires_grad_(torch.is_grad_enabled())
        layers.append((spikes, outer))
        return outer

    hooks = [
        module.register_forward_hook(cut)
        for module in net.modules()
        if isinstance(module, Neuron) and _spikes(module) and id(module) not in inner
    ]
    try:
        for module in recurrent:
            module.local = True
        yield layers
    finally:
        for module in recurrent:
            module.local = False
        for hook in hooks:
            hook.remove()


def _spikes(module: Neuron) -> bool:
    return module.inner.spiking if isinstance(module, Recurrent) else module.spiking
