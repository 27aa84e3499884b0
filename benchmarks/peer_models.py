"""One side of benchmarks/models.py: python peer_models.py eventkit|spikingjelly NET FILE

Run by either library's own Python. Ours writes the weights, the input, the votes and all gradients
to FILE; the other takes weights and input from there and writes its own beside it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

WIDTH = 16  # of the PLIF nets, whose definition does not depend on it
T, N = 4, 2
SHAPES = {"plif_dvsgesture": (2, 128, 128), "plif_cifar10dvs": (2, 128, 128)}
SHAPES |= {"plif_nmnist": (2, 34, 34), "vggsnn": (2, 48, 48), "spiking_vgg11": (2, 48, 48)}
CLASSES = {"plif_dvsgesture": 11}
ATTENTION = (64, 6, 6)  # channels, height, width


def shape_of(net: str) -> tuple[int, int, int]:
    return ATTENTION if "attention" in net else SHAPES.get(net.split()[0], (3, 64, 64))


def ours(net: str) -> nn.Module:
    from eventkit.models import create
    from eventkit.snn import SelfAttention, TokenAttention

    if net == "self-attention":
        return SelfAttention(ATTENTION[0], heads=8, scale=0.125)
    if net == "token attention":
        return TokenAttention(ATTENTION[0], heads=8)
    name, *options = net.split()
    spec = {
        "plif_dvsgesture": f"{name}:width={WIDTH},hidden=512,bias=true,dropout=0",
        "plif_cifar10dvs": f"{name}:width={WIDTH},hidden=512,bias=true,dropout=0",
        "plif_nmnist": f"{name}:width={WIDTH},hidden=2048,bias=true,dropout=0",
    }.get(name, name + (f":connect={options[0]}" if options else ""))
    made = create(spec, num_classes=CLASSES.get(name, 10), in_shape=shape_of(net))
    return made.to(memory_format=torch.contiguous_format)


def theirs(net: str) -> nn.Module:
    from spikingjelly.activation_based import functional, layer, neuron, surrogate
    from spikingjelly.activation_based.model import (
        parametric_lif_net,
        sew_resnet,
        spiking_resnet,
    )  # fmt: skip

    slope = {"surrogate_function": surrogate.ATan(), "detach_reset": True}
    name, *options = net.split()
    if "attention" in net:
        made = attention(net, layer)
    elif name.startswith("plif"):
        kind = {"dvsgesture": "DVSGestureNet", "cifar10dvs": "CIFAR10DVSNet", "nmnist": "NMNISTNet"}
        build = getattr(parametric_lif_net, kind[name.partition("_")[2]])
        made = build(WIDTH, spiking_neuron=neuron.ParametricLIFNode, **slope)
    elif "resnet" in name:
        module, more = (
            (sew_resnet, {"cnf": (options or ["add"])[0].upper()})
            if name.startswith("sew")
            else (spiking_resnet, {})
        )
        made = getattr(module, name)(spiking_neuron=neuron.IFNode, num_classes=10, **more, **slope)
    else:
        made = vgg(name, layer, neuron, surrogate)
    functional.set_step_mode(made, "m")
    return made


def vgg(name: str, layer, neuron, surrogate) -> nn.Module:
    """The net on SpikingJelly's layers and neurons: it ships a VGG of another plan."""
    small = name == "spiking_vgg11"
    plan = "64 M 128 M 256 256 M 512 512 512 512" if small else (
        "64 128 M 256 256 M 512 512 M 512 512 M"
    )  # fmt: skip
    # The rectangle of NDA, the triangle of TET.
    slope = surrogate.Rect() if small else surrogate.PiecewiseQuadratic(alpha=1.0)
    options = {"decay_input": False, "detach_reset": False, "surrogate_function": slope}
    options |= {"tau": 4 / 3, "v_threshold": 0.5} if small else {"tau": 2.0}
    layers, channels = [], 2
    for entry in plan.split():
        if entry == "M":
            layers.append(layer.AvgPool2d(2))
            continue
        layers.append(layer.Conv2d(channels, int(entry), 3, padding=1))
        channels = int(entry)
        norm = layer.ThresholdDependentBatchNorm2d(1.0, 0.5, channels) if small else (
            layer.BatchNorm2d(channels)
        )  # fmt: skip
        layers += [norm, neuron.LIFNode(**options)]
    layers += [layer.AdaptiveAvgPool2d(1)] if small else []
    layers += [nn.Flatten(2), layer.Linear(512 if small else 512 * 9, 10)]
    return nn.Sequential(*layers)


class Tokens(nn.Module):
    """An attention of (T, N, C, tokens) for maps."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x.flatten(3)).reshape(x.shape)


def attention(net: str, layer) -> nn.Module:
    kind = layer.SpikingSelfAttention if net == "self-attention" else layer.TokenQKAttention
    return Tokens(kind(ATTENTION[0], 8))


def start(net: nn.Module) -> None:
    """Weights with which all layers fire."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 1, 3)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.Linear):
            module.weight.data *= 4


def fused(tensors: list[np.ndarray], parts: int) -> list[np.ndarray]:
    """Weights of our attention as SpikingJelly has them: one convolution makes q, k and v.

    Ours has convolution, weight and bias of the norm for each, then those of the output, whose
    convolution has a bias besides; before a norm that bias has no effect.
    """
    each = [tensors[i::3][:parts] for i in range(3)]
    conv, *norm = [np.concatenate(each[i]) for i in range(3)]
    conv = conv.reshape(*conv.shape[:2], 1)
    out, _, *last = tensors[3 * parts :]
    return [conv, *norm, out.reshape(*out.shape[:2], 1), *last]


def answer(net: nn.Module, x: torch.Tensor) -> tuple[np.ndarray, list[np.ndarray]]:
    """Votes and the gradients of all parameters and of the input, in training mode."""
    net.train()
    for module in net.modules():
        if "Dropout" in type(module).__name__:
            module.p = 0.0
    x.requires_grad_()
    votes = net(x)
    torch.manual_seed(2)
    (votes * torch.randn(votes.shape)).sum().backward()
    return votes.detach().numpy(), [p.grad.numpy() for p in net.parameters()] + [x.grad.numpy()]


def main() -> None:
    library, name, file = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    torch.set_num_threads(2)
    parts = {"self-attention": 3, "token attention": 2}.get(name)
    if library == "eventkit":
        net = ours(name)
        start(net)
        torch.manual_seed(1)
        x = torch.poisson(torch.full((T, N, *shape_of(name)), 0.5))
        weights = [p.detach().numpy().copy() for p in net.parameters()]
        votes, gradients = answer(net, x)
        inner = gradients[:-1]
        if parts:
            weights, inner = fused(weights, parts), fused(inner, parts)
        kept = {"x": x.detach().numpy(), "votes": votes}
        kept |= {f"weight {i}": w for i, w in enumerate(weights)}
    else:
        saved = np.load(file)
        net = theirs(name)
        parameters = list(net.parameters())
        with torch.no_grad():
            for i, parameter in enumerate(parameters):
                parameter.copy_(torch.from_numpy(saved[f"weight {i}"]))
        if f"weight {len(parameters)}" in saved:
            raise SystemExit(f"{name} has more weights than SpikingJelly's")
        votes, gradients = answer(net, torch.from_numpy(saved["x"]))
        inner, kept, file = gradients[:-1], {"votes": votes}, file.with_suffix(".peer.npz")
    kept |= {f"gradient {i}": g for i, g in enumerate([*inner, gradients[-1]])}
    np.savez(file, **kept)
    parameters = sum(p.numel() for p in net.parameters())
    print(json.dumps({"parameters": parameters, "mean": float(votes.mean())}))


if __name__ == "__main__":
    main()
