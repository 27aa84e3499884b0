"""eventkit repair: a damaged store made whole again."""

from pathlib import Path

import click

from ._text import PATH, STORE, counted, duration, print_json, progress


@click.command()
@click.argument("store", type=STORE)
@click.option("--root", type=PATH, help="Where the raw data is [$EVENTKIT_DATA/NAME or data/NAME].")
@click.option(
    "--dataset",
    type=PATH,
    metavar="TOML|FOLDER",
    help="The description that it was converted from, if it is of your own.",
)
@click.option("--workers", type=click.IntRange(min=1), help="How many threads [the processors].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    store: Path, root: Path | None, dataset: Path | None, workers: int | None, as_json: bool
) -> int:
    """Make what is damaged or missing in a store anew, and only that: the same bytes as before.

    What the store holds twice is restored from itself, the rest from the raw recordings. May be
    interrupted and run again. Exit code 3 if anything is left that does not belong to the store.
    """
    from eventkit.conversion.repair import repair

    with progress("samples", "repair") as bar:
        told = repair(
            store,
            root=root,
            dataset=dataset,
            workers=workers,
            progress=lambda done, total: bar.update(done, total),
        )
    if as_json:
        print_json(told)
    else:
        for name in told["repaired"]:
            click.echo(f"{name}: repaired")
        count = len(told["repaired"])
        what = (
            f"{counted(count, 'file')} repaired in {duration(told['seconds'])}"
            if count
            else "is whole"
        )
        click.echo(f"{store}: {what}")
        for problem in told["left"]:
            click.echo(f"eventkit: {problem}; it is left alone, remove it", err=True)
    return 3 if told["left"] else 0
