"""eventkit split: split a recording, or live input, into several files."""

from typing import Any

import click

from eventkit.registry import parse_spec

from ._text import (
    DURATION,
    FROM_HELP,
    SOURCE,
    Size,
    counted,
    for_command,
    format_options,
    live,
    live_options,
    most_events,
    print_facts,
    print_json,
    progress,
)
from .translate import check_file, print_streams


@click.command("split")
@click.argument("source", metavar="IN", type=SOURCE)
@click.argument("target", metavar="OUT", type=SOURCE)
@click.option("--every", type=DURATION, metavar="TIME", help="Length of a part, e.g. 10s.")
@click.option("--events", type=int, metavar="N", help="Events of a part.")
@click.option("--size", type=Size(), metavar="BYTES", help="Size of a part, e.g. 100MB.")
@click.option("--triggers", is_flag=True, help="Begin a part at each rising trigger.")
@click.option(
    "--format", "to", metavar="SPEC",
    help="Output format, e.g. evt3.  [default: by suffix]",
)  # fmt: skip
@click.option("--from", "spec", metavar="SPEC", help=FROM_HELP)
@click.option("--tolerant", is_flag=True, help="Skip damaged data instead of failing.")
@live_options
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    source: Any,
    target: Any,
    every: int | None,
    events: int | None,
    size: int | None,
    triggers: bool,
    to: str | None,
    spec: str | None,
    tolerant: bool,
    overwrite: bool,
    as_json: bool,
    **ends: Any,
) -> None:
    """Split the recording IN into parts: OUT part.aedat4 gives part_000.aedat4, part_001.aedat4.

    Give one of --every, --events, --size and --triggers. Each part appears when it is complete,
    and has every stream that its format can hold. With --size, a part ends with the chunk of
    events that reaches the size.

    IN may be live input (-, udp://HOST:PORT, or a growing file with --follow): a capture is then
    divided into files, the last of which is complete when the capture ends.
    """
    from eventkit.editing import Rule, split

    given = [every is not None, events is not None, size is not None, triggers]
    if sum(given) != 1:
        raise click.UsageError("give one of --every, --events, --size and --triggers")
    name, writing = parse_spec(to) if to else (None, {})
    reading = format_options(spec)
    with progress("events", "split") as bar, live(source, **ends) as until:
        total = most_events(source, reading.get("format"))
        ledger = split(
            source,
            check_file(target),
            Rule(every, events, size, triggers),
            to=name,
            writing=writing,
            strict=not tolerant,
            overwrite=overwrite,
            progress=lambda done: bar.update(done, total),
            **reading,
            **until,
        )
    ledger["warnings"] = [for_command(note) for note in ledger["warnings"]]
    if as_json:
        return print_json(ledger)
    for part in ledger["files"]:
        click.echo(f"{part['path']}  {counted(part['events'], 'event')}")
    print_facts(
        {
            "written": f"{counted(len(ledger['files']), 'file')} ({ledger['format']})",
            "events": f"{ledger['read']:,}",
            **print_streams(ledger["streams"]),
            **{f"not events, {name}": f"{n:,}" for name, n in ledger["counts"].items()},
            **{f"not copied, {name}": f"{n:,}" for name, n in ledger["not_copied"].items()},
        }
    )
    for warning in ledger["warnings"]:
        click.echo(f"warning: {warning}")
    return None
