"""What is shown of a finished run: its page, and curves for TensorBoard."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eventkit.errors import MissingExtra
from eventkit.evaluate import evaluate, mean_vote, votes
from eventkit.evaluate.page import Sample, page
from eventkit.evaluate.score import unpack

from .data import Part
from .run import Run

SAMPLES = 8  # shown with their answers


def report(run: Run, net: nn.Module, part: Part, result: dict[str, Any], *, batch: int) -> None:
    """Write evaluation.json and page.html for the weights that were best on validation."""
    bf16 = run.config["precision"] == "bfloat16"
    measured = evaluate(net, part.reader(batch), classes=run.config["classes"], bf16=bf16)
    run.write("evaluation.json", json.dumps(measured, indent=2))
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
    page(run.folder / "page.html", title=title, facts=facts, rows=run.rows, measured=measured,
         samples=shown)  # fmt: skip


def samples(net: nn.Module, part: Part, classes: list[str], *, bf16: bool) -> list[Sample]:
    """Some samples spread over the part, with the net's answers."""
    step = max(1, len(part) // SAMPLES)
    chosen = Part(part.dataset, part.indices[::step][:SAMPLES])
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
