"""Recurrent layers: neurons with recurrent weights, and the leaky integrator for read-outs."""

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError

from .memory import state_dtype
from .neurons import Neuron, State, check_input


class Recurrent(Neuron):
    """Neurons that also receive their layer's spikes of the previous step: x[t] + V s[t - 1].

    x is (T, N, features). V is initialised as an orthogonal matrix; without `self_connections` its
    diagonal is treated as zero, as in RadLIF. Steps are computed one after another.
    """

    name = "recurrent"

    def __init__(self, inner: Neuron, features: int, *, self_connections: bool = False) -> None:
        super().__init__()
        self.inner = inner
        self.weight = nn.Parameter(torch.empty(features, features))
        self.self_connections = self_connections
        self.local = False  # whether gradients stop at the recurrent spikes, as in e-prop
        nn.init.orthogonal_(self.weight)

    def carry_over(self, state: State, keep: Tensor) -> State:
        if state is None or not bool(keep.any()):
            return None
        s, inner = state
        return super().carry_over(s, keep), self.inner.carry_over(inner, keep)

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        check_input(x)
        features = len(self.weight)
        if x.shape[-1] != features:
            raise OptionError(
                f"found an input of shape {tuple(x.shape)}, expected (T, N, {features}) for a "
                f"recurrent layer of {features} neurons"
            )
        weight: Tensor = self.weight
        if not self.self_connections:
            weight = weight * (1 - torch.eye(features, dtype=weight.dtype, device=weight.device))
        s, inner = (torch.zeros_like(x[0]), None) if state is None else state
        spikes = []
        for current in x:
            before = s.detach() if self.local else s
            s, inner = self.inner.step(current + before @ weight.T, inner)
            spikes.append(s)
        return torch.stack(spikes), (s, inner)

    def extra_repr(self) -> str:
        return f"features={len(self.weight)}, self_connections={self.self_connections}"


class LeakyIntegrator(Neuron):
    """Membranes that never fire: u[t] = a u[t - 1] + (1 - a) x[t], with one a per feature.

    x and u are (T, N, features). The decay a is initialised at random between `low` and `high` and
    clamped to this range; with low = high it is not learned. scale=False adds x[t] unscaled.
    """

    name = "leaky_integrator"
    spiking = False

    def __init__(self, features: int, *, low: float, high: float, scale: bool = True) -> None:
        super().__init__()
        if not 0 <= low <= high < 1:
            raise OptionError(f"found decays of {low} to {high}, expected 0 <= low <= high < 1")
        self.low, self.high, self.scale = low, high, scale
        decay = torch.empty(features).uniform_(low, high) if low < high else torch.tensor(low)
        if low < high:
            self.decay = nn.Parameter(decay)
        else:
            self.register_buffer("decay", decay, persistent=False)

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        check_input(x)
        x = x.to(state_dtype(x))  # membranes are never rounded to bfloat16
        a = self.decay.clamp(self.low, self.high)
        currents = (1 - a) * x if self.scale else x
        u = torch.zeros_like(x[0]) if state is None else state
        membranes = []
        for current in currents:
            u = a * u + current
            membranes.append(u)
        return torch.stack(membranes), u

    def extra_repr(self) -> str:
        return f"low={self.low:.4g}, high={self.high:.4g}, scale={self.scale}"
