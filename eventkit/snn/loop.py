"""The neurons that have kernels, step by step in torch operations: for any device, and for tests.

Autograd derives the backward pass from these lines; the kernels are tested against them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .memory import HARD, SOFT, state_dtype
from .surrogate import Surrogate, spike


def _after(h: Tensor, s: Tensor, threshold: Tensor | float, reset: int, rest: float) -> Tensor:
    """The membrane after the reset."""
    if reset == HARD:
        return (1 - s) * h + s * rest
    return h - s * threshold if reset == SOFT else h


def integrate(
    x: Tensor,
    v0: Tensor | None,
    i0: Tensor | None,
    q: Tensor,
    threshold: Tensor,
    *,
    reset: int,
    rest: float,
    decay_input: bool,
    detach_reset: bool,
    synapse: float,
    surrogate: Surrogate,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The spikes (T, ...) in x's dtype, the final membrane and current; see `fused.integrate`."""
    x_dtype, x = x.dtype, x.to(state_dtype(x))
    v = torch.full_like(x[0], rest) if v0 is None else v0
    current = i0
    spikes = []
    for xt in x:
        if synapse:
            current = xt if current is None else synapse * current + xt
            xt = current
        h = v + q * (xt - (v - rest)) if decay_input else v - q * (v - rest) + xt
        s = spike(h - threshold, surrogate)
        v = _after(h, s.detach() if detach_reset else s, threshold, reset, rest)
        spikes.append(s)
    return torch.stack(spikes).to(x_dtype), v, current


def cell(
    kind: str,
    x: Tensor,
    v0: Tensor | None,
    w0: Tensor | None,
    coefficients: Sequence[Tensor],
    *,
    reset: int = HARD,
    adapt_after_reset: bool = False,
    detach_reset: bool,
    surrogate: Surrogate,
) -> tuple[Tensor, Tensor, Tensor]:
    """The spikes (T, ...) in x's dtype and the two final states; see `fused.cell`."""
    x_dtype, x = x.dtype, x.to(state_dtype(x))
    v = torch.zeros_like(x[0]) if v0 is None else v0
    w = torch.zeros_like(x[0]) if w0 is None else w0
    spikes = []
    for xt in x:
        if kind == "adapt":
            alpha, beta, a, b = coefficients
            h = alpha * v + (1 - alpha) * (xt - w)
            s = spike(h - 1, surrogate)
            v = _after(h, s.detach() if detach_reset else s, 1, reset, 0)
            w = beta * w + a * (v if adapt_after_reset else h) + b * s
        else:
            real, imag, b = coefficients
            h, w = real * v - imag * w + b * xt, imag * v + real * w
            s = spike(2 * h - 1, surrogate)
            v = _after(h, s.detach() if detach_reset else s, 0.5, SOFT, 0)
        spikes.append(s)
    return torch.stack(spikes).to(x_dtype), v, w
