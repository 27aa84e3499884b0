"""Backpropagation through time in a part of the memory."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from eventkit.evaluate.score import mixed
from eventkit.snn import run

from . import RULES, AtLeast1, Step, backward, check_pieces


@RULES.register
def checkpoint(step: Step, frames: Tensor, *, chunks: AtLeast1 = 4) -> float:
    """As `bptt`, in the memory of one of `chunks` parts of the sequence and the states between.

    The others are computed again in the backward pass, from the neurons' states at their start.
    """
    check_pieces(step.net)
    random = torch.get_rng_state()

    def part(piece: Tensor, states: Any) -> tuple[Tensor, Any]:
        torch.set_rng_state(random)  # dropout masks are the same in every piece
        with mixed(frames, step.bf16):
            said, states = run(step.net, piece, states)
        return said.float(), states

    said, states = [], None
    for piece in frames.chunk(min(chunks, len(frames))):
        votes, states = recompute(
            part, piece, states, use_reentrant=False,
            context_fn=lambda: (nullcontext(), _without_statistics(step.net)),
        )  # fmt: skip
        said.append(votes)
    loss = step.criterion(torch.cat(said), 0)
    return backward(loss)


@contextmanager
def _without_statistics(net: nn.Module) -> Iterator[None]:
    """Batch norms leave their running statistics: they have seen these samples already."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
