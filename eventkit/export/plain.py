"""A chain as a torch module of basic operations, with an explicit loop over time."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .chain import Layer


class Plain(nn.Module):
    """Outputs (T, N, classes) for frames (T, N, C, H, W), equal to those of the original net."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.layers = layers
        for number, layer in enumerate(layers):
            for key in ("weight", "bias"):
                tensor = getattr(layer, key)
                if tensor is not None:
                    self.register_buffer(f"{key}_{number}", tensor)

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            if layer.kind == "neuron":
                x = _neuron(x, layer)
                continue
            weight = getattr(self, f"weight_{number}", None)
            bias = getattr(self, f"bias_{number}", None)
            y = _stateless(x.flatten(0, 1), layer, weight, bias)
            x = y.reshape(x.shape[0], -1, *y.shape[1:])
        return x


def _stateless(x: Tensor, layer: Layer, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if layer.kind == "conv":
        assert weight is not None
        return functional.conv2d(x, weight, bias, **layer.how)
    if layer.kind == "linear":
        assert weight is not None
        return functional.linear(x, weight, bias)
    if layer.kind == "flatten":
        return x.flatten(1)
    kernel, way = layer.how["kernel"], layer.how["way"]
    if way == "max":
        return functional.max_pool2d(x, kernel)
    y = functional.avg_pool2d(x, kernel, ceil_mode=way == "cut")
    return y if way == "avg" else y * (kernel[0] * kernel[1])


def _neuron(x: Tensor, layer: Layer) -> Tensor:
    """The equations of `eventkit.snn.neurons.leaky`, step by step."""
    q, threshold, reset = layer.how["q"], layer.how["v_threshold"], layer.how["v_reset"]
    rest = reset or 0.0
    v, spikes = torch.full_like(x[0], rest), []
    for t in range(x.shape[0]):
        leak = v - rest
        h = v + q * (x[t] - leak) if layer.how["decay_input"] and q else v - q * leak + x[t]
        s = (h >= threshold).to(x.dtype)
        v = h - s * threshold if reset is None else (1 - s) * h + s * rest
        spikes.append(s)
    return torch.stack(spikes)
