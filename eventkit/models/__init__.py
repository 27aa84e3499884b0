"""Models by name: one module per family with its recipes, found by scanning this folder.

Every model maps float frames (T, N, C, H, W), for any H and W, to outputs (T, N, classes). The
mean of the outputs over T is the prediction.

>>> import torch
>>> net = create("csnn_tiny", num_classes=11, in_shape=(2, 128, 128))
>>> net(torch.zeros(16, 1, 2, 128, 128)).shape
torch.Size([16, 1, 11])
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from eventkit.errors import OptionError
from eventkit.registry import Registry, bind, parse_spec
from eventkit.snn import fuse

from ._cost import Cost, cost

__all__ = [
    "MODELS",
    "Cost",
    "Model",
    "Published",
    "Recipe",
    "cost",
    "create",
    "describe",
    "list_models",
]


@dataclass(frozen=True)
class Recipe:
    """Default training settings: AdamW, warm-up and cosine schedule, random shifts.

    The defaults suit two CPU cores. Settings with options of their own are specs: the optimizer
    (`adamw`, `adam`, `sgd:momentum=0.9`, `lamb`), the schedule (`cosine`, `cosine:epochs=64` for
    warm restarts, `step:epochs=64,factor=0.1`, `onecycle`, `plateau:factor=0.9`), the loss
    (`ce_mean`, `rate_mse`, `tet:weight=0.001`, `softmax_sum`) and the augmentations.
    """

    samples: int = 40_000  # seen in total: a small dataset gets more epochs than a large one
    batch: int = 16
    lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.05  # fraction of the training
    clip: float = 1.0  # maximum gradient norm; 0: no clipping
    shift: float = 0.06  # fraction of width and height
    epochs: int | None = None  # None: derived from `samples`
    optimizer: str = "adamw"
    schedule: str = "cosine"
    loss: str = "ce_mean"
    smoothing: float = 0.0  # label smoothing
    augment: tuple[str, ...] = ()
    mixup: float = 0.0  # alpha of the Beta distribution, 0: none
    cutmix: float = 0.0  # likewise; with both, each batch is mixed by one of them
    mix_share: float = 1.0  # fraction of the batches that are mixed
    mix_until: float = 1.0  # fraction of the training with mixed batches
    decay_all: bool = False  # apply weight decay to norms, biases and neurons too


@dataclass(frozen=True)
class Published:
    """An accuracy in % as reported by the authors, and its source."""

    data: str
    accuracy: float
    source: str
    note: str = ""


@dataclass(frozen=True)
class Model:
    """One model: `build(num_classes, in_shape, **options)`, with its own default options.

    `in_shape`, `T` and `classes` are the published ones, `paper` is the authors' training recipe
    and `recipe` the default one of eventkit.
    """

    name: str
    build: Callable[..., nn.Module]
    about: str
    recipe: Recipe
    options: Mapping[str, Any] = field(default_factory=dict)
    in_shape: tuple[int, int, int] = (2, 64, 64)
    T: int = 16
    classes: int = 11
    cite: str = ""
    paper: Recipe | None = None
    published: tuple[Published, ...] = ()
    differences: tuple[str, ...] = ()  # between the published training or model and this one


DIFFERENCES = (  # between the papers' training and ours, for all models
    "samples are held out for validation; the authors train on all (set validation to 0)",
    "the learning rate is updated after every step; most authors update it once per epoch",
    "batch norms average the first steps evenly, and an epoch's last batch may be smaller",
    "matrix products use float32 or bfloat16; most authors use float16 on a GPU",
)

MODELS: Registry[Model] = Registry("model", __name__, options=lambda entry: entry.build)


def list_models(pattern: str = "*") -> list[str]:
    """The sorted names of the models that match a pattern such as `csnn*`."""
    return [name for name in MODELS if fnmatchcase(name, pattern)]


def create(
    name: str,
    *,
    num_classes: int,
    in_shape: tuple[int, ...],
    steps: int | None = None,
    **options: Any,
) -> nn.Module:
    """A model with new weights, for samples of shape `in_shape` (C, H, W).

    `name` may be a spec such as `csnn_tiny:neurons=lif,width=16`. `steps` is T, which determines
    the shape of the weights of a few neurons and norms (default: as published); all other models
    accept any T. Raises UnknownName for unknown models and OptionError for invalid options.
    """
    name, given = parse_spec(name)
    entry = MODELS[name]
    if num_classes < 1 or len(in_shape) != 3 or min(in_shape) < 1:
        raise OptionError(
            f"{name}: found {num_classes} classes and the input shape {tuple(in_shape)}, "
            "expected at least one class and (C, H, W)"
        )
    known = {**entry.options, **given, **options}
    if "T" in (entry.build.__kwdefaults__ or {}):
        known.setdefault("T", steps or entry.T)
    net = entry.build(num_classes, tuple(in_shape), **bind(entry.build, known, name))
    # Convolution, batch norm and pooling are faster on the CPU with channels_last.
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fuse(net)


def describe(
    spec: str,
    *,
    in_shape: tuple[int, int, int] | None = None,
    steps: int | None = None,
    classes: int | None = None,
) -> dict[str, Any]:
    """A description of a model, as a JSON-serialisable dict, including its cost.

    Input shape, T and number of classes default to the published ones. No memory is allocated for
    the weights.
    """
    name, given = parse_spec(spec)
    entry = MODELS[name]
    in_shape, steps = in_shape or entry.in_shape, steps or entry.T
    classes = classes or entry.classes
    with torch.device("meta"):
        net = create(spec, num_classes=classes, in_shape=in_shape, steps=steps)
    known = bind(entry.build, {**entry.options, **given}, name)
    return {
        "name": spec,
        "about": entry.about,
        "in_shape": in_shape,
        "steps": steps,
        "num_classes": classes,
        **asdict(cost(net, in_shape, steps)),
        "cite": entry.cite,
        "published": [asdict(each) for each in entry.published],
        "options": {key: value for key, value in known.items() if key != "T"},
        "recipe": asdict(entry.recipe),
        "paper": asdict(entry.paper) if entry.paper else None,
        "differences": [*entry.differences, *(DIFFERENCES if entry.paper else ())],
    }
