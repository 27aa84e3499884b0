"""Weighted windows over time, H = W X + b: the computation of all parallel spiking neurons.

X is (T, neurons), and W is a (rows, width) matrix that slides over the steps: rows t to t +
rows - 1 of H are computed from the `width` rows of X that end with the same step; rows before the
first are zero. With rows = width = T this is one matrix product; with one row, a filter over
`width` steps.

Only X is saved for the backward pass, which exists anyway. H is recomputed block by block in the
cache, because a matrix product of T rows is cheaper than writing H to memory and reading it back.

    G = dL/dS * slope(H)      dL/dX = W^T G      dL/dW = G X^T      dL/db = sum of G
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import cpu, memory
from .memory import is_dense, state_dtype
from .surrogate import Surrogate, spike

ROWS = 16  # steps of a filter per matrix: fewer rows waste overlap, more rows waste zeros


def toeplitz(weight: Tensor, rows: int) -> Tensor:
    """A filter (k,) as a Toeplitz matrix (rows, rows + k - 1); row i has it from column i on."""
    k = len(weight)
    lag = torch.arange(rows + k - 1, device=weight.device)
    lag = lag - torch.arange(rows, device=weight.device).unsqueeze(1)
    return torch.where((lag >= 0) & (lag < k), weight[lag.clamp(0, k - 1)], 0)


def _tiles(steps: int, before: int, weight: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield rows of H, the rows of X they depend on, and the weights; X has `before` extra rows."""
    rows, width = weight.shape
    for t in range(0, steps, rows):
        stop = min(t + rows, steps)
        first = before + t + rows - width
        start = max(first, 0)
        used = weight[: stop - t, start - first : stop - t + width - rows]
        yield slice(t, stop), slice(start, before + stop), used


def _plain(x: Tensor, weight: Tensor, bias: Tensor, steps: int, surrogate: Surrogate) -> Tensor:
    """The definition in torch operations, for other devices, torch.compile and tests."""
    flat_x = x.flatten(1).to(state_dtype(x))
    parts = []
    device = "cpu" if x.is_meta else x.device.type  # meta has no autocast of its own
    with torch.autocast(device, enabled=False):  # H decides about spikes: never rounded
        for out, source, w in _tiles(steps, len(x) - steps, weight.to(flat_x.dtype)):
            b = bias[out] if len(bias) > 1 else bias
            parts.append(spike(w @ flat_x[source] + b, surrogate))
    return torch.cat(parts).reshape(steps, *x.shape[1:]).to(x.dtype)


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, steps: int, surrogate: Surrogate
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.surrogate = surrogate
        dtype = state_dtype(x)
        return cpu.window_forward(x, weight.to(dtype).contiguous(), bias.flatten().to(dtype), steps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        dtype = state_dtype(x)
        gx, gw, gb = cpu.window_backward(
            grads[0], x, weight.to(dtype).contiguous(), bias.flatten().to(dtype), ctx.surrogate,
            need_x, need_weight,
        )  # fmt: skip
        return (
            gx if need_x else None,
            gw.to(weight.dtype) if need_weight else None,
            gb.view(bias.shape).to(bias.dtype) if need_bias else None,
            None,
            None,
        )


def windows(
    x: Tensor, weight: Tensor, bias: Tensor, *, surrogate: Surrogate, steps: int | None = None
) -> Tensor:
    """The spikes (steps, N, ...) in x's dtype where H = W X + b >= 0; H is float32 or float64.

    x (T, N, ...) may start with rows that only provide context: spikes are computed for the last
    `steps` rows (default: all). weight is (rows, width), bias (steps, 1) or a single number. The
    gradient of a spike is the surrogate's slope at H.
    """
    steps = len(x) if steps is None else steps
    bias = bias.reshape(-1, 1)
    if not memory.has_kernels(x) or torch.compiler.is_compiling():
        if len(weight) == 1:  # a few matrix products are faster than one for each step
            weight = toeplitz(weight[0], min(steps, max(ROWS, weight.shape[1])))
        return _plain(x, weight, bias, steps, surrogate)
    x = x if is_dense(x) else x.contiguous()
    spikes: Tensor = _Windows.apply(x, weight, bias, steps, surrogate)  # type: ignore[no-untyped-call]
    return spikes
