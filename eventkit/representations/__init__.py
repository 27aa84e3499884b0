"""Events -> array (T, C, H, W): one module per representation, found by scanning this folder.

A representation adds events to an array, chunk by chunk, given what is known of the whole sample
(number of events, first and last time). So a recording of any length needs the memory of one
chunk, and chunked and whole give the same array.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.registry import Registry, bind, parse_spec

# A dense sample past this many bytes is a mistake in the options, not a tensor to train on.
MAX_BYTES = 1 << 31


@dataclass(frozen=True)
class Whole:
    """What must be known of a sample before its events are added: count, first and last time."""

    n: int
    t0: int
    t1: int

    @classmethod
    def of(cls, events: Events) -> Self:
        if not len(events):
            return cls(0, 0, 0)
        return cls(len(events), int(events.t.min()), int(events.t.max()))


@dataclass(frozen=True)
class Representation:
    """One representation as functions; the keyword-only arguments of `shape` are its options.

    shape(whole, size, **options) is the shape (T, C, H, W), checked against the options.
    add(out, events, whole, first, **options) adds events, the first of which is number `first` of
    the sample, and returns how many of them it placed.
    finish(out, whole, **options) runs once at the end (checks, normalisation in place).
    fixed(options) says whether T is the same for every sample.
    """

    name: str
    dtype: type[np.generic]
    shape: Callable[..., tuple[int, int, int, int]]
    add: Callable[..., int]
    finish: Callable[..., None] | None = None
    fixed: Callable[[dict[str, Any]], bool] = lambda options: True


REPRESENTATIONS: Registry[Representation] = Registry("representation", __name__)


def parse(spec: str) -> tuple[Representation, dict[str, Any]]:
    """The representation and all its options, with defaults, of a spec like `voxel:bins=9`."""
    name, options = parse_spec(spec)
    entry = REPRESENTATIONS[name]
    return entry, bind(entry.shape, options, name)


def allocate(
    entry: Representation, whole: Whole, size: tuple[int, int], options: dict[str, Any]
) -> np.ndarray:
    """Zeros of the sample's shape; OptionError when that would not fit in memory."""
    shape = entry.shape(whole, size, **options)
    n_bytes = int(np.prod([int(side) for side in shape], dtype=object)) * np.dtype(entry.dtype).itemsize
    if n_bytes > MAX_BYTES:
        raise OptionError(
            f"{entry.name} of this sample has the shape {shape}, {n_bytes / 1e9:,.1f} GB; "
            "ask for fewer or longer bins, or cut the recording"
        )
    return np.zeros(shape, entry.dtype)


def accumulate(
    chunks: Iterable[Events],
    whole: Whole,
    size: tuple[int, int],
    entry: Representation,
    options: dict[str, Any],
) -> tuple[np.ndarray, int]:
    """The array of a sample given in chunks, and how many events it holds."""
    out = allocate(entry, whole, size, options)
    first = placed = 0
    for events in chunks:
        placed += entry.add(out, events, whole, first, **options)
        first += len(events)
    if entry.finish is not None:
        entry.finish(out, whole, **options)
    return out, placed


def represent(events: Events, spec: str) -> np.ndarray:
    """The representation named by a spec: represent(events, "voxel:bins=9") -> (T, C, H, W)."""
    entry, options = parse(spec)
    return accumulate([events], Whole.of(events), events.size, entry, options)[0]
