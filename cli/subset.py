"""eventkit subset: create a store from selected samples of another."""

from typing import Any

import click

from ._text import STORE, progress
from .merge import print_made


@click.command()
@click.argument("out", type=STORE)
@click.argument("store", type=STORE)
@click.option(
    "--split", "splits", multiple=True, metavar="NAME",
    help="Split to keep; repeatable.  [default: all]",
)  # fmt: skip
@click.option("--classes", metavar="A,B", help="Classes to keep, by name or label.")
@click.option("--users", metavar="1,2", help="Users to keep; same as --where 'user in 1,2'.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Condition, e.g. 'user==3', 'n_events>=1000' or 'user in 1,2'; repeatable.",
)
@click.option(
    "--indices", metavar="0,5,10:20", help="Indices of the samples to keep; requires one split."
)
@click.option("--overwrite", is_flag=True, help="Replace an eventkit store at OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    out: Any,
    store: Any,
    splits: tuple[str, ...],
    classes: str | None,
    users: str | None,
    conditions: tuple[str, ...],
    indices: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Create a store OUT from selected samples of STORE, without decoding them.

    Samples that satisfy all conditions are kept. Labels and class names do not change.
    """
    from eventkit.store.merge import subset
    from eventkit.store.select import parse_indices

    where = [*conditions, *([f"user in {users}"] if users else [])]
    with progress("samples", "subset") as bar:
        summary = subset(
            out,
            store,
            splits=splits,
            classes=[name.strip() for name in classes.split(",")] if classes else (),
            where=where,
            indices=None if indices is None else parse_indices(indices),
            overwrite=overwrite,
            progress=lambda done, total: bar.update(done, total),
        )
    print_made(summary, as_json)
