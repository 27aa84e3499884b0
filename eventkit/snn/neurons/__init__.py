"""Spiking neurons over whole sequences: (T, N, ...) in, spikes of the same shape out.

Every call starts from rest, so states need not be reset between batches. To keep a state, use
`run` and `step`, which take and return the state of a neuron or a whole net, or `carry(net)`,
inside which all neurons of a net keep their states.

Each module here is a family; its docstring has the equations: `leaky` IF, LIF, PLIF, CUBA;
`parallel` the PSNs; `adaptive` adLIF and SiLIF; `gated` KLIF and GLIF; `group` and `activation`
for conversion.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from eventkit.errors import OptionError
from eventkit.registry import Registry, parse_spec

State = Any  # a tensor or a tuple of tensors, each of which has the neurons (N, ...) as last axes


class Neuron(nn.Module):
    """Base class of all neurons; a subclass defines `run`, which processes a whole sequence."""

    name: ClassVar[str]
    causal: ClassVar[bool] = True  # whether no step depends on later steps
    graded: ClassVar[bool] = False  # whether spikes may have values other than 0 and 1
    spiking: ClassVar[bool] = True  # whether outputs are spikes, not membranes
    batch_axis: ClassVar[int] = 0  # of the tensors of the state

    def __init__(self) -> None:
        super().__init__()
        self._carries = False
        self._state: State = None

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """The spikes for x (T, N, ...) from a state of the neurons (N, ...), and the final state.

        None starts from rest. Processing a sequence in parts, each from the final state of the
        part before, gives the same result as processing it at once.
        """
        raise NotImplementedError

    @property
    def unit(self) -> float:
        """The output for one spike."""
        return 1.0

    @property
    def rest(self) -> State:
        """The rest value of each state tensor; None if samples cannot be reset individually."""
        return 0.0

    def carry_over(self, state: State, keep: Tensor) -> State:
        """The state for the next window, detached; samples where `keep` (N,) is False are reset.

        Raises OptionError for neurons that count steps if only some samples are kept.
        """
        if state is None or not bool(keep.any()):
            return None
        if bool(keep.all()):
            return detached(state)
        if self.rest is None:
            raise OptionError(
                f"{self.name} counts time steps, so all samples must start together; use one lane "
                "or another neuron"
            )
        return _or_rest(detached(state), keep, self.rest, self.batch_axis)

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """`run` for the single time step x (N, ...)."""
        s, state = self.run(x.unsqueeze(0), state)
        return s[0], state

    def forward(self, x: Tensor) -> Tensor:
        """The spikes for x (T, N, ...), from rest or, inside `carry`, from the previous state."""
        s, state = self.run(x, self._state)
        if self._carries:
            if not self.causal:
                raise OptionError(
                    f"{self.name} uses all T steps at once and has no state to carry; pass the "
                    "whole sequence, or use masked_psn or sliding_psn"
                )
            self._state = state
        return s


@contextmanager
def carry(net: nn.Module) -> Iterator[None]:
    """Within this context, the neurons of `net` keep their states between calls."""
    neurons = [module for module in net.modules() if isinstance(module, Neuron)]
    try:
        for neuron in neurons:
            neuron._carries, neuron._state = True, None
        yield
    finally:
        for neuron in neurons:
            neuron._carries, neuron._state = False, None


def run(net: nn.Module, x: Tensor, states: Any = None) -> tuple[Tensor, tuple[State, ...]]:
    """The output of `net` for x (T, N, ...) from given neuron states, and the final states.

    None starts from rest. The states are in the order of `net.modules()`. The net itself keeps no
    state, so this is a pure function of its arguments, as required for checkpointing and export.
    """
    neurons = [module for module in net.modules() if isinstance(module, Neuron)]
    with carry(net):
        for neuron, state in zip(neurons, states or [None] * len(neurons), strict=True):
            neuron._state = state
        y = net(x)
        return y, tuple(neuron._state for neuron in neurons)


def carry_over(net: nn.Module, states: Sequence[State], keep: Tensor) -> tuple[State, ...]:
    """The states of `run(net, ...)` for the next window, detached.

    Samples where `keep` (N,) is False are reset to rest, which is not zero for every neuron.
    """
    neurons = [module for module in net.modules() if isinstance(module, Neuron)]
    return tuple(n.carry_over(state, keep) for n, state in zip(neurons, states, strict=True))


def detached(state: State) -> State:
    """The state, detached from the graph."""
    if isinstance(state, tuple | list):
        return type(state)(map(detached, state))
    return state.detach() if isinstance(state, Tensor) else state


def _or_rest(state: State, keep: Tensor, rest: State, axis: int) -> State:
    if isinstance(state, tuple | list):
        each = rest if isinstance(rest, tuple) else (rest,) * len(state)
        return tuple(_or_rest(s, keep, r, axis) for s, r in zip(state, each, strict=True))
    if state is None:
        return None
    mask = keep.to(state.device).view(*[1] * axis, -1, *[1] * (state.ndim - axis - 1))
    return torch.where(mask, state, rest)


def check_input(x: Tensor) -> None:
    """Raise OptionError unless x is floating point (T, N, ...) with at least one step."""
    if x.ndim == 0 or not x.shape[0] or not x.is_floating_point():
        raise OptionError(
            f"found neuron input {x.dtype} of shape {tuple(x.shape)}, expected floating point "
            "(T, N, ...) with at least one time step"
        )


NEURONS: Registry[type[Neuron]] = Registry("neuron", __name__)


def neuron(spec: str, **known: Any) -> Neuron:
    """A new neuron layer from a spec, e.g. neuron("plif:tau=2,v_reset=none").

    `known` are values of the surrounding net, such as T=16 or features=64. They are passed to
    neurons that have such an option, unless the spec sets it.
    """
    name, options = parse_spec(spec)
    takes = inspect.signature(NEURONS[name]).parameters
    given = {key: value for key, value in known.items() if key in takes and key not in options}
    made: Neuron = NEURONS.make(spec, **given)
    return made
