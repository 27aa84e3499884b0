"""Where samples come from: each is read by number into an array of its stored type."""

import functools
from typing import Any, Protocol

import numpy as np

from eventkit import representations
from eventkit.augment import Augment, Draw
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.loader.reading import Reader, Transforms
from eventkit.loader.scratch import Scratch
from eventkit.representations import Whole
from eventkit.store import Split


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

    The first and last time of the transformed sample stay what they were, whatever the augmentation
    does, and so does the number of frames.
    """

    def __init__(
        self, split: Split, spec: str, augment: Augment, transform: Transforms | None = None
    ) -> None:
        self._split, self._memory = split, Scratch()
        self._entry, self._options = representations.parse(spec)
        columns = self._entry.columns(self._options)
        self.reader = reader = Reader(split, transform or Transforms([]), augment, columns)
        self.dtype = self._entry.dtype_of(self._options)
        # Frames of one duration: a part of them needs only the events of its time.
        sliced = self._entry.name == "frames" and not (
            self._options["like"] or self._options["stride"]
        )
        self._slice: int | None = self._options["duration"] if sliced else None
        shape = functools.partial(self._entry.shape, size=reader.final, **self._options)
        n = len(reader)
        if self._entry.fixed(self._options) and n:
            shapes = [shape(reader.stored[0])] * n
        else:  # of transformed events, every sample is read for its number of frames
            shapes = [shape(reader.whole(index)) for index in range(n)]
        self.lengths = np.array([shape[0] for shape in shapes], np.int64)
        channels = shapes[0][1:] if shapes else shape(Whole(0, 0, 0))[1:]
        self.shape: tuple[int, ...] = (int(self.lengths.max(initial=0)), *channels)

    def read(self, index: int, out: np.ndarray, draw: Draw | None, first: int = 0) -> None:
        n = int(self.lengths[index])
        try:
            if len(out) == n:
                self._make(*self.reader.read(index, draw), out)
            elif self._slice is not None and self.reader.as_stored:
                whole = self.reader.stored[index]
                start = whole.t0 + first * self._slice
                stop = min(start + len(out) * self._slice, whole.t1 + 1)
                events = self._split.events(index, start=start, stop=stop)
                self._make(events, Whole(len(events), start, stop - 1, True), out)
            else:
                frames = self._memory.array((n, *out.shape[1:]), out.dtype)
                self._make(*self.reader.read(index, draw), frames)
                out[:] = frames[first : first + len(out)]
        except OptionError as error:
            raise OptionError(f"sample {index} of {self._split.name}: {error}") from None

    def _make(self, events: Events, whole: Whole, out: np.ndarray) -> None:
        size = self.reader.final
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
