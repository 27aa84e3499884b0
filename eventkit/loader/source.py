"""Where samples come from: each is read by number into an array of its stored type."""

import dataclasses
import functools
import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from eventkit import representations
from eventkit.augment import Augment, Draw
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.representations import Whole
from eventkit.store import Split

if TYPE_CHECKING:
    from eventkit.store.ragged import EventBatch


class Source(Protocol):
    """Samples as frames; `lengths` says how many frames (N,) each has, shape[0] at most."""

    shape: tuple[int, ...]  # (T, C, H, W)
    dtype: np.dtype[Any]
    lengths: np.ndarray

    def read(self, index: int, out: np.ndarray, draw: Draw | None, first: int = 0) -> None:
        """Fill `out`, contiguous (n, C, H, W), with frames first..first + n of a sample.

        `draw` draws what changes its events.
        """


class StoredFrames:
    """The frames of a store, as they are."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self.shape = split.frames.shape[1:]
        self.dtype = split.frames.dtype
        self.lengths = split.n_frames.astype(np.int64)

    def read(self, index: int, out: np.ndarray, draw: Draw | None, first: int = 0) -> None:
        self._split.frames.read([index], len(out), out[None], first=first)


class FramesOfEvents:
    """Representations made of stored events while they are read, those changed before perhaps.

    The sample's first and last time stay what they were, whatever the augmentation does, and so
    does the number of frames.
    """

    def __init__(self, split: Split, spec: str, augment: Augment) -> None:
        self._split, self._augment = split, augment
        self._entry, self._options = representations.parse(spec)
        self._columns = "txyp" if augment.on_events else self._entry.columns(self._options)
        self._memory = Scratch()
        self.dtype = self._entry.dtype_of(self._options)
        # Frames of one duration: a part of them needs only the events of its time.
        sliced = self._entry.name == "frames" and not (
            self._options["like"] or self._options["stride"]
        )
        self._slice: int | None = self._options["duration"] if sliced else None
        # Of `ragged`, so that what workers share of it is there before they are forked.
        counts, starts, ends = split.ragged.counts, split.column("t_start"), split.column("t_end")
        numbers = zip(counts.tolist(), starts.tolist(), ends.tolist(), strict=True)
        self._wholes = [Whole(n, t0, t1, ordered=True) for n, t0, t1 in numbers]
        shape = functools.partial(self._entry.shape, size=split.size, **self._options)
        if self._entry.fixed(self._options) and self._wholes:
            shapes = [shape(self._wholes[0])] * len(self._wholes)
        else:
            shapes = [shape(whole) for whole in self._wholes]
        self.lengths = np.array([shape[0] for shape in shapes], np.int64)
        channels = shapes[0][1:] if shapes else shape(Whole(0, 0, 0))[1:]
        self.shape: tuple[int, ...] = (int(self.lengths.max(initial=0)), *channels)

    def read(self, index: int, out: np.ndarray, draw: Draw | None, first: int = 0) -> None:
        n, whole = int(self.lengths[index]), self._wholes[index]
        try:
            if len(out) == n:
                self._make(self._read(index), whole, out, draw)
            elif self._slice is not None and not self._augment.on_events:
                start = whole.t0 + first * self._slice
                stop = min(start + len(out) * self._slice, whole.t1 + 1)
                events = self._split.events(index, start=start, stop=stop)
                self._make(events, Whole(len(events), start, stop - 1, True), out, None)
            else:
                frames = self._memory.array((n, *out.shape[1:]), out.dtype)
                self._make(self._read(index), whole, frames, draw)
                out[:] = frames[first : first + len(out)]
        except OptionError as error:
            raise OptionError(f"sample {index} of {self._split.name}: {error}") from None

    def _read(self, index: int) -> Events:
        batch = self._memory.events()
        return self._split.read_events([index], batch, columns=self._columns)[0]

    def _make(self, events: Events, whole: Whole, out: np.ndarray, draw: Draw | None) -> None:
        if draw is not None and self._augment.on_events:
            events = self._augment.events(events, draw)
            whole = dataclasses.replace(whole, n=len(events))
        size = self._split.size
        representations.accumulate([events], whole, size, self._entry, self._options, out)


class Augmented:
    """A source whose frames are changed after they were read, and their number perhaps."""

    def __init__(self, source: Source, augment: Augment) -> None:
        self._source, self._augment = source, augment
        self._scratch = Scratch()
        self.shape = (augment.length(source.shape[0]), *source.shape[1:])
        self.dtype = source.dtype
        values, which = np.unique(source.lengths, return_inverse=True)
        left = [augment.length(int(value)) for value in values]
        self.lengths = np.array(left, np.int64)[which]

    def read(self, index: int, out: np.ndarray, draw: Draw | None, first: int = 0) -> None:
        assert draw is not None  # the dataset that wraps the source has it drawn
        n, left = int(self._source.lengths[index]), int(self.lengths[index])
        if n == left:
            self._source.read(index, out, draw, first)
            self._augment.frames(out, draw)
            return
        frames = self._scratch.array((n, *out.shape[1:]), out.dtype)
        self._source.read(index, frames, draw)
        out[:] = self._augment.frames(frames, draw)[first : first + len(out)]


class Scratch:
    """Memory for one array and for the events of one sample, of each thread its own.

    It is used again and again.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """An array with anything in it; the one before of this thread is gone."""
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        memory: np.ndarray | None = getattr(self._local, "memory", None)
        if memory is None or len(memory) < n_bytes:
            memory = self._local.memory = np.empty(n_bytes, np.uint8)
        return memory[:n_bytes].view(dtype).reshape(shape)

    def events(self) -> "EventBatch":
        """Memory to read events into; those of before of this thread are gone."""
        batch: EventBatch | None = getattr(self._local, "events", None)
        if batch is None:
            from eventkit.store import ragged  # kernels: not for who reads frames

            batch = self._local.events = ragged.EventBatch()
        return batch

    def __reduce__(self) -> tuple[type["Scratch"], tuple[()]]:
        return Scratch, ()  # memory stays in its process
