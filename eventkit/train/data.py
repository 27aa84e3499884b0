"""Samples for training: what is held out, and how they are read, augmented and mixed."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from eventkit.augment import Augment, mixing
from eventkit.errors import OptionError
from eventkit.loader import EventDataset, Loader, ResumableSampler, collate, loader, mixer
from eventkit.splits import folds as divided
from eventkit.splits import hold_out

from .machine import World

ALONE = World()
Batch = tuple[Tensor, ...]  # what `loader` gives: see eventkit.evaluate.score.unpack


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

    def reader(
        self, batch: int, *, shuffle: bool = False, seed: int = 0, world: World = ALONE,
        device: torch.device | None = None,
    ) -> "Loader | Reader":  # fmt: skip
        """Batches of `eventkit.loader.loader`; of a dataset that is no EventDataset, the same."""
        if isinstance(self.dataset, EventDataset):
            on = device if device is not None and device.type == "cuda" else None
            return loader(
                self.dataset,
                batch,
                indices=self.indices,
                shuffle=shuffle,
                seed=seed,
                rank=world.rank,
                world_size=world.size,
                device=on,
            )
        sampler = ResumableSampler(
            len(self),
            batch_size=batch,
            shuffle=shuffle,
            seed=seed,
            rank=world.rank,
            world_size=world.size,
            plan=self.digest,
        )
        return Reader(self.dataset, sampler, self.indices)


class Reader:
    """What `loader` does, for any dataset: the same batches in the same order, when asked for."""

    def __init__(self, dataset: Samples, sampler: ResumableSampler, indices: np.ndarray) -> None:
        self.dataset, self.sampler, self.indices = dataset, sampler, indices

    def __iter__(self) -> Iterator[Batch]:
        groups, real = self.sampler.begin()
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self.sampler.epoch)
        for numbers, n in zip(groups, real, strict=True):
            frames, *rest = collate(self.dataset.__getitems__(self.indices[numbers].tolist()))
            if self.sampler.world_size > 1:
                rest.append(torch.arange(len(numbers)) < n)
            self.sampler.advance()
            yield frames.float(), *rest


@dataclass(frozen=True)
class Steps:
    """The steps of an epoch: how many samples each has, over all processes and passes."""

    samples: int
    batch: int
    accumulate: int = 1
    processes: int = 1

    @property
    def together(self) -> int:
        """Samples of one forward pass on all processes."""
        return self.batch * self.processes

    def __len__(self) -> int:
        return math.ceil(self.samples / (self.together * self.accumulate))

    def taken(self, step: int) -> int:
        """Samples of the steps before this one."""
        return min(self.samples, step * self.together * self.accumulate)

    def of(self, step: int) -> int:
        """Samples of a step; the last one has what is left."""
        return self.taken(step + 1) - self.taken(step)

    def passes(self, step: int) -> int:
        """Forward passes of a step."""
        return math.ceil(self.of(step) / self.together)


def start_at(reader: "Loader | Reader", epoch: int, samples: int) -> Iterator[Batch]:
    """The batches of an epoch after so many samples were taken."""
    sampler = reader.sampler
    sampler.load_state_dict({**sampler.state_dict(), "epoch": epoch, "consumed": samples})
    sampler.set_epoch(epoch)
    return iter(reader)


def parts(
    splits: dict[str, Samples], share: float, *, test: bool = True, folds: int | None = None,
    fold: int | None = None,
) -> dict[str, Part]:  # fmt: skip
    """The parts train, validation and, with `test`, test, as far as there are samples for them.

    Of `folds` folds of the split train, or of the only split there is, `fold` is tested on.
    """
    if folds is not None and len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    if "train" not in splits:
        raise OptionError(
            f"there is no split 'train' to train on, only {', '.join(splits)}; make one with "
            "eventkit subset OUT STORE --split-into train=0.8,test=0.2, or cross-validate a store "
            "with one split by folds=5"
        )
    found = {name: Part(split, np.arange(len(split.labels))) for name, split in splits.items()}
    whole, names_ = splits["train"], _names(splits["train"])
    if folds is not None and folds > len(whole.labels):
        raise OptionError(
            f"folds is {folds}, expected at most {len(whole.labels):,}, the samples of split train"
        )
    if folds is not None and fold is not None:
        n = len(whole.labels)
        is_tested = divided(folds, names_, labels=whole.labels, samples=n) == fold
        found["train"] = Part(whole, np.flatnonzero(~is_tested))
        found["test"] = Part(whole, np.flatnonzero(is_tested))
    if "validation" not in found:
        indices = found["train"].indices
        names_ = None if names_ is None else [names_[i] for i in indices]
        training, held = hold_out(whole.labels[indices], share, names=names_)
        found["train"] = Part(whole, indices[training])
        found["validation"] = Part(whole, indices[held])
    if not len(found["train"]):
        raise OptionError("there are no samples to train on")
    names = ("train", "validation", "test") if test else ("train", "validation")
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


Mixed = tuple[Tensor, Tensor, Tensor]  # frames (N, T, C, H, W), lengths (N,), target (N, classes)


@dataclass(frozen=True)
class Mixing:
    """How batches are mixed: each sample with another one of its batch, one share for all.

    `mixup` and `cutmix` are the alphas of the Beta distributions that shares come from, 0 for none;
    with both, one of them is drawn for each batch. `mix_share` of the batches are mixed, until the
    share `mix_until` of the training is done.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    mix_share: float = 1.0
    mix_until: float = 1.0

    def __call__(self, frames: Tensor, lengths: Tensor, target: Tensor, done: float) -> Mixed:
        """The batch mixed, as long as the longer of each two samples, or as it is."""
        is_over = done >= self.mix_until < 1
        if not (self.mixup or self.cutmix) or is_over or float(torch.rand(())) >= self.mix_share:
            return frames, lengths, target
        cuts = not self.mixup or (self.cutmix > 0 and bool(torch.rand(()) < 0.5))
        batch = mixing.Batch(len(target), *frames.shape[-2:])
        rng = np.random.default_rng(int(torch.randint(2**62, ())))  # so torch's seed decides
        if cuts:
            mix = mixing.cutmix(batch, rng, alpha=self.cutmix)
        else:
            mix = mixing.mixup(batch, rng, alpha=self.mixup)
        frames, share = mixer.apply(frames, mix)
        share, other = share.to(target)[:, None], torch.tensor(mix.partners, device=target.device)
        target = share * target + (1 - share) * target[other]
        return frames, torch.maximum(lengths, lengths[other]), target
