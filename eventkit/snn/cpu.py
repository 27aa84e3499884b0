"""Call the kernels on CPU tensors: arrange memory and distribute the work over threads.

A tensor may have its neurons in any memory order (e.g. channels_last), as long as it is dense.
Outputs have the order of x; states and coefficients are converted to it.
"""

import numpy as np
import torch
from torch import Tensor

from . import kernels
from .memory import as_row, as_rows, empty_like, like, split, state_dtype
from .surrogate import SHAPES, Surrogate

_SHAPES = list(SHAPES)
_CELLS = {
    "adapt": (kernels.adapt_forward, kernels.adapt_backward),
    "resonate": (kernels.resonate_forward, kernels.resonate_backward),
}


def _one(x: Tensor, scalar: type) -> object:
    """The value 1 in the type in which a kernel writes spikes; bfloat16 is written as its bits."""
    return np.uint16(0x3F80) if x.dtype == torch.bfloat16 else scalar(1)


def integrate_forward(
    x: Tensor, v0: Tensor | None, i0: Tensor | None, q: Tensor, threshold: Tensor, reset: int,
    rest: float, decay_input: bool, synapse: float, keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The spikes in x's dtype, h in the state's dtype (empty unless `keep`), the final v and i."""
    steps, bf16 = x.shape[0], x.dtype == torch.bfloat16
    s, v_end = empty_like(x, x.dtype), torch.empty_like(x[0], dtype=state_dtype(x))
    i_end = torch.empty_like(v_end) if synapse else v_end.new_empty(0)
    h = empty_like(x, v_end.dtype) if keep else v_end.new_empty((0, 0))
    xr, sr, hr = as_rows(x, steps), as_rows(s, steps), as_rows(h, h.shape[0])
    v0r, i0r = as_row(v0, v_end), as_row(i0, v_end)
    vr, ir = as_row(v_end, v_end), as_row(i_end, i_end)
    scalar = vr.dtype.type
    one = _one(x, scalar)

    def part(a: int, b: int) -> None:
        kernels.integrate_forward(
            xr, v0r, i0r, sr, hr, vr, ir, a, b, scalar(q.item()), scalar(threshold.item()),
            scalar(rest), scalar(synapse), one, reset, decay_input, bf16, keep,
        )  # fmt: skip

    split(part, xr.shape[1], steps)
    return s, h, v_end, i_end


def integrate_backward(
    gs: Tensor, gv: Tensor | None, gi: Tensor | None, h: Tensor, v0: Tensor | None,
    i0: Tensor | None, q: Tensor, threshold: Tensor, reset: int, rest: float, decay_input: bool,
    synapse: float, detach: bool, shape: str, height: float, steepness: float, need_q: bool,
    need_threshold: bool, reuse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x, v0 and i0 (empty if not given), q and threshold.

    With `reuse`, the gradient of x is written to the memory of h.
    """
    steps, bf16 = h.shape[0], gs.dtype == torch.bfloat16
    gx = h if reuse and gs.dtype == h.dtype else empty_like(h, gs.dtype)
    gv0, gi0 = (h.new_empty(0) if v is None else torch.empty_like(h[0]) for v in (v0, i0))
    gsr, gxr, hr = as_rows(like(gs, gx), steps), as_rows(gx, steps), as_rows(h, steps)
    gvr, v0r = as_row(gv, h[0]), as_row(v0, h[0])
    gir = as_row(gi if synapse else None, h[0])
    gv0r, gi0r = as_rows(gv0, 1)[0], as_rows(gi0, 1)[0]
    scalar = hr.dtype.type
    slope = (_SHAPES.index(shape), scalar(height), scalar(steepness))

    def part(a: int, b: int) -> tuple[float, float]:
        return kernels.integrate_backward(
            gsr, gvr, gir, hr, v0r, gxr, gv0r, gi0r, a, b, scalar(q.item()),
            scalar(threshold.item()), scalar(rest), scalar(synapse), slope[0], slope[1], slope[2],
            reset, decay_input, detach, bf16, need_q, need_threshold,
        )  # fmt: skip

    sums = split(part, hr.shape[1], steps)
    gq, gthreshold = sum(a for a, _ in sums), sum(b for _, b in sums)
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
    steps, bf16 = x.shape[0], x.dtype == torch.bfloat16
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
        _CELLS[kind][0](xr, v0r, w0r, kr, sr, vr, wr, a, b, one, reset, adapt_after_reset, bf16)

    split(part, xr.shape[1], steps)
    return s, v_end, w_end


def cell_backward(
    kind: str, gs: Tensor, gv: Tensor | None, gw: Tensor | None, x: Tensor, v0: Tensor | None,
    w0: Tensor | None, k: Tensor, reset: int, adapt_after_reset: bool, detach: bool, shape: str,
    height: float, steepness: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x, v0 and w0 (empty if not given), and k."""
    steps, bf16 = x.shape[0], x.dtype == torch.bfloat16
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
            adapt_after_reset, detach, bf16,
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
    """The spikes (steps, ...) in x's dtype; weight is (rows, width), bias (steps,) or (1,)."""
    s, bf16 = empty_like(x[len(x) - steps :], x.dtype), x.dtype == torch.bfloat16
    xr, sr, w, b = as_rows(x, len(x)), as_rows(s, steps), weight.numpy(), bias.numpy()
    one = _one(x, w.dtype.type)
    split(
        lambda start, stop: kernels.window_forward(xr, w, b, sr, start, stop, one, bf16),
        xr.shape[1],
        steps,
    )
    return s


def window_backward(
    gs: Tensor, x: Tensor, weight: Tensor, bias: Tensor, surrogate: Surrogate, need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x (empty unless needed), weight and bias."""
    bf16, w, b = x.dtype == torch.bfloat16, weight.numpy(), bias.numpy()
    gx = empty_like(x, x.dtype) if need_x else x.new_empty((0, 0))
    gsr = as_rows(like(gs, x[len(x) - len(gs) :]), len(gs))
    xr, gxr = as_rows(x, len(x)), as_rows(gx, len(gx))
    scalar = w.dtype.type
    slope = (_SHAPES.index(surrogate.shape), scalar(surrogate.height), scalar(surrogate.steepness))

    def part(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        gw, gb = np.zeros(w.shape), np.zeros(b.shape)
        kernels.window_backward(gsr, xr, w, b, gxr, gw, gb, start, stop, *slope, need_weight, bf16)
        return gw, gb

    sums = split(part, xr.shape[1], len(gs))
    gw = sum((part_of_w for part_of_w, _ in sums), np.zeros(w.shape))
    gb = sum((part_of_b for _, part_of_b in sums), np.zeros(b.shape))
    return gx, torch.from_numpy(gw).to(weight.dtype), torch.from_numpy(gb).to(bias.dtype)
