"""Bytes <-> chunks of Events: one module per file format, found by scanning this folder."""

import inspect
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from eventkit._write import whole
from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events, expect
from eventkit.formats import _packed
from eventkit.formats._packed import is_packed, plain_file, refuse_packed, suffix_within
from eventkit.registry import Registry, bind, unknown

CHUNK = 1_000_000
HEAD = 65536
LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
# What writers advise where a format cannot hold the events.
FIRST = "t0=first subtracts the first time"
CROP = "the transform crop:width=W,height=H makes the sensor smaller"


@dataclass
class Report:
    """What a reader met beside the events it returned: nothing is dropped without a count.

    counts has what was left out, by name; notes are sentences for a person; crc32c is that of the
    whole file, where the reader went through all of it; span is its first and last time (µs), where
    an index knows them though only a window was read. A reader may spare itself that sum where
    checksum is False, as when nobody gave a report. Of a live recording, format and bytes are what
    it was and how many came.
    """

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    crc32c: int | None = None
    span: tuple[int, int] | None = None
    checksum: bool = True
    format: str | None = None
    bytes: int = 0


@dataclass(frozen=True)
class Format:
    """One file format: functions of a path, no state.

    stream(path, report, into, *, chunk, start, stop, strict, **options) yields the events with
    start <= t < stop in file order, at most `chunk` at a time, and at least one (maybe empty)
    chunk; it counts in `report` what it leaves out, and decodes into the columns `into`, of which
    it reserves what it needs anew for each chunk. Its further keyword arguments are the options
    of the format.
    write(file, chunks, **options) writes to an open binary file.
    detect(head) says whether the first 64 KiB are of this format; a format without is known by
    its suffix.
    bound(path) is an upper limit of the number of events, for exact allocation.
    header(path, **options) is what the file says of itself; its keyword arguments are those
    options of the reader without which it could not be read.
    extras has functions of a path that give what is beside the events, as triggers.
    beside(path, **options) counts by name what is in the file and not among the events, as frames:
    what the reader does not count in its report because it never looks at it.
    sized says whether the format keeps the sensor's size.
    reveals is what damage a reader is sure to find: that of single "bytes", by checksums; that of
    "blocks" (zeroed, or missing), by lengths and tables; or "nothing", as any bytes are events.
    live(feed, report, into, *, strict, **options) yields the events of a recording that is still
    being made, as its bytes come (`_live.Feed`), an empty chunk first; a format without is read
    from standard input by way of a file.
    folder is the name of the file by which a folder is known to be one recording.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    stream: Callable[..., Iterator[Events]]
    write: Callable[..., None] | None = None
    detect: Callable[[bytes], bool] | None = None
    bound: Callable[[Path], int] | None = None
    header: Callable[..., dict[str, Any]] | None = None
    extras: Mapping[str, Callable[[Path], np.ndarray]] = field(default_factory=dict)
    live: Callable[..., Iterator[Events]] | None = None
    folder: str | None = None
    beside: Callable[..., dict[str, int]] | None = None
    sized: bool = True
    reveals: Literal["bytes", "blocks", "nothing"] = "nothing"


FORMATS: Registry[Format] = Registry("file format", __name__, options=lambda entry: entry.stream)


def guess(path: str | Path) -> Format:
    """The format of a file, or of what is packed in it, by its first bytes, then by its suffix; or
    of a folder, if it is one recording.

    Raises FormatError for an unknown file or folder, OSError when it cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        if fmt := folder_format(path):
            return fmt
        raise FormatError(path, None, "is a folder; expected one recording")
    if is_packed(path):
        head = _packed.head(path, HEAD)
    else:
        with path.open("rb", buffering=0) as file:
            head = file.read(HEAD)
    return known_by(head, suffix_within(path)) or unknown_format(path, head)


def known_by(head: bytes, suffix: str) -> Format | None:
    """The format that the first bytes tell, or else the suffix."""
    by_suffix = None
    for fmt in FORMATS.values():
        if fmt.detect is None:
            by_suffix = by_suffix or (fmt if suffix in fmt.suffixes else None)
        elif fmt.detect(head):
            return fmt
    return by_suffix


def unknown_format(path: str | Path, head: bytes) -> NoReturn:
    """FormatError for a file of which neither the first bytes nor the suffix are known."""
    known = "; ".join(f"{fmt.name} ({', '.join(fmt.suffixes)})" for fmt in FORMATS.values())
    reason = f"no known format: starts with {head[:12]!r}"
    raise FormatError(path, None, reason, f"supported formats: {known}")


def stream(
    path: str | Path,
    chunk: int = CHUNK,
    *,
    start: int | None = None,
    stop: int | None = None,
    strict: bool = True,
    format: str | None = None,
    report: Report | None = None,
    into: Columns | None = None,
    **options: Any,
) -> Iterator[Events]:
    """The recording in chunks of at most `chunk` events, in file order, in bounded memory.

    At least one chunk comes, so the sensor's size is always known. Memory is used again for a
    later chunk once nobody holds the events in it; who reads many files or windows gives columns
    of its own (one per thread) as `into`, so that they share memory too. `start` and `stop` (µs)
    select start <= t < stop; strict=False returns what is sound in a damaged file; `report` is
    filled with counts.

    A .gz or .zst file is unpacked to a temporary file first, of at most `expansion` (100) times its
    bytes. A path may also be - (standard input) or udp://HOST:PORT (words of `spif`), and
    follow=True goes on at the end of a file that grows. Such a recording ends after `seconds`,
    after `idle_s` seconds without a byte, or once the function `ended` says so; a chunk of it has
    what is there.

    Raises FormatError (file, byte, reason) when the file is not what it claims to be.
    """
    asked = {"chunk": chunk, "start": start, "stop": stop, "strict": strict}
    return _stream(path, format, {**options, **asked}, report, into)


def read(
    path: str | Path,
    sort: bool = False,
    *,
    start: int | None = None,
    stop: int | None = None,
    strict: bool = True,
    format: str | None = None,
    report: Report | None = None,
    into: Columns | None = None,
    **options: Any,
) -> Events:
    """The whole recording (or start <= t < stop, in µs) in file order; sort=True sorts by time.

    Sorting is stable. The other arguments are those of `stream`.
    """
    asked = {"chunk": CHUNK, "start": start, "stop": stop, "strict": strict}
    if _is_live(path, options) or is_packed(Path(path)):
        parts = [part.copy() for part in _stream(path, format, {**options, **asked}, report, None)]
    else:
        fmt = format_of(Path(path), format)
        asked["chunk"] = CHUNK if fmt.bound is None else max(1, fmt.bound(Path(path)))
        parts = list(_stream(path, fmt.name, {**options, **asked}, report, into))
    events = parts[0] if len(parts) == 1 else Events.concat(parts)
    return events.sort() if sort else events


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
        from eventkit.formats import _live

        parts = _of_one_size([events] if isinstance(events, Events) else events)
        origin = bind(_any_writer, {"t0": options.pop("t0", "sensor")}, "spif by udp")
        _live.send(path, _from_zero(parts, **origin), format, options)
        return
    path = Path(path)
    refuse_packed(path)
    fmt = FORMATS[format] if format else _by_suffix(path)
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


def info(
    path: str | Path, *, strict: bool = True, format: str | None = None, **options: Any
) -> dict[str, Any]:
    """What a recording holds, from one streamed pass.

    Keys: path, format, bytes, size, events, t0, t1 (µs), duration_s, rate_hz, on, off, x_max,
    y_max, backward_steps, out_of_bounds, counts (what the reader left out), beside (what else the
    file holds, by name), warnings, and header: what the file says of itself. The options are those
    of `stream`.
    """
    report = Report()
    events = on = outside = backward = x_max = y_max = 0
    t0 = t1 = last = None
    asked = {"chunk": CHUNK, "start": None, "stop": None, "strict": strict}
    for part in _stream(path, format, {**asked, **options}, report, None):
        size = part.size
        if not len(part):
            continue
        events += len(part)
        on += int(np.count_nonzero(part.p))
        outside += part.out_of_bounds
        backward += part.backward_steps + (last is not None and int(part.t[0]) < last)
        last = int(part.t[-1])
        low, high = int(part.t.min()), int(part.t.max())
        t0 = low if t0 is None else min(t0, low)
        t1 = high if t1 is None else max(t1, high)
        x_max, y_max = max(x_max, int(part.x.max())), max(y_max, int(part.y.max()))
    warnings = list(report.notes)
    if not events:
        warnings.append("no events")
    if outside:
        warnings.append(f"{outside:,} of {events:,} events lie outside {size[0]}x{size[1]}")
    if backward:
        warnings.append(f"backward steps of time: {backward:,}; read(sort=True) sorts")
    seconds = 0.0 if t0 is None or t1 is None else (t1 - t0) / 1e6
    fmt = None if _is_live(path, options) else format_of(Path(path), format)
    about: dict[str, Any] = {}
    if fmt is not None:
        with plain_file(Path(path), options, strict) as (plain, _):
            about = _header(fmt, plain, options)
    return {
        "path": str(path),
        "format": fmt.name if fmt else report.format,
        "bytes": size_on_disk(Path(path)) if fmt else report.bytes,
        "size": size,
        "events": events,
        "t0": t0,
        "t1": t1,
        "duration_s": seconds,
        "rate_hz": events / seconds if seconds else None,
        "on": on,
        "off": events - on,
        "x_max": x_max if events else None,
        "y_max": y_max if events else None,
        "backward_steps": backward,
        "out_of_bounds": outside,
        "counts": dict(report.counts),
        "beside": beside(path, format=fmt.name, **options) if fmt else {},
        "warnings": warnings,
        "header": about,
    }


def beside(path: str | Path, *, format: str | None = None, **options: Any) -> dict[str, int]:
    """How much of what a recording holds is not among its events, by name: {"frames": 25}.

    The options are those of the reader. What the reader meets and leaves out is in its report.
    """
    path = Path(path)
    fmt = format_of(path, format)
    if fmt.beside is None:
        return {}
    own = {key: options[key] for key in options.keys() & inspect.signature(fmt.beside).parameters}
    with plain_file(path, options, True) as (plain, _):
        return {name: n for name, n in fmt.beside(plain, **own).items() if n}


def _header(fmt: Format, path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of itself, read with those of the reader's options that matter to it."""
    if fmt.header is None:
        return {}
    taken = inspect.signature(fmt.header).parameters
    chosen = {name: value for name, value in options.items() if name in taken}
    return fmt.header(path, **(bind(fmt.header, chosen, fmt.name) if chosen else {}))


def extra(path: str | Path, name: str, *, format: str | None = None) -> np.ndarray:
    """What a recording holds beside its events, as extra(path, "triggers"): a structured array.

    Raises UnknownName when the format has nothing of that name.
    """
    path = Path(path)
    fmt = format_of(path, format)
    if name not in fmt.extras:
        raise unknown(f"extra of {fmt.name}", name, list(fmt.extras))
    with plain_file(path, {}, True) as (plain, _):
        return fmt.extras[name](plain)


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from text like 128x128 (or (128, 128), the text of a tuple).

    >>> parse_size("346x260")
    (346, 260)
    """
    match = re.fullmatch(r"\(?(\d+)(?:x|, ?)(\d+)\)?", text.strip())
    if match is None or not all(0 < int(side) <= 65536 for side in match.groups()):
        raise OptionError(f"size is {text!r}, expected width x height within 1..65536, as 128x128")
    return int(match[1]), int(match[2])


def limits(start: int | None, stop: int | None) -> tuple[int, int]:
    """A window of time as two numbers of 64 bits, where None is no limit."""
    low = LOWEST if start is None else min(max(start, LOWEST), HIGHEST)
    high = HIGHEST if stop is None else min(max(stop, LOWEST), HIGHEST)
    return low, high


def fill(fd: int, buffer: np.ndarray, offset: int) -> int:
    """Read bytes of a file into a uint8 array, from a byte offset on, and say how many there were.

    Fewer than fit come only at the end of the file. Files are read, never mapped: one that is cut
    while it is mapped kills the process.
    """
    n = 0
    while n < len(buffer) and (got := os.preadv(fd, [buffer[n:].data], offset + n)):
        n += got
    return n


def _unpacked_stream(
    path: Path, format: str | None, asked: dict[str, Any], report: Report, into: Columns | None
) -> Iterator[Events]:
    fmt = format_of(path, format)
    with plain_file(path, asked, asked["strict"]) as (plain, damage):
        if damage:
            report.notes.append(damage)
        if "expansion" not in inspect.signature(fmt.stream).parameters:
            asked.pop("expansion", None)
        yield from _stream(plain, fmt.name, asked, report, into)
    report.crc32c = None  # that of the unpacked file


def _is_live(path: str | Path, options: Mapping[str, Any]) -> bool:
    if options.get("follow"):
        return True
    return str(path) == "-" or (isinstance(path, str) and path.startswith("udp://"))


def _stream(
    path: str | Path,
    format: str | None,
    asked: dict[str, Any],
    report: Report | None,
    into: Columns | None,
) -> Iterator[Events]:
    if _is_live(path, asked):
        from eventkit.formats import _live

        return _live.stream(path, asked, format, report or Report(checksum=False), into)
    path = Path(path)
    if is_packed(path):
        return _unpacked_stream(path, format, asked, report or Report(checksum=False), into)
    fmt = format_of(path, format)
    asked.pop("follow", None)
    bound = bind(fmt.stream, asked, fmt.name)
    if bound["chunk"] < 1:
        raise OptionError(f"chunk is {bound['chunk']}, expected at least 1")
    report = Report(checksum=False) if report is None else report
    return fmt.stream(path, report, into or Columns(), **bound)


def format_of(path: Path, name: str | None) -> Format:
    """The format named, or that of the file, which must be one and not be empty."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return guess(path)
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(path, None, "is a pipe or a device; expected a file")
    if not status.st_size:
        raise FormatError(path, None, "the file is empty; expected a recording")
    return FORMATS[name] if name else guess(path)


def folder_format(path: Path) -> Format | None:
    """The format of a folder that is one recording."""
    named = (fmt for fmt in FORMATS.values() if fmt.folder and (path / fmt.folder).is_file())
    return next(named, None)


def size_on_disk(path: Path) -> int:
    """Bytes of a recording, which may be a folder of files."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def _of_one_size(chunks: Iterable[Events]) -> Iterator[Events]:
    size = None
    for events in chunks:
        size = size or events.size
        if events.size != size:
            raise OptionError(f"chunks of one recording have the sizes {size} and {events.size}")
        yield events


def _by_suffix(path: Path) -> Format:
    for fmt in FORMATS.values():
        if fmt.write is not None and path.suffix.lower() in fmt.suffixes:
            return fmt
    writable = ", ".join(sorted({s for f in FORMATS.values() if f.write for s in f.suffixes}))
    raise OptionError(
        f"{path}: no writable format has the suffix {path.suffix!r}; use one of {writable} "
        "or name the format"
    )
