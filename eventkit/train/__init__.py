"""Train a network on a store: one loop, and a run folder that says what was done and came out.

Three accuracies are reported. `last` is the test accuracy after the last epoch,
`at_best_validation` that of the epoch which was best on samples held out from training, and
`best_optimistic` the best of all epochs: it is chosen on the test set, so it flatters.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from eventkit.errors import EventkitError, FormatError, OptionError
from eventkit.evaluate import evaluate
from eventkit.evaluate.spiking import against_steps
from eventkit.loader import EventDataset
from eventkit.registry import unknown
from eventkit.runs import Settings, check_begun, has_begun, read_json
from eventkit.snn.conversion import balance
from eventkit.snn.neurons.activation import ReLU
from eventkit.store import Store
from eventkit.store.storage import at

from .checkpoint import LAST
from .data import Part, Samples
from .job import Job
from .loop import Progress
from .machine import World, keep_memory, world
from .nets import is_object, load, load_with_facts, named, short
from .run import Run
from .settings import settle, to_toml

__all__ = [
    "Settings",
    "evaluate_run",
    "keep_memory",
    "load",
    "load_with_facts",
    "open_splits",
    "resume",
    "spiking_run",
    "train",
]

Data = str | Path | Mapping[str, Samples]


def train(
    data: Data,
    *,
    model: str | nn.Module | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    progress: Progress = lambda event: None,
    **options: Any,
) -> dict[str, Any]:
    """Train a model on the split `train` of a store, test it on `test`, write a run folder.

    `data` is a store, or datasets by the name of their split. `model` is the spec of a model of
    eventkit (default: csnn_tiny), `package.module:Net:key=value` for a class of yours, or any
    nn.Module, which is trained in place; with several seeds, copies of it are. Your own takes
    float (T, N, C, H, W), gives (T, N, classes) and remembers nothing from one call to the next; a
    class is called with those of num_classes, in_shape and steps that it takes. An object must be
    given again to `resume` and `evaluate_run`. `config` is a TOML of settings;
    `options` are settings too and win over it: see `eventkit.train.settings.Settings`. Those that
    nobody gives come from the model's recipe. The run folder `out` must be new or empty, and is
    made under runs/ if not given. `progress` gets a dictionary at the start, after every step and
    every epoch, and for every warning. The same seed gives the same weights, on one machine with
    the same versions and number of threads, unless `minutes` cuts the training short.

    Started by torchrun, all processes train one net, each on its share of every step.

    Returns the content of metrics.json. A KeyboardInterrupt leaves the run folder complete as far
    as the training came, for `resume`, and is raised again.
    """
    name = None if model is None else named(model)
    settings, all_ = settle({**options, "model": name}, config), world()
    net = model if isinstance(model, nn.Module) else None
    splits = dict(data) if isinstance(data, Mapping) else open_splits(data, settings.represent)
    folder = Path(all_.tell(str(_folder(out, data, settings.model))))
    if len(_variants(settings)) > 1:
        run = _start_several(folder, data, settings, all_)
        try:
            return _several(folder, splits, data, settings, all_, progress, net)
        except EventkitError:
            run.discard()
            raise
    return Job(splits, settings, describe(data), folder, all_, progress, net=net).start()


def resume(
    folder: str | Path, *, data: Data | None = None, model: nn.Module | None = None,
    epochs: int | None = None, progress: Progress = lambda event: None,
) -> dict[str, Any]:  # fmt: skip
    """Go on with a training that was interrupted or killed, to the end it would have had.

    On the CPU the weights become those of the undisturbed run, bit for bit, unless `minutes`
    bounds it. `data` is needed where the training began with datasets instead of a store, `model`
    where it began with a network object: one of the same class and sizes, which gets the weights of
    the checkpoint. A run that is finished is left as it is, unless `epochs` asks for more than it
    has had: then it goes on with the schedule of so many epochs in all. Returns the content of
    metrics.json.
    """
    folder, all_ = Path(folder), world()
    check_begun(folder)
    described, settings = _config(folder)["data"], settle({}, folder / "run.toml")
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    if is_object(settings.model) and model is None:
        raise OptionError(
            f"{folder} was trained on a network object, {settings.model.partition(':')[2]}: give "
            "it again, eventkit.train.resume(..., model=net)"
        )
    if model is not None and named(model) != settings.model:
        raise OptionError(f"{folder} trains {settings.model}, found {named(model)} as model")
    if data is None:
        if "store" not in described:
            raise OptionError(
                f"{folder} was trained on datasets in memory; give them to eventkit.train.resume"
            )
        if not _is_there(described["store"]):
            raise OptionError(
                f"{described['store']}, the store that {folder} is trained on, is not there; say "
                f"where it is: eventkit train STORE --resume {folder}"
            )
        data = described["store"]
    splits = dict(data) if isinstance(data, Mapping) else open_splits(data, settings.represent)
    if (now := describe(data)).get("plan_digest") != described.get("plan_digest"):
        keys = ("dataset", "represent", "transforms")
        odd = [key for key in keys if now.get(key) != described.get(key)]
        told = f"its {odd[0]} is {now.get(odd[0])}, expected {described.get(odd[0])}" if odd else (
            "it was converted from other files or in another way"
        )  # fmt: skip
        raise OptionError(f"{now.get('store')} is not the data of {folder}: {told}")
    if len(_variants(settings)) > 1:
        if epochs is not None:
            Run(folder, {}, writes=all_.is_main).write("run.toml", to_toml(settings))
        return _several(folder, splits, data, settings, all_, progress, model, epochs is not None)
    job = Job(splits, settings, described, folder, all_, progress, net=model)
    return job.resume(extends=epochs is not None)


def evaluate_run(
    run: str | Path, data: Data | None = None, *, split: str = "test", batch: int = 16,
    represent: str | None = None, weights: Literal["best", "last"] | str = "best",
    model: nn.Module | str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What `eventkit.evaluate.evaluate` says of the net of a run folder on a split.

    `data` is a store, or datasets by name, by default the store of the training. A run that was
    trained on a network object needs one of the same class and sizes as `model`, which gets the
    weights; `package.module:Net` builds it.
    """
    opened = _Trained(run, data, split=split, represent=represent, weights=weights, model=model)
    bf16 = opened.config.get("precision") == "bfloat16"
    batches = opened.part(split).reader(batch)
    found = evaluate(opened.net, batches, classes=opened.classes, bf16=bf16)
    return {"run": str(opened.folder), "split": split, **found}


def spiking_run(
    run: str | Path, data: Data | None = None, *, steps: Sequence[int] = (1, 2, 4, 8),
    members: Sequence[int] = (1,), percentile: float = 99.9, split: str = "test", batch: int = 16,
    represent: str | None = None, weights: Literal["best", "last"] | str = "best",
    model: nn.Module | str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The network of a run converted to spikes: its accuracy against steps and members.

    The network must have `qcfs` or `relu` neurons and no max pooling; see
    `eventkit.snn.conversion`. The thresholds of ReLU layers are the `percentile` of their outputs
    for at most 1,000 samples of the split `train`. Other arguments are those of `evaluate_run`.
    Returns `rows` as `eventkit.evaluate.spiking.against_steps` gives them.
    """
    opened = _Trained(run, data, split=split, represent=represent, weights=weights, model=model)
    thresholds = None
    if any(isinstance(module, ReLU) for module in opened.net.modules()):
        seen = (frames.transpose(0, 1) for frames, *_ in opened.part("train", 1000).reader(batch))
        thresholds = balance(opened.net, seen, percentile=percentile)
    part = opened.part(split)
    rows = against_steps(
        opened.net, lambda: part.reader(batch), classes=len(opened.classes), steps=steps,
        members=members, thresholds=thresholds,
    )  # fmt: skip
    return {"run": str(opened.folder), "split": split, "samples": len(part), "rows": rows}


class _Trained:
    """The network and the data of a run folder."""

    def __init__(
        self, run: str | Path, data: Data | None, *, split: str, represent: str | None,
        weights: str, model: nn.Module | str | None,
    ) -> None:  # fmt: skip
        self.folder = folder = Path(run)
        if not (folder / "config.json").is_file():
            raise OptionError(f"{folder} is no run folder; eventkit train makes one")
        self.config = config = _config(folder)
        path = folder / LAST if weights == "last" else folder
        self.net, self.about = load_with_facts(path, model=model)
        if data is None:
            data = config["data"].get("store")
            if data is None:
                raise OptionError(f"{folder} was trained on datasets in memory; name a store")
            if not _is_there(str(data)):
                raise OptionError(
                    f"{data}, the store that {folder} was trained on, is not there; name one: "
                    f"eventkit evaluate {folder} STORE"
                )
        represent = represent or config["settings"].get("represent")
        self._splits = dict(data) if isinstance(data, Mapping) else open_splits(data, represent)
        self.part(split)

    @property
    def classes(self) -> list[str]:
        return list(self.about["classes"])

    def part(self, split: str, most: int | None = None) -> Part:
        """The samples of a split or `most` evenly spaced ones; OptionError if they do not fit."""
        if split not in self._splits:
            raise unknown("split", split, list(self._splits))
        samples, about = self._splits[split], self.about
        if len(samples.classes) == len(about["classes"]):
            pairs = zip(samples.classes, about["classes"], strict=True)
            if odd := [pair for pair in pairs if pair[0] != pair[1]]:
                raise OptionError(
                    f"{self.folder} was trained on other classes: found {odd[0][0]!r} where it "
                    f"knows {odd[0][1]!r}"
                )
        if (
            list(samples.classes) != about["classes"]
            or list(samples.shape[1:]) != about["in_shape"]
        ):
            raise OptionError(
                f"{self.folder} was trained on {len(about['classes'])} classes of "
                f"{about['in_shape']}, found {len(samples.classes)} classes of "
                f"{list(samples.shape[1:])}"
            )
        if not len(samples.labels):
            raise OptionError(f"the split {split} has no samples to evaluate on")
        indices = np.arange(len(samples.labels))
        return Part(samples, indices if most is None else indices[:: -(-len(indices) // most)])


def _config(folder: Path) -> dict[str, Any]:
    """config.json with an object as `data` and as `settings`; FormatError if it is none of ours."""
    path = folder / "config.json"
    config = {"data": {}, "settings": {}, **read_json(path)}
    for key, kind in (("data", dict), ("settings", dict)):
        if not isinstance(config[key], kind):
            raise FormatError(path, None, f"{key} is no object")
    if not isinstance(config["data"].get("store", ""), str):
        raise FormatError(path, None, "the store is no path")
    return config


def _is_there(store: str) -> bool:
    return "://" in store or Path(store).exists()


def open_splits(store: str | Path, represent: str | None = None) -> dict[str, Samples]:
    """The datasets of a store by the name of their split."""
    opened = Store(store)
    return {name: EventDataset(opened, name, represent=represent) for name in opened.splits}


def describe(data: Data) -> dict[str, Any]:
    """What a run says about its data."""
    if isinstance(data, Mapping):
        return {"splits": list(data)}
    attributes = Store(data).attributes
    keys = ("dataset", "represent", "transforms", "plan_digest")
    place = at(data)
    store = str(place.absolute() if isinstance(place, Path) else place)
    return {"store": store, **{key: attributes.get(key) for key in keys}}


def _start_several(folder: Path, data: Data, settings: Settings, all_: World) -> Run:
    run = Run(folder, {"data": describe(data)}, writes=all_.is_main)
    run.create(to_toml(settings))
    return run


def _several(
    folder: Path, splits: dict[str, Samples], data: Data, settings: Settings, all_: World,
    progress: Progress, net: nn.Module | None = None, extends: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """One run after the other, each in its own folder; finished ones are not done again."""
    results = []
    for name, one in _variants(settings).items():
        own = folder / name
        job = Job(splits, one, describe(data), own, all_, progress, whole=folder, net=deepcopy(net))
        results.append(job.resume(extends=extends) if has_begun(own) else job.start())
    run = Run(folder, {}, writes=all_.is_main)
    return run.summary(results, settings.seeds, settings.folds)


def _variants(settings: Settings) -> dict[str, Settings]:
    """The runs that the settings ask for, by the name of their folder."""
    if settings.folds is not None and settings.fold is None:
        return {f"fold-{k}": replace(settings, fold=k) for k in range(settings.folds)}
    seeds = range(settings.seed, settings.seed + settings.seeds)
    return {f"seed-{seed}": replace(settings, seed=seed, seeds=1) for seed in seeds}


def _folder(out: str | Path | None, data: Data, model: str) -> Path:
    """`out`, or the first free runs/STORE-MODEL, runs/STORE-MODEL-2, ..."""
    if out is not None:
        return Path(out)
    store = "data" if isinstance(data, Mapping) else Path(data).stem
    stem = f"{store}-{short(model)}"
    number = 1
    while (folder := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return folder
