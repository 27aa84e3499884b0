"""Small convolutional nets for two CPU cores, after the nets of the PLIF paper.

Four blocks {conv 3x3, batch norm, neuron, max-pool 2}, a fully connected layer of neurons, and a
linear read-out with ten voters per class, whose mean current is the output. Fang et al.,
"Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks",
ICCV 2021, with fewer channels, smaller maps, and voters that are not neurons themselves.
"""

import math
from typing import Literal

from torch import nn

from eventkit.errors import OptionError
from eventkit.snn import Dropout, Fold, Halve, SumPool2d, Voting, neuron

from . import MODELS, Model, Recipe

BLOCKS = 4
SMALLEST = 4  # maps are halved while their shorter side is larger


def csnn(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 32,
    neurons: str = "plif",
    dropout: float = 0.2,
    voters: int = 10,
    limit: int = 64,
    pool: Literal["max", "avg", "sum"] = "max",
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes), the outputs of each step.

    Samples larger than `limit` x `limit` are sum-pooled to at most that size (0: never). Smaller
    samples pass through all four blocks but are pooled less often, so that a few pixels remain.
    `pool` is the kind of pooling between blocks; NIR supports avg and sum.
    """
    if width < 1 or voters < 1 or limit < 0 or not 0 <= dropout < 1:
        raise OptionError(
            f"csnn: found width={width}, voters={voters}, limit={limit}, dropout={dropout}, "
            "expected width and voters of at least 1, limit of at least 0, dropout in [0, 1)"
        )
    channels, *size = in_shape
    layers: list[nn.Module] = []
    first_pool = math.ceil(max(size) / limit) if limit else 1
    if first_pool > 1:
        layers.append(SumPool2d(first_pool))
        size = [math.ceil(side / first_pool) for side in size]
    for _ in range(BLOCKS):
        conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        layers += [Fold(conv, nn.BatchNorm2d(width)), neuron(neurons, T=T)]
        if min(size) > SMALLEST:
            layers.append(Halve(pool))
            size = [side // 2 for side in size]
        channels = width
    features = width * size[0] * size[1]
    hidden = max(1, features // 4)
    first = nn.Linear(features, hidden, bias=False)
    second = nn.Linear(hidden, voters * num_classes, bias=False)
    for linear in (first, second):
        # Wider than torch's default, with which sparse spikes never reach the threshold.
        nn.init.normal_(linear.weight, std=2 / math.sqrt(linear.in_features))
    layers += [nn.Flatten(2), Dropout(dropout), first, neuron(neurons, T=T)]
    layers += [Dropout(dropout), second, Voting(voters)]
    return nn.Sequential(*layers)


CITE = "this project, after Fang et al., ICCV 2021"

MODELS.register(
    Model("csnn_tiny", csnn, "4 x conv 32, for two CPU cores", Recipe(), {"width": 32}, cite=CITE)
)
MODELS.register(Model("csnn_small", csnn, "4 x conv 64", Recipe(), {"width": 64}, cite=CITE))
