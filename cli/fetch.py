"""eventkit fetch: download, verify and unpack a dataset."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ._text import (
    PATH,
    ROOT_HELP,
    Bar,
    duration,
    for_command,
    print_facts,
    print_json,
    print_table,
    progress,
    size,
)


@click.command()
@click.argument("name", metavar="NAME|TOML")
@click.option("--root", type=PATH, help=ROOT_HELP)
@click.option("--keep", is_flag=True, help="Keep the archives after unpacking.")
@click.option("--dry-run", is_flag=True, help="Show what would be downloaded, and stop.")
@click.option(
    "--accept-license", "accept", is_flag=True, help="Accept the terms of the dataset, once."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    name: str, root: Path | None, keep: bool, dry_run: bool, accept: bool, as_json: bool
) -> None:
    """Download, verify and unpack the files of a dataset.

    NAME is a known dataset (see eventkit datasets) or the path of a dataset description in TOML.
    Run the same command again to resume an interrupted download. If files can only be downloaded
    in a browser, the steps are printed and the exit code is 4.
    """
    from eventkit.fetch import fetch

    with progress("B", "fetch") as bar, resumable():
        summary = fetch(
            name, root=root, keep=keep, dry_run=dry_run, accept=accept, progress=watch(bar)
        )
    if as_json:
        print_json(summary)
    elif dry_run:
        _print_plan(summary)
    else:
        print_summary(summary)


@contextmanager
def resumable() -> Iterator[None]:
    """On Ctrl-C, report that the download can be resumed."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "downloaded data is kept; run the same command again to resume"
        ) from None


def watch(bar: Bar) -> Callable[[str, int, int | None], None]:
    """A progress function that shows the bytes of the current file on a bar."""
    return lambda label, done, total: bar.update(done, total, label)


def print_summary(summary: dict[str, Any]) -> None:
    """Print where the data is and how many samples it has."""
    samples = ", ".join(f"{count:,} {split}" for split, count in summary["samples"].items())
    fetched = summary.get("fetched_bytes")
    print_facts(
        {
            "dataset": summary["dataset"],
            "data": summary["root"],
            "used": ", ".join(summary.get("taken", [])),
            "samples": samples,
            "downloaded": size(fetched) if fetched else None,
            "time": summary.get("note") or duration(summary["seconds"]),
        }
    )
    for warning in summary["warnings"]:
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
            "required": f"about {size(plan['needed_bytes'])}"
            if plan["needed_bytes"]
            else "unknown",
            "free": size(plan["free_bytes"]),
        }
    )
    if plan["steps"]:
        click.echo(f"\n{for_command(plan['steps'])}")
