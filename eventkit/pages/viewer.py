"""The viewer: recordings, or samples of a store, to play in a browser. See assets/viewer.js."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from eventkit import viz
from eventkit.events import Events

from .pack import pack_events, pack_pixels

BINS = 600  # of the curve of the event rate
EVENTS = 1_000_000  # in a page, unless another limit is given: 4 MB

# background, text, OFF, ON of each; all pairs differ in lightness or along blue-yellow, so that
# they stay apart with any common kind of colour blindness.
PALETTES: dict[str, dict[str, tuple[tuple[int, int, int], ...]]] = {
    "blue, orange": viz.THEMES,
    "purple, green": {
        "dark": ((16, 18, 24), (201, 206, 216), (190, 140, 255), (120, 220, 90)),
        "light": ((255, 255, 255), (60, 64, 72), (112, 40, 170), (60, 150, 30)),
    },
    "dark, bright": {
        "dark": ((70, 74, 82), (235, 238, 243), (0, 0, 0), (255, 255, 255)),
        "light": ((190, 194, 200), (20, 22, 26), (20, 22, 26), (255, 255, 255)),
    },
}


class Interval(NamedTuple):
    """A label of a part of a recording: start <= t < stop in µs."""

    start: int
    stop: int
    label: str


class Box(NamedTuple):
    """A labelled box at a time (µs); x and y are its top left corner, in pixels."""

    t: int
    x: float
    y: float
    w: float
    h: float
    label: str


def data(
    samples: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    *,
    about: str = "",
    notes: Iterable[str] = (),
    window: int | None = None,
) -> dict[str, Any]:
    """What the page "viewer" shows: samples made by the functions below, all of one sensor.

    `window` is the length in µs with which the viewer begins.
    """
    return {
        "about": about,
        "size": size,
        "samples": list(samples),
        "palettes": PALETTES,
        "notes": list(notes),
        "window": window,
    }


def events_sample(
    chunks: Iterable[Events],
    *,
    n: int,
    t0: int,
    t1: int,
    limit: int,
    name: str,
    label: str = "",
    intervals: Iterable[Interval] = (),
    boxes: Iterable[Box] = (),
) -> dict[str, Any]:
    """A sample of events in chunks, of which at most `limit` are kept, evenly.

    n events lie inside the sensor, and all times are within t0..t1 (µs), which are known before
    the chunks are read, so that no more than `limit` events are in memory beside a chunk. Events
    outside the sensor are left out. The rate counts all events.
    """
    length = t1 - t0
    bin_length = -(-(length + 1) // BINS)
    rate = np.zeros(-(-(length + 1) // bin_length), np.int64)
    kept, first = [], 0
    for events in chunks:
        width, height = events.size
        inside = events[(events.x < width) & (events.y < height)]
        np.add.at(rate, (inside.t - t0) // bin_length, 1)
        kept.append(thinned(inside, first, n, limit).copy())
        first += len(inside)
    events = Events.concat(kept).sort()
    return {
        "kind": "events",
        "name": name,
        "label": label,
        "total": n,
        "length": length,
        "bin": bin_length,
        "rate": rate,
        **pack_events(events, t0),
        "intervals": [
            i._replace(start=i.start - t0, stop=i.stop - t0)._asdict() for i in intervals
        ],
        "boxes": [box._replace(t=box.t - t0)._asdict() for box in boxes],
    }


def frames_sample(frames: np.ndarray, *, name: str, label: str = "") -> dict[str, Any]:
    """A sample of frames (T, 1 or 2, H, W), coloured as by `eventkit.viz`."""
    indices = viz.palette_indices(frames)
    return {
        "kind": "frames",
        "name": name,
        "label": label,
        "n": len(frames),
        "length": len(frames),
        "bin": 1,
        "rate": np.count_nonzero(indices, axis=(1, 2)),
        "data": pack_pixels(indices),
    }


def thinned(events: Events, first: int, n: int, limit: int) -> Events:
    """The events kept of a chunk that begins with number `first` of n: `limit` of all, evenly."""
    if n <= limit:
        return events
    number = np.arange(first, first + len(events) + 1, dtype=np.int64) * limit // n
    return events[number[1:] > number[:-1]]
