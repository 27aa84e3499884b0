"""eventkit spiking: a network trained without spikes, converted and measured."""

from pathlib import Path
from typing import Any

import click

from ._text import PATH, STORE, as_options, number, print_json, print_table


def _counts(context: Any, parameter: Any, text: str) -> tuple[int, ...]:
    """Whole numbers from 1 on, separated by commas."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise click.BadParameter(f"found {text!r}, expected numbers from 1 on, as 1,2,4,8")
    return tuple(int(part) for part in parts)


@click.command()
@click.argument("run", type=PATH)
@click.argument("store", type=STORE, required=False)
@click.option(
    "--steps", default="1,2,4,8", callback=_counts, metavar="LIST", show_default=True,
    help="Steps for which each frame is shown.",
)  # fmt: skip
@click.option(
    "--members", default="1", callback=_counts, metavar="LIST", show_default=True,
    help="Members of each group neuron; 1 is an IF neuron.",
)  # fmt: skip
@click.option(
    "--percentile", type=click.FloatRange(0, 100, min_open=True), default=99.9, show_default=True,
    help="Percentile of its outputs that is the threshold of a ReLU layer.",
)  # fmt: skip
@click.option("--split", default="test", show_default=True)
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True)
@click.option(
    "--rep", "represent", metavar="SPEC", help="Of a store of events.  [default: the run's]"
)
@click.option("--weights", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option(
    "--model",
    metavar="SPEC",
    help="Network of a run that was trained on an object: package.module:Net.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path, store: Any, as_json: bool, **options: Any) -> None:
    """Convert the network of the run folder RUN to spikes and measure it on STORE.

    RUN must be trained with `qcfs` or `relu` neurons and average pooling, as qcfs_resnet20 or
    csnn_tiny:neurons=qcfs,pool=avg. Every frame is shown for each number of steps. No weights are
    changed or written.
    """
    from eventkit.train import spiking_run

    with as_options():
        measured = spiking_run(run, store, **options)
    if as_json:
        print_json(measured)
        return
    whole = measured["rows"][0]["accuracy"]
    head = ["neurons", "steps", "accuracy", "difference", "spikes", "MACs", "ACs", "µJ"]
    print_table(
        head,
        [_row(row, whole) for row in measured["rows"]],
        right="steps accuracy difference spikes MACs ACs µJ",
    )


def _row(row: dict[str, Any], whole: float) -> list[Any]:
    members, steps, operations = row["members"], row["steps"], row["SynapticOperations"]
    return [
        "none" if members is None else "if" if members == 1 else f"gn:m={members}",
        steps or "",
        f"{row['accuracy']:.1%}",
        "" if steps is None else f"{row['accuracy'] - whole:+.1%}",
        number(row["spikes"]),
        number(operations["Effective_MACs"]),
        number(operations["Effective_ACs"]),
        f"{row['microjoules']:.3g}",
    ]
