"""Integrate and fire, without a leak, with one, and with one that is learned.

Charge, fire, reset (q = 1/tau; rest = v_reset, or 0 for the soft reset):

    IF     h = v + x
    LIF    h = v + q (x - (v - rest))    decay_input=True
           h = v - q (v - rest) + x      decay_input=False
    fire   s = 1 where h >= v_threshold, else 0
    reset  v = (1 - s) h + s v_reset     hard
           v = h - s v_threshold         soft: v_reset=None

PLIF is a LIF that learns q, Fang et al., "Incorporating Learnable Membrane Time Constant to
Enhance Learning of Spiking Neural Networks", ICCV 2021.
"""

import math

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.snn import fused, loop, memory
from eventkit.snn.surrogate import Surrogate, atan, parse

from . import NEURONS, Neuron, check_input


def integrate(
    x: Tensor,
    v: Tensor | None = None,
    *,
    q: float | Tensor,
    v_threshold: float | Tensor = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
    detach_reset: bool = True,
    surrogate: Surrogate | None = None,
) -> tuple[Tensor, Tensor]:
    """Integrate, fire and reset over all steps: spikes (T, N, ...) and the last membrane.

    x (T, N, ...) is floating point, v (N, ...) the membrane before the first step, None for rest.
    q = 1/tau and v_threshold may be tensors of no dimension with a gradient. The spikes have the
    dtype of x; the membrane is float32, or float64 with x. On the CPU the work is done by the fused
    kernels, elsewhere step by step in torch.
    """
    check_input(x)
    if v is not None and v.shape != x.shape[1:]:
        raise OptionError(
            f"the state has the shape {tuple(v.shape)}, expected that of one step of the input, "
            f"{tuple(x.shape[1:])}"
        )
    run = fused.integrate if memory.has_kernels(x) else loop.integrate
    return run(
        x,
        v,
        _number(q),
        _number(v_threshold),
        v_reset=v_reset,
        decay_input=decay_input,
        detach_reset=detach_reset,
        surrogate=surrogate or atan(),
    )


def _number(value: float | Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


@NEURONS.register
class IF(Neuron):
    """Integrate and fire, without a leak.

    v_reset=None subtracts the threshold from the membrane that fired (soft reset).
    detach_reset takes the spike in the reset as a constant in the backward pass, as published
    recipes do. `surrogate` is a spec like "atan:alpha=2"; see `eventkit.snn.surrogate`.
    """

    name = "if"
    decay_input = False

    def __init__(
        self,
        *,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str = "atan",
    ) -> None:
        super().__init__()
        self.v_threshold = v_threshold
        self.v_reset = v_reset
        self.detach_reset = detach_reset
        self.surrogate = surrogate
        self._surrogate = parse(surrogate)

    @property
    def q(self) -> float | Tensor:
        """The share of the distance from rest that the membrane loses in a step, 1/tau."""
        return 0.0

    def run(self, x: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return integrate(
            x,
            v,
            q=self.q,
            v_threshold=self.v_threshold,
            v_reset=self.v_reset,
            decay_input=self.decay_input,
            detach_reset=self.detach_reset,
            surrogate=self._surrogate,
        )

    def extra_repr(self) -> str:
        names = ("v_threshold", "v_reset", "detach_reset", "surrogate")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


@NEURONS.register
class LIF(IF):
    """Leaky integrate and fire with the time constant `tau` >= 1, in steps; else as `IF`.

    With decay_input the input is scaled by 1/tau like the leak. LIF(tau, decay_input=True) fires
    as LIF(tau, decay_input=False, v_threshold=tau) does (with a reset to 0, or the soft one).
    """

    name = "lif"

    def __init__(
        self,
        *,
        tau: float = 2.0,
        decay_input: bool = True,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str = "atan",
    ) -> None:
        if tau < 1:
            raise OptionError(f"tau is {tau}, expected at least 1 time step")
        super().__init__(
            v_threshold=v_threshold,
            v_reset=v_reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
        )
        self.tau = tau
        self.decay_input = decay_input

    @property
    def q(self) -> float | Tensor:
        return 1 / self.tau

    def extra_repr(self) -> str:
        tau = 1 / (self.q.item() if isinstance(self.q, Tensor) else self.q)
        return f"tau={tau:.4g}, decay_input={self.decay_input}, {super().extra_repr()}"


@NEURONS.register
class PLIF(LIF):
    """A LIF that learns its time constant, one for the layer; `tau` > 1 is where it starts.

    1/tau = sigmoid(w) with the parameter w. Fang et al., ICCV 2021.
    """

    name = "plif"

    def __init__(
        self,
        *,
        tau: float = 2.0,
        decay_input: bool = True,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str = "atan",
    ) -> None:
        if tau <= 1:
            raise OptionError(f"tau is {tau}, expected more than 1 time step")
        super().__init__(
            tau=tau,
            decay_input=decay_input,
            v_threshold=v_threshold,
            v_reset=v_reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
        )
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))

    @property
    def q(self) -> float | Tensor:
        return self.w.sigmoid()
