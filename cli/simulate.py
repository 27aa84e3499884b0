"""eventkit simulate: a stand-in of a dataset."""

import shlex
from pathlib import Path
from typing import Any

import click

from ._text import PATH, number, print_facts, print_json, progress, size


@click.command()
@click.argument("name")
@click.option("--root", type=PATH, required=True, help="Folder to write to.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--subjects", type=click.IntRange(2), default=8, show_default=True)
@click.option(
    "--noise",
    "noise_hz",
    type=click.FloatRange(0, 1000),
    default=0.0,
    show_default=True,
    help="Noise events per pixel and second, labelled in RECORDING_noise.npy.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    name: str, root: Path, seed: int, subjects: int, noise_hz: float, as_json: bool
) -> None:
    """Write simulated recordings in the layout, file format and classes of the dataset NAME.

    They stand in for the dataset until it is there: never report results on them. What is
    already in the folder is overwritten only if an earlier simulation wrote it.
    """
    from eventkit.simulate import simulate

    with progress("recordings", "simulate") as bar:
        summary = simulate(
            name, root, seed=seed, subjects=subjects, noise_hz=noise_hz, progress=bar.update
        )
    if as_json:
        print_json(summary)
        return
    print_facts(_readable(summary))


def _readable(summary: dict[str, Any]) -> dict[str, str]:
    samples = " + ".join(f"{n:,} {split}" for split, n in summary["samples"].items())
    root = shlex.quote(summary["root"])
    return {
        "simulated": f"{summary['name']}: a stand-in, not the dataset; never report results on it",
        "folder": f"{summary['root']} ({summary['files']:,} files, {size(summary['bytes'])})",
        "recordings": f"{summary['recordings']:,}, {number(summary['events'])} events",
        "samples": samples,
        "next": f"eventkit convert {summary['name']} --root {root} --frames 16",
    }
