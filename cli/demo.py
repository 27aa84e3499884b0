"""eventkit demo: the whole way, from raw recordings to a trained network, in minutes."""

import time
from pathlib import Path
from typing import Any

import click

from ._text import PATH, duration, number, print_facts, print_json, progress, size
from .convert import print_summary, watch
from .train import Shown, print_result

# Frames pooled to 32x32 instead of 64x64: four times as many epochs in the same time.
MODEL = "csnn_tiny:limit=32"
BATCH, EPOCHS = 8, 20  # the same training on a busy machine, in more time


@click.command()
@click.option("--dir", "folder", type=PATH, default="demo", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=3,
    show_default=True,
    help="For the training, at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(folder: Path, seed: int, minutes: float, as_json: bool) -> None:
    """Simulate gesture recordings, convert them, train a spiking network, draw a sample.

    The recordings are a simulated stand-in in the layout of DVS128 Gesture, never that dataset:
    the accuracy shows that the way works, and says nothing about real gestures.
    """
    import eventkit.train  # noqa: F401  # needs torch: said now, not after minutes of work

    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    raw, store = folder / "raw", folder / "dvsgesture-frames-16.zarr"
    show = _Quiet() if as_json else _Steps()
    show.step(f"eventkit simulate dvsgesture --root {raw} --seed {seed}")
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
        "seconds": seconds,
    }
    if as_json:
        print_json(result)
    else:
        click.echo()
        print_facts(_outcome(result))


class _Steps:
    """Says what is done, as the commands that a user would type."""

    def step(self, line: str) -> None:
        click.echo(f"\n$ {line}")

    def facts(self, facts: dict[str, Any]) -> None:
        print_facts(facts)

    def call(self, report: Any, summary: dict[str, Any]) -> None:
        report(summary)


class _Quiet(_Steps):
    """Says nothing: the result is one JSON object."""

    def step(self, line: str) -> None: ...

    def facts(self, facts: dict[str, Any]) -> None: ...

    def call(self, report: Any, summary: dict[str, Any]) -> None: ...


def _simulate(raw: Path, seed: int) -> dict[str, Any]:
    from eventkit.simulate import simulate

    with progress("recordings", "simulate") as bar:
        return simulate("dvsgesture", raw, seed=seed, progress=bar.update)


def _recordings(simulated: dict[str, Any]) -> dict[str, str]:
    samples = " + ".join(f"{n:,} {split}" for split, n in simulated["samples"].items())
    return {
        "simulated": f"{simulated['recordings']} recordings, {number(simulated['events'])} events, "
        f"{size(simulated['bytes'])}: a stand-in, not the dataset",
        "samples": samples,
    }


def _convert(raw: Path, store: Path) -> dict[str, Any]:
    from eventkit.conversion import convert

    with progress("samples", "convert") as bar:
        summary = convert(
            "dvsgesture",
            represent="frames:n=16",
            root=raw,
            out=store,
            overwrite=True,
            progress=watch(bar),
        )
    # The stand-in is smaller than the dataset on purpose.
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
        f"(chance {1 / 11:.1%})",
        "pictures": " and ".join(result["pictures"]),
        "time": duration(result["seconds"]),
    }


def _free(path: Path) -> Path:
    """The path, or the first of path-2, path-3, ... that is not there."""
    found, n = path, 1
    while found.exists():
        n += 1
        found = path.with_name(f"{path.name}-{n}")
    return found
