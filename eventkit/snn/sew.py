"""Spike-element-wise connections: how a residual block combines its spikes with its shortcut's.

Fang et al., "Deep Residual Learning in Spiking Neural Networks", NeurIPS 2021.
"""

from typing import Literal

from torch import Tensor, nn

from .neurons import Neuron

Connect = Literal["add", "and", "iand"]


class SEW(nn.Module):
    """g(A, S) of spikes A = branch(x) and S = shortcut(x): add A + S, and A S, iand (1 - A) S.

    `branch` ends with a batch norm and a neuron; A and S have the same shape. The output of add can
    be larger than 1, because both may fire.
    """

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module | None = None, *, connect: Connect = "add"
    ) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut or nn.Identity()
        self.connect = connect

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, ...) -> (T, N, ...)."""
        a: Tensor = self.branch(x)
        s: Tensor = self.shortcut(x)
        if self.connect == "add":
            return a + s
        return a * s if self.connect == "and" else (1 - a) * s

    def extra_repr(self) -> str:
        return f"connect={self.connect}"


def start_as_identity(norm: nn.BatchNorm2d, neuron: Neuron, connect: Connect) -> None:
    """Initialise a block as the identity: the branch never fires (add, iand) or always (and).

    For `and`, the bias of the norm makes `neuron` fire in every step from rest: its threshold,
    times tau if the leak also scales the input.
    """
    nn.init.zeros_(norm.weight)
    if connect == "and":
        scale = getattr(neuron, "tau", 1.0) if getattr(neuron, "decay_input", False) else 1.0
        threshold = getattr(neuron, "v_threshold", 1.0)
        nn.init.constant_(norm.bias, 1.001 * scale * threshold)  # above it despite rounding
