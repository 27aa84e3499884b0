"""mixup and cutmix: training samples made of two, with the labels of both."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

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
        alpha = self.cutmix if cuts else self.mixup
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        other = torch.randperm(len(target)).to(target.device)
        if cuts:
            frames, share = _cut(frames, frames[other], share)
        else:
            frames = share * frames + (1 - share) * frames[other]
        target = share * target + (1 - share) * target[other]
        return frames, torch.maximum(lengths, lengths[other]), target


def _cut(frames: Tensor, others: Tensor, share: float) -> tuple[Tensor, float]:
    """Frames with a box of the others, about 1 - share of the area, and the share that is left.

    The box has the proportions of the frames and its centre anywhere on them; what lies outside is
    cut off. Yun et al., CutMix, ICCV 2019.
    """
    part = math.sqrt(1 - share)
    box = []
    for side in frames.shape[-2:]:
        half, middle = part * side / 2, float(torch.rand(())) * side
        box.append(slice(max(0, round(middle - half)), min(side, round(middle + half))))
    frames = frames.clone()
    frames[..., box[0], box[1]] = others[..., box[0], box[1]]
    area = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
    return frames, 1 - area / (frames.shape[-2] * frames.shape[-1])
