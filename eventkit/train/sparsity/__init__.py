"""Sparse training: most weights become zero, one file per paper, found by scanning this folder.

A method keeps hidden weights of the same shape as those of each convolution and linear layer. The
optimizer changes the hidden weights, with the gradient of the weights; then the method acts on them
and derives the weights of the network, many of which are zero:

    weights -> forward, backward -> gradient -> hidden weights -> weights

So the network holds its sparse weights at any time, and needs nothing of this to be saved, measured
or exported; a checkpoint also holds the hidden weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eventkit.evaluate.activity import SYNAPSES
from eventkit.registry import Registry

__all__ = ["SPARSIFIERS", "Layer", "Moment", "Sparsity", "connectivity", "sparsifier"]


@dataclass
class Layer:
    """A weight tensor of the network and the hidden one behind it."""

    weight: nn.Parameter
    hidden: Tensor
    sign: Tensor = field(default_factory=lambda: torch.ones(()))  # fixed, if the method has it


@dataclass(frozen=True)
class Moment:
    """An optimizer step, as far as a method needs to know it."""

    done: float  # share of the training that is done with this step, up to 1
    epochs: int  # of the whole training
    draws: torch.Generator  # the same in every process
    rate: float = 0.0  # learning rate of the layer
    correction: float = 1.0  # 1 - beta1^n of Adam in its step n


class Sparsity:
    """Base class of the methods; a subclass defines `weights` and what it needs of the others."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}

    def start(self, layer: Layer, draws: torch.Generator) -> None:
        """Set the hidden weights of a layer, which are a copy of its weights."""

    def before(self, layer: Layer) -> None:
        """Change the gradient before the optimizer's step."""

    def after(self, layer: Layer, before: Tensor, now: Moment) -> None:
        """Change the hidden weights after the optimizer's step; `before` are those before it."""

    def weights(self, layer: Layer, now: Moment) -> Tensor:
        """The weights of a layer, from the hidden ones."""
        raise NotImplementedError

    @torch.no_grad()
    def attach(self, net: nn.Module, now: Moment) -> None:
        """Begin with the weights of `net`, and give it those of the method."""
        for name, module in net.named_modules():
            if isinstance(module, SYNAPSES) and module.weight.requires_grad:
                weight: Any = module.weight
                layer = Layer(weight, weight.detach().clone())
                self.start(layer, now.draws)
                self.layers[f"{name}.weight"] = layer
                layer.weight.copy_(self.weights(layer, now))

    @contextmanager
    def step(self, optimizer: torch.optim.Optimizer, now: Moment) -> Iterator[None]:
        """Inside, the parameters of the network are the hidden weights: for `optimizer.step()`."""
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        with torch.no_grad():
            for layer in self.layers.values():
                self.before(layer)
                layer.weight.copy_(layer.hidden)
        yield
        with torch.no_grad():
            for layer in self.layers.values():
                own = _moment(now, optimizer, groups[id(layer.weight)], layer.weight)
                before, layer.hidden = layer.hidden, layer.weight.detach().clone()
                self.after(layer, before, own)
                layer.weight.copy_(self.weights(layer, own))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold, by name."""
        return {
            f"{name}.{key}": getattr(layer, key)
            for name, layer in self.layers.items()
            for key in ("hidden", "sign")
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`, on a network that a method is attached to."""
        if state.keys() != self.state().keys():
            raise ValueError("its sparse layers are others")
        for name, layer in self.layers.items():
            for key in ("hidden", "sign"):
                own, found = getattr(layer, key), state[f"{name}.{key}"]
                if own.shape != found.shape:
                    raise ValueError(f"{key} of {name} has another shape")
                setattr(layer, key, torch.empty_like(own).copy_(found))


def _moment(now: Moment, optimizer: Any, group: dict[str, Any], weight: nn.Parameter) -> Moment:
    beta, n = group.get("betas", (0.0, 0.0))[0], optimizer.state[weight].get("step", 0)
    correction = 1 - beta ** float(n) if beta and n else 1.0
    return Moment(now.done, now.epochs, now.draws, group["lr"], correction)


SPARSIFIERS: Registry[type[Sparsity]] = Registry("sparsity", __name__)


def sparsifier(spec: str) -> Sparsity:
    """The method of a spec such as `stds:threshold=0.1`; UnknownName or OptionError if wrong."""
    made: Sparsity = SPARSIFIERS.make(spec)
    return made


def connectivity(net: nn.Module) -> float:
    """The share of the weights of convolutions and linear layers that are not zero."""
    weights = [m.weight.detach() for m in net.modules() if isinstance(m, SYNAPSES)]
    return sum(int(w.count_nonzero()) for w in weights) / max(1, sum(w.numel() for w in weights))
