"""Networks of layers for event-driven backpropagation, which end in spikes.

Zhu, Yu, Fang, Xie, Huang, Masquelier: "Training Spiking Neural Networks with Event-driven
Backpropagation", NeurIPS 2022. Train them with a loss whose gradient is that of spike times.
"""

from torch import nn

from eventkit.snn.event_driven import EventConv2d, EventLinear, EventPool2d, Taus

from . import MODELS, Model, Recipe
from ._parts import checked


def cnn(
    num_classes: int,
    in_shape: tuple[int, ...],
    *,
    width: int = 12,
    hidden: int = 64,
    tau_m: float = 8.0,
    tau_s: float = 4.0,
    tau_g: float = 3.0,
) -> nn.Module:
    """A net (T, N, C, H, W) -> spikes (T, N, classes): two convolutions 5 x 5, each pooled, linear.

    `width` and `hidden` are the channels of the convolutions; the time constants are in steps.
    """
    checked("edbp_cnn", width=width, hidden=hidden)
    taus = Taus(tau_m, tau_s, tau_g)
    sides = in_shape[1:]
    for _ in range(2):
        sides = tuple(max(1, side // 2) for side in sides)
    return nn.Sequential(
        EventConv2d(in_shape[0], width, 5, taus=taus),
        EventPool2d(),
        EventConv2d(width, hidden, 5, taus=taus),
        EventPool2d(),
        nn.Flatten(2),
        EventLinear(hidden * sides[0] * sides[1], num_classes, taus=taus),
    )


DIFFERENCE = (
    "the label's neuron is not forced to fire, and the answer is the number of spikes, not a sum "
    "that weights early spikes more"
)
MODELS.register(
    Model(
        "edbp_cnn", cnn, "12c5 - P2 - 64c5 - P2 of event-driven layers, for N-MNIST",
        Recipe(lr=5e-4, weight_decay=0.0, loss="count:gradient=times,desired=5"),
        in_shape=(2, 34, 34), T=30, classes=10,
        cite=(
            "Zhu, Yu, Fang, Xie, Huang, Masquelier: Training Spiking Neural Networks with "
            "Event-driven Backpropagation, NeurIPS 2022"
        ),
        paper=Recipe(
            epochs=120, batch=50, optimizer="adamw", lr=5e-4, weight_decay=0.0, warmup=0.0,
            loss="count:gradient=times", shift=0.0,
        ),
        differences=(DIFFERENCE,),
    )
)  # fmt: skip
