"""eventkit report: one page about a store."""

from pathlib import Path
from typing import Any

import click

from ._text import PATH, STORE, counted, print_facts, print_json


@click.command()
@click.argument("store", type=STORE)
@click.option("--out", type=PATH, default="report.html", show_default=True, help="HTML page.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Number of samples whose pixels are read, of all splits and classes.",
)
@click.option("--overwrite", is_flag=True, help="Replace the page if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: Any, out: Path, samples: int, overwrite: bool, as_json: bool) -> None:
    """Write one page about STORE: classes, rates, durations, samples, outliers, duplicates.

    Counts and checksums are compared over all samples; density, polarity and pictures come from
    the number of samples given. The page needs no network and no other file.
    """
    from eventkit import pages
    from eventkit._write import check_target
    from eventkit.pages import report
    from eventkit.store import open

    check_target(out, overwrite)
    opened = open(store)
    found = report.data(opened, samples=samples)
    pages.write(out, "report", opened.path.name, found)
    duplicates = found["duplicates"]
    facts = {
        "page": str(out),
        "samples": found["samples"],
        "read": found["read"],
        "empty": sum(found["empty"].values()),
        "outliers": found["outliers"]["found"],
        "duplicates": {key: duplicates[key] for key in ("across", "within")},
        "shared_sources": duplicates["shared"],
    }
    if as_json:
        print_json(facts)
        return
    across = counted(duplicates["across"], "group")
    print_facts(
        {
            "page": f"{out}; open it in a browser",
            "samples": f"{found['samples']:,}, the pixels of {found['read']:,} were read",
            "empty": f"{facts['empty']:,} samples" if facts["empty"] else None,
            "outliers": f"{facts['outliers']:,} values" if facts["outliers"] else None,
            "duplicates": f"{across} of identical samples across splits, "
            f"{duplicates['within']:,} within one"
            if duplicates["rows"]
            else "none",
        }
    )
