"""Memory that a thread uses again and again."""

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from eventkit.store.ragged import EventBatch


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
