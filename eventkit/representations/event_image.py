"""Single images of a sample: counts and times per pixel, or colours."""

from typing import Any, Literal

import numpy as np

from eventkit._jit import jit
from eventkit.events import Events
from eventkit.representations import (
    REPRESENTATIONS,
    Bounds,
    Representation,
    Whole,
    build,
    check_bounds,
    scaled,
)

Polarity = Literal["split", "merged"]


def event_count_image(events: Events, *, bounds: Bounds = "raise") -> np.ndarray:
    """Counts and last times: float32 (1, 4, H, W), channels OFF count, ON count, OFF and ON time.

    A time is that of the pixel's last event as (t − t0) / (t1 − t0), 0 for never: the input of
    EV-FlowNet (Zhu et al., RSS 2018, section III-A).

    >>> events = Events(t=[0, 5, 10], x=[1, 1, 0], y=[0, 0, 2], p=[1, 1, 0], size=(4, 3))
    >>> event_count_image(events)[0, :, 0, 1].tolist()
    [0.0, 2.0, 0.0, 0.5]
    """
    return build(EVENT_COUNT_IMAGE, events, {"bounds": bounds})


def event_frame(
    events: Events, *, polarity: Polarity = "split", bounds: Bounds = "raise"
) -> np.ndarray:
    """Count, mean and standard deviation of time: float32 (1, 6, H, W), three of OFF, three of ON.

    Times are (t − t0) / (t1 − t0); a pixel without events has 0 in all. polarity="merged" gives the
    three channels of all events.

    >>> events = Events(t=[0, 5, 10], x=[1, 1, 1], y=[0, 0, 0], p=[1, 1, 1], size=(4, 3))
    >>> event_frame(events)[0, 3:, 0, 1].round(3).tolist()
    [3.0, 0.5, 0.40799999237060547]
    """
    return build(EVENT_FRAME, events, {"polarity": polarity, "bounds": bounds})


def tencode(events: Events, *, bounds: Bounds = "raise") -> np.ndarray:
    """The last event of each pixel as a colour: uint8 (1, 3, H, W), channels red, green, blue.

    ON is red 255, OFF is blue 255, and green is 255·(t1 − t) / (t1 − t0), rounded down: the older,
    the greener. Pixels without events are black. Of two events at one time, ON wins. Huang et al.,
    Eventpoint: Self-Supervised Interest Point Detection and Description for Event-Based Camera,
    WACV 2023.

    >>> events = Events(t=[0, 5, 10], x=[1, 1, 0], y=[0, 0, 2], p=[1, 0, 1], size=(4, 3))
    >>> tencode(events)[0, :, 0, 1].tolist()
    [0, 127, 255]
    """
    return build(TENCODE, events, {"bounds": bounds})


def _count_shape(
    whole: Whole, size: tuple[int, int], *, bounds: Bounds = "raise"
) -> tuple[int, int, int, int]:
    return 1, 4, size[1], size[0]


def _frame_shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    polarity: Polarity = "split",
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    return 1, 6 if polarity == "split" else 3, size[1], size[0]


def _tencode_shape(
    whole: Whole, size: tuple[int, int], *, bounds: Bounds = "raise"
) -> tuple[int, int, int, int]:
    return 1, 3, size[1], size[0]


def _moments_state(
    whole: Whole, size: tuple[int, int], *, polarity: Polarity = "split", **options: object
) -> np.ndarray:
    """Count, sum of times, sum of their squares, last time, side by side for each pixel.

    Side by side, an event touches one line of the processor's cache, not four.
    """
    channels = 2 if polarity == "split" else 1
    return np.zeros((channels, size[1], size[0], 4))


def _moments_add(
    state: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    bounds: Bounds,
    **options: object,
) -> int:
    scale = 1.0 / max(whole.t1 - whole.t0, 1)
    placed = _sum(state, events.t, events.x, events.y, events.p, whole.t0, scale)
    return check_bounds(events, placed, state.shape[1:3], bounds)


def _count_finish(out: np.ndarray, state: np.ndarray, whole: Whole, **options: object) -> None:
    out[0, :2] = state[..., 0]
    out[0, 2:] = state[..., 3]


def _frame_finish(out: np.ndarray, state: np.ndarray, whole: Whole, **options: object) -> None:
    n = np.maximum(state[..., 0], 1)
    mean = state[..., 1] / n
    out[0, 0::3] = state[..., 0]
    out[0, 1::3] = mean
    out[0, 2::3] = np.sqrt(np.maximum(state[..., 2] / n - mean**2, 0))


def _tencode_state(whole: Whole, size: tuple[int, int], **options: object) -> np.ndarray:
    """Of each pixel's last event 2·(t − t0) + p, −1 for none."""
    return np.full((size[1], size[0]), -1, np.int64)


def _tencode_add(
    state: np.ndarray, events: Events, whole: Whole, first: int, *, bounds: Bounds
) -> int:
    placed = _last(state, events.t, events.x, events.y, events.p, whole.t0)
    return check_bounds(events, placed, state.shape, bounds)


def _tencode_finish(out: np.ndarray, state: np.ndarray, whole: Whole, **options: Any) -> None:
    seen, on = state >= 0, state & 1
    age = (whole.t1 - whole.t0) - (state >> 1)
    green = np.floor(255.0 * age / max(whole.t1 - whole.t0, 1)).clip(0, 255)
    out[0, 0] = np.where(seen, on * 255, 0)
    out[0, 1] = np.where(seen, green, 0)
    out[0, 2] = np.where(seen, (1 - on) * 255, 0)


@jit
def _sum(
    state: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    t0: int,
    scale: float,
) -> int:
    channels, height, width, _ = state.shape
    values = state.reshape(channels * height * width * 4)
    # Unsigned numbers: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    on = pixels if channels == 2 else np.uint64(0)
    placed = 0
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint32(x[j]), np.uint32(y[j])
        if column < w and row < h:
            at = float(t[j] - t0) * scale
            cell = np.uint64(row * w + column) + (on if p[j] else np.uint64(0))
            cell *= np.uint64(4)
            values[cell] += 1.0
            values[cell + np.uint64(1)] += at
            values[cell + np.uint64(2)] += at * at
            values[cell + np.uint64(3)] = max(values[cell + np.uint64(3)], at)
            placed += 1
    return placed


@jit
def _last(
    state: np.ndarray, t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, t0: int
) -> int:
    height, width = state.shape
    placed = 0
    for i in range(len(t)):
        if x[i] < width and y[i] < height:
            key = 2 * (t[i] - t0) + np.int64(p[i] != 0)
            state[y[i], x[i]] = max(state[y[i], x[i]], key)
            placed += 1
    return placed


def _count_panels(array: np.ndarray, size: tuple[int, int], **options: object) -> np.ndarray:
    """Counts, then times, of OFF and ON."""
    return scaled(array.reshape(2, 2, *array.shape[2:]))


def _frame_panels(array: np.ndarray, size: tuple[int, int], **options: object) -> np.ndarray:
    """Count, mean and deviation, of OFF and ON."""
    return scaled(array.reshape(-1, 3, *array.shape[2:]).swapaxes(0, 1))


def _tencode_panels(array: np.ndarray, size: tuple[int, int], **options: object) -> np.ndarray:
    """OFF and ON, the more recent the brighter."""
    recent = 256 - array[:, 1].astype(np.int32)
    return np.stack([(array[:, 2] > 0) * recent, (array[:, 0] > 0) * recent], axis=1)


EVENT_COUNT_IMAGE = REPRESENTATIONS.register(
    Representation(
        name="event_count_image",
        dtype=np.float32,
        shape=_count_shape,
        begin=_moments_state,
        add=_moments_add,
        finish=_count_finish,
        panels=_count_panels,
    )
)
EVENT_FRAME = REPRESENTATIONS.register(
    Representation(
        name="event_frame",
        dtype=np.float32,
        shape=_frame_shape,
        begin=_moments_state,
        add=_moments_add,
        finish=_frame_finish,
        panels=_frame_panels,
    )
)
TENCODE = REPRESENTATIONS.register(
    Representation(
        name="tencode",
        dtype=np.uint8,
        shape=_tencode_shape,
        begin=_tencode_state,
        add=_tencode_add,
        finish=_tencode_finish,
        panels=_tencode_panels,
    )
)
