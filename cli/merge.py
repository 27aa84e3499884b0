"""eventkit merge: combine several stores into one."""

from typing import Any

import click

from ._text import STORE, duration, print_facts, print_json, progress, size


@click.command()
@click.argument("out", type=STORE)
@click.argument("stores", type=STORE, nargs=-1, required=True)
@click.option("--overwrite", is_flag=True, help="Replace an eventkit store at OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(out: Any, stores: tuple[Any, ...], overwrite: bool, as_json: bool) -> None:
    """Combine all samples of several STORES into a new store OUT, without decoding them.

    Splits of the same name are concatenated. Complete shards are hard-linked if OUT is on the same
    disk, so they take no extra space. The stores must have the same representation, transforms,
    sensor size and classes.
    """
    from eventkit.store.merge import merge

    with progress("samples", "merge") as bar:
        summary = merge(out, stores, overwrite=overwrite, progress=lambda n, of: bar.update(n, of))
    print_made(summary, as_json)


def print_made(summary: dict[str, Any], as_json: bool) -> None:
    """Print what a merge or a subset created."""
    if as_json:
        print_json(summary)
        return
    how = [f"{summary[key]:,} {what}" for key, what in _HOW.items() if summary[key]]
    print_facts(
        {
            "store": f"{summary['out']} ({size(summary['bytes'])})",
            "samples": ", ".join(f"{n:,} {split}" for split, n in summary["samples"].items()),
            "sources": ", ".join(summary["parents"]),
            "copied": ", ".join(how),
            "time": summary["note"] or duration(summary["seconds"]),
        }
    )
    for warning in summary["warnings"]:
        click.echo(f"eventkit: warning: {warning}", err=True)


_HOW = {
    "linked": "shards linked",
    "whole": "shards copied",
    "copied": "chunks copied",
    "encoded": "chunks re-encoded",
}
