"""Samples as columns of events, in shards: what a job of an events store writes.

How they are laid is said in eventkit/store/ragged.py. A job owns one segment, that is, whole
shards, so jobs need to know nothing of each other, and nobody has to count events first.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from eventkit.conversion.grids import Segments
from eventkit.conversion.plan import Job
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.representations import refuse_outside
from eventkit.store import metadata
from eventkit.store.metadata import COLUMNS
from eventkit.store.ragged import EventsChecksum
from eventkit.store.shard import Codec, crc32, pack, shard_name
from eventkit.store.storage import at

MAX_STEP = (1 << 32) - 1


def types(size: tuple[int, int]) -> dict[str, np.dtype]:
    """The narrowest types of the columns that hold every event of that sensor."""
    x, y = (np.uint8 if side <= 256 else np.uint16 for side in size)
    return {"t": np.dtype(np.uint32), "x": np.dtype(x), "y": np.dtype(y), "p": np.dtype(np.uint8)}


def codecs(codec: Codec, size: tuple[int, int]) -> dict[str, Codec]:
    """How each column is compressed, as measured by benchmarks/events_store.py.

    Shuffled bits make coordinates smaller where their type has bits to spare; where it has none,
    or one, copying them as they are is six times as fast. zstd finds by itself what is to be found.
    """
    shuffles = {"t": "shuffle", "p": "noshuffle"}
    for name, side in zip("xy", size, strict=True):
        full = 64 < side <= 256
        shuffles[name] = "shuffle" if codec.cname == "zstd" else ("bitshuffle", "noshuffle")[full]
    return {name: replace(codec, shuffle=shuffles[name]) for name in COLUMNS}


class RaggedWriter:
    """Takes the samples of one job in order, and writes a shard whenever one is full."""

    def __init__(self, job: Job) -> None:
        assert isinstance(job.grid, Segments)
        self.job, self.grid = job, job.grid
        self.codecs = codecs(job.codec, job.size)
        self.chunk = {
            name: np.zeros(self.grid.chunk, kind) for name, kind in types(job.size).items()
        }
        self.filled = 0  # events in the chunk that grows
        self.last: int | None = None  # time of the sample's last event
        self.n_chunks = 0  # of the segment
        self.chunk_t: list[int] = []
        self.encoded: dict[str, list[Future[bytes]]] = {name: [] for name in COLUMNS}
        # One recording alone is compressed by several threads, beside those that decode it.
        self.pool = ThreadPoolExecutor(job.threads) if job.threads > 1 else None
        self.files: dict[str, dict[str, int]] = {}

    def add(self, chunks: Callable[[], Iterable[Events]]) -> dict[str, int]:
        """One sample, of which `chunks` gives the events, in order; its row."""
        place = self.n_chunks * self.grid.chunk
        first = self.last = None
        n = stored = 0
        total = EventsChecksum()
        for events in chunks():
            n += len(events)
            inside = self._inside(events)
            if len(inside):
                first = int(inside.t[0]) if first is None else first
                stored += len(inside)
                total.add(inside)
                self._append(inside)
        if self.filled:
            self._encode()
        return {
            "n_events": n,
            "t_start": first or 0,
            "t_end": self.last or 0,
            "segment": self.job.number,
            "start": place,
            "count": stored,
            "events_crc": total.value,
            "ledger/out_of_bounds": n - stored,
            "ledger/unbinned": 0,
            "ledger/binned": stored,
        }

    def mark(self) -> Any:
        """What `undo` needs to be as now again."""
        encoded = {name: list(chunks) for name, chunks in self.encoded.items()}
        return self.n_chunks, list(self.chunk_t), encoded, dict(self.files)

    def undo(self, mark: Any) -> None:
        """Forget what was added of a sample; shards that it filled are written again."""
        self.n_chunks, self.chunk_t, self.encoded, self.files = mark
        self.filled = 0

    def finish(self) -> dict[str, Any]:
        """Write the last shard; all files, and the time at which every chunk begins."""
        if self.encoded["t"]:
            self._write()
        if self.pool is not None:
            self.pool.shutdown()
        return {"files": self.files, "chunk_t": self.chunk_t}

    def _inside(self, events: Events) -> Events:
        """The events within the sensor; OptionError if others are there and not to be dropped."""
        outside = events.out_of_bounds
        width, height = events.size
        if outside and self.job.representation["bounds"] == "raise":
            refuse_outside(
                events, outside, (height, width), "leave them out with events:bounds=drop"
            )
        return events[(events.x < width) & (events.y < height)] if outside else events

    def _append(self, events: Events) -> None:
        done = 0
        while done < len(events):
            part = events[done : done + self.grid.chunk - self.filled]
            if not self.filled:
                self.chunk_t.append(int(part.t[0]))
            place = slice(self.filled, self.filled + len(part))
            self.chunk["t"][place] = self._steps(part.t)
            for name in "xyp":
                self.chunk[name][place] = getattr(part, name)
            self.filled += len(part)
            done += len(part)
            if self.filled == self.grid.chunk:
                self._encode()

    def _steps(self, t: np.ndarray) -> np.ndarray:
        """The time since the event before, of every event."""
        before = t[0] if self.last is None else np.int64(self.last)
        # As times never go back, a difference is right modulo 2^64 even where int64 overflows.
        steps = np.diff(t, prepend=before).view(np.uint64)
        self.last = int(t[-1])
        if (longest := int(steps.max())) > MAX_STEP:
            at = int(t[steps.argmax()])
            raise OptionError(
                f"nothing happens for {longest / 1e6:,.0f} s before t={at} µs, an events store "
                f"holds pauses to {MAX_STEP // 1_000_000:,} s; cut the recording into samples there"
            )
        return steps

    def _encode(self) -> None:
        for name in COLUMNS:
            column = self.chunk[name]
            column[self.filled :] = 0
            if name == "p":
                column = np.packbits(column, bitorder="little")
            self.encoded[name].append(self._compressed(name, column))
        self.filled = 0
        self.n_chunks += 1
        if len(self.encoded["t"]) == self.grid.shard // self.grid.chunk:
            self._write()

    def _compressed(self, name: str, column: np.ndarray) -> Future[bytes]:
        if self.pool is not None:
            return self.pool.submit(self.codecs[name].encode, column.copy())
        done: Future[bytes] = Future()
        done.set_result(self.codecs[name].encode(column))
        return done

    def _write(self) -> None:
        per_shard = self.grid.shard // self.grid.chunk
        j = (self.n_chunks - 1) // per_shard
        for name, chunks in self.encoded.items():
            absent = [None] * (per_shard - len(chunks))
            data = pack([*(chunk.result() for chunk in chunks), *absent])
            path = at(self.job.folder) / name / shard_name(self.job.number, j, 2)
            path.write(data)
            known = "/".join(path.parts[-4:])  # <split>/events/<column>/<shard>
            self.files[known] = {"bytes": len(data), "crc": crc32(data)}
            self.encoded[name] = []


def documents(
    grid: Segments, codec: Codec, size: tuple[int, int], longest: int
) -> dict[str, dict[str, Any]]:
    """The `zarr.json` of t, x, y and p, where the fullest segment has `longest` events."""
    attributes = {"t": {"unit": "us", "encoding": "time since the event before; 0 for the first"}}
    attributes["p"] = {"encoding": "8 events a byte, the first in the lowest bit; 1 is ON"}
    made = {}
    for name, kind in types(size).items():
        packed = 8 if name == "p" else 1
        made[name] = metadata.array(
            (grid.jobs, longest // packed),
            kind,
            ("segment", "byte" if name == "p" else "event"),
            chunk=(1, grid.chunk // packed),
            shard=(1, grid.shard // packed),
            codec=codecs(codec, size)[name],
        )
        made[name]["attributes"] = attributes.get(name, {})
    return made
