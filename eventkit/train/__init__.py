"""Train a network on a store: one loop, and a run folder that says what was done and came out.

    RUN/
      config.json     model, recipe, seed, data, versions: what a repetition needs
      metrics.csv     a row for every epoch
      metrics.json    the result
      model.pt        the weights of the epoch that was best on the validation samples
      last.pt         the weights of the last epoch

Three accuracies are reported. `last` is the test accuracy after the last epoch,
`at_best_validation` that of the epoch which was best on samples held out from training, and
`best_optimistic` the best of all epochs: it is chosen on the test set, so it flatters.
"""

import ctypes
import random
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from eventkit import __version__
from eventkit.errors import OptionError
from eventkit.loader import EventDataset
from eventkit.models import MODELS, create
from eventkit.registry import parse_spec
from eventkit.store import Store

from .data import Part, Samples, hold_out
from .loop import Progress, fit, score
from .run import Run, load

__all__ = ["keep_memory", "load", "train"]


def train(
    data: str | Path | Mapping[str, Samples],
    *,
    model: str = "csnn_tiny",
    out: str | Path | None = None,
    seed: int = 0,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    minutes: float | None = None,
    validation: float = 0.1,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    progress: Progress = lambda event: None,
) -> dict[str, Any]:
    """Train a model on the split `train` of a store, test it on `test`, write a run folder.

    `data` is a store, or datasets by the name of their split. `validation` is the share of every
    class that is held out from training, unless there is a split `validation`. Options left None
    come from the model's recipe; `minutes` bounds the time. `precision` is that of convolutions
    and linear layers, by default bfloat16 where the CPU multiplies it itself. The run folder `out`
    must be new or empty, and is made under runs/ if not given. `progress` gets a dictionary at the
    start, after every step and after every epoch. The same seed gives the same weights, on one
    machine with the same versions and number of threads, unless `minutes` cuts the training short.

    Returns the content of metrics.json. A KeyboardInterrupt leaves the run folder complete as far
    as the training came, and is raised again.
    """
    splits = data if isinstance(data, Mapping) else _open(data)
    parts = _parts(splits, validation, seed)
    recipe = MODELS[parse_spec(model)[0]].recipe
    recipe = replace(recipe, batch=batch or recipe.batch, lr=lr or recipe.lr)
    epochs = epochs or min(100, max(10, round(recipe.samples / len(parts["train"]))))
    bf16 = precision == "bfloat16" or (precision == "auto" and _multiplies_bf16())
    _seed(seed)
    keep_memory()
    of = splits["train"]
    net = create(model, num_classes=len(of.classes), in_shape=of.shape[-3:])
    facts = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "samples": {name: len(part) for name, part in parts.items()},
    }
    config = {
        "model": model,
        "num_classes": len(of.classes),
        "in_shape": list(of.shape[-3:]),
        "classes": list(of.classes),
        "data": _describe(data),
        "seed": seed,
        "epochs": epochs,
        "minutes": minutes,
        "validation": validation,
        "recipe": asdict(recipe),
        "precision": "bfloat16" if bf16 else "float32",
        "threads": torch.get_num_threads(),
        "versions": {"eventkit": __version__, "torch": torch.__version__},
        **facts,
    }
    run = Run(_folder(out, data, model), config)
    progress({"event": "start", "run": str(run.folder), **config})
    start = time.monotonic()
    training = fit(
        net, parts.pop("train"), recipe,
        epochs=epochs, seed=seed, minutes=minutes, bf16=bf16, progress=progress,
    )  # fmt: skip
    try:
        for row in training:
            for name, part in parts.items():
                accuracy, loss = score(net, part, batch=recipe.batch, bf16=bf16)
                row |= {f"{name}_accuracy": accuracy, f"{name}_loss": loss}
            row["seconds"] = round(time.monotonic() - start, 2)
            run.add(row, net)
            progress({"event": "epoch", **row})
    except KeyboardInterrupt:
        run.save("last.pt", net)
        run.result(**facts, seconds=time.monotonic() - start, interrupted=True)
        raise
    return run.result(**facts, seconds=time.monotonic() - start, interrupted=False)


def keep_memory() -> None:
    """Let the process keep the memory that it frees, where the C library is glibc.

    Tensors of some megabytes otherwise go back to the system with every step, and touching fresh
    pages for the next ones takes a small net longer than its arithmetic.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large block
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for datasets that draw from it
    torch.manual_seed(seed)


def _multiplies_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 itself; elsewhere it is slower than float32."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def _open(store: str | Path) -> dict[str, Samples]:
    opened = Store(store)
    return {name: EventDataset(opened, name) for name in opened.splits}


def _parts(splits: Mapping[str, Samples], share: float, seed: int) -> dict[str, Part]:
    """The parts train, validation and test, as far as there are samples for them."""
    if "train" not in splits:
        raise OptionError(f"there is no split 'train' to train on, only {', '.join(splits)}")
    if not 0 <= share < 1:
        raise OptionError(f"validation is {share}, expected a share from 0 to below 1")
    parts = {name: Part(split, np.arange(len(split.labels))) for name, split in splits.items()}
    if "validation" not in parts:
        training, held = hold_out(splits["train"].labels, share, seed)
        parts["train"] = Part(splits["train"], training)
        parts["validation"] = Part(splits["train"], held)
    if not len(parts["train"]):
        raise OptionError("there are no samples to train on")
    names = ("train", "validation", "test")
    return {name: parts[name] for name in names if name in parts and len(parts[name])}


def _describe(data: str | Path | Mapping[str, Samples]) -> dict[str, Any]:
    if isinstance(data, Mapping):
        return {"splits": list(data)}
    attributes = Store(data).attributes
    keys = ("dataset", "represent", "transforms", "plan_digest")
    return {"store": str(data), **{key: attributes.get(key) for key in keys}}


def _folder(out: str | Path | None, data: str | Path | Mapping[str, Samples], model: str) -> Path:
    """`out`, or the first free runs/STORE-MODEL, runs/STORE-MODEL-2, ..."""
    if out is not None:
        return Path(out)
    store = "data" if isinstance(data, Mapping) else Path(data).stem
    stem = f"{store}-{parse_spec(model)[0]}"
    number = 1
    while (folder := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return folder
