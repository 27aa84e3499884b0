"""Time surface: how long ago each pixel last saw an event.

Lagorce et al., HOTS: A Hierarchy of Event-Based Time-Surfaces for Pattern Recognition, TPAMI 2017,
section 3.1; here of the whole sensor instead of a patch around each event.
"""

from typing import Literal

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
    check_bounds,
)
from eventkit.representations._slices import n_slices, slice_of, time_borders
from eventkit.units import Microseconds

Decay = Literal["exponential", "linear"]
Polarity = Literal["split", "merged"]
Like = Literal["tonic"]

# Earlier than any time, but near enough to subtract from one without overflow.
_NEVER = -(1 << 62)


def time_surface(
    events: Events,
    *,
    tau: int | str = 50_000,
    n: int | None = None,
    duration: int | str | None = None,
    decay: Decay = "exponential",
    polarity: Polarity = "split",
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> np.ndarray:
    """How recent each pixel's last event is: float32 (T, 2, H, W), 1 now and 0 for never.

    With Δt the time in µs from the pixel's last event to the moment of sampling, the value is
    exp(−Δt / tau), or with decay="linear" max(0, 1 − Δt / tau). Channel 0 is OFF, 1 is ON;
    polarity="merged" gives one channel for both.

    The recording is sampled at its last event, or at the end (the last µs) of each of `n` equal
    slices of time or of slices of a `duration` in µs. Earlier slices count: a surface knows all
    events up to its moment.

    like="tonic" samples at the first time + (k + 1)·duration and leaves out the events of the last,
    partial slice, as Tonic 1.7's ToTimesurface; float32 instead of float64.

    >>> events = Events(t=[0, 5, 9], x=[1, 1, 0], y=[0, 0, 2], p=[1, 1, 1], size=(4, 3))
    >>> time_surface(events, tau=8, decay="linear")[0, 1, 0, 1].item()
    0.5
    """
    options = {
        "tau": tau,
        "n": n,
        "duration": duration,
        "decay": decay,
        "polarity": polarity,
        "like": like,
        "bounds": bounds,
    }
    return build(TIME_SURFACE, events, options)


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    tau: Microseconds = 50_000,
    n: int | None = None,
    duration: Microseconds | None = None,
    decay: Decay = "exponential",
    polarity: Polarity = "split",
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    if tau < 1:
        raise OptionError(f"time_surface: tau is {tau}, expected at least 1 µs")
    length = n_slices("time_surface", whole, n, duration)
    if like == "tonic":
        if duration is None or (decay, polarity) != ("exponential", "split"):
            raise OptionError(
                "time_surface: like=tonic needs a duration, exponential decay and split polarity"
            )
        length = max(1, (whole.t1 - whole.t0) // duration)
    width, height = size
    return length, 2 if polarity == "split" else 1, height, width


def _begin(whole: Whole, size: tuple[int, int], **options: object) -> np.ndarray:
    """The last time of each cell in each slice: int64 (T, C, H, W)."""
    return np.full(_shape(whole, size, **options), _NEVER)  # type: ignore[arg-type]


def _moments(
    whole: Whole, length: int, duration: int | None, like: Like | None
) -> tuple[np.ndarray, np.ndarray]:
    """The borders of the slices (T + 1,) and the times at which they are sampled (T,)."""
    if like == "tonic" and duration is not None:
        borders = whole.t0 + np.arange(length + 1) * min(duration, 1 << 61)
        return borders, borders[1:]
    borders = time_borders(whole, length, duration)
    return borders, borders[1:] - 1


def _add(
    state: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    duration: int | None,
    like: Like | None,
    bounds: Bounds,
    **options: object,
) -> int:
    borders, _ = _moments(whole, len(state), duration, like)
    if like == "tonic":
        events = events.between(None, int(borders[-1]))
    placed = _last(state, borders, events.t, events.x, events.y, events.p)
    return check_bounds(events, placed, state.shape[2:], bounds)


def _finish(
    out: np.ndarray,
    state: np.ndarray,
    whole: Whole,
    *,
    tau: int,
    duration: int | None,
    decay: Decay,
    like: Like | None,
    **options: object,
) -> None:
    _, moments = _moments(whole, len(out), duration, like)
    for k in range(1, len(state)):
        np.maximum(state[k], state[k - 1], out=state[k])
    for k, moment in enumerate(moments):
        # As float32 only after the division: its 24 bits hold an age in units of tau well enough,
        # and NumPy computes the exponential of float32 many at a time.
        age = ((moment - state[k]) / tau).astype(np.float32)
        if decay == "linear":
            np.maximum(1 - age, 0, out=out[k])
        else:
            np.exp(-age, out=out[k])
        out[k][state[k] == _NEVER] = 0


@jit
def _last(
    state: np.ndarray,
    borders: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
) -> int:
    """The last time of each cell in each slice; returns how many events lie on the sensor."""
    length, channels, height, width = state.shape
    times = state.reshape(length * channels * height * width)
    # Unsigned numbers: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    on = pixels if channels == 2 else np.uint64(0)
    plane = np.uint64(channels) * pixels
    k = placed = 0
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint32(x[j]), np.uint32(y[j])
        if column < w and row < h:
            k = slice_of(borders, t[j], k)
            cell = np.uint64(k) * plane + np.uint64(row * w + column)
            cell += on if p[j] else np.uint64(0)
            times[cell] = max(times[cell], t[j])  # events may come out of order
            placed += 1
    return placed


TIME_SURFACE = REPRESENTATIONS.register(
    Representation(
        name="time_surface",
        dtype=np.float32,
        shape=_shape,
        begin=_begin,
        add=_add,
        finish=_finish,
        fixed=lambda options: options["duration"] is None,
    )
)
