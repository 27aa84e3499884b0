"""STDP of triplets of spikes (Pfister and Gerstner, Journal of Neuroscience 2006)."""

import torch
from torch import Tensor

from eventkit.registry import NotNegative, Positive

from . import STDP, traces


@STDP.register
def triplet(
    pre: Tensor, post: Tensor, *, a2_plus: NotNegative = 0.0, a3_plus: NotNegative = 9e-3,
    a2_minus: NotNegative = 7e-3, a3_minus: NotNegative = 0.0, tau_plus: Positive = 17.0,
    tau_minus: Positive = 34.0, tau_x: Positive = 100.0, tau_y: Positive = 125.0,
) -> Tensor:  # fmt: skip
    """`pair` whose amplitudes grow with earlier spikes of the same side, by slower traces.

    At an output spike +r1 (a2_plus + a3_plus o2), at an input spike -o1 (a2_minus + a3_minus r2);
    r1, r2 are traces of the inputs with tau_plus and tau_x, o1, o2 of the outputs with tau_minus
    and tau_y; r2 and o2 are those before the spike. The default time constants are for steps of 1
    ms.
    """
    grown = post * (a2_plus + a3_plus * traces(post, tau_y))
    shrunk = pre * (a2_minus + a3_minus * traces(pre, tau_x))
    grows = torch.einsum("tno,tni->oi", grown, pre + traces(pre, tau_plus))
    return grows - torch.einsum("tno,tni->oi", traces(post, tau_minus), shrunk)
