"""Cut events in space and in time."""

from typing import ClassVar

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.transforms import TRANSFORMS


@TRANSFORMS.register
def crop(
    events: Events,
    *,
    x: int = 0,
    y: int = 0,
    width: int | None = None,
    height: int | None = None,
) -> Events:
    """The events in a window of the sensor, which becomes the new sensor.

    (x, y) is the window's top left pixel and the new origin; it reaches to the right and lower
    edge unless `width` and `height` say otherwise. Events outside the sensor are dropped in any
    case. OptionError for a window that is empty or not within the sensor.

    >>> events = Events(t=[0, 5, 9], x=[1, 2, 3], y=[0, 2, 1], p=[1, 0, 1], size=(4, 3))
    >>> crop(events, x=2, width=2)
    Events(2 events, 2x3, t 5..9 µs)
    """
    width = events.width - x if width is None else width
    height = events.height - y if height is None else height
    if min(x, y) < 0 or min(width, height) < 1:
        raise OptionError(
            f"crop: x={x}, y={y}, width={width}, height={height} is no window, "
            f"expected one within the sensor of {events.width}x{events.height}"
        )
    if x + width > events.width or y + height > events.height:
        raise OptionError(
            f"crop: the window reaches x={x + width}, y={y + height}, "
            f"beyond the sensor of {events.width}x{events.height}"
        )
    columns = _window(events.t, events.x, events.y, events.p, x, y, width, height)
    return Events.trusted(*columns, size=(width, height))


@TRANSFORMS.register
class CropTime:
    """The events of start <= t < stop, in µs after the first event that gets here.

    Without a `start` or a `stop`, all that come before or after. So `crop_time:stop=1000000` is
    the first second. OptionError if stop <= start.
    """

    name: ClassVar[str] = "crop_time"

    def __init__(self, *, start: int | None = None, stop: int | None = None) -> None:
        if start is not None and stop is not None and stop <= start:
            raise OptionError(f"crop_time: stop={stop} is not after start={start}")
        self.start, self.stop = start, stop
        self._origin: int | None = None

    def __call__(self, events: Events) -> Events:
        if self._origin is None and len(events):
            self._origin = int(events.t[0])
        if self._origin is None:
            return events
        start = None if self.start is None else self._origin + self.start
        stop = None if self.stop is None else self._origin + self.stop
        return events.between(start, stop)


@jit
def _window(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    left: int,
    top: int,
    width: int,
    height: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The events of a window as new columns, with coordinates from its corner."""
    n = len(t)
    columns = np.empty(n, t.dtype), np.empty(n, x.dtype), np.empty(n, y.dtype), np.empty(n, p.dtype)
    times, xs, ys, ps = columns
    kept = 0
    for i in range(n):
        column, row = int(x[i]) - left, int(y[i]) - top
        # Written first and kept afterwards: no branch to guess wrong.
        times[kept], xs[kept], ys[kept], ps[kept] = t[i], column, row, p[i]
        kept += (0 <= column < width) & (0 <= row < height)
    return times[:kept], xs[:kept], ys[:kept], ps[:kept]
