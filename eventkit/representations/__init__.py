"""Events -> array (T, C, H, W): one module per representation, found by scanning this folder.

A representation adds events to an array, chunk by chunk, given what is known of the whole sample
(number of events, first and last time). So a recording of any length needs the memory of one
chunk, and chunked and whole give the same array.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events, expect
from eventkit.registry import Registry, bind

# What to do with events outside the sensor: refuse the sample, or leave them out and count them.
Bounds = Literal["raise", "drop"]

# A dense sample past this many bytes is a mistake in the options, not a tensor to train on.
MAX_BYTES = 1 << 31
# Times that no clock shows (µs, 73,000 years); within them, no difference or sum exceeds int64.
MAX_TIME = 1 << 61


@dataclass(frozen=True)
class Whole:
    """What must be known of a sample before its events are added.

    n events from time t0 to time t1; `ordered` says that time never goes back from one event to
    the next, across chunks too. False is always safe, and slower.
    """

    n: int
    t0: int
    t1: int
    ordered: bool = False

    @classmethod
    def of(cls, events: Events) -> Self:
        if not len(events):
            return cls(0, 0, 0, True)
        return cls(len(events), *_times(events.t))


@dataclass(frozen=True)
class Representation:
    """One representation as functions; the keyword-only arguments of `shape` are its options.

    dtype is the type of the array, or a function of the options that returns it.
    shape(whole, size, **options) is the shape (T, C, H, W), checked against the options only.
    begin(whole, size, **options) makes what `add` fills, if that is not the array itself.
    add(state, events, whole, first, **options) adds events, the first of which is number `first`
    of the sample, and returns how many of them it placed. `state` is what `begin` returned, or the
    array, which is zero at first.
    finish(out, state, whole, **options) runs once at the end (fills the array from the state,
    checks the data, normalises).
    fixed(options) says whether T is the same for every sample.
    columns(options) names the columns that `add` looks at, if `whole.ordered`.
    panels(array, size, **options) is the array as pictures (N, 1 or 2, H, W), where it is not one
    of one or two channels: two are OFF and ON, one may have both signs.
    counts(options) says whether a bin (T) of zeros only is one without events.
    """

    name: str
    dtype: type[np.generic] | Callable[[dict[str, Any]], type[np.generic]]
    shape: Callable[..., tuple[int, int, int, int]]
    add: Callable[..., int]
    begin: Callable[..., Any] | None = None
    finish: Callable[..., None] | None = None
    fixed: Callable[[dict[str, Any]], bool] = lambda options: True
    columns: Callable[[dict[str, Any]], str] = lambda options: "txyp"
    panels: Callable[..., np.ndarray] | None = None
    counts: Callable[[dict[str, Any]], bool] = lambda options: False

    def dtype_of(self, options: Mapping[str, Any]) -> np.dtype:
        """The type of the array made with these options."""
        kind = self.dtype if isinstance(self.dtype, type) else self.dtype(dict(options))
        return np.dtype(kind)


REPRESENTATIONS: Registry[Representation] = Registry(
    "representation", __name__, options=lambda entry: entry.shape
)


def parse(spec: str) -> tuple[Representation, dict[str, Any]]:
    """The representation and all its options, with defaults, of a spec like `voxel:bins=9`."""
    return REPRESENTATIONS.parse(spec)


def represent(events: Events, spec: str, **options: Any) -> np.ndarray:
    """The representation of `events` that a spec names: an array (T, C, H, W).

    Options are part of the spec, as in "voxel:bins=9", or keywords: represent(events, "voxel",
    bins=9). Raises UnknownName or OptionError for what is wrong with them.

    >>> events = Events(t=[0, 5, 9], x=[1, 1, 0], y=[0, 0, 2], p=[1, 0, 1], size=(4, 3))
    >>> represent(events, "frames", n=2).shape
    (2, 2, 3, 4)
    """
    entry, bound = REPRESENTATIONS.parse(spec, options)
    return build(entry, events, bound)


def build(entry: Representation, events: Events, options: Mapping[str, Any]) -> np.ndarray:
    """The array of events held in memory; warns of bins without events, which are legal zeros."""
    bound = bind(entry.shape, options, entry.name)
    events = expect(events)
    out, _ = accumulate([events], Whole.of(events), events.size, entry, bound)
    if not len(events):
        warnings.warn(f"{entry.name}: there are no events", stacklevel=3)
    elif entry.counts(bound) and (n_empty := int(empty_bins(out).sum())):
        text = f"{entry.name}: {n_empty} of {len(out)} bins hold no event; they are zero"
        warnings.warn(text, stacklevel=3)
    return out


def accumulate(
    chunks: Iterable[Events],
    whole: Whole,
    size: tuple[int, int],
    entry: Representation,
    options: Mapping[str, Any],
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, int]:
    """The array of a sample given in chunks, and how many events it holds.

    `out`, an array of the sample's shape, is cleared and filled instead of a new one.
    """
    out = allocate(entry, whole, size, options, out)
    state = out if entry.begin is None else entry.begin(whole, size, **options)
    first = placed = 0
    for events in chunks:
        placed += entry.add(state, events, whole, first, **options)
        first += len(events)
    if entry.finish is not None:
        entry.finish(out, state, whole, **options)
    return out, placed


def allocate(
    entry: Representation,
    whole: Whole,
    size: tuple[int, int],
    options: Mapping[str, Any],
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Zeros of the sample's shape, in `out` if given; OptionError for what no memory can hold."""
    if not -MAX_TIME < whole.t0 <= whole.t1 < MAX_TIME:
        raise OptionError(
            f"times go from {whole.t0} to {whole.t1} µs, expected within ±{MAX_TIME}; "
            "some of them are wrong, cut them off first"
        )
    shape, dtype = entry.shape(whole, size, **options), entry.dtype_of(options)
    if out is not None:
        if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
            raise OptionError(
                f"out is {out.dtype} {out.shape}, expected contiguous "
                f"{dtype} {shape} for {entry.name}"
            )
        out.fill(0)
        return out
    n_bytes = dtype.itemsize
    for side in shape:
        n_bytes *= side
    if n_bytes > MAX_BYTES:
        raise OptionError(
            f"{entry.name} of this sample would have the shape {shape}, {n_bytes / 1e9:,.1f} GB; "
            "ask for fewer or longer bins, or cut the recording"
        )
    return np.zeros(shape, dtype)


def panels(
    entry: Representation, array: np.ndarray, size: tuple[int, int], options: Mapping[str, Any]
) -> np.ndarray:
    """An array of a representation as pictures (N, 1 or 2, H, W): two channels are OFF and ON.

    More channels that the representation does not arrange itself are a picture each, and scaled
    each, as their units differ.
    """
    if entry.panels is not None:
        return np.asarray(entry.panels(array, size, **options))
    return array if array.shape[1] <= 2 else scaled(array.reshape(-1, 1, *array.shape[2:]))


def scaled(pictures: np.ndarray) -> np.ndarray:
    """Pictures (N, C, H, W) with the largest magnitude of each as 1: float32."""
    largest = np.abs(pictures.astype(np.float32)).max(axis=(1, 2, 3), keepdims=True)
    out: np.ndarray = pictures.astype(np.float32) / np.maximum(largest, np.float32(1e-30))
    return out


def empty_bins(out: np.ndarray) -> np.ndarray:
    """Which of the T bins hold only zeros: bool (T,)."""
    return _empty(out.reshape(len(out), -1))


def check_bounds(events: Events, placed: int, pixels: tuple[int, ...], bounds: Bounds) -> int:
    """`placed`, unless some events lie outside of `pixels` (H, W) and bounds="raise"."""
    if placed < len(events) and bounds == "raise":
        refuse_outside(events, len(events) - placed, pixels, "leave them out with bounds='drop'")
    return placed


def refuse_outside(events: Events, n: int, pixels: tuple[int, ...], advice: str) -> None:
    """Raise the OptionError for the n events that lie outside of `pixels` (H, W)."""
    height, width = pixels
    i = int(np.argmax((events.x >= width) | (events.y >= height)))
    raise OptionError(
        f"{n:,} of {len(events):,} events lie outside the sensor of {width}x{height}, the first at "
        f"x={events.x[i]}, y={events.y[i]}, t={events.t[i]} µs; {advice}"
    )


@jit
def _times(t: np.ndarray) -> tuple[int, int, bool]:
    """First time, last time, and whether time never goes back."""
    low = high = t[0]
    backward = 0
    for i in range(1, len(t)):
        low = min(low, t[i])
        high = max(high, t[i])
        backward += t[i] < t[i - 1]
    return low, high, backward == 0


@jit
def _empty(rows: np.ndarray) -> np.ndarray:
    empty = np.ones(len(rows), np.bool_)
    for k in range(len(rows)):
        for value in rows[k]:
            if value != 0:  # mostly among the first
                empty[k] = False
                break
    return empty
