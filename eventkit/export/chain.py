"""A net as a chain of basic layers: batch norms folded, dropout removed, voting as a matrix."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from eventkit.snn import IF, LIF, PLIF, Dropout, Fold, Fused, Halve, SumPool2d, Voting, fold_norm

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of kind conv, linear, pool, flatten or neuron; shapes are per sample and step."""

    name: str
    kind: str
    in_shape: Shape
    out_shape: Shape
    weight: Tensor | None = None
    bias: Tensor | None = None
    how: dict[str, Any] = field(default_factory=dict)


def chain(net: nn.Module, in_shape: Shape) -> tuple[list[Layer], list[str]]:
    """The layers of a net for samples (C, H, W), and messages about unsupported modules."""
    layers: list[Layer] = []
    problems: list[str] = []
    parameter = next(net.parameters(), None)
    x = torch.zeros(1, 1, *in_shape, device=None if parameter is None else parameter.device)
    was_training = net.training
    net.eval()
    with torch.no_grad():
        for name, module in _leaves(net, ""):
            if not problems:
                x = _add(layers, problems, name, module, x)
    net.train(was_training)
    return layers, problems


def _leaves(module: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    """The modules of nested Sequential and Fold containers in order; others are not opened."""
    if type(module) not in (nn.Sequential, Fused, Fold):
        return [(name, module)]
    inside = [(f"{name}.{key}" if name else key, child) for key, child in module.named_children()]
    return [leaf for key, child in inside for leaf in _leaves(child, key)]


def _add(
    layers: list[Layer], problems: list[str], name: str, module: nn.Module, x: Tensor
) -> Tensor:
    """Append the layer for a module; return the module's output for x (1, 1, ...)."""
    if isinstance(module, Dropout | nn.Dropout | nn.Identity):
        return x
    known = _described(module, x)
    if known is None:
        problems.append(f"layer {name} ({type(module).__name__}) cannot be exported")
        return x
    per_step = isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d | nn.AvgPool2d)
    y: Tensor = module(x[0])[None] if per_step else module(x)
    if known["kind"] == "norm":
        _fold(layers, problems, name, module)
        return y
    shapes: dict[str, Any] = {"in_shape": tuple(x.shape[2:]), "out_shape": tuple(y.shape[2:])}
    layers.append(Layer(name, **shapes, **known))
    return y


def _described(module: Any, x: Tensor) -> dict[str, Any] | None:
    if isinstance(module, nn.Conv2d) and isinstance(module.padding, tuple):
        keys = ("stride", "padding", "dilation", "groups")
        how = {key: getattr(module, key) for key in keys}
        weights = {"weight": _own(module.weight), "bias": _own(module.bias)}
        return {"kind": "conv", **weights, "how": how}
    if isinstance(module, nn.Linear):
        return {"kind": "linear", "weight": _own(module.weight), "bias": _own(module.bias)}
    if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
        return {"kind": "norm"}
    if isinstance(module, Voting):
        n = x.shape[-1] // module.voters
        matrix = torch.eye(n).repeat_interleave(module.voters, 1) / module.voters
        return {"kind": "linear", "weight": matrix}
    if isinstance(module, nn.Flatten):
        return {"kind": "flatten"}
    if type(module) in (IF, LIF, PLIF):
        how = {key: getattr(module, key) for key in ("v_threshold", "v_reset", "decay_input")}
        return {"kind": "neuron", "how": {"q": float(module.q), **how}}
    return _pool(module, x)


def _pool(module: Any, x: Tensor) -> dict[str, Any] | None:
    height, width = x.shape[-2:] if x.ndim == 5 else (0, 0)
    kernel: tuple[int, ...]
    way: str
    if isinstance(module, Halve):
        kernel, way = (min(2, height), min(2, width)), module.how
    elif isinstance(module, SumPool2d):
        kernel, way = (module.size, module.size), "sum"
        if height % module.size or width % module.size:
            way = "cut"  # partial windows at the border, which only torch supports
    elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        way = "max" if isinstance(module, nn.MaxPool2d) else "avg"
        if getattr(module, "divisor_override", None) is not None:
            way = "sum"
            if module.divisor_override != 1:
                return None
        size = module.kernel_size
        kernel = (size, size) if isinstance(size, int) else tuple(size)
        plain = module.padding in (0, (0, 0)) and module.stride in (size, kernel)
        if not plain or module.ceil_mode:
            return None
    else:
        return None
    return {"kind": "pool", "how": {"kernel": kernel, "way": way}}


def _fold(layers: list[Layer], problems: list[str], name: str, norm: Any) -> None:
    """Fold a batch norm into the layer before it."""
    before = layers[-1] if layers else None
    if before is None or before.weight is None or norm.running_var is None:
        problems.append(f"layer {name} (BatchNorm) follows no layer to fold it into")
        return
    weight, bias = fold_norm(before.weight, before.bias, norm)
    layers[-1] = replace(before, weight=weight, bias=bias)


def _own(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone().float().contiguous()
