"""The loop: epochs, steps, and what a training is at any moment.

All randomness of a step comes from (seed, number of the step, process), and the order of an epoch
from (seed, epoch). So a training that goes on from a checkpoint does what the undisturbed one does.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eventkit.errors import OptionError
from eventkit.evaluate.activity import first_broken
from eventkit.evaluate.score import mean_vote, unpack, votes
from eventkit.runs import Settings
from eventkit.snn import anneal

from .data import Batch, Mixing, Part, Steps, start_at
from .losses import loss, weighted
from .machine import World
from .optim import Average, Now, Statistics, schedule
from .rules import Rule, Step, rule
from .sparsity import Moment, Sparsity

Progress = Callable[[dict[str, Any]], None]


@dataclass
class Training:
    """Everything that changes while a net is trained."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average
    settings: Settings
    classes: int
    world: World = field(default_factory=World)
    teacher: nn.Module | None = None
    weights: Tensor | None = None  # of the classes in the loss
    sparsity: Sparsity | None = None
    moment: Moment | None = None  # of the step under way, for the sparsity
    bf16: bool = False
    epoch: int = 1  # the one under way
    step: int = 0  # steps of it that are done
    taken: int = 0  # steps of all epochs
    seconds: float = 0.0  # of all epochs
    factor: float = 0.0  # of the learning rate, in the last step
    loss: float = 0.0  # sum over the steps of this epoch
    right: float = 0.0  # right answers of this epoch while training
    shown: float = 0.0  # samples of this epoch
    waited: float = 0.0  # seconds of this epoch without data
    worked: float = 0.0  # seconds of this epoch in all
    norms: dict[str, float] = field(default_factory=dict)  # sums of gradient norms, by parameter
    normed: int = 0  # how many norms each of them sums
    validation: list[float] = field(default_factory=list)  # losses, one an epoch
    whole: bool = True  # false in the middle of a step
    _waited: float = 0.0  # seconds of this step without data

    COUNTS = ("epoch", "step", "taken", "seconds", "factor", "loss", "right", "shown", "waited",
              "worked", "norms", "normed")  # fmt: skip

    def fit(self, part: Part, *, epochs: int, progress: Progress) -> Iterator[dict[str, Any]]:
        """Train in place; after every epoch yield its number, rate, loss and share of waiting.

        With `minutes`, the schedule follows the time if that is the larger share, and the training
        ends in the middle of an epoch. What the caller does between epochs counts; the first step,
        in which kernels may be compiled, does not.
        """
        s, world = self.settings, self.world
        rate = schedule(s.schedule, warmup=s.warmup)
        learn, statistics = rule(s.method), Statistics(self.net)
        if world.size > 1 and "update=window" in s.method:
            raise OptionError(f"{s.method} changes the weights on one process only, not on several")
        steps = Steps(len(part), s.batch, s.accumulate, world.size)
        device = next(self.net.parameters()).device
        reader = part.reader(s.batch, shuffle=True, seed=s.seed, world=world, device=device)
        total = epochs * len(steps)
        limit = math.inf if s.minutes is None else 60 * s.minutes
        began = time.monotonic() - self.seconds if self.taken else math.inf
        for epoch in range(self.epoch, epochs + 1):
            self.epoch = epoch
            self.net.train()
            batches = start_at(reader, epoch, steps.taken(self.step))
            for step in range(self.step, len(steps)):
                self.seconds = max(0.0, time.monotonic() - began)
                (done,) = world.largest(min(1.0, max(self.taken / total, self.seconds / limit)))
                if done == 1:
                    break
                self.factor = rate(Now(done, self.taken / len(steps), self.validation))
                for group in self.optimizer.param_groups:
                    group["lr"] = group["full"] * self.factor
                anneal(self.net, done)
                statistics.follow(self.taken)
                self.moment = self.at(max(done, (self.taken + 1) / total), epochs)
                self._learn(islice(batches, steps.passes(step)), steps.of(step), learn, done)
                began = min(began, time.monotonic())
                expected = round(self.taken / done) if done else total
                told = {"done": self.taken, "of": min(total, max(self.taken, expected))}
                progress({"event": "step", **told, "loss": self.loss / self.step})
            batches.close()  # type: ignore[attr-defined]
            self.seconds = max(0.0, time.monotonic() - began)
            yield {
                "epoch": epoch,
                "lr": s.lr * self.factor,
                "loss": self.loss / max(1, self.step),
                "accuracy": self.right / max(1, self.shown),
                "waiting": round(self.waited / max(1e-9, self.worked), 4),
            }
            self.begin_epoch()
            (self.seconds,) = world.largest(max(0.0, time.monotonic() - began))
            if self.seconds >= limit:  # measuring took the rest of it
                return

    def at(self, done: float, epochs: int) -> Moment:
        """The moment of the next step, whose end is at the share `done`, for the sparsity."""
        seed = np.random.SeedSequence([self.settings.seed, self.taken]).generate_state(1)[0]
        return Moment(done, epochs, torch.Generator().manual_seed(int(seed)))

    def _learn(self, batches: Iterator[Batch], samples: int, learn: Rule, done: float) -> None:
        """One step: forward, loss and backward of every batch, then new weights.

        `learn` does these three; that of bptt is: votes = net(frames), then loss(votes).backward().
        """
        self.whole, self._waited, started = False, 0.0, time.perf_counter()
        key = [self.settings.seed, self.taken, self.world.rank]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        total = right = 0.0
        for batch in self._timed(batches):
            frames, target, lengths = self._prepared(batch, done)
            if not len(target):  # this process has no part in the last samples of the epoch
                continue
            answers = torch.zeros_like(target)  # the sums of the votes
            criterion = self._criterion(frames, target, lengths, len(target) / samples, answers)
            loss = learn(Step(self.net, criterion, self.bf16, self.update), frames.transpose(0, 1))
            if not math.isfinite(loss):
                raise OptionError(self._broken(loss, frames))
            total += loss
            right += float((answers.argmax(1) == target.argmax(1)).sum())
        self.update()
        numbers = [total, right, self._waited, time.perf_counter() - started]
        total, right, waited, worked = self.world.add(torch.tensor(numbers).double()).tolist()
        self.loss, self.right = self.loss + total, self.right + right
        self.shown += samples
        if self.taken:  # in the first step kernels may be compiled
            self.waited, self.worked = self.waited + waited, self.worked + worked
        self.step, self.taken, self.whole = self.step + 1, self.taken + 1, True

    def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; the time until they are there is added up."""
        while True:
            before = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - before
            if batch is None:
                return
            yield batch

    def _prepared(self, batch: Batch, done: float) -> tuple[Tensor, Tensor, Tensor]:
        """Frames, targets (smoothed, mixed) and lengths of a batch, where the net is."""
        s, device = self.settings, next(self.net.parameters()).device
        frames, labels, lengths = unpack(batch, classes=self.classes)
        frames, labels, lengths = frames.to(device), labels.to(device), lengths.to(device)
        if not _is_finite(frames):
            raise OptionError(f"samples of epoch {self.epoch} hold values that are not finite")
        target = targets(labels, self.classes, s.smoothing)
        if len(target):
            mixing = Mixing(s.mixup, s.cutmix, s.mix_share, s.mix_until)
            frames, lengths, target = mixing(frames, lengths, target, done)
        return frames, target, lengths

    def begin_epoch(self) -> None:
        """Nothing of an epoch is done."""
        self.step, self.loss, self.right, self.shown = 0, 0.0, 0.0, 0.0
        self.waited, self.worked = 0.0, 0.0
        self.norms, self.normed = {}, 0

    def update(self) -> None:
        """New weights from the gradients that have gathered, if any have."""
        parameters = list(self.net.parameters())
        if self.world.size == 1 and all(p.grad is None for p in parameters):
            return
        self.world.add_gradients(self.net)
        self._add_norms()
        try:
            limit = self.settings.clip or math.inf
            nn.utils.clip_grad_norm_(parameters, limit, error_if_nonfinite=True)
        except RuntimeError:
            broken = [n for n, p in self.net.named_parameters() if not _is_finite(p.grad)]
            raise OptionError(
                f"the gradient of {broken[-1] if broken else 'all weights together'} is not finite "
                f"in epoch {self.epoch}; try a smaller lr"
            ) from None
        with self._sparse():
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.net)

    def _sparse(self) -> AbstractContextManager[None]:
        if self.sparsity is None or self.moment is None:
            return nullcontext()
        return self.sparsity.step(self.optimizer, self.moment)

    def _add_norms(self) -> None:
        """Add the norm of each gradient to its sum of this epoch, before they are clipped."""
        found = {n: p.grad for n, p in self.net.named_parameters() if p.grad is not None}
        if found:
            norms = torch.stack([grad.detach().norm().float() for grad in found.values()]).tolist()
            for name, norm in zip(found, norms, strict=True):
                self.norms[name] = self.norms.get(name, 0.0) + norm
        self.normed += 1

    def gradient_norm(self, layer: str) -> float | None:
        """The gradient norm of a layer with all its parameters, from their means this epoch."""
        own = [norm for name, norm in self.norms.items() if name.startswith(f"{layer}.")]
        return math.hypot(*own) / self.normed if own else None

    def _criterion(
        self, frames: Tensor, target: Tensor, lengths: Tensor, share: float, answers: Tensor
    ) -> Any:
        """The loss of votes that begin at a step, with the teacher's, times `share`.

        The sums of the votes over time are added to `answers`.
        """
        s, of_labels = self.settings, loss(self.settings.loss)
        if self.weights is not None:
            of_labels = weighted(of_labels, self.weights)
        taught = None
        if self.teacher is not None:
            with torch.no_grad():
                said = votes(self.teacher, frames.transpose(0, 1), bf16=self.bf16)
            taught = (mean_vote(said, lengths) / s.temperature).softmax(1)

        def criterion(said: Tensor, first: int) -> Tensor:
            left = (lengths - first).clamp(0, len(said))
            found = of_labels(said, target, left)
            answers.add_(mean_vote(said.detach(), left) * left[:, None])
            if taught is not None:
                ours = (mean_vote(said, left) / s.temperature).log_softmax(1)
                divergence = functional.kl_div(ours, taught, reduction="batchmean")
                found = (1 - s.distill) * found + s.distill * s.temperature**2 * divergence
            return found * share

        return criterion

    def _broken(self, found: float, frames: Tensor) -> str:
        layer = first_broken(self.net, frames.transpose(0, 1))
        where = f", first in layer {layer}" if layer else ""
        return f"the loss is {found:g} in epoch {self.epoch}{where}; try a smaller lr"


def _is_finite(tensor: Tensor | None) -> bool:
    return tensor is None or bool(tensor.isfinite().all())


def targets(labels: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """The probability of each class, float32 (N, classes)."""
    return functional.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
