"""Batch norm, neuron and 2 x 2 pooling in one pass over memory, for whole nets: `fuse(net)`.

Between two convolutions, a spiking net reads and writes its largest tensors several times: the norm
its input twice, the neuron the norm's output, the pooling the spikes; and each keeps a tensor for
the backward pass. Fused, a forward pass reads the convolution's output twice (statistics, then all
the rest) and writes the pooled spikes; a backward pass does the same; only that output is kept.

Within a Sequential, these are fused (each of the parts in brackets may be missing):

    [Fold ending in a batch norm]  IF, LIF, PLIF  [2 x 2 pooling]

The modules and their parameters stay where they are, so that state dicts, hooks, exports and copies
do not change. Whatever the kernels do not support runs module by module, as before: a device other
than the CPU, torch.compile, modules that have hooks, sides of odd length (for the pooling).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules import module as hooks
from torch.nn.modules.batchnorm import _BatchNorm

from . import cpu, memory
from .layers import Fold, Halve
from .memory import is_dense
from .neurons import Neuron
from .neurons.leaky import IF
from .surrogate import Surrogate

SMALL = 1 << 17  # elements of a tensor below which separate modules are as fast


class Fused(nn.Sequential):
    """A Sequential that fuses norms, neurons and poolings; its results stay the same."""

    def forward(self, x: Tensor) -> Tensor:
        layers, i = list(self), 0
        while i < len(layers):
            unit = _unit(layers[i : i + 3])
            if unit is None:
                x, i = layers[i](x), i + 1
            else:
                x, i = unit(x), i + len(unit.modules)
        return x

    def _get_name(self) -> str:
        return "Sequential"


def fuse(net: nn.Module) -> nn.Module:
    """Make every `nn.Sequential` in `net` a `Fused`, in place; returns the net.

    Spikes, gradients and running statistics are equal within rounding: in bfloat16, the norm's
    output is not rounded before it reaches the neuron. Parameters and names do not change.
    """
    for module in net.modules():
        if type(module) is nn.Sequential:
            module.__class__ = Fused
    return net


@dataclass(frozen=True)
class _Unit:
    """Modules that follow each other and can be one pass."""

    fold: Fold | None
    neuron: IF
    pool: nn.Module | None

    @property
    def modules(self) -> list[nn.Module]:
        """All of them, in order."""
        return [module for module in (self.fold, self.neuron, self.pool) if module is not None]

    def __call__(self, x: Tensor) -> Tensor:
        steps, neuron, pool = x.shape[:2], self.neuron, self.pool
        norm: Any = None
        if self.fold is not None:
            *before, norm = self.fold
            x = x.flatten(0, 1)
            for layer in before:
                x = layer(x)
            if not _takes(norm, x):
                x, norm = norm(x), None
            x = x.reshape(*steps, *x.shape[1:])
        if pool is not None and not _halves(x):
            pool = None
        if norm is None and pool is None:
            s = neuron(x)
        else:
            s = _run(x, norm, neuron, None if pool is None else _how(pool))
        if self.pool is not pool and self.pool is not None:
            s = self.pool(s)
        spikes: Tensor = s
        return spikes


def _unit(layers: list[nn.Module]) -> _Unit | None:
    """The unit that starts with these modules, if its parts are known and nobody watches them."""
    fold = layers[0] if type(layers[0]) is Fold and len(layers[0]) else None
    if fold is not None and (not _is_norm(fold[-1]) or _watched(fold) or _watched(fold[-1])):
        return None
    rest = layers[1:] if fold is not None else layers
    if not rest or not _is_neuron(rest[0]) or _watched(rest[0]):
        return None
    pool = rest[1] if len(rest) > 1 and _how(rest[1]) and not _watched(rest[1]) else None
    if fold is None and pool is None:
        return None
    return _Unit(fold, rest[0], pool)  # type: ignore[arg-type]


def _watched(module: nn.Module) -> bool:
    """Whether a module has hooks or methods of its own, so that it must be called itself."""
    own = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
        hooks._global_forward_hooks,
        hooks._global_forward_pre_hooks,
        hooks._global_backward_hooks,
        hooks._global_backward_pre_hooks,
    )
    return any(own) or "forward" in module.__dict__ or "run" in module.__dict__


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward


def _is_neuron(module: nn.Module) -> bool:
    return (
        isinstance(module, IF)
        and type(module).run is IF.run
        and type(module).forward is Neuron.forward
    )


def _how(module: nn.Module) -> str | None:
    """How a module pools 2 x 2 pixels: max, avg or sum; None for other modules."""
    if type(module) is Halve:
        return module.how
    if type(module) is not Fold or len(module) != 1 or _watched(module[0]):
        return None
    pool: Any = module[0]
    if type(pool) not in (nn.MaxPool2d, nn.AvgPool2d):
        return None
    options = {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1}
    for name, value in options.items():
        if getattr(pool, name, value) not in (value, (value, value)):
            return None
    if type(pool) is nn.AvgPool2d:
        divisor = pool.divisor_override
        return None if pool.ceil_mode else {None: "avg", 4: "avg", 1: "sum"}.get(divisor)
    return None if pool.return_indices else "max"


def _plain(x: Tensor) -> bool:
    return type(x) is Tensor and not torch.compiler.is_compiling() and x.numel() > 0


def _takes(norm: _BatchNorm, x: Tensor) -> bool:
    """Whether the kernels compute this norm for x (T N, C, ...)."""
    if not _plain(x) or not memory.has_kernels(x) or x.ndim < 2 or x.shape[1] != norm.num_features:
        return False
    if x.numel() < SMALL:
        return False
    batch = norm.training or norm.running_mean is None
    return not batch or x.numel() > x.shape[1]  # else the norm itself raises torch's error


def _halves(x: Tensor) -> bool:
    """Whether the kernels pool x (T, N, C, H, W): even sides, channels_last."""
    return (
        _plain(x)
        and memory.has_kernels(x)
        and x.ndim == 5
        and x.numel() >= SMALL
        and x.shape[-1] % 2 == x.shape[-2] % 2 == 0
        and x.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    )


def _run(x: Tensor, norm: _BatchNorm | None, neuron: IF, pool: str | None) -> Tensor:
    """The pooled spikes of x (T, N, C, ...), which is dense or is copied."""
    flat = x.flatten(0, 1)
    last = x.ndim == 5 and flat.is_contiguous(memory_format=torch.channels_last)
    if not last and not x.is_contiguous():
        x = x.contiguous()
    if not is_dense(x):
        x = x.contiguous()
    weight = bias = mean = inverse = None
    batch = False
    if norm is not None:
        weight, bias = norm.weight, norm.bias
        mean, variance, batch = _statistics(norm, x)
        inverse = (variance + norm.eps).rsqrt()
    q = neuron.q
    q = q if isinstance(q, Tensor) else torch.tensor(q, dtype=torch.float64)
    state = neuron._state if neuron._carries else None
    reset = memory.SOFT if neuron.v_reset is None else memory.HARD
    rules = {
        "reset": reset, "rest": neuron.v_reset or 0.0, "decay_input": neuron.decay_input,
        "synapse": 0.0, "pool": pool,
    }  # fmt: skip
    s, v = _Pass.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, state, q, mean, inverse, batch, neuron.v_threshold, rules,
        neuron.detach_reset, neuron._surrogate, neuron._carries,
    )  # fmt: skip
    if neuron._carries:
        neuron._state = v
    spikes: Tensor = s
    return spikes


def _statistics(norm: Any, x: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Mean and variance in float64, and whether they are those of x; updates the running ones."""
    if not norm.training and norm.running_mean is not None:
        return norm.running_mean.double(), norm.running_var.double(), False
    with torch.no_grad():
        mean, variance = cpu.moments(x)
        if norm.training and norm.running_mean is not None:
            factor = norm.momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.add_(1)
                if factor is None:
                    factor = 1.0 / float(norm.num_batches_tracked)
            count = x.numel() // x.shape[2]
            for running, new in (
                (norm.running_mean, mean),
                (norm.running_var, variance * (count / (count - 1))),
            ):
                running.mul_(1 - (factor or 0.0)).add_(new.to(running.dtype), alpha=factor or 0.0)
    return mean, variance, True


class _Pass(torch.autograd.Function):
    """The pass over a unit; with u = x - mean and r = 1 / sqrt(variance + eps):

        y = w r u + bias      dL/dw = r sum(u dL/dy)      dL/dbias = sum(dL/dy)
        dL/dx = w r (dL/dy - (sum(dL/dy) + r^2 u sum(u dL/dy)) / n)

    where the last term is absent if mean and variance do not depend on x.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, v0: Tensor | None,
        q: Tensor, mean: Tensor | None, inverse: Tensor | None, batch: bool, threshold: float,
        rules: dict[str, Any], detach: bool, surrogate: Surrogate,
        ends: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        norm = None
        if mean is not None and inverse is not None:
            scale = inverse if weight is None else weight.double() * inverse
            shift = -mean * scale if bias is None else bias.double() - mean * scale
            norm = cpu.Norm(scale, shift, mean)
        s, v, _ = cpu.fused_forward(x, norm, v0, None, q.item(), threshold, ends=ends, **rules)
        ctx.save_for_backward(x, weight, v0, q)
        ctx.options = (norm, inverse, batch, threshold, rules, detach, surrogate)
        ctx.set_materialize_grads(False)
        return s, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, v0, q = ctx.saved_tensors
        norm, inverse, batch, threshold, rules, detach, surrogate = ctx.options
        need_x, need_w, need_b, need_v0, need_q = ctx.needs_input_grad[:5]
        gs, gv = grads
        if gs is None:
            shape = cpu.pooled_layout(x)[0] if rules["pool"] else x.shape
            gs = x.new_zeros(shape)
        gx, gv0, _, gq, _, sums = cpu.fused_backward(
            gs, gv, None, x, norm, v0, None, q.item(), threshold, detach=detach,
            surrogate=surrogate, need_q=need_q, need_threshold=False, **rules,
        )  # fmt: skip
        gw = gb = None
        if norm is not None:
            total, product = sums
            gw, gb = product * inverse, total
            if need_x:
                k = torch.zeros(3, len(total), dtype=torch.float64)
                k[0] = norm.scale
                if batch:
                    n = x.numel() // x.shape[2]
                    k[1] = -norm.scale * inverse**2 * product / n
                    k[2] = -norm.scale * total / n - k[1] * norm.mean
                cpu.norm_backward(x, gx, k)
        return (
            gx if need_x else None,
            gw.to(weight.dtype) if need_w and gw is not None else None,
            gb.to(weight.dtype) if need_b and gb is not None else None,
            gv0 if need_v0 else None,
            q.new_tensor(gq) if need_q else None,
            *[None] * 8,
        )
