"""Learnable delays by dilated convolution with learnable spacings (DCLS).

Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning Delays in Spiking Neural Networks using Dilated
Convolutions with Learnable Spacings", ICLR 2024.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventkit.errors import OptionError

LAST_SIGMA = 0.23
SHARPENING = 0.25  # fraction of the training during which sigma decreases


class DelayedLinear(nn.Module):
    """A linear layer with a learned weight and a learned delay for every connection.

    The kernel over time of a connection is K[i] = w G[i] / sum G, i = 0 .. D - 1, with

        G[i] = exp(-((i - P - D // 2) / (|sigma| + 0.27))^2 / 2)

    and y[t] = sum_i K[i] x[t - (D - 1) + i], so P = +-D//2 is a delay of 0 or D - 1 steps. A large
    sigma blurs the delays at first; `anneal` decreases it from D // 2 to 0.23 in the first quarter
    of the training. In evaluation every delay is a whole number of steps, as published.

    `tail` keeps the (D - 1) // 2 steps after the last input, in which delayed spikes still arrive:
    (T, N, inputs) -> (T + (D - 1) // 2, N, outputs), as published, instead of (T, N, outputs). The
    layer has no state: pass whole sequences.
    """

    sigma: Tensor

    def __init__(self, inputs: int, outputs: int, *, D: int = 25, tail: bool = False) -> None:
        super().__init__()
        if min(inputs, outputs, D) < 1 or D % 2 == 0:
            raise OptionError(
                f"found {inputs} inputs, {outputs} outputs and D={D}, expected at least 1 each and "
                "an odd D"
            )
        self.D, self.tail = D, tail
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.position = nn.Parameter(torch.empty(outputs, inputs).uniform_(-D / 2, D / 2))
        self.position.lr_scale = 20.0  # type: ignore[attr-defined]  # as published
        self.register_buffer("sigma", torch.tensor(float(max(D // 2, LAST_SIGMA))))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        self._clamp()

    def anneal(self, done: float) -> None:
        """Set sigma for the fraction `done` of the training."""
        start = max(self.D // 2, LAST_SIGMA)
        self.sigma.fill_(start * (LAST_SIGMA / start) ** min(1.0, done / SHARPENING))

    def _clamp(self) -> None:
        """Clip the positions to the kernel's range, without affecting gradients."""
        with torch.no_grad():
            self.position.clamp_(-(self.D // 2), self.D // 2)

    def kernel(self) -> Tensor:
        """The convolution kernel over time, (outputs, inputs, D)."""
        steps = torch.arange(self.D, device=self.weight.device, dtype=self.weight.dtype)
        if not self.training:
            at = self.position.round().clamp(-(self.D // 2), self.D // 2) + self.D // 2
            return self.weight[..., None] * (steps == at[..., None])
        away = (steps - self.position[..., None] - self.D // 2) / (self.sigma.abs() + 0.27)
        return self.weight[..., None] * torch.softmax(-away.square() / 2, -1)

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, inputs) -> (T, N, outputs), or longer with `tail`."""
        if self.training:
            self._clamp()
        after = (self.D - 1) // 2 if self.tail else 0
        padded = functional.pad(x.permute(1, 2, 0), (self.D - 1, after))
        y: Tensor = functional.conv1d(padded, self.kernel())
        return y.permute(2, 0, 1)

    def extra_repr(self) -> str:
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}, D={self.D}, tail={self.tail}"


def final_delays(layer: DelayedLinear) -> Tensor:
    """The delay of every connection in steps, as used in evaluation: int64 (outputs, inputs)."""
    return (layer.D // 2 - layer.position.detach().round()).clamp(0, layer.D - 1).long()
