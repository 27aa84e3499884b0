"""Augmentations in space: they draw how all frames of a sample change, and its boxes alike."""

from typing import Literal

import numpy as np

from eventkit.augment import at_least, check_share, on_space
from eventkit.augment._warp import Cut, Mirror, Move, Roll, Size, Warp
from eventkit.errors import OptionError

IDENTITY = np.eye(2)


@on_space
def flip(
    size: Size,
    rng: np.random.Generator,
    *,
    p: float = 0.5,
    axis: Literal["horizontal", "vertical"] = "horizontal",
) -> list[Warp]:
    """Mirror left and right (or top and bottom) with probability `p`."""
    check_share("flip: p", p)
    return [Mirror(axis == "vertical")] if rng.random() < p else []


@on_space
def shift(size: Size, rng: np.random.Generator, *, share: float = 0.1) -> list[Warp]:
    """Move by up to `share` of the sides, in whole pixels; zeros move in."""
    check_share("shift: share", share)
    limits = [int(side * share) for side in reversed(size)]
    down, right = (int(rng.integers(-limit, limit, endpoint=True)) for limit in limits)
    return [Move(IDENTITY, (down, right))]


@on_space
def roll(size: Size, rng: np.random.Generator, *, pixels: int = 5) -> list[Warp]:
    """Move by up to `pixels`; what leaves at one side comes back at the other."""
    at_least("roll: pixels", pixels, 0)
    return [_roll(rng, pixels)]


@on_space
def rotate(size: Size, rng: np.random.Generator, *, degrees: float = 15.0) -> list[Warp]:
    """Turn about the centre by up to `degrees`, either way."""
    check_share("rotate: degrees", degrees, high=360)
    return [_rotate(rng, degrees)]


@on_space
def shear(size: Size, rng: np.random.Generator, *, share: float = 0.3) -> list[Warp]:
    """Shift rows in proportion to their distance from the centre, by up to `share` of it."""
    check_share("shear: share", share, high=10)
    slant = np.array([[1.0, 0.0], [rng.uniform(-share, share), 1.0]])
    return [Move(slant)]


@on_space
def scale(
    size: Size, rng: np.random.Generator, *, low: float = 0.8, high: float = 1.2
) -> list[Warp]:
    """Enlarge about the centre by a factor from `low` to `high`; below 1, zeros surround it."""
    if not 0.01 <= low <= high <= 100:
        raise OptionError(f"scale: low={low}, high={high}, expected 0.01 <= low <= high <= 100")
    return [Move(IDENTITY / rng.uniform(low, high))]


@on_space
def resized_crop(
    size: Size, rng: np.random.Generator, *, low: float = 0.6, high: float = 1.0
) -> list[Warp]:
    """A random window with `low` to `high` of the area, enlarged to the whole."""
    if not 0.001 <= low <= high <= 1:
        raise OptionError(f"resized_crop: low={low}, high={high}, expected 0 < low <= high <= 1")
    part = float(np.sqrt(rng.uniform(low, high)))
    free = [(1 - part) * side / 2 for side in reversed(size)]
    down, right = (rng.uniform(-limit, limit) for limit in free)
    return [Move(IDENTITY * part, (-down / part, -right / part))]


@on_space
def cutout(sides: Size, rng: np.random.Generator, *, size: int = 16) -> list[Warp]:
    """Zero a square of `size` pixels whose centre is any pixel; beyond the edge it is cut off."""
    at_least("cutout: size", size, 1)
    return [_cutout(sides, rng, size)]


@on_space
def nda(
    size: Size, rng: np.random.Generator, *, m: int = 1, n: int = 2, flip: bool = True
) -> list[Warp]:
    """Neuromorphic data augmentation: a horizontal flip in half of the cases, then `m` of
    roll by ±(2n + 1) pixels, rotate by ±15n degrees, cutout of 8n pixels, shear by ±0.15n.

    Li et al., Neuromorphic data augmentation for training spiking neural networks, ECCV 2022.
    """
    at_least("nda: m", m, 0)
    at_least("nda: n", n, 1)
    warps: list[Warp] = [Mirror(vertical=False)] if flip and rng.random() < 0.5 else []
    for _ in range(m):
        match int(rng.integers(4)):
            case 0:
                warps.append(_roll(rng, 2 * n + 1))
            case 1:
                warps.append(_rotate(rng, 15.0 * n))
            case 2:
                warps.append(_cutout(size, rng, 8 * n))
            case _:
                warps += shear(size, rng, share=0.15 * n)
    return warps


@on_space
def wide(size: Size, rng: np.random.Generator) -> list[Warp]:
    """One of: shear by ±0.3, move by ±5 pixels in x or in y, rotate by ±30°, cutout of 1..8 pixels.

    Modelled on SNNAugmentWide of Spikformer (Zhou et al., ICLR 2023), but not the same: the
    published code also draws the identity, and other sizes of the cutout.
    """
    match int(rng.integers(5)):
        case 0:
            return shear(size, rng, share=0.3)
        case 1:
            return [Move(IDENTITY, (0, int(rng.integers(-5, 6))))]
        case 2:
            return [Move(IDENTITY, (int(rng.integers(-5, 6)), 0))]
        case 3:
            return [_rotate(rng, 30.0)]
        case _:
            return [_cutout(size, rng, int(rng.integers(1, 9)))]


def _rotate(rng: np.random.Generator, degrees: float) -> Warp:
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    c, s = np.cos(angle), np.sin(angle)
    return Move(np.array([[c, -s], [s, c]]))


def _roll(rng: np.random.Generator, pixels: int) -> Warp:
    down, right = rng.integers(-pixels, pixels, 2, endpoint=True)
    return Roll(int(down), int(right))


def _cutout(sides: Size, rng: np.random.Generator, size: int) -> Warp:
    windows = []
    for side in reversed(sides):
        first = int(rng.integers(side)) - size // 2
        windows.append((max(first, 0), min(first + size, side)))
    return Cut(*windows)
