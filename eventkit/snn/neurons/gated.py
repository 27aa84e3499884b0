"""LIF neurons with more learned parameters: KLIF scales its membrane, GLIF mixes LIF variants.

KLIF, Jiang and Zhang, "KLIF: An optimized spiking neuron unit for tuning surrogate gradient slope
and membrane potential", 2023. With the charge h of a LIF and the parameter k:

    f = max(0, k h),  s = 1[f >= v_threshold]
    v = reset of f                                     scale_reset=False
        reset of f / k, the threshold v_threshold / k  scale_reset=True

GLIF, Yao et al., "GLIF: A unified gated leaky integrate-and-fire neuron for spiking neural
networks", NeurIPS 2022. Each of alpha, beta, gamma (the gates), tau, v_threshold, leak, v_subreset
and conduct[t] is the sigmoid of its parameter; s is the spike of the step before:

    keep = 1 - alpha (1 - tau)
    v = keep v (1 - gamma s) - (1 - alpha) leak - (1 - gamma) v_subreset s
        + x (1 - beta (1 - conduct[t]))
    s = 1[v >= v_threshold]
"""

import math

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.snn.memory import state_dtype
from eventkit.snn.surrogate import parse, spike

from . import NEURONS, Neuron, State, check_input
from .leaky import LIF


@NEURONS.register
class KLIF(LIF):
    """A LIF that scales its membrane by a learned k, one per layer, and keeps it non-negative."""

    name = "klif"

    def __init__(
        self,
        *,
        tau: float = 2.0,
        decay_input: bool = True,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        scale_reset: bool = False,
        detach_reset: bool = True,
        surrogate: str = "atan",
    ) -> None:
        super().__init__(
            tau=tau,
            decay_input=decay_input,
            v_threshold=v_threshold,
            v_reset=v_reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
        )
        self.scale_reset = scale_reset
        self.k = nn.Parameter(torch.tensor(1.0))

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        check_input(x)
        x_dtype, x = x.dtype, x.to(state_dtype(x))
        rest, q = self.rest, 1 / self.tau
        v = torch.full_like(x[0], rest) if state is None else state
        k = self.k.to(x.dtype)
        by = k if self.scale_reset else 1
        spikes = []
        for xt in x:
            h = v + q * (xt - (v - rest)) if self.decay_input else v - q * (v - rest) + xt
            f = torch.relu(k * h)
            s = spike(f - self.v_threshold, self._surrogate)
            fired = s.detach() if self.detach_reset else s
            if self.v_reset is None:
                v = f / by - fired * (self.v_threshold / by)
            else:
                v = (1 - fired) * (f / by) + fired * rest
            spikes.append(s)
        return torch.stack(spikes).to(x_dtype), v

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, scale_reset={self.scale_reset}"


def _logit(p: float, what: str) -> float:
    if not 0 < p < 1:
        raise OptionError(f"glif: {what} is {p}, expected between 0 and 1")
    return math.log(p / (1 - p))


@NEURONS.register
class GLIF(Neuron):
    """A LIF with gates that mix two leaks, two resets and two input weights, for T steps.

    With `features`, every feature of (T, N, features, ...) has its own parameters; otherwise they
    are shared by the layer. The options are initial values; the gates are initialised near 1/2.
    """

    name = "glif"

    def __init__(
        self,
        *,
        T: int,
        features: int | None = None,
        tau: float = 0.25,
        v_threshold: float = 0.5,
        leak: float | None = None,
        v_subreset: float | None = None,
        conduct: float = 0.5,
        surrogate: str = "atan",
    ) -> None:
        super().__init__()
        if T < 1:
            raise OptionError(f"glif: T is {T}, expected at least 1 step")
        self.T, self.features = T, features
        self.surrogate = surrogate
        self._surrogate = parse(surrogate)
        shape = () if features is None else (features,)
        starts = {
            "tau": tau,
            "v_threshold": v_threshold,
            "leak": v_threshold / (2 * T) if leak is None else leak,
            "v_subreset": v_threshold if v_subreset is None else v_subreset,
        }
        for name in ("alpha", "beta", "gamma"):
            self.register_parameter(name, nn.Parameter(0.2 * (torch.rand(shape) - 0.5)))
        for name, value in starts.items():
            start = torch.full(shape, _logit(value, name))
            self.register_parameter(name, nn.Parameter(start))
        self.conduct = nn.Parameter(torch.full((T, *shape), _logit(conduct, "conduct")))

    @property
    def rest(self) -> State:
        return None

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        check_input(x)
        x_dtype, x = x.dtype, x.to(state_dtype(x))
        v, s, seen = state or (torch.zeros_like(x[0]), torch.zeros_like(x[0]), None)
        start = 0 if seen is None else int(seen)
        if start + len(x) > self.T:
            raise OptionError(
                f"glif: found step {start + len(x)}, expected at most T={self.T} steps"
            )

        def shaped(p: Tensor) -> Tensor:
            p = p.sigmoid().to(x.dtype)
            if self.features is None:
                return p
            axis = min(2, x.ndim - 1)
            if x.shape[axis] != self.features:
                raise OptionError(
                    f"glif of {self.features} features takes (T, N, {self.features}, ...), "
                    f"found {tuple(x.shape)}"
                )
            return p.view(*p.shape, *[1] * (x.ndim - 1 - axis))

        names = ("alpha", "beta", "gamma", "tau", "v_threshold", "leak", "v_subreset", "conduct")
        alpha, beta, gamma, tau, threshold, leak, subreset, conduct = (
            shaped(getattr(self, name)) for name in names
        )
        keep = 1 - alpha * (1 - tau)
        spikes = []
        for t, xt in enumerate(x, start):
            v = keep * v * (1 - gamma * s) - (1 - alpha) * leak - (1 - gamma) * subreset * s
            v = v + xt * (1 - beta * (1 - conduct[t]))
            s = spike(v - threshold, self._surrogate)
            spikes.append(s)
        after = torch.tensor(start + len(x))
        return torch.stack(spikes).to(x_dtype), (v, s, after)

    def extra_repr(self) -> str:
        return f"T={self.T}, features={self.features}, surrogate={self.surrogate!r}"
