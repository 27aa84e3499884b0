"""How gradients go through time: each method runs a sequence forward and backward.

    bptt          backpropagation through all steps
    checkpoint    the same, but only one chunk of steps at a time is kept in memory: the others are
                  computed again in the backward pass, from the neurons' states at their start
    tbptt         truncated: the states are constants at the start of every window
    sltt          windows of one step (Meng et al., ICCV 2023): memory does not grow with T
    ottt          as sltt, and weights see the trace of their inputs, trace = decay trace + input,
                  instead of the input (Xiao et al., NeurIPS 2022)

Where a sequence is in pieces, batch norm takes its statistics of a piece; dropout keeps its mask.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from eventkit.errors import OptionError
from eventkit.evaluate.activity import SYNAPSES
from eventkit.evaluate.score import mixed, votes
from eventkit.registry import Range, Share, bind, parse_spec, unknown
from eventkit.snn import DelayedLinear, Neuron, carry, run
from eventkit.snn.neurons import detached


@dataclass(frozen=True)
class Step:
    """One forward and backward pass: what a method needs of the trainer."""

    net: nn.Module
    criterion: Callable[[Tensor, int], Tensor]  # of votes (T, N, classes), the first of step t0
    bf16: bool = False
    update: Callable[[], None] = lambda: None  # changes the weights, and clears the gradients

    def votes(self, frames: Tensor) -> Tensor:
        return votes(self.net, frames, bf16=self.bf16)


AtLeast1 = Annotated[int, Range(1)]
Method = Callable[[Step, Tensor], float]  # frames (T, N, C, H, W) -> the loss


def method(spec: str) -> Method:
    """The method of a spec such as `tbptt:window=5`; UnknownName or OptionError if wrong."""
    name, options = parse_spec(spec)
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return partial(METHODS[name], **bind(METHODS[name], options, name))


def bptt(step: Step, frames: Tensor) -> float:
    """Backpropagation through all time steps."""
    loss = step.criterion(step.votes(frames), 0)
    _backward(loss)
    return float(loss.detach())


def checkpoint(step: Step, frames: Tensor, *, chunks: AtLeast1 = 4) -> float:
    """As `bptt`, in the memory of one of `chunks` parts of the sequence and the states between."""
    _check(step.net)
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
    _backward(loss)
    return float(loss.detach())


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


Update = Literal["sequence", "window"]


def tbptt(
    step: Step, frames: Tensor, *, window: AtLeast1 = 4, update: Update = "sequence"
) -> float:
    """Backpropagation within windows of so many steps; each has its loss, by its share of T.

    The weights change once for the sequence, or after every window.
    """
    return _windows(step, frames, window, update, learned=None)


def sltt(
    step: Step, frames: Tensor, *, steps: Annotated[int, Range(0)] = 0, update: Update = "sequence"
) -> float:
    """Backpropagation within single steps; with `steps`, in so many random ones of them (SLTT-K).

    The loss is the mean of those of the steps that learn.
    """
    learned = None
    if 0 < steps < len(frames):
        learned = set(torch.randperm(len(frames))[:steps].tolist())
    return _windows(step, frames, 1, update, learned)


def ottt(step: Step, frames: Tensor, *, decay: Share = 0.5, update: Update = "sequence") -> float:
    """Online training through time: `decay` is that of the neurons, 1 - 1/tau.

    The first layer sees its input itself. update=window changes the weights in every step
    (OTTT-O), otherwise the gradients of all steps add up (OTTT-A). With `--loss tet` the loss of a
    step is that of the paper. The paper's nets have no batch norm.
    """
    with _traces(step.net, decay):
        return _windows(step, frames, 1, update, learned=None)


def _windows(
    step: Step, frames: Tensor, window: int, update: Update, learned: set[int] | None
) -> float:
    _check(step.net)
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
                _backward(loss)
                total += float(loss.detach())
                if update == "window":
                    step.update()
            _detach(step.net)
    return total


def _check(net: nn.Module) -> None:
    """OptionError if a layer looks back and has no state that is carried from piece to piece."""
    for name, module in net.named_modules():
        if isinstance(module, DelayedLinear):
            raise OptionError(
                f"layer {name} (DelayedLinear) remembers nothing between pieces of a sequence: "
                "use method=bptt"
            )


def _detach(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, Neuron):
            module._state = detached(module._state)


class _Seen(torch.autograd.Function):
    """The trace, whose gradient goes to the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, trace: Tensor) -> Tensor:
        return trace.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _Said(torch.autograd.Function):
    """The true output, whose gradient goes to that of the trace."""

    @staticmethod
    def forward(ctx: Any, of_trace: Tensor, out: Tensor) -> Tensor:
        return out.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


@contextmanager
def _traces(net: nn.Module, decay: float) -> Iterator[None]:
    """Layers compute with their input and learn from its trace; the first has no trace."""
    synapses = [module for module in net.modules() if isinstance(module, SYNAPSES)]
    traces: dict[nn.Module, Tensor] = {}
    inside: list[nn.Module] = []

    def hook(module: Any, args: Any, out: Tensor) -> Tensor | None:
        if module in inside or not torch.is_grad_enabled():
            return None
        x = args[0]
        before = traces.get(module)
        traces[module] = x.detach() if before is None else decay * before + x.detach()
        inside.append(module)
        try:
            of_trace = module(_Seen.apply(x, traces[module]))  # type: ignore[no-untyped-call]
        finally:
            inside.remove(module)
        said: Tensor = _Said.apply(of_trace, out.detach())  # type: ignore[no-untyped-call]
        return said

    hooks = [module.register_forward_hook(hook) for module in synapses[1:]]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


def _backward(loss: Tensor) -> None:
    if loss.requires_grad and bool(loss.detach().isfinite()):
        loss.backward()  # type: ignore[no-untyped-call]


METHODS: dict[str, Callable[..., float]] = {
    function.__name__: function for function in (bptt, checkpoint, tbptt, sltt, ottt)
}
