"""eventkit repair: rebuild the damaged parts of a store."""

from pathlib import Path

import click

from ._text import PATH, ROOT_HELP, STORE, counted, duration, print_json, progress


@click.command()
@click.argument("store", type=STORE)
@click.option("--root", type=PATH, help=ROOT_HELP)
@click.option(
    "--dataset",
    type=PATH,
    metavar="TOML|FOLDER",
    help="Dataset description or folder it was converted from, if not a known dataset.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Number of threads.  [default: CPU count]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    store: Path, root: Path | None, dataset: Path | None, workers: int | None, as_json: bool
) -> int:
    """Rebuild the damaged or missing parts of a store, byte for byte as they were.

    Redundant data is restored from the store itself, the rest is converted again from the raw
    recordings. An interrupted repair can be run again. The exit code is 3 if files remain that do
    not belong to the store.
    """
    from eventkit.conversion.repair import repair

    with progress("samples", "repair") as bar:
        summary = repair(
            store,
            root=root,
            dataset=dataset,
            workers=workers,
            progress=lambda done, total: bar.update(done, total),
        )
    if as_json:
        print_json(summary)
    else:
        for name in summary["repaired"]:
            click.echo(f"{name}: repaired")
        count = len(summary["repaired"])
        what = (
            f"{counted(count, 'file')} repaired in {duration(summary['seconds'])}"
            if count
            else "is undamaged"
        )
        click.echo(f"{store}: {what}")
        for problem in summary["left"]:
            click.echo(f"eventkit: {problem}; left unchanged, remove it by hand", err=True)
    return 3 if summary["left"] else 0
