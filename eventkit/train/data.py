"""Samples for training: parts of datasets, what is held out, and the order of an epoch."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from eventkit.errors import OptionError
from eventkit.loader import collate

Batch = tuple[Tensor, Tensor, Tensor]  # frames (N, T, C, H, W), labels (N,), lengths (N,)


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

    @property
    def digest(self) -> str:
        """A short hash of which samples these are, for telling that two runs had the same."""
        return hashlib.sha256(np.asarray(self.indices, np.int64).tobytes()).hexdigest()[:16]

    def begin(self, epoch: int) -> None:
        """Let augmentations draw what they draw in this epoch."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples in order, `size` at a time."""
        whole = range(0, len(self.indices), size)
        return self.read(self.indices[first : first + size] for first in whole)

    def read(self, batches: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Frames float32 (N, T, C, H, W), labels int64 (N,), lengths in frames int64 (N,)."""
        for indices in batches:
            frames, labels, *lengths = collate(self.dataset.__getitems__(indices.tolist()))
            full = torch.full(labels.shape, frames.shape[1])
            yield frames.float(), labels.long(), lengths[0] if lengths else full


def ahead(batches: Iterator[Batch], depth: int = 2) -> Iterator[Batch]:
    """The same batches, the next ones being read by a thread in the meantime."""
    with ThreadPoolExecutor(1) as reader:
        waiting = deque(reader.submit(next, batches, None) for _ in range(depth))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(reader.submit(next, batches, None))
            yield batch


@dataclass(frozen=True)
class StepPlan:
    """One step of an epoch: the batches of this process, and how many samples all have."""

    batches: list[np.ndarray]
    samples: int


def plan(
    indices: np.ndarray, *, batch: int, accumulate: int = 1, seed: int, epoch: int,
    rank: int = 0, world: int = 1,
) -> list[StepPlan]:  # fmt: skip
    """The steps of an epoch, in an order that `seed` and `epoch` alone decide.

    A step has batch * accumulate * world samples, whoever computes them, the last one what is left.
    """
    order = np.random.default_rng([seed, epoch]).permutation(indices)
    size = batch * accumulate * world
    steps = []
    for first in range(0, len(order), size):
        whole = order[first : first + size]
        parts = [whole[i : i + batch] for i in range(0, len(whole), batch)]
        steps.append(StepPlan(parts[rank::world], len(whole)))
    return steps


def hold_out(
    labels: np.ndarray, share: float, *, names: Iterable[str] | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of samples to train on, and of those held out: `share` of every class.

    Samples go by the hash of their names (without names, of their numbers), so that the same are
    held out whatever the seed of the run or the representation in the store.
    """
    keys = list(map(str, range(len(labels)) if names is None else names))
    ranks = np.array([hashlib.sha256(f"{seed}/{key}".encode()).hexdigest() for key in keys])
    held: list[int] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(ranks[members], kind="stable")]
        # One at least is trained on.
        held += members[: min(round(len(members) * share), len(members) - 1)].tolist()
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(np.array(held, np.int64))


def parts(splits: dict[str, Samples], share: float) -> dict[str, Part]:
    """The parts train, validation and test, as far as there are samples for them."""
    if "train" not in splits:
        raise OptionError(f"there is no split 'train' to train on, only {', '.join(splits)}")
    found = {name: Part(split, np.arange(len(split.labels))) for name, split in splits.items()}
    if "validation" not in found:
        training, held = hold_out(splits["train"].labels, share, names=_names(splits["train"]))
        found["train"] = Part(splits["train"], training)
        found["validation"] = Part(splits["train"], held)
    if not len(found["train"]):
        raise OptionError("there are no samples to train on")
    names = ("train", "validation", "test")
    return {name: found[name] for name in names if name in found and len(found[name])}


def unvalidated(parts: Mapping[str, Part], share: float) -> str | None:
    """A sentence about classes of which nothing could be held out; None if there are none."""
    training, held = parts["train"], parts.get("validation")
    if not share or (held is not None and held.dataset is not training.dataset):
        return None
    labels = training.dataset.labels
    without = set(labels[training.indices]) - set(labels[held.indices] if held else [])
    if not without:
        return None
    if held is None:
        return (
            f"no class has enough samples to hold out a share of {share:g}: there is no validation "
            "and the weights kept are those of the last epoch; try --validation 0.5"
        )
    return (
        f"{len(without)} of {len(set(labels))} classes have too few samples to hold out a share of "
        f"{share:g}: validation knows nothing of them; try a larger --validation"
    )


def _names(samples: Samples) -> list[str] | None:
    """Source and start of every sample, which name it in any store of these files."""
    split = getattr(samples, "split", None)
    if split is None or not {"source", "t_start"} <= set(split.columns):
        return None
    sources, starts = split.column("source"), split.column("t_start")
    names = [f"{source}@{start}" for source, start in zip(sources, starts, strict=True)]
    return names if len(set(names)) == len(names) else None
