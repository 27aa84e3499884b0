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
@click.option(
    "--relabel", is_flag=True, help="With --classes: renumber them; label i is the i-th given."
)
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
@click.option(
    "--split-into",
    metavar="SPEC",
    help="New splits of the selected samples: train=0.8,test=0.2, by-user, fold:k=0,n=5 or "
    "first:train=0.9,test=0.1.",
)
@click.option("--stratify", is_flag=True, help="With --split-into: the same shares of each class.")
@click.option(
    "--seed", type=click.IntRange(min=0), help="With --split-into: random seed.  [default: 0]"
)
@click.option(
    "--group",
    metavar="COLUMN",
    help="With --split-into: keep samples of equal value together, as user or recording.",
)
@click.option("--overwrite", is_flag=True, help="Replace an eventkit store at OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    out: Any,
    store: Any,
    splits: tuple[str, ...],
    classes: str | None,
    relabel: bool,
    users: str | None,
    conditions: tuple[str, ...],
    indices: str | None,
    split_into: str | None,
    stratify: bool,
    seed: int | None,
    group: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Create a store OUT from selected samples of STORE, without decoding them.

    Samples that satisfy all conditions are kept. Labels and class names do not change unless
    --relabel is given. With --split-into, the split `train` (or the only one) is divided; the
    others stay as they are.
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
            relabel=relabel,
            split_into=split_into,
            stratify=stratify,
            seed=seed,
            group=group,
            indices=None if indices is None else parse_indices(indices),
            overwrite=overwrite,
            progress=lambda done, total: bar.update(done, total),
        )
    print_made(summary, as_json)
