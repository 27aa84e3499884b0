"""eventkit info: what a recording holds."""

from pathlib import Path
from typing import Any

import click

from eventkit import formats
from eventkit.errors import OptionError

from ._text import (
    FORMAT_HELP,
    PATH,
    duration,
    format_options,
    number,
    print_facts,
    print_json,
    size,
)


@click.command("info")
@click.argument("file", type=PATH)
@click.option("--format", "spec", metavar="SPEC", help=FORMAT_HELP)
@click.option("--tolerant", is_flag=True, help="Read what is sound in a damaged file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Path, spec: str | None, tolerant: bool, as_json: bool) -> None:
    """Show what the recording FILE holds: format, size, events, time, and what looks wrong.

    The whole file is read once, in bounded memory.
    """
    if file.suffix == ".zarr" or (file / "zarr.json").is_file():
        raise OptionError(f"{file}: is a store, not a recording; run: eventkit inspect {file}")
    facts = formats.info(file, strict=not tolerant, **format_options(spec))
    if as_json:
        return print_json(facts)
    print_facts(_readable(facts))
    for warning in facts["warnings"]:
        click.echo(f"warning: {warning}")
    return None


def _readable(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts as a person reads them, one line each."""
    shown = {
        "file": facts["path"],
        "format": facts["format"],
        "bytes": f"{facts['bytes']:,} ({size(facts['bytes'])})",
        "sensor": "{}x{}".format(*facts["size"]),
        "events": f"{facts['events']:,}",
    }
    if facts["events"]:
        shown |= {
            "polarity": f"{facts['on']:,} ON, {facts['off']:,} OFF",
            "time": f"{facts['t0']:,} to {facts['t1']:,} µs ({duration(facts['duration_s'])})",
            "rate": facts["rate_hz"] and f"{number(facts['rate_hz'])} events/s",
            "x, y": f"up to {facts['x_max']}, {facts['y_max']}",
        }
    counts = {name: f"{count:,}" for name, count in facts["counts"].items() if count}
    header = facts.get("header", {})
    return shown | counts | {f"header {key}": value for key, value in header.items()}
