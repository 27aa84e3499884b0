"""Chains: samples one after the other, whose label is the order of their classes.

The task of DVS-Gesture-Chain: what happens when, which no single frame shows. Vicente-Sola et al.,
Spiking neural networks for event-based action recognition: a new task to understand their
advantage, 2022 (arXiv 2209.14915).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events


@dataclass(frozen=True)
class Chain:
    """Samples in turn, each from its first event on and for its duration (µs)."""

    samples: tuple[int, ...]
    durations: tuple[int, ...]

    @property
    def duration(self) -> int:
        """The time (µs) that the chain takes."""
        return sum(self.durations)

    def events(self, parts: Sequence[Events]) -> Events:
        """The events of `parts`, those of the samples, as one recording from 0 µs on.

        A second stream of the samples is chained alike if its parts begin at the same times.
        """
        moved, begin = [], 0
        for part, duration in zip(parts, self.durations, strict=True):
            part = part.sort()
            first = int(part.t[0]) if len(part) else 0
            kept = part.between(first, first + duration)
            t = kept.t - first + begin
            moved.append(Events.trusted(t, kept.x, kept.y, kept.p, kept.size))
            begin += duration
        return Events.concat(moved)


def draw_chain(
    labels: np.ndarray,
    rng: np.random.Generator,
    *,
    parts: int = 3,
    duration: int = 500_000,
    spread: float = 0.0,
    repeat: bool = False,
) -> Chain:
    """A chain of `parts` samples of different classes, or with `repeat` of any classes.

    Each lasts `duration` µs, longer or shorter by a share of up to `spread`. `labels` are those of
    the samples. Classes are drawn first, so that each is equally likely, then samples of them.
    """
    classes = np.unique(labels)
    if parts < 1 or duration < 1 or not 0 <= spread < 1:
        raise OptionError(
            f"a chain of parts={parts}, duration={duration}, spread={spread}: expected at least 1, "
            "at least 1 µs, and 0 <= spread < 1"
        )
    if not len(classes) or (parts > len(classes) and not repeat):
        raise OptionError(
            f"a chain of {parts} samples of different classes, but there are {len(classes)}; take "
            "fewer, or repeat=True"
        )
    chosen = rng.choice(classes, parts, replace=repeat)
    samples = [int(rng.choice(np.flatnonzero(labels == one))) for one in chosen]
    lengths = np.rint(duration * rng.uniform(1 - spread, 1 + spread, parts)).astype(int)
    return Chain(tuple(samples), tuple(lengths.clip(1).tolist()))
