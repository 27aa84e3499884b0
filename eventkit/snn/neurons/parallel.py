"""Parallel spiking neurons: no reset, so that all steps are computed at once, H = W X + b.

Spikes are S = 1[H >= 0]. X is (T, neurons); a bias of -1 is a threshold of 1.

    PSN          W is any (T, T) matrix, b one number per step: step 0 sees the last step
    masked PSN   W * (lambda M + 1 - lambda), M[i, j] = 1 where j <= i < j + k: causal at lambda = 1
    sliding PSN  H[t] = w[0] X[t - k + 1] + ... + w[k - 1] X[t] + b: the same filter at every step

Fang et al., "Parallel Spiking Neurons with High Efficiency and Ability to Learn Long-term
Dependencies", NeurIPS 2023.
"""

import math

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.snn.surrogate import parse
from eventkit.snn.windows import ROWS, band, windows

from . import NEURONS, Neuron, State, check_input


@NEURONS.register
class PSN(Neuron):
    """A neuron whose steps depend on all T steps through a learned (T, T) matrix: not causal."""

    name = "psn"
    causal = False

    def __init__(self, *, T: int, surrogate: str = "atan") -> None:
        super().__init__()
        if T < 1:
            raise OptionError(f"{self.name}: T is {T}, expected at least 1 step")
        self.T = T
        self.surrogate = surrogate
        self._surrogate = parse(surrogate)
        self.weight = nn.Parameter(torch.empty(T, T))
        self.bias = nn.Parameter(torch.full((T, 1), -1.0))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        check_input(x)
        if state is not None or len(x) != self.T:
            raise OptionError(
                f"psn: found a sequence of {len(x)} steps, expected all T={self.T} steps at once"
            )
        return windows(x, self.weight, self.bias, surrogate=self._surrogate), None

    def extra_repr(self) -> str:
        return f"T={self.T}, surrogate={self.surrogate!r}"


@NEURONS.register
class MaskedPSN(PSN):
    """A PSN whose steps depend only on the last `k` steps once `lambda_` has reached 1.

    `lambda_` is a buffer that starts at 0, which is an ordinary PSN; `anneal` raises it to 1 in the
    first eighth of the training, as published. At 1 the neuron is causal, and sequences may be
    processed in parts; its state consists of all steps so far.
    """

    name = "masked_psn"
    causal = True
    lambda_: Tensor
    mask: Tensor

    def __init__(
        self, *, T: int, k: int = 2, lambda_init: float = 0.0, surrogate: str = "atan"
    ) -> None:
        super().__init__(T=T, surrogate=surrogate)
        if not 1 <= k <= T:
            raise OptionError(f"masked_psn: k is {k}, expected 1 to T={T} steps")
        self.k = k
        self.register_buffer("lambda_", torch.tensor(float(lambda_init)))
        self.register_buffer("mask", torch.ones(T, T).tril().triu(1 - k), persistent=False)

    def anneal(self, done: float) -> None:
        """Set `lambda_` for the fraction `done` of the training."""
        self.lambda_.fill_(min(8 * done, 1.0))

    @property
    def rest(self) -> State:
        return None

    def masked_weight(self) -> Tensor:
        """W * (lambda M + 1 - lambda), (T, T)."""
        return self.weight * (self.lambda_ * self.mask + (1 - self.lambda_))

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        check_input(x)
        seen = 0 if state is None else len(state)
        whole = x if state is None else torch.cat([state, x])
        if len(whole) > self.T:
            raise OptionError(
                f"masked_psn: found step {len(whole)}, expected at most T={self.T} steps"
            )
        if len(x) < self.T and self.lambda_ < 1:
            raise OptionError(
                f"masked_psn: found a sequence of {len(x)} steps, expected all T={self.T} steps at "
                "once until lambda_ is 1"
            )
        weight = self.masked_weight()[seen : len(whole), : len(whole)]
        if len(x) > 2 * self.k and len(x) > ROWS and self.lambda_ == 1:
            weight = band(weight, self.k)  # the rest of the matrix is zero
        bias = self.bias[seen : len(whole)]
        return windows(whole, weight, bias, surrogate=self._surrogate, steps=len(x)), whole

    def extra_repr(self) -> str:
        return f"k={self.k}, {super().extra_repr()}"


@NEURONS.register
class SlidingPSN(Neuron):
    """A learned filter over the last `k` steps, shared by all steps, for any number of steps.

    exp_init initialises the weights with (..., 1/4, 1/2, 1), otherwise uniformly in +-1/sqrt(k).
    The state consists of the last k - 1 steps of the input.
    """

    name = "sliding_psn"
    batch_axis = 1

    def __init__(self, *, k: int = 2, exp_init: bool = True, surrogate: str = "atan") -> None:
        super().__init__()
        if k < 1:
            raise OptionError(f"sliding_psn: k is {k}, expected at least 1 step")
        self.k = k
        self.surrogate = surrogate
        self._surrogate = parse(surrogate)
        powers = 0.5 ** torch.arange(k - 1, -1, -1, dtype=torch.float32)
        self.weight = nn.Parameter(powers if exp_init else torch.empty(k))
        self.bias = nn.Parameter(torch.tensor(-1.0))
        if not exp_init:
            nn.init.uniform_(self.weight, -1 / math.sqrt(k), 1 / math.sqrt(k))

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        check_input(x)
        whole = x if state is None else torch.cat([state, x])
        weight = self.weight.unsqueeze(0)
        s = windows(whole, weight, self.bias, surrogate=self._surrogate, steps=len(x))
        return s, whole[len(whole) - min(self.k - 1, len(whole)) :]

    def extra_repr(self) -> str:
        return f"k={self.k}, surrogate={self.surrogate!r}"
