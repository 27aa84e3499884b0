"""Augmentations that take pixels of the sensor away: dead ones, a box, all but a window."""

import numpy as np

from eventkit.augment import AUGMENTATIONS, Augmentation, at_least, check_share, draws
from eventkit.augment._change import Blank, Dead, Extent, Window
from eventkit.augment._draw import seed_of
from eventkit.augment._warp import Size
from eventkit.augment.events import draw_window
from eventkit.errors import OptionError


@draws
def drop_pixel(extent: Extent, rng: np.random.Generator, *, share: float = 0.05) -> list[Dead]:
    """Drop all events of pixels chosen at random, each with probability `share`."""
    check_share("drop_pixel: share", share)
    return [Dead(share, int(seed_of(rng)))]


@draws
def drop_area(
    extent: Extent, rng: np.random.Generator, *, ratio: float | None = None
) -> list[Blank]:
    """Drop the events in a box with `ratio` of the width and of the height, and the boxes in it.

    Without a ratio it is drawn: 0.05, 0.1 .. 0.25 (Gu et al., EventDrop, IJCAI 2021). The same as
    `event_drop:by=area`, but boxes, points and a second stream follow.
    """
    check_share("drop_area: ratio", ratio)
    if ratio is None:
        ratio = int(rng.integers(1, 6)) / 20
    columns, rows = (draw_window(rng, side, ratio) for side in extent.size)
    return [Blank(rows, columns)]


def random_crop(
    extent: Extent, rng: np.random.Generator, *, width: int, height: int
) -> list[Window]:
    """Keep a window of `width` x `height` pixels at a random place; it becomes the sensor."""
    _cropped(extent.size, width=width, height=height)
    left, top = (
        int(rng.integers(0, side - part, endpoint=True))
        for side, part in zip(extent.size, (width, height), strict=True)
    )
    return [Window(left, top, width, height)]


def _cropped(size: Size, *, width: int, height: int) -> Size:
    at_least("random_crop: width", width, 1)
    at_least("random_crop: height", height, 1)
    if width > size[0] or height > size[1]:
        raise OptionError(
            f"random_crop: {width}x{height} is larger than the sensor of {size[0]}x{size[1]}"
        )
    return width, height


AUGMENTATIONS.register(
    Augmentation("random_crop", "events", random_crop, size=_cropped, draws=True)
)
