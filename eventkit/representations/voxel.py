"""Voxel grid: each event is shared, by time, between the two nearest of a few bins.

Zhu et al., Unsupervised Event-based Learning of Optical Flow, Depth, and Egomotion, CVPR 2019,
section 3.1; by default with a channel per polarity instead of a sign.
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

Polarity = Literal["split", "signed"]
Normalize = Literal["none", "nonzero", "max"]
Like = Literal["tonic", "e2vid"]

# Past this, float32 does not notice one event more.
_MOST = 1 << 24


def voxel(
    events: Events,
    *,
    bins: int = 5,
    polarity: Polarity = "split",
    normalize: Normalize = "none",
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> np.ndarray:
    """Share events between `bins` points in time: float32 (bins, 2, H, W), channel 0 = OFF, 1 = ON.

    With t* = (bins − 1)·(t − t0) / (t1 − t0), t0 and t1 the first and last time, an event adds
    max(0, 1 − |b − t*|) to bin b in the channel of its polarity: 1 in all, so the sum is the number
    of events. If all events have one time, or there is one bin, they are in bin 0.

    polarity="signed" gives one channel, to which OFF events add the negative, as in the paper.
    normalize="nonzero" shifts and scales the values that are not 0 to mean 0 and standard deviation
    1; "max" divides by the largest magnitude.

    like="e2vid" is the grid of E2VID (Rebecq et al. 2019), which is signed and normalised by its
    values other than 0. like="tonic" is Tonic 1.7's ToVoxelGrid for integer polarities: signed,
    with t* = bins·(t − t0) / (t1 − t0), so that the share of an event beyond the last bin is lost.
    Both give float32 instead of float64.

    OptionError: events outside the sensor, unless bounds="drop" leaves them out; more than
    16,777,216 of them in one place; `like` with other options that it decides.

    >>> events = Events(t=[0, 5, 8], x=[1, 1, 0], y=[0, 0, 2], p=[1, 0, 1], size=(4, 3))
    >>> voxel(events, bins=3).sum(axis=(1, 2, 3)).tolist()
    [1.0, 0.75, 1.25]
    """
    options = {
        "bins": bins,
        "polarity": polarity,
        "normalize": normalize,
        "like": like,
        "bounds": bounds,
    }
    return build(VOXEL, events, options)


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    bins: int = 5,
    polarity: Polarity = "split",
    normalize: Normalize = "none",
    like: Like | None = None,
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    if bins < 1:
        raise OptionError(f"voxel: bins is {bins}, expected at least 1")
    if like is not None and (polarity, normalize) != ("split", "none"):
        raise OptionError(f"voxel: like={like} decides polarity and normalize; leave them out")
    width, height = size
    return bins, 2 if _split(polarity, like) else 1, height, width


def _split(polarity: Polarity, like: Like | None) -> bool:
    return polarity == "split" and like is None


def _add(
    out: np.ndarray,
    events: Events,
    whole: Whole,
    first: int,
    *,
    bins: int,
    polarity: Polarity,
    like: Like | None,
    bounds: Bounds,
    **options: object,
) -> int:
    span = max(1, whole.t1 - whole.t0)
    columns = events.t, events.x, events.y, events.p
    if like == "tonic":
        if whole.t1 == whole.t0 and whole.n:
            raise OptionError(
                "voxel: all events have one time, for which Tonic's grid is NaN; leave out like"
            )
        placed = int(_share_tonic(out, *columns, whole.t0, span))
    else:
        placed = int(_share(out, *columns, whole.t0, span, _split(polarity, like)))
    return check_bounds(events, placed, out.shape[2:], bounds)


def _finish(
    out: np.ndarray,
    state: np.ndarray,
    whole: Whole,
    *,
    normalize: Normalize,
    like: Like | None,
    **options: object,
) -> None:
    if whole.n >= _MOST and max(out.max(), -out.min()) >= _MOST:
        raise OptionError(
            f"voxel: more than {_MOST:,} events in one pixel of a bin, float32 cannot count them; "
            "ask for more bins, or cut the recording"
        )
    if normalize == "max":
        out /= max(float(np.abs(out).max()), 1e-30)
    elif normalize == "nonzero" or like == "e2vid":
        _normalize(out.reshape(-1))


@jit
def _share(
    out: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    t0: int,
    span: int,
    split: bool,
) -> int:
    """Add the events that lie in `out`, and return how many they were."""
    bins, channels, height, width = out.shape
    cells = out.reshape(bins * channels * height * width)
    # Unsigned numbers: a signed index costs a test for negative ones at every event.
    w, h, pixels = np.uint32(width), np.uint32(height), np.uint64(height * width)
    plane = np.uint64(channels) * pixels
    to_right = plane if bins > 1 else np.uint64(0)
    # The two layouts differ in what an ON and an OFF event do, looked up instead of tested for.
    on = pixels if split else np.uint64(0)
    sign = np.float32(1.0) if split else np.float32(-1.0)
    left_most = max(bins - 2, 0)
    top = float(bins - 1)
    scale = top / float(span)
    placed = 0
    for i in range(len(t)):
        j = np.uint64(i)
        column, row = np.uint32(x[j]), np.uint32(y[j])
        if column < w and row < h:
            # Rounded to steps of 2^-24, which float32 resolves: whole numbers come out whole
            # without a division, and the two shares make exactly 1.
            at = (float(t[j] - t0) * scale + 268435456.0) - 268435456.0
            at = min(max(at, 0.0), top)
            left = min(int(at), left_most)
            share = np.float32(at - left)
            cell = np.uint64(left) * plane + np.uint64(row * w + column)
            cell += on if p[j] else np.uint64(0)
            weight = np.float32(1.0) if p[j] else sign
            cells[cell] += weight * (np.float32(1.0) - share)
            cells[cell + to_right] += weight * share
            placed += 1
    return placed


@jit
def _share_tonic(
    out: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    t0: int,
    span: int,
) -> int:
    """Add the events as Tonic does, in the order of its float64 operations."""
    bins, _, height, width = out.shape
    placed = 0
    for i in range(len(t)):
        if x[i] < width and y[i] < height:
            at = bins * float(t[i] - t0) / float(span)
            at = min(max(at, 0.0), float(bins))
            left = int(at)
            share = at - left
            sign = 1.0 if p[i] else -1.0
            if left < bins:
                out[left, 0, y[i], x[i]] += sign * (1.0 - share)
            if left + 1 < bins:
                out[left + 1, 0, y[i], x[i]] += sign * share
            placed += 1
    return placed


@jit
def _normalize(values: np.ndarray) -> None:
    """Shift and scale the values other than 0 to mean 0, standard deviation 1, in place."""
    n, total, squares = 0, 0.0, 0.0
    for value in values:
        n += value != 0
        total += float(value)
        squares += float(value) ** 2
    mean = total / max(n, 1)
    deviation = np.sqrt(max(squares / max(n, 1) - mean**2, 0.0))
    if deviation == 0:
        deviation = 1.0  # all of them equal: only shifted, where the authors' code gives NaN
    for i in range(len(values)):
        if values[i] != 0:
            values[i] = (values[i] - mean) / deviation


VOXEL = REPRESENTATIONS.register(
    Representation(
        name="voxel",
        dtype=np.float32,
        shape=_shape,
        add=_add,
        finish=_finish,
        counts=lambda options: _split(options["polarity"], options["like"]),
    )
)
