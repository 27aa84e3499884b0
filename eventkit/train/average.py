"""The moving average of a net's weights."""

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


def _of(net: nn.Module) -> dict[str, Tensor]:
    return dict(net.state_dict())


@torch.no_grad()
def _put(net: nn.Module, state: dict[str, Tensor]) -> None:
    for name, tensor in _of(net).items():
        tensor.copy_(state[name])
