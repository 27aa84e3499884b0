"""How right the answers are: accuracy, confusion, loss, and accuracy after every time step."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventkit.errors import OptionError

Batch = tuple[Tensor, ...]  # what `loader` and `collate` give: see `unpack`


def unpack(
    batch: Batch, *, classes: int, time_first: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (N, T, C, H, W), labels (N,) and lengths (N,) of a batch as `loader` gives it.

    It is (frames, labels), with lengths as third where samples differ in their number of frames,
    and with a mask, bool (N,), as last where repetitions fill it up: those are left out here. With
    `time_first` its frames are (T, N, C, H, W). Raises OptionError for another batch.
    """
    frames, labels, *rest = batch
    frames = frames.transpose(0, 1) if time_first else frames
    mask = rest.pop() if rest and rest[-1].dtype == torch.bool else None
    lengths = rest[0] if rest else torch.full((len(labels),), frames.shape[1])
    if labels.shape != frames.shape[:1] or lengths.shape != labels.shape or len(rest) > 1:
        raise OptionError(
            f"a batch has parts of {', '.join(str(tuple(part.shape)) for part in batch)}; expected "
            "frames (N, T, C, H, W), labels (N,) and perhaps lengths (N,), as loader gives them "
            "(of a dataset with time_first=True, give time_first=True here too)"
        )
    odd = (labels < 0) | (labels >= classes)
    if bool(odd.any()) or bool((lengths > frames.shape[1]).any()):
        raise OptionError(
            f"a batch has labels {labels.tolist()[:8]} and lengths {lengths.tolist()[:8]}, "
            f"expected labels below {classes} and lengths up to {frames.shape[1]}: its parts are "
            "(frames, labels, lengths)"
        )
    if mask is not None:
        frames, labels, lengths = frames[mask], labels[mask], lengths[mask]
    return frames, labels.long(), lengths


def votes(net: nn.Module, frames: Tensor, *, bf16: bool = False) -> Tensor:
    """The net's votes float32 (T, N, classes) on frames (T, N, C, H, W).

    With `bf16` convolutions and linear layers run in bfloat16; membranes never do.
    """
    with mixed(frames, bf16):
        out: Tensor = net(frames)
    return out.float()


def mixed(frames: Tensor, bf16: bool) -> AbstractContextManager[Any]:
    """Inside, layers that may be rounded run in bfloat16 where the frames are, with `bf16`."""
    return torch.autocast(frames.device.type, torch.bfloat16) if bf16 else nullcontext()


def mean_vote(votes: Tensor, lengths: Tensor) -> Tensor:
    """The mean over time (N, classes) of votes (T, N, classes); those on padding do not count."""
    real = torch.arange(len(votes), device=votes.device)[:, None] < lengths
    return (votes * real[..., None]).sum(0) / lengths.clamp(min=1)[:, None]


@dataclass
class Score:
    """Sums over samples: add up what several processes have seen."""

    confusion: Tensor  # int64 (classes, classes): row = true class, column = answer
    loss: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))
    steps: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    decided: int = 0  # sum of the steps from which on answers stayed
    are_spikes: bool = True  # no output was below 0, as spikes never are
    silent: int = 0  # samples without an output above 0
    first_right: int = 0  # right answers by the first output above 0
    first_steps: int = 0  # sum of the steps of these answers

    @property
    def samples(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """From 0 to 1."""
        return float(self.confusion.diagonal().sum()) / max(1, self.samples)

    @property
    def mean_loss(self) -> float:
        """Mean cross-entropy of the mean votes."""
        return float(self.loss) / max(1, self.samples)

    @property
    def anytime(self) -> list[float]:
        """The accuracy of the mean vote of the first 1, 2, ... T steps."""
        return [int(right) / max(1, self.samples) for right in self.steps]

    @property
    def first_spike(self) -> dict[str, float] | None:
        """What answers at the first output spike are worth; None if outputs are not spikes.

        The class whose output is largest in the first step with any above 0 is the answer: its
        accuracy, the mean step of it, and the share of silent samples, which are never right and
        take all their steps.
        """
        n = max(1, self.samples)
        if not self.are_spikes:
            return None
        right, step, silent = self.first_right / n, self.first_steps / n, self.silent / n
        return {"accuracy": right, "step": step, "silent": silent}

    def per_class(self) -> list[dict[str, Any]]:
        """For every class: samples, recall, precision and F1 (None where undefined)."""
        rows = []
        for right, true, said in zip(
            self.confusion.diagonal(), self.confusion.sum(1), self.confusion.sum(0), strict=True
        ):
            recall = float(right / true) if true else None
            precision = float(right / said) if said else None
            both = float(true + said)
            f1 = 2 * float(right) / both if both else None
            rows.append({"samples": int(true), "recall": recall, "precision": precision, "f1": f1})
        return rows


def score(
    net: nn.Module, batches: Iterable[Batch], *, classes: int, bf16: bool = False,
    time_first: bool = False,
) -> Score:  # fmt: skip
    """The score of a net, in eval mode, on batches as `unpack` takes; it is left in eval mode."""
    net.eval()
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    total = Score(torch.zeros(classes, classes, dtype=torch.int64))
    with torch.inference_mode():
        for batch in batches:
            frames, labels, lengths = unpack(batch, classes=classes, time_first=time_first)
            if not len(labels):
                continue
            frames, labels, lengths = frames.to(device), labels.cpu(), lengths.to(device)
            said = votes(net, frames.transpose(0, 1), bf16=bf16)
            answers = mean_vote(said, lengths).cpu()
            chosen = answers.argmax(1)
            total.confusion += torch.bincount(
                labels * classes + chosen, minlength=classes**2
            ).reshape(classes, classes)
            total.loss += functional.cross_entropy(answers, labels, reduction="sum").double()
            by_step = _answers_by_step(said, lengths).cpu()
            total.steps = _longer(total, by_step == labels)
            total.decided += int(_decided(by_step).sum())
            _add_first_spikes(total, said, labels, lengths)
    return total


def _add_first_spikes(total: Score, said: Tensor, labels: Tensor, lengths: Tensor) -> None:
    total.are_spikes = total.are_spikes and bool((said >= 0).all())
    if not total.are_spikes:
        return
    real = torch.arange(len(said), device=said.device)[:, None] < lengths
    fires = (said > 0).any(-1) & real
    heard, first = fires.any(0), fires.int().argmax(0)
    answers = said[first, torch.arange(len(first), device=said.device)].argmax(-1)
    total.silent += int((~heard).sum())
    total.first_right += int((heard & (answers == labels.to(answers.device))).sum())
    total.first_steps += int(torch.where(heard, first + 1, lengths.to(first)).sum())


def _answers_by_step(said: Tensor, lengths: Tensor) -> Tensor:
    """The answer (T, N) after each step; a sample that is over keeps its last one."""
    t = torch.arange(len(said), device=said.device)[:, None]
    sums = (said * (t < lengths)[..., None]).cumsum(0)
    return sums.argmax(-1)


def _decided(answers: Tensor) -> Tensor:
    """The step (N,), from 1, from which on the answers (T, N) stay what they are at the end."""
    steps = torch.arange(1, len(answers) + 1)[:, None]
    return ((answers != answers[-1]) * steps).amax(0) + 1


def _longer(total: Score, right: Tensor) -> Tensor:
    """Right answers by step; batches of fewer steps count with their last for the others."""
    ours, theirs = total.steps, right.sum(1)
    if len(ours) < len(theirs):
        before = ours[-1] if len(ours) else torch.zeros((), dtype=torch.int64)
        ours = torch.cat([ours, before.expand(len(theirs) - len(ours))])
    theirs = torch.cat([theirs, theirs[-1:].expand(len(ours) - len(theirs))])
    return ours + theirs
