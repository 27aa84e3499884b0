"""Truncated backpropagation through time."""

from torch import Tensor

from . import RULES, AtLeast1, Step, Update, windows


@RULES.register
def tbptt(
    step: Step, frames: Tensor, *, window: AtLeast1 = 4, update: Update = "sequence"
) -> float:
    """Backpropagation within windows of `window` steps; each has its loss, by its share of T.

    The weights change once for the sequence, or after every window.
    """
    return windows(step, frames, window, update)
