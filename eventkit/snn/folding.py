"""Fold batch norms into the layers before them, for inference: once, instead of in every pass.

W (x) + b, then a norm with scale s = weight / sqrt(variance + eps)
=  (s W) (x) + s (b - mean) + bias
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .layers import Fold

FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)  # outputs are the first axis of weights


def fold_norm(weight: Tensor, bias: Tensor | None, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias, in weight's dtype, of a layer that includes the norm after it.

    `weight` has the outputs, which are the channels of the norm, as its first axis. The norm must
    have running statistics. Computed in float64, so that only the result is rounded.
    """
    with torch.no_grad():
        one = torch.ones_like(norm.running_var, dtype=torch.float64)
        scale = one if norm.weight is None else norm.weight.double()
        scale = scale / (norm.running_var.double() + norm.eps).sqrt()
        shift = -norm.running_mean.double() if bias is None else bias.double() - norm.running_mean
        shift = shift * scale + (0 if norm.bias is None else norm.bias.double())
        folded = weight.double() * scale.reshape(-1, *[1] * (weight.ndim - 1))
        return folded.to(weight.dtype), shift.to(weight.dtype)


def fold_norms(net: nn.Module) -> nn.Module:
    """A copy of `net` in eval mode, where every batch norm in a `Fold` right after a convolution or
    linear layer is folded into it; its outputs are equal within rounding.

    Other norms stay, such as those that follow another layer or have no running statistics. The
    copy is for inference: an `nn.Identity` is in the place of a folded norm.
    """
    net = copy.deepcopy(net).eval()
    for fold in [module for module in net.modules() if isinstance(module, Fold)]:
        for i in range(1, len(fold)):
            layer: Any = fold[i - 1]
            norm: Any = fold[i]
            plain = isinstance(norm, _BatchNorm) and type(norm).forward is _BatchNorm.forward
            if plain and type(layer) in FOLDABLE and norm.running_var is not None:
                weight, bias = fold_norm(layer.weight, layer.bias, norm)
                layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
                fold[i] = nn.Identity()
    return net
