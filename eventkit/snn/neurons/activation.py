"""Activations of networks that are trained without spikes and converted: QCFS and ReLU.

    QCFS   y = lambda clip(floor(x L / lambda + 1/2), 0, L) / L
    ReLU   y = max(0, x)

Both see every time step by itself. `eventkit.snn.to_spiking` replaces them with spiking neurons.
Gradients of QCFS (floor passes its gradient through), with n = floor(x L / lambda + 1/2):

    dy/dx = 1 where 0 <= n <= L, else 0
    dy/dlambda = (y - x) / lambda where 0 <= n <= L, 1 above, 0 below

Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural
networks", ICLR 2022.
"""

from typing import Any

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.snn.memory import state_dtype

from . import NEURONS, Neuron, State, check_input


class _Quantised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor, levels: int) -> Tensor:
        n = (x * levels / threshold + 0.5).floor()
        y: Tensor = threshold * (n.clamp(0, levels) / levels)
        ctx.save_for_backward(x, threshold)
        ctx.levels = levels
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, threshold = ctx.saved_tensors
        n = (x * ctx.levels / threshold + 0.5).floor()
        inside, above = (n >= 0) & (n <= ctx.levels), (n > ctx.levels).to(x.dtype)
        y = threshold * (n.clamp(0, ctx.levels) / ctx.levels)
        slope = torch.where(inside, (y - x) / threshold, above)
        return grads[0] * inside, (grads[0] * slope).sum(), None


class Activation(Neuron):
    """Base class of activations without state, which are the neurons of networks to convert."""

    graded = True
    spiking = False

    def activate(self, x: Tensor) -> Tensor:
        """The outputs of the shape and dtype of x, float32 or float64."""
        raise NotImplementedError

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        check_input(x)
        return self.activate(x.to(state_dtype(x))).to(x.dtype), None


@NEURONS.register
class QCFS(Activation):
    """The activation with `levels` steps up to a learned threshold, for conversion to spikes.

    `threshold` is the initial value of lambda, the largest output; one is learned for each layer.
    """

    name = "qcfs"

    def __init__(self, *, levels: int = 8, threshold: float = 8.0) -> None:
        super().__init__()
        if levels < 1 or not threshold > 0:
            raise OptionError(
                f"qcfs: found levels={levels} and threshold={threshold}, expected at least 1 level "
                "and a threshold above 0"
            )
        self.levels = levels
        self.threshold = nn.Parameter(torch.tensor(float(threshold)))

    def activate(self, x: Tensor) -> Tensor:
        y: Tensor = _Quantised.apply(x, self.threshold.to(x.dtype), self.levels)  # type: ignore[no-untyped-call]
        return y

    def extra_repr(self) -> str:
        return f"levels={self.levels}, threshold={self.threshold.item():.4g}"


@NEURONS.register
class ReLU(Activation):
    """max(0, x), the activation of a plain network: the baseline of conversion."""

    name = "relu"

    def activate(self, x: Tensor) -> Tensor:
        return x.relu()
