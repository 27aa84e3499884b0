"""VGG-16 and ResNets without spikes, to be trained with QCFS activations and then converted.

Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural
networks", ICLR 2022; Lyu et al., "Optimal ANN-SNN conversion with group neurons", ICASSP 2024.
All pooling is average pooling, and the last layer is linear, as `eventkit.snn.to_spiking` needs it.
"""

from typing import Any

from torch import nn

from eventkit.errors import OptionError
from eventkit.snn import Dropout, Fold, conv_norm, neuron

from . import MODELS, Model, Recipe
from ._parts import checked, dense, start_convolutions
from .resnet import block
from .vgg import POOL, body

VGG16 = (1, 1, POOL, 2, 2, POOL, 4, 4, 4, POOL, 8, 8, 8, POOL, 8, 8, 8, POOL)
HIDDEN = 64  # neurons of the fully connected layers in units of the width
STAGES = {18: (2, 2, 2, 2), 20: (3, 3, 3), 34: (3, 4, 6, 3)}


def vgg16(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 64,
    neurons: str = "qcfs",
    dropout: float = 0.1,
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes): thirteen convolutions, three linear layers.

    neurons=relu is the plain network; any other neuron spec makes the same net spike.
    """
    checked("vgg16", width=width, dropout=dropout)
    layers = body(in_shape[0], VGG16, width, neurons, "bn", T)
    sides = in_shape[1:]
    for _ in range(VGG16.count(POOL)):
        sides = tuple(max(1, side // 2) for side in sides)
    features, hidden = 8 * width * sides[0] * sides[1], HIDDEN * width
    layers.append(nn.Flatten(2))
    for inputs in (features, hidden):
        linear = dense("vgg16", inputs, hidden, bias=True)
        layers += [linear, neuron(neurons, T=T), Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, num_classes))


def resnet(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    depth: int = 20,
    width: int = 16,
    large: bool = False,
    neurons: str = "qcfs",
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes) with 18, 20 or 34 layers.

    `width` is the number of channels of the first stage; each further one doubles the channels and
    halves the sides. `large` starts with a 7 x 7 convolution and average pooling, both of stride 2,
    for images of ImageNet's size, else with a 3 x 3 convolution. neurons=relu is the plain network.
    """
    checked("resnet", width=width)
    if depth not in STAGES:
        raise OptionError(
            f"resnet: depth is {depth}, expected one of {', '.join(map(str, STAGES))}"
        )

    def new() -> Any:
        return neuron(neurons, T=T)

    layers: list[nn.Module] = [
        conv_norm(in_shape[0], width, 7 if large else 3, 2 if large else 1), new()
    ]  # fmt: skip
    if large:
        layers.append(Fold(nn.AvgPool2d(3, 2, 1)))
    channels = width
    for stage, number in enumerate(STAGES[depth]):
        for i in range(number):
            stride = 2 if stage and not i else 1
            layers.append(
                block(
                    channels, width << stage, stride, bottleneck=False, connect=None,
                    zero_init=False, new=new,
                )
            )  # fmt: skip
            channels = width << stage
    start_convolutions(nn.ModuleList(layers))
    head = [Fold(nn.AdaptiveAvgPool2d(1)), nn.Flatten(2), nn.Linear(channels, num_classes)]
    return nn.Sequential(*layers, *head)


CITE = (
    "Bu, Fang, Ding, Dai, Yu, Huang: Optimal ANN-SNN Conversion for High-accuracy and "
    "Ultra-low-latency Spiking Neural Networks, ICLR 2022"
)
CIFAR = Recipe(
    epochs=300, batch=300, optimizer="sgd:momentum=0.9", lr=0.1, weight_decay=5e-4, decay_all=True,
    warmup=0.0, clip=0.0, shift=0.0, augment=("shift:share=0.125", "flip", "cutout"),
)  # fmt: skip
DIFFERENCES = (
    "the authors also use AutoAugment, and train with 4 levels on CIFAR-10 and 8 on CIFAR-100",
    "group neurons: the authors start lambda at the number of levels (neurons=qcfs:levels=8)",
)


def register(name: str, build: Any, about: str, side: int, classes: int, **options: Any) -> None:
    """Add a network for images (3, side, side), which are a single frame."""
    MODELS.register(
        Model(
            name, build, f"{about} without spikes, to be converted", Recipe(lr=1e-3), options,
            in_shape=(3, side, side), T=1, classes=classes, cite=CITE,
            paper=CIFAR if side == 32 else None, differences=DIFFERENCES if side == 32 else (),
        )
    )  # fmt: skip


register("qcfs_vgg16", vgg16, "VGG-16", 32, 10)
register("qcfs_resnet18", resnet, "ResNet-18", 32, 10, depth=18, width=64)
register("qcfs_resnet20", resnet, "ResNet-20", 32, 10)
register("qcfs_resnet34", resnet, "ResNet-34", 224, 1000, depth=34, width=64, large=True)
