"""Layers that carry time: everything here takes (T, N, ...)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class Fold(nn.Sequential):
    """Layers without memory, applied to all steps at once: time is folded into the batch.

    Batch norm inside takes its statistics over T and N. Channels that lie innermost in memory
    (channels_last) stay there.
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
    """A convolution and batch norm over T and N; with stride 1 the map keeps its size."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)
    return Fold(conv, nn.BatchNorm2d(outputs))


class Dropout(nn.Module):
    """Dropout with one mask for all time steps of a sequence, as spikes carry values in time."""

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
    """The mean of each `voters` neighbours: (T, N, classes * voters) -> (T, N, classes)."""

    def __init__(self, voters: int = 10) -> None:
        super().__init__()
        self.voters = voters

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], -1, self.voters).mean(-1)

    def extra_repr(self) -> str:
        return f"voters={self.voters}"


class SumPool2d(nn.Module):
    """Sums over `size` x `size` windows: (T, N, C, H, W) -> (T, N, C, ceil(H/size), ceil(W/size)).

    Windows at the lower and right border may be cut, so that no event is lost.
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
    """Pools 2 x 2 pixels; a side of one pixel stays as it is.

    So a net keeps its blocks on samples that are smaller than those it was made for.
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
        """The sides that remain of `size`."""
        return tuple(max(1, side // 2) for side in size)

    def extra_repr(self) -> str:
        return f"how={self.how}"


def anneal(net: nn.Module, done: float) -> None:
    """Tell all modules of `net` that have a schedule which share of the training is done, 0 to 1.

    Such a module has a method `anneal(done)`: learnable delays sharpen, masked PSNs become causal.
    """
    for module in net.modules():
        schedule = getattr(module, "anneal", None)
        if callable(schedule):
            schedule(done)
