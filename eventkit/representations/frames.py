"""Frames: events counted per pixel and polarity in the slices of a recording.

Every rule comes down to where frames begin, in event numbers or in times: `_borders` knows our
rules and those of two other libraries, and one kernel counts whatever lies between two borders.
"""

import math
from typing import Literal

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.representations import (
    REPRESENTATIONS,
    Representation,
    Whole,
    build,
    empty_bins,
    refuse_outside,
)

By = Literal["number", "time"]
Like = Literal["spikingjelly", "tonic"]
Bounds = Literal["raise", "drop"]

_PEER = {"spikingjelly": "SpikingJelly", "tonic": "Tonic"}
_LIMIT = {None: 65_535, "spikingjelly": 65_535, "tonic": 32_767}  # Tonic counts in int16
_ADVICE = {
    None: "leave them out with bounds='drop'",
    "spikingjelly": "SpikingJelly stops there or counts them in other pixels; crop them off first",
    "tonic": "Tonic stops there; crop them off first",
}


def frames(
    events: Events,
    *,
    n: int | None = None,
    by: By = "number",
    duration: int | None = None,
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> np.ndarray:
    """Count events per pixel in slices: uint16 (T, 2, H, W), channel 0 = OFF, 1 = ON.

    Of N events from time t0 to t1, each lands in exactly one frame:

    - `n` frames (16 unless said otherwise) by number: event i in frame i·n // N, in the order
      given. By time: in frame (t − t0)·n // (t1 − t0 + 1), whatever the order.
    - Frames of a `duration` in µs, instead of n and by: in frame (t − t0) // duration. There are
      (t1 − t0) // duration + 1 of them, the last one partial; one if there are no events.

    Frames without events are zero; a warning tells how many.

    `like` gives the frames of SpikingJelly 2.0 or of Tonic 1.7's ToFrame instead, value for value.
    Both begin frame k at k·step, the step being N // n events, (t1 − t0) // n µs or the duration.
    SpikingJelly adds all that is left to the last frame and makes ceil((t1 − t0) / duration)
    frames; Tonic drops it and makes at least one frame.

    OptionError: more than 65,535 events in a pixel of a frame; events outside the sensor, unless
    bounds="drop" leaves them out; with `like`, all that makes that library fail or miscount.

    >>> events = Events(t=[0, 5, 9], x=[1, 1, 0], y=[0, 0, 2], p=[1, 0, 1], size=(4, 3))
    >>> frames(events, n=2).sum(axis=(2, 3)).tolist()
    [[1, 1], [0, 1]]
    """
    options = {"n": n, "by": by, "duration": duration, "like": like, "bounds": bounds}
    return build(FRAMES, events, options)


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    n: int | None = None,
    by: By = "number",
    duration: int | None = None,
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    if n is not None and duration is not None:
        raise OptionError(f"frames: n={n} and duration={duration} are both given, expected one")
    for name, value in (("n", n), ("duration", duration)):
        if value is not None and value < 1:
            raise OptionError(f"frames: {name} is {value}, expected at least 1")
    width, height = size
    return _length(whole, n, duration, like), 2, height, width


def _length(whole: Whole, n: int | None, duration: int | None, like: Like | None) -> int:
    if duration is None:
        return 16 if n is None else n
    span = whole.t1 - whole.t0
    if like == "spikingjelly":
        return math.ceil(float(span) / float(duration))  # in float64, as it does
    if like == "tonic":
        return max(1, span // duration)
    return span // duration + 1


def _borders(
    whole: Whole, length: int, by_time: bool, duration: int | None, like: Like | None
) -> np.ndarray:
    """The first event number (or time) of each frame, and the first after them: int64 (T + 1,)."""
    span = whole.t1 - whole.t0
    first, end = (whole.t0, whole.t1 + 1) if by_time else (0, whole.n)
    frame = np.arange(length + 1)
    if duration is None and like is None:
        # i falls in frame i·length // total; the least i of frame k is ceil(k·total / length).
        # Taken apart like this, no product exceeds int64.
        step, rest = divmod(end - first, length)
        return first + frame * step - (-frame * rest) // length
    if duration is not None:
        step = min(duration, span + 1)  # the same frames, and small enough for int64
    else:
        step = (span if by_time else whole.n) // length
    borders = first + frame * step
    borders[-1] = min(borders[-1], end) if like == "tonic" else end
    return borders


def _add(
    out: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    n: int | None,
    by: By,
    duration: int | None,
    like: Like | None,
    bounds: Bounds,
) -> int:
    by_time = by == "time" or duration is not None
    borders = _borders(whole, len(out), by_time, duration, like)
    if by_time:
        events = events if whole.ordered else events.sort()
        if like == "spikingjelly" and duration is None:
            _check_last_bin(out, events, borders, whole)
        borders = np.searchsorted(events.t, borders)
    else:
        borders = np.clip(borders - first, 0, len(events))
    limit = _LIMIT[like]
    may_overflow = whole.n > limit and (
        len(events) < whole.n or bool((np.diff(borders) > limit).any())
    )
    placed, seen = _count(out, events.x, events.y, events.p, borders, may_overflow)
    if seen > limit:
        _refuse_overflow(out, events, borders, like)
    start, stop = int(borders[0]), int(borders[-1])
    if placed < stop - start and (like or bounds == "raise"):
        refuse_outside(events[start:stop], stop - start - placed, out, _ADVICE[like])
    return placed


@jit
def _count(
    out: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    borders: np.ndarray,
    may_overflow: bool,
) -> tuple[int, int]:
    """Count the events borders[k]..borders[k + 1] into frame k, those outside of it excepted.

    Returns how many were counted and, if counters may overflow, all counts met, or-ed together:
    that is above 2^m − 1 if and only if one of them was.
    """
    length, _, height, width = out.shape
    counts = out.reshape(length * 2 * height * width)
    # Unsigned numbers throughout: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    seen = np.uint32(0)
    outside = 0
    for k in range(length):
        frame = np.uint64(k) * np.uint64(2) * pixels
        for i in range(borders[k], borders[k + 1]):
            j = np.uint64(i)
            column, row = np.uint32(x[j]), np.uint32(y[j])
            if column < w and row < h:
                cell = frame + np.uint64(row * w + column) + (pixels if p[j] else np.uint64(0))
                count = np.uint32(counts[cell]) + np.uint32(1)
                counts[cell] = count
                if may_overflow:
                    seen |= count
            else:
                outside += 1
    return borders[length] - borders[0] - outside, int(seen)


def _refuse_overflow(
    out: np.ndarray, events: Events, borders: np.ndarray, like: Like | None
) -> None:
    """Raise the OptionError for counters that have wrapped; names the fullest one."""
    part = events[borders[0] : borders[-1]]
    frame = np.repeat(np.arange(len(out)), np.diff(borders))
    inside = (part.x < out.shape[3]) & (part.y < out.shape[2])
    index = [column[inside].astype(np.int64) for column in (frame, part.p != 0, part.y, part.x)]
    cells, added = np.unique(np.ravel_multi_index(index, out.shape), return_counts=True)
    # A counter that wrapped holds the right number modulo 65,536, and so does the difference.
    total = added + (out.reshape(-1)[cells] - added.astype(out.dtype))
    worst = int(total.argmax())
    k, channel, row, column = (int(i) for i in np.unravel_index(cells[worst], out.shape))
    holder = "a Tonic frame, int16," if like == "tonic" else "a frame, uint16,"
    raise OptionError(
        f"frame {k} would count {total[worst]:,} {('OFF', 'ON')[channel]} events in the pixel "
        f"x={column}, y={row}, {holder} holds {_LIMIT[like]:,}; "
        "make more or shorter frames, or remove that pixel's events"
    )


def _check_last_bin(out: np.ndarray, events: Events, borders: np.ndarray, whole: Whole) -> None:
    """Refuse what SpikingJelly fails on: a last bin that is empty but for the events after it.

    Its last frame takes the events from n·step on, which follow the last bin, but only if the bin
    itself holds one. In order of time, that must be the event before the first of these.
    """
    step, last_bin = (whole.t1 - whole.t0) // len(out), borders[-2]
    i = int(np.searchsorted(events.t, last_bin + step))
    holds_one = events.t[i - 1] >= last_bin if i else out[-1].any()
    if whole.ordered and step and i < len(events) and not holds_one:
        _refuse_empty(len(out) - 1, len(out))


def _finish(
    out: np.ndarray,
    whole: Whole,
    *,
    n: int | None,
    by: By,
    duration: int | None,
    like: Like | None,
    bounds: Bounds,
) -> None:
    """With `like`, refuse the samples that make the other library fail or miscount."""
    if like is None or (by == "number" and duration is None):
        return
    if not whole.ordered:
        raise OptionError(f"time goes back, which {_PEER[like]} miscounts; sort the events first")
    if like == "tonic":
        if max(-whole.t0, whole.t1) >= 1 << 53:
            raise OptionError(f"times to {whole.t1} µs are not exact in Tonic's float64")
        return
    span = whole.t1 - whole.t0
    if span < (len(out) if duration is None else 1):
        raise OptionError(
            f"times span {span} µs, too little for SpikingJelly to cut by time: it stops with an "
            "error; leave out like='spikingjelly', or cut by number"
        )
    empty = empty_bins(out)
    if duration is None and empty.any():
        _refuse_empty(int(empty.argmax()), len(out))


def _refuse_empty(k: int, length: int) -> None:
    raise OptionError(
        f"frame {k} of {length} holds no event, on which SpikingJelly stops with an IndexError; "
        "leave out like='spikingjelly', or cut by number"
    )


FRAMES = REPRESENTATIONS.register(
    Representation(
        name="frames",
        dtype=np.uint16,
        shape=_shape,
        add=_add,
        finish=_finish,
        fixed=lambda options: options["duration"] is None,
        columns=lambda options: (
            "xyp" if options["by"] == "number" and options["duration"] is None else "txyp"
        ),
    )
)
