"""Residual nets for ImageNet: SEW ResNet, and the older Spiking ResNet for comparison.

Fang et al., "Deep Residual Learning in Spiking Neural Networks", NeurIPS 2021. In a SEW block all
branches end in a neuron and their spikes are combined, O = g(A(S), S). In a Spiking ResNet the sum
is fed to a neuron, O = SN(BN(conv) + S), which cannot be the identity and degrades with depth.
"""

from typing import Any

from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.snn import SEW, Connect, Fold, conv_norm, neuron, start_as_identity

from . import MODELS, Model, Published, Recipe
from ._parts import checked, start_convolutions

STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
EXPANSION = 4  # output channels / width of a bottleneck block, used from depth 50 on


class Add(nn.Module):
    """A neuron applied to the sum of two branches, as in a Spiking ResNet."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut, self.last = branch, shortcut, last

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.branch(x) + self.shortcut(x))
        return y


def branch(inputs: int, width: int, stride: int, *, bottleneck: bool, new: Any) -> list[nn.Module]:
    """The layers of a branch: convolutions with norms, neurons between them, ending in a norm."""
    if not bottleneck:
        return [conv_norm(inputs, width, 3, stride), new(), conv_norm(width, width)]
    out = EXPANSION * width
    middle = conv_norm(width, width, 3, stride)
    return [conv_norm(inputs, width, 1), new(), middle, new(), conv_norm(width, out, 1)]


def block(
    inputs: int, width: int, stride: int, *, bottleneck: bool, connect: Connect | None,
    zero_init: bool, new: Any,
) -> nn.Module:  # fmt: skip
    """One residual block; connect=None gives that of a Spiking ResNet."""
    layers = branch(inputs, width, stride, bottleneck=bottleneck, new=new)
    norm, last = layers[-1][1], new()  # type: ignore[index]
    outputs = norm.num_features
    same = stride == 1 and inputs == outputs
    shortcut: list[nn.Module] = [] if same else [conv_norm(inputs, outputs, 1, stride)]
    if connect is None:
        if zero_init:
            nn.init.zeros_(norm.weight)
        return Add(nn.Sequential(*layers), nn.Sequential(*shortcut), last)
    if zero_init:
        start_as_identity(norm, last, connect)
    if shortcut:
        shortcut.append(new())
    return SEW(nn.Sequential(*layers, last), nn.Sequential(*shortcut), connect=connect)


def resnet(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    depth: int = 18,
    width: int = 64,
    connect: Connect = "add",
    neurons: str = "if",
    zero_init: bool = True,
    sew: bool = True,
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes).

    `depth` is 18, 34, 50, 101 or 152; `width` is the number of channels of the first of four
    stages; each further stage doubles the channels and halves the sides. `zero_init` initialises
    every block as its shortcut. sew=false gives the Spiking ResNet, which ignores `connect`.
    """
    checked("resnet", width=width)
    if depth not in STAGES:
        raise OptionError(
            f"resnet: depth is {depth}, expected one of {', '.join(map(str, STAGES))}"
        )

    def new() -> nn.Module:
        return neuron(neurons, T=T)

    bottleneck = depth >= 50
    layers: list[nn.Module] = [conv_norm(in_shape[0], width, 7, 2), new()]
    layers.append(Fold(nn.MaxPool2d(3, 2, 1)))
    channels = width
    blocks: list[nn.Module] = []
    for stage, number in enumerate(STAGES[depth]):
        for i in range(number):
            stride = 2 if stage and not i else 1
            blocks.append(
                block(
                    channels, width << stage, stride, bottleneck=bottleneck, new=new,
                    connect=connect if sew else None, zero_init=zero_init,
                )
            )  # fmt: skip
            channels = (width << stage) * (EXPANSION if bottleneck else 1)
    start_convolutions(nn.ModuleList(layers + blocks))
    head = [Fold(nn.AdaptiveAvgPool2d(1)), nn.Flatten(2), nn.Linear(channels, num_classes)]
    return nn.Sequential(*layers, *blocks, *head)


CITE = (
    "Fang, Yu, Chen, Huang, Masquelier, Tian: Deep Residual Learning in Spiking Neural Networks, "
    "NeurIPS 2021"
)
IMAGENET = Recipe(
    epochs=320, batch=256, optimizer="sgd:momentum=0.9", lr=0.1, weight_decay=0.0, warmup=0.0,
    clip=0.0, schedule="cosine", shift=0.0, augment=("resized_crop:low=0.08", "flip"),
)  # fmt: skip
CROPS = (
    "resized_crop keeps the aspect ratio; the authors vary it from 3:4 to 4:3 and normalise colours"
)
NOTE = "best of all test epochs, T = 4, images shown repeatedly"
ACCURACY = {  # SEW ResNet, Spiking ResNet
    18: (63.18, 62.32),
    34: (67.04, 61.86),
    50: (67.78, 57.66),
    101: (68.76, 31.79),
    152: (69.26, 10.03),
}

for depth, accuracies in ACCURACY.items():
    for kind, sew, accuracy in zip(("SEW", "Spiking"), (True, False), accuracies, strict=True):
        MODELS.register(
            Model(
                f"{kind.lower()}_resnet{depth}", resnet, f"{kind} ResNet-{depth}",
                Recipe(lr=1e-3),
                # As in the training runs of the published accuracies.
                {"depth": depth, "sew": sew, "zero_init": not sew},
                in_shape=(3, 224, 224), T=4, classes=1000, cite=CITE, paper=IMAGENET,
                differences=(CROPS,),
                published=(Published("ImageNet", accuracy, "authors' training log", NOTE),),
            )
        )  # fmt: skip
