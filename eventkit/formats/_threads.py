"""How several threads decode one file side by side, each block to its place in the columns.

One thread reads the file and finds the blocks, as readers with one thread do; the others decode
them. So damage, counts and the order of events are the same for any number of threads.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property, partial
from itertools import chain, count, repeat
from operator import itemgetter
from typing import Self, TypeVar

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events

AHEAD = 2  # tasks per thread, at work or waiting: that bounds the memory
BYTES, EVENTS = 1 << 18, 1 << 17  # in a task at least: to hand one over takes about 50 µs
A = TypeVar("A")
B = TypeVar("B")
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # t, x, y, p
# The most events that a block can have, and what decodes it: it gets columns with room for so many
# and says how many there are.
Unit = tuple[int, Callable[[Arrays], int]]


class Team:
    """The threads that decode a file; `alone` is a team of one, for which there is no thread."""

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise OptionError(f"threads is {threads}, expected at least 1")
        self.threads, self.alone = threads, threads == 1
        self._ahead = AHEAD * threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if not self.alone:
            self._pool.shutdown()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads)

    def buffers(self, longest: int) -> Iterator[np.ndarray]:
        """Bytes for blocks: anew for each as threads may still use the last, or always the same."""
        if self.alone:
            return repeat(np.empty(longest, np.uint8))
        return (np.empty(longest, np.uint8) for _ in count())

    def map(
        self, work: Callable[[A], B], items: Iterable[A], size: Callable[[A], int]
    ) -> Iterator[B]:
        """As the function `map`, some calls ahead; none goes on when the iterator is closed.

        `size` says how many bytes an item has.
        """
        if self.alone:
            yield from map(work, items)
            return
        tasks: deque[Future[list[B]]] = deque()
        try:
            for group in _grouped(items, size, BYTES):
                tasks.append(self._pool.submit(_each, work, group))
                if len(tasks) > self._ahead:
                    yield from tasks.popleft().result()
            while tasks:
                yield from tasks.popleft().result()
        finally:
            for task in tasks:
                task.cancel()
            wait(tasks)

    def decode(
        self,
        units: Iterable[Unit],
        into: Columns,
        chunk: int,
        most: int,
        size: tuple[int, int],
    ) -> Iterator[Events]:
        """The events of the units in order, in chunks of `chunk`, the last of what is left.

        There are at most `most`. Where the units end in a FormatError, it comes after the chunks
        that are full.
        """
        together = -(-self._ahead * EVENTS // chunk) * chunk  # whole chunks, work for all threads
        room = max(1, min(together, most))
        failure: list[FormatError] = []
        joined = (
            (sum(most for most, _ in group), partial(_all, group))
            for group in _grouped(_until(units, failure), itemgetter(0), EVENTS)
        )
        n, empty = room, True
        rest: list[Unit] = []
        while n == room:
            into.reserve(room)
            n, rest = self._fill(into.arrays, chain(rest, joined), room)
            whole = n - n % chunk if failure and n < room else n
            for at in range(0, whole, chunk):
                empty = False
                yield into.events(n, size)[at : at + chunk]
        if failure:
            raise failure[0]
        if empty:
            yield Events.empty(size)

    def _fill(self, columns: Arrays, units: Iterator[Unit], room: int) -> tuple[int, list[Unit]]:
        """Decode until there are `room` events or units end: how many, and units without room."""
        n = at = 0  # events in place, and the place of the next unit
        rest: list[Unit] = []
        tasks: deque[tuple[int, Future[tuple[int, Arrays | None]]]] = deque()
        unit = next(units, None)
        while tasks or (unit is not None and n < room):
            if unit is not None and at < room and len(tasks) < self._ahead:
                tasks.append((at, self._pool.submit(_place, unit, columns, at, room)))
                at += unit[0]
                unit = next(units, None)
                continue
            begin, task = tasks.popleft()
            found, apart = task.result()
            kept = min(found, room - n)
            if apart is not None:
                for column, values in zip(columns, apart, strict=True):
                    column[n : n + kept] = values[:kept]
                if kept < found:
                    over = [values[kept:found] for values in apart]
                    rest.append((found - kept, partial(_copy, over)))
            elif begin > n:  # an earlier unit had less events than it could have
                for column in columns:
                    column[n : n + found] = column[begin : begin + found]
            n += kept
            at = at if tasks else n
        return n, rest if unit is None else [*rest, unit]


def _until(units: Iterable[Unit], failure: list[FormatError]) -> Iterator[Unit]:
    """The units, of which the end notes the FormatError that it comes from."""
    try:
        yield from units
    except FormatError as error:
        failure.append(error)


def _place(unit: Unit, columns: Arrays, at: int, room: int) -> tuple[int, Arrays | None]:
    """Decode a unit to its place, or to columns of its own where that may be too small."""
    most, decode = unit
    if at + most <= room:
        t, x, y, p = (column[at : at + most] for column in columns)
        return decode((t, x, y, p)), None
    t, x, y, p = (np.empty(most, column.dtype) for column in columns)
    return decode((t, x, y, p)), (t, x, y, p)


def _grouped(items: Iterable[A], size: Callable[[A], int], enough: int) -> Iterator[list[A]]:
    """Items in lists whose sizes are enough together, but for the last."""
    group, total = [], 0
    for item in items:
        group.append(item)
        total += size(item)
        if total >= enough:
            yield group
            group, total = [], 0
    if group:
        yield group


def _each(work: Callable[[A], B], items: list[A]) -> list[B]:
    return [work(item) for item in items]


def _all(units: list[Unit], columns: Arrays) -> int:
    """Decode units one after the other."""
    n = 0
    for most, decode in units:
        t, x, y, p = (column[n : n + most] for column in columns)
        n += decode((t, x, y, p))
    return n


def _copy(values: list[np.ndarray], columns: Arrays) -> int:
    for column, part in zip(columns, values, strict=True):
        column[:] = part
    return len(values[0])


ALONE = Team(1)
