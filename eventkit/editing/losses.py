"""List what a copy of a recording does not contain: everything except the events."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eventkit.errors import EventkitError
from eventkit.formats import FORMATS, Format, Recording

# Header fields that describe the file layout, not the recording.
LAYOUT = {
    *("version", "compression", "table", "packets", "elements", "type", "size", "layout"),
    *("format", "evt", "geometry", "width", "height", "topics", "data"),
}
LISTED = 4  # maximum number of lost header fields named in a note


def losses(
    recording: Recording, out: Path | None, name: str, size: tuple[int, int]
) -> tuple[dict[str, int], list[str]]:
    """What a recording contains and a copy `out` of the format `name` lacks: counts and notes.

    Streams are not among it. `size` is the sensor size; `out` is None if the copy is no file.
    """
    counts, notes = recording.beside(), []
    fields = _lost_fields(recording.header, _header(FORMATS[name], out) if out else {})
    if out is not None and fields:
        counts["header fields"] = len(fields)
        more = ", ..." if len(fields) > LISTED else ""
        notes.append(f"header fields not copied: {', '.join(fields[:LISTED])}{more}")
    if not FORMATS[name].sized:
        sides = "{}x{}".format(*size)
        notes.append(
            f"{name} does not store the sensor size: read the copy with "
            f'format="{name}", size="{sides}"'
        )
    return counts, notes


def _header(fmt: Format, path: Path) -> Mapping[str, Any]:
    try:
        return fmt.header(path) if fmt.header else {}
    except EventkitError:  # a damaged header, which the examination reports
        return {}


def _lost_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The names of header fields whose values do not appear in the other header."""
    kept = {str(value) for _, value in _facts(after)}
    return [name for name, value in _facts(before) if value and str(value) not in kept]


def _facts(header: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in header.items():
        if name in LAYOUT:
            continue
        if isinstance(value, Mapping):
            yield from ((f"{name} {inner}", fact) for inner, fact in _facts(value))
        else:
            yield name, value
