"""Convert a trained network without spikes to a spiking one, without further training.

    net = create("qcfs_resnet20", ...)          # or any network with `qcfs` or `relu` neurons
    average_pooling(net)                        # before training, where there is max pooling
    ...                                         # train
    snn = to_spiking(net, kind="gn", members=8)
    logits = Repeated(snn, steps=2)(frames)     # every frame is shown for two steps

A QCFS activation becomes a soft-reset neuron with threshold theta = lambda that starts from
v = theta / 2 (theta / (2 m) for a group of m members) and outputs its spikes times theta. For a
constant input its mean over T steps equals QCFS with L = T m levels; the inputs of deeper layers
are not constant, so the whole network only approaches it. Bu et al., ICLR 2022 (IF), Lyu et al.,
ICASSP 2024 (group neurons).

A plain ReLU network gets its thresholds from data instead, as a high percentile of each layer's
outputs (`balance`). Rueckauer et al., "Conversion of continuous-valued deep networks to efficient
event-driven networks for image classification", Frontiers in Neuroscience 2017: the baseline.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError

from .layers import Halve
from .neurons import Neuron
from .neurons.activation import QCFS, Activation, ReLU
from .neurons.group import GroupNeuron

Kind = Literal["if", "gn"]
SAMPLE = 100_000  # most outputs of a batch of which a percentile is taken
_MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_PARTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def average_pooling(net: nn.Module) -> nn.Module:
    """`net`, changed in place, with average pooling for max pooling: do this before training.

    The largest of several spikes is not a rate, so `to_spiking` refuses max pooling.
    """
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Halve) and child.how == "max":
                child.how = "avg"
            elif isinstance(child, nn.MaxPool2d):
                setattr(parent, name, _averaged(child))
    return net


def _averaged(pool: nn.MaxPool2d) -> nn.AvgPool2d:
    if pool.dilation not in (1, (1, 1)):
        raise OptionError(f"average pooling has no dilation, found {pool}")
    return nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)


def to_spiking(
    net: nn.Module, kind: Kind = "gn", *, members: int = 1,
    thresholds: Mapping[str, float] | None = None,
) -> nn.Module:  # fmt: skip
    """A copy of `net` in eval mode, in which every activation is a spiking neuron.

    kind="if" gives integrate-and-fire neurons, which are groups of one member; kind="gn" gives
    groups of `members`. `thresholds` by the name of the layer, as `balance` returns them, are
    needed for ReLU and replace those that QCFS learned. Raises OptionError if the network has max
    pooling, no activations, or ends in one: the last layer does not spike.
    """
    if kind not in ("if", "gn") or members < 1 or (kind == "if" and members > 1):
        raise OptionError(
            f"found kind={kind!r} with members={members}, expected 'if' with 1 or 'gn' with at "
            "least 1"
        )
    _check(net)
    snn = copy.deepcopy(net)
    for name, module in list(snn.named_modules()):
        if isinstance(module, Activation):
            threshold = _threshold(name, module, thresholds or {})
            parent, _, own = name.rpartition(".")
            neuron = GroupNeuron(m=members, v_threshold=threshold)
            setattr(snn.get_submodule(parent), own, neuron)
    return snn.eval()


def _check(net: nn.Module) -> None:
    order = [(n, m) for n, m in net.named_modules() if isinstance(m, (Neuron, *_PARTS))]
    if not any(isinstance(module, Activation) for _, module in order):
        raise OptionError(
            "the network has no activation to convert, expected neurons=qcfs or neurons=relu"
        )
    for name, module in net.named_modules():
        pools = isinstance(module, _MAX_POOLS) or (
            isinstance(module, Halve) and module.how == "max"
        )
        if pools:
            raise OptionError(
                f"layer {name} pools by max, which has no counterpart for spikes; train with "
                "average pooling (average_pooling(net) before training, or pool=avg)"
            )
        if isinstance(module, Neuron) and not isinstance(module, Activation):
            raise OptionError(f"layer {name} is {module.name}, expected qcfs or relu")
    if isinstance(order[-1][1], Activation):
        raise OptionError(
            f"the network ends in the activation {order[-1][0]}, expected a layer of weights: the "
            "last layer does not spike"
        )


def _threshold(name: str, module: Activation, thresholds: Mapping[str, float]) -> float:
    if name in thresholds:
        found = float(thresholds[name])
    elif isinstance(module, QCFS):
        found = module.threshold.item()
    else:
        raise OptionError(f"layer {name} is relu, which needs a threshold: see balance")
    if not found > 0:
        raise OptionError(f"the threshold of layer {name} is {found:g}, expected more than 0")
    return found


@torch.no_grad()
def balance(
    net: nn.Module, batches: Iterable[Tensor], *, percentile: float = 99.9
) -> dict[str, float]:
    """Thresholds of the ReLU layers of `net` by name: a percentile of their outputs.

    `batches` are frames (T, N, C, H, W) of training samples. The largest percentile of all batches
    counts; of a batch, at most 100,000 evenly spaced outputs of a layer. 100 is the maximum.
    """
    if not 0 < percentile <= 100:
        raise OptionError(f"percentile is {percentile}, expected above 0 and at most 100")
    found: dict[str, float] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, out: Tensor) -> None:
            values = out.flatten().float()
            if percentile == 100:
                top = float(values.max())
            else:
                values = values[:: -(-values.numel() // SAMPLE)]
                top = float(values.quantile(percentile / 100))
            found[name] = max(found.get(name, 0.0), top)

        return hook

    layers = [(name, m) for name, m in net.named_modules() if isinstance(m, ReLU)]
    hooks = [module.register_forward_hook(watch(name)) for name, module in layers]
    training = net.training
    try:
        net.eval()
        for frames in batches:
            net(frames)
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    if silent := [name for name, _ in layers if not found.get(name)]:
        raise OptionError(
            f"layer {silent[0]} has no output above 0 at this percentile, so it has no threshold"
        )
    return found


class Repeated(nn.Module):
    """A converted network that is shown each frame for `steps` steps, starting from rest.

    (T, N, C, H, W) -> (T, N, classes), the mean over the steps: what the network without spikes
    outputs for the frame, as closely as so many steps can represent it.
    """

    def __init__(self, net: nn.Module, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise OptionError(f"steps is {steps}, expected at least 1")
        self.net = net
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        each = x.flatten(0, 1)
        y: Tensor = self.net(each.expand(self.steps, *each.shape)).mean(0)
        return y.reshape(*x.shape[:2], *y.shape[1:])

    def extra_repr(self) -> str:
        return f"steps={self.steps}"
