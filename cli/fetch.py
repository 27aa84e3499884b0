"""eventkit fetch: a dataset from the internet, checked and unpacked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ._text import PATH, Bar, duration, print_facts, print_json, print_table, progress, size


@click.command()
@click.argument("name", metavar="NAME|TOML")
@click.option("--root", type=PATH, help="Where to put it [$EVENTKIT_DATA/NAME or data/NAME].")
@click.option("--keep", is_flag=True, help="Keep the archives when they are unpacked.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--accept-license", "accept", is_flag=True, help="Accept the dataset's terms, once.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    name: str, root: Path | None, keep: bool, dry_run: bool, accept: bool, as_json: bool
) -> None:
    """Download the files of a dataset, check them and unpack them.

    An interrupted download continues when the same command is run again. What only a person can
    download is answered with the steps, and exit code 4.
    """
    from eventkit.fetch import fetch

    with progress("B", "fetch") as bar, resumable():
        told = fetch(
            name, root=root, keep=keep, dry_run=dry_run, accept=accept, progress=watch(bar)
        )
    if as_json:
        print_json(told)
    elif dry_run:
        _print_plan(told)
    else:
        print_summary(told)


@contextmanager
def resumable() -> Iterator[None]:
    """Say, on Ctrl-C, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "what is downloaded is kept; run the same command again, it continues"
        ) from None


def watch(bar: Bar) -> Callable[[str, int, int | None], None]:
    """A progress function that shows the bytes of the file at hand on a bar."""
    return lambda label, done, total: bar.update(done, total, label)


def print_summary(told: dict[str, Any]) -> None:
    """Where the data is and what it has."""
    samples = ", ".join(f"{count:,} {split}" for split, count in told["samples"].items())
    fetched = told.get("fetched_bytes")
    print_facts(
        {
            "dataset": told["dataset"],
            "data": told["root"],
            "taken": ", ".join(told.get("taken", [])),
            "samples": samples,
            "fetched": size(fetched) if fetched else None,
            "time": told.get("note") or duration(told["seconds"]),
        }
    )
    for warning in told["warnings"]:
        click.echo(f"eventkit: warning: {warning}", err=True)


def _print_plan(plan: dict[str, Any]) -> None:
    rows = [
        [f["name"], f["size"], f["md5"] or f["sha256"] or f["crc32"] or "", f["action"]]
        for f in plan["files"]
    ]
    print_table(["file", "size", "checksum", "action"], rows)
    click.echo()
    print_facts(
        {
            "dataset": plan["dataset"],
            "data": plan["root"],
            "needed": f"about {size(plan['needed_bytes'])}" if plan["needed_bytes"] else "unknown",
            "free": size(plan["free_bytes"]),
        }
    )
    if plan["steps"]:
        click.echo(f"\n{plan['steps']}")
