"""A split of a store as a map-style torch Dataset, read a batch at a time."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventkit import representations
from eventkit.augment import Augment, Draw
from eventkit.errors import MissingExtra, OptionError
from eventkit.loader.cache import InMemory, OnDisk
from eventkit.loader.source import Augmented, FramesOfEvents, Scratch, Source, StoredFrames
from eventkit.store import Store

try:
    import torch
    from torch.utils.data import Dataset
except ImportError:
    raise MissingExtra("eventkit.loader needs torch", "torch") from None


class EventDataset(Dataset[tuple[torch.Tensor, int]]):
    """A split of a store, map-style: dataset[i] is (frames (T, C, H, W), label).

    Of a store of events, `represent` says what is made of them while they are read, as
    "frames:n=16" or "voxel:bins=9"; a store of frames has them already.

    `augment` is a list of augmentations, as text; what they draw depends on `seed`, the epoch
    (`set_epoch`) and the sample only. `dtype` is that of the frames, None for as stored. With
    `time_first`, batches are (T, N, C, H, W), what SpikingJelly's multi-step and snnTorch's nets
    take; otherwise (N, T, C, H, W).

    `cache="ram"` keeps all samples decoded in memory, if they fit. `cache=FOLDER` keeps there what
    is made of events. What augmentations change afterwards is not kept.

    It may be used in any kind of DataLoader worker: files are read by position, and a copy sent to
    another process opens its own. `eventkit.loader.loader` needs no workers.

    >>> dataset = EventDataset("x.zarr", augment=["flip", "nda:m=1,n=2"])       # doctest: +SKIP
    """

    def __init__(
        self,
        store: str | Path | Store,
        split: str = "train",
        *,
        represent: str | None = None,
        augment: Sequence[str] = (),
        seed: int = 0,
        cache: str | Path | None = None,
        dtype: str | None = "float32",
        time_first: bool = False,
    ) -> None:
        self.store = store if isinstance(store, Store) else Store(store)
        self.split = self.store[split]
        self.time_first = time_first
        self.labels = self.split.labels.astype(np.int64)
        self.dtype = None if dtype is None else getattr(torch, dtype, None)
        if dtype is not None and not isinstance(self.dtype, torch.dtype):
            raise OptionError(
                f"dtype is {dtype!r}, expected a torch type such as 'float32' or None"
            )
        self.augment = Augment(augment, seed=seed)
        self.source = self._source(represent)
        if cache is not None:
            self.source = self._cached(cache, represent)
        if self.augment.on_frames:
            self.source = Augmented(self.source, self.augment)
        self.stored_dtype = torch.from_numpy(np.empty(0, self.source.dtype)).dtype
        self.batch_dtype = self.dtype or self.stored_dtype
        self._scratch = Scratch()
        # Shared, so that workers which outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def _source(self, represent: str | None) -> Source:
        if self.split.kind == "events":
            if represent is None:
                raise OptionError(
                    f"{self.store.path} holds events: say what to make of them, as in "
                    'represent="frames:n=16"'
                )
            return FramesOfEvents(self.split, represent, self.augment)
        stored = self.store.attributes["represent"]
        if represent is not None and representations.parse(represent) != representations.parse(
            stored
        ):
            raise OptionError(
                f"{self.store.path} holds {stored}, not {represent}; convert once with --events "
                "and have any of them"
            )
        if self.augment.on_events:
            raise OptionError(
                f"{self.store.path} holds frames, which {self.augment.specs[0]} cannot change; "
                "frame_drop can, or convert with --events"
            )
        return StoredFrames(self.split)

    def _cached(self, cache: str | Path, represent: str | None) -> Source:
        if self.augment.on_events:
            raise OptionError(
                f"{self.augment.specs[0]} changes events in every epoch, so nothing made of them "
                "can be kept; leave out the cache or the augmentation"
            )
        if cache == "ram":
            return InMemory(self.source)
        if self.split.kind != "events":
            raise OptionError(
                f"cache={str(cache)!r}: {self.store.path} holds frames, so nothing has to be made "
                "that could be kept; cache='ram' keeps them in memory"
            )
        entry, options = representations.parse(str(represent))
        # Not the plan, which knows the recordings by name and size: the digest of all checksums.
        kept = f"{self.store.attributes['digest']} {self.split.name}"
        return OnDisk(self.source, Path(cache), json.dumps([kept, entry.name, options]))

    @property
    def classes(self) -> list[str]:
        """Class names: label i is classes[i]."""
        return self.store.classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample (T, C, H, W); T of the longest where it differs."""
        return self.source.shape

    @property
    def lengths(self) -> np.ndarray:
        """How many frames each sample has, int64 (N,)."""
        return self.source.lengths

    @property
    def ragged(self) -> bool:
        """Whether samples differ in their number of frames."""
        return bool((self.lengths != self.shape[0]).any())

    def chosen(self, indices: Sequence[int] | np.ndarray | None) -> np.ndarray:
        """Numbers of samples as int64, all by default; OptionError for what is none."""
        if indices is None:
            return np.arange(len(self))
        numbers = np.asarray(indices)
        whole = numbers.ndim == 1 and (numbers.dtype.kind in "iu" or not len(numbers))
        if not whole or ((numbers < 0) | (numbers >= len(self))).any():
            raise OptionError(f"indices must be numbers of samples, 0..{len(self) - 1}")
        return numbers.astype(np.int64)

    @property
    def plan(self) -> str:
        """Which samples these are, the same for the same conversion wherever it is."""
        return f"{self.store.attributes.get('plan_digest', '')} {self.split.name}"

    @property
    def epoch(self) -> int:
        """The epoch on which augmentations depend."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw the augmentations of this epoch from now on, in workers too."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.labels)

    def read(
        self, index: int, out: np.ndarray, epoch: int | None = None, *, first: int = 0
    ) -> None:
        """Frames first..first + n of a sample, as stored, into `out`, contiguous (n, C, H, W)."""
        draw = self._draw(index, epoch) if self.augment.specs else None
        self.source.read(index, out, draw, first)

    def _draw(self, index: int, epoch: int | None) -> Draw:
        return self.augment.draw(self.epoch if epoch is None else epoch, index)

    def boxes(self, index: int, boxes: np.ndarray, epoch: int | None = None) -> np.ndarray:
        """Bounding boxes of a sample, moved as its frames are by the augmentations of this epoch.

        `boxes` is a structured array with x, y, w and h in pixels of the frames, as
        `eventkit.boxes` reads them; what leaves the sensor is cut off or dropped.
        """
        size = (self.shape[-1], self.shape[-2])
        return self.augment.boxes(boxes, self._draw(index, epoch), size=size)

    def fill(
        self,
        indices: Sequence[int],
        rows: torch.Tensor,
        epoch: int | None = None,
        first: Sequence[int] | None = None,
    ) -> None:
        """Samples as rows of a batch (n, T, C, H, W) of any dtype, zeros after their last frames.

        `first` are their first frames, if not 0; a sample of number -1 is all zeros. What is cast
        or not contiguous goes through memory of the thread, which stays in its cache.
        """
        arrays = None if rows.dtype == torch.bfloat16 else rows.numpy()
        stored = arrays is not None and arrays.dtype == self.source.dtype
        for number, index in enumerate(indices):
            start = 0 if first is None else first[number]
            n = 0 if index < 0 else min(int(self.lengths[index]) - start, rows.shape[1])
            row = None if arrays is None else arrays[number]
            if n == 0:
                pass
            elif stored and row is not None and row.flags.c_contiguous:
                self.read(index, row[:n], epoch, first=start)
            else:
                sample = self._scratch.array((n, *self.shape[1:]), self.source.dtype)
                self.read(index, sample, epoch, first=start)
                if row is None:
                    rows[number, :n].copy_(torch.from_numpy(sample))
                else:
                    np.copyto(row[:n], sample, casting="unsafe")
            if n < rows.shape[1]:
                rows[number, n:] = 0

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        index = range(len(self))[index]  # negative indices and IndexError as a list has
        frames = np.empty((self.lengths[index], *self.shape[1:]), self.source.dtype)
        self.read(index, frames)
        one = Sample((torch.from_numpy(frames).to(self.batch_dtype), int(self.labels[index])))
        one.length, one.time_first = None if self.ragged else self.shape[0], self.time_first
        return one

    def __getitems__(self, indices: Sequence[int]) -> "Samples | TimeFirst":
        """A whole batch read into one buffer, as DataLoader asks for it.

        With torch's own collate function the samples are stacked once more; `collate` is free.
        """
        wanted = [range(len(self))[index] for index in indices]
        lengths = self.lengths[wanted]
        n, longest = len(wanted), int(lengths.max(initial=0))
        sides = (longest, n) if self.time_first else (n, longest)
        frames = torch.empty((*sides, *self.shape[1:]), dtype=self.batch_dtype)
        rows = frames.transpose(0, 1) if self.time_first else frames
        self.fill(wanted, rows)
        batch = [frames, torch.from_numpy(self.labels[wanted])]
        if self.ragged:
            batch.append(torch.from_numpy(lengths))
        if self.time_first:
            return TimeFirst(tuple(batch))
        samples = [row[:n] for row, n in zip(frames, lengths.tolist(), strict=True)]
        return Samples(zip(samples, batch[1].tolist(), strict=True), tuple(batch))


class Sample(tuple[torch.Tensor, int]):
    """A sample (frames, label), which knows how `collate` is to put it into a batch."""

    length: int | None = None  # of all samples of its dataset; None where they differ
    time_first: bool = False


class Samples(list[tuple[torch.Tensor, int]]):
    """Samples, and the batch (frames, labels) or (frames, labels, lengths) that they view."""

    def __init__(self, samples: Any, batch: tuple[torch.Tensor, ...]) -> None:
        super().__init__(samples)
        self.batch = batch


class TimeFirst:
    """A batch with time as its first axis, which torch's own collate function would mix up."""

    def __init__(self, batch: tuple[torch.Tensor, ...]) -> None:
        self.batch = batch

    def __getitem__(self, index: int) -> Any:
        raise OptionError(
            "time_first=True needs DataLoader(..., collate_fn=eventkit.loader.collate)"
        )


def collate(samples: Any, *, lengths: bool | None = None) -> tuple[torch.Tensor, ...]:
    """The `collate_fn` for EventDataset: (frames, labels), or (frames, labels, lengths) if ragged.

    Samples of different T are padded with zero frames at the end; lengths (N,) says how many
    frames are real. Samples of a ConcatDataset give what those of its datasets would. A plain list
    of samples (frames, label) is padded too, and gives lengths. With lengths=True they are always
    there, as where datasets of different T are concatenated: OptionError without it.
    """
    batch = getattr(samples, "batch", None)
    if batch is not None:
        full = batch[0].shape[0 if isinstance(samples, TimeFirst) else 1]
        missing = lengths and len(batch) == 2
        return (*batch, torch.full((len(batch[1]),), full)) if missing else tuple(batch)
    kinds = {(getattr(s, "length", None), getattr(s, "time_first", False)) for s in samples}
    if len(kinds) > 1 and not lengths:
        raise OptionError(
            "a batch has samples of datasets that differ in their number of frames or in "
            "time_first; use collate_fn=functools.partial(collate, lengths=True)"
        )
    frames, labels = zip(*samples, strict=True)
    batch_first = not all(time_first for _, time_first in kinds)
    padded = torch.nn.utils.rnn.pad_sequence(list(frames), batch_first=batch_first)
    if len(kinds) == 1 and next(iter(kinds))[0] is not None and not lengths:
        return padded, torch.tensor(labels)
    return padded, torch.tensor(labels), torch.tensor([len(part) for part in frames])
