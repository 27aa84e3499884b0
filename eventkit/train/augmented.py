"""Augmentation of training samples of any dataset."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from eventkit.augment import Augment
from eventkit.errors import OptionError
from eventkit.loader import EventDataset, collate

from .data import Samples


class Augmented:
    """A dataset whose samples are changed at random by (seed, epoch, sample)."""

    def __init__(self, dataset: Samples, specs: Sequence[str], *, seed: int) -> None:
        self.dataset, self.labels = dataset, dataset.labels
        self._augment, self._epoch = Augment(specs, seed=seed), 0
        if self._augment.on_events:
            raise OptionError(f"{self._augment.specs[0]} needs a store of events, not frames")

    @property
    def classes(self) -> list[str]:
        return self.dataset.classes

    @property
    def shape(self) -> tuple[int, ...]:
        first, *rest = self.dataset.shape
        return self._augment.length(first), *rest

    def set_epoch(self, epoch: int) -> None:
        """Draw the changes of this epoch from now on."""
        self._epoch = epoch

    def __getitems__(self, indices: list[int]) -> Any:
        frames, labels, *lengths = collate(self.dataset.__getitems__(indices))
        ends = lengths[0].tolist() if lengths else [frames.shape[1]] * len(frames)
        samples = []
        for index, whole, label, end in zip(indices, frames, labels.tolist(), ends, strict=True):
            own = np.array(whole[:end].numpy(), np.float32, order="C")
            changed = self._augment.frames(own, self._augment.draw(self._epoch, index))
            samples.append((torch.from_numpy(changed), label))
        return samples


def augmented(
    dataset: Samples, specs: Sequence[str], *, seed: int, represent: str | None = None
) -> Samples:
    """The dataset with augmentations; one of a store applies them itself, in its own threads."""
    if not specs:
        return dataset
    if isinstance(dataset, EventDataset):
        return EventDataset(
            dataset.store, dataset.split.name, represent=represent, augment=specs, seed=seed
        )
    return Augmented(dataset, specs, seed=seed)
