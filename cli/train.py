"""eventkit train: a spiking network trained on a store."""

import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from eventkit.errors import EventkitError
from eventkit.registry import Below, Range, parse_spec
from eventkit.runs import Help, Settings

from ._text import (
    PATH,
    STORE,
    Bar,
    as_options,
    counted,
    duration,
    print_facts,
    print_json,
    progress,
)


def settings(function: Any) -> Any:
    """Give a command an option for every setting, as `Settings` declares them."""
    hints = get_type_hints(Settings, include_extras=True)
    for field in reversed(fields(Settings)):
        kind, *marks = get_args(hints[field.name])
        about = next(mark for mark in marks if isinstance(mark, Help))
        limits = next((mark for mark in marks if isinstance(mark, Range)), None)
        more = {"multiple": True} if field.name == "augment" else {"default": None}
        flags = about.flags or f"--{field.name.replace('_', '-')}"
        options: dict[str, Any] = {"help": about.text, "metavar": about.metavar, **more}
        function = click.option(flags, field.name, type=_type(kind, limits), **options)(function)
    return function


def _type(kind: Any, limits: Range | None) -> Any:
    """The type of an option for click, which refuses what is outside of its limits."""
    kinds = [each for each in get_args(kind) or [kind] if each is not type(None)]
    if get_origin(kind) is Literal:
        return click.Choice(kinds)
    if limits is not None and kinds[0] in (int, float):
        of: Any = click.IntRange if kinds[0] is int else click.FloatRange
        low, high = (
            None if math.isinf(end) else int(end) if end == int(end) else end
            for end in (limits.low, limits.high)
        )
        return of(low, high, min_open=limits.above, max_open=isinstance(limits, Below))
    return bool if kinds[0] is bool else str


@click.command()
@click.argument("store", type=STORE, required=False)
@click.option("--config", type=PATH, help="TOML file of these settings, such as RUN/run.toml.")
@click.option(
    "--resume",
    type=PATH,
    metavar="RUN",
    help="Continue an interrupted run; with --epochs N, train any run on to N epochs in all.",
)
@click.option("--out", type=PATH, help="New folder for the run.")
@settings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    store: Path | None, resume: Path | None, as_json: bool, augment: tuple[str, ...], **options: Any
) -> int | None:
    """Train a spiking network on the split `train` of STORE and test it on `test`.

    The run folder (under runs/ unless --out names another) gets all settings as run.toml, the
    numbers of every epoch, the weights and page.html. What no option and no --config says comes
    from the model's recipe. Ctrl-C saves, and --resume RUN goes on from there,
    with STORE if that was moved.
    """
    given = [name for name, value in options.items() if value is not None] + ["augment"] * any(
        augment
    )
    if store is None and resume is None:
        raise click.UsageError("give a STORE to train on, or --resume RUN")
    if resume is not None and (odd := [name for name in given if name != "epochs"]):
        flag = odd[0].replace("_", "-")
        raise click.UsageError(f"--resume goes on with the settings of the run: leave out --{flag}")
    with as_options():
        check_ahead(store, resume, augment, options)
    from eventkit import train

    shown = None
    try:
        with as_options(), progress("steps", "train") as bar:
            shown = Shown(bar)
            if resume is not None:
                result = train.resume(resume, data=store, epochs=options["epochs"], progress=shown)
            else:
                assert store is not None
                result = train.train(store, progress=shown, augment=augment or None, **options)
    except KeyboardInterrupt:
        if shown is None or not shown.run:
            raise
        again = f"eventkit train --resume {resume or shown.whole}"
        click.echo(f"eventkit: interrupted; go on with: {again}", err=True)
        return 130
    except OSError as error:
        if shown is None or not shown.run or isinstance(error, EventkitError):
            raise
        again = f"eventkit train --resume {resume or shown.whole}"
        text = f"{error}; when that is repaired, go on with: {again}"
        click.echo(f"eventkit: error: {text}", err=True)
        return 1
    from eventkit.train.machine import part

    if not part():
        return None
    if as_json:
        print_json(result)
    elif "runs" in result:
        print_seeds(result)
    else:
        print_result(result)
    return None


def check_ahead(
    store: Path | None, resume: Path | None, augment: tuple[str, ...], options: dict[str, Any]
) -> None:
    """Find what is wrong before torch is loaded, which takes seconds."""
    from eventkit import representations, runs
    from eventkit.augment import Augment
    from eventkit.store import Store

    if resume is not None:
        runs.check_begun(resume)
    if isinstance(store, Path):
        Store(store)
    if options["out"]:
        runs.check_free(options["out"])
    for name in ("config", "teacher", "init"):
        if options[name]:
            Path(options[name]).stat()
    for name in ("optimizer", "schedule", "loss", "method", "sparsity"):
        if options[name]:
            parse_spec(options[name])
    if options["represent"]:
        representations.parse(options["represent"])
    if augment != ("none",):
        Augment(augment)


class Shown:
    """A progress bar of a training, with the loss and the last validation accuracy."""

    def __init__(self, bar: Bar) -> None:
        self.run = ""
        self.whole = ""
        self._bar = bar
        self._score = ""
        self._warned: set[str] = set()

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "start":
            self.run, self.whole = event["run"], event["whole"]
        elif event["event"] == "step":
            label = f"train  loss {event['loss']:.3f}{self._score}"
            self._bar.update(event["done"], event["of"], label)
        elif event["event"] == "warning":
            self._warn(event["text"])
        elif "validation_accuracy" in event:
            self._score = f"  validation {event['validation_accuracy']:.1%}"

    def _warn(self, text: str) -> None:
        """Print a warning once for each layer; the trainer repeats it after every epoch."""
        about = re.sub(r"^epoch \d+: ", "", text).partition(":")[0]
        if about not in self._warned:
            self._warned.add(about)
            click.echo(f"eventkit: warning: {text}", err=True)


def print_result(result: dict[str, Any]) -> None:
    """The test accuracies of a training, and what they rest on."""
    accuracy, best = result["accuracy"], f"epoch {result['best_epoch']}"
    samples = ", ".join(f"{n:,} {part}" for part, n in result["samples"].items())
    facts = {
        "run": result["run"],
        "trained": f"{result['parameters']:,} parameters, "
        f"{counted(result['epochs'], 'epoch')}, {samples}",
        "time": f"{duration(result['seconds'])}, {result['waiting']:.1%} of it waiting for data",
        "connectivity": _percent(result.get("connectivity"), "of the weights are not zero"),
        "test, last": _percent(accuracy["last"], "after the last epoch"),
        "test, best": _percent(
            accuracy["best_optimistic"], "of all epochs: chosen on the test set, so optimistic"
        ),
    }
    if result["validation_accuracy"] is not None:
        facts["validation"] = _percent(result["validation_accuracy"], f"in {best}, the best")
        facts["test"] = _percent(accuracy["at_best_validation"], f"after {best}: report this one")
    print_facts(facts)


def print_seeds(result: dict[str, Any]) -> None:
    """Mean and spread of the test accuracies over the seeds or folds."""
    accuracy, spread = result["accuracy"], result["spread"]
    words = {
        "last": ("test, last", "after the last epoch"),
        "best_optimistic": ("test, best", "of all epochs: optimistic"),
        "at_best_validation": ("test", "at the best validation epoch: report this one"),
    }
    of = counted(result["folds"], "fold") if result["folds"] else counted(result["seeds"], "seed")
    facts = {"run": result["run"], "time": duration(result["seconds"])}
    for key, (name, what) in words.items():
        around = "" if spread[key] is None else f"± {spread[key]:.1%} "
        facts[name] = _percent(accuracy[key], f"{around}{what}, {of}") or ""
    print_facts(facts)


def _percent(share: float | None, words: str) -> str | None:
    return None if share is None else f"{share:.1%} {words}"
