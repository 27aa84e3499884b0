"""Layers for sequences: all take inputs (T, N, ...)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class Fold(nn.Sequential):
    """Stateless layers, applied to all steps at once: time is folded into the batch.

    Batch norms inside compute their statistics over T and N. The channels_last layout is kept.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, ...) -> (T, N, ...)."""
        y = x.flatten(0, 1)
        for layer in self:
            y = layer(y)
        return y.reshape(*x.shape[:2], *y.shape[1:])


def conv_norm(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, bias: bool = False
) -> Fold:
    """A convolution and a batch norm over T and N; stride 1 preserves the size of the map."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)
    return Fold(conv, nn.BatchNorm2d(outputs))


class Dropout(nn.Module):
    """Dropout with one mask for all time steps, because values are encoded over time."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, ...) -> (T, N, ...)."""
        if not self.training or not self.p:
            return x
        return x * functional.dropout(torch.ones_like(x[0]), self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Voting(nn.Module):
    """The mean of `voters` adjacent outputs: (T, N, classes * voters) -> (T, N, classes)."""

    def __init__(self, voters: int = 10) -> None:
        super().__init__()
        self.voters = voters

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], -1, self.voters).mean(-1)

    def extra_repr(self) -> str:
        return f"voters={self.voters}"


class SumPool2d(nn.Module):
    """Sum pooling over `size` x `size`: (T, N, C, H, W) -> (T, N, C, ceil(H/size), ceil(W/size)).

    Partial windows at the lower and right border are included, so that no event is lost.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        y = functional.avg_pool2d(x.flatten(0, 1), self.size, ceil_mode=True, divisor_override=1)
        return y.reshape(*x.shape[:2], *y.shape[1:])

    def extra_repr(self) -> str:
        return f"size={self.size}"


class Halve(nn.Module):
    """Pooling over 2 x 2 pixels that leaves a side of one pixel unchanged.

    A net can thus be applied to samples smaller than those it was designed for.
    """

    def __init__(self, how: Literal["max", "avg", "sum"] = "max") -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, C, H, W) -> (T, N, C, max(1, H // 2), max(1, W // 2))."""
        kernel = (min(2, x.shape[-2]), min(2, x.shape[-1]))
        y = x.flatten(0, 1)
        if self.how == "max":
            y = functional.max_pool2d(y, kernel)
        else:
            y = functional.avg_pool2d(y, kernel, divisor_override=1 if self.how == "sum" else None)
        return y.reshape(*x.shape[:2], *y.shape[1:])

    @staticmethod
    def size(size: tuple[int, ...]) -> tuple[int, ...]:
        """The output size for an input of `size` (height, width)."""
        return tuple(max(1, side // 2) for side in size)

    def extra_repr(self) -> str:
        return f"how={self.how}"


def anneal(net: nn.Module, done: float) -> None:
    """Update all modules of `net` that have a schedule; `done` is the fraction of the training.

    Such a module has a method `anneal(done)`, e.g. to sharpen delays or to make masked PSNs causal.
    """
    for module in net.modules():
        schedule = getattr(module, "anneal", None)
        if callable(schedule):
            schedule(done)
