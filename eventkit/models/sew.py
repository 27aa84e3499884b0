"""SEW nets for event data: 7B-Net and Wide-7B-Net, residual blocks each followed by max-pool 2.

Fang et al., "Deep Residual Learning in Spiking Neural Networks", NeurIPS 2021. The stem is a 1 x 1
convolution, as in the authors' code.
"""

from torch import nn

from eventkit.errors import OptionError
from eventkit.snn import SEW, Connect, Halve, conv_norm, neuron, start_as_identity

from . import MODELS, Model, Published, Recipe
from ._parts import checked, dense


def block(
    width: int, connect: Connect, neurons: str, *, zero_init: bool, T: int | None
) -> nn.Module:
    """g(A(x), x) with A of two {conv 3x3, batch norm, neuron}."""
    first, second = conv_norm(width, width), conv_norm(width, width)
    last = neuron(neurons, T=T)
    if zero_init:
        start_as_identity(second[1], last, connect)  # type: ignore[arg-type]
    return SEW(nn.Sequential(first, neuron(neurons, T=T), second, last), connect=connect)


def sew(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 32,
    narrow: int = 7,
    wide: int = 0,
    connect: Connect = "add",
    neurons: str = "plif",
    zero_init: bool = True,
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes).

    `narrow` blocks with `width` channels are followed by `wide` blocks with twice as many. A side
    is halved only if it has at least two pixels. `zero_init` initialises every block as the
    identity.
    """
    checked("sew", width=width, blocks=narrow + wide)
    if min(narrow, wide) < 0:
        raise OptionError(f"sew: found narrow={narrow}, wide={wide}, expected no negative numbers")
    layers: list[nn.Module] = []
    channels, size = in_shape[0], in_shape[1:]
    for channels_out, blocks in ((width, narrow), (2 * width, wide)):
        if blocks:
            layers += [conv_norm(channels, channels_out, 1), neuron(neurons, T=T)]
            channels = channels_out
        for _ in range(blocks):
            layers.append(block(channels, connect, neurons, zero_init=zero_init, T=T))
            layers.append(Halve())
            size = Halve.size(size)
    features = channels * size[0] * size[1]
    layers += [nn.Flatten(2), dense("sew", features, num_classes, bias=True)]
    return nn.Sequential(*layers)


CITE = (
    "Fang, Yu, Chen, Huang, Masquelier, Tian: Deep Residual Learning in Spiking Neural Networks, "
    "NeurIPS 2021"
)
LOG = "authors' training log"
GESTURE = Recipe(
    epochs=192, batch=16, optimizer="sgd:momentum=0.9", lr=1e-3, weight_decay=0.0, warmup=0.0,
    clip=0.0, schedule="step:epochs=64,factor=0.1", shift=0.0,
    augment=("temporal_delete:keep=12",),
)  # fmt: skip
CIFAR = Recipe(
    epochs=64, batch=16, optimizer="sgd:momentum=0.9", lr=1e-2, weight_decay=0.0, warmup=0.0,
    clip=0.0, schedule="cosine:epochs=64", shift=0.0,
)  # fmt: skip

MODELS.register(
    Model(
        "sew7b_dvsgesture", sew, "SEW 7B-Net of DVS128 Gesture: 7 residual blocks of 32", Recipe(),
        {"width": 32, "narrow": 7, "wide": 0}, in_shape=(2, 128, 128), T=16, classes=11,
        cite=CITE, paper=GESTURE,
        differences=(
            "temporal_delete draws the frames for each sample; the authors draw once per batch",
        ),
        published=(
            Published("DVS128 Gesture", 97.92, LOG, "best of all test epochs, with add"),
            Published("DVS128 Gesture", 96.88, LOG, "after the last epoch, with add"),
        ),
    )
)  # fmt: skip
MODELS.register(
    Model(
        "wide7b_cifar10dvs", sew, "SEW Wide-7B-Net of CIFAR10-DVS: 4 blocks of 64, 3 of 128",
        Recipe(), {"width": 64, "narrow": 4, "wide": 3, "zero_init": False},
        in_shape=(2, 128, 128), T=16, classes=10, cite=CITE, paper=CIFAR,
        published=(
            Published("CIFAR10-DVS", 74.40, LOG, "best of all test epochs"),
            Published("CIFAR10-DVS", 72.80, LOG, "after the last epoch"),
        ),
    )
)  # fmt: skip
