"""What was drawn for a sample: kept, so that it can be applied again, recorded and replayed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from eventkit.augment import _change, _warp
from eventkit.errors import OptionError

CHANGES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        _warp.Move, _warp.Mirror, _warp.Roll, _warp.Cut,
        _change.Reverse, _change.Stretch, _change.Blank, _change.Window, _change.Dead,
    )
}  # fmt: skip


class Draw:
    """The random numbers of one sample in one epoch, and what was made of them.

    Each augmentation draws when the draw is first used and then stays: used again, for a second
    stream, boxes or points, the same happens to them. `times` are the first and last time (µs) of
    the sample, known from its events on.
    """

    def __init__(self, key: Sequence[int], times: tuple[int, int] | None = None) -> None:
        self.key, self.times = tuple(key), times
        self.kept: dict[int, Any] = {}

    def stream(self, number: int) -> np.random.Generator:
        """Random numbers that depend on (seed, epoch, sample) and this number alone."""
        key = np.array(self.key, np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, number]))

    @cached_property
    def space(self) -> np.random.Generator:
        """What geometry is drawn from."""
        return self.stream(0)

    @cached_property
    def other(self) -> np.random.Generator:
        """What everything is drawn from that has no parameters of its own."""
        return self.stream(1)

    def changes(self, step: int, draw: Callable[[], list[Any]]) -> list[Any]:
        """What a step does to the sample: drawn now, or what was drawn before."""
        if step not in self.kept:
            self.kept[step] = draw()
        found: list[Any] = self.kept[step]
        return found

    def rng(self, step: int) -> np.random.Generator:
        """The random numbers of a step without parameters, in the state they had before."""
        if step in self.kept:
            again = np.random.Philox()
            again.state = self.kept[step]
            return np.random.Generator(again)
        self.kept[step] = self.other.bit_generator.state
        return self.other


def to_json(kept: Any) -> Any:
    """What a step drew, as lists and dicts of plain numbers."""
    if isinstance(kept, Mapping):
        return {"state": _plain(kept)}
    changes = []
    for change in kept:
        name = type(change).__name__
        if CHANGES.get(name) is not type(change):
            raise OptionError(f"a change of type {name} cannot be recorded")
        fields = {f.name: _plain(getattr(change, f.name)) for f in dataclasses.fields(change)}
        changes.append({"change": name, **fields})
    return changes


def of_json(found: Any) -> Any:
    """The inverse of `to_json`; OptionError for what it did not write."""
    try:
        if isinstance(found, dict):
            return _state(found["state"])
        return [
            CHANGES[fields["change"]](**{k: _value(v) for k, v in fields.items() if k != "change"})
            for fields in found
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OptionError(f"not a record of augmentations: {error!r}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _value(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return np.array(value) if value and isinstance(value[0], list) else tuple(value)


def _state(state: Mapping[str, Any]) -> dict[str, Any]:
    inner = {key: np.array(value, np.uint64) for key, value in state["state"].items()}
    buffer = np.array(state["buffer"], np.uint64)
    return {**state, "state": inner, "buffer": buffer}
