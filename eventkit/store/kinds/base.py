"""What the splits of all kinds of stores have in common, and what each kind must say of its own."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from eventkit.errors import StoreError
from eventkit.registry import unknown
from eventkit.store.array import ShardedArray
from eventkit.store.dense import Dense
from eventkit.store.metadata import is_sharded, of_samples
from eventkit.store.reader import Problem, Reader
from eventkit.store.targets import StoredTargets

if TYPE_CHECKING:
    from eventkit.events import Events
    from eventkit.store.ragged import EventBatch, Ragged


class Split(ABC):
    """One split of a store: `frames` or `events`, `labels` and the other columns."""

    NEEDED: ClassVar[tuple[str, ...]]  # columns of this kind, beside those of every split
    COPIER: ClassVar[Any]  # the `copying.Copier` of this kind

    def __init__(self, store: Reader, name: str) -> None:
        self.store, self.name = store, name
        self.kind = str(store.attributes["kind"])
        width, height = store.attributes["size"]
        self.size: tuple[int, int] = (width, height)
        self._nodes = {
            key.removeprefix(f"{name}/"): node
            for key, node in store.nodes.items()
            if key.startswith(f"{name}/") and node["node_type"] == "array"
        }
        self._columns: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self._nodes["labels"]["shape"][0])

    # What is stored.

    @property
    @abstractmethod
    def frames(self) -> Dense:
        """The dense representation, (N, T, C, H, W). StoreError in an events store."""

    @property
    @abstractmethod
    def ragged(self) -> "Ragged":
        """The columns of an events store. StoreError in a store of frames."""

    @abstractmethod
    def read(self, indices: Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
        """Samples as one batch (n, T, C, H, W); T is that of the longest sample asked for."""

    @property
    @abstractmethod
    def holds(self) -> str:
        """What is stored, in a few words; nothing is read for it."""

    def events(self, index: int, *, start: int | None = None, stop: int | None = None) -> "Events":
        """The events of one sample in order of time, or those of start <= t < stop (µs).

        Times are those of the recording. Only the chunks that hold the events are read.
        """
        return self.ragged.slice(range(len(self))[index], start, stop)

    def read_events(
        self, indices: Sequence[int], out: "EventBatch | None" = None, *, columns: str = "txyp"
    ) -> "EventBatch":
        """The events of many samples, one after the other, in the memory of `out`.

        Give the batch of an earlier call as `out` (one for each thread) and nothing is allocated.
        Only the columns named are decoded, the others are zero: frames by number need no t.
        """
        return self.ragged.read(indices, out, columns)

    @property
    def zarr(self) -> Any:
        """The dense representation as a zarr.Array, for slicing, dask or xarray.

        It checks checksums too, but reads a shard that is missing as zeros; `frames` does not.
        """
        return self.frames.zarr

    @property
    def labels(self) -> np.ndarray:
        """Class numbers, int32 (N,)."""
        return self.column("labels")

    @property
    def n_frames(self) -> np.ndarray:
        """How many of the T frames each sample has, int32 (N,)."""
        return self.column("n_frames")

    @property
    def ledger(self) -> dict[str, np.ndarray]:
        """Events per sample, int64 (N,) each: what was read and where it went."""
        names = [key for key in self._nodes if key.startswith("ledger/")]
        return {name.removeprefix("ledger/"): self.column(name) for name in names}

    @property
    def columns(self) -> list[str]:
        """The names of all arrays with one number for each sample."""
        return [
            key
            for key, node in self._nodes.items()
            if of_samples(node) and not is_sharded(node) and len(node["shape"]) == 1
        ]

    @cached_property
    def targets(self) -> StoredTargets:
        """Boxes, points, intervals and text: targets[i] are those of sample i, by kind."""
        return StoredTargets(self)

    def arrays_below(self, prefix: str) -> dict[str, dict[str, Any]]:
        """The documents of the arrays of this split whose names begin so."""
        return {name: node for name, node in self._nodes.items() if name.startswith(prefix)}

    def column(self, name: str) -> np.ndarray:
        """One of `columns` as a numpy array."""
        if name not in self._columns:
            if name not in self._nodes:
                raise unknown("column", name, self.columns)
            self._columns[name] = self.store.small(f"{self.name}/{name}")
        return self._columns[name]

    # How it is stored: for those who copy, check, repair and time stores.

    @classmethod
    @abstractmethod
    def layout(cls, split: str, kind: str) -> dict[str, str]:
        """The arrays of a split that are in shards, each with where its checksums are."""

    @classmethod
    @abstractmethod
    def misshapen(cls, arrays: Mapping[str, dict[str, Any]]) -> str | None:
        """What does not fit in the shapes of those arrays, by their documents, or None."""

    @cached_property
    def arrays(self) -> list[ShardedArray]:
        """The arrays in shards: one, or the four columns of events. All have the same rows."""
        names = self.layout(self.name, self.kind)
        return [self.store.array(name, integrity) for name, integrity in names.items()]

    @property
    @abstractmethod
    def per_row(self) -> int:
        """How many samples the fullest row of shards has."""

    @abstractmethod
    def row_of(self, index: int) -> int:
        """The row of shards that a sample is in."""

    @abstractmethod
    def samples_of(self, row: int) -> list[int]:
        """The samples in a row of shards, in order."""

    @abstractmethod
    def chunks_of(self, index: int) -> list[tuple[int, int]]:
        """Row and column of the chunks that a sample is in; the same in each of `arrays`."""

    @abstractmethod
    def decoded_bytes(self, indices: np.ndarray) -> int:
        """How many bytes samples have in memory, as they are stored."""

    @abstractmethod
    def check_row(self, row: int, present: set[str]) -> Iterator[Problem]:
        """What is wrong with the samples in a row of shards; files not in `present` are absent."""

    def within(self, indices: Sequence[int]) -> np.ndarray:
        """Sample numbers as an array. StoreError if there are no such samples."""
        wanted = np.asarray(indices, np.intp)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise StoreError(
                f"samples {wanted.min():,} to {wanted.max():,} were asked for; "
                f"{self.name} has {len(self):,}, from 0 on"
            )
        return wanted

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_columns": {}}


class ChunkCheck:
    """Reads the chunks of an array, and remembers those that are too many or too few."""

    def __init__(self, array: ShardedArray, present: set[str]) -> None:
        self.array = array
        self.problems: list[Problem] = []
        self._present = present

    def read(self, i: int, j: int, out: np.ndarray, *, wanted: bool) -> bool:
        """Decode a chunk if it is there; whether it is there and should be."""
        number, slot = self.array.place(i, j)
        there = self.array.file(number) in self._present
        shard = self.array.open(number) if there else None
        there = shard is not None and shard.has(slot)
        if there != wanted:
            text = f"chunk {i}, {j} is {'there' if there else 'absent'}, expected the contrary"
            self.problems.append(Problem(self.array.name, text))
        return shard is not None and wanted and there and shard.read(slot, out)
