"""Samples as a DataLoader hands them over, and the function that makes batches of them."""

from typing import Any

import torch
from torch.utils.data import default_collate

from eventkit.errors import OptionError
from eventkit.loader.objects import gather


class Sample(tuple[Any, ...]):
    """A sample (frames, label), with targets as third if asked for; see `collate`."""

    length: int | None = None  # of all samples of its dataset; None where they differ
    time_first: bool = False
    padded: bool | None = None  # of objects: whether a batch pads them; None: frames


class Samples(list[tuple[Any, ...]]):
    """Samples, and the batch (frames, labels) or (frames, labels, lengths) that they view."""

    def __init__(
        self, samples: Any, batch: tuple[torch.Tensor, ...], targets: list[Any] | None = None
    ) -> None:
        super().__init__(samples)
        self.batch, self.targets = batch, targets


class TimeFirst:
    """A batch with time as its first axis, which torch's own collate function would mix up."""

    def __init__(self, batch: tuple[torch.Tensor, ...], targets: list[Any] | None = None) -> None:
        self.batch, self.targets = batch, targets

    def __getitem__(self, index: int) -> Any:
        raise OptionError(
            "time_first=True needs DataLoader(..., collate_fn=eventkit.loader.collate)"
        )


def collate(samples: Any, *, lengths: bool | None = None) -> tuple[Any, ...]:
    """The `collate_fn` for EventDataset: (frames, labels), or (frames, labels, lengths) if ragged.

    Samples of different T are padded with zero frames at the end; lengths (N,) says how many
    frames are real. Samples of a ConcatDataset give what those of its datasets would. A plain list
    of samples (frames, label) is padded too, and gives lengths. With lengths=True they are always
    there, as where datasets of different T are concatenated: OptionError without it.

    Samples that are no frames give (list or tensor, labels), as `eventkit.loader.objects` says;
    lengths=True pads tensors that differ in their first axis. Where samples have targets, the list
    of them is the last part of the batch.
    """
    targets = getattr(samples, "targets", None)
    if getattr(samples, "batch", None) is None and samples and len(samples[0]) == 3:
        targets = [sample[2] for sample in samples]
    batch = _collated(samples, lengths)
    return batch if targets is None else (*batch, targets)


def _collated(samples: Any, lengths: bool | None) -> tuple[Any, ...]:
    """The batch without targets."""
    batch = getattr(samples, "batch", None)
    if batch is None and samples and getattr(samples[0], "padded", None) is not None:
        first, (things, labels, *_) = samples[0], zip(*samples, strict=True)
        whole, found = gather(
            things, padded=first.padded, lengths=lengths, time_first=first.time_first
        )
        both = whole, default_collate(list(labels))
        return both if found is None else (*both, found)
    if batch is not None:
        full = batch[0].shape[0 if isinstance(samples, TimeFirst) else 1]
        missing = lengths and len(batch) == 2
        return (*batch, torch.full((len(batch[1]),), full)) if missing else tuple(batch)
    kinds = {(getattr(s, "length", None), getattr(s, "time_first", False)) for s in samples}
    if len(kinds) > 1 and not lengths:
        raise OptionError(
            "a batch has samples of datasets that differ in their number of frames or in "
            "time_first; use collate_fn=functools.partial(collate, lengths=True)"
        )
    frames, labels, *_ = zip(*samples, strict=True)
    batch_first = not all(time_first for _, time_first in kinds)
    padded = torch.nn.utils.rnn.pad_sequence(list(frames), batch_first=batch_first)
    targets = default_collate(list(labels))
    if len(kinds) == 1 and next(iter(kinds))[0] is not None and not lengths:
        return padded, targets
    return padded, targets, torch.tensor([len(part) for part in frames])
