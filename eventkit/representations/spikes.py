"""Spikes of a sensor whose polarity says nothing, as the cochlea of SHD and SSC."""

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.representations import (
    REPRESENTATIONS,
    Bounds,
    Representation,
    Whole,
    build,
    refuse_outside,
)
from eventkit.representations._slices import count_slices
from eventkit.units import Microseconds


def spikes(
    events: Events,
    *,
    duration: int | str = 10_000,
    n: int | None = None,
    binary: bool = False,
    bounds: Bounds = "raise",
) -> np.ndarray:
    """Events per place in bins of a `duration` in µs, whatever their polarity: uint16 (T, 1, H, W).

    An event at time t is in bin (t − t0) // duration. T is what the recording takes, or `n`: then
    shorter recordings end with zeros, and events after the last bin are left out (and counted as
    "unbinned" when a dataset is converted). `binary` keeps 1 where there is an event. The frames of
    a one-axis sensor with 700 channels are (T, 1, 1, 700).

    OptionError: more than 65,535 events in one place of a bin; events outside the sensor, unless
    bounds="drop" leaves them out.

    >>> events = Events(t=[0, 5, 15], x=[1, 1, 3], y=[0, 0, 0], p=[1, 1, 1], size=(4, 1))
    >>> spikes(events, duration=10).tolist()
    [[[[0, 2, 0, 0]]], [[[0, 0, 0, 1]]]]
    """
    options = {"duration": duration, "n": n, "binary": binary, "bounds": bounds}
    return build(SPIKES, events, options)


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    duration: Microseconds = 10_000,
    n: int | None = None,
    binary: bool = False,
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    for name, value in (("duration", duration), ("n", n)):
        if value is not None and value < 1:
            raise OptionError(f"spikes: {name} is {value}, expected at least 1")
    width, height = size
    length = count_slices(whole.t1 - whole.t0 + 1, duration) if n is None else n
    return length, 1, height, width


def _add(
    out: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    duration: int,
    n: int | None,
    binary: bool,
    bounds: Bounds,
) -> int:
    columns = events.t, events.x, events.y
    outside, late, most = _count(out, *columns, whole.t0, duration, binary)
    if outside and bounds == "raise":
        refuse_outside(events, outside, out.shape[2:], "leave them out with bounds='drop'")
    if most > np.iinfo(np.uint16).max:
        raise OptionError(
            f"spikes: {most:,} events in one place of a bin, uint16 holds 65,535; "
            "ask for shorter bins"
        )
    return len(events) - outside - late


@jit
def _count(
    out: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    t0: int,
    duration: int,
    binary: bool,
) -> tuple[int, int, int]:
    """Count; returns how many are outside of the sensor, how many too late, the largest count."""
    length, _, height, width = out.shape
    outside = late = largest = 0
    start, k = t0, 0  # the bin of the last event: a division for each takes longer than the rest
    for i in range(len(t)):
        if x[i] >= width or y[i] >= height:
            outside += 1
            continue
        if not 0 <= t[i] - start < duration:
            k = (t[i] - t0) // duration
            start = t0 + k * duration
        if not 0 <= k < length:
            late += 1
            continue
        count = 1 if binary else int(out[k, 0, y[i], x[i]]) + 1
        out[k, 0, y[i], x[i]] = count
        largest = max(largest, count)
    return outside, late, largest


SPIKES = REPRESENTATIONS.register(
    Representation(
        name="spikes",
        dtype=np.uint16,
        shape=_shape,
        add=_add,
        fixed=lambda options: options["n"] is not None,
        counts=lambda options: True,
    )
)
