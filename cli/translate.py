"""eventkit translate: convert a recording to another file format."""

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
    for_command,
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
@click.option(
    "--format", "to", metavar="SPEC",
    help="Output format, e.g. es:t0=first.  [default: by suffix]",
)  # fmt: skip
@click.option("--from", "spec", metavar="SPEC", help=FROM_HELP)
@click.option("--start", type=DURATION, help="Start time, from the first event, e.g. 50ms.")
@click.option("--stop", type=DURATION, help="Stop time (exclusive), from the first event.")
@click.option(
    "--transform", "transforms", multiple=True, metavar="SPEC",
    help="Event transform, e.g. crop:width=64; repeatable, applied in order.",
)  # fmt: skip
@click.option("--tolerant", is_flag=True, help="Skip damaged data instead of failing.")
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
    """Convert the recording IN to the file OUT in another format, in bounded memory.

    OUT appears only when it is complete. Events that the format cannot represent (time too large,
    coordinate too large, unsorted times) are an error. --format NAME:t0=first subtracts the first
    time; --transform crop:width=W,height=H reduces the sensor size; eventkit doctor --repair sorts
    by time and drops events outside the sensor.

    IN may be live input: - (standard input), udp://HOST:PORT, or a growing file with --follow. It
    is read until --seconds, --idle or Ctrl-C. OUT may be udp://HOST:PORT; --format spif:speed=1
    sends the events in real time.
    """
    from eventkit import formats
    from eventkit._write import check_target
    from eventkit.doctor.losses import losses

    in_order(start, stop)
    sent = str(target).startswith("udp://")
    if not sent:
        if target == "-":
            raise click.UsageError("OUT must be a file or udp://HOST:PORT, not standard output")
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
    not_copied: dict[str, int] = {}
    if not (until or sent):
        not_copied, notes = losses(source, target, to_format, tally["size"], _reading(how))
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
        "not_copied": not_copied,
        "warnings": [for_command(note) for note in report.notes],
    }
    if as_json:
        return print_json(ledger)
    return _print(ledger)


def _reading(how: dict[str, Any]) -> dict[str, Any]:
    """The format and its options, without `strict`."""
    return {key: value for key, value in how.items() if key != "strict"}


def _change(specs: tuple[str, ...]) -> Callable[[Any], Any]:
    """A function that applies all transforms; call it with the chunks in order."""
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
    """Yield the transformed chunks; a chunk counts as written when the next is requested."""
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
            f"{ledger['left_out']:,} dropped",
            **{f"not events, {name}": f"{n:,}" for name, n in ledger["counts"].items()},
            **{f"not copied, {name}": f"{n:,}" for name, n in ledger["not_copied"].items()},
        }
    )
    for warning in ledger["warnings"]:
        click.echo(f"warning: {warning}")
