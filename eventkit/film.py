"""Write events or frames as an MP4 video, frame by frame, in bounded memory."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from eventkit._write import whole
from eventkit.errors import MissingExtra, OptionError
from eventkit.events import Events
from eventkit.viz import LEVELS, Theme, palette

SIDE = 720  # pixels of a video's longer side, at least; small sensors are enlarged
TOP = 1 << 12  # counts from here on look alike
SAMPLED = 64  # frames from which the scale is taken


def windows(chunks: Iterable[Events], t0: int, length: int, n: int) -> Iterator[np.ndarray]:
    """Counts of OFF and ON events, uint16 (2, H, W), of n windows of `length` µs from t0 on.

    Events outside the sensor are left out; those whose time goes back behind the current window
    count in it.
    """
    frame, number = None, 0
    for events in chunks:
        width, height = events.size
        inside = events[(events.x < width) & (events.y < height)]
        if frame is None:
            frame = np.zeros(2 * height * width, np.int64)
        index = np.maximum.accumulate(np.maximum((inside.t - t0) // length, number))
        place = inside.p.astype(np.int64) * (height * width)
        place += inside.y.astype(np.int64) * width + inside.x
        cuts = np.flatnonzero(np.diff(index, prepend=number)) if len(index) else ()
        begin = 0
        for cut in [*cuts, len(index)]:
            np.add.at(frame, place[begin:cut], 1)
            if cut < len(index):
                while number < min(int(index[cut]), n):
                    yield _counts(frame, width, height)
                    frame[:] = 0
                    number += 1
            begin = cut
    if frame is not None:
        while number < n:
            yield _counts(frame, width, height)
            frame[:] = 0
            number += 1


def _counts(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    counts: np.ndarray = np.minimum(frame, 65535).astype(np.uint16).reshape(2, height, width)
    return counts


def full_scale(frames: Iterable[np.ndarray], n: int) -> float:
    """The 99.5th percentile of the counts that are not zero, in some of n frames, evenly chosen."""
    seen = np.zeros(TOP, np.int64)
    for k, frame in enumerate(frames):
        if k % -(-n // SAMPLED) == 0:
            seen += np.bincount(np.minimum(frame[frame > 0], TOP - 1), minlength=TOP)
    total = np.cumsum(seen)
    return float(np.searchsorted(total, 0.995 * total[-1])) if total[-1] else 1.0


def coloured(frames: Iterable[np.ndarray], scale: float) -> Iterator[np.ndarray]:
    """Palette indices (H, W), as `viz.palette` has them, of counts (2, H, W) of OFF and ON.

    A count of `scale` has full intensity; intensity is the square root.
    """
    level = np.sqrt(np.minimum(np.arange(TOP) / scale, 1)) * (LEVELS - 1)
    levels = np.ceil(level).astype(np.uint8)
    for frame in frames:
        off, on = levels.take(np.minimum(frame, TOP - 1))
        yield LEVELS * on + off


def film(
    pictures: Iterable[np.ndarray],
    path: str | Path,
    *,
    fps: float = 30,
    theme: Theme = "dark",
    side: int = SIDE,
) -> Path:
    """Write pictures (palette indices, uint8 (H, W)) as an MP4 video (H.264); returns the path.

    Small pictures are enlarged by a whole factor to about `side` pixels; odd sides are padded by
    one pixel. Raises MissingExtra without PyAV, and OptionError without pictures.
    """
    if not 0.1 <= fps <= 240:
        raise OptionError(f"fps is {fps}, expected 0.1 to 240")
    av = _av()
    path, colours = Path(path), palette(theme)
    with whole(path) as temporary, av.open(str(temporary), "w", format="mp4") as out:
        stream = None
        for indices in pictures:
            if stream is None:
                k = max(1, round(side / max(indices.shape)))
                stream = _stream(av, out, fps, indices.shape[1] * k, indices.shape[0] * k)
            large = indices.repeat(k, axis=0).repeat(k, axis=1) if k > 1 else indices
            padding = [(0, stream.height - large.shape[0]), (0, stream.width - large.shape[1])]
            picture = colours.take(np.pad(large, padding), axis=0)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if stream is None:
            raise OptionError("there are no frames to write")
        out.mux(stream.encode(None))
    return path


def _stream(av: Any, out: Any, fps: float, width: int, height: int) -> Any:
    """A stream that one core encodes in real time, with even sides as 4:2:0 needs them."""
    options = {"preset": "ultrafast", "crf": "20", "tune": "zerolatency"}
    stream = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options=options)
    stream.width, stream.height = (2 * math.ceil(length / 2) for length in (width, height))
    stream.pix_fmt = "yuv420p"
    stream.thread_count = 1
    return stream


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtra("videos need PyAV", "video") from error
    return av
