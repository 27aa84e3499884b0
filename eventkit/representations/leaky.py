"""Leaky accumulation: every event adds 1 to its pixel, which decays exponentially.

The membrane potential, without a threshold, of one leaky integrator per pixel: Cohen et al.,
Event-Based Sensing for Space Situational Awareness, 2019, and the Accumulator of dv-processing.
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

Polarity = Literal["split", "merged", "signed"]


def leaky(
    events: Events,
    *,
    tau: int | str = 50_000,
    n: int | None = None,
    duration: int | str | None = None,
    polarity: Polarity = "split",
    bounds: Bounds = "raise",
) -> np.ndarray:
    """Decaying event counts: float32 (T, 2, H, W), channel 0 = OFF, 1 = ON.

    The value at time s is the sum of exp(−(s − t) / tau) over the events of the pixel with
    t <= s. It is sampled at the last event, or at the end (the last µs) of each of `n` equal slices
    of time or of slices of a `duration` in µs.

    polarity="merged" adds both polarities in one channel; "signed" subtracts OFF events.

    >>> events = Events(t=[0, 10], x=[1, 1], y=[0, 0], p=[1, 1], size=(4, 3))
    >>> round(leaky(events, tau=10)[0, 1, 0, 1].item(), 4)
    1.3679
    """
    options = {
        "tau": tau,
        "n": n,
        "duration": duration,
        "polarity": polarity,
        "bounds": bounds,
    }
    return build(LEAKY, events, options)


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    tau: Microseconds = 50_000,
    n: int | None = None,
    duration: Microseconds | None = None,
    polarity: Polarity = "split",
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    if tau < 1:
        raise OptionError(f"leaky: tau is {tau}, expected at least 1 µs")
    width, height = size
    length = n_slices("leaky", whole, n, duration)
    return length, 2 if polarity == "split" else 1, height, width


def _add(
    out: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    tau: int,
    duration: int | None,
    polarity: Polarity,
    bounds: Bounds,
    **options: object,
) -> int:
    borders = time_borders(whole, len(out), duration)
    sign = -1.0 if polarity == "signed" else 1.0
    columns = events.t, events.x, events.y, events.p
    placed = _accumulate(out, borders, *columns, float(tau), sign)
    return check_bounds(events, placed, out.shape[2:], bounds)


def _finish(
    out: np.ndarray,
    state: np.ndarray,
    whole: Whole,
    *,
    tau: int,
    duration: int | None,
    **options: object,
) -> None:
    borders = time_borders(whole, len(out), duration)
    for k in range(1, len(out)):
        out[k] += out[k - 1] * np.float32(np.exp(-float(borders[k + 1] - borders[k]) / tau))


@jit
def _accumulate(
    out: np.ndarray,
    borders: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    tau: float,
    sign: float,
) -> int:
    """Add each event to its slice, decayed to the end of the slice; returns how many."""
    length, channels, height, width = out.shape
    cells = out.reshape(length * channels * height * width)
    # Unsigned numbers: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    on = pixels if channels == 2 else np.uint64(0)
    plane = np.uint64(channels) * pixels
    k = placed = 0
    # An exponential takes longer than the rest together. It is a product of two table look-ups:
    # exp(−age / tau) = exp(−(age >> 10 << 10) / tau) · exp(−(age & 1023) / tau).
    off = np.float32(sign)
    low = np.exp(-np.arange(1024) / tau)
    before, high = np.int64(-1), 0.0
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint32(x[j]), np.uint32(y[j])
        if column < w and row < h:
            k = slice_of(borders, t[j], k)
            age = max(borders[k + 1] - 1 - t[j], np.int64(0))
            if age >> 10 != before:
                before = age >> 10
                high = np.exp(-float(before << 10) / tau)
            weight = np.float32(high * low[age & 1023])
            cell = np.uint64(k) * plane + np.uint64(row * w + column)
            cell += on if p[j] else np.uint64(0)
            cells[cell] += weight if p[j] else off * weight
            placed += 1
    return placed


LEAKY = REPRESENTATIONS.register(
    Representation(
        name="leaky",
        dtype=np.float32,
        shape=_shape,
        add=_add,
        finish=_finish,
        fixed=lambda options: options["duration"] is None,
    )
)
