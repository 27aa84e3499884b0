"""eventkit merge: several stores as one."""

from typing import Any

import click

from ._text import STORE, duration, print_facts, print_json, progress, size


@click.command()
@click.argument("out", type=STORE)
@click.argument("stores", type=STORE, nargs=-1, required=True)
@click.option("--overwrite", is_flag=True, help="Replace an eventkit store at OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(out: Any, stores: tuple[Any, ...], overwrite: bool, as_json: bool) -> None:
    """Put all samples of several STORES into one, OUT, without decoding them.

    Splits of the same name follow one another. Whole shards are linked where OUT is on the same
    disk, so that they take no room. The stores must agree in representation, transforms, size and
    classes.
    """
    from eventkit.store.merge import merge

    with progress("samples", "merge") as bar:
        told = merge(out, stores, overwrite=overwrite, progress=lambda n, of: bar.update(n, of))
    print_made(told, as_json)


def print_made(told: dict[str, Any], as_json: bool) -> None:
    """What a merge or a subset made, and how."""
    if as_json:
        print_json(told)
        return
    how = [f"{told[key]:,} {what}" for key, what in _HOW.items() if told[key]]
    print_facts(
        {
            "store": f"{told['out']} ({size(told['bytes'])})",
            "samples": ", ".join(f"{n:,} {split}" for split, n in told["samples"].items()),
            "made of": ", ".join(told["parents"]),
            "by": ", ".join(how),
            "time": told["note"] or duration(told["seconds"]),
        }
    )
    for warning in told["warnings"]:
        click.echo(f"eventkit: warning: {warning}", err=True)


_HOW = {
    "linked": "shards linked",
    "whole": "shards copied",
    "copied": "chunks copied as they are",
    "encoded": "chunks made anew",
}
