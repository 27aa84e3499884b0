"""eventkit push: upload a store to the Hugging Face Hub."""

from pathlib import Path

import click

from eventkit.errors import OptionError

from ._text import PATH, print_facts, print_json, size


@click.command()
@click.argument("store", type=PATH)
@click.argument("address", metavar="hf://OWNER/NAME")
@click.option("--private", is_flag=True, help="Make the repository private, if it is new.")
@click.option("--overwrite", is_flag=True, help="Replace another store of that name.")
@click.option(
    "--accept-license", "accept", is_flag=True, help="State that you may share the dataset."
)
@click.option("--dry-run", is_flag=True, help="Verify the store, print the card, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    store: Path,
    address: str,
    private: bool,
    overwrite: bool,
    accept: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Upload STORE to a dataset repository of the Hugging Face Hub, with a card.

    The repository is made if it is missing. The root document is uploaded last, so an incomplete
    upload is not taken for a store; run the same command again to continue. Log in with `hf auth
    login` first.
    """
    from eventkit.store.push import push

    if not dry_run:
        _check_terms(store, accept)
    made = push(store, address, private=private, overwrite=overwrite, dry_run=dry_run)
    if as_json:
        print_json(made)
        return
    if dry_run:
        click.echo(made["card"])
    print_facts(
        {
            "store": made["store"],
            "repository": made["url"],
            "files": f"{made['files']:,}, {size(made['bytes'])}",
            "note": made["note"] or ("not uploaded" if dry_run else ""),
        }
    )


def _check_terms(store: Path, accept: bool) -> None:
    """Refuse a dataset whose terms must be accepted, unless the user says that it may be shared."""
    from eventkit import datasets
    from eventkit.store import Store

    name = Store(store).attributes["dataset"]
    terms = datasets.load(name).terms if name in datasets.names() else ""
    if terms and not accept:
        raise OptionError(
            f"{store}: {name} has terms ({terms}); if they let you share it, use --accept-license"
        )
