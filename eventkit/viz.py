"""Draw frames: all frames as one contact sheet (PNG), or as an animation (GIF).

OFF is blue and ON is orange, two hues that remain distinct with common colour blindness. The same
frames give the same bytes with the same version of pillow.
"""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eventkit._write import whole
from eventkit.errors import MissingExtra, OptionError

Theme = Literal["dark", "light"]

# background, text, OFF, ON
THEMES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "dark": ((16, 18, 24), (201, 206, 216), (72, 160, 255), (255, 150, 40)),
    "light": ((255, 255, 255), (60, 64, 72), (0, 104, 190), (222, 92, 0)),
}
LEVELS = 16  # intensity levels per polarity: all 16 x 16 mixtures fit a palette of 256 colours
SIDE = 200  # approximate longer side of a drawn frame, in pixels
MAX_PIXELS = 100_000_000
GAP = 6


def colourise(frames: np.ndarray, *, theme: Theme = "dark") -> np.ndarray:
    """The frames as RGB images: uint8 (T, H, W, 3).

    `frames` is (T, 2, H, W) with channels OFF, ON, or (T, 1, H, W) with OFF negative. All frames
    use the same scale: the 99.5th percentile of the nonzero values has full intensity, so that a
    hot pixel does not darken the rest. Intensity is the square root of the scaled value, so that
    single events remain visible.
    """
    return palette(theme).take(palette_indices(frames), axis=0)


def palette(theme: Theme = "dark") -> np.ndarray:
    """The 256 palette colours, uint8 (256, 3), indexed by 16 * ON level + OFF level."""
    if theme not in THEMES:
        raise OptionError(f"theme is {theme!r}, expected one of {', '.join(THEMES)}")
    ground, _, off, on = (np.array(colour, np.float64) for colour in THEMES[theme])
    levels = np.linspace(0, 1, LEVELS)
    a, b = (grid.ravel()[:, None] for grid in np.meshgrid(levels, levels, indexing="ij"))
    hue = (a * on + b * off) / np.maximum(a + b, 1e-9)
    strength = np.maximum(a, b)
    return np.round(ground + strength * (hue - ground)).astype(np.uint8)


def sheet(
    frames: np.ndarray,
    path: str | Path,
    *,
    captions: Sequence[str] | None = None,
    title: str = "",
    theme: Theme = "dark",
    side: int = SIDE,
) -> Path:
    """Write all frames in a grid as a PNG, each with a caption (default: its number from 1).

    `frames` as for `colourise`; the longer side of a frame is drawn with about `side` pixels.
    Returns the path. Raises OptionError for frames that cannot be drawn.
    """
    pil = _pillow()
    indices = _tiles(frames, side)
    n, height, width = indices.shape
    captions = [str(i + 1) for i in range(n)] if captions is None else captions
    if len(captions) != n:
        raise OptionError(f"{len(captions)} captions for {n} frames")
    ground, ink, _, _ = THEMES[theme]
    small, large, line = pil.ImageFont.load_default(12), pil.ImageFont.load_default(14), 18
    columns = _columns(n, width, height + line)
    rows = math.ceil(n / columns)
    top = GAP + (24 if title else 0)
    wide = max(columns * (width + GAP), math.ceil(large.getlength(title)) + GAP) + GAP
    size = (wide, top + rows * (height + line + GAP))
    picture = pil.Image.new("RGB", size, _shade(ground, ink, 0.1))
    draw = pil.ImageDraw.Draw(picture)
    draw.text((GAP, GAP), _drawable(title), ink, large)
    colours = palette(theme)
    for i, (caption, index) in enumerate(zip(captions, indices, strict=True)):
        row, column = divmod(i, columns)
        x, y = GAP + column * (width + GAP), top + row * (height + line + GAP)
        picture.paste(pil.Image.fromarray(colours[index]), (x, y))
        draw.text((x + 1, y + height + 2), _drawable(caption), ink, small)
    return _save(picture, path, "PNG", optimize=True)


def animate(
    frames: np.ndarray,
    path: str | Path,
    *,
    fps: float = 10,
    theme: Theme = "dark",
    side: int = 2 * SIDE,
) -> Path:
    """Write the frames as a GIF animation that loops; returns the path.

    `frames` as for `colourise`. GIF delays are multiples of 10 ms and viewers slow down animations
    faster than 50 frames per second, so `fps` is at most 50 and rounded to 100 / n.
    """
    if not 0.1 <= fps <= 50:
        raise OptionError(f"fps is {fps}, expected 0.1 to 50")
    pil = _pillow()
    indices = _tiles(frames, side)
    colours = palette(theme).tobytes()
    pictures = [pil.Image.fromarray(index) for index in indices]
    for picture in pictures:
        picture.putpalette(colours)
    return _save(
        pictures[0],
        path,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=10 * round(100 / fps),
        loop=0,
        optimize=False,
    )


def palette_indices(frames: np.ndarray) -> np.ndarray:
    """The palette index of every pixel: uint8 (T, H, W)."""
    frames = _checked(frames)
    scale = _full_scale(frames)
    out = np.empty((len(frames), *frames.shape[2:]), np.uint8)
    for frame, index in zip(frames, out, strict=True):  # per frame: keeps the float copy small
        level = np.minimum(np.abs(frame).astype(np.float32) / scale, 1)
        level = np.ceil(np.sqrt(level) * (LEVELS - 1)).astype(np.uint8)
        if len(level) == 2:
            off, on = level
        else:
            off, on = np.where(frame[0] < 0, level[0], 0), np.where(frame[0] > 0, level[0], 0)
        index[...] = LEVELS * on + off
    return out


def _checked(frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[1] not in (1, 2) or 0 in frames.shape:
        raise OptionError(
            f"frames to draw have shape {frames.shape}, expected (T, 2, H, W) or (T, 1, H, W)"
        )
    if frames.dtype.kind == "f" and not np.isfinite(frames).all():
        raise OptionError("frames to draw contain NaN or infinite values")
    return frames


def _full_scale(frames: np.ndarray) -> float:
    seen = np.abs(frames[frames != 0])
    return float(np.percentile(seen, 99.5)) if seen.size else 1.0


def _tiles(frames: np.ndarray, side: int) -> np.ndarray:
    """Palette indices (T, h, w) with the longer side within 0.7 to 2 times `side` pixels."""
    frames = _checked(frames)
    longer = max(frames.shape[2:])
    if longer > 2 * side:
        frames = reduced(frames, math.ceil(longer / (2 * side)))
    k = max(1, round(side / max(frames.shape[2:])))
    n_pixels = frames.size // frames.shape[1] * k * k
    if n_pixels > MAX_PIXELS:
        raise OptionError(
            f"{len(frames):,} frames have {n_pixels:,} pixels, expected at most {MAX_PIXELS:,}; "
            "draw fewer frames"
        )
    return palette_indices(frames).repeat(k, axis=1).repeat(k, axis=2)


def reduced(frames: np.ndarray, k: int) -> np.ndarray:
    """Sums over blocks of k x k pixels, so that single events stay visible when reduced."""
    t, c, height, width = frames.shape
    h, w = math.ceil(height / k), math.ceil(width / k)
    padded = np.zeros((c, h * k, w * k), frames.dtype)
    kind = np.float32 if frames.dtype.kind == "f" else np.int32
    out = np.empty((t, c, h, w), kind)
    for frame, small in zip(frames, out, strict=True):
        padded[:, :height, :width] = frame
        padded.reshape(c, h, k, w, k).sum(axis=(2, 4), dtype=kind, out=small)
    return out


def _columns(n: int, width: int, height: int) -> int:
    """The number of columns that gives an aspect ratio near 16:10 with few empty cells."""
    best = math.sqrt(1.6 * n * height / width)
    return min(range(1, n + 1), key=lambda c: 2 * (-n % c) / n + abs(math.log(c / best)))


def _drawable(text: str) -> str:
    """The text with µ replaced, which pillow's default font lacks."""
    return text.replace("µ", "u")


def _shade(ground: Sequence[int], ink: Sequence[int], share: float) -> tuple[int, ...]:
    return tuple(round(g + share * (i - g)) for g, i in zip(ground, ink, strict=True))


def _save(picture: Any, path: str | Path, kind: str, **options: Any) -> Path:
    """Write the file under a temporary name, then rename it."""
    path = Path(path)
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    with whole(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return path


def _pillow() -> Any:
    try:
        import PIL
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageFont
    except ImportError as error:
        raise MissingExtra("drawing needs pillow", "viz") from error
    return PIL
