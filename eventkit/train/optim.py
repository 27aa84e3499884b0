"""Optimizers, learning rates as functions of what is done, and moving averages of weights."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.registry import BelowOne, Registry
from eventkit.snn import Neuron


@dataclass(frozen=True)
class Now:
    """Where a training is: the share that is done, epochs with their parts, validation losses."""

    done: float
    epoch: float = 0.0
    losses: Sequence[float] = ()


Rate = Callable[[Now], float]
SCHEDULES: Registry[Callable[..., float]] = Registry("schedule", __name__)
OPTIMIZERS: Registry[Callable[..., torch.optim.Optimizer]] = Registry("optimizer", __name__)


@SCHEDULES.register
def cosine(now: Now, *, floor: float = 0.0, epochs: int | None = None, hold: bool = False) -> float:
    """From 1 down to `floor` on half a cosine, over the training or over so many epochs.

    After those it rises again, as torch's CosineAnnealingLR does; with `hold` it stays at `floor`,
    as timm's scheduler does in its cooldown.
    """
    phase = now.done if epochs is None else now.epoch / epochs
    phase = min(phase, 1.0) if hold else phase
    return floor + (1 - floor) * (1 + math.cos(math.pi * phase)) / 2


@SCHEDULES.register
def step(now: Now, *, epochs: int | None = None, factor: float = 0.1) -> float:
    """Times `factor` after so many epochs, without a number after each third of the training."""
    passed = now.done * 3 if epochs is None else now.epoch / epochs
    return float(factor ** int(passed + 1e-9))


@SCHEDULES.register
def onecycle(now: Now, *, peak: float = 0.3, start: float = 0.04, end: float = 1e-4) -> float:
    """Up from `start` to 1 at the share `peak`, down to `end`, both on half cosines.

    Smith and Topin, Super-convergence, 2018; with the ratios of torch's OneCycleLR. It needs no
    warm-up of its own.
    """
    if now.done < peak:
        return start + (1 - start) * (1 - math.cos(math.pi * now.done / peak)) / 2
    left = (now.done - peak) / max(1e-9, 1 - peak)
    return end + (1 - end) * (1 + math.cos(math.pi * left)) / 2


@SCHEDULES.register
def plateau(now: Now, *, factor: float = 0.1, patience: int = 10) -> float:
    """Times `factor` when the validation loss was not better for more than `patience` epochs."""
    best, bad, drops = math.inf, 0, 0
    for loss in now.losses:
        best, bad = min(best, loss), 0 if loss < best else bad + 1
        if bad > patience:
            drops, bad = drops + 1, 0
    return float(factor**drops)


@SCHEDULES.register
def constant(now: Now) -> float:
    """Always 1."""
    return 1.0


def schedule(spec: str, *, warmup: float = 0.0) -> Rate:
    """The factor of the learning rate; it rises from 0 within the share `warmup`, then follows."""
    function, bound = SCHEDULES.parse(spec)
    for key, value in bound.items():
        low = 1 if key == "epochs" else 0
        if value is not None and not low <= value <= (1e9 if key in ("epochs", "patience") else 1):
            raise OptionError(f"{spec}: {key} is {value}, which no schedule can follow")
    after = partial(function, **bound)
    if function is onecycle or not warmup:
        return after
    return partial(_warmed, after=after, warmup=warmup)


def _warmed(now: Now, *, after: Rate, warmup: float) -> float:
    if now.done < warmup:
        return now.done / warmup
    return after(replace(now, done=(now.done - warmup) / max(1e-9, 1 - warmup)))


@OPTIMIZERS.register
def sgd(groups: Any, *, momentum: BelowOne = 0.9, nesterov: bool = False) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum."""
    return torch.optim.SGD(groups, lr=1.0, momentum=momentum, nesterov=nesterov)


@OPTIMIZERS.register
def adam(groups: Any, *, beta1: BelowOne = 0.9, beta2: BelowOne = 0.999) -> torch.optim.Optimizer:
    """Adam, with weight decay as a part of the gradient."""
    return torch.optim.Adam(groups, lr=1.0, betas=(beta1, beta2))


@OPTIMIZERS.register
def adamw(groups: Any, *, beta1: BelowOne = 0.9, beta2: BelowOne = 0.999) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay."""
    return torch.optim.AdamW(groups, lr=1.0, betas=(beta1, beta2))


@OPTIMIZERS.register
def lamb(groups: Any, *, beta1: BelowOne = 0.9, beta2: BelowOne = 0.999) -> torch.optim.Optimizer:
    """LAMB: see `Lamb`."""
    return Lamb(groups, betas=(beta1, beta2))


def optimizer(
    spec: str, net: nn.Module, *, lr: float, decay: float, decay_all: bool = False
) -> torch.optim.Optimizer:
    """The optimizer of a net. Each group's `full` is its learning rate before the schedule."""
    function, options = OPTIMIZERS.parse(spec)
    try:
        made = function(groups(net, lr=lr, decay=decay, decay_all=decay_all), **options)
    except ValueError as error:
        raise OptionError(f"{spec.partition(':')[0]}: {error}") from None
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


class Lamb(torch.optim.Optimizer):
    """Adam whose step for a tensor is as long as the tensor itself, times the rate.

    r = m / (sqrt(v) + eps) + decay w, both moments without bias; w -= lr |w|/|r| r, and lr r where
    one of the lengths is 0. You et al., Large Batch Optimization for Deep Learning, ICLR 2020.
    """

    def __init__(
        self, params: Any, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6
    ) -> None:
        defaults = {"lr": 1.0, "betas": betas, "eps": eps, "weight_decay": 0.0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change all parameters that have a gradient."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros(())
                    state["m"] = torch.zeros_like(parameter)
                    state["v"] = torch.zeros_like(parameter)
                state["step"] += 1
                n = float(state["step"])
                state["m"].lerp_(parameter.grad, 1 - beta1)
                state["v"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                second = (state["v"] / (1 - beta2**n)).sqrt_().add_(group["eps"])
                r = state["m"] / (1 - beta1**n) / second + group["weight_decay"] * parameter
                own, length = float(parameter.norm()), float(r.norm())
                trust = own / length if own and length else 1.0
                parameter.add_(r, alpha=-group["lr"] * trust)


class Average:
    """An exponential moving average of all weights and running statistics, decay 0 for none.

    Early on it follows faster, with the decay (1 + n) / (10 + n) after n updates.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {name: t.detach().clone() for name, t in _of(net).items()} if decay else {}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the weights after a step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, tensor in _of(net).items() if self.state else ():
            if tensor.is_floating_point():
                self.state[name].lerp_(tensor, 1 - decay)
            else:
                self.state[name].copy_(tensor)

    @contextmanager
    def applied(self, net: nn.Module) -> Iterator[None]:
        """Inside, the net has the averaged weights."""
        if not self.state:
            yield
            return
        own = {name: tensor.detach().clone() for name, tensor in _of(net).items()}
        try:
            _put(net, self.state)
            yield
        finally:
            _put(net, own)


class Statistics:
    """The running statistics of batch norms, without the weight of where they begin.

    They begin at mean 0 and variance 1, and with a momentum of 0.1 that is a tenth of them after 22
    steps still: enough for a small net of spikes to be silent in evaluation. So the first steps
    count alike, momentum 1/n in step n, until that is less than the norm's own.
    """

    def __init__(self, net: nn.Module) -> None:
        self._own = {
            module: module.momentum
            for module in net.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None
        }

    def follow(self, taken: int) -> None:
        """Set the momentum for the step after so many."""
        for norm, own in self._own.items():
            norm.momentum = max(own, 1 / (taken + 1))


def _of(net: nn.Module) -> dict[str, Tensor]:
    return dict(net.state_dict())


@torch.no_grad()
def _put(net: nn.Module, state: dict[str, Tensor]) -> None:
    for name, tensor in _of(net).items():
        tensor.copy_(state[name])
