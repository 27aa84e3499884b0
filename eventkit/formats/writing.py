"""Events -> recordings."""

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eventkit._write import whole
from eventkit.errors import OptionError
from eventkit.events import Events, expect
from eventkit.formats._packed import refuse_packed
from eventkit.formats.base import FORMATS, Format
from eventkit.formats.live import feed
from eventkit.formats.recognise import written_as
from eventkit.formats.tracks import Packet, Track, merged, of
from eventkit.registry import bind

Content = np.ndarray | Iterable[np.ndarray] | Track


def write(
    path: str | Path,
    events: Events | Iterable[Events],
    format: str | None = None,
    *,
    streams: Mapping[str, Content] | None = None,
    fields: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Write events, or chunks of them, in the format named or that of the suffix.

    `streams` are what is written with them, by name: frames, imu, triggers, or those with a number
    (imu_2), as structured arrays (`eventkit.formats.tracks`), iterables of such arrays in the order
    of time, or tracks of a `Recording`. `fields` are texts for the header of formats that have one.
    t0="first" subtracts the time of the first event from all times, for formats that cannot hold
    those of a clock; the other options are those of the format.
    The file appears under its name only when it is complete, in place of a regular file that was
    there. The path - is standard output. A path udp://HOST:PORT sends the events as words of
    `spif`, with speed=1 at the pace of their times, with times=False without them. Raises
    OptionError when the format cannot hold the events or streams, or something else than a file is
    there.
    """
    parts = iter([events] if isinstance(events, Events) else events)
    if isinstance(path, str) and path.startswith("udp://"):
        if streams:
            raise OptionError(f"words of spif hold no {', '.join(streams)}")
        origin = bind(_any_writer, {"t0": options.pop("t0", "sensor")}, "spif by udp")
        feed.send(path, _from_zero(_of_one_size(parts), **origin), format, options)
        return
    out = None if str(path) == "-" else Path(path)
    if out is not None:
        refuse_packed(out)
    elif format is None:
        raise OptionError("standard output has no suffix: give the format")
    fmt = FORMATS[format] if format else written_as(Path(path))
    encode = writer(fmt.name, options, streams or {}, fields or {})
    first = next(parts, None)
    if first is None:
        raise OptionError("no events to write: give at least one (maybe empty) chunk")
    expect(first)
    if out is None:
        _to_output(fmt, encode, chain([first], parts))
        return
    with whole(out) as temporary, temporary.open("xb") as file:
        encode(file, chain([first], parts))


class _Pipe:
    """Standard output, for writers that append only: bytes, whatever `sys.stdout` is."""

    def __init__(self, file: Any) -> None:
        self._file, self._n = file, 0

    def write(self, data: Any) -> int:
        self._file.write(data)
        self._n += (n := memoryview(data).nbytes)
        return n

    def tell(self) -> int:
        return self._n


def _to_output(fmt: Format, encode: Callable[[Any, Any], None], chunks: Iterable[Events]) -> None:
    """Write to standard output: as the chunks come, or once the file is complete."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "wb") as out:
        if fmt.appends:
            encode(_Pipe(out), chunks)
            return
        with tempfile.NamedTemporaryFile(suffix=fmt.suffixes[0]) as file:
            encode(file, chunks)
            file.flush()
            with Path(file.name).open("rb") as complete:
                shutil.copyfileobj(complete, out)


def writer(
    name: str,
    options: Mapping[str, Any],
    streams: Mapping[str, Content] | None = None,
    fields: Mapping[str, str] | None = None,
) -> Callable[[Any, Iterable[Events]], None]:
    """The writer of a format with all its options: call it with an open binary file and chunks.

    Raises OptionError for a format that cannot be written, or cannot hold one of the streams, and
    for a wrong option.
    """
    own = {key: value for key, value in options.items() if key != "t0"}
    shared = {key: value for key, value in options.items() if key == "t0"}
    tracks = [of(key, value) for key, value in (streams or {}).items()]
    encode = encoder(name, own, tracks, fields or {})
    origin, fmt = bind(_any_writer, shared, name), FORMATS[name]

    def write_all(file: Any, chunks: Iterable[Events]) -> None:
        parts = _of_one_size(chunks)
        if not tracks:
            return encode(file, _from_zero(parts, **origin))
        by = 0
        if origin["t0"] == "first":
            parts, by = _begun(parts)
        moved = (replace(part, t=part.t - by) if by else part for part in parts)
        sides = [track.adapted(fmt.holds[track.kind]).shifted(-by) for track in tracks]
        return encode(file, merged(moved, sides, fmt.exact))

    return write_all


def encoder(
    name: str, options: Mapping[str, Any], tracks: Sequence[Track], fields: Mapping[str, str]
) -> Callable[[Any, Iterable[Events | Packet]], None]:
    """As `writer`, but what is written has Packets of the tracks where they belong."""
    fmt = FORMATS[name]
    if fmt.write is None:
        raise OptionError(f"{fmt.name} can be read but not written")
    bound = bind(fmt.write, options, fmt.name)
    for track in tracks:
        if track.kind not in fmt.holds:
            able = [entry.name for entry in FORMATS.values() if track.kind in entry.holds]
            hint = f"; {', '.join(able)} can" if able else ""
            raise OptionError(f"{fmt.name} cannot hold {track.name}{hint}")
    if fmt.heading:
        bound["_header"] = dict(fields)
    if tracks:
        bound["_tracks"] = list(tracks)
    return functools.partial(_encode, fmt.write, bound)


def _encode(
    write: Callable[..., None],
    bound: Mapping[str, Any],
    file: Any,
    items: Iterable[Events | Packet],
) -> None:
    write(file, items, **bound)


def _begun(chunks: Iterator[Events]) -> tuple[Iterator[Events], int]:
    """The chunks, and the time of the first event in them (0: none)."""
    head: list[Events] = []
    for events in chunks:
        head.append(events.copy())
        if len(events):
            break
    first = int(head[-1].t[0]) if head and len(head[-1]) else 0
    return chain(head, chunks), first


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
