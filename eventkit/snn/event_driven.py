"""Layers for event-driven backpropagation: gradients live on spikes, as changes of their times.

Each layer is weights and neurons. With 1 - 1/tau written as a decay, for input currents I:

    m = (m + I)(1 - 1/tau_m),  s = (s + I)(1 - 1/tau_s),  e = (e + I)(1 - 1/tau_g)
    u = (m - s) (1/tau_s) / (1/tau_s - 1/tau_m),  spike where u >= 1, which sets m, s, e, u to 0

Backward, g is the derivative of the loss by the time of an output spike. For each step t let t* be
the first spike at or after t, k = t* - t; without one, the gradients of t are 0:

    for the weights     g[t*] clamp(-1 / (u[t*] - u[t* - 1]), -4, 0) eps[k]
    for input spikes    g[t*] clamp(-1 / e[t*], -10, 0) (-(1 - 1/tau_g)^(k + 1))

eps is the response of u to one input; the gradient of the inputs is multiplied by 0.85 and by the
input spikes. Losses need `gradient=times`. Zhu, Yu, Fang, Xie, Huang, Masquelier: "Training Spiking
Neural Networks with Event-driven Backpropagation", NeurIPS 2022.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight

from eventkit.errors import OptionError

DAMPING = 0.85  # of the gradient from layer to layer
STEEPEST, STEEPEST_IN = 4.0, 10.0  # limits of -1/slope; that of the inputs is ours
LOW, HIGH, RATIO = 0.05, 500.0, 1.01  # of the search for the gain
EPS = 1e-5


@dataclass(frozen=True)
class Taus:
    """Time constants in steps: of the membrane, the synapse, and the gradient of input spikes."""

    membrane: float = 7.0
    synapse: float = 4.0
    gradient: float = 3.5

    def __post_init__(self) -> None:
        if min(self.membrane, self.synapse, self.gradient) <= 1 or self.membrane == self.synapse:
            raise OptionError(
                f"found time constants {self.membrane:g}, {self.synapse:g} and {self.gradient:g}, "
                "expected more than 1 step, and the first two not equal"
            )


def fire(currents: Tensor, taus: Taus) -> tuple[Tensor, Tensor, Tensor]:
    """The spikes (T, N, ...) for currents, and the slopes of u and of e at each step."""
    a, b, c = 1 / taus.membrane, 1 / taus.synapse, 1 / taus.gradient
    m = s = e = u = torch.zeros_like(currents[0])
    spikes, slopes, inner = [], [], []
    for current in currents:
        m, s, e = (m + current) * (1 - a), (s + current) * (1 - b), (e + current) * (1 - c)
        now = (m - s) * (b / (b - a))
        fired = now >= 1
        spikes.append(fired.to(now.dtype))
        slopes.append(now - u)
        inner.append(e)
        m, s, e, u = (each.masked_fill(fired, 0) for each in (m, s, e, now))
    return torch.stack(spikes), torch.stack(slopes), torch.stack(inner)


def time_gradients(
    grad: Tensor, spikes: Tensor, slopes: Tensor, inner: Tensor, taus: Taus
) -> tuple[Tensor, Tensor]:
    """The gradients (T, N, ...) of the currents for the weights, and for the input spikes."""
    a, b, c = 1 / taus.membrane, 1 / taus.synapse, 1 / taus.gradient
    power = torch.arange(1, len(grad) + 1, device=grad.device, dtype=grad.dtype)
    response = ((1 - a) ** power - (1 - b) ** power) * (b / (b - a))
    memory = -((1 - c) ** power)
    grad = grad * spikes
    by_u = grad * (-1 / slopes).nan_to_num(0).clamp(-STEEPEST, 0)
    by_e = grad * (-1 / inner).nan_to_num(0).clamp(-STEEPEST_IN, 0)
    of_weights, of_inputs = torch.zeros_like(grad), torch.zeros_like(grad)
    u, e = torch.zeros_like(grad[0]), torch.zeros_like(grad[0])
    k = torch.zeros_like(grad[0], dtype=torch.int64)
    for t in range(len(grad) - 1, -1, -1):
        fired = spikes[t] > 0
        u, e, k = by_u[t].where(fired, u), by_e[t].where(fired, e), (k + 1).masked_fill(fired, 0)
        k = k.clamp(max=len(grad) - 1)  # before the first spike u and e are 0
        of_weights[t], of_inputs[t] = u * response[k], e * memory[k]
    return of_weights, of_inputs


class _Events(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, taus: Taus, padding: int) -> Tensor:
        spikes, slopes, inner = fire(_currents(x, weight, padding), taus)
        ctx.save_for_backward(x, weight, spikes, slopes, inner)
        ctx.taus, ctx.padding = taus, padding
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight, spikes, slopes, inner = ctx.saved_tensors
        both = time_gradients(grads[0], spikes, slopes, inner, ctx.taus)
        by_weights, by_inputs = (each.flatten(0, 1) for each in both)
        flat = x.flatten(0, 1)
        if weight.ndim == 2:
            of_weights, of_inputs = by_weights.T @ flat, by_inputs @ weight
        else:
            padding = ctx.padding
            of_weights = conv2d_weight(  # type: ignore[no-untyped-call]
                flat, weight.shape, by_weights, padding=padding
            )
            of_inputs = conv2d_input(  # type: ignore[no-untyped-call]
                flat.shape, weight, by_inputs, padding=padding
            )
        return DAMPING * of_inputs.reshape(x.shape) * x, of_weights, None, None


def _currents(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    flat = x.flatten(0, 1)
    if weight.ndim == 2:
        y = functional.linear(flat, weight)
    else:
        y = functional.conv2d(flat, weight, padding=padding)
    return y.reshape(*x.shape[:2], *y.shape[1:])


class EventDriven(nn.Module):
    """Base class of the layers: standardised weights times a gain, and neurons.

    The weights of an output have mean 0 and variance 1, times the `gain` of the layer. The first
    call in training searches for the gain, at most 500, with which the neurons fire 0.4 `spikes`
    times, on average, in the last third of the steps; afterwards it is fixed.
    """

    weight: nn.Parameter
    gain: Tensor
    searched: Tensor
    padding = 0

    def __init__(self, shape: tuple[int, ...], *, taus: Taus | None, spikes: float) -> None:
        super().__init__()
        if not spikes > 0:
            raise OptionError(f"spikes is {spikes}, expected more than 0")
        self.taus, self.spikes = taus or Taus(), spikes
        self.weight = nn.Parameter(torch.randn(shape))
        self.register_buffer("gain", torch.tensor(1.0))
        self.register_buffer("searched", torch.tensor(False))

    @property
    def standardised(self) -> Tensor:
        """The weights that the inputs meet."""
        rows = self.weight.flatten(1)
        mean, variance = rows.mean(1, keepdim=True), rows.var(1, unbiased=False, keepdim=True)
        scaled = (rows - mean) / (variance + EPS).sqrt() * self.gain
        return scaled.view_as(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes, or frames, (T, N, ...) -> spikes (T, N, ...)."""
        with torch.autocast("cuda" if x.is_cuda else "cpu", enabled=False):
            x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
            if self.training and not self.searched:
                self._search(x)
            spikes: Tensor = _Events.apply(  # type: ignore[no-untyped-call]
                x, self.standardised.to(x.dtype), self.taus, self.padding
            )
        return spikes

    @torch.no_grad()
    def _search(self, x: Tensor) -> None:
        """Set the gain by bisection; several processes take that of the first one."""
        self.gain.fill_(1.0)
        currents = _currents(x, self.standardised.to(x.dtype), self.padding)
        first = 2 * len(x) // 3
        wanted = 1.2 * self.spikes * (len(x) - first) / len(x)
        low, high = LOW, HIGH
        while high / low > RATIO:
            middle = (low * high) ** 0.5
            fired = fire(currents * middle, self.taus)[0][first:].sum(0).mean()
            low, high = (middle, high) if fired < wanted else (low, middle)
        self.gain.fill_((low * high) ** 0.5)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.broadcast(self.gain, 0)
        self.searched.fill_(True)


class EventLinear(EventDriven):
    """(T, N, inputs) -> (T, N, outputs)."""

    def __init__(
        self, inputs: int, outputs: int, *, taus: Taus | None = None, spikes: float = 1.0
    ) -> None:
        super().__init__((outputs, inputs), taus=taus, spikes=spikes)


class EventConv2d(EventDriven):
    """(T, N, inputs, H, W) -> (T, N, outputs, H, W), with an odd `kernel`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, taus: Taus | None = None,
        spikes: float = 1.0,
    ) -> None:  # fmt: skip
        if kernel % 2 == 0:
            raise OptionError(f"kernel is {kernel}, expected an odd number")
        super().__init__((outputs, inputs, kernel, kernel), taus=taus, spikes=spikes)
        self.padding = kernel // 2


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: tuple[int, int]) -> Tensor:
        y = functional.avg_pool2d(x, kernel)
        ctx.save_for_backward(y)
        ctx.kernel, ctx.size = kernel, x.shape
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        height, width = ctx.kernel
        share = torch.where(y > 0, grads[0] / (y * height * width), 0)
        found = share.repeat_interleave(height, 2).repeat_interleave(width, 3)
        below, right = ctx.size[2] - found.shape[2], ctx.size[3] - found.shape[3]
        return functional.pad(found, (0, right, 0, below)), None


class EventPool2d(nn.Module):
    """Average pooling over 2 x 2 whose gradient is shared among the spikes; sides of 1 are kept."""

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, C, H, W) -> (T, N, C, max(1, H // 2), max(1, W // 2))."""
        kernel = (min(2, x.shape[-2]), min(2, x.shape[-1]))
        y: Tensor = _Mean.apply(x.flatten(0, 1), kernel)  # type: ignore[no-untyped-call]
        return y.reshape(*x.shape[:2], *y.shape[1:])
