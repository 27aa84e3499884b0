"""eventkit translate: a recording in another format."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from eventkit.registry import parse_spec

from ._text import (
    DURATION,
    FROM_HELP,
    NOTHING,
    SOURCE,
    Bar,
    format_options,
    in_order,
    live,
    live_options,
    most_events,
    print_facts,
    print_json,
    progress,
    size,
)


@click.command("translate")
@click.argument("source", metavar="IN", type=SOURCE)
@click.argument("target", metavar="OUT", type=SOURCE)
@click.option("--format", "to", metavar="SPEC", help="Format of OUT, as es:t0=first [its suffix].")
@click.option("--from", "spec", metavar="SPEC", help=FROM_HELP)
@click.option("--start", type=DURATION, help="Begin this long after the first event.")
@click.option("--stop", type=DURATION, help="End this long after the first event.")
@click.option(
    "--transform", "transforms", multiple=True, metavar="SPEC", help="As crop:width=64; repeatable."
)
@click.option("--tolerant", is_flag=True, help="Translate what is sound in a damaged file.")
@live_options
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    source: Any,
    target: Any,
    to: str | None,
    spec: str | None,
    start: int | None,
    stop: int | None,
    transforms: tuple[str, ...],
    tolerant: bool,
    overwrite: bool,
    as_json: bool,
    **ends: Any,
) -> None:
    """Write the recording IN as OUT in another format, chunk by chunk, whatever its length.

    OUT appears under its name only when it is complete. What its format cannot hold (a time, a
    coordinate, a step back) is an error that says so. --format NAME:t0=first subtracts the first
    time, --transform crop:width=W,height=H makes the sensor smaller; eventkit doctor --repair sorts
    by time and drops events outside of the sensor.

    IN may be - (standard input), udp://HOST:PORT or with --follow a file that grows; it is read
    until --seconds, --idle or Ctrl-C end it. OUT may be udp://HOST:PORT, with
    --format spif:speed=1 at the pace of the times.
    """
    from eventkit import formats
    from eventkit._write import check_target
    from eventkit.doctor.losses import losses

    in_order(start, stop)
    sent = str(target).startswith("udp://")
    if not sent:
        if target == "-":
            raise click.UsageError("OUT is a file or udp://HOST:PORT; standard output is for words")
        target = Path(target)
        check_target(target, overwrite, Path(source))
    name, writing = parse_spec(to) if to else (None, {})
    how = {"strict": not tolerant, **format_options(spec)}
    report = formats.Report(checksum=False)
    tally: dict[str, Any] = {"read": 0, "written": 0}
    with progress("events", "translate") as bar, live(source, **ends) as until:
        parts = formats.stream(source, start=start, stop=stop, report=report, **until, **how)
        total = most_events(source, how.get("format"))
        change = _change(transforms)
        formats.write(target, _counted(parts, change, tally, bar, total), name, **writing)
    if not tally["read"] and (start is not None or stop is not None):
        report.notes.append(NOTHING)
    to_format = name or ("spif" if sent else formats.guess(target).name)
    beside: dict[str, int] = {}
    if not (until or sent):
        beside, notes = losses(source, target, to_format, tally["size"], _reading(how))
        report.notes += notes
    ledger = {
        "path": str(source),
        "out": str(target),
        "format": to_format,
        "bytes": None if sent else target.stat().st_size,
        "read": tally["read"],
        "written": tally["written"],
        "left_out": tally["read"] - tally["written"],
        "counts": dict(report.counts),
        "beside": beside,
        "warnings": list(report.notes),
    }
    if as_json:
        return print_json(ledger)
    return _print(ledger)


def _reading(how: dict[str, Any]) -> dict[str, Any]:
    """The format and its options, without how strictly they are read."""
    return {key: value for key, value in how.items() if key != "strict"}


def _change(specs: tuple[str, ...]) -> Callable[[Any], Any]:
    """All transforms in one, to be called with the chunks in order."""
    from eventkit import transforms

    steps = [transforms.begin(*transforms.parse(spec)) for spec in specs]

    def change(events: Any) -> Any:
        for step in steps:
            events = step(events)
        return events

    return change


def _counted(
    parts: Iterable[Any],
    change: Callable[[Any], Any],
    tally: dict[str, Any],
    bar: Bar,
    total: int | None,
) -> Iterator[Any]:
    """The chunks, changed, as they come: they are written once the writer asks for more."""
    for whole in parts:
        tally["read"] += len(whole)
        events = change(whole)
        tally["size"] = events.size
        yield events
        tally["written"] += len(events)
        bar.update(tally["read"], total)


def _size(n_bytes: int | None) -> str:
    return "" if n_bytes is None else f", {size(n_bytes)}"


def _print(ledger: dict[str, Any]) -> None:
    print_facts(
        {
            "written": f"{ledger['out']} ({ledger['format']}{_size(ledger['bytes'])})",
            "events": f"{ledger['read']:,} read = {ledger['written']:,} written + "
            f"{ledger['left_out']:,} left out",
            **{f"not events, {name}": f"{n:,}" for name, n in ledger["counts"].items()},
            **{f"not copied, {name}": f"{n:,}" for name, n in ledger["beside"].items()},
        }
    )
    for warning in ledger["warnings"]:
        click.echo(f"warning: {warning}")
