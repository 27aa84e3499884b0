"""All settings of a training in one place: defaults, the model's recipe, a TOML, and options.

What comes later wins. Every value is plain JSON, so a run folder repeats them as `run.toml`, which
is itself a `--config` that repeats the run.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from eventkit.errors import OptionError
from eventkit.models import Recipe
from eventkit.registry import bind

from .nets import recipe_of


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train. `loss`, `optimizer`, `schedule`, `method`, `augment` are specs."""

    model: str = "csnn_tiny"
    recipe: Literal["cpu", "paper"] = "cpu"  # where settings come from that nobody gives
    represent: str | None = None  # of a store of events, made while loading
    epochs: int | None = None  # None: as many as show the net the recipe's number of samples
    minutes: float | None = None  # at most; the schedule follows the time
    batch: int = 16  # samples of one forward pass, on one process
    accumulate: int = 1  # forward passes of one step
    optimizer: str = "adamw"
    lr: float = 3e-3
    weight_decay: float = 0.05  # of matrices only
    decay_all: bool = False  # of norms, biases and neurons too
    schedule: str = "cosine"
    warmup: float = 0.05  # share of the training
    clip: float = 1.0  # norm of the gradient, 0: as it is
    ema: float = 0.0  # decay of the moving average of the weights, 0: none
    loss: str = "ce_mean"
    smoothing: float = 0.0  # of labels
    augment: tuple[str, ...] = ()
    mixup: float = 0.0  # alpha of the Beta distribution, 0: none
    cutmix: float = 0.0  # the same; with both, each batch is mixed by one of them
    mix_share: float = 1.0  # share of the batches that are mixed
    mix_until: float = 1.0  # share of the training with mixed batches
    teacher: str | None = None  # run folder or weights of a net to distil from
    distill: float = 0.5  # share of the teacher in the loss
    temperature: float = 2.0
    method: str = "bptt"  # how gradients go through time
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    validation: float = 0.1  # share of every class, unless there is a split `validation`
    patience: int = 0  # epochs without a better validation loss until the end, 0: never
    seed: int = 0
    seeds: int = 1  # so many runs, from `seed` on
    save_minutes: float = 5.0  # between checkpoints within an epoch
    device: str = "auto"
    tensorboard: bool = False
    page: bool = True

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                above = f"at least {low:g}" if high == _MANY else f"from {low:g} to {high:g}"
                raise OptionError(f"{name} is {value:g}, expected {above}")
        if self.validation == 1:
            raise OptionError("validation is 1, expected a share from 0 to below 1")


_MANY, _TINY = 1e12, 1e-12
_RANGES = [
    ("epochs", 1, _MANY), ("minutes", _TINY, _MANY), ("batch", 1, _MANY), ("accumulate", 1, _MANY),
    ("lr", _TINY, _MANY), ("weight_decay", 0, _MANY), ("warmup", 0, 1), ("clip", 0, _MANY),
    ("ema", 0, 1), ("smoothing", 0, 1), ("mixup", 0, _MANY), ("cutmix", 0, _MANY),
    ("mix_share", 0, 1), ("mix_until", 0, 1), ("distill", 0, 1),
    ("temperature", _TINY, _MANY), ("validation", 0, 1), ("patience", 0, _MANY),
    ("seed", 0, 2**32), ("seeds", 1, 1000), ("save_minutes", 0, _MANY),
]  # fmt: skip


def settle(options: Mapping[str, Any], config: str | Path | None = None) -> Settings:
    """The settings of a training: options that are None count as not given."""
    given = {**(read_toml(config) if config else {})}
    given |= {key: value for key, value in options.items() if value is not None}
    given = {key: None if value == "none" else value for key, value in given.items()}
    recipe = recipe_of(str(given.get("model", Settings.model)), given.get("recipe", "cpu"))
    known = {field.name for field in fields(Settings)}
    chosen = {k: v for k, v in _of_recipe(recipe).items() if k in known} | given
    augment = _specs(chosen.pop("augment", ()))
    return Settings(**bind(Settings, chosen, "train") | {"augment": augment})


def _specs(augment: Any) -> tuple[str, ...]:
    """The augmentations; none, by itself, does away with those of the recipe."""
    specs = [augment or "none"] if augment is None or isinstance(augment, str) else augment
    if not isinstance(specs, list | tuple) or not all(isinstance(spec, str) for spec in specs):
        raise OptionError(f"train: augment is {augment!r}, expected a list of texts, as ['flip']")
    return () if list(specs) == ["none"] else tuple(specs)


def _of_recipe(recipe: Recipe) -> dict[str, Any]:
    """What the recipe of a model sets; its `shift` is the augmentation of that name."""
    known = asdict(recipe)
    share = known.pop("shift")
    if share:
        known["augment"] = (f"shift:share={share:g}", *known["augment"])
    return known


def read_toml(path: str | Path) -> dict[str, Any]:
    """The settings of a TOML; OptionError if it is none."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8", errors="surrogateescape"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise OptionError(f"{path} is no TOML: {error}") from error


def to_toml(settings: Settings) -> str:
    """The settings as a TOML that `read_toml` gives back; None is written as "none".

    >>> print(to_toml(Settings()).partition("epochs")[0], end="")
    model = "csnn_tiny"
    recipe = "cpu"
    represent = "none"
    """
    lines = []
    for key, value in asdict(settings).items():
        value = "none" if value is None else value
        lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}\n")
    return "".join(lines)
