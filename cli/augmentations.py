"""eventkit augmentations: list the augmentations, or show one in detail."""

import click

from eventkit.augment import AUGMENTATIONS

from ._registry import list_registry


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str | None, as_json: bool) -> None:
    """List the augmentations, or show one in detail."""
    list_registry(
        AUGMENTATIONS, lambda entry: entry.apply, name, as_json, lambda entry: {"on": entry.on}
    )
