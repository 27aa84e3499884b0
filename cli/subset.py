"""eventkit subset: some samples of a store as a store of their own."""

from typing import Any

import click

from ._text import STORE, progress
from .merge import print_made


@click.command()
@click.argument("out", type=STORE)
@click.argument("store", type=STORE)
@click.option("--split", "splits", multiple=True, help="This split only; repeatable [all].")
@click.option("--classes", metavar="A,B", help="Samples of these classes: names or numbers.")
@click.option("--users", metavar="1,2", help="Samples of these users: short for a --where.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="As 'user==3', 'n_events>=1000' or 'user in 1,2'; repeatable.",
)
@click.option("--indices", metavar="0,5,10:20", help="Samples of these numbers, of one split.")
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
    """Make a store, OUT, of some samples of STORE, without decoding them.

    All conditions must hold. Labels keep their numbers and their classes.
    """
    from eventkit.store.merge import subset
    from eventkit.store.select import parse_indices

    where = [*conditions, *([f"user in {users}"] if users else [])]
    with progress("samples", "subset") as bar:
        told = subset(
            out,
            store,
            splits=splits,
            classes=[name.strip() for name in classes.split(",")] if classes else (),
            where=where,
            indices=None if indices is None else parse_indices(indices),
            overwrite=overwrite,
            progress=lambda done, total: bar.update(done, total),
        )
    print_made(told, as_json)
