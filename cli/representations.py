"""eventkit representations: list the representations, or show one in detail."""

import click

from eventkit.representations import REPRESENTATIONS

from ._registry import list_registry


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str | None, as_json: bool) -> None:
    """List the representations, or show one in detail."""
    list_registry(REPRESENTATIONS, lambda entry: entry.shape, name, as_json)
