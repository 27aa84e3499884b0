"""Adaptive LIF neurons: a second, slower state w is increased by spikes and inhibits firing.

Charge, fire, reset, adapt, with separate alpha, beta, a, b for each feature:

    h = alpha v + (1 - alpha) (x - w)
    s = 1 where h >= 1, else 0
    v = h - s                              adLIF, SiLIF: soft reset
        (1 - s) h                          SE-adLIF: hard reset, detached
    w = beta w + a h + b s                 adLIF, SiLIF: from the membrane before the reset
        beta w + (1 - beta) q (a v + b s)  SE-adLIF: from the one after it (symplectic Euler)

    adLIF    alpha, beta learned within bounds; RadLIF is a layer of them with recurrent weights.
             Bittar and Garner, "A surrogate gradient spiking baseline for speech command
             recognition", Frontiers in Neuroscience 2022
    SE-adLIF alpha = exp(-1/tau_u), beta = exp(-1/tau_w), time constants learned within bounds.
             Baronig et al., "Advancing spatio-temporal processing through adaptation in spiking
             neural networks", 2024
    SiLIF    alpha = exp(-exp(log_alpha + log_dt)), beta = exp(-exp(log_beta + log_dt))
    C-SiLIF  no w; a complex, oscillating membrane: h = lambda v + b x, s = 1[2 Re h >= 1],
             v = h - s/2, lambda = exp(exp(log_dt) (i omega - exp(log_decay))).
             Both: Fabre et al., "SiLIF: structured state space model dynamics and parametrization
             for spiking neural networks", 2025

The published code initialises SiLIF and adLIF with random states, also in evaluation. Here all
start from zero, so that results are reproducible.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.snn import fused, loop, memory
from eventkit.snn.memory import HARD, SOFT, state_dtype
from eventkit.snn.surrogate import parse

from . import NEURONS, Neuron, State, check_input


class _Bounded(torch.autograd.Function):
    """clamp, with zero gradient only where a descent step would lead further out of bounds."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(p)
        ctx.bounds = low, high
        return p.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (p,) = ctx.saved_tensors
        low, high = ctx.bounds
        outwards = ((p <= low) & (grads[0] > 0)) | ((p >= high) & (grads[0] < 0))
        return grads[0].masked_fill(outwards, 0), None, None


def _bounded(p: Tensor, bounds: tuple[float, float]) -> Tensor:
    inside: Tensor = _Bounded.apply(p, *bounds)  # type: ignore[no-untyped-call]
    return inside


def _uniform(features: int, low: float, high: float) -> nn.Parameter:
    return nn.Parameter(torch.empty(features).uniform_(low, high))


class _Featured(Neuron):
    """Neurons with separate parameters for each feature: x is (T, N, features, ...)."""

    def __init__(self, features: int, detach_reset: bool, surrogate: str) -> None:
        super().__init__()
        if features < 1:
            raise OptionError(f"{self.name}: features is {features}, expected at least 1")
        self.features = features
        self.detach_reset = detach_reset
        self.surrogate = surrogate
        self._surrogate = parse(surrogate)

    def _shaped(self, x: Tensor, *parameters: Tensor) -> list[Tensor]:
        """The parameters in the state's dtype, in shapes that broadcast to one step of x."""
        check_input(x)
        axis = min(2, x.ndim - 1)
        if x.shape[axis] != self.features:
            raise OptionError(
                f"{self.name} of {self.features} features takes (T, N, {self.features}, ...), "
                f"found {tuple(x.shape)}"
            )
        shape = (self.features, *[1] * (x.ndim - 1 - axis))
        return [p.to(state_dtype(x)).view(shape) for p in parameters]

    def extra_repr(self) -> str:
        return (
            f"features={self.features}, detach_reset={self.detach_reset}, "
            f"surrogate={self.surrogate!r}"
        )


class _Adaptive(_Featured):
    """Neurons with membrane v and adaptation w; subclasses define how alpha..b are computed."""

    reset, adapt_after_reset = SOFT, False

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha, beta, a, b of the equations above, (features,) each."""
        raise NotImplementedError

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        alpha, beta, a, b = self._shaped(x, *self.coefficients())
        v, w = state or (None, None)
        run = fused.cell if memory.has_kernels(x) else loop.cell
        s, v, w = run(
            "adapt",
            x,
            v,
            w,
            (alpha, beta, a, b),
            reset=self.reset,
            adapt_after_reset=self.adapt_after_reset,
            detach_reset=self.detach_reset,
            surrogate=self._surrogate,
        )
        return s, (v, w)


@NEURONS.register
class AdLIF(_Adaptive):
    """Adaptive LIF with learned alpha, beta, a and b, each within the published bounds."""

    name = "adlif"
    ALPHA = math.exp(-1 / 5), math.exp(-1 / 25)
    BETA = math.exp(-1 / 30), math.exp(-1 / 120)
    A, B = (-1.0, 1.0), (0.0, 2.0)

    def __init__(
        self, *, features: int, detach_reset: bool = False, surrogate: str = "boxcar:height=1"
    ) -> None:
        super().__init__(features, detach_reset, surrogate)
        self.alpha = _uniform(features, *self.ALPHA)
        self.beta = _uniform(features, *self.BETA)
        self.a = _uniform(features, *self.A)
        self.b = _uniform(features, *self.B)

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (
            _bounded(self.alpha, self.ALPHA),
            _bounded(self.beta, self.BETA),
            _bounded(self.a, self.A),
            _bounded(self.b, self.B),
        )


@NEURONS.register
class SEAdLIF(_Adaptive):
    """Adaptive LIF in symplectic Euler steps; time constants in steps, learned within bounds.

    A time constant is min + (max - min) rho with the parameter rho in [0, 1].
    """

    name = "seadlif"
    reset, adapt_after_reset = HARD, True
    A, B = (0.0, 1.0), (0.0, 2.0)

    def __init__(
        self,
        *,
        features: int,
        tau_u_min: float = 5.0,
        tau_u_max: float = 25.0,
        tau_w_min: float = 60.0,
        tau_w_max: float = 300.0,
        q: float = 120.0,
        detach_reset: bool = True,
        surrogate: str = "slayer",
    ) -> None:
        super().__init__(features, detach_reset, surrogate)
        if not (0 < tau_u_min <= tau_u_max and 0 < tau_w_min <= tau_w_max):
            raise OptionError(
                f"seadlif: found tau_u {tau_u_min} to {tau_u_max} and tau_w {tau_w_min} to "
                f"{tau_w_max}, expected 0 < min <= max"
            )
        self.tau_u, self.tau_w = (tau_u_min, tau_u_max), (tau_w_min, tau_w_max)
        self.q = q
        self.rho_u = _uniform(features, 0, 1)
        self.rho_w = _uniform(features, 0, 1)
        self.a = _uniform(features, *self.A)
        self.b = _uniform(features, *self.B)

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha, beta = (
            torch.exp(-1 / (low + (high - low) * _bounded(rho, (0, 1))))
            for rho, (low, high) in ((self.rho_u, self.tau_u), (self.rho_w, self.tau_w))
        )
        gain = (1 - beta) * self.q
        return alpha, beta, gain * _bounded(self.a, self.A), gain * _bounded(self.b, self.B)


@NEURONS.register
class SiLIF(_Adaptive):
    """Adaptive LIF with the parameters of a state space model, and a learned time step."""

    name = "silif"
    A, B = (0.0, 1.0), (0.0, 2.0)

    def __init__(
        self, *, features: int, detach_reset: bool = False, surrogate: str = "boxcar:height=1"
    ) -> None:
        super().__init__(features, detach_reset, surrogate)
        self.log_dt = nn.Parameter(torch.full((features,), math.log(0.004)))
        self.log_alpha = _uniform(features, math.log(10), math.log(250))
        self.log_beta = _uniform(features, math.log(2.5), math.log(10))
        self.a = _uniform(features, *self.A)
        self.b = _uniform(features, *self.B)

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha = torch.exp(-torch.exp(self.log_alpha + self.log_dt))
        beta = torch.exp(-torch.exp(self.log_beta + self.log_dt))
        return alpha, beta, _bounded(self.a, self.A), _bounded(self.b, self.B)


@NEURONS.register
class CSiLIF(_Featured):
    """A LIF with a complex membrane that oscillates with learned frequency, decay and time step.

    Time steps are initialised log-uniformly between dt_min and dt_max.
    """

    name = "csilif"

    def __init__(
        self,
        *,
        features: int,
        dt_min: float = 0.01,
        dt_max: float = 0.5,
        detach_reset: bool = False,
        surrogate: str = "boxcar:height=1",
    ) -> None:
        super().__init__(features, detach_reset, surrogate)
        if not 0 < dt_min <= dt_max:
            raise OptionError(f"csilif: found dt {dt_min} to {dt_max}, expected 0 < min <= max")
        self.log_dt = _uniform(features, math.log(dt_min), math.log(dt_max))
        self.log_decay = nn.Parameter(torch.full((features,), math.log(0.5)))
        self.omega = nn.Parameter(torch.full((features,), math.pi))
        self.b = _uniform(features, 0, 1)

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        dt = self.log_dt.exp()
        size, angle = torch.exp(-dt * self.log_decay.exp()), dt * self.omega
        real, imag, b = self._shaped(x, size * angle.cos(), size * angle.sin(), self.b)
        v, z = state or (None, None)
        run = fused.cell if memory.has_kernels(x) else loop.cell
        s, v, z = run(
            "resonate",
            x,
            v,
            z,
            (real, imag, b),
            detach_reset=self.detach_reset,
            surrogate=self._surrogate,
        )
        return s, (v, z)
