"""Events in order of time that are more than are held at once: sorted on the disk.

Each chunk that comes is sorted and put in a file without a name, as a run; runs are then merged.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from eventkit.errors import StoreError
from eventkit.events import RECORD, Events

_TYPES = [RECORD[name] for name in "txyp"]
_WIDTH = sum(kind.itemsize for kind in _TYPES)


@contextmanager
def sorted_on_disk(chunks: Iterable[Events], folder: Path | None) -> Iterator["Sorted"]:
    """The events of a recording in order of time, to be gone through as often as one likes.

    The file lies in `folder` and has 13 bytes for each event; it is gone when the process is.
    Raises StoreError where it does not fit.
    """
    with TemporaryFile(dir=folder) as file:
        yield Sorted(file, chunks)


class Sorted:
    """Runs of events in a file: `n` events in all, in which time went back `backward_steps` times.

    Events of one time stay in the order in which they came.
    """

    def __init__(self, file: IO[bytes], chunks: Iterable[Events]) -> None:
        self._fd = file.fileno()
        self._runs: list[tuple[int, int]] = []  # at which byte, how many events
        self.n = self.backward_steps = end = 0
        self.size = (1, 1)
        last: int | None = None
        for events in chunks:
            self.size = events.size
            if not len(events):
                continue
            self.backward_steps += events.backward_steps
            self.backward_steps += last is not None and int(events.t[0]) < last
            last = int(events.t[-1])
            try:
                for column in _columns(events.sort()):
                    file.write(column.data)
            except OSError as error:
                raise StoreError(
                    f"sorting {self.n + len(events):,} events takes {_WIDTH} bytes each on the "
                    f"disk of the store: {error.strerror}; make room and run the same command again"
                ) from None
            self._runs.append((end, len(events)))
            self.n += len(events)
            end += _WIDTH * len(events)
        file.flush()

    def chunks(self, most: int) -> Iterator[Events]:
        """The events in order of time, in parts of about `most` at most."""
        step = max(1, most // max(1, len(self._runs)))
        places = [0] * len(self._runs)
        while True:
            times = [self._times(run, places[run], step) for run in range(len(places))]
            # Up to here all events are at hand: those behind a window are not before its last.
            known = [
                int(t[-1])
                for run, t in enumerate(times)
                if places[run] + len(t) < self._runs[run][1]
            ]
            if not known:
                takes = [len(t) for t in times]
            else:
                takes = [int(np.searchsorted(t, min(known))) for t in times]
            if any(takes):
                parts = [self._part(run, places[run], n) for run, n in enumerate(takes) if n]
                places = [place + n for place, n in zip(places, takes, strict=True)]
                yield Events.concat(parts).sort()
            elif known:
                yield from self._at_once(min(known), places, step)
            else:
                return

    def _at_once(self, time: int, places: list[int], step: int) -> Iterator[Events]:
        """All events of one time, which may be more than are held, run after run."""
        for run in range(len(places)):
            while True:
                n = int(np.searchsorted(self._times(run, places[run], step), time, "right"))
                if n:
                    yield self._part(run, places[run], n)
                places[run] += n
                if n < step:
                    break

    def _times(self, run: int, place: int, n: int) -> np.ndarray:
        return self._read(run, 0, place, min(n, self._runs[run][1] - place))

    def _part(self, run: int, place: int, n: int) -> Events:
        t, x, y, p = (self._read(run, column, place, n) for column in range(4))
        return Events.trusted(t, x, y, p, self.size)

    def _read(self, run: int, column: int, place: int, n: int) -> np.ndarray:
        start, length = self._runs[run]
        before = sum(kind.itemsize for kind in _TYPES[:column])
        kind = _TYPES[column]
        data = np.empty(n, kind)
        view: Any = data.view(np.uint8).data
        done, at = 0, start + before * length + place * kind.itemsize
        while done < data.nbytes:
            got = os.preadv(self._fd, [view[done:]], at + done)
            if not got:
                raise StoreError("the file in which events are sorted was cut; run it again")
            done += got
        return data


def _columns(events: Events) -> Iterator[np.ndarray]:
    for name, kind in zip("txyp", _TYPES, strict=True):
        yield np.ascontiguousarray(getattr(events, name), kind).view(np.uint8)
