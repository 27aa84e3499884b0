"""Frames: events counted per pixel and polarity in the slices of a recording.

Every rule comes down to where frames begin and end, in event numbers or in times: `_slices` knows
our rules and those of two other libraries, and a kernel counts what lies between.
"""

import math
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
    empty_bins,
    refuse_outside,
)
from eventkit.representations._slices import count_slices, equal_parts
from eventkit.units import Microseconds

By = Literal["number", "time"]
Like = Literal["spikingjelly", "tonic"]
Value = Literal["count", "binary", "signed"]
Polarity = Literal["split", "merged", "on", "off"]

_DTYPE: dict[str, type[np.generic]] = {"count": np.uint16, "binary": np.uint8, "signed": np.int16}
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
    duration: int | str | None = None,
    count: int | None = None,
    stride: int | str | None = None,
    value: Value = "count",
    polarity: Polarity = "split",
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> np.ndarray:
    """Events per pixel in slices of a recording: uint16 (T, 2, H, W), channel 0 = OFF, 1 = ON.

    Of N events from time t0 to t1, each lands in exactly one frame:

    - `n` frames (16 by default) by number: event i in frame i·n // N, in the order given. By time:
      in frame (t − t0)·n // (t1 − t0 + 1), whatever the order.
    - Frames of a `duration` in µs, instead of n and by: in frame (t − t0) // duration. There are
      (t1 − t0) // duration + 1 of them, the last one partial; one if there are no events.
    - Frames of `count` events: event i in frame i // count, the last one partial.

    With a `stride` (µs or events) of at most the duration or count, frame k begins at k·stride:
    frames overlap, and there are as many as it takes to reach the last event.

    `value` is what a pixel holds: the "count" of its events (uint16), "binary" (uint8), 1 where
    there is one, or "signed" (int16), to which ON events add 1 and OFF events −1. `polarity`
    "split" gives a channel each, "merged" one channel for both, "on" or "off" one channel with the
    events of that polarity only.

    Frames without events are zero; a warning says how many.

    `like` gives the frames of SpikingJelly 2.0 or of Tonic 1.7's ToFrame instead, value for value.
    Both begin frame k at k·step, the step being N // n events, (t1 − t0) // n µs or the duration.
    SpikingJelly adds all that is left to the last frame and makes ceil((t1 − t0) / duration)
    frames; Tonic drops it and makes at least one frame.

    OptionError: more than 65,535 events in a pixel of a frame (signed: 32,767); events outside the
    sensor, unless bounds="drop" leaves them out; with `like`, all that makes that library fail or
    miscount, and options that it does not have.

    >>> events = Events(t=[0, 5, 9], x=[1, 1, 0], y=[0, 0, 2], p=[1, 0, 1], size=(4, 3))
    >>> frames(events, n=2).sum(axis=(2, 3)).tolist()
    [[1, 1], [0, 1]]
    >>> frames(events, count=2, stride=1, polarity="merged").sum(axis=(2, 3)).tolist()
    [[2], [2]]
    """
    options = {
        "n": n,
        "by": by,
        "duration": duration,
        "count": count,
        "stride": stride,
        "value": value,
        "polarity": polarity,
        "like": like,
        "bounds": bounds,
    }
    return build(FRAMES, events, options)


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    n: int | None = None,
    by: By = "number",
    duration: Microseconds | None = None,
    count: int | None = None,
    stride: Microseconds | None = None,
    value: Value = "count",
    polarity: Polarity = "split",
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    lengths = {"n": n, "duration": duration, "count": count}
    given = {key: length for key, length in lengths.items() if length is not None}
    if len(given) > 1:
        text = " and ".join(f"{key}={length}" for key, length in given.items())
        raise OptionError(f"frames: {text} are given together, expected one")
    for key, length in {**given, "stride": stride}.items():
        if length is not None and length < 1:
            raise OptionError(f"frames: {key} is {length}, expected at least 1")
    longest = duration or count
    if stride is not None and (longest is None or stride > longest):
        found = "n" if longest is None else f"{longest}"
        raise OptionError(
            f"frames: stride={stride} with {found}; expected a stride of at most the duration or "
            "the count of a frame, as frames further apart would lose events"
        )
    if like is not None and (count, stride, value, polarity) != (None, None, "count", "split"):
        raise OptionError(
            f"frames: like={like} goes with n, by and duration only; leave out the other options"
        )
    width, height = size
    channels = 2 if polarity == "split" else 1
    return _length(whole, n, duration, count, stride, like), channels, height, width


def _length(
    whole: Whole,
    n: int | None,
    duration: int | None,
    count: int | None,
    stride: int | None,
    like: Like | None,
) -> int:
    span = whole.t1 - whole.t0
    if count is not None:
        return count_slices(whole.n, count, stride)
    if duration is None:
        return 16 if n is None else n
    if like == "spikingjelly":
        return math.ceil(float(span) / float(duration))  # in float64, as it does
    if like == "tonic":
        return max(1, span // duration)
    return count_slices(span + 1, duration, stride)


def _slices(
    whole: Whole,
    length: int,
    by_time: bool,
    slice_: int | None,
    stride: int | None,
    like: Like | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The first event number (or time) of each frame, and the first after it: 2 x int64 (T,).

    `slice_` is the length of a frame if that is given: events or µs.
    """
    span = whole.t1 - whole.t0
    first, end = (whole.t0, whole.t1 + 1) if by_time else (0, whole.n)
    if slice_ is None and like is None:
        borders = equal_parts(first, end, length)
        return borders[:-1], borders[1:]
    if slice_ is not None:
        slice_ = min(slice_, end - first)  # the same frames, and small enough for int64
        starts = first + np.arange(length) * min(stride or slice_, slice_)
        stops = np.minimum(starts + slice_, end)
    else:
        step = (span if by_time else whole.n) // length
        starts = first + np.arange(length) * step
        stops = starts + step
    stops[-1:] = np.minimum(stops[-1:], end) if like == "tonic" else end
    return starts, stops


def _add(
    out: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    n: int | None,
    by: By,
    duration: int | None,
    count: int | None,
    stride: int | None,
    value: Value,
    polarity: Polarity,
    like: Like | None,
    bounds: Bounds,
) -> int:
    if not len(out):
        return 0
    by_time = duration is not None or (by == "time" and count is None)
    starts, stops = _slices(whole, len(out), by_time, duration or count, stride, like)
    if by_time:
        events = events if whole.ordered else events.sort()
        if like == "spikingjelly" and duration is None:
            _check_last_bin(out, events, starts, whole)
        starts, stops = (np.searchsorted(events.t, ends) for ends in (starts, stops))
    else:
        starts, stops = (np.clip(ends - first, 0, len(events)) for ends in (starts, stops))
    limit = 32_767 if value == "signed" else _LIMIT[like]
    may_overflow = whole.n > limit and (
        len(events) < whole.n or bool((stops - starts > limit).any())
    )
    if value == "count" and polarity == "split":
        outside, seen = _count(out, events.x, events.y, events.p, starts, stops, may_overflow)
        skipped = 0
    else:
        steps = (-1, 1) if value == "signed" else (1, 1)
        channels = {"split": (0, 1), "merged": (0, 0), "on": (-1, 0), "off": (0, -1)}[polarity]
        outside, skipped, seen = _count_as(
            out, events.x, events.y, events.p, starts, stops, channels, steps, value == "binary"
        )
    if seen > limit:
        _refuse_overflow(out, events, starts, stops, value, polarity, like)
    start, stop = int(starts[0]), int(stops[-1])
    if outside and (like or bounds == "raise"):
        refuse_outside(events[start:stop], outside, out.shape[2:], _ADVICE[like])
    return stop - start - outside - skipped


@jit
def _count(
    out: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    may_overflow: bool,
) -> tuple[int, int]:
    """Count the events starts[k]..stops[k] into frame k, those outside of the sensor excepted.

    Returns how many were outside and, if counters may overflow, all counts met, or-ed together:
    that is above 2^m − 1 if and only if one of them was.
    """
    length, _, height, width = out.shape
    counts = out.reshape(length * 2 * height * width)
    # Unsigned numbers throughout: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    seen = np.uint32(0)
    outside = 0
    before = 0  # events from here on are in a frame for the first time
    for k in range(length):
        frame = np.uint64(k) * np.uint64(2) * pixels
        for i in range(starts[k], stops[k]):
            j = np.uint64(i)
            column, row = np.uint32(x[j]), np.uint32(y[j])
            if column < w and row < h:
                cell = frame + np.uint64(row * w + column) + (pixels if p[j] else np.uint64(0))
                count = np.uint32(counts[cell]) + np.uint32(1)
                counts[cell] = count
                if may_overflow:
                    seen |= count
            else:
                outside += i >= before
        before = stops[k]
    return outside, int(seen)


@jit
def _count_as(
    out: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    channels: tuple[int, int],
    steps: tuple[int, int],
    binary: bool,
) -> tuple[int, int, int]:
    """Like `_count`, with the channel and the step of each polarity; channel −1 is left out.

    Returns how many were outside, how many left out, and the largest magnitude met.
    """
    length, n_channels, height, width = out.shape
    cells = out.reshape(length * n_channels * height * width)
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    largest = 0
    outside = skipped = before = 0
    for k in range(length):
        frame = np.uint64(k * n_channels) * pixels
        for i in range(starts[k], stops[k]):
            j = np.uint64(i)
            column, row = np.uint32(x[j]), np.uint32(y[j])
            channel = channels[1] if p[j] else channels[0]
            if column >= w or row >= h:
                outside += i >= before
            elif channel < 0:
                skipped += i >= before
            else:
                cell = frame + np.uint64(channel) * pixels + np.uint64(row * w + column)
                step = steps[1] if p[j] else steps[0]
                value = 1 if binary else int(cells[cell]) + step
                cells[cell] = value
                largest = max(largest, abs(value))
        before = stops[k]
    return outside, skipped, largest


def _refuse_overflow(
    out: np.ndarray,
    events: Events,
    starts: np.ndarray,
    stops: np.ndarray,
    value: Value,
    polarity: Polarity,
    like: Like | None,
) -> None:
    """Raise the OptionError for counters that have wrapped; names the fullest one."""
    frame = np.repeat(np.arange(len(out)), stops - starts)
    number = np.concatenate([np.arange(*ends) for ends in zip(starts, stops, strict=True)])
    x, y, p = (column[number].astype(np.int64) for column in (events.x, events.y, events.p))
    inside = (x < out.shape[3]) & (y < out.shape[2])
    if polarity in ("on", "off"):
        inside &= (p != 0) == (polarity == "on")
    channel = (p != 0) if polarity == "split" else np.zeros_like(p)
    cells, added = np.unique(
        np.ravel_multi_index([column[inside] for column in (frame, channel, y, x)], out.shape),
        return_counts=True,
    )
    if value == "count":
        # A counter that wrapped holds the right number modulo 65,536, and so does the difference.
        added = added + (out.reshape(-1)[cells] - added.astype(out.dtype))
    worst = int(added.argmax())
    k, channel_number, row, column = (int(i) for i in np.unravel_index(cells[worst], out.shape))
    kind = {"split": ("OFF ", "ON ")[channel_number], "on": "ON ", "off": "OFF "}.get(polarity, "")
    holder = "a Tonic frame, int16," if like == "tonic" else f"a frame, {out.dtype},"
    limit = np.iinfo(out.dtype).max if like is None else _LIMIT[like]
    raise OptionError(
        f"frame {k} would count {added[worst]:,} {kind}events in the pixel "
        f"x={column}, y={row}, {holder} holds {limit:,}; "
        "make more or shorter frames, or remove that pixel's events"
    )


def _check_last_bin(out: np.ndarray, events: Events, starts: np.ndarray, whole: Whole) -> None:
    """Refuse what SpikingJelly fails on: a last bin that is empty but for the events after it.

    Its last frame takes the events from n·step on, which follow the last bin, but only if the bin
    itself holds one. In order of time, that must be the event before the first of these.
    """
    step, last_bin = (whole.t1 - whole.t0) // len(out), starts[-1]
    i = int(np.searchsorted(events.t, last_bin + step))
    holds_one = events.t[i - 1] >= last_bin if i else out[-1].any()
    if whole.ordered and step and i < len(events) and not holds_one:
        _refuse_empty(len(out) - 1, len(out))


def _finish(
    out: np.ndarray,
    state: np.ndarray,
    whole: Whole,
    *,
    by: By,
    duration: int | None,
    like: Like | None,
    **options: object,
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
        dtype=lambda options: _DTYPE[options["value"]],
        shape=_shape,
        add=_add,
        finish=_finish,
        fixed=lambda options: options["duration"] is None and options["count"] is None,
        counts=lambda options: (
            options["value"] != "signed" and options["polarity"] in ("split", "merged")
        ),
        columns=lambda options: (
            "xyp" if options["by"] == "number" and options["duration"] is None else "txyp"
        ),
    )
)
