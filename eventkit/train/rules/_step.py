"""What the rules share: a step of the trainer, and sequences in windows."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.evaluate.score import votes
from eventkit.registry import Range
from eventkit.snn import DelayedLinear, Neuron, carry
from eventkit.snn.event_driven import EventDriven
from eventkit.snn.neurons import detached

AtLeast1 = Annotated[int, Range(1)]
Update = Literal["sequence", "window"]


@dataclass(frozen=True)
class Step:
    """One forward and backward pass: what a rule needs of the trainer."""

    net: nn.Module
    criterion: Callable[[Tensor, int], Tensor]  # of votes (T, N, classes), the first of step t0
    bf16: bool = False
    update: Callable[[], None] = lambda: None  # changes the weights, and clears the gradients

    def votes(self, frames: Tensor) -> Tensor:
        return votes(self.net, frames, bf16=self.bf16)


def backward(loss: Tensor) -> float:
    """Add the gradients of a loss to those of the weights, unless it is not finite; its value."""
    if loss.requires_grad and bool(loss.detach().isfinite()):
        loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def windows(
    step: Step, frames: Tensor, window: int, update: Update, learned: set[int] | None = None
) -> float:
    """Backpropagation within windows of `window` steps, from the states at their start on.

    Those whose number is in `learned` (default: all) have their loss, by their share of the steps.
    """
    check_pieces(step.net)
    total, random = 0.0, torch.get_rng_state()
    shares = len(frames) if learned is None else window * len(learned)
    with carry(step.net):
        for number, piece in enumerate(torch.split(frames, window)):
            torch.set_rng_state(random)
            learns = learned is None or number in learned
            with nullcontext() if learns else torch.no_grad():
                said = step.votes(piece)
            if learns:
                loss = step.criterion(said, number * window) * (len(piece) / shares)
                total += backward(loss)
                if update == "window":
                    step.update()
            _detach(step.net)
    return total


def check_pieces(net: nn.Module) -> None:
    """OptionError if a layer looks back and has no state that is carried from piece to piece."""
    for name, module in net.named_modules():
        if isinstance(module, DelayedLinear | EventDriven):
            raise OptionError(
                f"layer {name} ({type(module).__name__}) remembers nothing between pieces of a "
                "sequence: use method=bptt"
            )


def _detach(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, Neuron):
            module._state = detached(module._state)
