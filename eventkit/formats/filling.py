"""What readers of files repeat: blocks of bytes, filled chunks, and ends that are cut off."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError
from eventkit.events import Columns, Events
from eventkit.formats.base import Report, fill


class Chunks:
    """The chunks of a recording while a decoder fills them: `room` events each, the last less.

    `place` is where the decoder goes on: the columns, and what `begin` says. `take` is told how
    many events there are now and yields the chunk if it is full; `rest`
    yields what is left, and at least one (maybe empty) chunk in all. `look` sees the times of each.
    """

    def __init__(
        self,
        into: Columns,
        room: int,
        size: tuple[int, int],
        look: Callable[[np.ndarray], None] | None = None,
    ) -> None:
        self._into, self._room, self._size, self._look = into, room, size, look
        self._n, self._empty = 0, True
        into.reserve(room)

    def begin(self) -> tuple[int, int]:
        """How many events the columns have, and how many they may have."""
        if self._n == 0:
            self._into.reserve(self._room)
        return self._n, self._room

    def place(self) -> tuple[Any, ...]:
        n = self._n
        if n == 0:
            self._into.reserve(self._room)
        t, x, y, p = self._into.arrays
        return t, x, y, p, n, self._room

    def take(self, n: int) -> Iterable[Events]:
        self._n = n
        return self._full() if n == self._room else ()  # no generator for each block of bytes

    def _full(self) -> Iterator[Events]:
        yield self._events()
        self._n, self._empty = 0, False

    def rest(self) -> Iterator[Events]:
        if self._n or self._empty:
            yield self._events()

    def _events(self) -> Events:
        if self._look is not None:
            self._look(self._into.arrays[0][: self._n])
        return self._into.events(self._n, self._size)


def fill_whole(path: Path, fd: int, buffer: np.ndarray, at: int) -> np.ndarray:
    """The buffer, full of the bytes from a place on; FormatError if the file has become shorter."""
    n = fill(fd, buffer, at)
    if n < len(buffer):
        raise shorter(path, at + n)
    return buffer


def shorter(path: Path, at: int) -> FormatError:
    return FormatError(path, at, "the file became shorter while it was read")


def blocks(path: Path, fd: int, begin: int, end: int, step: int) -> Iterator[np.ndarray]:
    """The bytes of a file in blocks of `step`, the last of what is left; one buffer for all."""
    buffer = np.empty(max(0, min(step, end - begin)), np.uint8)
    for at in range(begin, end, step):
        yield fill_whole(path, fd, buffer[: end - at], at)


def cut_short(path: Path, end: int, left: int, what: str, strict: bool, report: Report) -> None:
    """The last `left` bytes before `end` are no whole record: FormatError, or counted."""
    if left and strict:
        reason = f"the file ends {left:,} bytes into {what}; it is cut off"
        raise FormatError(path, end - left, f"{reason}; strict=False reads the others")
    if left:
        report.counts["trailing bytes"] += left


class Extent:
    """The smallest sensor that holds all events, for files that do not tell its size."""

    def __init__(self, least: int = 0) -> None:
        self._width = self._height = least

    def see(self, x: np.ndarray, y: np.ndarray) -> None:
        """Coordinates of events."""
        if len(x):
            self._width = max(self._width, int(x.max()) + 1)
            self._height = max(self._height, int(y.max()) + 1)

    def size(self, path: Path, report: Report) -> tuple[int, int]:
        """Width and height, with a note; FormatError if no event was seen."""
        width, height = self._width, self._height
        if not width:
            reason = "neither the file nor an event tells the sensor's size; size=WxH sets it"
            raise FormatError(path, None, reason)
        taken = f"taken as {width}x{height} from the events; size=WxH sets it"
        report.notes.append(f"the sensor's size is not in the file, {taken}")
        return width, height


def pieces(chunks: Iterable[Events], length: int) -> Iterator[Events]:
    """The events in pieces of a length, but for the last; so that the file is always the same."""
    held: list[Events] = []
    n = 0
    for part in chunks:
        held, n = [*held, part.copy()], n + len(part)
        if n > length:
            whole = Events.concat(held)
            full = (n - 1) // length * length
            for at in range(0, full, length):
                yield whole[at : at + length]
            held, n = [whole[full:]], n - full
    yield Events.concat(held)
