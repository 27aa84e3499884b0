"""The CIFAR-10 nets of the PSN paper: {conv 3, batch norm, PSN} x 3 and average pooling, twice.

Fang et al., "Parallel Spiking Neurons with High Efficiency and Ability to Learn Long-term
Dependencies", NeurIPS 2023. `psn_cifar10` receives an image in every step, `psn_seqcifar` one of
its columns, (3, 32, 1). Larger maps are flattened to one column.
"""

from torch import Tensor, nn

from eventkit.snn import Fold, Halve, neuron

from . import MODELS, Model, Published, Recipe
from ._parts import checked, dense


class OneColumn(nn.Module):
    """(T, N, C, H, W) -> (T, N, C, H W, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(3)[..., None]


def psn(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 256,
    column: bool = False,
    neurons: str = "psn",
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes); `column` convolves along one axis only."""
    checked("psn", width=width)
    kernel, padding = ((3, 1), (1, 0)) if column else ((3, 3), (1, 1))
    channels, *size = in_shape
    layers: list[nn.Module] = []
    if column:
        layers.append(OneColumn())
        size = [size[0] * size[1], 1]
    for _ in range(2):
        for _ in range(3):
            conv = nn.Conv2d(channels, width, kernel, padding=padding, bias=False)
            layers += [Fold(conv, nn.BatchNorm2d(width)), neuron(neurons, T=T)]
            channels = width
        layers.append(Halve("avg"))
        size = list(Halve.size(tuple(size)))
    features = width * size[0] * size[1]
    hidden = max(1, features // 4)
    layers += [nn.Flatten(2), dense("psn", features, hidden, bias=True), neuron(neurons, T=T)]
    return nn.Sequential(*layers, nn.Linear(hidden, num_classes))


CITE = (
    "Fang, Yu, Zhou, Chen, Chen, Ma, Masquelier, Tian: Parallel Spiking Neurons with High "
    "Efficiency and Ability to Learn Long-term Dependencies, NeurIPS 2023"
)
LOG = "authors' training log"


def paper(epochs: int, augment: tuple[str, ...] = (), cutmix: float = 0.0) -> Recipe:
    return Recipe(
        epochs=epochs, batch=128, optimizer="sgd:momentum=0.9", lr=0.1, weight_decay=0.0,
        warmup=0.0, clip=0.0, smoothing=0.1, shift=0.0, augment=augment,
        mixup=0.2, cutmix=cutmix, mix_share=1.0 if cutmix else 0.5,
    )  # fmt: skip


IMAGES = (
    "TrivialAugmentWide, random erasing of 10 % of the images and colour normalisation are omitted"
)
COLUMNS = (
    "the authors apply flip, erasing and cutmix to images before converting them to columns; this "
    "is omitted, so half of the batches are not mixed"
)


MODELS.register(
    Model(
        "psn_cifar10", psn, "PSN net of CIFAR-10: 6 x conv 256", Recipe(lr=1e-3), {"width": 256},
        in_shape=(3, 32, 32), T=4, classes=10, cite=CITE, paper=paper(1024, ("flip",), 1.0),
        differences=(IMAGES,),
        published=(
            Published("CIFAR-10", 95.32, LOG, "best of all test epochs"),
            Published("CIFAR-10", 94.96, LOG, "after the last epoch"),
        ),
    )
)  # fmt: skip
MODELS.register(
    Model(
        "psn_seqcifar", psn, "PSN net of sequential CIFAR, a column a step: 6 x conv 128",
        Recipe(lr=1e-3), {"width": 128, "column": True}, in_shape=(3, 32, 1), T=32, classes=10,
        cite=CITE, paper=paper(256), differences=(IMAGES, COLUMNS),
        published=(
            Published("sequential CIFAR-10", 88.45, LOG, "best of all test epochs"),
            Published("sequential CIFAR-100", 62.21, LOG, "best of all test epochs"),
        ),
    )
)  # fmt: skip
