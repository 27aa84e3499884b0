"""eventkit translate: convert a recording to another file format."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from eventkit.registry import parse_spec

from ._text import (
    DURATION,
    FROM_HELP,
    NOTHING,
    PATH,
    SOURCE,
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
@click.argument("sources", metavar="IN...", type=SOURCE, nargs=-1, required=True)
@click.argument("target", metavar="OUT", type=SOURCE)
@click.option(
    "--format", "to", metavar="SPEC",
    help="Output format, e.g. es:t0=first.  [default: by suffix]",
)  # fmt: skip
@click.option("--from", "spec", metavar="SPEC", help=FROM_HELP)
@click.option("--start", type=DURATION, help="Start time, from the first event, e.g. 50ms.")
@click.option("--stop", type=DURATION, help="Stop time (exclusive), from the first event.")
@click.option("--rezero", is_flag=True, help="Subtract the time of the first event from all times.")
@click.option(
    "--transform", "transforms", multiple=True, metavar="SPEC",
    help="Event transform, e.g. crop:width=64; repeatable, applied in order.",
)  # fmt: skip
@click.option(
    "--frames", type=PATH, metavar="FOLDER",
    help="Also write the frames as PNG, with their times, to a new FOLDER.",
)  # fmt: skip
@click.option("--tolerant", is_flag=True, help="Skip damaged data instead of failing.")
@live_options
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    sources: tuple[Any, ...],
    target: Any,
    to: str | None,
    spec: str | None,
    start: int | None,
    stop: int | None,
    rezero: bool,
    transforms: tuple[str, ...],
    frames: Path | None,
    tolerant: bool,
    overwrite: bool,
    as_json: bool,
    **ends: Any,
) -> None:
    """Convert the recording IN to the file OUT in another format, in bounded memory.

    Every stream that the output format can hold is copied: frames, IMU and triggers to AEDAT 4 and
    HDF5, triggers to EVT2, EVT2.1 and EVT3. What is not copied is reported by name and count.
    Several recordings are joined in the given order, as eventkit join does.

    OUT appears only when it is complete. Events that the format cannot represent (time too large,
    coordinate too large, unsorted times) are an error. --rezero subtracts the first time;
    --transform crop:width=W,height=H reduces the sensor size; eventkit doctor --repair sorts by
    time and drops events outside the sensor.

    IN may be live input: - (standard input), udp://HOST:PORT, or a growing file with --follow. It
    is read until --seconds, --idle or Ctrl-C. OUT may be - (standard output, with --format) or
    udp://HOST:PORT; --format spif:speed=1 sends the events in real time.
    """
    in_order(start, stop)
    if frames is not None:
        from eventkit import formats
        from eventkit.editing.png import write_frames

        if len(sources) != 1 or isinstance(sources[0], str):
            raise click.UsageError("--frames needs one recorded file as IN")
        reading = format_options(spec)
        with formats.recording(sources[0], strict=not tolerant, **reading) as recording:
            write_frames(recording, frames, start=start, stop=stop)
    copy_and_report(
        "translate", sources, target, to, spec, as_json, ends,
        start=start, stop=stop, rezero=rezero, change=transforms, strict=not tolerant,
        overwrite=overwrite,
    )  # fmt: skip


def copy_and_report(
    label: str,
    sources: tuple[Any, ...],
    target: Any,
    to: str | None,
    spec: str | None,
    as_json: bool,
    ends: dict[str, Any],
    **how: Any,
) -> None:
    """Copy, with a progress bar, and print what was copied (on stderr if OUT is stdout)."""
    from eventkit.editing import copy

    if target == "-" and to is None:
        raise click.UsageError("OUT is standard output: give its format with --format")
    name, writing = parse_spec(to) if to else (None, {})
    reading = format_options(spec)
    waiting = [source for source in sources if isinstance(source, str)]
    if len(sources) > 1 and (waiting or ends.get("follow")):
        raise click.UsageError("live input cannot be joined; capture it to a file first")
    with progress("events", label) as bar, live(sources[0], **ends) as until:
        amounts = [most_events(source, reading.get("format")) for source in sources]
        total = None if None in amounts else sum(n or 0 for n in amounts)
        ledger = copy(
            list(sources),
            target,
            to=name,
            writing=writing,
            progress=lambda done: bar.update(done, total),
            **how,
            **reading,
            **until,
        )
    window = how.get("start") is not None or how.get("stop") is not None
    if not ledger["read"] and window:
        ledger["warnings"].append(NOTHING)
    ledger.pop("size")
    ledger["warnings"] = [for_command(note) for note in ledger["warnings"]]
    if target == "-":
        if as_json:
            sys.stderr.write(json.dumps(ledger, indent=2) + "\n")
        return
    print_json(ledger) if as_json else _print(ledger)


def _size(n_bytes: int | None) -> str:
    return "" if n_bytes is None else f", {size(n_bytes)}"


def print_streams(streams: dict[str, Any]) -> dict[str, str]:
    """How many rows of each stream were copied, for `print_facts`."""
    return {
        name: f"{n['written']:,}"
        if n["read"] == n["written"]
        else f"{n['read']:,} read, {n['written']:,} written"
        for name, n in streams.items()
    }


def _print(ledger: dict[str, Any]) -> None:
    print_facts(
        {
            "written": f"{ledger['out']} ({ledger['format']}{_size(ledger['bytes'])})",
            "events": f"{ledger['read']:,} read = {ledger['written']:,} written + "
            f"{ledger['left_out']:,} dropped",
            **print_streams(ledger["streams"]),
            **{f"not events, {name}": f"{n:,}" for name, n in ledger["counts"].items()},
            **{f"not copied, {name}": f"{n:,}" for name, n in ledger["not_copied"].items()},
        }
    )
    for warning in ledger["warnings"]:
        click.echo(f"warning: {warning}")


def check_file(target: Any) -> Path:
    """The target as a path; a usage error for - and addresses."""
    if isinstance(target, str):
        raise click.UsageError(f"OUT must be a file, found {target}")
    return Path(target)
