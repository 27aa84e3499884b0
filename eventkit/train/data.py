"""Samples for training: parts of datasets, batches, what is held out, and random shifts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from eventkit.loader import collate


class Samples(Protocol):
    """What the loop needs of a dataset; EventDataset(store, split) is one."""

    labels: np.ndarray  # int64 (n,)

    @property
    def classes(self) -> list[str]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...  # (T, C, H, W)

    def __getitems__(self, indices: list[int]) -> Any: ...  # what loader.collate takes


@dataclass(frozen=True)
class Part:
    """Some samples of a dataset."""

    dataset: Samples
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def batches(
        self, size: int, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Frames float32 (N, T, C, H, W), their lengths in frames (N,), labels int64 (N,).

        `rng` shuffles the samples.
        """
        order = self.indices if rng is None else rng.permutation(self.indices)
        for first in range(0, len(order), size):
            samples = self.dataset.__getitems__(order[first : first + size].tolist())
            frames, labels, *lengths = collate(samples)
            full = torch.full(labels.shape, frames.shape[1])
            yield frames.float(), lengths[0] if lengths else full, labels.long()


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of samples to train on, and of those held out: `share` of every class."""
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held += members[: round(len(members) * share)].tolist()
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(np.array(held, np.int64))


def shift(frames: Tensor, rng: np.random.Generator, *, share: float) -> Tensor:
    """Frames (N, T, C, H, W), each sample moved by up to `share` of the sides, zeros moved in.

    All frames and channels of a sample move alike.
    """
    moved = torch.zeros_like(frames)
    for sample, target in zip(frames, moved, strict=True):
        windows = []
        for side in frames.shape[-2:]:
            by = int(rng.integers(-int(side * share), int(side * share) + 1))
            windows.append(
                (slice(max(-by, 0), side - max(by, 0)), slice(max(by, 0), side + min(by, 0)))
            )
        (rows, to_rows), (columns, to_columns) = windows
        target[..., to_rows, to_columns] = sample[..., rows, columns]
    return moved
