"""The folder of a run.

RUN/
  run.toml           all settings: a --config that repeats the run
  config.json        what they were applied to: data, splits, classes, versions
  metrics.csv        a row for every epoch
  layers.csv         firing rates, synaptic operations, gradient norms per layer and epoch
  metrics.json       the result
  page.html          curves, confusion matrix, layers, samples, spikes
  model.safetensors  the weights of the epoch that was best on the validation samples
  last.safetensors   the weights at the end
  state.safetensors  what the training needs to go on, also for more epochs
"""

import csv
import io
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from eventkit._write import replace
from eventkit.errors import MissingExtra
from eventkit.evaluate import evaluate, mean_vote, votes
from eventkit.evaluate.page import Sample, page
from eventkit.evaluate.score import unpack
from eventkit.evaluate.trace import spikes, titles
from eventkit.runs import STARTING, check_free

from .checkpoint import ABOUT, LAST, STATE, WEIGHTS, write
from .data import Part

EVALUATION = "evaluation.json"
SAMPLES = 12  # shown on the page with their answers


class Run:
    """The folder of a run. Every file is replaced as a whole, so none is ever half written.

    With `writes` false it only keeps the numbers, as in the other processes of several.
    """

    def __init__(self, folder: Path, config: dict[str, Any], *, writes: bool = True) -> None:
        self.folder, self.config, self.writes = folder, config, writes
        self.rows: list[dict[str, Any]] = []
        self.layers: list[dict[str, Any]] = []

    def create(self, settings: str) -> None:
        """Make the folder, which must be new or empty, with what is known at the start.

        A folder whose making was cut short counts as empty: `has_begun` says so.
        """
        if not self.writes:
            return
        check_free(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.write("config.json", json.dumps(self.config, indent=2))
            self.write("run.toml", settings)  # last: with it the run has begun
        except OSError:
            self.discard()
            raise

    def discard(self) -> None:
        """Take the folder away if it holds nothing that was learned."""
        if self.writes and self.folder.is_dir():
            found = {path.name: path for path in self.folder.iterdir()}
            if found.keys() <= {"run.toml", STATE, *STARTING}:
                for name in sorted(found, reverse=True):  # run.toml first, as it came last
                    found[name].unlink()
                self.folder.rmdir()

    @property
    def best(self) -> dict[str, Any]:
        """The row of the epoch that was best on the validation samples; without any, the last.

        The last too where a network becomes sparse: earlier epochs had more of their weights.
        """
        if "validation_accuracy" not in self.rows[-1] or "connectivity" in self.rows[-1]:
            return self.rows[-1]
        return max(self.rows, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))

    @property
    def since_better(self) -> int:
        """Epochs since the loss was lowest, on the validation samples if there are any."""
        losses = [row.get("validation_loss", row["loss"]) for row in self.rows]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0

    def add(self, row: dict[str, Any], layers: list[dict[str, Any]], net: nn.Module) -> None:
        """Keep the numbers of an epoch, and its weights if it is the best."""
        self.rows.append(row)
        self.layers += [{"epoch": row["epoch"], **layer} for layer in layers]
        self.write("metrics.csv", table(self.rows))
        self.write("layers.csv", table(self.layers))
        if self.best is row:
            self.save(WEIGHTS, net)

    def save(self, name: str, net: nn.Module) -> None:
        """Write the weights, with what `load` needs to build the net."""
        if self.writes:
            about = {key: self.config[key] for key in ABOUT} | {"epoch": len(self.rows)}
            write(self.folder / name, net.state_dict(), about)

    def result(self, net: nn.Module, **facts: Any) -> dict[str, Any]:
        """Write the last weights and metrics.json, and return what is in it.

        Numbers that nothing gave are None.
        """
        self.save(LAST, net)
        best = self.best if self.rows else {}
        tests = [row["test_accuracy"] for row in self.rows if "test_accuracy" in row]
        result = {
            "accuracy": {
                "last": tests[-1] if tests else None,
                "at_best_validation": best.get("test_accuracy"),
                "best_optimistic": max(tests, default=None),
            },
            "validation_accuracy": best.get("validation_accuracy"),
            "best_epoch": best.get("epoch"),
            "connectivity": best.get("connectivity"),
            "epochs": len(self.rows),
            "waiting": statistics.fmean(row["waiting"] for row in self.rows) if self.rows else 0.0,
            "run": str(self.folder),
            **facts,
        }
        self.write("metrics.json", json.dumps(result, indent=2))
        return result

    def summary(
        self, results: list[dict[str, Any]], seeds: int, folds: int | None = None
    ) -> dict[str, Any]:
        """Write and return metrics.json for several seeds or folds: mean, spread and each run."""
        kinds = ("last", "at_best_validation", "best_optimistic")
        found = {kind: [result["accuracy"][kind] for result in results] for kind in kinds}
        summary = {
            "accuracy": {kind: _mean(values) for kind, values in found.items()},
            "spread": {kind: _spread(values) for kind, values in found.items()},
            "runs": results,
            "seeds": seeds,
            "folds": folds,
            "run": str(self.folder),
            "seconds": sum(result["seconds"] for result in results),
        }
        self.write("metrics.json", json.dumps(summary, indent=2))
        return summary

    def write(self, name: str, text: str) -> None:
        """Replace a file of the folder as a whole."""
        if self.writes:
            replace(self.folder / name, text.encode(errors="surrogateescape"))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _spread(values: list[float | None]) -> float | None:
    """The standard deviation over the seeds, of a sample (n - 1)."""
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV, with every key of any of them as a column."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def report(run: Run, net: nn.Module, part: Part, result: dict[str, Any], *, batch: int) -> None:
    """Write evaluation.json and page.html for the weights that were best on validation."""
    bf16 = run.config["precision"] == "bfloat16"
    measured = evaluate(net, part.reader(batch), classes=run.config["classes"], bf16=bf16)
    run.write(EVALUATION, json.dumps(measured, indent=2))
    accuracy = result["accuracy"]
    facts = {
        "model": run.config["model"],
        "data": run.config["data"].get("store", "in memory"),
        "samples": ", ".join(f"{n:,} {name}" for name, n in result["samples"].items()),
        "test, at the best validation epoch": _percent(accuracy["at_best_validation"]),
        "test, after the last epoch": _percent(accuracy["last"]),
        "test, best epoch (optimistic)": _percent(accuracy["best_optimistic"]),
        "training": f"{result['epochs']} epochs, {result['seconds']:.0f} s, "
        f"{result['waiting']:.1%} of it waiting for data",
    }
    title = f"{run.config['model']} on {run.config['data'].get('dataset', 'data')}"
    shown = samples(net, part, run.config["classes"], bf16=bf16)
    passed = spikes(net, torch.as_tensor(shown[0].frames)) if shown else []
    page(run.folder / "page.html", title=title, facts=facts, rows=run.rows, measured=measured,
         layers=run.layers, titles=titles(net), samples=shown, spikes=passed)  # fmt: skip


def samples(net: nn.Module, part: Part, classes: list[str], *, bf16: bool) -> list[Sample]:
    """Some samples of the part, of one class after the other, with the net's answers."""
    labels = np.asarray(part.dataset.labels)[part.indices]
    _, first = np.unique(labels, return_index=True)
    rest = np.setdiff1d(np.arange(len(labels)), first)
    chosen = Part(part.dataset, part.indices[np.concatenate([first, rest])[:SAMPLES]])
    found = []
    for batch in chosen.reader(SAMPLES):
        frames, labels, lengths = unpack(batch, classes=len(classes))
        with torch.inference_mode():
            said = votes(net, frames.transpose(0, 1), bf16=bf16)
        answers = mean_vote(said, lengths).argmax(1)
        for own, end, label, answer in zip(frames, lengths, labels, answers, strict=True):
            names = classes[int(label)], classes[int(answer)]
            found.append(Sample(own[: int(end)].numpy(), *names))
    return found


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"


def tensorboard(
    folder: Path, rows: Sequence[dict[str, Any]], layers: Sequence[dict[str, Any]] = ()
) -> None:
    """Write all numbers of all epochs and the firing rates of all layers for TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("curves need tensorboard", "torch") from None
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
        for row in rows:
            for key, value in row.items():
                if key != "epoch":
                    writer.add_scalar(key, value, row["epoch"])  # type: ignore[no-untyped-call]
        for layer in layers:
            if "rate" in layer:
                name = f"rate/{layer['layer']}"
                writer.add_scalar(name, layer["rate"], layer["epoch"])  # type: ignore[no-untyped-call]
