"""Events in a store: columns that are read sample by sample, or a slice of time at a time.

    <split>/events/t        uint32 (segments, L)   µs since the event before; 0 for the first
    <split>/events/x y      uint8 or uint16 (segments, L)
    <split>/events/p        uint8 (segments, L / 8)   8 events a byte, the first in the lowest bit
    <split>/events/chunk_t  int64   time (µs) of the first event of every chunk, sample by sample
    <split>/segment start count     where a sample is: events start..start + count of a segment

A segment is what one task wrote, in whole shards. Every sample begins with a chunk of its own, so
reading it decodes nothing else; what is left of its last chunk is zero and not counted. Times are
differences because these are small: exact whatever the recording's length, and half the bytes.
"""

import threading
from collections.abc import Iterator, Sequence

import google_crc32c
import numpy as np

from eventkit._jit import jit
from eventkit.errors import StoreDamaged, StoreError
from eventkit.events import RECORD, Events
from eventkit.store.array import ShardedArray
from eventkit.store.metadata import COLUMNS, per_entry
from eventkit.store.shard import crc32c
from eventkit.store.storage import Storage


class EventBatch:
    """Events of some samples, one after the other, in memory that the next batch uses again.

    t, x, y, p have the types of `Events`; those of sample k are offsets[k]..offsets[k + 1] of
    them, which `batch[k]` gives as Events (views: copy what must outlive the next reading).
    """

    def __init__(self) -> None:
        self._room = {name: np.empty(0, RECORD[name]) for name in COLUMNS}
        self.size = (1, 1)
        self.offsets = np.zeros(1, np.int64)
        self.t, self.x, self.y, self.p = (self._room[name] for name in COLUMNS)

    def reserve(self, counts: np.ndarray, size: tuple[int, int], columns: str) -> None:
        """Have room for samples of so many events; a column not asked for is all zeros."""
        self.size = size
        self.offsets = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=self.offsets[1:])
        n = int(self.offsets[-1])
        for name in COLUMNS:
            if name not in columns:
                zeros = np.broadcast_to(RECORD[name].type(0), n)
                setattr(self, name, zeros)
                continue
            if len(self._room[name]) < n:
                self._room[name] = np.empty(n, RECORD[name])
            setattr(self, name, self._room[name][:n])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, k: int) -> Events:
        k = range(len(self))[k]
        part = slice(int(self.offsets[k]), int(self.offsets[k + 1]))
        return Events.trusted(self.t[part], self.x[part], self.y[part], self.p[part], self.size)

    def __repr__(self) -> str:
        return f"EventBatch({len(self)} samples, {int(self.offsets[-1]):,} events)"


class _Room(threading.local):
    """One decoded chunk of each column, for each thread."""

    def __init__(self) -> None:
        self.chunks: dict[tuple[str, int], np.ndarray] = {}

    def of(self, dtype: np.dtype, n: int) -> np.ndarray:
        key = (dtype.str, n)
        if key not in self.chunks:
            self.chunks[key] = np.empty(n, dtype)
        return self.chunks[key]


_room = _Room()


class Ragged:
    """The events of one split: where those of each sample are, and how they are decoded.

    Thread-safe, and right in a DataLoader worker of any kind: files are read by position, and a
    copy sent to another process opens its own.
    """

    def __init__(
        self,
        path: Storage,
        arrays: dict[str, ShardedArray],
        size: tuple[int, int],
        columns: dict[str, np.ndarray],
    ) -> None:
        """`arrays` are t, x, y and p; `columns` segment, start, count and chunk_t."""
        self.path, self._arrays, self.size = path, arrays, size
        self.dtypes = {name: array.dtype for name, array in arrays.items()}
        self.shape, self.chunk = arrays["t"].shape, arrays["t"].chunk[1]
        for array in arrays.values():
            _ = array.checksums  # now, so that what workers share of it is there before a fork
        self.segments, self.starts, self.counts, self.times = (
            columns[name] for name in ("segment", "start", "count", "chunk_t")
        )
        chunks = -(-self.counts // self.chunk)
        self._first_chunk = np.concatenate([[0], np.cumsum(chunks)])
        self._check()

    def _check(self) -> None:
        ends = self.starts + self.counts
        sound = (self.segments >= 0) & (self.segments < self.shape[0]) & (self.counts >= 0)
        sound &= (self.starts >= 0) & (ends <= self.shape[1]) & (self.starts % self.chunk == 0)
        if not sound.all() or max(self._first_chunk[-1], 1) != len(self.times):
            raise StoreDamaged(f"{self.path}: start, count and chunk_t do not fit the columns")

    def __len__(self) -> int:
        return len(self.counts)

    def read(self, indices: Sequence[int], out: EventBatch | None, columns: str) -> EventBatch:
        """Samples `indices` into `out` or a new batch, decoding only the columns named."""
        out = EventBatch() if out is None else out
        wanted = np.asarray(indices, np.intp)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise StoreError(f"samples {wanted.min()}..{wanted.max()} of {len(self)}")
        out.reserve(self.counts[wanted], self.size, columns)
        borders = out.offsets.tolist()
        for k, index in enumerate(wanted.tolist()):
            for name in columns:
                column = getattr(out, name)[borders[k] : borders[k + 1]]
                self._fill(name, index, 0, len(column), column)
        return out

    def slice(self, index: int, start: int | None, stop: int | None) -> Events:
        """The events start <= t < stop (µs) of one sample, from the chunks that hold them."""
        begin, end = self._first_chunk[index], self._first_chunk[index + 1]
        times, count = self.times[begin:end], int(self.counts[index])
        # A chunk may end with the time at which the next one begins.
        low = 0 if start is None else max(int(np.searchsorted(times, start)) - 1, 0)
        high = len(times) if stop is None else int(np.searchsorted(times, stop))
        first, last = low * self.chunk, min(high * self.chunk, count)
        t = np.empty(max(last - first, 0), np.int64)
        self._fill("t", index, first, last, t)
        a = 0 if start is None else int(np.searchsorted(t, start))
        b = len(t) if stop is None else max(int(np.searchsorted(t, stop)), a)
        x, y, p = (np.empty(b - a, RECORD[name]) for name in "xyp")
        for name, column in zip("xyp", (x, y, p), strict=True):
            self._fill(name, index, first + a, first + b, column)
        return Events.trusted(t[a:b], x, y, p, self.size)

    def chunk_times(self, index: int) -> np.ndarray:
        """The time (µs) at which each chunk of one sample begins."""
        return self.times[self._first_chunk[index] : self._first_chunk[index + 1]]

    def parts(self, index: int) -> Iterator[Events]:
        """All events of one sample, a chunk at a time: bounded memory whatever its length."""
        for first in range(0, int(self.counts[index]), self.chunk):
            last = min(first + self.chunk, int(self.counts[index]))
            columns = {name: np.empty(last - first, RECORD[name]) for name in COLUMNS}
            for name, column in columns.items():
                self._fill(name, index, first, last, column)
            yield Events.trusted(**columns, size=self.size)

    def _fill(self, name: str, index: int, first: int, last: int, out: np.ndarray) -> None:
        """Column `name` of events first..last of a sample into `out`, chunk by chunk."""
        size, segment = self.chunk, int(self.segments[index])
        before = int(self.starts[index]) // size
        clock: int | None = None
        for number in range(first // size, -(-last // size)):
            low, high = max(first - number * size, 0), min(last - number * size, size)
            into = out[number * size + low - first : number * size + high - first]
            chunk = self._chunk(name, segment, before + number)
            if name == "t":
                if clock is None:  # that of its first event, less the step to it
                    clock = int(self.times[self._first_chunk[index] + number]) - int(chunk[0])
                clock = _add_up(chunk, low, high, clock, into)
            elif name == "p":
                bits = np.unpackbits(chunk[low >> 3 : -(-high // 8)], bitorder="little")
                into[:] = bits[low & 7 :][: high - low]
            else:
                into[:] = chunk[low:high]

    def _chunk(self, name: str, segment: int, number: int) -> np.ndarray:
        """One decoded chunk; it stays as it is until this thread decodes the next of the kind."""
        out = _room.of(self.dtypes[name], self.chunk // per_entry(name))
        self._arrays[name].read(segment, number, out)
        return out

    def __repr__(self) -> str:
        types = ", ".join(f"{name} {dtype}" for name, dtype in self.dtypes.items())
        return f"Ragged({len(self)} samples, {int(self.counts.sum()):,} events, {types})"


class EventsChecksum:
    """The checksum of a sample's events, whole or in chunks: the column `events_crc`.

    `value` is the crc32c of the four crc32c (uint32, little endian) of t, x, y and p as `Events`
    has them.
    """

    def __init__(self) -> None:
        self._sums = dict.fromkeys(COLUMNS, 0)

    def add(self, events: Events) -> None:
        """Go on with these events."""
        for name in COLUMNS:
            column = np.ascontiguousarray(getattr(events, name))
            self._sums[name] = google_crc32c.extend(self._sums[name], column)

    @property
    def value(self) -> int:
        return crc32c(np.array(list(self._sums.values()), "<u4"))


@jit
def _add_up(steps: np.ndarray, low: int, high: int, clock: int, out: np.ndarray) -> int:
    """Times of the events low..high of a chunk into `out`, and the last of them.

    `clock` is the time of the event before the chunk.
    """
    t = np.int64(clock)
    for i in range(low):
        t += np.int64(steps[i])
    for i in range(high - low):
        j = np.uint64(i)  # an unsigned index costs no test for negative ones
        t += np.int64(steps[np.uint64(low) + j])
        out[j] = t
    return int(t)
