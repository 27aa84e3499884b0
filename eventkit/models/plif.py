"""The nets of the PLIF paper: blocks {conv 3x3, batch norm, PLIF, max-pool 2}, two spiking layers.

The second spiking layer has ten neurons per class, whose mean rate is the output. Fang et al.,
"Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks",
ICCV 2021. No weight has a bias, and dropout draws one mask for a whole sequence.
"""

from typing import Literal

from torch import nn

from eventkit.snn import Dropout, Fold, Halve, Voting, neuron

from . import MODELS, Model, Published, Recipe
from ._parts import checked, dense


def plif(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 128,
    blocks: int = 5,
    hidden: int | None = None,
    neurons: str = "plif",
    dropout: float = 0.5,
    voters: int = 10,
    pool: Literal["max", "avg"] = "max",
    bias: bool = False,
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes), the fraction of each class's neurons that fire.

    `hidden` is the width of the first fully connected layer (default: a quarter of its inputs). A
    side is halved only if it has at least two pixels. `bias` adds biases to the linear layers, as
    in SpikingJelly's version of the nets.
    """
    checked("plif", width=width, blocks=blocks, voters=voters, dropout=dropout)
    channels, *size = in_shape
    layers: list[nn.Module] = []
    for _ in range(blocks):
        conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        layers += [Fold(conv, nn.BatchNorm2d(width)), neuron(neurons, T=T), Halve(pool)]
        channels, size = width, [*Halve.size(tuple(size))]
    features = width * size[0] * size[1]
    hidden = hidden or max(1, features // 4)
    layers += [nn.Flatten(2), Dropout(dropout), dense("plif", features, hidden, bias=bias)]
    layers += [neuron(neurons, T=T), Dropout(dropout)]
    layers += [
        nn.Linear(hidden, voters * num_classes, bias=bias),
        neuron(neurons, T=T),
        Voting(voters),
    ]
    return nn.Sequential(*layers)


CITE = (
    "Fang, Yu, Chen, Masquelier, Huang, Tian: Incorporating Learnable Membrane Time Constant to "
    "Enhance Learning of Spiking Neural Networks, ICCV 2021"
)
PAPER = Recipe(
    epochs=1024, batch=16, optimizer="adam", lr=1e-3, weight_decay=0.0, warmup=0.0, clip=0.0,
    schedule="cosine:epochs=64", loss="rate_mse", shift=0.0,
)  # fmt: skip
STEPS = (
    "in training, batch norm statistics are computed over all time steps; the authors' nets run "
    "step by step and use the statistics of one step"
)
README = "authors' README"
TEST, SPLIT = "best of all test epochs", "best on a validation split, then tested once"

MODELS.register(
    Model(
        "plif_dvsgesture", plif, "PLIF net of DVS128 Gesture: 5 x conv 128", Recipe(lr=1e-3),
        {"blocks": 5}, in_shape=(2, 128, 128), T=20, classes=11, cite=CITE, paper=PAPER,
        differences=(STEPS,),
        published=(
            Published("DVS128 Gesture", 97.57, README, TEST),
            Published("DVS128 Gesture", 96.53, README, SPLIT),
        ),
    )
)  # fmt: skip
MODELS.register(
    Model(
        "plif_cifar10dvs", plif, "PLIF net of CIFAR10-DVS: 4 x conv 128", Recipe(lr=1e-3),
        {"blocks": 4}, in_shape=(2, 128, 128), T=20, classes=10, cite=CITE, paper=PAPER,
        differences=(STEPS,),
        published=(
            Published("CIFAR10-DVS", 74.80, README, TEST),
            Published("CIFAR10-DVS", 69.00, README, SPLIT),
        ),
    )
)  # fmt: skip
MODELS.register(
    Model(
        "plif_nmnist", plif, "PLIF net of N-MNIST: 2 x conv 128", Recipe(lr=1e-3),
        {"blocks": 2}, in_shape=(2, 34, 34), T=10, classes=10, cite=CITE, paper=PAPER,
        differences=(STEPS,),
        published=(
            Published("N-MNIST", 99.61, README, TEST),
            Published("N-MNIST", 99.57, README, SPLIT),
        ),
    )
)  # fmt: skip
