"""Learning rules: how gradients go through time, one file per rule, found by scanning this folder.

A rule is a function `name(step, frames, *, options) -> loss` that runs a sequence of frames
(T, N, C, H, W) forward and backward, so that the gradients of the weights have been added up when
it returns. Where a sequence is in pieces, batch norm takes its statistics of a piece; dropout keeps
its mask.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from eventkit.registry import Registry

from ._step import AtLeast1, Step, Update, backward, check_pieces, windows

__all__ = [
    "RULES",
    "AtLeast1",
    "Rule",
    "Step",
    "Update",
    "backward",
    "check_pieces",
    "rule",
    "windows",
]

Rule = Callable[[Step, Tensor], float]  # frames (T, N, C, H, W) -> the loss
RULES: Registry[Callable[..., float]] = Registry("method", __name__)


def rule(spec: str) -> Rule:
    """The rule of a spec such as `tbptt:window=5`; UnknownName or OptionError if wrong."""
    function, options = RULES.parse(spec)
    return partial(function, **options)
