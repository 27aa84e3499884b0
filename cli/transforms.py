"""eventkit transforms: list the event transforms, or show one in detail."""

import click

from eventkit.transforms import TRANSFORMS

from ._registry import list_registry


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str | None, as_json: bool) -> None:
    """List the event transforms, or show one in detail."""
    list_registry(TRANSFORMS, lambda entry: entry, name, as_json)
