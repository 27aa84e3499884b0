"""eventkit simulate: write simulated recordings in the layout of a dataset."""

import shlex
from pathlib import Path
from typing import Any

import click

from ._text import PATH, number, print_facts, print_json, progress, size


@click.command()
@click.argument("name")
@click.option("--root", type=PATH, required=True, help="Output folder.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed."
)  # fmt: skip
@click.option(
    "--subjects", type=click.IntRange(2), default=8, show_default=True,
    help="Number of simulated people.",
)  # fmt: skip
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60),
    default=1.8,
    show_default=True,
    help="Duration of a gesture, about.",
)
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
    name: str,
    root: Path,
    seed: int,
    subjects: int,
    seconds: float,
    noise_hz: float,
    as_json: bool,
) -> None:
    """Write simulated recordings with the layout, file format and classes of the dataset NAME.

    Use them to try eventkit before you have the real dataset; do not report results on them.
    Existing files are overwritten only if they are from an earlier simulation. Available:
    dvsgesture.
    """
    from eventkit.simulate import simulate

    with progress("recordings", "simulate") as bar:
        summary = simulate(
            name,
            root,
            seed=seed,
            subjects=subjects,
            seconds=seconds,
            noise_hz=noise_hz,
            progress=bar.update,
        )
    if as_json:
        print_json(summary)
        return
    print_facts(_readable(summary))


def _readable(summary: dict[str, Any]) -> dict[str, str]:
    samples = " + ".join(f"{n:,} {split}" for split, n in summary["samples"].items())
    root = shlex.quote(summary["root"])
    return {
        "simulated": f"{summary['name']}: not the original dataset; do not report results on it",
        "folder": f"{summary['root']} ({summary['files']:,} files, {size(summary['bytes'])})",
        "recordings": f"{summary['recordings']:,}, {number(summary['events'])} events",
        "samples": samples,
        "next": f"eventkit convert {summary['name']} --root {root} --frames 16",
    }
