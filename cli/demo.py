"""eventkit demo: the whole way, from raw recordings to a trained network, in minutes."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from ._text import duration, number, print_facts, print_json, progress, size


@click.command()
@click.option("--dir", "folder", type=click.Path(), default="demo", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--minutes", type=float, default=1.25, show_default=True, help="For training, at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(folder: str, seed: int, minutes: float, as_json: bool) -> None:
    """Simulate gesture recordings, convert them, train a spiking network, draw a sample.

    The recordings are a simulated stand-in in the layout of DVS128 Gesture, never that dataset:
    its accuracy says that the way works, nothing about real gestures.
    """
    base = Path(folder)
    base.mkdir(parents=True, exist_ok=True)
    raw, store, run = base / "raw", base / "dvsgesture-frames-16.zarr", base / "run"
    simulated = _simulate(raw, seed)
    _say(as_json, f"eventkit convert dvsgesture --frames 16 --root {raw} --out {store}")
    converted = _convert(raw, store)
    _say(as_json, f"eventkit train {store} --model csnn_tiny --minutes {minutes:g}")
    trained = _train(store, run, seed, minutes)
    pictures = _draw(store, base, trained)
    facts = {
        "recordings": simulated,
        "conversion": converted,
        "training": trained,
        "pictures": [str(picture) for picture in pictures],
    }
    if as_json:
        print_json(facts)
    else:
        _report(facts)
