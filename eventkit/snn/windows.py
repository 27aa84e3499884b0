"""Weighted windows over time, H = W X + b: the computation of all parallel spiking neurons.

X is (T, neurons), and W consists of tiles, (rows, width) matrices: rows t to t + rows - 1 of H are
computed from the `width` rows of X that end with the same step; rows before the first are zero. One
tile with rows = width = T is one matrix product; one tile that all steps share, a filter; one tile
for each `rows` steps, a band matrix.

Only X is saved for the backward pass, which exists anyway. H is recomputed block by block in the
cache, because a matrix product of T rows is cheaper than writing H to memory and reading it back.
From `BLAS` steps on it is not: then torch's matrix product computes H, and H is saved as well.

    G = dL/dS * slope(H)      dL/dX = W^T G      dL/dW = G X^T      dL/db = sum of G
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import cpu, memory
from .memory import is_dense, keeps_graph, state_dtype
from .surrogate import Surrogate, spike

BLAS = 64  # steps of a (T, T) product from which BLAS is faster than the kernel
ROWS = 16  # steps of a filter per matrix: fewer rows waste overlap, more rows waste zeros


def toeplitz(weight: Tensor, rows: int) -> Tensor:
    """A filter (k,) as a Toeplitz matrix (rows, rows + k - 1); row i has it from column i on."""
    k = len(weight)
    lag = torch.arange(rows + k - 1, device=weight.device)
    lag = lag - torch.arange(rows, device=weight.device).unsqueeze(1)
    return torch.where((lag >= 0) & (lag < k), weight[lag.clamp(0, k - 1)], 0)


def band(weight: Tensor, k: int) -> Tensor:
    """The tiles of a matrix (steps, total) that has only the k entries up to each step's own.

    Row i of the matrix is that of step total - steps + i. Returns (tiles, ROWS, ROWS + k - 1).
    """
    steps, total = weight.shape
    tiles, lag = -(-steps // ROWS), torch.arange(ROWS + k - 1, device=weight.device)
    local = torch.arange(ROWS, device=weight.device).unsqueeze(1)
    start = (torch.arange(tiles, device=weight.device) * ROWS).view(-1, 1, 1)
    row, column = start + local, start + (total - steps) - k + 1 + lag
    inside = (lag >= local) & (lag < local + k) & (row < steps) & (column >= 0) & (column < total)
    entries = weight[row.clamp(max=steps - 1), column.clamp(0, total - 1)]
    return torch.where(inside, entries, 0)


def _tiles(steps: int, before: int, weight: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield rows of H, the rows of X they depend on, and the weights; X has `before` extra rows."""
    tiles, rows, width = weight.shape
    for t in range(0, steps, rows):
        stop = min(t + rows, steps)
        first = before + t + rows - width
        start = max(first, 0)
        used = weight[t // rows % tiles, : stop - t, start - first : stop - t + width - rows]
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


class _Product(torch.autograd.Function):
    """H = W X + b as one matrix product, for W (steps, T)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, surrogate: Surrogate) -> Tensor:
        dtype, steps = state_dtype(x), len(weight)
        b = bias.to(dtype).expand(steps, 1)
        h = torch.addmm(b, weight.to(dtype), memory.flat(x).to(dtype))
        ctx.save_for_backward(x, weight, bias, h)
        ctx.surrogate = surrogate
        return cpu.fire(h, x[len(x) - steps :])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, h = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        g = h.clone() if keeps_graph() else h
        gb = cpu.fire_backward(grads[0], g, x[len(x) - len(h) :], bias, ctx.surrogate)
        gx = gw = None
        if need_x:
            flat = weight.to(g.dtype).t() @ g
            gx = flat.to(x.dtype).as_strided(x.shape, x.stride())
        if need_weight:
            gw = (g @ memory.flat(x).to(g.dtype).t()).to(weight.dtype)
        return gx, gw, gb.view(bias.shape).to(bias.dtype) if need_bias else None, None


def windows(
    x: Tensor, weight: Tensor, bias: Tensor, *, surrogate: Surrogate, steps: int | None = None
) -> Tensor:
    """The spikes (steps, N, ...) in x's dtype where H = W X + b >= 0; H is float32 or float64.

    x (T, N, ...) may start with rows that only provide context: spikes are computed for the last
    `steps` rows (default: all). weight is (rows, width) or (tiles, rows, width), bias (steps, 1) or
    a single number. The gradient of a spike is the surrogate's slope at H.
    """
    steps = len(x) if steps is None else steps
    bias = bias.reshape(-1, 1)
    weight = weight if weight.ndim == 3 else weight.unsqueeze(0)
    if not memory.has_kernels(x) or torch.compiler.is_compiling():
        if weight.shape[:2] == (1, 1):  # a few matrix products are faster than one for each step
            rows = min(steps, max(ROWS, weight.shape[2]))
            weight = toeplitz(weight[0, 0], rows).unsqueeze(0)
        return _plain(x, weight, bias, steps, surrogate)
    x = x if is_dense(x) else x.contiguous()
    if weight.shape == (1, steps, len(x)) and min(weight.shape[1:]) >= BLAS:
        with torch.autocast("cpu", enabled=False):
            product: Tensor = _Product.apply(x, weight[0], bias, surrogate)  # type: ignore[no-untyped-call]
        return product
    spikes: Tensor = _Windows.apply(x, weight, bias, steps, surrogate)  # type: ignore[no-untyped-call]
    return spikes
