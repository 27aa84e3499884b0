"""Spiking transformers for event data: Spikformer, spike-driven transformer (SDT) and QKFormer.

The tokens are the pixels of the feature map of a convolutional stem, for any H x W. Heads and
layers are those of the authors' nets for event data, without the modules that their code defines
but never uses (position embeddings, layer norms, talking heads).
"""

from typing import Any

from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.snn import (
    DrivenAttention,
    Fold,
    Patches,
    SelfAttention,
    TokenAttention,
    conv_norm,
    neuron,
)  # fmt: skip
from eventkit.snn.attention import LIF

from . import MODELS, Model, Published, Recipe
from ._parts import checked


class Residual(nn.Module):
    """x -> x + branch(x)."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.branch(x)
        return y


def perceptron(
    width: int, expansion: int, neurons: str, T: int | None, *, first: bool = False
) -> Residual:
    """Two 1 x 1 convolutions, each followed by a neuron (or preceded, if `first`)."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((width, expansion * width), (expansion * width, width)):
        both = [conv_norm(inputs, outputs, 1, bias=True), neuron(neurons, T=T)]
        layers += both[::-1] if first else both
    return Residual(*layers)


def read_out(width: int, num_classes: int) -> list[nn.Module]:
    """The layers of the read-out: mean over the tokens and a linear layer, in every step."""
    return [Fold(nn.AdaptiveAvgPool2d(1)), nn.Flatten(2), nn.Linear(width, num_classes)]


def start_small(net: nn.Module, kind: type[nn.Conv2d | nn.Linear]) -> nn.Module:
    """Initialise all layers of a type with weights of standard deviation 0.02 and zero biases.

    The code of Spikformer and QKFormer does so for linear layers, that of SDT for convolutions.
    """
    for module in net.modules():
        if isinstance(module, kind):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def _check(model: str, width: int, depth: int, heads: int, expansion: int) -> None:
    checked(model, width=width, depth=depth, heads=heads, expansion=expansion)
    if width % 16 or (width % (2 * heads) and model == "qkformer") or width % heads:
        raise OptionError(
            f"{model}: found width={width}, heads={heads}, expected a width that is a multiple of "
            f"16 and of {'2 x heads' if model == 'qkformer' else 'heads'}"
        )


def spikformer(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 256,
    depth: int = 2,
    heads: int = 16,
    expansion: int = 4,
    pools: str = "1111",
    neurons: str = LIF,
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes); `pools` marks the stem stages that halve sides."""
    _check("spikformer", width, depth, heads, expansion)
    layers: list[nn.Module] = [Patches(in_shape[0], width, pools=pools, neurons=neurons, T=T)]
    for _ in range(depth):
        layers.append(Residual(SelfAttention(width, heads=heads, neurons=neurons, T=T)))
        layers.append(perceptron(width, expansion, neurons, T))
    return start_small(nn.Sequential(*layers, *read_out(width, num_classes)), nn.Linear)


def sdt(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 256,
    depth: int = 2,
    heads: int = 8,
    expansion: int = 4,
    pools: str = "0111",
    spread: bool = False,
    neurons: str = LIF,
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes) with membrane shortcuts and no matrix products.

    `pools` marks which of the four stages of the stem halve the sides. The authors' net for
    CIFAR10-DVS uses pools=0011,spread=true.
    """
    _check("sdt", width, depth, heads, expansion)
    layers: list[nn.Module] = [
        Patches(in_shape[0], width, pools=pools, membrane=True, neurons=neurons, T=T)
    ]
    for _ in range(depth):
        layers.append(DrivenAttention(width, heads=heads, spread=spread, neurons=neurons, T=T))
        layers.append(perceptron(width, expansion, neurons, T, first=True))
    mean, flat, head = read_out(width, num_classes)
    net = nn.Sequential(*layers, mean, flat, neuron(neurons, T=T), head)
    return start_small(net, nn.Conv2d)


class Stage(nn.Module):
    """The stem of a QKFormer stage: x -> branch(x) + shortcut(x), both spikes."""

    def __init__(self, before: nn.Module, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.before, self.branch, self.shortcut = before, branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        y: Tensor = self.branch(x) + self.shortcut(x)
        return y


def qkformer(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 256,
    heads: int = 16,
    expansion: int = 1,
    neurons: str = LIF,
    T: int | None = None,
) -> nn.Module:
    """(T, N, C, H, W) -> (T, N, classes): token attention at `width`/2, self-attention at `width`.

    The sides are halved three times before the first and once more before the second.
    """
    _check("qkformer", width, 1, heads, expansion)

    def part(inputs: int, outputs: int, *, halve: bool) -> list[nn.Module]:
        pool = [Fold(nn.MaxPool2d(3, 2, 1))] if halve else []
        return [conv_norm(inputs, outputs), *pool, neuron(neurons, T=T)]

    def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(conv_norm(inputs, outputs, 1, stride), neuron(neurons, T=T))

    half, channels = width // 2, in_shape[0]
    before = [*part(channels, half // 8, halve=False), *part(half // 8, half // 4, halve=True)]
    branch = [*part(half // 4, half // 2, halve=True), *part(half // 2, half, halve=True)]
    second = [*part(half, width, halve=False), *part(width, width, halve=True)]
    net = nn.Sequential(
        Stage(nn.Sequential(*before), nn.Sequential(*branch), shortcut(half // 4, half, 4)),
        Residual(TokenAttention(half, heads=heads, neurons=neurons, T=T)),
        perceptron(half, expansion, neurons, T),
        Stage(nn.Identity(), nn.Sequential(*second), shortcut(half, width, 2)),
        Residual(SelfAttention(width, heads=heads, scale=0.125, neurons=neurons, T=T)),
        perceptron(width, expansion, neurons, T),
        *read_out(width, num_classes),
    )
    return start_small(net, nn.Linear)


def paper(lr: float, *, lowest: float = 1e-5, epochs: int = 96, **settings: Any) -> Recipe:
    """As timm trains: 10 epochs of warm-up, which count as cosine, and 10 more at the lowest rate.

    In the first 75 epochs half of the batches are mixed.
    """
    whole = epochs + 10
    known: dict[str, Any] = {
        "optimizer": "adamw", "clip": 0.0, "augment": ("flip", "wide"),
        "mixup": 0.5, "mix_share": 0.5, "mix_until": round(75 / whole, 4),
    }  # fmt: skip
    return Recipe(
        epochs=whole, batch=16, lr=lr, weight_decay=0.06, warmup=round(10 / whole, 4),
        schedule=f"cosine:epochs={epochs},floor={lowest / lr:.4g},hold=true", smoothing=0.1,
        shift=0.0, **{**known, **settings},
    )  # fmt: skip


WIDE = (
    "wide augments every sample and cuts out squares of 1 to 8 pixels; the authors leave one in "
    "six samples unchanged and cut out 0.1 to 11 % of the area"
)
WARMUP = "warm-up starts at a learning rate of 0; the authors start at 1e-5 (sdt_2_256: 1e-6)"
MODELS.register(
    Model(
        "spikformer_2_256", spikformer, "Spikformer of CIFAR10-DVS: 2 blocks of 256",
        Recipe(lr=1e-3), in_shape=(2, 128, 128), T=16, classes=10,
        cite=(
            "Zhou, Zhu, He, Wang, Yan, Tian, Yuan: Spikformer: When Spiking Neural Network Meets "
            "Transformer, ICLR 2023"
        ),
        paper=paper(1e-3), differences=(WIDE, WARMUP),
        published=(
            Published("CIFAR10-DVS", 78.90, "comparison in the README of STEP", "T = 10"),
        ),
    )
)  # fmt: skip
MODELS.register(
    Model(
        "sdt_2_256", sdt, "Spike-driven transformer of DVS128 Gesture: 2 blocks of 256",
        Recipe(lr=1e-3), in_shape=(2, 128, 128), T=16, classes=11,
        cite="Yao, Hu, Zhou, Yuan, Tian, Xu, Li: Spike-driven Transformer, NeurIPS 2023",
        # timm's LAMB clips the gradient itself.
        paper=paper(
            3e-4, epochs=200, optimizer="lamb", clip=1.0, augment=(), mixup=0.0, mix_share=1.0,
            mix_until=1.0,
        ),
        differences=(
            "lamb scales the updates of all parameters; timm's only those with weight decay",
            WARMUP,
        ),
    )
)  # fmt: skip
MODELS.register(
    Model(
        "qkformer_dvs", qkformer, "QKFormer of CIFAR10-DVS: stages of 128 and 256",
        Recipe(lr=1e-3), in_shape=(2, 128, 128), T=16, classes=10,
        cite=(
            "Zhou, Zhang, Zhou, Yu, Huang, Fan, Yuan, Ma, Zhou, Tian: QKFormer: Hierarchical "
            "Spiking Transformer using Q-K Attention, NeurIPS 2024"
        ),
        paper=paper(5e-3), differences=(WIDE, WARMUP),
        published=(
            Published("CIFAR10-DVS", 84.1, "authors' training log", "best of all test epochs"),
            Published("CIFAR10-DVS", 83.3, "authors' training log", "after the last epoch"),
        ),
    )
)  # fmt: skip
