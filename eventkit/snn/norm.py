"""Batch norms of spiking nets. The plain one over T and N is `Fold(nn.BatchNorm2d(channels))`."""

import math

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError


class TDBN2d(nn.BatchNorm2d):
    """Threshold-dependent batch norm, inside a `Fold`: over T, N, H and W, to alpha x threshold.

    The weight starts at `alpha * v_threshold`, so that membranes start at the scale of the
    threshold. `branches` that are added up take alpha = 1/sqrt(branches). Zheng et al., "Going
    Deeper With Directly-Trained Larger Spiking Neural Networks", AAAI 2021.
    """

    def __init__(self, channels: int, *, v_threshold: float = 1.0, branches: int = 1) -> None:
        self._start = v_threshold / math.sqrt(branches)
        super().__init__(channels)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.constant_(self.weight, self._start)


class TEBN2d(nn.Module):
    """Temporal effective batch norm: batch norm over T, N, H and W, times a weight for each step.

    Takes (T, N, C, H, W) with fixed T. y[t] = p[t] BN(x)[t]; all p start at 1. Duan et al.,
    "Temporal Effective Batch Normalization in Spiking Neural Networks", NeurIPS 2022.
    """

    def __init__(self, channels: int, *, T: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.p = nn.Parameter(torch.ones(T))

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, C, H, W) -> (T, N, C, H, W)."""
        if len(x) != len(self.p):
            raise OptionError(
                f"TEBN has a weight for each of {len(self.p)} time steps, found {len(x)} steps; "
                "create the net with that T"
            )
        y: Tensor = self.norm(x.flatten(0, 1)).reshape(x.shape)
        return y * self.p.view(-1, 1, 1, 1, 1)
