"""Soft-threshold pruning with thresholds that follow the learning rate of a cosine schedule.

The weights are those of `stds`. A growing threshold is an iterative shrinkage, whose steps should
be in proportion to the learning rate 1 + cos(pi x). Chen, Ma, Fang, Yu, Huang, Tian: "A Unified
Framework for Soft Threshold Pruning", ICLR 2023.
"""

import math

from eventkit.registry import Positive

from . import SPARSIFIERS
from .stds import SoftThreshold


@SPARSIFIERS.register
class SLATS(SoftThreshold):
    """Soft threshold d = `threshold` (x + sin(pi x) / pi), whose slope is 1 + cos(pi x)."""

    name = "slats"

    def __init__(self, *, threshold: Positive = 0.1) -> None:
        super().__init__(threshold)

    def grown(self, x: float, epochs: int) -> float:
        return x + math.sin(math.pi * x) / math.pi


@SPARSIFIERS.register
class PGH(SoftThreshold):
    """Soft threshold whose slope is beta^x (1 + cos(pi x)): with beta > 1 it grows later."""

    name = "pgh"

    def __init__(self, *, threshold: Positive = 0.1, beta: Positive = 2.0) -> None:
        super().__init__(threshold)
        self.beta = beta

    def grown(self, x: float, epochs: int) -> float:
        log, pi = math.log(self.beta), math.pi
        if abs(log) < 1e-4:  # the limit, as the terms cancel
            return x + math.sin(pi * x) / pi
        power: float = self.beta**x
        wave = log * math.cos(pi * x) + pi * math.sin(pi * x)
        found = pi**2 * (power - 1) + (power - 2) * log**2 + power * log * wave
        return found / (pi**2 * (self.beta - 1) - 2 * log**2)


@SPARSIFIERS.register
class LATS(SoftThreshold):
    """Soft threshold that grows by (1 + cos(pi n / N)) / (N + 1) in epoch n of N, evenly in it."""

    name = "lats"

    def __init__(self, *, threshold: Positive = 0.1) -> None:
        super().__init__(threshold)

    def grown(self, x: float, epochs: int) -> float:
        n = min(int(x * epochs + 1e-9), epochs - 1)
        wave = math.sin(math.pi * (n - 0.5) / epochs) / math.sin(math.pi / (2 * epochs))
        base = (1 + 2 * n + wave) / (2 * (epochs + 1))
        return base + (x * epochs - n) * (1 + math.cos(math.pi * n / epochs)) / (epochs + 1)
