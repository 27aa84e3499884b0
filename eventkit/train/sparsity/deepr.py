"""Deep Rewiring, with a fixed number of connections, and soft Deep Rewiring, with one on average.

Bellec, Kappel, Maass, Legenstein: "Deep Rewiring: Training very sparse deep networks", ICLR 2018.
"""

from typing import Annotated

import torch
from torch import Tensor

from eventkit.registry import NotNegative, Positive, Range

from . import SPARSIFIERS, Layer, Moment, Sparsity
from .gradr import signs

Part = Annotated[float, Range(0, 1, above=True)]
NEW = 1e-12  # a weight that has just been connected


def _random(like: Tensor, draws: torch.Generator) -> Tensor:
    """Uniform numbers from 0 to 1, the same on every device."""
    return torch.rand(like.shape, generator=draws, dtype=torch.float32).to(like)


def _chosen(order: Tensor, number: int) -> Tensor:
    """A mask of the `number` smallest values, in the shape of `order`."""
    mask = torch.zeros(order.numel(), dtype=torch.bool, device=order.device)
    mask[order.flatten().argsort(stable=True)[:number]] = True
    return mask.view(order.shape)


def _noise(like: Tensor, now: Moment, temperature: float) -> Tensor:
    noise: Tensor = torch.randn(like.shape, generator=now.draws, dtype=torch.float32).to(like)
    return noise * (temperature * float(now.rate**0.5))


@SPARSIFIERS.register
class DeepR(Sparsity):
    """A `share` of each layer is connected at any time; a weight that changes its sign is replaced.

    Connected weights take the optimizer's step, then w -= lr l1 sign(w), and noise of the standard
    deviation `temperature` sqrt(lr). Where the sign s, fixed at the start, changes, the connection
    ends, and random other ones begin at almost 0.
    """

    name = "deepr"

    def __init__(
        self, *, share: Part = 0.1, l1: NotNegative = 1e-4, temperature: NotNegative = 1e-5
    ) -> None:
        super().__init__()
        self.share, self.l1, self.temperature = share, l1, temperature

    def start(self, layer: Layer, draws: torch.Generator) -> None:
        layer.sign = signs(layer.hidden)
        connected = _chosen(_random(layer.hidden, draws), self._kept(layer))
        layer.hidden = layer.sign * layer.hidden.abs().clamp(min=NEW) * connected

    def before(self, layer: Layer) -> None:
        if layer.weight.grad is not None:
            layer.weight.grad[layer.hidden == 0] = 0

    def after(self, layer: Layer, before: Tensor, now: Moment) -> None:
        theta = layer.sign * layer.hidden - now.rate * self.l1
        theta += _noise(theta, now, self.temperature)
        theta = torch.where(before != 0, theta, 0).clamp(min=0)
        missing = self._kept(layer) - int((theta > 0).sum())
        dormant = _random(theta, now.draws).masked_fill(theta > 0, 2)
        theta = torch.where(_chosen(dormant, max(0, missing)), NEW, theta)
        layer.hidden = layer.sign * theta

    def weights(self, layer: Layer, now: Moment) -> Tensor:
        return layer.hidden

    def _kept(self, layer: Layer) -> int:
        return round(self.share * layer.hidden.numel())


@SPARSIFIERS.register
class SoftDeepR(Sparsity):
    """As `deepr`, with w = s max(0, theta): dormant theta < 0 only has noise, until it is above 0.

    A floor keeps theta >= -temperature^2 (1 - share) / (2 l1 share), so that a `share` is connected
    once noise and l1 are in balance.
    """

    name = "soft_deepr"

    def __init__(
        self, *, share: Part = 0.1, l1: Positive = 1e-2, temperature: Positive = 1e-2
    ) -> None:
        super().__init__()
        self.share, self.l1, self.temperature = share, l1, temperature
        self.floor = -(temperature**2) * (1 - share) / (2 * l1 * share)

    def start(self, layer: Layer, draws: torch.Generator) -> None:
        layer.sign = signs(layer.hidden)
        dormant = _random(layer.hidden, draws) >= self.share
        below = self.floor * _random(layer.hidden, draws)
        layer.hidden = layer.sign * torch.where(dormant, below, layer.hidden.abs())

    def before(self, layer: Layer) -> None:
        if layer.weight.grad is not None:
            layer.weight.grad[layer.sign * layer.hidden < 0] = 0

    def after(self, layer: Layer, before: Tensor, now: Moment) -> None:
        old = layer.sign * before
        theta = torch.where(old >= 0, layer.sign * layer.hidden - now.rate * self.l1, old)
        theta += _noise(theta, now, self.temperature)
        layer.hidden = layer.sign * theta.clamp(min=self.floor)

    def weights(self, layer: Layer, now: Moment) -> Tensor:
        return layer.sign * (layer.sign * layer.hidden).clamp(min=0)
