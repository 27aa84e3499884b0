"""Samples as arrays (T, C, H, W), in shards: what a job of a dense store writes."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from eventkit.conversion.functions import entry_of
from eventkit.conversion.grids import Grid
from eventkit.conversion.plan import Job
from eventkit.events import Events
from eventkit.representations import (
    Whole,
    accumulate,
    allocate,
    empty_bins,
)
from eventkit.store.shard import crc32, crc32c, pack, shard_name
from eventkit.store.storage import at


class _Buffers(threading.local):
    """Memory that the samples of one thread share: fresh memory costs more than the work in it."""

    def __init__(self) -> None:
        self.array: np.ndarray = np.empty(0)


_buffers = _Buffers()


class DenseWriter:
    """Takes the samples of one job in order, and writes the shard files at the end."""

    def __init__(self, job: Job) -> None:
        assert isinstance(job.grid, Grid)
        self.job, self.grid = job, job.grid
        self.k, self.step = self.grid.chunk
        self.blocks: dict[int, dict[int, bytes]] = {}  # time block -> chunk -> encoded
        self.group: list[np.ndarray] = []  # the samples of the chunk that grows
        self.groups = 0
        options = {key: value for key, value in job.representation.items() if key != "name"}
        entry = entry_of(job.representation["name"], job.size)
        self.counts = entry.counts(options)

    def add(self, chunks: Callable[[], Iterable[Events]]) -> dict[str, int]:
        """One sample, of which `chunks` gives the events, in order, as often as it is asked.

        Returns its row: where its events went, and what its array is.
        """
        n = t1 = 0
        t0 = None
        for events in chunks():
            if len(events):
                t0 = int(events.t[0]) if t0 is None else t0
                t1 = int(events.t[-1])
                n += len(events)
        whole = Whole(n, t0 or 0, t1, ordered=True)
        array, placed = self._accumulate(chunks(), whole)
        outside = sum(events.out_of_bounds for events in chunks()) if placed < n else 0
        row = {
            "n_events": n,
            "t_start": whole.t0,
            "t_end": whole.t1,
            "ledger/out_of_bounds": outside,
            "ledger/unbinned": n - placed - outside,
            "ledger/binned": placed,
        }
        return {**row, **self.take(array)}

    def take(self, array: np.ndarray) -> dict[str, int]:
        """One sample as its array (T, C, H, W), which it keeps; its row, as to the array."""
        row = {
            "frames_crc": crc32c(array),
            "n_frames": len(array),
            # Zeros say that there was no event only where events are counted.
            "empty_frames": int(empty_bins(array).sum()) if self.counts else 0,
        }
        self.group.append(array)
        if len(self.group) == self.k:
            self._encode()
        return row

    def mark(self) -> Any:
        """Nothing has to be remembered for `undo`: a sample counts when it is whole."""

    def undo(self, mark: Any) -> None:
        """Be as before a sample of which only the first pass was made."""

    def finish(self) -> dict[str, Any]:
        """Write what is there; the files with their bytes and checksums."""
        if self.group:
            self._encode()
        return {"files": _write(self.job, self.grid, self.blocks)}

    def _accumulate(self, chunks: Iterable[Events], whole: Whole) -> tuple[np.ndarray, int]:
        job = self.job
        options = {key: value for key, value in job.representation.items() if key != "name"}
        entry = entry_of(job.representation["name"], job.size)
        shape = entry.shape(whole, job.size, **options)
        out = None
        if self.k == 1:  # encoded before the thread's next sample is made
            if _buffers.array.shape != shape or _buffers.array.dtype != entry.dtype_of(options):
                _buffers.array = allocate(entry, whole, job.size, options)
            out = _buffers.array
        return accumulate(chunks, whole, job.size, entry, options, out)

    def _encode(self) -> None:
        for block, data in _chunks(self.group, self.k, self.step):
            encoded = self.job.codec.encode(np.ascontiguousarray(data))
            self.blocks.setdefault(block, {})[self.groups] = encoded
        self.group = []
        self.groups += 1


def _chunks(arrays: list[np.ndarray], k: int, step: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cut up to k samples into chunks (k, step, C, H, W), padded with zeros."""
    longest = max(len(array) for array in arrays)
    for block, start in enumerate(range(0, longest, step)):
        parts = [array[start : start + step] for array in arrays]
        if k == 1 and len(parts[0]) == step:
            yield block, parts[0]
            continue
        chunk = np.zeros((k, step, *arrays[0].shape[1:]), arrays[0].dtype)
        for row, part in zip(chunk, parts, strict=False):
            row[: len(part)] = part
        yield block, chunk


def _write(job: Job, grid: Grid, blocks: dict[int, dict[int, bytes]]) -> dict[str, dict[str, int]]:
    """Pack the encoded chunks into shard files; the names are relative to the tree."""
    (k, step), (per_shard, extent) = grid.chunk, grid.shard
    columns = extent // step
    files = {}
    for j in sorted({block // columns for block in blocks}):
        chunks = [
            blocks.get(j * columns + column, {}).get(row)
            for row in range(per_shard // k)
            for column in range(columns)
        ]
        data = pack(chunks)
        path = at(job.folder) / shard_name(job.number, j, 5)
        path.write(data)
        name = "/".join(path.parts[-3:])  # <split>/<array>/<shard>
        files[name] = {"bytes": len(data), "crc": crc32(data)}
    return files
