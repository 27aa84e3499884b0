"""Gradient rewiring.

Chen, Yu, Fang, Huang, Tian: "Pruning of Deep Spiking Neural Networks through Gradient Rewiring",
IJCAI 2021.
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from eventkit.registry import Positive, Range

from . import SPARSIFIERS, Layer, Moment, Sparsity

Half = Annotated[float, Range(0, 0.5, above=True)]


def signs(weight: Tensor) -> Tensor:
    """-1 where a weight is below 0, else 1."""
    return torch.where(weight < 0, -1.0, 1.0).to(weight)


@SPARSIFIERS.register
class GradR(Sparsity):
    """w = s max(0, theta) with a fixed sign s: the gradient also moves theta below 0, and back.

    A Laplace prior with the density of `alpha` draws theta to mu = ln(2 share) / alpha, below which
    a `share` of it lies. In step n, with Adam: p = s theta takes the optimizer's step, then
    p -= s alpha lr / (1 - beta1^n) sign(theta - mu), with theta from before the step. How many
    weights are left depends on alpha and the length of the training too.
    """

    name = "gradr"

    def __init__(self, *, share: Half = 0.1, alpha: Positive = 1e-3) -> None:
        super().__init__()
        self.alpha, self.mu = alpha, math.log(2 * share) / alpha

    def start(self, layer: Layer, draws: torch.Generator) -> None:
        layer.sign = signs(layer.hidden)

    def after(self, layer: Layer, before: Tensor, now: Moment) -> None:
        prior = (layer.sign * before - self.mu).sign()
        layer.hidden -= layer.sign * prior * (self.alpha * now.rate / now.correction)

    def weights(self, layer: Layer, now: Moment) -> Tensor:
        return layer.sign * (layer.sign * layer.hidden).clamp(min=0)
