"""Where the settings of a training come from: defaults, the model's recipe, a TOML, and options.

What comes later wins. Every value is plain JSON, so a run folder repeats them as `run.toml`, which
is itself a `--config` that repeats the run.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from eventkit.errors import OptionError
from eventkit.models import Recipe
from eventkit.registry import bind
from eventkit.runs import Settings

from .nets import recipe_of


def settle(options: Mapping[str, Any], config: str | Path | None = None) -> Settings:
    """The settings of a training: options that are None count as not given."""
    given = {**(read_toml(config) if config else {})}
    given |= {key: value for key, value in options.items() if value is not None}
    given = {key: None if value == "none" else value for key, value in given.items()}
    recipe = recipe_of(str(given.get("model", Settings.model)), given.get("recipe", "cpu"))
    known = {field.name for field in fields(Settings)}
    chosen = {k: v for k, v in _of_recipe(recipe).items() if k in known} | given
    augment = _specs(chosen.pop("augment", ()))
    found = Settings(**bind(Settings, chosen, "train") | {"augment": augment})
    if found.fold is not None and (found.folds is None or found.fold >= found.folds):
        raise OptionError(f"fold is {found.fold}, expected a number below that of the folds")
    if found.sparsity is not None and found.ema:
        raise OptionError(
            f"ema is {found.ema:g}, expected 0 with sparsity: an average of sparse weights is not "
            "sparse"
        )
    if found.folds is not None and found.seeds > 1:
        raise OptionError(f"seeds is {found.seeds}, expected 1 with folds")
    if found.folds is not None and not found.test:
        raise OptionError("folds without a test: test is false, but each fold is tested on")
    return found


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
    init = "none"
    recipe = "cpu"
    represent = "none"
    """
    lines = []
    for key, value in asdict(settings).items():
        value = "none" if value is None else value
        lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}\n")
    return "".join(lines)
