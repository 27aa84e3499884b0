"""Networks by name: one module per family, its recipe beside it, found by scanning this folder.

Every net takes float (T, N, C, H, W), for any H and W, and gives (T, N, classes): one vote in each
time step, whose mean over T is the answer.

>>> import torch
>>> net = create("csnn_tiny", num_classes=11, in_shape=(2, 128, 128))
>>> net(torch.zeros(16, 1, 2, 128, 128)).shape
torch.Size([16, 1, 11])
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from eventkit.errors import OptionError
from eventkit.registry import Registry, bind, parse_spec


@dataclass(frozen=True)
class Recipe:
    """How a net is trained unless told otherwise: AdamW, warm-up and cosine, random shifts."""

    samples: int = 40_000  # shown in all: a small set gets more epochs than a large one
    batch: int = 16
    lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the training
    clip: float = 1.0  # norm of the gradient
    shift: float = 0.06  # share of the sides


@dataclass(frozen=True)
class Model:
    """One net: `build(num_classes, in_shape, **options)`, with other defaults for some options."""

    name: str
    build: Callable[..., nn.Module]
    about: str
    recipe: Recipe
    options: Mapping[str, Any] = field(default_factory=dict)


MODELS: Registry[Model] = Registry("model", __name__)


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a pattern such as `csnn*`, sorted."""
    return [name for name in MODELS if fnmatchcase(name, pattern)]


def create(name: str, *, num_classes: int, in_shape: tuple[int, ...], **options: Any) -> nn.Module:
    """A net with fresh weights for samples of the shape `in_shape` (C, H, W).

    `name` may be a spec, `csnn_tiny:neurons=lif,width=16`; UnknownName or OptionError if wrong.
    """
    name, given = parse_spec(name)
    entry = MODELS[name]
    if num_classes < 1 or len(in_shape) != 3 or min(in_shape) < 1:
        raise OptionError(
            f"{name}: found {num_classes} classes and the input shape {tuple(in_shape)}, "
            "expected at least one class and (C, H, W)"
        )
    chosen = bind(entry.build, {**entry.options, **given, **options}, name)
    return entry.build(num_classes, in_shape, **chosen)
