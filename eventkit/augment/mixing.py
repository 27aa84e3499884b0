"""Augmentations of batches: each sample is mixed with a partner, and so are their labels.

`draw` and `apply` are separate here too: a function draws a mix, whose `own(shape)` says which part
of each cell (T, H, W) is the sample's own; the rest is its partner's. So frames on any device, a
second stream and masks are mixed alike.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eventkit.augment import AUGMENTATIONS, Augmentation, at_least
from eventkit.errors import OptionError

Cells = tuple[int, int, int]  # (T, H, W)


class Batch(NamedTuple):
    """What is known of a batch when its mix is drawn: samples, and the height and width."""

    n: int
    height: int
    width: int


@dataclass(frozen=True)
class Mix:
    """Sample i is mixed with sample partners[i]; `by_events` weighs labels by what is counted."""

    partners: tuple[int, ...]
    by_events: bool = False

    def own(self, cells: Cells) -> np.ndarray:
        """The own share of each cell, float32 or bool, of a shape that broadcasts to (T, H, W)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Blend(Mix):
    """Everything is share·own + (1 - share)·partner."""

    share: float = 1.0

    def own(self, cells: Cells) -> np.ndarray:
        return np.full((1, 1, 1), self.share, np.float32)


@dataclass(frozen=True)
class Box(Mix):
    """A box of pixels comes from the partner, in all frames."""

    rows: tuple[int, int] = (0, 0)
    columns: tuple[int, int] = (0, 0)

    def own(self, cells: Cells) -> np.ndarray:
        own = np.ones((1, *cells[1:]), bool)
        own[:, slice(*self.rows), slice(*self.columns)] = False
        return own


@dataclass(frozen=True)
class Gaussians(Mix):
    """Cells where a sum of Gaussians in (t, y, x) is small come from the partner.

    `centres` and `widths` are in parts of the sides; `share` of the cells are the sample's own.
    """

    share: float = 1.0
    centres: tuple[tuple[float, float, float], ...] = ()
    widths: tuple[tuple[float, float, float], ...] = ()

    def own(self, cells: Cells) -> np.ndarray:
        # A Gaussian along the axes is a product of three, which are cheap.
        density = np.zeros(cells)
        for centre, width in zip(self.centres, self.widths, strict=True):
            t, y, x = (
                np.exp(-0.5 * (((np.arange(n) + 0.5) / n - c) / w) ** 2)
                for n, c, w in zip(cells, centre, width, strict=True)
            )
            density += t[:, None, None] * y[:, None] * x / np.prod(width)
        wanted = round(self.share * density.size)
        own = np.zeros(density.size, bool)
        own[np.argsort(-density.reshape(-1), kind="stable")[:wanted]] = True
        return own.reshape(cells)


def mixup(batch: Batch, rng: np.random.Generator, *, alpha: float = 0.2) -> Mix:
    """Blend each sample with another one of its batch, by a share drawn from Beta(alpha, alpha).

    Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018.
    """
    at_least("mixup: alpha", alpha, 0.001)
    return Blend(_partners(batch, rng), share=float(rng.beta(alpha, alpha)))


def cutmix(batch: Batch, rng: np.random.Generator, *, alpha: float = 1.0) -> Mix:
    """Put a box of another sample of the batch into all frames of each sample.

    The box has the proportions of the frames, about 1 - Beta(alpha, alpha) of their area, and its
    centre anywhere on them; what lies outside is cut off. Labels are weighed by area. Yun et al.,
    CutMix, ICCV 2019.
    """
    at_least("cutmix: alpha", alpha, 0.001)
    part = float(np.sqrt(1 - rng.beta(alpha, alpha)))
    box = []
    for side in (batch.height, batch.width):
        half, middle = part * side / 2, rng.random() * side
        box.append((max(0, round(middle - half)), min(side, round(middle + half))))
    return Box(_partners(batch, rng), rows=box[0], columns=box[1])


def event_mix(
    batch: Batch, rng: np.random.Generator, *, alpha: float = 1.0, components: int = 3
) -> Mix:
    """Take the events outside a random region of space and time from another sample of the batch.

    The region is where a mixture of Gaussians in (t, y, x) is largest, with a share of the cells
    drawn from Beta(alpha, alpha). Labels are weighed by the events that each sample gives. After
    Shen et al., EventMix, Information Sciences 2023; the ranges of centres (anywhere) and widths
    (0.1 to 0.5 of the sides) are ours.
    """
    at_least("event_mix: alpha", alpha, 0.001)
    if not 1 <= components <= 100:
        raise OptionError(f"event_mix: components is {components}, expected 1..100")
    centres, widths = rng.random((components, 3)), rng.uniform(0.1, 0.5, (components, 3))
    return Gaussians(
        _partners(batch, rng),
        by_events=True,
        share=float(rng.beta(alpha, alpha)),
        centres=tuple(map(tuple, centres.tolist())),
        widths=tuple(map(tuple, widths.tolist())),
    )


def _partners(batch: Batch, rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.permutation(batch.n).tolist())


def parse_mix(spec: str) -> Callable[[Batch, np.random.Generator], Mix]:
    """The function that draws what a spec such as "cutmix:alpha=1" names; OptionError if wrong."""
    entry, options = AUGMENTATIONS.parse(spec)
    if entry.on != "batch":
        raise OptionError(
            f"{entry.name} does not mix batches: use EventDataset(augment=[{spec!r}])"
        )
    entry.apply(Batch(2, 4, 4), np.random.default_rng(0), **options)
    return functools.partial(entry.apply, **options)


for _function in (mixup, cutmix, event_mix):
    AUGMENTATIONS.register(Augmentation(_function.__name__, "batch", _function))
