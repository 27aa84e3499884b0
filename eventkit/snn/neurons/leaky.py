"""Integrate-and-fire neurons: without leak, with a leak, with a learned leak, and current-based.

Charge, fire, reset (q = 1/tau; rest = v_reset, or 0 for the soft reset):

    IF     h = v + x
    LIF    h = v + q (x - (v - rest))    decay_input=True
           h = v - q (v - rest) + x      decay_input=False
    fire   s = 1 where h >= v_threshold, else 0
    reset  v = (1 - s) h + s v_reset     hard
           v = h - s v_threshold         soft: v_reset=None

CUBA is a LIF with the input current i = (1 - 1/tau_syn) i + x. LIFNoReset has no reset, v = h.
PLIF is a LIF with a learned q: Fang et al., "Incorporating Learnable Membrane Time Constant to
Enhance Learning of Spiking Neural Networks", ICCV 2021.
"""

import math

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.snn import fused, loop, memory
from eventkit.snn.surrogate import Surrogate, atan, parse

from . import NEURONS, Neuron, State, check_input


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
    """Integrate, fire and reset over all steps: the spikes (T, N, ...) and the final membrane.

    x (T, N, ...) is floating point; v (N, ...) is the initial membrane (None: at rest). q = 1/tau
    and v_threshold may be scalar tensors that require gradients. The spikes have the dtype of x;
    the membrane is float64 if x is, else float32. Fused kernels are used on the CPU, and on CUDA
    with Triton; other devices use a loop of torch operations.
    """
    reset = memory.SOFT if v_reset is None else memory.HARD
    s, v, _ = _integrate(
        x, v, None, q, v_threshold, reset, v_reset, decay_input, detach_reset, 0.0, surrogate
    )
    return s, v


def _integrate(
    x: Tensor, v: Tensor | None, i: Tensor | None, q: float | Tensor, v_threshold: float | Tensor,
    reset: int, v_reset: float | None, decay_input: bool, detach_reset: bool, synapse: float,
    surrogate: Surrogate | None,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    check_input(x)
    for state in (v, i):
        if state is not None and state.shape != x.shape[1:]:
            raise OptionError(
                f"the state has shape {tuple(state.shape)}, expected that of one step of the "
                f"input, {tuple(x.shape[1:])}"
            )
    run = fused.integrate if memory.has_kernels(x, gpu=True) else loop.integrate
    return run(
        x,
        v,
        i,
        _number(q, x),
        _number(v_threshold, x),
        reset=reset,
        rest=v_reset or 0.0,
        decay_input=decay_input,
        detach_reset=detach_reset,
        synapse=synapse,
        surrogate=surrogate or atan(),
    )


def _number(value: float | Tensor, x: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.tensor(value, dtype=torch.float64, device=x.device)


@NEURONS.register
class IF(Neuron):
    """Integrate and fire, without leak.

    v_reset=None is the soft reset: the threshold is subtracted from the membrane. detach_reset
    treats the spike in the reset as constant in the backward pass, as in published recipes.
    `surrogate` is a spec such as "atan:alpha=2"; see `eventkit.snn.surrogate`.
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
        """The leak per step as a fraction of the membrane's distance from rest, 1/tau."""
        return 0.0

    @property
    def rest(self) -> State:
        return self.v_reset or 0.0

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
    """Leaky integrate and fire with the time constant `tau` >= 1 in steps; otherwise as `IF`.

    decay_input scales the input by 1/tau, like the leak. LIF(tau, decay_input=True) gives the same
    spikes as LIF(tau, decay_input=False, v_threshold=tau), for a reset to 0 or a soft reset.
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
    """A LIF with a learned time constant, one per layer; `tau` > 1 is its initial value.

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


@NEURONS.register
class CUBA(LIF):
    """A current-based LIF: it integrates x filtered with the time constant `tau_syn` >= 1.

    The state is (v, i), membrane and current. The equations are those of NIR's CubaLIF and, with
    decay_input=False, of snnTorch's Synaptic.
    """

    name = "cuba"

    def __init__(
        self,
        *,
        tau: float = 2.0,
        tau_syn: float = 2.0,
        decay_input: bool = True,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str = "atan",
    ) -> None:
        if tau_syn < 1:
            raise OptionError(f"tau_syn is {tau_syn}, expected at least 1 time step")
        super().__init__(
            tau=tau,
            decay_input=decay_input,
            v_threshold=v_threshold,
            v_reset=v_reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
        )
        self.tau_syn = tau_syn

    @property
    def rest(self) -> State:
        return self.v_reset or 0.0, 0.0

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        v, i = state or (None, None)
        reset = memory.SOFT if self.v_reset is None else memory.HARD
        synapse = 1 - 1 / self.tau_syn
        s, v, i = _integrate(
            x, v, i, self.q, self.v_threshold, reset, self.v_reset, self.decay_input,
            self.detach_reset, synapse, self._surrogate,
        )  # fmt: skip
        return s, (v, i)

    def extra_repr(self) -> str:
        return f"tau_syn={self.tau_syn}, {super().extra_repr()}"


@NEURONS.register
class LIFNoReset(Neuron):
    """A LIF without reset: it fires in every step in which its membrane reaches the threshold.

    The membrane is then a linear filter of the input. Fang et al., NeurIPS 2023, compare it with
    parallel spiking neurons.
    """

    name = "lif_noreset"

    def __init__(
        self,
        *,
        tau: float = 2.0,
        decay_input: bool = True,
        v_threshold: float = 1.0,
        surrogate: str = "atan",
    ) -> None:
        if tau < 1:
            raise OptionError(f"tau is {tau}, expected at least 1 time step")
        super().__init__()
        self.tau = tau
        self.decay_input = decay_input
        self.v_threshold = v_threshold
        self.surrogate = surrogate
        self._surrogate = parse(surrogate)

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        s, v, _ = _integrate(
            x, state, None, 1 / self.tau, self.v_threshold, memory.NEVER, None, self.decay_input,
            False, 0.0, self._surrogate,
        )  # fmt: skip
        return s, v

    def extra_repr(self) -> str:
        names = ("tau", "decay_input", "v_threshold", "surrogate")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
