"""Batches mixed as `eventkit.augment.mixing` draws it, on the device where they are."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from eventkit.augment.mixing import Batch, Mix, parse_mix
from eventkit.errors import OptionError
from eventkit.loader.dataset import EventDataset


class Mixer:
    """Mixes the batches of a loader; what is drawn depends on seed, epoch and samples only."""

    def __init__(self, specs: Sequence[str], dataset: EventDataset, seed: int) -> None:
        if isinstance(specs, str):
            raise OptionError(f"mix is {specs!r}, expected a list of such texts")
        if dataset.target_transform is not None:
            raise OptionError(
                "mix makes shares of classes of the labels; leave target_transform out"
            )
        if dataset.objects is not None and not dataset.objects.dense:
            raise OptionError(f"mix needs frames, found represent={dataset.represent!r}")
        self._draws = [parse_mix(spec) for spec in specs]
        self._classes, self._time_first = len(dataset.classes), dataset.time_first
        self._seed = seed

    def draw(self, epoch: int, samples: np.ndarray, height: int, width: int) -> Mix:
        """How a batch of these samples is mixed in an epoch."""
        rng = np.random.default_rng([self._seed % 2**64, epoch, *samples.tolist()])
        draw = self._draws[int(rng.integers(len(self._draws)))]
        return draw(Batch(len(samples), height, width), rng)

    def __call__(
        self, frames: Tensor, lengths: Tensor | None, labels: Tensor, epoch: int,
        samples: np.ndarray,
    ) -> tuple[Tensor, Tensor | None, Tensor]:  # fmt: skip
        """Frames, lengths (those of the longer one) and targets, float32 (N, classes)."""
        if frames.is_sparse or frames.ndim != 5:
            raise OptionError("mix needs dense frames (N, T, C, H, W)")
        mixed = self.draw(epoch, samples, *frames.shape[-2:])
        mixed_frames, share = apply(frames, mixed, time_first=self._time_first)
        partners = torch.tensor(mixed.partners, device=labels.device)
        target = torch.nn.functional.one_hot(labels, self._classes).float()
        share = share.to(target)[:, None]
        target = share * target + (1 - share) * target[partners]
        if lengths is not None:
            lengths = torch.maximum(lengths, lengths[partners])
        return mixed_frames, lengths, target


def apply(frames: Tensor, mix: Mix, *, time_first: bool = False) -> tuple[Tensor, Tensor]:
    """The mixed frames (N, T, C, H, W), new memory, and the own share of each label (N,).

    With `time_first` frames are (T, N, C, H, W).
    """
    samples, time = (1, 0) if time_first else (0, 1)
    partners = torch.tensor(mix.partners, device=frames.device)
    others = frames.index_select(samples, partners)
    height, width = frames.shape[-2:]
    own = torch.from_numpy(mix.own((frames.shape[time], height, width))).to(frames.device)
    weights = own.unsqueeze(1).unsqueeze(samples)  # (T, 1, H, W), and one more for the samples
    if own.dtype == torch.bool:
        mixed = torch.where(weights, frames, others)
    else:
        mixed = weights * frames + (1 - weights) * others
    mean = own.double().mean().expand(len(partners))
    if not mix.by_events:
        return mixed, mean
    rest = [axis for axis in range(frames.ndim) if axis != samples]
    kept = (frames.abs() * weights).sum(rest).double()
    taken = (others.abs() * ~weights).sum(rest).double()
    whole = kept + taken
    return mixed, torch.where(whole > 0, kept / whole.clamp(min=1e-30), mean)
