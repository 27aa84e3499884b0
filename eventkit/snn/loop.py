"""IF, LIF and PLIF step by step in torch's own operations: any device, and the reference.

Autograd derives the backward pass from these lines, so the kernels are tested against them.
"""

import torch
from torch import Tensor

from .surrogate import Surrogate, spike


def integrate(
    x: Tensor,
    v0: Tensor | None,
    q: Tensor,
    threshold: Tensor,
    *,
    v_reset: float | None,
    decay_input: bool,
    detach_reset: bool,
    surrogate: Surrogate,
) -> tuple[Tensor, Tensor]:
    """Spikes (T, ...) in x's dtype and the membrane after the last step, as `fused.integrate`."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    rest = v_reset or 0.0
    v = torch.full_like(x[0], rest, dtype=dtype) if v0 is None else v0
    spikes = []
    for xt in x.to(dtype):
        h = v + q * (xt - (v - rest)) if decay_input else v - q * (v - rest) + xt
        s = spike(h - threshold, surrogate)
        fired = s.detach() if detach_reset else s
        v = h - fired * threshold if v_reset is None else (1 - fired) * h + fired * v_reset
        spikes.append(s)
    return torch.stack(spikes).to(x.dtype), v
