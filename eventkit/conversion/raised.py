"""Recordings whose times go back: raised to the latest before them, as RVT reads them."""

from collections.abc import Iterator

import numpy as np

from eventkit.events import Events
from eventkit.representations import MAX_TIME


class RaisedTimes:
    """The windows of such a recording.

    Whether an event is in a window depends on all before it, so it is read from its first event on:
    once for windows that follow each other.
    """

    def __init__(self, chunks: Iterator[Events], size: tuple[int, int]) -> None:
        """`size` is that of the sensor if there are no events."""
        self._chunks, self._latest, self._size = chunks, -MAX_TIME, size
        self._held: list[Events] = []
        self._start = -MAX_TIME

    def reaches(self, start: int) -> bool:
        """Whether no event from `start` on was let go."""
        return start >= self._start

    def window(self, start: int | None, stop: int | None) -> Events:
        """The events of start <= t < stop."""
        low = -MAX_TIME if start is None else start
        high = MAX_TIME if stop is None else stop
        self._start = low
        while self._latest < high and (events := next(self._chunks, None)) is not None:
            if len(events):
                t = np.maximum(np.maximum.accumulate(events.t), self._latest)
                self._latest = int(t[-1])
                columns = events.x.copy(), events.y.copy(), events.p.copy()  # memory used again
                self._held.append(Events.trusted(t, *columns, events.size))
                self._size = events.size
        self._held = [events for events in self._held if int(events.t[-1]) >= low]
        parts = [events[slice(*np.searchsorted(events.t, (low, high)))] for events in self._held]
        return Events.concat(parts) if parts else Events.empty(self._size)
