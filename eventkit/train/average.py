"""Moving averages: of a net's weights, and those that its batch norms keep of their inputs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


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
