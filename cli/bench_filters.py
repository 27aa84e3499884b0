"""`eventkit bench-filters`: how well noise filters tell noise from signal."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from eventkit.errors import OptionError

from ._text import FROM_HELP, PATH, format_options, number, print_facts, print_json, print_table


@click.command("bench-filters")
@click.argument("path", type=PATH)
@click.option(
    "--labels",
    type=PATH,
    help="NumPy file with true for each event that is noise.  [default: PATH's _noise.npy]",
)
@click.option(
    "--transform", metavar="SPEC", multiple=True, help="Filter; repeatable.  [default: all]"
)
@click.option("--from", "spec", metavar="SPEC", help=FROM_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    path: Path, labels: Path | None, transform: tuple[str, ...], spec: str | None, as_json: bool
) -> None:
    """Measure precision, recall and speed of noise filters on PATH, whose noise is labelled.

    eventkit simulate NAME --noise 5 writes such recordings. Where dv-processing or Tonic are
    installed, their filters are measured too.
    """
    import numpy as np

    from eventkit import formats
    from eventkit.doctor.filters import score_filters

    labels = labels or path.with_name(f"{path.stem}_noise.npy")
    if not labels.exists():
        raise OptionError(f"{labels}: no such file; expected true or false for each event")
    try:
        is_noise = np.load(labels, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise OptionError(f"{labels}: cannot be read as a NumPy array: {error}") from None
    events = formats.read(path, **format_options(spec))
    scores = score_filters(events, is_noise, transform or None)
    rows = [asdict(score) for score in scores]
    if not transform:
        from eventkit.doctor.filter_peers import score_peers

        rows += [asdict(score) for score in score_peers(events, is_noise)]
    facts = {"path": str(path), "events": len(events), "noise": int(is_noise.sum())}
    if as_json:
        return print_json({**facts, "filters": rows})
    print_facts({"file": path, "events": f"{len(events):,}, {is_noise.mean():.1%} of them noise"})
    click.echo()
    head = ["filter", "precision", "recall", "noise removed", "events/s"]
    return print_table(head, [_row(row) for row in rows], right=" ".join(head[1:]))


def _row(row: dict[str, Any]) -> list[str]:
    shares = [
        "-" if row[name] is None else f"{row[name]:.1%}"
        for name in ("precision", "recall", "removed")
    ]
    return [row["spec"], *shares, number(row["rate"])]
