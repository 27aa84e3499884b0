"""Frames in a store: an array (N, T, C, H, W), read sample by sample."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eventkit.errors import StoreError
from eventkit.store.array import ShardedArray
from eventkit.store.foreign import Foreign, is_ours


class Dense:
    """An array (N, T, C, H, W) of a store, read sample by sample and checked.

    Without zarr-python, unless somebody encoded the array anew with other codecs.

    Indexing works as in numpy along the first axis; what follows is applied to what was read.
    """

    def __init__(self, array: ShardedArray) -> None:
        self.path, self.shape, self.dtype = array.path, array.shape, array.dtype
        self._array = array
        self._foreign = None if is_ours(array.document) else Foreign(array.path)
        if self._foreign is None:
            _ = array.checksums  # now, so that what workers share of it is there before a fork

    def read(
        self,
        indices: Sequence[int],
        n_frames: int,
        out: np.ndarray | None = None,
        *,
        first: int = 0,
    ) -> np.ndarray:
        """Frames first..first + n_frames of samples `indices`: (len(indices), n_frames, C, H, W).

        `out`, if given, is filled and returned; it must be contiguous and of that shape.
        """
        shape = (len(indices), n_frames, *self.shape[2:])
        if out is None:
            out = np.empty(shape, self.dtype)
        if out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise StoreError(f"out must be contiguous {self.dtype} {shape}")
        if not 0 <= first <= first + n_frames <= self.shape[1]:
            raise StoreError(f"frames {first}..{first + n_frames} of {self.shape[1]}: {self.path}")
        for row, index in zip(out, indices, strict=True):
            self._read_one(int(index), first, row)
        return out

    def _read_one(self, index: int, first: int, out: np.ndarray) -> None:
        if not 0 <= index < self.shape[0]:
            raise StoreError(f"sample {index} of {self.shape[0]}: {self.path}")
        if self._foreign is not None:
            self._foreign.read(index, first, out)
            return
        k, step = self._array.chunk[:2]
        scratch = None
        for block in range(first // step, -(-(first + len(out)) // step)):
            low, high = max(first - block * step, 0), min(first + len(out) - block * step, step)
            part = out[block * step + low - first : block * step + high - first]
            if k == 1 and high - low == step:
                self._array.read(index, block, part)
                continue
            if scratch is None:
                scratch = np.empty(self._array.chunk, self.dtype)
            self._array.read(index // k, block, scratch)
            part[:] = scratch[index % k, low:high]

    @property
    def zarr(self) -> Any:
        """The same as a zarr.Array, which reads a shard that is missing as zeros."""
        return self.path.open_zarr()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        wanted = np.arange(len(self))[first]
        read = self.read(np.atleast_1d(wanted).tolist(), self.shape[1])
        read = read if np.ndim(wanted) else read[0]
        return read[(slice(None), *rest) if np.ndim(wanted) else tuple(rest)] if rest else read

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __repr__(self) -> str:
        return f"Dense({self.shape}, {self.dtype})"
