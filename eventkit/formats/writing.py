"""Events -> recordings."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from eventkit._write import whole
from eventkit.errors import OptionError
from eventkit.events import Events, expect
from eventkit.formats._packed import refuse_packed
from eventkit.formats.base import FORMATS
from eventkit.formats.live import feed
from eventkit.formats.recognise import written_as
from eventkit.registry import bind


def write(
    path: str | Path,
    events: Events | Iterable[Events],
    format: str | None = None,
    **options: Any,
) -> None:
    """Write events, or chunks of them, in the format named or that of the suffix.

    t0="first" subtracts the time of the first event from all times, for formats that cannot hold
    those of a clock; the other options are those of the format.
    The file appears under its name only when it is complete, in place of a regular file that was
    there. A path udp://HOST:PORT sends them as words of `spif`, with speed=1 at the pace of their
    times, with times=False without them. Raises OptionError when the format cannot hold the events
    or something else than a file is there.
    """
    if isinstance(path, str) and path.startswith("udp://"):
        parts = _of_one_size([events] if isinstance(events, Events) else events)
        origin = bind(_any_writer, {"t0": options.pop("t0", "sensor")}, "spif by udp")
        feed.send(path, _from_zero(parts, **origin), format, options)
        return
    path = Path(path)
    refuse_packed(path)
    fmt = FORMATS[format] if format else written_as(path)
    encode = writer(fmt.name, options)
    parts = iter([events] if isinstance(events, Events) else events)
    first = next(parts, None)
    if first is None:
        raise OptionError("no events to write: give at least one (maybe empty) chunk")
    expect(first)
    with whole(path) as temporary, temporary.open("xb") as file:
        encode(file, _of_one_size(chain([first], parts)))


def writer(name: str, options: Mapping[str, Any]) -> Callable[[Any, Iterable[Events]], None]:
    """The writer of a format with all its options: call it with an open binary file and chunks.

    Raises OptionError for a format that cannot be written and for a wrong option.
    """
    fmt = FORMATS[name]
    if fmt.write is None:
        raise OptionError(f"{fmt.name} can be read but not written")
    own = {key: value for key, value in options.items() if key != "t0"}
    shared = {key: value for key, value in options.items() if key == "t0"}
    bound, origin = bind(fmt.write, own, fmt.name), bind(_any_writer, shared, fmt.name)
    encode = fmt.write
    return lambda file, chunks: encode(file, _from_zero(chunks, **origin), **bound)


def _any_writer(*, t0: Literal["sensor", "first"] = "sensor") -> None:
    """The options that every writer takes."""


def _from_zero(chunks: Iterable[Events], t0: str) -> Iterator[Events]:
    """The chunks, for t0=first with the time of the first event as 0."""
    first = 0 if t0 == "sensor" else None
    for events in chunks:
        if first is None and len(events):
            first = int(events.t[0])
        yield replace(events, t=events.t - first) if first else events


def _of_one_size(chunks: Iterable[Events]) -> Iterator[Events]:
    size = None
    for events in chunks:
        size = size or events.size
        if events.size != size:
            raise OptionError(f"chunks of one recording have the sizes {size} and {events.size}")
        yield events
