"""Events and frames as text for a page: at most 4 bytes for an event, 1 for a pixel.

Events are columns of bytes (x, y, polarity bits) and a column of time steps as variable-length
numbers (7 bits a byte, the highest bit set while more follow), each compressed with zlib and
written in base64. The browser undoes both by itself. assets/events.js reads what is written here.
"""

import base64
import zlib
from typing import Any

import numpy as np

from eventkit.events import Events

BYTES = 4  # of text for an event
SLACK = 128  # bytes: what an empty column costs
LONGEST = 1 << 31  # time units from the first event to the last that a page can hold
QUANTA = [digit * 10**power for power in range(12) for digit in (1, 2, 5)]


def pack_events(events: Events, origin: int, *, level: int = 6) -> dict[str, Any]:
    """The events, in order of time and inside the sensor, as a dictionary for a page.

    Times count from `origin` (µs). `unit` is their resolution: 1 µs, or as much more as keeps the
    text within 4 bytes an event. `level` is that of zlib: 1 is fast, 9 small.
    """
    n = len(events)
    place = _text(_places(events), level)
    since = events.t - origin
    last = int(since[-1]) if n else 0
    for unit in QUANTA:
        if last // unit >= LONGEST:
            continue
        time = _text(_varints(np.diff(since // unit, prepend=0)), level)
        if len(place) + len(time) <= BYTES * n + SLACK or unit > max(1, last):
            break
    return {"n": n, "unit": unit, "place": place, "time": time}


def pack_pixels(indices: np.ndarray) -> str:
    """Bytes (any shape, uint8) as compressed text."""
    return _text(np.ascontiguousarray(indices, np.uint8).tobytes())


def _places(events: Events) -> bytes:
    width, height = events.size
    parts = []
    for column, side in ((events.x, width), (events.y, height)):
        parts.append((column & 0xFF).astype(np.uint8).tobytes())
        if side > 256:
            parts.append((column >> 8).astype(np.uint8).tobytes())
    parts.append(np.packbits(events.p, bitorder="little").tobytes())
    return b"".join(parts)


def _varints(values: np.ndarray) -> bytes:
    """Numbers from 0 to 2**35 with 7 bits a byte, the lowest first."""
    values = values.astype(np.uint64)
    digits = np.stack([(values >> np.uint64(7 * k)) & np.uint64(127) for k in range(5)], axis=1)
    length = np.maximum(1, sum((values >> np.uint64(7 * k) != 0).astype(int) for k in range(5)))
    place = np.arange(5)
    digits = digits.astype(np.uint8) | np.where(place < length[:, None] - 1, 128, 0).astype(
        np.uint8
    )
    out: bytes = digits[place < length[:, None]].tobytes()
    return out


def _text(data: bytes, level: int = 6) -> str:
    return base64.b64encode(zlib.compress(data, level)).decode()
