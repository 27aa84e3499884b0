"""Stores of events: four columns, of which ragged.py says how they are laid and decoded."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from eventkit.errors import StoreError
from eventkit.store.array import ShardGrid
from eventkit.store.copying import Copier, Row
from eventkit.store.kinds.base import ChunkCheck, Split
from eventkit.store.metadata import COLUMNS, per_entry
from eventkit.store.reader import Problem

if TYPE_CHECKING:
    from eventkit.store.ragged import Ragged

EVENT_BYTES = 13  # of an event in memory


class EventsCopier(Copier):
    """Copies chunks: every sample has its own."""

    def _check(self, parts: list[Split]) -> None:
        super()._check(parts)
        if len({str(part.store.attributes["plan"]["codec"]) for part in parts}) > 1:
            raise StoreError(
                "these stores of events have different codecs; convert one of them again"
            )

    def shape_of(self, array: ShardGrid) -> tuple[int, ...]:
        rows = [sum(len(r.part.chunks_of(r.index)) for r in rows) for _, rows in self.groups()]
        return len(rows), max(1, *rows) * array.chunk[1]

    def chunks(self, rows: list[Row], number: int) -> Iterator[tuple[int, int, bytes]]:
        used = 0
        for row in rows:
            for i, j in row.part.chunks_of(row.index):
                yield 0, used, self.raw(row, number, i, j)
                used += 1

    def columns(self) -> dict[str, np.ndarray]:
        segments, starts, times = [], [], []
        for number, rows in self.groups():
            used = 0
            for row in rows:
                segments.append(number)
                starts.append(used * self.model[0].chunk[1])
                used += len(row.part.chunks_of(row.index))
                times.append(row.part.ragged.chunk_times(row.index))
        gathered = np.concatenate(times) if times else np.zeros(0, np.int64)
        return {
            "segment": np.array(segments, np.int32),
            "start": np.array(starts, np.int64),
            "events/chunk_t": gathered if len(gathered) else np.zeros(1, np.int64),
        }


class EventsSplit(Split):
    """A split of a store of events."""

    NEEDED = ("segment", "start", "count", "events_crc", "events/chunk_t")
    COPIER = EventsCopier

    @property
    def frames(self) -> NoReturn:
        raise StoreError(
            f"{self.store.path}: holds events, not frames; make them while loading, as "
            'EventDataset(store, represent="frames:n=16"), or read split.events(i)'
        )

    def read(self, indices: Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
        return self.frames

    @cached_property
    def ragged(self) -> "Ragged":
        from eventkit.store.ragged import Ragged  # kernels: not for who reads no events

        where = {name: self.column(name) for name in ("segment", "start", "count")}
        where["chunk_t"] = self.store.small(f"{self.name}/events/chunk_t")
        arrays = dict(zip(COLUMNS, self.arrays, strict=True))
        return Ragged(self.store.path / self.name / "events", arrays, self.size, where)

    @classmethod
    def layout(cls, split: str, kind: str) -> dict[str, str]:
        names = [f"{split}/events/{column}" for column in COLUMNS]
        return {name: f"integrity/{name}" for name in names}

    @classmethod
    def misshapen(cls, arrays: Mapping[str, dict[str, Any]]) -> str | None:
        shapes = []
        for name, node in arrays.items():
            outer = node["chunk_grid"]["configuration"]["chunk_shape"]
            inner = node["codecs"][0]["configuration"]["chunk_shape"]
            whole = "int" in node["data_type"]
            if len(node["shape"]) != 2 or not outer[0] == inner[0] == 1 or not whole:
                return f"array {name} of shape {node['shape']} has chunks of {inner}"
            lengths = (n * per_entry(name) for n in (node["shape"][1], outer[1], inner[1]))
            shapes.append((node["shape"][0], *lengths))
        return None if len(set(shapes)) == 1 else "the columns of events differ in shape"

    @cached_property
    def per_row(self) -> int:
        return int(np.bincount(self.column("segment")).max())

    def row_of(self, index: int) -> int:
        return int(self.column("segment")[index])

    def samples_of(self, row: int) -> list[int]:
        found: list[int] = np.flatnonzero(self.column("segment") == row).tolist()
        return found

    def chunks_of(self, index: int) -> list[tuple[int, int]]:
        chunk = self.arrays[0].chunk[1]
        first = int(self.column("start")[index]) // chunk
        count = -(-int(self.column("count")[index]) // chunk)
        return [(self.row_of(index), first + n) for n in range(count)]

    def decoded_bytes(self, indices: np.ndarray) -> int:
        return EVENT_BYTES * int(self.column("count")[indices].sum())

    def check_row(self, row: int, present: set[str]) -> Iterator[Problem]:
        """The checksum of every sample, its order, and zeros where nothing is."""
        ragged = self.ragged
        used, ends = 0, set()
        for index in self.samples_of(row):
            yield from self._check_sample(index)
            end = int(ragged.starts[index] + ragged.counts[index])
            used = max(used, -(-end // ragged.chunk))
            if ragged.counts[index] % ragged.chunk:
                ends.add(end)
        for array in self.arrays:
            check = ChunkCheck(array, present)
            chunk = np.empty(array.chunk, array.dtype)
            for end in sorted(ends):
                number, rest = divmod(end, ragged.chunk)
                check.read(row, number, chunk, wanted=True)
                flat = chunk[0]
                if per_entry(array.name) > 1:
                    flat = np.unpackbits(flat, bitorder="little")
                if flat[rest:].any():
                    text = f"segment {row} goes on after the last event of a sample"
                    yield Problem(array.name, text)
            for number in range(used, array.columns * array.per_axis[1]):
                check.read(row, number, chunk, wanted=False)
            yield from check.problems

    def _check_sample(self, index: int) -> Iterator[Problem]:
        from eventkit.store.ragged import EventsChecksum

        name = f"{self.name}/events"
        digest, last, sound, span = EventsChecksum(), None, True, []
        width, height = self.size
        for events in self.ragged.parts(index):
            digest.add(events)
            steps = np.diff(events.t, prepend=events.t[0] if last is None else last)
            last = events.t[-1]
            span += [int(events.t[0]), int(events.t[-1])]
            span = [span[0], span[-1]]
            inside = (events.x < width).all() and (events.y < height).all()
            sound &= bool((steps >= 0).all() and inside)
        expected, count, start, end = (
            int(self.column(column)[index])
            for column in ("events_crc", "count", "t_start", "t_end")
        )
        binned = int(self.ledger["binned"][index])
        if digest.value != expected:
            text = f"sample {index} decodes to {digest.value:08x}, expected {expected:08x}"
            yield Problem(name, text)
        if not sound:
            yield Problem(name, f"sample {index} has events out of order or outside the sensor")
        if span and span != [start, end]:
            text = f"sample {index} is {span[0]}..{span[1]} µs, expected {[start, end]}"
            yield Problem(name, text)
        if count != binned:
            yield Problem(name, f"sample {index} holds {count:,} events, its ledger {binned:,}")

    @property
    def holds(self) -> str:
        return f"{len(self)} x events"

    def __repr__(self) -> str:
        return f"Split({self.name!r}: {len(self)} samples, events)"
