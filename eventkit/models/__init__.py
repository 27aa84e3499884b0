"""Networks by name: one module per family, its recipes beside it, found by scanning this folder.

Every net takes float (T, N, C, H, W), for any H and W, and gives (T, N, classes): one vote in each
time step, whose mean over T is the answer.

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
    """How a net is trained unless told otherwise: AdamW, warm-up and cosine, random shifts.

    The defaults are for two CPU cores. What has options of its own is spec text: the optimizer
    (`adamw`, `adam`, `sgd:momentum=0.9`, `lamb`), the schedule (`cosine`, `cosine:epochs=64` for
    one that rises again, `step:epochs=64,factor=0.1`, `onecycle`, `plateau:factor=0.9`), the loss
    (`ce_mean`, `rate_mse`, `tet:weight=0.001`, `softmax_sum`) and what is done to the frames.
    """

    samples: int = 40_000  # shown in all: a small set gets more epochs than a large one
    batch: int = 16
    lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the training
    clip: float = 1.0  # norm of the gradient; 0: none
    shift: float = 0.06  # share of the sides
    epochs: int | None = None  # instead of as many as `samples` gives
    optimizer: str = "adamw"
    schedule: str = "cosine"
    loss: str = "ce_mean"
    smoothing: float = 0.0  # of the labels
    augment: tuple[str, ...] = ()
    mixup: float = 0.0  # alpha of the Beta distribution, 0: none
    cutmix: float = 0.0  # the same; with both, each batch is mixed by one of them
    mix_share: float = 1.0  # share of the batches that are mixed
    mix_until: float = 1.0  # share of the training with mixed batches
    decay_all: bool = False  # weight decay of norms, biases and neurons too


@dataclass(frozen=True)
class Published:
    """An accuracy in % as its authors report it, and where."""

    data: str
    accuracy: float
    source: str
    note: str = ""


@dataclass(frozen=True)
class Model:
    """One net: `build(num_classes, in_shape, **options)`, with other defaults for some options.

    `in_shape`, `T` and `classes` are those that the net was published for, `paper` is how its
    authors trained it, `recipe` how it is trained here unless told otherwise.
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
    differences: tuple[str, ...] = ()  # what `paper` and the net leave out or do otherwise


DIFFERENCES = (  # of all recipes of papers from how their authors train
    "samples are held out for validation, where authors train on all: as they do, --validation 0",
    "the learning rate follows its schedule in every step; most authors change it once an epoch",
    "batch norms average the first steps evenly, and an epoch's last batch may be smaller",
    "products are float32 or bfloat16 (--precision); most authors multiply in float16 on a GPU",
)

MODELS: Registry[Model] = Registry("model", __name__, options=lambda entry: entry.build)


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a pattern such as `csnn*`, sorted."""
    return [name for name in MODELS if fnmatchcase(name, pattern)]


def create(
    name: str,
    *,
    num_classes: int,
    in_shape: tuple[int, ...],
    steps: int | None = None,
    **options: Any,
) -> nn.Module:
    """A net with fresh weights for samples of the shape `in_shape` (C, H, W).

    `name` may be a spec, `csnn_tiny:neurons=lif,width=16`. `steps` is T,
    which the weights of a few neurons and norms depend on (default: as published); any other net
    takes any T. UnknownName or OptionError if wrong.
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
    # Convolution, batch norm and pooling are faster on a CPU with the channels innermost.
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def describe(
    spec: str,
    *,
    in_shape: tuple[int, int, int] | None = None,
    steps: int | None = None,
    classes: int | None = None,
) -> dict[str, Any]:
    """All that is known of a net, with its cost, of the published sizes unless others are given.

    The net is built without memory for its weights. Everything can be written as JSON.
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
