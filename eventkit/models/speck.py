"""A net for Speck, the sensor with a spiking convolutional processor: IF neurons and sum pooling.

Each of its nine cores computes {convolution, IF with soft reset, sum-pool}. Maps have at most 64 x
64 pixels, and the neurons and kernels of a layer, rounded up to powers of two, must fit into one
core. The net has four blocks of `width` to 4 `width` channels and a linear layer, without biases or
norms.
"""

import math

from torch import nn

from eventkit.snn import Fold, Halve, SumPool2d, neuron

from . import MODELS, Model, Recipe
from ._parts import checked, dense

LARGEST_INPUT, LARGEST_MAP = 128, 64


def speck(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 16,
    neurons: str = "if:v_reset=none",
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes), the output spikes of the classes.

    Samples larger than 128 x 128, the maximum of the chip, are sum-pooled first.
    """
    checked("speck_cnn", width=width)
    channels, *size = in_shape
    layers: list[nn.Module] = []
    pool = math.ceil(max(size) / LARGEST_INPUT)
    if pool > 1:
        layers.append(SumPool2d(pool))
        size = [math.ceil(side / pool) for side in size]
    for times in (1, 2, 4, 4):
        stride = 2 if max(size) > LARGEST_MAP else 1
        conv = nn.Conv2d(channels, times * width, 3, stride, padding=1, bias=False)
        channels = times * width
        size = [math.ceil(side / stride) for side in size]
        layers += [Fold(conv), neuron(neurons, T=T), Halve("sum")]
        size = list(Halve.size(tuple(size)))
    layers.append(nn.Flatten(2))
    layers.append(dense("speck_cnn", channels * size[0] * size[1], num_classes, bias=False))
    for layer in nn.ModuleList(layers).modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(*layers, neuron(neurons, T=T))


MODELS.register(
    Model(
        "speck_cnn", speck, "for the Speck chip: 4 x conv 16 to 64, IF, sum-pool, no bias",
        Recipe(lr=1e-3, weight_decay=0.01), in_shape=(2, 128, 128),
        cite="this project, within the limits that SynSense publishes with sinabs",
    )
)  # fmt: skip
