"""Memory of batches, used again when nobody holds the batch any more.

Fresh memory costs a page fault per 4 kB, about as much as copying a batch into it. A batch that
was handed out stays as it is for as long as a tensor that views it lives; then its memory takes
another.
"""

import weakref
from typing import Any

import numpy as np
import torch


class Slot:
    """Memory for one batch at a time."""

    def __init__(self, n_bytes: int, pinned: bool) -> None:
        # Of numpy rather than of torch where it need not be pinned: numpy asks for huge pages.
        self.memory: np.ndarray = np.empty(n_bytes, np.uint8)
        if pinned:
            self.memory = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True).numpy()
        self._batch: weakref.ref[np.ndarray] | None = None
        self.copied: Any = None  # a CUDA event: the copy out of this memory is done

    @property
    def free(self) -> bool:
        held = self._batch is not None and self._batch() is not None
        return not held and (self.copied is None or self.copied.query())

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """The memory as a tensor; the slot is taken until it and all views of it are gone."""
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        view = self.memory[:n_bytes]
        # The tensor's storage holds `view`, and so does each tensor and array made from it.
        self._batch, self.copied = weakref.ref(view), None
        return torch.from_numpy(view).view(dtype).view(shape)


class Ring:
    """Slots for the batches in work and in the user's hands; it keeps `keep` of them at most."""

    def __init__(self, keep: int, pinned: bool) -> None:
        self._keep, self._pinned = keep, pinned
        self._slots: list[Slot] = []

    def take(self, n_bytes: int) -> Slot:
        """A slot of at least so many bytes that nobody holds."""
        free = [slot for slot in self._slots if slot.free]
        for slot in free:
            if len(slot.memory) >= n_bytes:
                self._slots.remove(slot)
                self._slots.append(slot)  # at the front is what was used longest ago
                return slot
        slot = Slot(n_bytes, self._pinned)
        self._slots.append(slot)
        # Smaller ones first, then those that a user holds on to: they live as long as he does.
        for old in [*free, *self._slots]:
            if len(self._slots) > self._keep and old is not slot and old in self._slots:
                self._slots.remove(old)
        return slot
