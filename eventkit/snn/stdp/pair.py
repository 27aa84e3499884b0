"""STDP of pairs of spikes (Song, Miller, Abbott, Nature Neuroscience 2000)."""

import torch
from torch import Tensor

from eventkit.registry import NotNegative, Positive

from . import STDP, traces


@STDP.register
def pair(
    pre: Tensor, post: Tensor, *, a_plus: NotNegative = 0.01, a_minus: NotNegative = 0.0105,
    tau_plus: Positive = 20.0, tau_minus: Positive = 20.0,
) -> Tensor:  # fmt: skip
    """Weights grow for inputs up to an output spike and shrink for inputs after it.

    Two spikes d steps apart changes a weight by a_plus exp(-d / tau_plus), or by
    -a_minus exp(-d / tau_minus) where the output spike came first.
    """
    grows = torch.einsum("tno,tni->oi", post, pre + traces(pre, tau_plus))
    shrinks = torch.einsum("tno,tni->oi", traces(post, tau_minus), pre)
    return a_plus * grows - a_minus * shrinks
