"""Augmentations of frames in space, nearest pixel: one map of pixels, shared by all T and C."""

from typing import Literal

import numpy as np

from eventkit._jit import jit
from eventkit.augment import at_least, check_share, on_frames
from eventkit.errors import OptionError

IDENTITY = np.eye(2)


@on_frames
def flip(
    frames: np.ndarray,
    rng: np.random.Generator,
    *,
    p: float = 0.5,
    axis: Literal["horizontal", "vertical"] = "horizontal",
) -> np.ndarray:
    """Mirror left and right (or top and bottom) with probability `p`."""
    check_share("flip: p", p)
    if rng.random() < p:
        reverse(frames, axis == "vertical")
    return frames


@on_frames
def shift(frames: np.ndarray, rng: np.random.Generator, *, share: float = 0.1) -> np.ndarray:
    """Move by up to `share` of the sides, in whole pixels; zeros move in."""
    check_share("shift: share", share)
    limits = [int(side * share) for side in frames.shape[2:]]
    down, right = (int(rng.integers(-limit, limit, endpoint=True)) for limit in limits)
    return move(frames, IDENTITY, (down, right))


@on_frames
def roll(frames: np.ndarray, rng: np.random.Generator, *, pixels: int = 5) -> np.ndarray:
    """Move by up to so many pixels; what leaves at one side comes back at the other."""
    at_least("roll: pixels", pixels, 0)
    return _roll(frames, rng, pixels)


@on_frames
def rotate(frames: np.ndarray, rng: np.random.Generator, *, degrees: float = 15.0) -> np.ndarray:
    """Turn about the centre by up to so many degrees, either way."""
    check_share("rotate: degrees", degrees, high=360)
    return _rotate(frames, rng, degrees)


@on_frames
def shear(frames: np.ndarray, rng: np.random.Generator, *, share: float = 0.3) -> np.ndarray:
    """Shift rows in proportion to their distance from the centre, by up to `share` of it."""
    check_share("shear: share", share, high=10)
    slant = np.array([[1.0, 0.0], [rng.uniform(-share, share), 1.0]])
    return move(frames, slant)


@on_frames
def scale(
    frames: np.ndarray, rng: np.random.Generator, *, low: float = 0.8, high: float = 1.2
) -> np.ndarray:
    """Enlarge about the centre by a factor from `low` to `high`; below 1, zeros surround it."""
    if not 0.01 <= low <= high <= 100:
        raise OptionError(f"scale: low={low}, high={high}, expected 0.01 <= low <= high <= 100")
    return move(frames, IDENTITY / rng.uniform(low, high))


@on_frames
def resized_crop(
    frames: np.ndarray, rng: np.random.Generator, *, low: float = 0.6, high: float = 1.0
) -> np.ndarray:
    """A random window with `low` to `high` of the area, enlarged to the whole."""
    if not 0.001 <= low <= high <= 1:
        raise OptionError(f"resized_crop: low={low}, high={high}, expected 0 < low <= high <= 1")
    part = float(np.sqrt(rng.uniform(low, high)))
    free = [(1 - part) * side / 2 for side in frames.shape[2:]]
    down, right = (rng.uniform(-limit, limit) for limit in free)
    return move(frames, IDENTITY * part, (-down / part, -right / part))


@on_frames
def cutout(frames: np.ndarray, rng: np.random.Generator, *, size: int = 16) -> np.ndarray:
    """Zero a square of `size` pixels whose centre is any pixel; beyond the edge it is cut off."""
    at_least("cutout: size", size, 1)
    return _cutout(frames, rng, size)


@on_frames
def nda(
    frames: np.ndarray, rng: np.random.Generator, *, m: int = 1, n: int = 2, flip: bool = True
) -> np.ndarray:
    """Neuromorphic data augmentation: a horizontal flip in half of the cases, then `m` of
    roll by ±(2n + 1) pixels, rotate by ±15n degrees, cutout of 8n pixels, shear by ±0.15n.

    Li et al., Neuromorphic data augmentation for training spiking neural networks, ECCV 2022.
    """
    at_least("nda: m", m, 0)
    at_least("nda: n", n, 1)
    if flip and rng.random() < 0.5:
        reverse(frames, False)
    for _ in range(m):
        match int(rng.integers(4)):
            case 0:
                _roll(frames, rng, 2 * n + 1)
            case 1:
                _rotate(frames, rng, 15.0 * n)
            case 2:
                _cutout(frames, rng, 8 * n)
            case _:
                shear(frames, rng, share=0.15 * n)
    return frames


@on_frames
def wide(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of: shear by ±0.3, move by ±5 pixels in x or in y, rotate by ±30°, cutout of 1..8 pixels.

    What Spikformer (Zhou et al., ICLR 2023) calls SNNAugmentWide.
    """
    match int(rng.integers(5)):
        case 0:
            return shear(frames, rng, share=0.3)
        case 1:
            return move(frames, IDENTITY, (0, int(rng.integers(-5, 6))))
        case 2:
            return move(frames, IDENTITY, (int(rng.integers(-5, 6)), 0))
        case 3:
            return _rotate(frames, rng, 30.0)
        case _:
            return _cutout(frames, rng, int(rng.integers(1, 9)))


def move(
    frames: np.ndarray, linear: np.ndarray, offset: tuple[float, float] = (0, 0)
) -> np.ndarray:
    """Pixel (row, column) gets what was at linear · ((row, column) − offset), about the centre.

    Rounded to the nearest pixel; what comes from outside is zero.
    """
    height, width = frames.shape[2:]
    source = _map(height, width, np.asarray(linear, np.float64), *map(float, offset))
    _gather(_planes(frames), source)
    return frames


def reverse(frames: np.ndarray, vertical: bool) -> np.ndarray:
    """Mirror in place."""
    _reverse(_planes(frames), vertical)
    return frames


def _rotate(frames: np.ndarray, rng: np.random.Generator, degrees: float) -> np.ndarray:
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    c, s = np.cos(angle), np.sin(angle)
    return move(frames, np.array([[c, -s], [s, c]]))


def _roll(frames: np.ndarray, rng: np.random.Generator, pixels: int) -> np.ndarray:
    height, width = frames.shape[2:]
    down, right = rng.integers(-pixels, pixels, 2, endpoint=True)
    rows = (np.arange(height) - down) % height
    columns = (np.arange(width) - right) % width
    source = (rows[:, None] * width + columns).reshape(-1)
    _gather(_planes(frames), source.astype(np.uint32))
    return frames


def _cutout(frames: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    windows = []
    for side in frames.shape[2:]:
        first = int(rng.integers(side)) - size // 2
        windows.append(slice(max(first, 0), first + size))
    frames[..., windows[0], windows[1]] = 0
    return frames


def _planes(frames: np.ndarray) -> np.ndarray:
    return frames.reshape(-1, *frames.shape[2:])


@jit
def _map(height: int, width: int, linear: np.ndarray, down: float, right: float) -> np.ndarray:
    """For each pixel the number of the one it comes from; height·width for none."""
    source = np.empty(height * width, np.uint32)
    y, x = (height - 1) / 2, (width - 1) / 2
    for i in range(height):
        for j in range(width):
            a, b = i - y - down, j - x - right
            row = int(np.floor(linear[0, 0] * a + linear[0, 1] * b + y + 0.5))
            column = int(np.floor(linear[1, 0] * a + linear[1, 1] * b + x + 0.5))
            inside = 0 <= row < height and 0 <= column < width
            source[i * width + j] = row * width + column if inside else height * width
    return source


@jit
def _gather(planes: np.ndarray, source: np.ndarray) -> None:
    """Fill every plane (H, W) from itself; a source of H·W is zero."""
    n = source.size
    before = np.zeros(n + 1, planes.dtype)
    for k in range(len(planes)):
        plane = planes[k].reshape(n)
        before[:n] = plane
        for i in range(n):  # an unsigned index costs no test for negative ones
            plane[i] = before[np.uint64(source[i])]


@jit
def _reverse(planes: np.ndarray, vertical: bool) -> None:
    _, height, width = planes.shape
    for k in range(len(planes)):
        plane = planes[k]
        for i in range(height // 2 if vertical else height):
            for j in range(width if vertical else width // 2):
                row, column = (height - 1 - i, j) if vertical else (i, width - 1 - j)
                plane[i, j], plane[row, column] = plane[row, column], plane[i, j]
