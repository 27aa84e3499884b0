"""Augmentations of frames in time and of what they count."""

import numpy as np

from eventkit._jit import jit
from eventkit.augment import AUGMENTATIONS, Augmentation, at_least, check_share, on_frames
from eventkit.augment._draw import seed_of, uniform
from eventkit.augment.events import Drop, draw_drop, draw_window


def temporal_delete(frames: np.ndarray, rng: np.random.Generator, *, keep: int) -> np.ndarray:
    """Keep that many of the T frames, chosen at random, in order; all if there are no more.

    Fang et al., Deep residual learning in spiking neural networks, NeurIPS 2021.
    """
    left = _length(len(frames), keep=keep)
    chosen = np.sort(rng.permutation(len(frames))[:left])
    for to, k in enumerate(chosen.tolist()):
        if to != k:
            frames[to] = frames[k]
    return frames[:left]


def _length(n_frames: int, *, keep: int) -> int:
    at_least("temporal_delete: keep", keep, 1)
    return min(n_frames, keep)


AUGMENTATIONS.register(Augmentation("temporal_delete", "frames", temporal_delete, _length))


@on_frames
def frame_drop(
    frames: np.ndarray, rng: np.random.Generator, *, by: Drop = "any", ratio: float | None = None
) -> np.ndarray:
    """EventDrop where there are only frames: the same draws as `event_drop`.

    `time` zeroes a run of `ratio` of the frames, `area` a box in all of them; `random` drops each
    counted event with probability `ratio`, in frames of another type than counts each value.
    """
    check_share("frame_drop: ratio", ratio)
    drawn, ratio = draw_drop(rng, by, ratio)
    if drawn == "time":
        first, end = draw_window(rng, len(frames), ratio)
        frames[first:end] = 0
    elif drawn == "area":
        (top, bottom), (left, right) = (draw_window(rng, s, ratio) for s in frames.shape[2:])
        frames[..., top:bottom, left:right] = 0
    elif drawn == "random":
        kernel = _thin if frames.dtype.kind == "u" else _zero
        kernel(frames.reshape(-1), ratio, seed_of(rng))
    return frames


@jit
def _thin(counts: np.ndarray, ratio: float, seed: np.uint64) -> None:
    """Drop each counted event with probability `ratio`."""
    drawn = 0
    for i in range(len(counts)):
        kept = 0
        for _ in range(counts[i]):
            kept += uniform(seed, drawn) >= ratio
            drawn += 1
        counts[i] = kept


@jit
def _zero(values: np.ndarray, ratio: float, seed: np.uint64) -> None:
    """Zero each value with probability `ratio`."""
    for i in range(len(values)):
        if uniform(seed, i) < ratio:
            values[i] = 0
