"""eventkit finalize: complete a store that was converted in parts."""

import click

from ._text import STORE, print_json
from .convert import partly, print_summary


@click.command()
@click.argument("store", type=STORE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: str, as_json: bool) -> int:
    """Finish a conversion that ran in parts with eventkit convert --shard I/N.

    If parts are missing, the commands to run again are printed and the exit code is 6; if a part
    is still running, the exit code is 5.
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
