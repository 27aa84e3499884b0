"""A split of a store as a map-style torch Dataset, read a batch at a time."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from eventkit import representations
from eventkit.augment import Augment, Draw, Own
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.loader.cache import InMemory, OnDisk
from eventkit.loader.collating import Sample, Samples, TimeFirst
from eventkit.loader.objects import Objects, is_object
from eventkit.loader.reading import Given, Reader, Transforms
from eventkit.loader.scratch import Scratch
from eventkit.loader.source import Augmented, FramesOfEvents, Source, StoredFrames
from eventkit.loader.targets import TargetReader, frame_at
from eventkit.representations import Whole
from eventkit.store import Store


class EventDataset(Dataset[tuple[Any, ...]]):
    """A split of a store, map-style: dataset[i] is (frames (T, C, H, W), label).

    Of a store of events, `represent` says what is made of them while they are read, as
    "frames:n=16" or "voxel:bins=9"; a store of frames has them already. "points" and
    "sparse_coo:of=[frames:n=16]" exist only here (`eventkit.loader.objects`). None leaves samples
    `Events`, and a batch is a list of them. A function(events) returns an array, a batch of which
    is stacked, or anything else, which a batch lists.

    `transform` are transforms of the events, one or several in turn, before they are represented.
    `augment` is a list of augmentations; what they draw depends on `seed`, the epoch (`set_epoch`)
    and the sample only. In both a function may stand for a spec: function(events) -> Events, and
    function(events, rng) -> Events, which of a store of frames is function(frames, rng) -> frames.
    `target_transform` is a function of a label that returns the target. Worker processes need
    functions that can be pickled. `dtype` is that of the frames, None for as stored. With
    `time_first`, batches are (T, N, C, H, W), what SpikingJelly's multi-step and snnTorch's nets
    take; otherwise (N, T, C, H, W).

    With `targets`, a sample is (frames, label, targets), and batches end with a list of these
    dictionaries, in pixels of the frames and µs since the sample's begin, in order of time:

        boxes            float32 (n, 4), XYXY; tv_tensors.BoundingBoxes where there is torchvision
        labels, t, tracks    int64 (n,) of the boxes
        points           float32 (n, 2), and point_labels, point_t int64 (n,)
        intervals        int64 (n, 2), the first time and the one after the last; interval_labels
        text             a list of n texts, and text_t int64 (n,)

    Those of the kinds that the store has (`store[split].targets`). `transform` and `augment` move
    them as they move the events.

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
        represent: str | Callable[[Events], Any] | None = None,
        transform: Given | Sequence[Given] = (),
        augment: Sequence[str | Callable[..., Any]] = (),
        target_transform: Callable[[int], Any] | None = None,
        targets: bool = False,
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
        is_events = self.split.kind == "events"
        self.augment = Augment(augment, seed=seed, own="events" if is_events else "frames")
        self.transform = Transforms(transform)
        self.represent = represent
        self.target_transform = target_transform and Own(target_transform, "target_transform")
        # Either samples of one shape are filled in, or they are objects of their own.
        self.objects: Objects | None = None
        self._reader: Reader | None = None
        if is_events and is_object(represent):
            if cache is not None or (represent is None and time_first):
                wrong = "time_first" if cache is None else f"cache={str(cache)!r}"
                raise OptionError(f"{wrong} needs frames, found represent={represent!r}")
            self.objects = Objects(self.split, represent, self.augment, self.transform)
            self._reader = self.objects.reader
        else:
            self._fill_in(represent, cache)
        self.targets: TargetReader | None = None
        if targets:
            self.targets = self._target_reader()
        self._scratch = Scratch()
        # Shared, so that workers which outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def _fill_in(self, represent: Any, cache: str | Path | None) -> None:
        self.source = self._source(represent)
        if isinstance(self.source, FramesOfEvents):
            self._reader = self.source.reader
        if cache is not None:
            self.source = self._cached(cache, represent)
        if self.augment.on_frames:
            self.source = Augmented(self.source, self.augment)
        self.stored_dtype = torch.from_numpy(np.empty(0, self.source.dtype)).dtype
        self.batch_dtype = self.dtype or self.stored_dtype

    def _target_reader(self) -> TargetReader:
        if self.objects is None:
            size = self.shape[-1], self.shape[-2]
        else:
            assert self._reader is not None
            size = self._reader.final
        return TargetReader(self.split, self.transform, self.augment, self._reader, size)

    def _source(self, represent: Any) -> Source:
        if self.split.kind == "events":
            return FramesOfEvents(self.split, represent, self.augment, self.transform)
        if self.transform or (represent is not None and is_object(represent)):
            argument = "transform" if self.transform else "represent"
            raise OptionError(
                f"{self.store.path} holds frames, which {argument}= cannot be applied to: convert "
                "with --events, or convert with --transform"
            )
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
        if self.transform.own:
            raise OptionError(
                f"cache={str(cache)!r}: {self.transform.own[0]} is a function, which may change "
                "while its results are kept; use cache='ram', or leave the cache out"
            )
        entry, options = representations.parse(str(represent))
        # Not the plan, which knows the recordings by name and size: the digest of all checksums.
        kept = f"{self.store.attributes['digest']} {self.split.name}"
        key = [kept, entry.name, options, *self.transform.specs]
        return OnDisk(self.source, Path(cache), json.dumps(key))

    @property
    def classes(self) -> list[str]:
        """Class names: label i is classes[i]."""
        return self.store.classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample (T, C, H, W); T of the longest where it differs.

        OptionError for represent=None, a function, "points" and "sparse_coo".
        """
        self.expect_frames()
        return self.source.shape

    def expect_frames(self) -> None:
        """OptionError unless samples are frames."""
        if self.objects is not None:
            found = "" if self.represent is None else f", not represent={self.represent!r}"
            raise OptionError(
                f"{self.store.path} holds events: say which frames to make of them, as in "
                f'represent="frames:n=16"{found}'
            )

    @property
    def lengths(self) -> np.ndarray:
        """How many frames each sample has, or events where there are no frames, int64 (N,)."""
        return self.source.lengths if self.objects is None else self.objects.lengths

    @property
    def ragged(self) -> bool:
        """Whether samples differ in their number of frames."""
        return self.objects is None and bool((self.lengths != self.shape[0]).any())

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
        self,
        index: int,
        out: np.ndarray,
        epoch: int | None = None,
        *,
        first: int = 0,
        key: int | None = None,
    ) -> None:
        """Frames first..first + n of a sample, as stored, into `out`, contiguous (n, C, H, W).

        They are augmented as sample number `key` would be, if it is given.
        """
        draw = self._draw(index if key is None else key, epoch) if self.augment.specs else None
        self.source.read(index, out, draw, first)

    def _draw(self, index: int, epoch: int | None) -> Draw:
        return self.augment.draw(self.epoch if epoch is None else epoch, index)

    def boxes(self, index: int, boxes: np.ndarray, epoch: int | None = None) -> np.ndarray:
        """Bounding boxes of a sample, moved as its frames are by the augmentations of this epoch.

        `boxes` is a structured array with x, y, w and h in pixels of the sensor, after
        `transform`, as `eventkit.boxes` reads them, and perhaps t; what leaves the sensor is cut
        off or dropped.
        """
        if self._reader is None:
            size, times = (self.shape[-1], self.shape[-2]), None
        else:
            whole, size = self._reader.whole(index), self._reader.size
            times = (whole.t0, whole.t1) if whole.n else None
        return self.augment.boxes(boxes, self._draw(index, epoch), size=size, times=times)

    def fill(
        self,
        indices: Sequence[int],
        rows: torch.Tensor,
        epoch: int | None = None,
        first: Sequence[int] | None = None,
        keys: Sequence[int] | None = None,
    ) -> None:
        """Samples as rows of a batch (n, T, C, H, W) of any dtype, zeros after their last frames.

        `first` are their first frames, if not 0; a sample of number -1 is all zeros. `keys` are
        the samples as which they are augmented, by default they themselves. What is cast or not
        contiguous goes through memory of the thread, which stays in its cache.
        """
        arrays = None if rows.dtype == torch.bfloat16 else rows.numpy()
        stored = arrays is not None and arrays.dtype == self.source.dtype
        for number, index in enumerate(indices):
            start = 0 if first is None else first[number]
            key = None if keys is None else keys[number]
            n = 0 if index < 0 else min(int(self.lengths[index]) - start, rows.shape[1])
            row = None if arrays is None else arrays[number]
            if n == 0:
                pass
            elif stored and row is not None and row.flags.c_contiguous:
                self.read(index, row[:n], epoch, first=start, key=key)
            else:
                sample = self._scratch.array((n, *self.shape[1:]), self.source.dtype)
                self.read(index, sample, epoch, first=start, key=key)
                if row is None:
                    rows[number, :n].copy_(torch.from_numpy(sample))
                else:
                    np.copyto(row[:n], sample, casting="unsafe")
            if n < rows.shape[1]:
                rows[number, n:] = 0

    def events(self, index: int, epoch: int | None = None) -> tuple[Events, Whole]:
        """Events of a sample, transformed and augmented, and what was known of them before."""
        assert self._reader is not None
        events, whole = self._reader.read(
            index, self._draw(index, epoch) if self.augment.on_events else None
        )
        return events.copy(), whole

    def object(self, index: int, epoch: int | None = None) -> Any:
        """A sample that is no frames: Events, a tensor, or what a function made of them."""
        assert self.objects is not None
        draw = self._draw(index, epoch) if self.augment.specs else None
        return self.objects.read(index, draw, self.dtype)

    def targets_of(self, index: int, epoch: int | None = None) -> dict[str, Any]:
        """The targets of a sample (see the class), moved by the augmentations of this epoch.

        OptionError unless the dataset was made with targets=True.
        """
        if self.targets is None:
            raise OptionError("make the dataset with targets=True to have targets")
        draw = self._draw(index, epoch) if self.augment.specs else None
        return self.targets(index, draw)

    def targets_by_frame(
        self, index: int, epoch: int | None = None, *, key: int | None = None
    ) -> dict[int, dict[str, Any]]:
        """The targets of a sample at each of its frames that has some, as `targets_of` gives them.

        Frames must be of known times: one alone, of a duration, or equal parts of time. They are
        augmented as sample number `key` would be, if it is given. An interval is at every frame
        that it reaches into; what is before the first frame or after the last one is at these.
        """
        if self.targets is None:
            raise OptionError("make the dataset with targets=True to have targets")
        draw = self._draw(index if key is None else key, epoch) if self.augment.specs else None
        return self.targets.by_frame(index, draw, self._frame_at(index))

    def _frame_at(self, index: int) -> Callable[[np.ndarray], np.ndarray]:
        if self._reader is None:
            first, last = (int(self.split.column(f"t_{end}")[index]) for end in ("start", "end"))
        else:
            whole = self._reader.whole(index)
            first, last = whole.t0, whole.t1
        spec = str(self.represent or self.store.attributes["represent"])
        return frame_at(spec, int(self.lengths[index]), first, last)

    def labels_of(self, indices: Sequence[int] | np.ndarray) -> Any:
        """Labels of samples, int64 (N,), or what `target_transform` makes of them.

        Numbers and arrays become a tensor, anything else what torch's default_collate makes of it.
        """
        if self.target_transform is None:
            return torch.from_numpy(self.labels[indices])
        targets = [self.target_transform(label) for label in self.labels[indices].tolist()]
        return default_collate(targets) if targets else targets

    def _target(self, index: int) -> Any:
        label = int(self.labels[index])
        return label if self.target_transform is None else self.target_transform(label)

    def _more(self, index: int) -> tuple[dict[str, Any], ...]:
        """The targets of a sample, if there are to be any."""
        return () if self.targets is None else (self.targets_of(index),)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        index = range(len(self))[index]  # negative indices and IndexError as a list has
        if self.objects is not None:
            made = Sample((self.object(index), self._target(index), *self._more(index)))
            made.padded, made.time_first = self.objects.padded, self.time_first
            return made
        frames = np.empty((self.lengths[index], *self.shape[1:]), self.source.dtype)
        self.read(index, frames)
        tensor = torch.from_numpy(frames).to(self.batch_dtype)
        one = Sample((tensor, self._target(index), *self._more(index)))
        one.length, one.time_first = None if self.ragged else self.shape[0], self.time_first
        return one

    def __getitems__(self, indices: Sequence[int]) -> "Samples | TimeFirst | list[Any]":
        """A whole batch read into one buffer, as DataLoader asks for it.

        With torch's own collate function the samples are stacked once more; `collate` is free.
        """
        if self.objects is not None:
            return [self[index] for index in indices]
        wanted = [range(len(self))[index] for index in indices]
        lengths = self.lengths[wanted]
        n, longest = len(wanted), int(lengths.max(initial=0))
        sides = (longest, n) if self.time_first else (n, longest)
        frames = torch.empty((*sides, *self.shape[1:]), dtype=self.batch_dtype)
        rows = frames.transpose(0, 1) if self.time_first else frames
        self.fill(wanted, rows)
        batch = [frames, self.labels_of(wanted)]
        if self.ragged:
            batch.append(torch.from_numpy(lengths))
        more = None if self.targets is None else [self.targets_of(index) for index in wanted]
        if self.time_first:
            return TimeFirst(tuple(batch), more)
        samples = [row[:n] for row, n in zip(frames, lengths.tolist(), strict=True)]
        labels = [self._target(index) for index in wanted]
        parts = [samples, labels] if more is None else [samples, labels, more]
        return Samples(zip(*parts, strict=True), tuple(batch), more)

    def __repr__(self) -> str:
        """What it holds, what is made of it, and what a batch is."""
        kind = type(self).__name__
        more = {"transform": self.transform.specs, "augment": self.augment.specs}
        parts = [f"{self.store.path}, {self.split.name}: {len(self):,} samples"]
        parts.append(f"{len(self.classes)} classes")
        if self.objects is not None:
            parts.append(f"represent={self.represent!r}")
        else:
            made = self.represent or self.store.attributes["represent"]
            sides = " x ".join(map(str, self.shape))
            parts.append(f"{made} {'up to ' * self.ragged}{sides} {self.batch_dtype}")
        parts += [f"{name}={specs}" for name, specs in more.items() if specs]
        parts += ["time_first"] * self.time_first
        return f"{kind}({', '.join(parts)})"
