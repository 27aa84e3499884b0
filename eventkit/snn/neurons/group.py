"""Group neurons, which model m members with the thresholds theta/m, 2 theta/m, ..., theta.

    v = v + x,  k = floor(v m / theta) clamped to 0..m,  s = k theta / m,  v = v - s

starting from v = theta / (2 m): one member fires for each threshold reached. Lyu et al., "Optimal
ANN-SNN conversion with group neurons", ICASSP 2024. For a constant input, the mean over T steps of
the m members is the QCFS activation with T m levels.
"""

from typing import Any

import torch
from torch import Tensor

from eventkit.errors import OptionError
from eventkit.snn.memory import state_dtype

from . import NEURONS, Neuron, State, check_input


class _Count(torch.autograd.Function):
    """floor(z) clamped to 0..m, with gradient 1 where it is not clamped, as in QCFS training."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, m: int) -> Tensor:
        k = z.floor()
        ctx.save_for_backward((k >= 0) & (k <= m))
        return k.clamp(0, m)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.saved_tensors[0], None


@NEURONS.register
class GroupNeuron(Neuron):
    """A soft-reset IF that fires 0 to m times per step, for nets trained with QCFS.

    `m` is the number of members and v_threshold their highest threshold, the lambda of QCFS. The
    outputs are multiples of v_threshold / m, each representing up to m spikes.
    """

    name = "gn"
    graded = True

    def __init__(self, *, m: int = 4, v_threshold: float = 1.0) -> None:
        super().__init__()
        if m < 1 or v_threshold <= 0:
            raise OptionError(
                f"gn: found m={m} and v_threshold={v_threshold}, expected at least 1 member and a "
                f"threshold above 0"
            )
        self.m = m
        self.v_threshold = v_threshold

    @property
    def unit(self) -> float:
        return self.v_threshold / self.m

    @property
    def rest(self) -> State:
        return self.unit / 2

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        check_input(x)
        x_dtype, x = x.dtype, x.to(state_dtype(x))
        v = torch.full_like(x[0], self.rest) if state is None else state
        fired = []
        for xt in x:
            v = v + xt
            s = self.unit * _Count.apply(v / self.unit, self.m)  # type: ignore[no-untyped-call]
            v = v - s
            fired.append(s)
        return torch.stack(fired).to(x_dtype), v

    def extra_repr(self) -> str:
        return f"m={self.m}, v_threshold={self.v_threshold}"
