"""Surrogate gradients: the backward pass replaces the derivative of a spike by a smooth slope.

Every surrogate is a slope `height * shape(steepness * |x|)`, where x is the difference of the
membrane and its threshold. There is one autograd function (`spike`), one line per shape and one
function per surrogate. The fused kernels implement the same shapes.

>>> parse("atan:alpha=2").slope(torch.tensor([0.0, 1.0]))
tensor([1.0000, 0.0920])
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eventkit.registry import Positive, Registry

# Each is 1 at z = 0; z = steepness * |x| is never negative.
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "lorentz": lambda z: 1 / (1 + z * z),
    "logistic": lambda z: 4 * torch.exp(-z) / (1 + torch.exp(-z)) ** 2,
    "triangle": lambda z: (1 - z).clamp(min=0),
    "laplace": lambda z: torch.exp(-z),
    "hyperbola": lambda z: 1 / (1 + z) ** 2,
    "gauss": lambda z: torch.exp(-z * z),
    "box": lambda z: (z <= 1).to(z.dtype),
}


@dataclass(frozen=True)
class Surrogate:
    """The slope `height * shape(steepness * |x|)` that replaces the derivative of a spike."""

    shape: str
    height: float
    steepness: float

    def slope(self, x: Tensor) -> Tensor:
        """The slope at `x`, the membrane minus the threshold; same shape and dtype."""
        return self.height * SHAPES[self.shape](self.steepness * x.abs())


SURROGATES: Registry[Callable[..., Surrogate]] = Registry("surrogate", __name__)


@SURROGATES.register
def atan(*, alpha: Positive = 2.0) -> Surrogate:
    """(alpha/2) / (1 + (pi alpha x / 2)^2): the default, as in the PLIF, SEW and PSN papers."""
    return Surrogate("lorentz", alpha / 2, math.pi * alpha / 2)


@SURROGATES.register
def sigmoid(*, alpha: Positive = 4.0) -> Surrogate:
    """alpha s (1 - s) with s = 1 / (1 + exp(-alpha x))."""
    return Surrogate("logistic", alpha / 4, alpha)


@SURROGATES.register
def piecewise_quadratic(*, alpha: Positive = 1.0) -> Surrogate:
    """max(0, alpha - alpha^2 |x|)."""
    return Surrogate("triangle", alpha, alpha)


@SURROGATES.register
def triangle(*, gamma: Positive = 1.0) -> Surrogate:
    """max(0, gamma - |x|) / gamma^2, as in TET."""
    return Surrogate("triangle", 1 / gamma, 1 / gamma)


@SURROGATES.register
def piecewise_exp(*, alpha: Positive = 1.0) -> Surrogate:
    """(alpha/2) exp(-alpha |x|)."""
    return Surrogate("laplace", alpha / 2, alpha)


@SURROGATES.register
def slayer(*, alpha: Positive = 5.0, scale: Positive = 0.4) -> Surrogate:
    """scale (alpha/2) exp(-alpha |x|), as in SLAYER; the defaults are those of SE-adLIF."""
    return Surrogate("laplace", scale * alpha / 2, alpha)


@SURROGATES.register
def soft_sign(*, alpha: Positive = 2.0) -> Surrogate:
    """1 / (2 alpha (1/alpha + |x|)^2)."""
    return Surrogate("hyperbola", alpha / 2, alpha)


@SURROGATES.register
def super_spike(*, alpha: Positive = 1.0) -> Surrogate:
    """alpha / (1 + |x|)^2."""
    return Surrogate("hyperbola", alpha, 1.0)


@SURROGATES.register
def erf(*, alpha: Positive = 2.0) -> Surrogate:
    """(alpha / sqrt(pi)) exp(-alpha^2 x^2)."""
    return Surrogate("gauss", alpha / math.sqrt(math.pi), alpha)


@SURROGATES.register
def boxcar(*, width: Positive = 1.0, height: Positive = 0.5) -> Surrogate:
    """`height` where |x| <= width/2, else 0."""
    return Surrogate("box", height, 2 / width)


@SURROGATES.register
def rectangle(*, width: Positive = 1.0) -> Surrogate:
    """1/width where |x| <= width/2, else 0, as in STBP and NDA."""
    return Surrogate("box", 1 / width, 2 / width)


def parse(spec: str) -> Surrogate:
    """The surrogate for a spec such as `sigmoid:alpha=4`; raises UnknownName or OptionError."""
    made: Surrogate = SURROGATES.make(spec)
    return made


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.surrogate.slope(ctx.saved_tensors[0]), None


def spike(x: Tensor, surrogate: Surrogate | None = None) -> Tensor:
    """1 where x >= 0, else 0; its gradient is the slope of `surrogate` (default: atan)."""
    spikes: Tensor = _Spike.apply(x, surrogate or atan())  # type: ignore[no-untyped-call]
    return spikes
