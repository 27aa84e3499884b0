"""Where samples come from: each is read by number into an array of its stored type."""

import threading
from typing import Any, Protocol

import numpy as np

from eventkit.augment import Augment
from eventkit.store import Split


class Source(Protocol):
    """Samples as frames; `lengths` says how many frames (N,) each has, shape[0] at most."""

    shape: tuple[int, ...]  # (T, C, H, W)
    dtype: np.dtype[Any]
    lengths: np.ndarray

    def read(self, index: int, out: np.ndarray, rng: np.random.Generator | None) -> None:
        """Fill `out`, contiguous (lengths[index], C, H, W); `rng` draws what changes the events."""


class StoredFrames:
    """The frames of a store, as they are."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self.shape = split.frames.shape[1:]
        self.dtype = split.frames.dtype
        self.lengths = split.n_frames.astype(np.int64)

    def read(self, index: int, out: np.ndarray, rng: np.random.Generator | None) -> None:
        self._split.frames.read([index], len(out), out[None])


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

    def read(self, index: int, out: np.ndarray, rng: np.random.Generator | None) -> None:
        assert rng is not None  # the dataset that wraps the source has it drawn
        n = int(self._source.lengths[index])
        frames = out if n == len(out) else self._scratch.array((n, *out.shape[1:]), out.dtype)
        self._source.read(index, frames, rng)
        frames = self._augment.frames(frames, rng)
        if frames.base is not out and frames is not out:
            np.copyto(out, frames)


class Scratch:
    """Memory for one array, of each thread its own, used again and again."""

    def __init__(self) -> None:
        self._local = threading.local()

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """An array with anything in it; the one before of this thread is gone."""
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        memory: np.ndarray | None = getattr(self._local, "memory", None)
        if memory is None or len(memory) < n_bytes:
            memory = self._local.memory = np.empty(n_bytes, np.uint8)
        return memory[:n_bytes].view(dtype).reshape(shape)

    def __reduce__(self) -> tuple[type["Scratch"], tuple[()]]:
        return Scratch, ()  # memory stays in its process
