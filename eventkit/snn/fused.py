"""Neurons over all time steps in one pass, with an analytic backward pass.

With torch operations, each step makes six passes over memory and saves as many tensors. Here only
one tensor is saved. On the CPU it is x, from which the steps are recomputed in the cache. On the
GPU it is the membrane before the reset, h: the spike is h >= threshold, and the membrane after the
reset and all gradients (x, v, q, threshold) follow from it. `fuse` adds batch norm and pooling.

    current  i = synapse i + x               CUBA; else i = x
    charge   h = v + q (i - (v - rest))      decay_input; q = 1 / tau
             h = v - q (v - rest) + i        else; IF is q = 0
    fire     s = 1[h >= threshold]
    reset    v = (1 - s) h + s rest          hard
             v = h - s threshold             soft
             v = h                           never

The gradient of a spike is the surrogate's slope at h - threshold. The kernels are in `cpu` and, for
CUDA, in `triton`, which have the same functions.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import cpu
from .memory import is_dense, keeps_graph, state_dtype
from .surrogate import Surrogate

# torch.compile and torch.export see the functions as torch operators; otherwise they are called
# directly, which has half the overhead.
_forward_op = torch.library.custom_op(
    "eventkit::integrate", cpu.integrate_forward, mutates_args=(), device_types="cpu"
)
_backward_op = torch.library.custom_op(
    "eventkit::integrate_backward", cpu.integrate_backward, mutates_args=(), device_types="cpu"
)
_cell_op = torch.library.custom_op("eventkit::cell", cpu.cell_forward, mutates_args=())
_cell_backward_op = torch.library.custom_op(
    "eventkit::cell_backward", cpu.cell_backward, mutates_args=()
)


@_forward_op.register_kernel("cuda")
def _(*arguments: Any) -> Any:
    return _triton().integrate_forward(*arguments)


@_backward_op.register_kernel("cuda")
def _(*arguments: Any) -> Any:
    return _triton().integrate_backward(*arguments)


@_forward_op.register_fake
def _(x: Tensor, v0: Any, i0: Any, q: Any, threshold: Any, reset: int, rest: float,
      decay_input: bool, synapse: float, keep: bool) -> Any:  # fmt: skip
    v = torch.empty_like(x[0], dtype=state_dtype(x))
    keep = keep and x.device.type == "cuda"
    h = torch.empty_like(x, dtype=v.dtype) if keep else v.new_empty((0, 0))
    return torch.empty_like(x), h, v, torch.empty_like(v) if synapse else v.new_empty(0)


@_backward_op.register_fake
def _(gs: Tensor, gv: Any, gi: Any, h: Tensor, v0: Any, i0: Any, q: Tensor, *rest: Any) -> Any:
    row = torch.empty_like(h[0], dtype=state_dtype(h))
    states = (row.new_empty(0) if v is None else torch.empty_like(row) for v in (v0, i0))
    return torch.empty_like(h, dtype=gs.dtype), *states, q.new_empty(()), q.new_empty(())


@_cell_op.register_fake
def _(
    kind: str, x: Tensor, v0: Any, w0: Any, k: Tensor, reset: int, adapt_after_reset: bool
) -> Any:
    states = (torch.empty_like(x[0], dtype=state_dtype(x)) for _ in range(2))
    return torch.empty_like(x), *states


@_cell_backward_op.register_fake
def _(kind: str, gs: Any, gv: Any, gw: Any, x: Tensor, v0: Any, w0: Any, k: Any, *r: Any) -> Any:
    row = torch.empty_like(x[0], dtype=state_dtype(x))
    states = (row.new_empty(0) if v is None else torch.empty_like(row) for v in (v0, w0))
    return torch.empty_like(x), *states, torch.stack([row] * len(k))


def _triton() -> ModuleType:
    return importlib.import_module("eventkit.snn.triton")


def _device(x: Tensor) -> ModuleType:
    return cpu if x.device.type == "cpu" else _triton()


class _Integrate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v0: Tensor | None, i0: Tensor | None, q: Tensor, threshold: Tensor,
        rules: tuple[int, float, bool, float], detach: bool, surrogate: Surrogate,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        compiling = torch.compiler.is_compiling()
        forward = _forward_op if compiling else _device(x).integrate_forward
        s, h, v, i = forward(x, v0, i0, q, threshold, *rules, True)
        kept = h if h.numel() else x  # the CPU recomputes h from x, the GPU reads it
        ctx.save_for_backward(kept, v0, i0, q, threshold)
        ctx.options = (rules, detach, surrogate)
        ctx.set_materialize_grads(False)
        return s, v, i

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        h, v0, i0, q, threshold = ctx.saved_tensors
        rules, detach, surrogate = ctx.options
        _, need_v0, need_i0, need_q, need_threshold = ctx.needs_input_grad[:5]
        gs, gv, gi = grads
        compiling = torch.compiler.is_compiling()
        backward = _backward_op if compiling else _device(h).integrate_backward
        gx, gv0, gi0, gq, gthreshold = backward(
            torch.zeros_like(h) if gs is None else gs, gv, gi, h, v0, i0, q, threshold, *rules,
            detach, surrogate.shape, surrogate.height, surrogate.steepness, need_q, need_threshold,
            not keeps_graph(),
        )  # fmt: skip
        return (
            gx, gv0 if need_v0 else None, gi0 if need_i0 else None, gq if need_q else None,
            gthreshold if need_threshold else None, None, None, None,
        )  # fmt: skip


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
    """The spikes (T, ...) in x's dtype, the final membrane, and the final current or None.

    x (T, ...) must have a dtype and device that the kernels support. v0 and i0, with the shape of
    one step, are the initial membrane and current (None: at rest). q and threshold are scalar
    tensors. `reset` is HARD, SOFT or NEVER of `memory`. synapse=0 means no synaptic current.
    """
    x = x if is_dense(x) else x.contiguous()
    inputs = (x, v0, i0, q, threshold)
    rules = (reset, rest, decay_input, synapse)
    if torch.is_grad_enabled() and any(i is not None and i.requires_grad for i in inputs):
        s, v, i = _Integrate.apply(*inputs, rules, detach_reset, surrogate)  # type: ignore[no-untyped-call]
    else:
        forward = _forward_op if torch.compiler.is_compiling() else _device(x).integrate_forward
        s, _, v, i = forward(*inputs, *rules, False)
    return s, v, i if synapse else None


class _Cell(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v0: Tensor | None, w0: Tensor | None, k: Tensor, kind: str,
        rules: tuple[int, bool], detach: bool, surrogate: Surrogate,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        ctx.save_for_backward(x, v0, w0, k)
        ctx.options = (kind, rules, detach, surrogate)
        ctx.set_materialize_grads(False)
        forward = _cell_op if torch.compiler.is_compiling() else cpu.cell_forward
        outputs: tuple[Tensor, Tensor, Tensor] = forward(kind, x, v0, w0, k, *rules)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        x, v0, w0, k = ctx.saved_tensors
        kind, (reset, adapt_after_reset), detach, surrogate = ctx.options
        gs, gv, gw = grads
        backward = _cell_backward_op if torch.compiler.is_compiling() else cpu.cell_backward
        gx, gv0, gw0, gk = backward(
            kind, torch.zeros_like(x) if gs is None else gs, gv, gw, x, v0, w0, k, reset,
            adapt_after_reset, detach, surrogate.shape, surrogate.height, surrogate.steepness,
        )  # fmt: skip
        need = ctx.needs_input_grad
        return (
            gx, gv0 if need[1] else None, gw0 if need[2] else None, gk, None, None, None, None,
        )  # fmt: skip


def cell(
    kind: str,
    x: Tensor,
    v0: Tensor | None,
    w0: Tensor | None,
    coefficients: Sequence[Tensor],
    *,
    reset: int = 0,
    adapt_after_reset: bool = False,
    detach_reset: bool,
    surrogate: Surrogate,
) -> tuple[Tensor, Tensor, Tensor]:
    """The spikes (T, ...) in x's dtype and the two final states of neurons with two states.

    `kind` is "adapt" (coefficients alpha, beta, a, b) or "resonate" (Re and Im lambda, b). The
    coefficients have the state's dtype and shapes that broadcast to one step of x.
    """
    x = x if is_dense(x) else x.contiguous()
    k = torch.stack([c.expand(x.shape[1:]) for c in coefficients])
    outputs: tuple[Tensor, Tensor, Tensor] = _Cell.apply(
        x, v0, w0, k, kind, (reset, adapt_after_reset), detach_reset, surrogate
    )  # type: ignore[no-untyped-call]
    return outputs
