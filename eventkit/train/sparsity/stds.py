"""Weights below a threshold that grows while the network is trained: state transition of spines.

    w = sign(theta) max(0, |theta| - d),   dL/dtheta = dL/dw for every theta

Chen, Yu, Fang, Ma, Huang, Tian: "State Transition of Dendritic Spines Improves Learning of Sparse
Spiking Neural Networks", ICML 2022.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from eventkit.registry import Positive

from . import SPARSIFIERS, Layer, Moment, Sparsity

Growth = Literal["sine", "linear", "fixed"]


class SoftThreshold(Sparsity):
    """Base class: a subclass defines how the threshold d grows to its final value `threshold`."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def grown(self, x: float, epochs: int) -> float:
        """The share of the final threshold when the share x of the training is done."""
        raise NotImplementedError

    def weights(self, layer: Layer, now: Moment) -> Tensor:
        d = self.threshold * self.grown(now.done, now.epochs)
        return layer.hidden.sign() * (layer.hidden.abs() - d).clamp(min=0)


@SPARSIFIERS.register
class STDS(SoftThreshold):
    """Soft threshold d that grows as `threshold` (1 + sin(pi (x - 1/2))) / 2 over the training.

    growth=linear is `threshold` x; growth=fixed has the final threshold from the start and begins
    with theta = sign(w) (|w| + d).
    """

    name = "stds"

    def __init__(self, *, threshold: Positive = 0.1, growth: Growth = "sine") -> None:
        super().__init__(threshold)
        self.growth = growth

    def start(self, layer: Layer, draws: torch.Generator) -> None:
        if self.growth == "fixed":
            layer.hidden += layer.hidden.sign() * self.threshold

    def grown(self, x: float, epochs: int) -> float:
        if self.growth == "sine":
            return (1 + math.sin(math.pi * (x - 0.5))) / 2
        return x if self.growth == "linear" else 1.0
