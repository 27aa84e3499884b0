"""eventkit doctor: check a recording for damage and noise, and write a cleaned copy."""

import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from eventkit._write import check_target
from eventkit.registry import parse_spec

from ._text import (
    FROM_HELP,
    PATH,
    duration,
    for_command,
    format_options,
    most_events,
    number,
    print_facts,
    print_json,
    progress,
    size,
)
from .translate import print_streams

MARKS = {"ok": "ok      ", "note": "note    ", "warning": "warning ", "damage": "DAMAGE  "}


@click.command("doctor")
@click.argument("file", type=PATH, required=False)
@click.option("--repair", "out", type=PATH, metavar="OUT", help="Write a cleaned copy to OUT.")
@click.option("--html", type=PATH, metavar="PAGE", help="Write the findings as a page too.")
@click.option("--from", "spec", metavar="SPEC", help=FROM_HELP)
@click.option(
    "--format", "to", metavar="SPEC",
    help="Format of the copy, e.g. evt3:t0=first.  [default: by suffix]",
)  # fmt: skip
@click.option(
    "--dropped", type=PATH, metavar="FILE",
    help="With --repair: write what was dropped, and where, to a JSON FILE.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace OUT or PAGE if it exists.")
@click.option("--warm", is_flag=True, help="Precompile all kernels, e.g. for cluster jobs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    file: Path | None,
    out: Path | None,
    html: Path | None,
    spec: str | None,
    to: str | None,
    dropped: Path | None,
    overwrite: bool,
    warm: bool,
    as_json: bool,
) -> int:
    """Check the recording FILE for damage, unsorted times, gaps, hot pixels and flicker.

    Every finding is reported with advice. The exit code is 0 if the file is undamaged and 3 if it
    is damaged. With --repair, a copy is written that contains the readable events on the sensor,
    sorted by time; the exit code is then 0 if the copy is clean.

    With --warm and without FILE, all kernels are compiled into Numba's cache. On a cluster, run
    this once with NUMBA_CACHE_DIR on a shared disk, so that no job has to compile.
    """
    if warm:
        if file is not None:
            raise click.UsageError("--warm takes no FILE")
        return _warm(as_json)
    if file is None:
        raise click.UsageError("Missing argument 'FILE'")
    if html is not None:
        if out is not None:
            raise click.UsageError("--html shows the findings; it goes without --repair")
        check_target(html, overwrite, file)
    if out is None and (to or dropped or (overwrite and html is None)):
        option = "--format" if to else "--dropped" if dropped else "--overwrite"
        raise click.UsageError(
            f"{option} applies to the copy and requires --repair OUT; "
            "use --from SPEC for the input format"
        )
    return (
        _repair(file, out, spec, to, dropped, overwrite, as_json)
        if out
        else _examine(file, spec, html, as_json)
    )


def _examine(file: Path, spec: str | None, html: Path | None, as_json: bool) -> int:
    from eventkit import doctor, formats, pages
    from eventkit.pages.doctor import data

    with progress("events", "examine") as bar:
        how = format_options(spec)
        total = most_events(file, how.get("format"))
        facts = doctor.examine(file, progress=lambda done: bar.update(done, total), **how)
    _name_options(facts)
    if html is not None:
        chunks = formats.stream(file, strict=facts["damage"] is None, **how)
        pages.write(html, "doctor", file.name, data(facts, chunks))
    if as_json:
        print_json(facts)
    else:
        print_facts(_readable(facts))
        click.echo()
        _print_findings(facts["findings"])
        if html is not None:
            click.echo(f"\npage: {html}; open it in a browser")
    return 3 if facts["level"] == "damage" else 0


def _repair(
    file: Path,
    out: Path,
    spec: str | None,
    to: str | None,
    dropped: Path | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    from eventkit import doctor
    from eventkit._write import check_target, replace

    if dropped is not None:
        check_target(dropped, overwrite, file)
    name, writing = parse_spec(to) if to else (None, {})
    how = format_options(spec)
    with progress("events", "repair") as bar:
        total = most_events(file, how.get("format"))
        ledger = doctor.repair(
            file,
            out,
            to=name,
            writing=writing,
            overwrite=overwrite,
            progress=lambda done: bar.update(done, total),
            **how,
        )
    ledger["notes"] = [for_command(note) for note in ledger["notes"]]
    if dropped is not None:
        facts = {key: ledger[key] for key in ("path", "out", "read", "written", "dropped")}
        listed = {**facts, "counts": ledger["counts"], "places": ledger["places"]}
        replace(dropped, (json.dumps(listed, indent=1) + "\n").encode())
    _name_options(ledger["before"])
    _name_options(ledger["after"])
    if as_json:
        print_json(ledger)
    else:
        _print_ledger(ledger)
    return 0 if ledger["clean"] else 3


def _warm(as_json: bool) -> int:
    from eventkit.doctor.ahead import warm

    began = time.perf_counter()
    done = warm()
    if find_spec("torch") is not None:
        from eventkit.snn.ahead import warm as warm_neurons

        done += warm_neurons()
    elif not as_json:
        click.echo("torch is not installed: neuron kernels are skipped")
    seconds = time.perf_counter() - began
    if as_json:
        print_json({"seconds": seconds, "compiled": done})
    else:
        click.echo(f"compiled in {duration(seconds)}: {', '.join(done)}")
    return 0


def _readable(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts as readable text."""
    shown = {
        "file": f"{facts['path']} ({size(facts['bytes'])})",
        "format": facts["format"],
        "sensor": "{}x{}".format(*facts["size"]),
        "events": f"{facts['events']:,}",
    }
    if not facts["events"]:
        return shown
    rates, first = facts["rates"], facts["t0"]
    shown["time"] = f"{first:,} to {facts['t1']:,} µs ({duration(facts['duration_s'])})"
    if rates["mean_hz"]:
        shown["mean rate"] = f"{number(rates['mean_hz'])} events/s"
    if rates["peak_hz"]:
        shown["peak rate"] = (
            f"{number(rates['peak_hz'])} events/s in the 10 ms from t = {rates['peak_t']:,} µs"
        )
    if facts["duration_s"] > 1:
        shown["busiest second"] = (
            f"{rates['busiest_second']:,} events from t = {rates['busiest_second_t']:,} µs"
        )
    if facts["gaps"]:
        shown["longest gaps"] = ", ".join(
            f"{duration(gap['length'] / 1e6)} at t = {gap['t']:,} µs" for gap in facts["gaps"][:3]
        )
    return shown


def _name_options(facts: dict[str, Any]) -> None:
    """Name the options of the command in the findings, instead of arguments of the library."""
    facts["findings"] = [
        {key: for_command(text) for key, text in finding.items()} for finding in facts["findings"]
    ]


def _print_findings(findings: list[dict[str, str]]) -> None:
    for finding in findings:
        click.echo(f"{MARKS[finding['level']]}{finding['name']}: {finding['found']}")
        if finding["advice"]:
            click.echo(f"{'':8}-> {finding['advice']}")


def _print_ledger(ledger: dict[str, Any]) -> None:
    counts = {f"skipped by reader, {name}": f"{n:,}" for name, n in ledger["counts"].items()}
    steps = ledger["sorted"]
    print_facts(
        {
            "copy": f"{ledger['out']} ({ledger['format']})",
            **counts,
            "read": f"{ledger['read']:,} events",
            **{f"dropped, {name}": f"{n:,}" for name, n in ledger["dropped"].items() if n},
            "sorted": f"{steps:,} backward steps removed" if steps else None,
            "written": f"{ledger['written']:,} events",
            **print_streams(ledger["streams"]),
            **{f"not copied, {name}": f"{n:,}" for name, n in ledger["not_copied"].items()},
        }
    )
    for note in ledger["notes"]:
        click.echo(f"note: {note}")
    if ledger["clean"]:
        click.echo("checked the copy: undamaged, sorted, all events on the sensor")
        return
    click.echo("the copy is not clean")
    _print_findings([one for one in ledger["after"]["findings"] if one["level"] != "ok"])
