"""Nets for one-dimensional sensors, e.g. for Spiking Heidelberg Digits (SHD): (T, N, C, 1, 700).

Polarities are summed (a cochlea has none), and so are `group` neighbouring channels of the 700 (0
to 4, 5 to 9, ...). Layers {linear, batch norm, neurons, dropout} follow, and a read-out whose leaky
membranes are the outputs. Published recipes sum the softmax of these membranes over the steps.

    shd_lif      LIF, our baseline
    shd_radlif   adaptive LIF with recurrent weights; Bittar and Garner 2022
    shd_seadlif  adaptive LIF in symplectic Euler steps, recurrent, no norm; Baronig et al. 2024
    shd_silif    state-space inspired LIF, shd_csilif complex; Fabre et al. 2025
    shd_dcls     LIF with a learned delay for every connection; Hammouamri et al. 2024
"""

import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from eventkit.snn import DelayedLinear, Dropout, Fold, LeakyIntegrator, Recurrent, neuron

from . import MODELS, Model, Published, Recipe
from ._parts import checked, dense

READ_OUT = math.exp(-1 / 5), math.exp(-1 / 25)  # bounds of the learned decays of the read-out
MOMENTUM = 0.05  # of batch norms, as in the code of all three groups that use them


class Channels(nn.Module):
    """Sums over polarities and `group` neighbours: (T, N, C, H, W) -> (T, N, ceil(H W / group))."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        y = x.sum(2).flatten(2)
        y = functional.pad(y, (0, -y.shape[-1] % self.group))
        return y.reshape(*y.shape[:2], -1, self.group).sum(-1)

    def extra_repr(self) -> str:
        return f"group={self.group}"


def inputs(in_shape: tuple[int, ...], group: int) -> int:
    """The number of output channels of `Channels`."""
    return math.ceil(in_shape[1] * in_shape[2] / group)


def shd(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 256,
    layers: int = 2,
    group: int = 5,
    neurons: str = "lif:tau=10,decay_input=false",
    dropout: float = 0.1,
    recurrent: bool = False,
    self_connections: bool = False,
    norm: bool = True,
    tau_out: float | None = None,
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes), the membranes of the read-out.

    Dropout draws a new mask for every step, as in the authors' code of all except DCLS. Without
    `norm`, linear layers have biases. `tau_out` is the time constant of the read-out in steps
    (default: learned, one per class).
    """
    checked("shd", width=width, layers=layers, group=group, dropout=dropout)

    def linear(channels: int, outputs: int) -> nn.Module:
        layer = dense("shd", channels, outputs, bias=not norm)
        return Fold(layer, nn.BatchNorm1d(outputs, momentum=MOMENTUM)) if norm else layer

    channels = inputs(in_shape, group)
    net: list[nn.Module] = [Channels(group)]
    for _ in range(layers):
        firing = neuron(neurons, T=T, features=width)
        if recurrent:
            firing = Recurrent(firing, width, self_connections=self_connections)
        net += [linear(channels, width), firing, nn.Dropout(dropout)]
        channels = width
    low, high = READ_OUT if tau_out is None else 2 * (math.exp(-1 / tau_out),)
    net += [linear(channels, num_classes), LeakyIntegrator(num_classes, low=low, high=high)]
    return nn.Sequential(*net)


DCLS_LIF = "lif:tau=1.005,decay_input=false,surrogate=atan:alpha=5"


def dcls(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 256,
    layers: int = 2,
    group: int = 5,
    D: int = 25,
    tail: bool = False,
    neurons: str = DCLS_LIF,
    dropout: float = 0.4,
    T: int | None = None,
) -> nn.Module:
    """A net (T, N, C, H, W) -> (T, N, classes), the membranes of the read-out.

    Delays are shorter than `D` steps. `tail` keeps the steps after the last input, as published:
    the output is then (layers + 1) (D - 1) / 2 steps longer than the sample.
    """
    checked("shd_dcls", width=width, layers=layers, group=group, dropout=dropout)
    channels = inputs(in_shape, group)
    net: list[nn.Module] = [Channels(group)]
    for _ in range(layers):
        net.append(DelayedLinear(channels, width, D=D, tail=tail))
        net += [Fold(nn.BatchNorm1d(width)), neuron(neurons, T=T), Dropout(dropout)]
        channels = width
    decay = 1 - 1 / 1.005
    net.append(DelayedLinear(channels, num_classes, D=D, tail=tail))
    net.append(LeakyIntegrator(num_classes, low=decay, high=decay, scale=False))
    return nn.Sequential(*net)


SHD, README = "Spiking Heidelberg Digits", "authors' README"


def _entry(
    name: str,
    about: str,
    options: dict[str, object],
    *,
    T: int,
    cite: str,
    build: Callable[..., nn.Module] = shd,
    paper: Recipe | None = None,
    published: tuple[Published, ...] = (),
    differences: tuple[str, ...] = (),
) -> None:
    recipe = Recipe(batch=64, lr=5e-3, weight_decay=1e-4, shift=0.0, loss="softmax_sum")
    MODELS.register(
        Model(
            name, build, about, recipe, options, in_shape=(1, 1, 700), T=T, classes=20, cite=cite,
            paper=paper, published=published, differences=differences,
        )
    )  # fmt: skip


def _paper(**settings: object) -> Recipe:
    known: dict[str, object] = {
        "batch": 128, "optimizer": "adam", "weight_decay": 0.0, "warmup": 0.0, "clip": 0.0,
        "shift": 0.0, "loss": "softmax_sum",
    }  # fmt: skip
    return Recipe(**{**known, **settings})  # type: ignore[arg-type]


PLATEAU = (
    "plateau monitors the validation loss; the authors monitor the validation accuracy",
    "neurons start at rest; in the authors' code they start from random states, also in testing",
)

_entry("shd_lif", "plain LIF, 2 x 256", {}, T=100, cite="this project")
_entry(
    "shd_radlif", "RadLIF: adaptive and recurrent, 2 x 1024",
    {"width": 1024, "group": 1, "neurons": "adlif", "recurrent": True}, T=100,
    cite=(
        "Bittar, Garner: A surrogate gradient spiking baseline for speech command recognition, "
        "Frontiers in Neuroscience 2022"
    ),
    paper=_paper(lr=1e-2, schedule="plateau:factor=0.7,patience=1"), differences=PLATEAU,
    published=(Published(SHD, 94.62, README, "best of all test epochs"),),
)  # fmt: skip
_entry(
    "shd_seadlif", "SE-adLIF: adaptive in symplectic Euler steps, recurrent, 2 x 360",
    {
        "width": 360, "neurons": "seadlif", "recurrent": True, "self_connections": True,
        "norm": False, "dropout": 0.15, "tau_out": 15.0,
    },
    T=250,
    cite=(
        "Baronig, Ferrand, Sabathiel, Legenstein: Advancing spatio-temporal processing through "
        "adaptation in spiking neural networks, 2024"
    ),
    paper=_paper(epochs=300, batch=256, lr=1e-2, schedule="constant"),
    published=(Published(SHD, 95.81, README, "epoch chosen on the test set"),),
)  # fmt: skip
FABRE = (
    "Fabre, Dudchenko, Neftci: SiLIF: Structured State Space Model Dynamics and Parametrization "
    "for Spiking Neural Networks, 2025"
)
_entry(
    "shd_silif", "SiLIF: state-space inspired, 2 x 512",
    {"width": 512, "neurons": "silif", "dropout": 0.25}, T=250, cite=FABRE,
    paper=_paper(epochs=100, lr=1e-3, schedule="plateau:factor=0.7,patience=5"),
    differences=PLATEAU,
)  # fmt: skip
_entry(
    "shd_csilif", "C-SiLIF: state-space inspired with complex membranes, 2 x 512",
    {"width": 512, "neurons": "csilif"}, T=250, cite=FABRE,
    paper=_paper(epochs=100, lr=5e-3, schedule="plateau:factor=0.9,patience=10"),
    differences=PLATEAU,
    published=(
        Published(SHD, 95.55, README, "mean of several seeds, ± 0.28"),
        Published(SHD, 95.06, README, "width=128, mean of several seeds, ± 0.37"),
    ),
)  # fmt: skip
_entry(
    "shd_dcls", "learned delays (DCLS), LIF, 2 x 256", {}, T=100, build=dcls,
    cite=(
        "Hammouamri, Khalfaoui-Hassani, Masquelier: Learning Delays in Spiking Neural Networks "
        "using Dilated Convolutions with Learnable Spacings, ICLR 2024"
    ),
    paper=_paper(
        epochs=150, batch=256, lr=5e-3, weight_decay=1e-5, schedule="onecycle",
        loss="softmax_sum:log=false",
    ),
    differences=(
        "delays follow onecycle, like the weights; the authors use a cosine schedule for them",
        "steps after the last input are dropped; the authors keep them (tail=true)",
    ),
    published=(Published(SHD, 95.07, README),),
)  # fmt: skip
