"""eventkit finalize: the store of what the jobs of an array have done."""

import click

from ._text import STORE, print_json
from .convert import partly, print_summary


@click.command()
@click.argument("store", type=STORE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: str, as_json: bool) -> int:
    """Finish a conversion that was done in parts, by eventkit convert --shard I/N.

    Exit code 6, and what to run again, if a part is missing; 5 while one is running.
    """
    from eventkit.conversion import finalize

    with partly(as_json, "not done") as left:
        summary = finalize(store)
    if left:
        return 6
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
    return 0
