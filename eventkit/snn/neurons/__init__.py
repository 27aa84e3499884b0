"""Spiking neurons over whole sequences: (T, N, ...) in, spikes of the same shape out.

Every call starts from rest, so no state has to be reset between batches. Where one is wanted,
`run` and `step` take and return it, of a neuron or of a whole net, and inside `carry(net)` all
neurons of a net keep theirs.

Each module here is a family, and its docstring has the equations: `leaky` IF, LIF, PLIF, CUBA;
`parallel` the PSNs; `adaptive` adLIF and SiLIF; `gated` KLIF and GLIF; `group` for conversion.
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
    """What all neurons share; a subclass defines `run`, which goes through a whole sequence."""

    name: ClassVar[str]
    causal: ClassVar[bool] = True  # whether a step depends on nothing that comes after it
    graded: ClassVar[bool] = False  # whether spikes are more than zeros and ones
    spiking: ClassVar[bool] = True  # whether what comes out are spikes, not membranes
    batch_axis: ClassVar[int] = 0  # of the tensors of its state

    def __init__(self) -> None:
        super().__init__()
        self._carries = False
        self._state: State = None

    def run(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """The spikes for x (T, N, ...) from a state of the neurons (N, ...), and the state after.

        None starts from rest. A sequence in pieces, each from the state after the one before, gives
        what the whole gives.
        """
        raise NotImplementedError

    @property
    def rest(self) -> State:
        """The value at rest of each tensor of the state; None if samples cannot rest one by one."""
        return 0.0

    def carry_over(self, state: State, keep: Tensor) -> State:
        """The state for the next window, without gradients: rest for samples where not keep (N,).

        Raises OptionError for neurons that count steps, when only some samples go on.
        """
        if state is None or not bool(keep.any()):
            return None
        if bool(keep.all()):
            return detached(state)
        if self.rest is None:
            raise OptionError(
                f"{self.name} counts its time steps, so all samples must start together; use one "
                "lane, or another neuron"
            )
        return _or_rest(detached(state), keep, self.rest, self.batch_axis)

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """`run` for the single time step x (N, ...)."""
        s, state = self.run(x.unsqueeze(0), state)
        return s[0], state

    def forward(self, x: Tensor) -> Tensor:
        """The spikes for x (T, N, ...), from rest or, inside `carry`, from the last call's end."""
        s, state = self.run(x, self._state)
        if self._carries:
            if not self.causal:
                raise OptionError(
                    f"{self.name} looks at all T steps at once and has no state to carry: give it "
                    f"the whole sequence, or use masked_psn or sliding_psn"
                )
            self._state = state
        return s


@contextmanager
def carry(net: nn.Module) -> Iterator[None]:
    """Inside, the neurons of `net` go on where their last call ended; they start from rest."""
    neurons = [module for module in net.modules() if isinstance(module, Neuron)]
    try:
        for neuron in neurons:
            neuron._carries, neuron._state = True, None
        yield
    finally:
        for neuron in neurons:
            neuron._carries, neuron._state = False, None


def run(net: nn.Module, x: Tensor, states: Any = None) -> tuple[Tensor, tuple[State, ...]]:
    """What `net` gives for x (T, N, ...), and the states of its neurons after, from those before.

    None starts from rest. The states are in the order of `net.modules()`; nothing is left behind in
    the net, so this is a function of its arguments, as checkpointing and export want it.
    """
    neurons = [module for module in net.modules() if isinstance(module, Neuron)]
    with carry(net):
        for neuron, state in zip(neurons, states or [None] * len(neurons), strict=True):
            neuron._state = state
        y = net(x)
        return y, tuple(neuron._state for neuron in neurons)


def carry_over(net: nn.Module, states: Sequence[State], keep: Tensor) -> tuple[State, ...]:
    """The states of `run(net, ...)` for the next window, without gradients.

    Samples where keep (N,) is False start from rest, which is not zero for every neuron.
    """
    neurons = [module for module in net.modules() if isinstance(module, Neuron)]
    return tuple(n.carry_over(state, keep) for n, state in zip(neurons, states, strict=True))


def detached(state: State) -> State:
    """The state without its gradient."""
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
    """OptionError unless x is floating point (T, N, ...) with at least one step."""
    if x.ndim == 0 or not x.shape[0] or not x.is_floating_point():
        raise OptionError(
            f"neurons take floating point (T, N, ...) with at least one time step, "
            f"found {x.dtype} of shape {tuple(x.shape)}"
        )


NEURONS: Registry[type[Neuron]] = Registry("neuron", __name__)


def neuron(spec: str, **known: Any) -> Neuron:
    """A new neuron layer from a spec: neuron("plif:tau=2,v_reset=none").

    `known` is what the surroundings know, such as T=16 or features=64: a neuron that has such an
    option takes it, unless the spec itself says otherwise.
    """
    name, options = parse_spec(spec)
    takes = inspect.signature(NEURONS[name]).parameters
    given = {key: value for key, value in known.items() if key in takes and key not in options}
    made: Neuron = NEURONS.make(spec, **given)
    return made
