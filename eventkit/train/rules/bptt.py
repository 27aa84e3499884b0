"""Backpropagation through time."""

from torch import Tensor

from . import RULES, Step, backward


@RULES.register
def bptt(step: Step, frames: Tensor) -> float:
    """Backpropagation through all time steps."""
    votes = step.votes(frames)
    loss = step.criterion(votes, 0)
    return backward(loss)
