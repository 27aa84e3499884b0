"""eventkit info: show the contents of a recording, or of all recordings in a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from eventkit import formats
from eventkit.errors import EventkitError, FormatError, OptionError

from ._text import (
    FROM_HELP,
    SOURCE,
    duration,
    for_command,
    format_options,
    is_store,
    live,
    live_options,
    number,
    print_facts,
    print_json,
    print_table,
    progress,
    size,
)


@click.command("info")
@click.argument("file", metavar="FILE|FOLDER", type=SOURCE)
@click.option("--from", "spec", metavar="SPEC", help=FROM_HELP)
@click.option("--tolerant", is_flag=True, help="Skip damaged data instead of failing.")
@live_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Any, spec: str | None, tolerant: bool, as_json: bool, **ends: Any) -> None:
    """Show format, sensor size, event count, duration and warnings of the recording FILE.

    The file is read once, in bounded memory; - reads standard input. For a FOLDER, a table of all
    recordings in it and its subfolders is printed, followed by the unreadable files and the
    reasons. Live input is read until --seconds, --idle or Ctrl-C.
    """
    with live(file, **ends) as until:
        return _show(file, spec, tolerant, as_json, until)


def _show(
    file: Any, spec: str | None, tolerant: bool, as_json: bool, until: dict[str, Any]
) -> None:
    if is_store(file):
        raise OptionError(f"{file} is a store, not a recording; run: eventkit inspect {file}")
    how = {"strict": not tolerant, **format_options(spec), **until}
    if isinstance(file, Path) and file.is_dir() and formats.folder_format(file) is None:
        return _folder(file, how, as_json)
    facts = formats.info(file, **how)
    facts["warnings"] = [for_command(warning) for warning in facts["warnings"]]
    if as_json:
        return print_json(facts)
    print_facts(_readable(facts))
    for warning in facts["warnings"]:
        click.echo(f"warning: {warning}")
    return None


def _folder(folder: Path, how: dict[str, Any], as_json: bool) -> None:
    """Print a table of all recordings in a folder, and why the other files cannot be read."""
    found, unread = [], {}
    paths = list(_files(folder))
    with progress("files", "info") as bar:
        for done, path in enumerate(paths):
            bar.update(done, len(paths))
            try:
                found.append({**formats.info(path, **how), "path": str(path.relative_to(folder))})
            except FormatError as error:
                unread[str(path.relative_to(folder))] = error.reason
            except (EventkitError, OSError) as error:
                unread[str(path.relative_to(folder))] = str(error)
    if not found:
        raise FormatError(folder, None, f"contains no recordings ({len(paths):,} files checked)")
    if as_json:
        print_json({"folder": str(folder), "recordings": found, "unreadable": unread})
        return
    head = ["file", "format", "sensor", "events", "duration", "events/s", "bytes", "warnings"]
    print_table(head, [_row(facts) for facts in found], right=" ".join(head[3:]))
    click.echo(
        f"\n{len(found):,} recordings, {number(sum(facts['events'] for facts in found))} events, "
        f"{size(sum(facts['bytes'] for facts in found))}"
    )
    for name, reason in unread.items():
        click.echo(f"unreadable: {name}: {for_command(reason)}")


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and its subfolders, sorted; hidden files and stores are skipped."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_dir() or formats.folder_format(path) is not None:
            yield path
        elif not (path / "zarr.json").is_file() and not path.is_symlink():  # links may form cycles
            yield from _files(path)


def _row(facts: dict[str, Any]) -> list[str]:
    return [
        facts["path"],
        facts["format"],
        "{}x{}".format(*facts["size"]),
        f"{facts['events']:,}",
        duration(facts["duration_s"]),
        number(facts["rate_hz"]) if facts["rate_hz"] else "",
        size(facts["bytes"]),
        str(len(facts["warnings"])),
    ]


def _readable(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts as readable text, one line each."""
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
            "maximum x, y": f"{facts['x_max']}, {facts['y_max']}",
        }
    other = {**facts["counts"], **{f"also, {name}": n for name, n in facts["also"].items()}}
    counts = {name: f"{count:,}" for name, count in other.items() if count}
    header = facts.get("header", {})
    return shown | counts | {f"header {key}": value for key, value in header.items()}
