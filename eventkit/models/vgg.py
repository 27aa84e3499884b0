"""Spiking VGG nets: VGGSNN, used by TET, TEBN and the sliding PSN, and the VGG-11 of NDA.

Deng et al., "Temporal Efficient Training of Spiking Neural Network via Gradient Re-weighting",
ICLR 2022; Duan et al., TEBN, NeurIPS 2022; Fang et al., "Parallel Spiking Neurons", NeurIPS 2023;
Li et al., "Neuromorphic Data Augmentation for Training Spiking Neural Networks", ECCV 2022.
"""

from typing import Literal

from torch import nn

from eventkit.snn import Dropout, Fold, Halve, TDBN2d, TEBN2d, neuron

from . import MODELS, Model, Published, Recipe
from ._parts import checked, dense, start_convolutions

Norm = Literal["bn", "tdbn", "tebn"]
POOL = 0
VGGSNN = (1, 2, POOL, 4, 4, POOL, 8, 8, POOL, 8, 8, POOL)  # channels in units of the width
VGG11 = (1, POOL, 2, POOL, 4, 4, POOL, 8, 8, 8, 8)
# u = u / 2 + x, a hard reset that passes gradients, and a triangular surrogate gradient.
TET_LIF = "lif:tau=2,decay_input=false,detach_reset=false,surrogate=triangle"
# u = u / 4 + x, threshold 1/2, and a rectangular surrogate gradient.
NDA_LIF = (
    "lif:tau=1.3333333333333333,decay_input=false,v_threshold=0.5,detach_reset=false,"
    "surrogate=boxcar:height=1"
)


def body(
    channels: int, plan: tuple[int, ...], width: int, neurons: str, norm: Norm, T: int | None
) -> list[nn.Module]:
    """The layers {conv 3x3 with bias, norm, neuron} and average pooling, in the order of `plan`."""
    layers: list[nn.Module] = []
    for times in plan:
        if times == POOL:
            layers.append(Halve("avg"))
            continue
        conv, spiking = nn.Conv2d(channels, times * width, 3, padding=1), neuron(neurons, T=T)
        channels = times * width
        threshold = getattr(spiking, "v_threshold", 1.0)
        if norm == "tebn":
            layers += [Fold(conv), TEBN2d(channels, T=T or 1)]
        elif norm == "tdbn":
            layers.append(Fold(conv, TDBN2d(channels, v_threshold=threshold)))
        else:
            layers.append(Fold(conv, nn.BatchNorm2d(channels)))
        layers.append(spiking)
    start_convolutions(nn.ModuleList(layers))
    return layers


def vggsnn(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 64,
    neurons: str = "lif",
    norm: Norm = "bn",
    dropout: float = 0.0,
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes): eight convolutions, `width` to 8 `width` channels.

    neurons=lif is the LIF of the TET paper; sliding_psn and psn are as published, with k = 2; any
    other neuron spec is accepted. The sliding PSN was trained with a dropout of 0.25.
    """
    checked("vggsnn", width=width, dropout=dropout)
    neurons = TET_LIF if neurons == "lif" else neurons
    layers = body(in_shape[0], VGGSNN, width, neurons, norm, T)
    size = in_shape[1:]
    for _ in range(VGGSNN.count(POOL)):
        size = Halve.size(size)
    features = 8 * width * size[0] * size[1]
    layers += [nn.Flatten(2), Dropout(dropout)]
    layers.append(dense("vggsnn", features, num_classes, bias=True))
    return nn.Sequential(*layers)


def vgg11(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 64,
    neurons: str = "lif",
    norm: Norm = "tdbn",
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes): eight convolutions and a mean over the last map.

    neurons=lif is the LIF of the NDA paper, with a threshold of 1/2.
    """
    checked("vgg11", width=width)
    neurons = NDA_LIF if neurons == "lif" else neurons
    layers = body(in_shape[0], VGG11, width, neurons, norm, T)
    layers += [Fold(nn.AdaptiveAvgPool2d(1)), nn.Flatten(2), nn.Linear(8 * width, num_classes)]
    return nn.Sequential(*layers)


PSN = (
    "recipe and accuracies are from the PSN paper; use "
    "vggsnn:neurons=sliding_psn,dropout=0.25 for them. With neurons=lif, the TET paper uses Adam"
)
NDA = (
    "nda also includes flip and cutout, and shear of up to 0.3; the authors' code applies roll, "
    "rotation or shear of up to 30 degrees"
)
LOG = "authors' training log"
MODELS.register(
    Model(
        "vggsnn", vggsnn, "VGGSNN of CIFAR10-DVS, with any neurons and norm",
        Recipe(lr=1e-3), in_shape=(2, 48, 48), T=10, classes=10,
        cite=(
            "Deng, Li, Zhang, Gu: Temporal Efficient Training of Spiking Neural Network via "
            "Gradient Re-weighting, ICLR 2022"
        ),
        paper=Recipe(
            epochs=200, batch=32, optimizer="sgd:momentum=0.9", lr=0.1, weight_decay=5e-4,
            decay_all=True, warmup=0.0, clip=0.0, loss="tet:weight=0.001", shift=0.0,
            augment=("shift:share=0.084", "flip"),  # four of 48 pixels
        ),
        differences=(PSN, "dropout draws one mask for all steps; in the PSN paper one per step"),
        published=(
            Published("CIFAR10-DVS", 85.90, LOG, "neurons=sliding_psn, best of all test epochs"),
            Published("CIFAR10-DVS", 85.50, LOG, "neurons=sliding_psn, after the last epoch"),
        ),
    )
)  # fmt: skip
MODELS.register(
    Model(
        "spiking_vgg11", vgg11, "VGG-11 of the NDA paper", Recipe(lr=1e-3),
        in_shape=(2, 48, 48), T=10, classes=10,
        cite=(
            "Li, Kim, Park, Geller, Panda: Neuromorphic Data Augmentation for Training Spiking "
            "Neural Networks, ECCV 2022"
        ),
        paper=Recipe(
            epochs=200, batch=256, optimizer="adam", lr=1e-3, weight_decay=1e-4, decay_all=True,
            warmup=0.0, clip=0.0, shift=0.0, augment=("nda",),
        ),
        differences=(NDA,),
    )
)  # fmt: skip
