"""Spatial learning through time, whose memory does not grow with T (Meng et al., ICCV 2023)."""

from typing import Annotated

import torch
from torch import Tensor

from eventkit.registry import Range

from . import RULES, Step, Update, windows


@RULES.register
def sltt(
    step: Step, frames: Tensor, *, steps: Annotated[int, Range(0)] = 0, update: Update = "sequence"
) -> float:
    """Backpropagation within single steps; with `steps`, in that number of random ones (SLTT-K).

    The loss is the mean of those of the steps that learn.
    """
    learned = None
    if 0 < steps < len(frames):
        learned = set(torch.randperm(len(frames))[:steps].tolist())
    return windows(step, frames, 1, update, learned)
