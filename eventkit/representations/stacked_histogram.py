"""Stacked histogram: event counts in a few bins per window, the input of RVT and its successors.

Gehrig and Scaramuzza, Recurrent Vision Transformers for Object Detection with Event Cameras,
CVPR 2023, section 3.1.
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
from eventkit.representations._slices import count_slices, equal_parts, slice_of
from eventkit.units import Microseconds

Like = Literal["rvt"]


def stacked_histogram(
    events: Events,
    *,
    bins: int = 10,
    window: int | str | None = None,
    cutoff: int | None = None,
    downsample: int = 1,
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> np.ndarray:
    """Counts in `bins` equal bins of time per window: uint8 (windows, 2·bins, H, W).

    Channels are the OFF bins, then the ON bins. Windows of `window` µs follow each other from the
    first event on; by default the whole sample is one. Windows and bins are half-open: an event at
    time t of a window from a to b is in bin (t − a)·bins // (b − a). Counts stop at `cutoff`
    (255 by default) instead of wrapping.

    With `downsample` n, only the middle pixel of each block of n x n is kept, (H // n, W // n): of
    2 x 2 the lower right one. The first and last event are still those of all pixels.

    like="rvt" gives the authors' preprocessing of one window: bins between its first and last event
    in float32, both ends included, counts that wrap at 256 before they are cut off, and a cutoff of
    10. To cut a recording into windows as they do, make each window a sample. Their 1 Mpx data has
    downsample=2 (torch's nearest-exact).

    >>> events = Events(t=[0, 5, 9], x=[1, 1, 0], y=[0, 0, 2], p=[1, 0, 1], size=(4, 3))
    >>> stacked_histogram(events, bins=2).sum(axis=(2, 3)).tolist()
    [[0, 1, 1, 1]]
    """
    options = {
        "bins": bins,
        "window": window,
        "cutoff": cutoff,
        "downsample": downsample,
        "like": like,
        "bounds": bounds,
    }
    return build(STACKED_HISTOGRAM, events, options)


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    bins: int = 10,
    window: Microseconds | None = None,
    cutoff: int | None = None,
    downsample: int = 1,
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    if bins < 1:
        raise OptionError(f"stacked_histogram: bins is {bins}, expected at least 1")
    if window is not None and window < bins:
        raise OptionError(
            f"stacked_histogram: window={window} µs has less than 1 µs for each of {bins} bins; "
            "ask for a longer window or fewer bins"
        )
    if cutoff is not None and not 1 <= cutoff <= 255:
        raise OptionError(f"stacked_histogram: cutoff is {cutoff}, expected 1 to 255")
    if like == "rvt" and window is not None:
        raise OptionError(
            "stacked_histogram: like=rvt makes one window of a sample; leave out window"
        )
    width, height = (side // downsample if downsample >= 1 else 0 for side in size)
    if min(width, height) < 1:
        raise OptionError(
            f"stacked_histogram: downsample is {downsample}, expected at least 1 and at most the "
            f"sides of the sensor, {size[0]}x{size[1]}"
        )
    windows = 1 if window is None else count_slices(whole.t1 - whole.t0 + 1, window)
    return windows, 2 * bins, height, width


def _add(
    out: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    bins: int,
    window: int | None,
    cutoff: int | None,
    downsample: int,
    like: Like | None,
    bounds: Bounds,
) -> int:
    if downsample > 1:
        check_bounds(events, len(events) - events.out_of_bounds, events.size[::-1], bounds)
        events, bounds = _thinned(events, downsample), "drop"
    columns = events.t, events.x, events.y, events.p
    if like == "rvt":
        span = max(whole.t1 - whole.t0, 1)
        placed = _count_rvt(out[0], *columns, whole.t0, span)
    else:
        borders = _borders(whole, len(out), bins, window)
        placed = _count(out, borders, *columns, cutoff or 255)
    return check_bounds(events, placed, out.shape[2:], bounds)


def _thinned(events: Events, n: int) -> Events:
    """The events of the middle pixel of each block of n x n, on the smaller sensor."""
    kept = events[(events.x % n == n // 2) & (events.y % n == n // 2)]
    size = events.width // n, events.height // n
    return Events.trusted(kept.t, kept.x // n, kept.y // n, kept.p, size)


def _borders(whole: Whole, windows: int, bins: int, window: int | None) -> np.ndarray:
    """The first time of every bin of every window, and the end: int64 (windows · bins + 1,)."""
    if window is None:
        return equal_parts(whole.t0, whole.t1 + 1, bins)
    within = equal_parts(0, window, bins)
    starts = whole.t0 + np.arange(windows) * window
    return np.append((starts[:, None] + within[:-1]).reshape(-1), starts[-1] + window)


def _finish(
    out: np.ndarray,
    state: np.ndarray,
    whole: Whole,
    *,
    cutoff: int | None,
    like: Like | None,
    **options: object,
) -> None:
    if like == "rvt":
        np.minimum(out, 10 if cutoff is None else cutoff, out=out)


@jit
def _count(
    out: np.ndarray,
    borders: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    cutoff: int,
) -> int:
    windows, channels, height, width = out.shape
    bins = channels // 2
    cells = out.reshape(windows * channels * height * width)
    # Unsigned numbers: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    on = np.uint64(bins) * pixels
    k, placed, before = 0, 0, -1
    base = np.uint64(0)
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint32(x[j]), np.uint32(y[j])
        if column < w and row < h:
            k = slice_of(borders, t[j], k)
            if k != before:  # a division for each event takes longer than the rest
                base = np.uint64(k // bins * channels + k % bins) * pixels
                before = k
            cell = base + np.uint64(row * w + column) + (on if p[j] else np.uint64(0))
            count = cells[cell]
            cells[cell] = count + np.uint8(count < cutoff)
            placed += 1
    return placed


@jit
def _count_rvt(
    out: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    t0: int,
    span: int,
) -> int:
    """Count with bins in float32, as torch divides integers, and let counts wrap."""
    channels, height, width = out.shape
    bins = channels // 2
    placed = 0
    for i in range(len(t)):
        if x[i] < width and y[i] < height:
            at = np.float32(np.float32(t[i] - t0) / np.float32(span)) * np.float32(bins)
            k = min(max(int(at), 0), bins - 1)
            channel = k + (bins if p[i] else 0)
            out[channel, y[i], x[i]] += np.uint8(1)
            placed += 1
    return placed


def _panels(array: np.ndarray, size: tuple[int, int], **options: object) -> np.ndarray:
    """Each bin of each window as OFF and ON."""
    windows, channels, height, width = array.shape
    pairs = array.reshape(windows, 2, channels // 2, height, width)
    return pairs.swapaxes(1, 2).reshape(-1, 2, height, width)


STACKED_HISTOGRAM = REPRESENTATIONS.register(
    Representation(
        name="stacked_histogram",
        dtype=np.uint8,
        shape=_shape,
        add=_add,
        finish=_finish,
        fixed=lambda options: options["window"] is None,
        panels=_panels,
        counts=lambda options: options["like"] is None,
    )
)
