"""Which parameters are changed, by which rule, and at which rate: a function of what is done."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from eventkit.errors import OptionError
from eventkit.registry import bind, parse_spec, unknown
from eventkit.snn import Neuron

from .lamb import Lamb


@dataclass(frozen=True)
class Now:
    """Where a training is: the share that is done, epochs with their parts, validation losses."""

    done: float
    epoch: float = 0.0
    losses: Sequence[float] = ()


Rate = Callable[[Now], float]


def cosine(now: Now, *, floor: float = 0.0, epochs: int | None = None, hold: bool = False) -> float:
    """From 1 down to `floor` on half a cosine, over the training or over so many epochs.

    After those it rises again, as torch's CosineAnnealingLR does; with `hold` it stays at `floor`,
    as timm's scheduler does in its cooldown.
    """
    phase = now.done if epochs is None else now.epoch / epochs
    phase = min(phase, 1.0) if hold else phase
    return floor + (1 - floor) * (1 + math.cos(math.pi * phase)) / 2


def step(now: Now, *, epochs: int | None = None, factor: float = 0.1) -> float:
    """Times `factor` after so many epochs, without a number after each third of the training."""
    passed = now.done * 3 if epochs is None else now.epoch / epochs
    return float(factor ** int(passed + 1e-9))


def onecycle(now: Now, *, peak: float = 0.3, start: float = 0.04, end: float = 1e-4) -> float:
    """Up from `start` to 1 at the share `peak`, down to `end`, both on half cosines.

    Smith and Topin, Super-convergence, 2018; with the ratios of torch's OneCycleLR. It needs no
    warm-up of its own.
    """
    if now.done < peak:
        return start + (1 - start) * (1 - math.cos(math.pi * now.done / peak)) / 2
    left = (now.done - peak) / max(1e-9, 1 - peak)
    return end + (1 - end) * (1 + math.cos(math.pi * left)) / 2


def plateau(now: Now, *, factor: float = 0.1, patience: int = 10) -> float:
    """Times `factor` when the validation loss was not better for more than `patience` epochs."""
    best, bad, drops = math.inf, 0, 0
    for loss in now.losses:
        best, bad = min(best, loss), 0 if loss < best else bad + 1
        if bad > patience:
            drops, bad = drops + 1, 0
    return float(factor**drops)


def constant(now: Now) -> float:
    """Always 1."""
    return 1.0


SCHEDULES: dict[str, Callable[..., float]] = {
    function.__name__: function for function in (cosine, step, onecycle, plateau, constant)
}


def schedule(spec: str, *, warmup: float = 0.0) -> Rate:
    """The factor of the learning rate; it rises from 0 within the share `warmup`, then follows."""
    name, options = parse_spec(spec)
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    bound = bind(SCHEDULES[name], options, name)
    for key, value in bound.items():
        low = 1 if key == "epochs" else 0
        if value is not None and not low <= value <= (1e9 if key in ("epochs", "patience") else 1):
            raise OptionError(f"{name}: {key} is {value}, which no schedule can follow")
    after = partial(SCHEDULES[name], **bound)
    if name == "onecycle" or not warmup:
        return after
    return partial(_warmed, after=after, warmup=warmup)


def _warmed(now: Now, *, after: Rate, warmup: float) -> float:
    if now.done < warmup:
        return now.done / warmup
    return after(replace(now, done=(now.done - warmup) / max(1e-9, 1 - warmup)))


def sgd(groups: Any, *, momentum: float = 0.9, nesterov: bool = False) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=1.0, momentum=momentum, nesterov=nesterov)


def adam(groups: Any, *, beta1: float = 0.9, beta2: float = 0.999) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=1.0, betas=(beta1, beta2))


def adamw(groups: Any, *, beta1: float = 0.9, beta2: float = 0.999) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=1.0, betas=(beta1, beta2))


def lamb(groups: Any, *, beta1: float = 0.9, beta2: float = 0.999) -> torch.optim.Optimizer:
    return Lamb(groups, betas=(beta1, beta2))


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    function.__name__: function for function in (sgd, adam, adamw, lamb)
}


def optimizer(
    spec: str, net: nn.Module, *, lr: float, decay: float, decay_all: bool = False
) -> torch.optim.Optimizer:
    """The optimizer of a net. Each group's `full` is its learning rate before the schedule."""
    name, options = parse_spec(spec)
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    bound = bind(OPTIMIZERS[name], options, name)
    for key, value in bound.items():
        if not 0 <= value < 1 and value is not True:
            raise OptionError(f"{name}: {key} is {value:g}, expected from 0 to below 1")
    try:
        made = OPTIMIZERS[name](groups(net, lr=lr, decay=decay, decay_all=decay_all), **bound)
    except ValueError as error:
        raise OptionError(f"{name}: {error}") from None
    for group in made.param_groups:
        group["lr"] = group["full"]
    return made


def groups(
    net: nn.Module, *, lr: float, decay: float, decay_all: bool = False
) -> list[dict[str, Any]]:
    """Parameter groups: weight decay on matrices only, not on norms, neurons and biases.

    With `decay_all` these decay too, as torch's optimizers let them; delays never do. A parameter
    with an attribute `lr_scale` is changed at so many times the rate, as delays are.
    """
    plain = {id(p) for module in net.modules() if _is_plain(module) for p in module.parameters()}
    sorted_: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in net.parameters():
        if parameter.requires_grad:
            scale = getattr(parameter, "lr_scale", None)  # of delays, which are no weights
            is_matrix = parameter.ndim > 1 and id(parameter) not in plain
            decays = scale is None and (decay_all or is_matrix)
            key = (lr * (scale or 1.0), decay if decays else 0.0)
            sorted_.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "full": full, "weight_decay": decay}
        for (full, decay), parameters in sorted_.items()
    ]


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is a norm or a neuron, whose parameters are no weights."""
    return isinstance(module, Neuron) or "Norm" in type(module).__name__
