"""Spike-timing-dependent plasticity, one file per rule: weights learn from spikes, without labels.

A rule is a function `name(pre, post, *, options) -> change` of the spikes on both sides of a
layer, pre (T, N, inputs) and post (T, N, outputs): the change of the weights (outputs, inputs),
summed over the steps, the mean over the samples. All pairs of a sequence count. In one step the
input comes first, as the neuron has seen it.

>>> pre, post = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 0, 1])
>>> change(pre.reshape(3, 1, 1), post.reshape(3, 1, 1), "pair:tau_plus=20,a_plus=1")
tensor([[0.9048]])
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.registry import Registry
from eventkit.snn.neurons import Neuron

__all__ = ["STDP", "change", "learn", "traces"]

STDP: Registry[Callable[..., Tensor]] = Registry("STDP rule", __name__)


def traces(spikes: Tensor, tau: float) -> Tensor:
    """r[t] = exp(-1/tau) (r[t - 1] + spikes[t - 1]) with r[0] = 0, of the shape of `spikes`."""
    decay, now, found = math.exp(-1 / tau), torch.zeros_like(spikes[0]), []
    for each in spikes:
        found.append(now)
        now = decay * (now + each)
    return torch.stack(found)


@torch.no_grad()
def change(pre: Tensor, post: Tensor, rule: str = "pair") -> Tensor:
    """The change of weights (outputs, inputs) by a rule such as `triplet:tau_y=40`.

    Raises UnknownName, or OptionError if the spikes are not (T, N, inputs) and (T, N, outputs).
    """
    if pre.ndim != 3 or post.ndim != 3 or pre.shape[:2] != post.shape[:2]:
        raise OptionError(
            f"found spikes of {tuple(pre.shape)} and {tuple(post.shape)}, expected (T, N, inputs) "
            "and (T, N, outputs)"
        )
    function, options = STDP.parse(rule)
    summed: Tensor = function(pre, post, **options)
    return summed / max(1, pre.shape[1])


@torch.no_grad()
def learn(
    layer: nn.Linear, neuron: Neuron, pre: Tensor, rule: str = "pair", *, rate: float = 1.0,
    low: float = 0.0, high: float = 1.0,
) -> Tensor:  # fmt: skip
    """The spikes of `neuron` after `layer` for pre (T, N, inputs), from which the weights learn.

    They change in place by `rate` times `change`, and stay within `low` and `high`.
    """
    post: Tensor = neuron(layer(pre))
    layer.weight.add_(change(pre, post, rule), alpha=rate).clamp_(low, high)
    return post
