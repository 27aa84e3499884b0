"""eventkit demo: the whole pipeline, from raw recordings to a trained network, in minutes."""

import time
from pathlib import Path
from typing import Any

import click

from ._text import (
    PATH,
    duration,
    mention_compiling,
    number,
    print_facts,
    print_json,
    progress,
    size,
)
from .convert import print_summary, watch
from .train import Shown, print_result

# Frames pooled to 32x32 instead of 64x64 allow four times as many epochs in the same time.
MODEL = "csnn_tiny:limit=32"
# Few subjects, short gestures and noise: too hard to be always right after so short a training.
HARD: dict[str, Any] = {"subjects": 6, "seconds": 0.5, "noise_hz": 3.0}
BATCH, EPOCHS = 8, 20  # fixed, so that the result does not depend on the speed of the machine


@click.command()
@click.option(
    "--dir", "folder", type=PATH, default="demo", show_default=True, help="Output folder."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed."
)  # fmt: skip
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=3,
    show_default=True,
    help="Time limit for training, in minutes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(folder: Path, seed: int, minutes: float, as_json: bool) -> None:
    """Run the whole pipeline: simulate recordings, convert them, train a network, draw a sample.

    The recordings are simulated, in the layout of DVS128 Gesture; they are not that dataset. The
    accuracy shows that the pipeline works and says nothing about real gestures.
    """
    import eventkit.train  # noqa: F401  # needs torch: fail now, not after minutes of work

    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    raw, store = folder / "raw", folder / "dvsgesture-frames-16.zarr"
    show = _Quiet() if as_json else _Steps()
    hard = "--subjects {subjects} --seconds {seconds} --noise {noise_hz:g}".format(**HARD)
    show.step(f"eventkit simulate dvsgesture --root {raw} --seed {seed} {hard}")
    simulated = _simulate(raw, seed)
    show.facts(_recordings(simulated))
    show.step(f"eventkit convert dvsgesture --frames 16 --root {raw} --out {store}")
    converted = _convert(raw, store)
    show.call(print_summary, converted)
    run = _free(folder / "run")
    how = f"--model {MODEL} --batch {BATCH} --epochs {EPOCHS} --minutes {minutes:g}"
    show.step(f"eventkit train {store} {how} --out {run}")
    trained = _train(store, run, seed, minutes)
    show.call(print_result, trained)
    show.step(f"eventkit view {store} --split test --sample 3 --out {folder}/gesture.png")
    pictures = _draw(store, folder)
    seconds = time.perf_counter() - started
    result = {
        "simulated": simulated,
        "converted": converted,
        "trained": trained,
        "pictures": pictures,
        "page": str(run / "page.html"),
        "seconds": seconds,
    }
    if as_json:
        print_json(result)
    else:
        click.echo()
        print_facts(_outcome(result))


class _Steps:
    """Prints each step as the command that a user would type."""

    def step(self, line: str) -> None:
        click.echo(f"\n$ {line}")

    def facts(self, facts: dict[str, Any]) -> None:
        print_facts(facts)

    def call(self, report: Any, summary: dict[str, Any]) -> None:
        report(summary)


class _Quiet(_Steps):
    """Prints nothing: the result is one JSON object."""

    def step(self, line: str) -> None: ...

    def facts(self, facts: dict[str, Any]) -> None: ...

    def call(self, report: Any, summary: dict[str, Any]) -> None: ...


def _simulate(raw: Path, seed: int) -> dict[str, Any]:
    from eventkit.simulate import simulate

    with progress("recordings", "simulate") as bar:
        return simulate("dvsgesture", raw, seed=seed, progress=bar.update, **HARD)


def _recordings(simulated: dict[str, Any]) -> dict[str, str]:
    samples = " + ".join(f"{n:,} {split}" for split, n in simulated["samples"].items())
    return {
        "simulated": f"{simulated['recordings']} recordings, {number(simulated['events'])} events, "
        f"{size(simulated['bytes'])}; not the original dataset",
        "samples": samples,
    }


def _convert(raw: Path, store: Path) -> dict[str, Any]:
    from eventkit.conversion import convert

    mention_compiling()
    with progress("samples", "convert") as bar:
        summary = convert(
            "dvsgesture",
            represent="frames:n=16",
            root=raw,
            out=store,
            overwrite=True,
            progress=watch(bar),
        )
    # The simulated dataset is smaller than the original on purpose.
    return {**summary, "warnings": [t for t in summary["warnings"] if "published" not in t]}


def _train(store: Path, run: Path, seed: int, minutes: float) -> dict[str, Any]:
    from eventkit.train import train

    with progress("steps", "train") as bar:
        return train(
            store,
            model=MODEL,
            batch=BATCH,
            epochs=EPOCHS,
            minutes=minutes,
            seed=seed,
            out=run,
            progress=Shown(bar),
        )


def _draw(store: Path, folder: Path) -> list[str]:
    from eventkit import viz
    from eventkit.store import open

    opened = open(store)
    split = opened["test"]
    frames, label = split.frames[3], opened.classes[split.labels[3]]
    viz.sheet(frames, folder / "gesture.png", title=f"simulated: {label}")
    viz.animate(frames, folder / "gesture.gif")
    return [str(folder / "gesture.png"), str(folder / "gesture.gif")]


def _outcome(result: dict[str, Any]) -> dict[str, str]:
    converted, trained = result["converted"], result["trained"]
    rate = converted["events"] / converted["seconds"]
    return {
        "converted": f"{number(rate)} events/s into {size(converted['bytes'])}",
        "accuracy": f"{trained['accuracy']['at_best_validation']:.1%} on simulated test subjects "
        f"(chance level {1 / 11:.1%})",
        "pictures": " and ".join(result["pictures"]),
        "time": duration(result["seconds"]),
        "next": f"open {result['page']} in a browser: curves, mistakes, spikes in every layer",
    }


def _free(path: Path) -> Path:
    """The path, or the first of path-2, path-3, ... that does not exist."""
    found, n = path, 1
    while found.exists():
        n += 1
        found = path.with_name(f"{path.name}-{n}")
    return found
