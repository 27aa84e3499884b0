"""Call the kernels on CPU tensors: arrange memory and distribute the work over threads.

A tensor may have its neurons in any memory order (e.g. channels_last), as long as it is dense.
Outputs have the order of x; states and coefficients are converted to it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .kernels import cells, integrate
from .kernels import windows as kernels
from .kernels.steps import SCRATCH
from .memory import as_row, as_rows, empty, empty_like, like, split, state_dtype
from .surrogate import SHAPES, Surrogate

FORWARD, BACKWARD = 4096, 2048  # neurons per block, whose working rows stay in the cache
POOLS = {None: 0.0, "max": 0.0, "avg": 0.25, "sum": 1.0}  # factor of a sum of four; 0: maximum
_SHAPES = list(SHAPES)
_CELLS = {
    "adapt": (cells.adapt_forward, cells.adapt_backward),
    "resonate": (cells.resonate_forward, cells.resonate_backward),
}


def _one(x: Tensor, scalar: type) -> object:
    """The value 1 in the type in which a kernel writes spikes; bfloat16 is written as its bits."""
    return np.uint16(0x3F80) if x.dtype == torch.bfloat16 else scalar(1)


@dataclass(frozen=True)
class Blocks:
    """How a tensor (T, neurons) with channels is divided into blocks of neurons."""

    line: int  # neurons per row of a map if they are pooled, else all
    piece: int  # neurons of a line that a block has
    runs: int  # lines of a block: 2 to pool, else 1
    inner: int  # adjacent neurons of one channel: 1 for channels_last
    channels: int
    number: int  # of blocks

    def split(self, part: Callable[[int, int], Any], steps: int) -> list[Any]:
        """The results of part(start, stop) for ranges of blocks."""
        unit = self.runs * self.piece
        return split(lambda a, b: part(a // unit, b // unit), self.number * unit, steps, unit)

    @property
    def place(self) -> tuple[int, int, int, int, int]:
        """The arguments of the kernels."""
        return self.line, self.piece, self.runs, self.inner, self.channels


def blocks(x: Tensor, size: int, *, steps: int, normed: bool = False, pool: bool = False) -> Blocks:
    """Blocks of about `size` neurons of a dense x: (T, N, C, ...) if it is normed or pooled.

    steps=1 instead of T is faster where no step depends on another: memory is read in order.
    """
    neurons = x.numel() // max(steps, 1)
    channels = x.shape[2] if normed or pool else 1
    inner = 1 if not (normed or pool) or x.stride(2) == 1 else math.prod(x.shape[3:])
    line, runs = max(neurons, 1), 1
    piece = min(-(-size // channels) * channels if inner == 1 else size, line)
    if pool:
        line = channels * x.shape[-1]
        piece, runs = 2 * channels * max(1, min(x.shape[-1] // 2, size // (4 * channels))), 2
    number = neurons // (runs * line) * -(-line // piece)
    return Blocks(line, piece, runs, inner, channels, number)


@dataclass(frozen=True)
class Norm:
    """A batch norm y = scale x + shift: one number per channel each, in the state's dtype."""

    scale: Tensor
    shift: Tensor
    mean: Tensor


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the biased variance of each channel of a dense x (T, N, C, ...), in float64."""
    xr, parts = as_rows(x, 1), blocks(x, FORWARD, steps=1, normed=True)

    def part(a: int, b: int) -> np.ndarray:
        sums = np.zeros((2, parts.channels))
        integrate.moments(xr, sums, a, b, parts.piece, parts.inner)
        return sums

    sums = sum(parts.split(part, 1), np.zeros((2, parts.channels)))
    mean, square = torch.from_numpy(sums) / max(x.numel() // parts.channels, 1)
    return mean, (square - mean * mean).clamp_(min=0)


def fused_forward(
    x: Tensor, norm: Norm | None, v0: Tensor | None, i0: Tensor | None, q: float, threshold: float,
    reset: int, rest: float, decay_input: bool, synapse: float, pool: str | None, ends: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The (pooled) spikes in x's dtype, and the final v and i, empty unless `ends`.

    x (T, N, C, ...) is dense, and channels_last to pool. `pool` is how, a key of POOLS.
    """
    steps, state = len(x), x.new_empty(0, dtype=state_dtype(x))
    parts = blocks(x, FORWARD, steps=steps, normed=norm is not None, pool=pool is not None)
    s = empty(*pooled_layout(x), x.dtype) if pool else empty_like(x, x.dtype)
    # What an operator returns must not be the same tensor twice, not even an empty one.
    v_end = torch.empty_like(x[0], dtype=state.dtype) if ends else state.clone()
    i_end = torch.empty_like(v_end) if synapse else state.clone()
    xr, sr, v0r, i0r = as_rows(x, steps), as_rows(s, steps), _row(v0, x), _row(i0, x)
    vr, ir = as_rows(v_end, 1)[0], as_rows(i_end, 1)[0]
    scalar = v0r.dtype.type
    scale, shift, _ = _channels(norm, state)
    numbers = scalar(q), scalar(threshold), scalar(rest), scalar(synapse)

    def part(a: int, b: int) -> None:
        integrate.integrate_forward(
            xr, scale, shift, v0r, i0r, sr, vr, ir, a, b, *parts.place, *numbers, _one(x, scalar),
            scalar(POOLS[pool]), reset, decay_input,
        )  # fmt: skip

    parts.split(part, steps)
    return s, v_end, i_end


def fused_backward(
    gs: Tensor, gv: Tensor | None, gi: Tensor | None, x: Tensor, norm: Norm | None,
    v0: Tensor | None, i0: Tensor | None, q: float, threshold: float, reset: int, rest: float,
    decay_input: bool, synapse: float, pool: str | None, detach: bool, surrogate: Surrogate,
    need_q: bool, need_threshold: bool,
) -> tuple[Tensor, Tensor, Tensor, float, float, Tensor]:  # fmt: skip
    """The gradients of the neurons' input, v0, i0 (empty if not given), q and threshold.

    Also the sums of the first one, and of its products with x - mean, for each channel of a norm.
    """
    steps, state = len(x), x.new_empty(0, dtype=state_dtype(x))
    size = max(64, min(BACKWARD, SCRATCH // steps))
    parts = blocks(x, size, steps=steps, normed=norm is not None, pool=pool is not None)
    gx = empty_like(x, x.dtype)
    gv0, gi0 = (
        state.clone() if v is None else torch.empty_like(x[0], dtype=state.dtype) for v in (v0, i0)
    )
    shape, stride = pooled_layout(x) if pool else (x.shape, x.stride())
    if gs.stride() != stride or gs.dtype != x.dtype:
        gs = torch.empty_strided(shape, stride, dtype=x.dtype).copy_(gs)
    gsr, xr, gxr = as_rows(gs, steps), as_rows(x, steps), as_rows(gx, steps)
    gvr, gir, v0r, i0r = _row(gv, x), _row(gi, x), _row(v0, x), _row(i0, x)
    gv0r, gi0r = as_rows(gv0, 1)[0], as_rows(gi0, 1)[0]
    scalar = v0r.dtype.type
    numbers = scalar(q), scalar(threshold), scalar(rest), scalar(synapse)
    slope = _SHAPES.index(surrogate.shape), scalar(surrogate.height), scalar(surrogate.steepness)

    def part(a: int, b: int) -> tuple[float, float, np.ndarray]:
        sums = np.zeros((2, parts.channels))
        found = integrate.integrate_backward(
            gsr, gvr, gir, xr, *_channels(norm, state), v0r, i0r, gxr, gv0r, gi0r, sums, a, b,
            *parts.place, *numbers, scalar(POOLS[pool]), *slope, reset, decay_input, detach,
            need_q, need_threshold,
        )  # fmt: skip
        return *found, sums

    found = parts.split(part, steps)
    gq, gthreshold = (sum(each[i] for each in found) for i in (0, 1))
    sums = sum((each[2] for each in found), np.zeros((2, parts.channels)))
    return gx, gv0, gi0, gq, gthreshold, torch.from_numpy(sums)


def norm_backward(x: Tensor, gx: Tensor, k: Tensor) -> None:
    """Replace dL/dy in gx by k[0] dL/dy + k[1] x + k[2] with k (3, channels)."""
    xr, gxr, parts = as_rows(x, 1), as_rows(gx, 1), blocks(x, FORWARD, steps=1, normed=True)
    rows = k.to(state_dtype(x)).numpy()
    parts.split(
        lambda a, b: integrate.norm_backward(xr, gxr, rows, a, b, parts.piece, parts.inner), 1
    )


def pooled_layout(x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides of the pooled maps of x (T, N, C, H, W), which are channels_last."""
    steps, n, c, h, w = x.shape
    h, w = h // 2, w // 2
    return (steps, n, c, h, w), (n * h * w * c, h * w * c, 1, w * c, c)


def _row(state: Tensor | None, x: Tensor) -> np.ndarray:
    """The state, in the memory order of one step of x."""
    if state is None:
        return as_row(None, x.new_empty(0, dtype=state_dtype(x)))
    return as_row(state, torch.empty_like(x[0], dtype=state_dtype(x)))


def _channels(norm: Norm | None, state: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if norm is None:
        return (state.numpy(),) * 3
    scale, shift, mean = (n.to(state.dtype).numpy() for n in (norm.scale, norm.shift, norm.mean))
    return scale, shift, mean


def integrate_forward(
    x: Tensor, v0: Tensor | None, i0: Tensor | None, q: Tensor, threshold: Tensor, reset: int,
    rest: float, decay_input: bool, synapse: float, keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The spikes in x's dtype, h (empty: recomputed from x here), the final v and i."""
    s, v, i = fused_forward(
        x, None, v0, i0, q.item(), threshold.item(), reset, rest, decay_input, synapse, None, True
    )
    return s, v.new_empty((0, 0)), v, i


def integrate_backward(
    gs: Tensor, gv: Tensor | None, gi: Tensor | None, x: Tensor, v0: Tensor | None,
    i0: Tensor | None, q: Tensor, threshold: Tensor, reset: int, rest: float, decay_input: bool,
    synapse: float, detach: bool, shape: str, height: float, steepness: float, need_q: bool,
    need_threshold: bool, reuse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x, v0 and i0 (empty if not given), q and threshold."""
    gx, gv0, gi0, gq, gthreshold, _ = fused_backward(
        gs, gv, gi if synapse else None, x, None, v0, i0, q.item(), threshold.item(), reset, rest,
        decay_input, synapse, None, detach, Surrogate(shape, height, steepness), need_q,
        need_threshold,
    )  # fmt: skip
    return gx, gv0, gi0, q.new_tensor(gq), q.new_tensor(gthreshold)


def cell_forward(
    kind: str,
    x: Tensor,
    v0: Tensor | None,
    w0: Tensor | None,
    k: Tensor,
    reset: int,
    adapt_after_reset: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The spikes in x's dtype, and the two states after the last step.

    k (coefficients, N, ...) contains the coefficients of the kernel `kind`, in the state's dtype.
    """
    steps = x.shape[0]
    s = empty_like(x, x.dtype)
    v_end, w_end = (torch.empty_like(x[0], dtype=state_dtype(x)) for _ in range(2))
    xr, sr, vr, wr = (
        as_rows(x, steps),
        as_rows(s, steps),
        as_row(v_end, v_end),
        as_row(w_end, w_end),
    )
    v0r, w0r, kr = as_row(v0, v_end), as_row(w0, v_end), _coefficients(k, v_end)
    one = _one(x, kr.dtype.type)

    def part(a: int, b: int) -> None:
        _CELLS[kind][0](xr, v0r, w0r, kr, sr, vr, wr, a, b, one, reset, adapt_after_reset)

    split(part, xr.shape[1], steps)
    return s, v_end, w_end


def cell_backward(
    kind: str, gs: Tensor, gv: Tensor | None, gw: Tensor | None, x: Tensor, v0: Tensor | None,
    w0: Tensor | None, k: Tensor, reset: int, adapt_after_reset: bool, detach: bool, shape: str,
    height: float, steepness: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x, v0 and w0 (empty if not given), and k."""
    steps = x.shape[0]
    gx, row = empty_like(x, x.dtype), torch.empty_like(x[0], dtype=state_dtype(x))
    gv0, gw0 = (row.new_empty(0) if v is None else torch.empty_like(row) for v in (v0, w0))
    gk = torch.stack([row] * len(k))
    gsr, gxr, xr = as_rows(like(gs, x), steps), as_rows(gx, steps), as_rows(x, steps)
    gvr, gwr, v0r, w0r = as_row(gv, row), as_row(gw, row), as_row(v0, row), as_row(w0, row)
    kr, gkr = _coefficients(k, row), _coefficients(gk, row)
    gv0r, gw0r = as_rows(gv0, 1)[0], as_rows(gw0, 1)[0]
    scalar = kr.dtype.type
    slope = (_SHAPES.index(shape), scalar(height), scalar(steepness))

    def part(a: int, b: int) -> None:
        _CELLS[kind][1](
            gsr, gvr, gwr, xr, v0r, w0r, kr, gxr, gv0r, gw0r, gkr, a, b, *slope, reset,
            adapt_after_reset, detach,
        )  # fmt: skip

    split(part, xr.shape[1], steps)
    for i in range(len(k)):
        flat = torch.from_numpy(gkr[i])
        gk[i].copy_(flat.as_strided(row.shape, row.stride()))
    return gx, gv0, gw0, gk


def _coefficients(k: Tensor, row: Tensor) -> np.ndarray:
    """The coefficients as rows, each in the memory order of `row`."""
    return np.stack([as_row(one, row) for one in k])


def window_forward(x: Tensor, weight: Tensor, bias: Tensor, steps: int) -> Tensor:
    """The spikes (steps, ...); weight is (tiles, rows, width), bias (steps,) or (1,)."""
    s = empty_like(x[len(x) - steps :], x.dtype)
    xr, sr, w, b = as_rows(x, len(x)), as_rows(s, steps), weight.numpy(), bias.numpy()
    one = _one(x, w.dtype.type)
    split(
        lambda start, stop: kernels.window_forward(xr, w, b, sr, start, stop, one),
        xr.shape[1],
        steps,
    )
    return s


def window_backward(
    gs: Tensor, x: Tensor, weight: Tensor, bias: Tensor, surrogate: Surrogate, need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x (empty unless needed), weight and bias."""
    w, b = weight.numpy(), bias.numpy()
    gx = empty_like(x, x.dtype) if need_x else x.new_empty((0, 0))
    gsr = as_rows(like(gs, x[len(x) - len(gs) :]), len(gs))
    xr, gxr = as_rows(x, len(x)), as_rows(gx, len(gx))
    scalar = w.dtype.type
    slope = (_SHAPES.index(surrogate.shape), scalar(surrogate.height), scalar(surrogate.steepness))

    def part(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        gw, gb = np.zeros(w.shape), np.zeros(b.shape)
        kernels.window_backward(gsr, xr, w, b, gxr, gw, gb, start, stop, *slope, need_weight)
        return gw, gb

    sums = split(part, xr.shape[1], len(gs))
    gw = sum((part_of_w for part_of_w, _ in sums), np.zeros(w.shape))
    gb = sum((part_of_b for _, part_of_b in sums), np.zeros(b.shape))
    return gx, torch.from_numpy(gw).to(weight.dtype), torch.from_numpy(gb).to(bias.dtype)


def fire(h: Tensor, x: Tensor) -> Tensor:
    """The spikes of h (T, neurons), in the dtype and layout of x."""
    s = empty_like(x, x.dtype)
    hr, sr, one = h.numpy(), as_rows(s, len(h)), _one(x, h.numpy().dtype.type)
    split(lambda a, b: kernels.fire(hr, sr, a, b, one), h.shape[1], len(h))
    return s


def fire_backward(gs: Tensor, h: Tensor, x: Tensor, bias: Tensor, surrogate: Surrogate) -> Tensor:
    """Overwrite h (T, neurons) with its gradient; return that of the bias (T,) or (1,)."""
    hr, gsr = h.numpy(), as_rows(like(gs, x), len(h))
    scalar = hr.dtype.type
    slope = _SHAPES.index(surrogate.shape), scalar(surrogate.height), scalar(surrogate.steepness)

    def part(a: int, b: int) -> np.ndarray:
        gb = np.zeros(bias.numel())
        kernels.fire_backward(hr, gsr, gb, a, b, *slope)
        return gb

    return torch.from_numpy(sum(split(part, h.shape[1], len(h)), np.zeros(bias.numel())))
