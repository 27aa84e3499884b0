"""The loop: answers, their score, the learning rate, and the epochs."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eventkit.errors import OptionError
from eventkit.models import Recipe

from .data import Part, shift

Progress = Callable[[dict[str, Any]], None]


def answer(net: nn.Module, frames: Tensor, lengths: Tensor, *, bf16: bool = False) -> Tensor:
    """The mean over time of the net's votes on frames (N, T, C, H, W): float32 (N, classes).

    Votes on the padding behind a shorter sample do not count. With `bf16` convolutions and linear
    layers run in bfloat16; membranes never do.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        votes = net(frames.transpose(0, 1)).float()
    real = torch.arange(len(votes))[:, None] < lengths
    mean: Tensor = (votes * real[..., None]).sum(0) / lengths[:, None]
    return mean


def score(net: nn.Module, part: Part, *, batch: int, bf16: bool = False) -> tuple[float, float]:
    """The accuracy, from 0 to 1, and the mean cross-entropy of the answers on `part`."""
    net.eval()
    right = loss = 0.0
    with torch.inference_mode():
        for frames, lengths, labels in part.batches(batch):
            answers = answer(net, frames, lengths, bf16=bf16)
            right += float((answers.argmax(1) == labels).sum())
            loss += float(functional.cross_entropy(answers, labels, reduction="sum"))
    return right / len(part), loss / len(part)


def learning_rate(done: float, recipe: Recipe) -> float:
    """The rate when the share `done` of the training is over: a linear warm-up, then a cosine."""
    if done < recipe.warmup:
        return recipe.lr * done / recipe.warmup
    return recipe.lr * (1 + math.cos(math.pi * (done - recipe.warmup) / (1 - recipe.warmup))) / 2


def adamw(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; biases, batch norms and time constants do not decay."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr)


def fit(
    net: nn.Module,
    training: Part,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int = 0,
    minutes: float | None = None,
    bf16: bool = False,
    progress: Progress = lambda event: None,
) -> Iterator[dict[str, Any]]:
    """Train `net` in place; after every epoch yield its number, learning rate and mean loss.

    With `minutes`, the learning rate falls with the time that is over, if that is the larger share,
    and the training ends in the middle of an epoch. What the caller does between epochs counts, the
    first step, in which kernels may be compiled, does not.
    """
    rng = np.random.default_rng(seed)
    optimizer = adamw(net, recipe)
    steps = epochs * math.ceil(len(training) / recipe.batch)
    seconds = math.inf if minutes is None else 60 * minutes
    start, taken = 0.0, 0

    def over() -> float:
        """The share of the training that is over."""
        spent = time.monotonic() - start if taken else 0.0
        return min(1.0, max(taken / steps, spent / seconds))

    for epoch in range(1, epochs + 1):
        net.train()
        losses = []
        for frames, lengths, labels in training.batches(recipe.batch, rng):
            lr = learning_rate(over(), recipe)
            for group in optimizer.param_groups:
                group["lr"] = lr
            shifted = shift(frames, rng, share=recipe.shift)
            loss = functional.cross_entropy(answer(net, shifted, lengths, bf16=bf16), labels)
            if not loss.isfinite():
                raise OptionError(f"the loss is {loss:g} in epoch {epoch}; try a smaller lr")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
            optimizer.step()
            losses.append(loss.item())
            taken += 1
            start = start or time.monotonic()
            progress(
                {"event": "step", "done": taken, "of": round(taken / over()), "loss": losses[-1]}
            )
            if over() == 1:
                break
        yield {"epoch": epoch, "lr": lr, "loss": float(np.mean(losses))}
        if over() == 1:
            return
