"""One training from its first step, or from its checkpoint, to its result."""

import json
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from eventkit import __version__
from eventkit.errors import EventkitError, FormatError, OptionError
from eventkit.evaluate.activity import Activity
from eventkit.evaluate.score import Score, score
from eventkit.runs import Settings, read_json

from .checkpoint import (
    STATE,
    WEIGHTS,
    optimizer_tensors,
    read,
    restore_optimizer,
    write,
)
from .data import Batch, Part, Samples, augmented, parts, unvalidated
from .loop import Progress, Training
from .losses import loss
from .machine import World, device, interruptible, keep_memory, multiplies_bf16
from .nets import (
    build,
    check_votes,
    is_object,
    is_own,
    load,
    load_with_facts,
    recipe_of,
    start_from,
)
from .optim import Average, optimizer, schedule
from .rules import rule
from .run import EVALUATION, Run, report, tensorboard
from .settings import to_toml
from .sparsity import connectivity, sparsifier

ORDER = "loader"  # what decides the order of samples: seed and epoch, as in eventkit.loader

ADDED = ("right", "shown", "norms", "normed")  # counts that checkpoints of 0.1.0 lack


class Job:
    """What `train` and `resume` have in common: data, net, run folder, epochs, result."""

    def __init__(
        self, splits: dict[str, Samples], settings: Settings, data: dict[str, Any], folder: Path,
        world: World, progress: Progress, *, whole: Path | None = None,
        net: nn.Module | None = None,
    ) -> None:  # fmt: skip
        self.whole = whole or folder  # what a user resumes: all seeds together
        self.net = net  # what the user gave as an object, if that is what is trained
        self.settings, self.world, self.data = settings, world, data
        self.progress: Progress = progress if world.is_main else lambda event: None
        self.parts = parts(
            splits,
            settings.validation,
            test=settings.test,
            folds=settings.folds,
            fold=settings.fold,
        )
        of = self.parts["train"].dataset
        self.classes = list(of.classes)
        self.steps, *self.in_shape = of.shape
        self.training_part = Part(
            augmented(of, settings.augment, seed=settings.seed, represent=settings.represent),
            self.parts["train"].indices,
        )
        self.run = Run(folder, {}, writes=world.is_main)
        self._saved = 0.0

    def start(self) -> dict[str, Any]:
        """Train from the beginning, in a new run folder."""
        s = self.settings
        checks = [(loss, s.loss), (rule, s.method), (schedule, s.schedule)]
        for check, spec in [*checks, *([(sparsifier, s.sparsity)] if s.sparsity else [])]:
            check(spec)  # before a folder is made that would be in the way of the next try
        random.seed(s.seed)
        np.random.seed(s.seed)  # noqa: NPY002 - for datasets that draw from it
        torch.manual_seed(s.seed)
        training = self._training()
        self.run.config = self._config(training)
        self.run.create(to_toml(s))
        if is_object(s.model):  # the weights of its beginning are known to nobody else
            self._save(training)
        try:
            return self._finish(training)
        except EventkitError:
            if not training.taken:  # nothing was learned that a folder should tell of
                self.run.discard()
            raise

    def resume(self, *, extends: bool = False) -> dict[str, Any]:
        """Go on from the checkpoint in the run folder; with `extends`, also of a finished run."""
        folder = self.run.folder
        self.run.config = read_json(folder / "config.json")
        if extends:
            self._extend()
        if (folder / "metrics.json").is_file():
            result = read_json(folder / "metrics.json")
            if not result.get("interrupted", True):
                self._close(result)
                return result
        self._check_unchanged(self.run.config)
        torch.manual_seed(self.settings.seed)
        training = self._training()
        if precision := self.run.config.get("precision"):  # `auto` asks the machine, once
            training.bf16 = precision == "bfloat16"
        if text := self._another_machine(self.run.config):
            self.progress({"event": "warning", "text": text})
        if (folder / STATE).is_file():  # else it was ended before its first checkpoint
            self._restore(training, folder / STATE)
        return self._finish(training)

    def _extend(self) -> None:
        """Let the run have as many epochs as the settings say now, more than it has had."""
        folder, epochs = self.run.folder, self.epochs
        if not (folder / STATE).is_file():
            raise OptionError(
                f"{folder} has no checkpoint to go on from: older versions removed it at the end"
            )
        had = len(self._read(folder / STATE)[1].get("rows", []))
        if epochs <= had:
            raise OptionError(f"epochs is {epochs}, but {folder} has had {had} already")
        self.run.write("run.toml", to_toml(self.settings))
        if (folder / "metrics.json").is_file():
            result = read_json(folder / "metrics.json")
            self.run.write("metrics.json", json.dumps({**result, "interrupted": True}, indent=2))
        if self.world.is_main:
            (folder / EVALUATION).unlink(missing_ok=True)
        self.run.config |= {"epochs": epochs, "settings": asdict(self.settings)}
        self.run.write("config.json", json.dumps(self.run.config, indent=2))
        self.run.config = read_json(folder / "config.json") if self.run.writes else self.run.config

    def _close(self, result: dict[str, Any]) -> None:
        """Do what is left to do after the last step, also when a training was killed there."""
        if self.world.is_main and not (self.run.folder / EVALUATION).is_file():
            if not self.run.rows and (self.run.folder / STATE).is_file():
                about = self._read(self.run.folder / STATE)[1]
                self.run.rows = list(about.get("rows", []))
                self.run.layers = list(about.get("layers", []))
            if self.run.rows:
                self._report(result)

    def _another_machine(self, began: dict[str, Any]) -> str | None:
        """A sentence if the weights may differ from those of the undisturbed run; else None."""
        if began.get("order") != ORDER:  # of 0.1.0
            return (
                f"{self.run.folder} was begun by an older eventkit: from here on, samples come in "
                "another order than they would have had there"
            )
        then = {"torch": began.get("versions", {}).get("torch"), "threads": began.get("threads")}
        now = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        odd = [key for key in now if then[key] is not None and then[key] != now[key]]
        if not odd:
            return None
        words = ", ".join(f"{key} {then[key]}, found {now[key]}" for key in odd)
        return (
            f"{self.run.folder} began with {words}: its weights may differ in their last bits from "
            "those of the undisturbed run"
        )

    def _check_unchanged(self, began: dict[str, Any]) -> None:
        """OptionError if this would not be the training that began: other settings or samples."""
        now: dict[str, Any] = json.loads(json.dumps(asdict(self.settings)))
        then = began.get("settings", {})
        for key in now.keys() & then.keys():
            if now[key] != then[key] and key != "epochs":  # more of them may be asked for
                raise OptionError(
                    f"{self.run.folder / 'run.toml'} was changed since the training began: {key} "
                    f"was {then[key]!r}, found {now[key]!r}; put it back, or begin a new run with "
                    f"it as --config"
                )
        digests = {name: part.digest for name, part in self.parts.items()}
        if began.get("splits", digests) != digests:
            raise OptionError(f"the splits are not those that {self.run.folder} began with")
        if began.get("processes", self.world.size) != self.world.size:
            raise OptionError(
                f"{self.run.folder} began with {began['processes']} processes, found "
                f"{self.world.size}: its steps would be others"
            )

    def _training(self) -> Training:
        s = self.settings
        keep_memory()
        shape, steps = tuple(self.in_shape), self.training_part.dataset.shape[0]
        net = build(
            s.model, num_classes=len(self.classes), in_shape=shape, steps=steps, given=self.net
        )
        net.to(device(s.device))
        if is_own(s.model):
            check_votes(net, classes=len(self.classes), in_shape=shape, steps=steps)
        if s.init is not None and not (self.run.folder / STATE).is_file():
            start_from(net, s.init)
        self.world.same(net)
        training = Training(
            net=net,
            optimizer=optimizer(
                s.optimizer, net, lr=s.lr, decay=s.weight_decay, decay_all=s.decay_all
            ),
            average=Average(net, s.ema),
            settings=s,
            classes=len(self.classes),
            world=self.world,
            teacher=self._teacher(),
            weights=self._weights() if s.class_weights else None,
            bf16=s.precision == "bfloat16"
            or (s.precision == "auto" and multiplies_bf16(device(s.device))),
        )
        if s.sparsity is not None:
            training.sparsity = sparsifier(s.sparsity)
            training.sparsity.attach(net, training.at(0.0, self.epochs))
        return training

    def _weights(self) -> torch.Tensor:
        """One for each class, the inverse of its frequency; their mean over the samples is 1."""
        part = self.parts["train"]
        labels = torch.as_tensor(part.dataset.labels[part.indices], dtype=torch.int64)
        counts = torch.bincount(labels, minlength=len(self.classes)).float()
        weights = len(labels) / ((counts > 0).sum() * counts.clamp(min=1))
        return weights.to(device(self.settings.device))

    def _teacher(self) -> nn.Module | None:
        if self.settings.teacher is None:
            return None
        teacher, about = load_with_facts(self.settings.teacher)
        if about["classes"] != self.classes or about["in_shape"] != self.in_shape:
            raise OptionError(
                f"the teacher {self.settings.teacher} knows {len(about['classes'])} classes of "
                f"{about['in_shape']}, found {len(self.classes)} classes of {self.in_shape}"
            )
        return teacher.to(device(self.settings.device)).requires_grad_(False)

    @property
    def epochs(self) -> int:
        """How many epochs there are at most; small sets get more of them than large ones."""
        if self.settings.epochs is not None:
            return self.settings.epochs
        shown = recipe_of(self.settings.model, self.settings.recipe).samples
        return min(100, max(10, round(shown / len(self.parts["train"]))))

    def _config(self, training: Training) -> dict[str, Any]:
        return {
            "model": self.settings.model,
            "num_classes": len(self.classes),
            "in_shape": self.in_shape,
            "steps": self.steps,
            "classes": self.classes,
            "data": self.data,
            "seed": self.settings.seed,
            "epochs": self.epochs,
            "settings": asdict(self.settings),
            "splits": {name: part.digest for name, part in self.parts.items()},
            "precision": "bfloat16" if training.bf16 else "float32",
            "threads": torch.get_num_threads(),
            "order": ORDER,
            "processes": self.world.size,
            "versions": {"eventkit": __version__, "torch": torch.__version__},
            **self._facts(training.net),
        }

    def _facts(self, net: nn.Module) -> dict[str, Any]:
        return {
            "parameters": sum(p.numel() for p in net.parameters()),
            "samples": {name: len(part) for name, part in self.parts.items()},
        }

    def _finish(self, training: Training) -> dict[str, Any]:
        self.progress(
            {
                "event": "start",
                "run": str(self.run.folder),
                "whole": str(self.whole),
                **self.run.config,
            }
        )
        if text := unvalidated(self.parts, self.settings.validation):
            self.progress({"event": "warning", "text": text})
        facts = self._facts(training.net)
        with interruptible() as self._stopped:
            try:
                self._epochs(training)
            except KeyboardInterrupt:
                if training.whole:  # in the middle of a step the last checkpoint is what counts
                    self._save(training)
                with training.average.applied(training.net):
                    self.run.result(
                        training.net, **facts, seconds=training.seconds, interrupted=True
                    )
                raise
        with training.average.applied(training.net):
            result = self.run.result(
                training.net, **facts, seconds=training.seconds, interrupted=False
            )
        self._close(result)
        return result

    def _report(self, result: dict[str, Any]) -> None:
        if self.settings.page and (self.run.folder / WEIGHTS).is_file():
            part = self.parts.get("test") or self.parts.get("validation") or self.parts["train"]
            given = None if self.net is None else deepcopy(self.net)
            net = load(self.run.folder, model=given)
            report(self.run, net, part, result, batch=self.settings.batch)

    def _epochs(self, training: Training) -> None:
        patience = self.settings.patience
        told = self._tell(training)
        for row in training.fit(self.training_part, epochs=self.epochs, progress=told):
            with training.average.applied(training.net):
                layers = self._measure(training, row)
                row["seconds"] = round(training.seconds, 2)
                if training.sparsity is not None:
                    row["connectivity"] = connectivity(training.net)
                self.run.add(row, layers, training.net)
            if self.settings.tensorboard and self.world.is_main:
                tensorboard(self.run.folder / "tensorboard", self.run.rows, self.run.layers)
            training.validation.append(row.get("validation_loss", row["loss"]))
            self.progress({"event": "epoch", **row})
            after = training.epoch + 1
            none = dict.fromkeys(("loss", "right", "shown", "waited", "worked"), 0.0)
            self._save(training, epoch=after, step=0, norms={}, normed=0, **none)
            if patience and self.run.since_better >= patience:
                text = f"no better loss for {patience} epochs: ended early"
                self.progress({"event": "warning", "text": text})
                return

    def _tell(self, training: Training) -> Progress:
        """After every step: progress, a checkpoint if it is time, the end if somebody asked."""

        def told(event: dict[str, Any]) -> None:
            self.progress(event)
            (stop,) = self.world.largest(float(self._stopped()))
            if stop:
                raise KeyboardInterrupt
            if time.monotonic() - self._saved > 60 * self.settings.save_minutes:
                self._save(training)

        self._saved = time.monotonic()
        return told

    def _measure(self, training: Training, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Put scores into the row; firing rates and operations per layer on the first part."""
        layers: list[dict[str, Any]] = []
        for name in ("validation", "test"):
            if name not in self.parts:
                continue
            first = not layers
            with Activity(training.net) if first else nullcontext() as seen:
                found = self._score(training, self.parts[name])
            row |= {f"{name}_accuracy": found.accuracy, f"{name}_loss": found.mean_loss}
            if isinstance(seen, Activity):
                layers = seen.rows()
                for layer in layers:
                    if (norm := training.gradient_norm(layer["layer"])) is not None:
                        layer["gradient"] = norm
                rates = [layer["rate"] for layer in layers if "rate" in layer]
                if rates:
                    row["rate"] = sum(rates) / len(rates)  # spikes a step, the mean of the layers
                row["synops"] = sum(layer.get("synops", 0.0) for layer in layers)
                for text in seen.silent():
                    text = f"epoch {training.epoch}: {text}"
                    self.progress({"event": "warning", "text": text})
        return layers

    def _score(self, training: Training, part: Part) -> Score:
        own = Part(part.dataset, part.indices[self.world.rank :: self.world.size])
        batches = self._heedful(
            own.reader(self.settings.batch, device=device(self.settings.device))
        )
        found = score(training.net, batches, classes=training.classes, bf16=training.bf16)
        self.world.add(found.confusion)
        self.world.add(found.loss)
        return found

    def _heedful(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, until somebody asks for the end: several processes end between epochs."""
        for batch in batches:
            if self.world.size == 1 and self._stopped():
                raise KeyboardInterrupt
            yield batch

    def _save(self, training: Training, **counts: Any) -> None:
        """Write the checkpoint; `counts` stand in for those of the training."""
        self._saved = time.monotonic()
        if not self.world.is_main or not self.run.folder.is_dir():
            return
        groups = {
            "net": training.net.state_dict(),
            "average": training.average.state,
            "optimizer": optimizer_tensors(training.optimizer),
            "sparsity": training.sparsity.state() if training.sparsity else {},
        }
        tensors = {f"{group}/{name}": t for group, ts in groups.items() for name, t in ts.items()}
        about = {
            "counts": {name: getattr(training, name) for name in training.COUNTS} | counts,
            "updates": training.average.updates,
            "rows": self.run.rows,
            "layers": self.run.layers,
        }
        write(self.run.folder / STATE, tensors, about)

    def _read(self, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        try:
            return read(path)
        except FormatError as error:
            reason = f"{error.reason}; remove it to begin again with the first step"
            raise FormatError(path, None, reason) from error

    def _restore(self, training: Training, path: Path) -> None:
        tensors, about = self._read(path)
        kinds = ("net", "average", "optimizer", "sparsity")
        groups: dict[str, dict[str, torch.Tensor]] = {kind: {} for kind in kinds}
        try:
            for name, tensor in tensors.items():
                group, _, key = name.partition("/")
                groups[group][key] = tensor
            training.net.load_state_dict(groups["net"])
            if groups["average"].keys() != training.average.state.keys():
                raise ValueError("it has another moving average")
            for name, tensor in training.average.state.items():
                if groups["average"][name].shape != tensor.shape:
                    raise ValueError(f"the average of {name} has another shape")
                tensor.copy_(groups["average"][name])  # onto its device
            training.average.updates = int(about["updates"])
            restore_optimizer(training.optimizer, groups["optimizer"])
            if training.sparsity is not None:
                training.sparsity.restore(groups["sparsity"])
            for name in training.COUNTS:
                kind = type(getattr(training, name))
                if name in about["counts"] or name not in ADDED:
                    setattr(training, name, kind(about["counts"][name]))
            self.run.rows, self.run.layers = list(about["rows"]), list(about["layers"])
            for row in self.run.rows:
                training.validation.append(float(row.get("validation_loss", row["loss"])))
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            said = (str(error) or type(error).__name__).splitlines()[0][:200]
            raise FormatError(path, None, f"no checkpoint of this training ({said})") from error
