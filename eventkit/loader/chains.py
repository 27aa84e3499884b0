"""Chains of samples as a torch Dataset: the task of DVS-Gesture-Chain from any events store."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from eventkit import representations
from eventkit.augment.chains import Chain, draw_chain
from eventkit.errors import OptionError
from eventkit.loader.dataset import EventDataset
from eventkit.representations import Whole, accumulate


class Chains(Dataset[tuple[Any, torch.Tensor]]):
    """`n` chains of samples of a dataset: chains[i] is (array (T, C, H, W), labels int64 (parts,)).

    `dataset` has represent=None; its transforms and augmentations change each part before it is
    chained. A chain is drawn by (seed, epoch, i), the epoch being the dataset's (`set_epoch`), and
    represented as a whole; without `represent` it stays Events. The other options are those of
    `eventkit.augment.chains.draw_chain`.

    >>> gestures = EventDataset("dvsgesture-events.zarr")                       # doctest: +SKIP
    >>> chains = Chains(gestures, 1000, parts=3, represent="frames:n=48,by=time")  # doctest: +SKIP
    >>> for frames, labels in DataLoader(chains, 16): ...                       # doctest: +SKIP
    """

    def __init__(
        self,
        dataset: EventDataset,
        n: int,
        *,
        represent: str | None = None,
        parts: int = 3,
        duration: int = 500_000,
        spread: float = 0.0,
        repeat: bool = False,
        seed: int = 0,
    ) -> None:
        if dataset.objects is None or dataset.represent is not None:
            raise OptionError(
                f"Chains needs an EventDataset with represent=None, found {dataset.represent!r}"
            )
        self.dataset, self.n, self.seed, self.represent = dataset, n, seed, represent
        self._made = None if represent is None else representations.parse(represent)
        self._options: dict[str, Any] = {
            "parts": parts, "duration": duration, "spread": spread, "repeat": repeat
        }  # fmt: skip
        self.chain(0)  # raises OptionError for wrong options now

    def chain(self, index: int) -> Chain:
        """Which samples a chain is made of, and how long each of them lasts."""
        rng = np.random.default_rng([self.seed % 2**64, self.dataset.epoch, index])
        return draw_chain(self.dataset.labels, rng, **self._options)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, torch.Tensor]:
        chain = self.chain(range(self.n)[index])
        events = chain.events([self.dataset.object(sample) for sample in chain.samples])
        labels = torch.from_numpy(self.dataset.labels[list(chain.samples)])
        if self._made is None:
            return events, labels
        whole = Whole(len(events), 0, chain.duration - 1, True)
        array, _ = accumulate([events], whole, events.size, *self._made)
        made = torch.from_numpy(array)
        return (made if self.dataset.dtype is None else made.to(self.dataset.dtype)), labels

    def __repr__(self) -> str:
        """What is chained, and how."""
        options = ", ".join(f"{key}={value}" for key, value in self._options.items())
        return f"Chains({self.n:,} of {self.dataset!r}, represent={self.represent!r}, {options})"
