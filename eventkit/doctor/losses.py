"""What a copy of a recording does not have: all that is not events."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eventkit import formats
from eventkit.errors import EventkitError
from eventkit.formats import FORMATS

# Facts of a header that say how the bytes lie, not what was recorded.
LAYOUT = {
    *("version", "compression", "table", "packets", "elements", "type", "size", "layout"),
    *("format", "evt", "geometry", "width", "height", "topics", "data"),
}
LISTED = 4  # names of lost header fields that a sentence has


def losses(
    path: Path, out: Path, name: str, size: tuple[int, int], how: Mapping[str, Any]
) -> tuple[dict[str, int], list[str]]:
    """What is in a recording and not in its copy `out` of the format `name`: counts and sentences.

    size is that of the sensor; `how` are the reader's options and its format.
    """
    counts, notes = dict(formats.beside(path, **how)), []
    before = formats.format_of(path, how.get("format"))
    fields = _lost_fields(_header(before, path), _header(FORMATS[name], out))
    if fields:
        counts["header fields"] = len(fields)
        more = ", ..." if len(fields) > LISTED else ""
        notes.append(f"header fields that were not copied: {', '.join(fields[:LISTED])}{more}")
    if not FORMATS[name].sized:
        sides = "{}x{}".format(*size)
        notes.append(
            f"{name} does not keep the sensor's size: read the copy with --from {name}:size={sides}"
        )
    return counts, notes


def _header(fmt: formats.Format, path: Path) -> Mapping[str, Any]:
    try:
        return fmt.header(path) if fmt.header else {}
    except EventkitError:  # a damaged one, which the examination tells
        return {}


def _lost_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The names of the facts of a header that are nowhere in another."""
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
