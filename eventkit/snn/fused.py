"""IF, LIF and PLIF over all time steps in one pass on the CPU, with the closed-form backward pass.

In torch's own operations a step makes half a dozen passes over memory and saves as many tensors.
Here a block of neurons stays in the cache while t runs inside, and the membrane before
the reset, h, is all that is saved: the spike is h >= threshold, the membrane after the reset
follows from both, and so do the gradients of x, v, q and the threshold.

    charge   h = v + q (x - (v - rest))      decay_input; q = 1 / tau
             h = v - q (v - rest) + x        else; IF is q = 0
    fire     s = 1[h >= threshold]
    reset    v = (1 - s) h + s v_reset       hard: v_reset is a number, rest = v_reset
             v = h - s threshold             soft: v_reset is None, rest = 0
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from eventkit._jit import jit

from .memory import as_row, as_rows, empty_like, is_dense, like, split, state_dtype
from .surrogate import SHAPES, Surrogate

BLOCK = 4096  # neurons: long enough to stream their rows, short enough for the second-level cache
_SHAPES = list(SHAPES)


@jit
def _load(source: Any, row: Any, bits: Any, bf16: bool) -> None:
    """A row of x or of a gradient into `row`, whose memory is `bits`; bfloat16 comes as uint16."""
    if bf16:
        for i in range(len(source)):
            bits[i] = np.uint32(source[i]) << np.uint32(16)
    else:
        for i in range(len(source)):
            row[i] = source[i]


@jit
def _store(row: Any, bits: Any, target: Any, bf16: bool) -> None:
    """The inverse of `_load`; bfloat16 is rounded to the nearest even."""
    if bf16:
        for i in range(len(target)):
            last = (bits[i] >> np.uint32(16)) & np.uint32(1)
            target[i] = (bits[i] + np.uint32(0x7FFF) + last) >> np.uint32(16)
    else:
        for i in range(len(target)):
            target[i] = row[i]


@jit
def _reset(h: Any, v: Any, threshold: Any, rest: Any, soft: bool) -> None:
    """The membrane after the reset into v."""
    if soft:
        for i in range(len(h)):
            v[i] = h[i] - threshold if h[i] >= threshold else h[i]
    else:
        for i in range(len(h)):
            v[i] = rest if h[i] >= threshold else h[i]


@jit
def _slope(h: Any, g: Any, threshold: Any, shape: int, height: Any, steepness: Any) -> None:
    """The surrogate's slope at h - threshold into g; `shape` counts as in surrogate.SHAPES."""
    zero, one, four = h.dtype.type(0), h.dtype.type(1), h.dtype.type(4)
    for i in range(len(h)):
        g[i] = steepness * abs(h[i] - threshold)
    if shape == 0:
        for i in range(len(h)):  # np.divide: `/` would test every divisor for zero
            g[i] = np.divide(height, one + g[i] * g[i])
    elif shape == 1:
        for i in range(len(h)):
            e = np.exp(-g[i])
            g[i] = np.divide(four * height * e, (one + e) * (one + e))
    elif shape == 2:
        for i in range(len(h)):
            g[i] = height * max(one - g[i], zero)
    elif shape == 3:
        for i in range(len(h)):
            g[i] = height * np.exp(-g[i])
    elif shape == 4:
        for i in range(len(h)):
            g[i] = np.divide(height, (one + g[i]) * (one + g[i]))
    elif shape == 5:
        for i in range(len(h)):
            g[i] = height * np.exp(-g[i] * g[i])
    else:
        for i in range(len(h)):
            g[i] = height if g[i] <= one else zero


@jit
def _through_reset(
    c: Any, h: Any, g: Any, threshold: Any, rest: Any, soft: bool, detach: bool
) -> None:
    """c = dL/dv after a reset becomes its part of dL/dh before it."""
    zero, one = h.dtype.type(0), h.dtype.type(1)
    if soft and not detach:
        for i in range(len(h)):
            c[i] *= one - threshold * g[i]
    elif not soft and detach:
        for i in range(len(h)):
            c[i] = zero if h[i] >= threshold else c[i]
    elif not soft:
        for i in range(len(h)):
            kept = zero if h[i] >= threshold else one
            c[i] *= kept + (rest - h[i]) * g[i]


@jit
def _add_threshold(
    total: Any, gs: Any, c: Any, h: Any, g: Any, threshold: Any, rest: Any, soft: bool,
    detach: bool,
) -> None:  # fmt: skip
    """Add a step's part of dL/dthreshold, neuron by neuron; c = dL/dv after the reset."""
    zero = h.dtype.type(0)
    for i in range(len(h)):
        total[i] -= gs[i] * g[i]
    if soft:
        for i in range(len(h)):
            total[i] -= c[i] if h[i] >= threshold else zero
    if not detach:
        for i in range(len(h)):
            jump = threshold if soft else h[i] - rest
            total[i] += c[i] * jump * g[i]


@jit
def _forward_kernel(
    x: Any, v0: Any, s: Any, h: Any, v_end: Any, start: int, stop: int,
    q: Any, threshold: Any, rest: Any, one: Any,
    soft: bool, decay_input: bool, bf16: bool, keep: bool,
) -> None:  # fmt: skip
    """Spikes, h (if `keep`) and the last v of the neurons start to stop; empty v0: from rest."""
    v = np.empty(BLOCK, v_end.dtype)
    row = np.empty(BLOCK, v_end.dtype)
    spare = np.empty(BLOCK, v_end.dtype)
    bits = row.view(np.uint32)
    zero = s.dtype.type(0)
    for a in range(start, stop, BLOCK):
        n = min(BLOCK, stop - a)
        if len(v0):
            v[:n] = v0[a : a + n]
        else:
            v[:n] = rest
        for t in range(x.shape[0]):
            _load(x[t, a : a + n], row, bits, bf16)
            st = s[t, a : a + n]
            ht = h[t, a : a + n] if keep else spare[:n]
            if decay_input:
                for i in range(n):
                    ht[i] = v[i] + q * (row[i] - (v[i] - rest))
            else:
                for i in range(n):
                    ht[i] = v[i] - q * (v[i] - rest) + row[i]
            for i in range(n):
                st[i] = one if ht[i] >= threshold else zero
            _reset(ht, v, threshold, rest, soft)
        v_end[a : a + n] = v[:n]


@jit
def _backward_kernel(
    gs: Any, gv: Any, h: Any, v0: Any, gx: Any, gv0: Any, start: int, stop: int,
    q: Any, threshold: Any, rest: Any, shape: int, height: Any, steepness: Any,
    soft: bool, decay_input: bool, detach: bool, bf16: bool, need_q: bool, need_threshold: bool,
) -> tuple[float, float]:  # fmt: skip
    """Gradients of x and v0 into gx and gv0; returns those of q and of the threshold.

    gx may be the memory of h: a row of h is read for the last time before it is written.
    """
    one = h.dtype.type(1)
    c = np.zeros(BLOCK, h.dtype)  # dL/dv after the step, then dL/dh before the reset
    g = np.empty(BLOCK, h.dtype)
    v = np.empty(BLOCK, h.dtype)
    row = np.empty(BLOCK, h.dtype)
    bits = row.view(np.uint32)
    sum_q, sum_threshold = np.zeros(BLOCK), np.zeros(BLOCK)
    for a in range(start, stop, BLOCK):
        n = min(BLOCK, stop - a)
        if len(gv):
            c[:n] = gv[a : a + n]
        else:
            c[:n] = 0
        for t in range(h.shape[0] - 1, -1, -1):
            ht = h[t, a : a + n]
            _slope(ht, g, threshold, shape, height, steepness)
            _load(gs[t, a : a + n], row, bits, bf16)
            if need_threshold:
                _add_threshold(sum_threshold, row, c, ht, g, threshold, rest, soft, detach)
            _through_reset(c, ht, g, threshold, rest, soft, detach)
            for i in range(n):
                c[i] += row[i] * g[i]
            if need_q:
                if t > 0:
                    _reset(h[t - 1, a : a + n], v, threshold, rest, soft)
                elif len(v0):
                    v[:n] = v0[a : a + n]
                else:
                    v[:n] = rest
                if decay_input:  # x - (v - rest) = (h - v) / q, so x need not be kept
                    for i in range(n):
                        sum_q[i] += c[i] * (ht[i] - v[i])
                else:
                    for i in range(n):
                        sum_q[i] -= c[i] * (v[i] - rest)
            scale = q if decay_input else one
            for i in range(n):
                row[i] = c[i] * scale
                c[i] *= one - q
            _store(row, bits, gx[t, a : a + n], bf16)
        if len(gv0):
            gv0[a : a + n] = c[:n]
    total = sum_q.sum()
    return total / q if decay_input else total, sum_threshold.sum()


def _forward(
    x: Tensor, v0: Tensor | None, q: Tensor, threshold: Tensor, v_reset: float | None,
    decay_input: bool, keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Spikes in x's dtype, h in the state's dtype (empty unless `keep`), and the last v."""
    steps, bf16 = x.shape[0], x.dtype == torch.bfloat16
    s, v_end = empty_like(x, x.dtype), torch.empty_like(x[0], dtype=state_dtype(x))
    h = empty_like(x, v_end.dtype) if keep else v_end.new_empty((0, 0))
    xr, sr, hr = as_rows(x, steps), as_rows(s, steps), as_rows(h, h.shape[0])
    start, end = as_row(v0, v_end), as_row(v_end, v_end)
    scalar = end.dtype.type
    one = np.uint16(0x3F80) if bf16 else scalar(1)
    rest = scalar(v_reset or 0)

    def part(a: int, b: int) -> None:
        _forward_kernel(
            xr, start, sr, hr, end, a, b, scalar(q.item()), scalar(threshold.item()), rest, one,
            v_reset is None, decay_input, bf16, keep,
        )  # fmt: skip

    split(part, xr.shape[1], steps)
    return s, h, v_end


def _backward(
    gs: Tensor, gv: Tensor | None, h: Tensor, v0: Tensor | None, q: Tensor, threshold: Tensor,
    v_reset: float | None, decay_input: bool, detach: bool, shape: str, height: float,
    steepness: float, need_q: bool, need_threshold: bool, reuse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of x, v0 (empty without one), q and the threshold; `reuse` gives up h for x's."""
    steps, bf16 = h.shape[0], gs.dtype == torch.bfloat16
    gx = h if reuse and gs.dtype == h.dtype else empty_like(h, gs.dtype)
    gv0 = torch.empty_like(h[0]) if v0 is not None else h.new_empty(0)
    gsr, gxr, hr = as_rows(like(gs, gx), steps), as_rows(gx, steps), as_rows(h, steps)
    last, first, gv0r = as_row(gv, h[0]), as_row(v0, h[0]), as_rows(gv0, 1)[0]
    scalar = hr.dtype.type
    slope = (_SHAPES.index(shape), scalar(height), scalar(steepness))

    def part(a: int, b: int) -> tuple[float, float]:
        return _backward_kernel(
            gsr, last, hr, first, gxr, gv0r, a, b, scalar(q.item()), scalar(threshold.item()),
            scalar(v_reset or 0), slope[0], slope[1], slope[2], v_reset is None, decay_input,
            detach, bf16, need_q, need_threshold,
        )  # fmt: skip

    sums = split(part, hr.shape[1], steps)
    return gx, gv0, q.new_tensor(sum(a for a, _ in sums)), q.new_tensor(sum(b for _, b in sums))


# torch.compile and torch.export see the two functions as operators of torch; without them the
# plain call is used, which costs half the time of an operator's.
_forward_op = torch.library.custom_op("eventkit::integrate", _forward, mutates_args=())
_backward_op = torch.library.custom_op("eventkit::integrate_backward", _backward, mutates_args=())


@_forward_op.register_fake
def _(x: Tensor, v0: Any, q: Any, threshold: Any, rest: Any, decay_input: bool, keep: bool) -> Any:
    v = x.new_empty(x.shape[1:], dtype=state_dtype(x))
    return (
        torch.empty_like(x),
        torch.empty_like(x, dtype=v.dtype) if keep else v.new_empty((0, 0)),
        v,
    )


@_backward_op.register_fake
def _(gs: Tensor, gv: Any, h: Tensor, v0: Any, q: Tensor, *rest: Any) -> Any:
    gv0 = torch.empty_like(h[0]) if v0 is not None else h.new_empty(0)
    return torch.empty_like(h, dtype=gs.dtype), gv0, q.new_empty(()), q.new_empty(())


class _Integrate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v0: Tensor | None, q: Tensor, threshold: Tensor,
        v_reset: float | None, decay_input: bool, detach: bool, surrogate: Surrogate,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        forward = _forward_op if torch.compiler.is_compiling() else _forward
        s, h, v = forward(x, v0, q, threshold, v_reset, decay_input, True)
        ctx.save_for_backward(h, v0, q, threshold)
        ctx.options = (v_reset, decay_input, detach, surrogate)
        ctx.set_materialize_grads(False)
        return s, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gs: Tensor | None, gv: Tensor | None) -> tuple[Tensor | None, ...]:
        h, v0, q, threshold = ctx.saved_tensors
        v_reset, decay_input, detach, surrogate = ctx.options
        _, need_v0, need_q, need_threshold = ctx.needs_input_grad[:4]
        backward = _backward_op if torch.compiler.is_compiling() else _backward
        gx, gv0, gq, gthreshold = backward(
            torch.zeros_like(h) if gs is None else gs, gv, h, v0, q, threshold,
            v_reset, decay_input, detach,
            surrogate.shape, surrogate.height, surrogate.steepness,
            need_q, need_threshold, not _keeps_graph(),
        )  # fmt: skip
        return (
            gx, gv0 if need_v0 else None, gq if need_q else None,
            gthreshold if need_threshold else None, None, None, None, None,
        )  # fmt: skip


def _keeps_graph() -> bool:
    """Whether this backward pass may be followed by another over the same graph."""
    if torch.compiler.is_compiling():
        return True
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or bool(ask())


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
    """Spikes (T, ...) in x's dtype and the membrane after the last step.

    x (T, ...) lies on the CPU in float32, float64 or bfloat16; v0, of the shape of a step, is the
    membrane before the first, None for rest; q and threshold are numbers in tensors.
    """
    if not is_dense(x):
        x = x.contiguous()
    inputs = (x, v0, q, threshold)
    if torch.is_grad_enabled() and any(i is not None and i.requires_grad for i in inputs):
        outputs: tuple[Tensor, Tensor] = _Integrate.apply(
            *inputs, v_reset, decay_input, detach_reset, surrogate
        )  # type: ignore[no-untyped-call]
        return outputs
    forward = _forward_op if torch.compiler.is_compiling() else _forward
    s, _, v = forward(*inputs, v_reset, decay_input, False)
    return s, v
