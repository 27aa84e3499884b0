"""eventkit train: a spiking network trained on a store."""

from pathlib import Path
from typing import Any

import click

from ._text import PATH, STORE, Bar, duration, print_facts, print_json, progress


@click.command()
@click.argument("store", type=STORE)
@click.option("--model", default="csnn_tiny", metavar="SPEC", help="As csnn_tiny:width=32.")
@click.option("--epochs", type=click.IntRange(1), help="At most so many.  [default: the recipe's]")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="At most so long.")
@click.option("--batch", type=click.IntRange(1), help="Samples a step.  [default: the recipe's]")
@click.option(
    "--lr", type=click.FloatRange(0, min_open=True), help="Learning rate.  [default: the recipe's]"
)
@click.option(
    "--validation",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the training samples held out to choose the best epoch.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=PATH, help="New folder for the run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: Path, as_json: bool, **options: Any) -> int | None:
    """Train a spiking network on the split `train` of STORE and test it on `test`.

    The run folder (under runs/ unless --out names another) gets the settings, the numbers of
    every epoch and the weights.
    """
    from eventkit.train import train

    shown = None
    try:
        with progress("steps", "train") as bar:
            shown = Shown(bar)
            result = train(store, progress=shown, **options)
    except KeyboardInterrupt:
        if shown is None or not shown.run:
            raise
        click.echo(f"eventkit: interrupted; {shown.run} has what was trained so far", err=True)
        return 130
    if as_json:
        print_json(result)
    else:
        print_result(result)
    return None


class Shown:
    """A training on a bar: what the trainer tells, in the words beside it."""

    def __init__(self, bar: Bar) -> None:
        self.run = ""
        self._bar = bar
        self._score = ""

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "start":
            self.run = event["run"]
        elif event["event"] == "step":
            label = f"train  loss {event['loss']:.3f}{self._score}"
            self._bar.update(event["done"], event["of"], label)
        elif "validation_accuracy" in event:
            self._score = f"  validation {event['validation_accuracy']:.1%}"


def print_result(result: dict[str, Any]) -> None:
    """The test accuracies of a training, and what they rest on."""
    accuracy, best = result["accuracy"], f"epoch {result['best_epoch']}"
    samples = ", ".join(f"{n:,} {part}" for part, n in result["samples"].items())
    facts = {
        "run": result["run"],
        "trained": f"{result['parameters']:,} parameters, {result['epochs']:,} epochs, {samples}",
        "time": duration(result["seconds"]),
        "test, last": _percent(accuracy["last"], "after the last epoch"),
        "test, best": _percent(
            accuracy["best_optimistic"], "of all epochs: chosen on the test set, so optimistic"
        ),
    }
    if result["validation_accuracy"] is not None:
        facts["validation"] = _percent(result["validation_accuracy"], f"in {best}, the best")
        facts["test"] = _percent(accuracy["at_best_validation"], f"after {best}: report this one")
    print_facts(facts)


def _percent(share: float | None, words: str) -> str | None:
    return None if share is None else f"{share:.1%} {words}"
