"""The examination of a recording as a page: findings, event rate, where its events are."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from eventkit import viz
from eventkit.events import Events

from .pack import pack_pixels
from .viewer import BINS

SIDE = 384  # pixels of the picture's longer side, at most
PIXELS = 1 << 22  # of a sensor; of larger ones there is no picture


def data(examined: Mapping[str, Any], chunks: Iterable[Events]) -> dict[str, Any]:
    """What the page "doctor" shows of what `eventkit.doctor.examine` found, and of the events."""
    width, height = examined["size"]
    first = examined["t0"] or 0  # None without events
    length = (examined["t1"] or 0) - first
    bin_length = -(-(length + 1) // BINS)
    rate = np.zeros(-(-(length + 1) // bin_length), np.int64)
    pixels = np.zeros(width * height, np.int64) if 0 < width * height <= PIXELS else None
    for events in chunks:
        place = np.clip((events.t - first) // bin_length, 0, len(rate) - 1)
        rate += np.bincount(place, minlength=len(rate))
        if pixels is not None:
            inside = events[(events.x < width) & (events.y < height)]
            where = inside.y.astype(np.int64) * width + inside.x
            pixels += np.bincount(where, minlength=len(pixels))
    return {
        "about": "",
        "examined": {key: value for key, value in examined.items() if key != "path"},
        "rate": {"bin": bin_length, "counts": rate},
        "pixels": None if pixels is None else _picture(pixels.reshape(height, width)),
    }


def _picture(counts: np.ndarray) -> dict[str, Any]:
    """The counts as levels in the logarithm, so that hot pixels and quiet ones both show."""
    block = -(-max(counts.shape) // SIDE)
    reduced = viz.reduced(counts[None, None], block)[0, 0]
    levels = np.log1p(reduced) / max(float(np.log1p(reduced.max())), 1e-9)
    shape = {"width": reduced.shape[1], "height": reduced.shape[0], "block": block}
    return {**shape, "data": pack_pixels(np.ceil(255 * levels))}
