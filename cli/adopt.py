"""eventkit adopt: archives and folders that are on the disk become a dataset's data."""

from pathlib import Path

import click

from ._text import PATH, print_json, progress
from .fetch import print_summary, watch


@click.command()
@click.argument("name", metavar="NAME|TOML")
@click.argument("sources", metavar="ARCHIVE|FOLDER...", nargs=-1, required=True, type=PATH)
@click.option("--root", type=PATH, help="Where to put it [$EVENTKIT_DATA/NAME or data/NAME].")
@click.option("--copy", is_flag=True, help="Copy a folder instead of linking to it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    name: str, sources: tuple[Path, ...], root: Path | None, copy: bool, as_json: bool
) -> None:
    """Use archives that were downloaded by hand, or a folder that another library made.

    Archives are checked and unpacked, a folder is linked to: SpikingJelly's and Tonic's folders are
    recognised. What was there stays as it is.
    """
    from eventkit.fetch import adopt

    with progress("B", "adopt") as bar:
        told = adopt(name, list(sources), root=root, copy=copy, progress=watch(bar))
    if as_json:
        print_json(told)
    else:
        print_summary(told)
