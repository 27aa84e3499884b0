"""Stores of frames, or of another dense representation: one array (N, T, C, H, W).

A chunk holds some frames of some samples, mostly all of one; T is padded with zeros.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NoReturn

import google_crc32c
import numpy as np

from eventkit.errors import StoreError
from eventkit.store.array import ShardGrid
from eventkit.store.copying import Copier, Row
from eventkit.store.dense import Dense
from eventkit.store.kinds.base import ChunkCheck, Split
from eventkit.store.reader import Problem


class DenseCopier(Copier):
    """Copies chunks whole; where samples of one chunk are torn apart, they are encoded again."""

    def shape_of(self, array: ShardGrid) -> tuple[int, ...]:
        longest = max(int(row.part.n_frames[row.index]) for row in self.samples)
        return len(self.samples), max(1, longest), *array.shape[2:]

    def may_link(self, row: Row) -> bool:
        return bool(row.part.store.attributes["plan"]["codec"] == self.plan_codec)

    def chunks(self, rows: list[Row], number: int) -> Iterator[tuple[int, int, bytes]]:
        k, step = self.model[0].chunk[:2]
        for i in range(-(-len(rows) // k)):
            group = rows[i * k : (i + 1) * k]
            longest = max(int(row.part.n_frames[row.index]) for row in group)
            raw = self.may_link(group[0]) and self._together(group, k)
            for j in range(-(-longest // step)):
                if raw:
                    data = self.raw(group[0], number, group[0].index // k, j)
                else:
                    data = self.codec.encode(self._decoded(group, j * step))
                    self.counts["encoded"] += 1
                yield i, j, data

    def _together(self, group: list[Row], k: int) -> bool:
        """Whether samples are all of one chunk of a parent, in their order."""
        first = group[0]
        count = min(k, len(first.part) - first.index)
        same = [Row(first.part, first.index + n) for n in range(len(group))]
        return first.index % k == 0 and len(group) == count and group == same

    def _decoded(self, group: list[Row], first: int) -> np.ndarray:
        chunk = np.zeros(self.model[0].chunk, self.model[0].dtype)
        for out, row in zip(chunk, group, strict=False):
            frames = row.part.read([row.index])[0][first : first + len(out)]
            out[: len(frames)] = frames
        return chunk


class DenseSplit(Split):
    """A split of a store of frames, or of another dense representation."""

    NEEDED = ("n_frames", "frames_crc")
    COPIER = DenseCopier

    @cached_property
    def frames(self) -> Dense:
        return Dense(self.arrays[0])

    @property
    def ragged(self) -> NoReturn:
        raise StoreError(
            f"{self.store.path}: holds {self.kind}, no events; convert with --events to store "
            "events"
        )

    def read(self, indices: Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
        wanted = self.within(indices)
        longest = int(self.n_frames[wanted].max()) if len(wanted) else 0
        if (self.n_frames[wanted] == longest).all():
            return self.frames.read(wanted.tolist(), longest, out)
        batch = np.zeros((len(wanted), longest, *self.frames.shape[2:]), self.frames.dtype)
        for row, index in zip(batch, wanted.tolist(), strict=True):
            n = int(self.n_frames[index])
            self.frames.read([index], n, row[None, :n])
        return batch

    @classmethod
    def layout(cls, split: str, kind: str) -> dict[str, str]:
        return {f"{split}/{kind}": f"integrity/{split}"}

    @classmethod
    def misshapen(cls, arrays: Mapping[str, dict[str, Any]]) -> str | None:
        ((name, node),) = arrays.items()
        outer = node["chunk_grid"]["configuration"]["chunk_shape"]
        inner = node["codecs"][0]["configuration"]["chunk_shape"]
        if len(node["shape"]) == 5 and node["shape"][2:] == outer[2:] == inner[2:]:
            return None
        return f"array {name} of shape {node['shape']} has chunks of {inner}"

    @cached_property
    def per_row(self) -> int:
        return self.arrays[0].shard[0]

    def row_of(self, index: int) -> int:
        return index // self.per_row

    def samples_of(self, row: int) -> list[int]:
        return list(range(row * self.per_row, min((row + 1) * self.per_row, len(self))))

    def chunks_of(self, index: int) -> list[tuple[int, int]]:
        k, step = self.arrays[0].chunk[:2]
        return [(index // k, j) for j in range(-(-int(self.n_frames[index]) // step))]

    def decoded_bytes(self, indices: np.ndarray) -> int:
        frame = int(np.prod(self.frames.shape[2:])) * self.frames.dtype.itemsize
        return int(self.n_frames[indices].sum() * frame)

    def check_row(self, row: int, present: set[str]) -> Iterator[Problem]:
        """The checksum of every sample, its sum, and zeros where nothing is."""
        (array,) = self.arrays
        if len(self) and not 0 <= self.n_frames.min() <= self.n_frames.max() <= array.shape[1]:
            if row == 0:
                yield Problem(f"{self.name}/n_frames", "is not within the array")
            return
        check = ChunkCheck(array, present)
        k, rows = array.chunk[0], array.per_axis[0]
        for group in range(row * rows, (row + 1) * rows):
            samples = range(min(group * k, len(self)), min((group + 1) * k, len(self)))
            yield from self._check_group(check, group, samples)
        yield from check.problems

    def _check_group(self, check: ChunkCheck, group: int, samples: range) -> Iterator[Problem]:
        array, step = check.array, check.array.chunk[1]
        counted = self.kind == "frames" and array.dtype.kind in "iu"
        chunk = np.empty(array.chunk, array.dtype)
        lengths = self.n_frames[samples.start : samples.stop].tolist()
        crcs, sums = [0] * len(samples), [0] * len(samples)
        for block in range(array.columns * array.per_axis[1]):
            first = block * step
            if not check.read(group, block, chunk, wanted=first < max(lengths, default=0)):
                continue
            for slot, n in enumerate(lengths):
                frames = chunk[slot, : max(0, min(n - first, step))]
                crcs[slot] = google_crc32c.extend(crcs[slot], frames)
                sums[slot] += int(frames.sum(dtype=np.int64)) if counted else 0
                if chunk[slot, len(frames) :].any():
                    text = f"sample {samples[slot]} goes on after its last frame"
                    yield Problem(array.name, text)
            if chunk[len(samples) :].any():
                yield Problem(array.name, f"chunk {group} goes on after the last sample")
        expected, binned = self.column("frames_crc"), self.ledger["binned"]
        for index, crc, total in zip(samples, crcs, sums, strict=True):
            if crc != expected[index]:
                text = f"sample {index} decodes to {crc:08x}, expected {expected[index]:08x}"
                yield Problem(array.name, text)
            elif counted and total != binned[index]:
                text = f"sample {index} holds {total:,} events, its ledger {binned[index]:,}"
                yield Problem(array.name, text)

    @property
    def holds(self) -> str:
        return f"{self.arrays[0].shape} {self.arrays[0].dtype}"

    def __repr__(self) -> str:
        return f"Split({self.name!r}: {self.kind} {self.holds})"
