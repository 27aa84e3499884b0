"""The kernels of IF, LIF, PLIF and CUBA for GPUs, in Triton: the same equations as on the CPU.

Imported for the first CUDA tensor, if Triton is installed (with torch for CUDA, or by the extra
`triton`). A program processes a block of neurons over all steps, with the membrane (forward) or its
gradient (backward) in registers. Products and sums are not contracted to FMA, so that membranes are
bit-identical to those of the CPU. With TRITON_INTERPRET=1 in the environment, Triton runs the
kernels on the CPU; the tests use this.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .memory import like, state_dtype
from .surrogate import SHAPES

BLOCK = 256  # neurons of one program
_SHAPES = list(SHAPES)


@triton.jit  # type: ignore[untyped-decorator]
def _reset(h, fired, threshold, rest, RESET: tl.constexpr):  # type: ignore[no-untyped-def]
    """The membrane after the reset: hard, soft or none, as numbered in memory."""
    if RESET == 0:
        v = tl.where(fired, rest, h)
    elif RESET == 1:
        v = tl.where(fired, h - threshold, h)
    else:
        v = h
    return v


@triton.jit  # type: ignore[untyped-decorator]
def _slope(z, SHAPE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The shapes of surrogate.SHAPES, in their order."""
    if SHAPE == 0:
        g = 1 / (1 + z * z)
    elif SHAPE == 1:
        e = tl.exp(-z)
        g = 4 * e / ((1 + e) * (1 + e))
    elif SHAPE == 2:
        g = tl.maximum(1 - z, 0.0)
    elif SHAPE == 3:
        g = tl.exp(-z)
    elif SHAPE == 4:
        g = 1 / ((1 + z) * (1 + z))
    elif SHAPE == 5:
        g = tl.exp(-z * z)
    else:
        g = tl.where(z <= 1, 1.0, 0.0)
    return g


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    x, v0, i0, s, h, v_end, i_end, q, threshold, steps, neurons,
    rest: tl.constexpr, synapse: tl.constexpr, RESET: tl.constexpr, DECAY_INPUT: tl.constexpr,
    KEEP: tl.constexpr, HAS_V: tl.constexpr, HAS_I: tl.constexpr, STATE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < neurons
    q = tl.load(q).to(STATE)
    threshold = tl.load(threshold).to(STATE)
    v = tl.zeros((BLOCK,), STATE) + rest
    if HAS_V:
        v = tl.load(v0 + at, mask=inside, other=0).to(STATE)
    current = tl.zeros((BLOCK,), STATE)
    if HAS_I:
        current = tl.load(i0 + at, mask=inside, other=0).to(STATE)
    for _ in range(steps):
        xt = tl.load(x + at, mask=inside, other=0).to(STATE)
        if synapse != 0:
            current = synapse * current + xt
            xt = current
        if DECAY_INPUT:
            ht = v + q * (xt - (v - rest))
        else:
            ht = v - q * (v - rest) + xt
        fired = ht >= threshold
        tl.store(s + at, tl.where(fired, 1.0, 0.0).to(s.dtype.element_ty), mask=inside)
        if KEEP:
            tl.store(h + at, ht, mask=inside)
            h += neurons
        v = _reset(ht, fired, threshold, rest, RESET)
        x += neurons
        s += neurons
    tl.store(v_end + at, v, mask=inside)
    if synapse != 0:
        tl.store(i_end + at, current, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    gs, gv, gi, h, v0, gx, gv0, gi0, gq, gthreshold, q, threshold, steps, last, neurons,
    rest: tl.constexpr, synapse: tl.constexpr, RESET: tl.constexpr, DECAY_INPUT: tl.constexpr,
    DETACH: tl.constexpr, SHAPE: tl.constexpr, height: tl.constexpr, steepness: tl.constexpr,
    HAS_GV: tl.constexpr, HAS_GI: tl.constexpr, HAS_V: tl.constexpr,
    HAS_I: tl.constexpr, STATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    at = program.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < neurons
    q = tl.load(q).to(STATE)
    threshold = tl.load(threshold).to(STATE)
    c = tl.zeros((BLOCK,), STATE)  # dL/dv after the step, then dL/dh before the reset
    if HAS_GV:
        c = tl.load(gv + at, mask=inside, other=0).to(STATE)
    current = tl.zeros((BLOCK,), STATE)  # dL/di after the step
    if HAS_GI:
        current = tl.load(gi + at, mask=inside, other=0).to(STATE)
    start = tl.zeros((BLOCK,), STATE) + rest
    if HAS_V:
        start = tl.load(v0 + at, mask=inside, other=0).to(STATE)
    sum_q = tl.zeros((BLOCK,), STATE)
    sum_threshold = tl.zeros((BLOCK,), STATE)
    gs, h, gx = gs + last, h + last, gx + last
    ht = tl.load(h + at, mask=inside, other=0).to(STATE)
    for k in range(steps):
        fired = ht >= threshold
        g = height * _slope(steepness * tl.abs(ht - threshold), SHAPE)
        gst = tl.load(gs + at, mask=inside, other=0).to(STATE)
        sum_threshold -= gst * g
        if RESET == 1:
            sum_threshold -= tl.where(fired, c, 0.0)
        if RESET != 2 and not DETACH:
            jump = threshold if RESET == 1 else ht - rest
            sum_threshold += c * jump * g
        if RESET == 0:
            kept = tl.where(fired, 0.0, 1.0).to(STATE)
            if not DETACH:
                kept += (rest - ht) * g
            c *= kept
        elif RESET == 1 and not DETACH:
            c *= 1 - threshold * g
        c += gst * g
        # What is read next must not be beyond the first step; its value there is not used.
        h -= tl.where(k < steps - 1, neurons, 0)
        before = tl.load(h + at, mask=inside, other=0).to(STATE)
        v = _reset(before, before >= threshold, threshold, rest, RESET)
        v = tl.where(k < steps - 1, v, start)
        if DECAY_INPUT:
            sum_q += c * (ht - v)
            part = c * q
        else:
            sum_q -= c * (v - rest)
            part = c
        c *= 1 - q
        if synapse != 0:
            part += current
            current = synapse * part
        tl.store(gx + at, part.to(gx.dtype.element_ty), mask=inside)
        ht = before
        gs -= neurons
        gx -= neurons
    if HAS_V:
        tl.store(gv0 + at, c, mask=inside)
    if HAS_I:
        tl.store(gi0 + at, current, mask=inside)
    sum_q = tl.where(inside, sum_q, 0.0)
    sum_threshold = tl.where(inside, sum_threshold, 0.0)
    if DECAY_INPUT:
        sum_q = sum_q / q
    tl.store(gq + program, tl.sum(sum_q, axis=0))
    tl.store(gthreshold + program, tl.sum(sum_threshold, axis=0))


_STATES = {torch.float32: tl.float32, torch.float64: tl.float64}


def _launch(kernel: Any, layout: Tensor, *arguments: Any, **constants: Any) -> None:
    neurons = layout.numel() // len(layout)
    grid = (triton.cdiv(neurons, BLOCK),)
    with torch.cuda.device_of(layout):  # type: ignore[no-untyped-call]
        kernel[grid](*arguments, **constants, BLOCK=BLOCK, enable_fp_fusion=False)


def integrate_forward(
    x: Tensor, v0: Tensor | None, i0: Tensor | None, q: Tensor, threshold: Tensor, reset: int,
    rest: float, decay_input: bool, synapse: float, keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """As `cpu.integrate_forward`."""
    state = state_dtype(x)
    s, v_end = torch.empty_like(x), torch.empty_like(x[0], dtype=state)
    i_end = torch.empty_like(v_end) if synapse else v_end.new_empty(0)
    h = torch.empty_like(x, dtype=state) if keep else v_end.new_empty((0, 0))
    if x.numel():
        _launch(
            _forward, x, x, _like(v0, v_end), _like(i0, v_end), s, h, v_end, i_end,
            q.detach(), threshold.detach(), len(x), x.numel() // len(x),
            rest=rest, synapse=synapse, RESET=reset, DECAY_INPUT=decay_input, KEEP=keep,
            HAS_V=v0 is not None, HAS_I=i0 is not None, STATE=_STATES[state],
        )  # fmt: skip
    return s, h, v_end, i_end


def integrate_backward(
    gs: Tensor, gv: Tensor | None, gi: Tensor | None, h: Tensor, v0: Tensor | None,
    i0: Tensor | None, q: Tensor, threshold: Tensor, reset: int, rest: float, decay_input: bool,
    synapse: float, detach: bool, shape: str, height: float, steepness: float, need_q: bool,
    need_threshold: bool, reuse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """As `cpu.integrate_backward`."""
    gx = h if reuse and gs.dtype == h.dtype else torch.empty_like(h, dtype=gs.dtype)
    gv0, gi0 = (h.new_empty(0) if v is None else torch.empty_like(h[0]) for v in (v0, i0))
    neurons = h.numel() // len(h)
    sums = h.new_zeros(2, triton.cdiv(neurons, BLOCK))
    gi = gi if synapse else None
    if h.numel():
        _launch(
            _backward, h, like(gs, gx), _like(gv, h[0]), _like(gi, h[0]), h, _like(v0, h[0]), gx,
            gv0, gi0, sums[0], sums[1], q.detach(), threshold.detach(), len(h),
            (len(h) - 1) * neurons, neurons,
            rest=rest, synapse=synapse, RESET=reset, DECAY_INPUT=decay_input, DETACH=detach,
            SHAPE=_SHAPES.index(shape), height=height, steepness=steepness,
            HAS_GV=gv is not None, HAS_GI=gi is not None, HAS_V=v0 is not None,
            HAS_I=i0 is not None, STATE=_STATES[h.dtype],
        )  # fmt: skip
    gq, gthreshold = sums.double().sum(1)
    return gx, gv0, gi0, gq.to(q), gthreshold.to(threshold)


def _like(v: Tensor | None, layout: Tensor) -> Tensor:
    """v in the memory order of `layout`; for None something to point at."""
    return layout if v is None else like(v, layout)
