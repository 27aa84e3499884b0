"""Batch norms for spiking nets. The basic one over T and N is `Fold(nn.BatchNorm2d(channels))`."""

import math

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError


class TDBN2d(nn.BatchNorm2d):
    """Threshold-dependent batch norm over T, N, H and W, for use inside a `Fold`.

    The weight is initialised with `alpha * v_threshold`, so that membranes have the scale of the
    threshold; alpha = 1/sqrt(branches) for `branches` that are summed. Zheng et al., "Going Deeper
    With Directly-Trained Larger Spiking Neural Networks", AAAI 2021.
    """

    def __init__(self, channels: int, *, v_threshold: float = 1.0, branches: int = 1) -> None:
        self._start = v_threshold / math.sqrt(branches)
        super().__init__(channels)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.constant_(self.weight, self._start)


class TEBN2d(nn.Module):
    """Temporal effective batch norm: batch norm over T, N, H and W, times a weight per step.

    y[t] = p[t] BN(x)[t] for x (T, N, C, H, W) with fixed T; all p are initialised to 1. Duan et
    al., "Temporal Effective Batch Normalization in Spiking Neural Networks", NeurIPS 2022.
    """

    def __init__(self, channels: int, *, T: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.p = nn.Parameter(torch.ones(T))

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, C, H, W) -> (T, N, C, H, W)."""
        if len(x) != len(self.p):
            raise OptionError(
                f"found {len(x)} time steps, expected {len(self.p)}, as TEBN has a weight for each "
                "step; create the net with that T"
            )
        y: Tensor = self.norm(x.flatten(0, 1)).reshape(x.shape)
        return y * self.p.view(-1, 1, 1, 1, 1)
