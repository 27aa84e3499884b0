"""Bytes <-> chunks of Events: one module per file format, found by scanning this folder."""

import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events, expect
from eventkit.registry import Registry, bind, unknown

CHUNK = 1_000_000
HEAD = 65536
LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1


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
    header(path) is what the file says of itself.
    extras has functions of a path that give what is beside the events, as triggers.
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
    header: Callable[[Path], dict[str, Any]] | None = None
    extras: Mapping[str, Callable[[Path], np.ndarray]] = field(default_factory=dict)
    live: Callable[..., Iterator[Events]] | None = None
    folder: str | None = None


FORMATS: Registry[Format] = Registry("file format", __name__, options=lambda entry: entry.stream)


def guess(path: str | Path) -> Format:
    """The format of a file: by its first bytes, then by its suffix.

    Raises FormatError for an unknown file, OSError when it cannot be opened.
    """
    path = Path(path)
    with path.open("rb", buffering=0) as file:
        head = file.read(HEAD)
    return known_by(head, path.suffix.lower()) or unknown_format(path, head)


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
    reason = f"no known format: starts with {head[:12]!r}; readable are {known}"
    raise FormatError(path, None, reason)


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

    A path may also be - (standard input) or udp://HOST:PORT (words of `spif`), and follow=True
    goes on at the end of a file that grows. Such a recording ends after `seconds`, after `idle_s`
    seconds without a byte, or once the function `ended` says so; a chunk of it has what is there.

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
    if _is_live(path, options):
        parts = [part.copy() for part in _stream(path, format, {**options, **asked}, report, None)]
    else:
        fmt = _format(Path(path), format)
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

    The file appears under its name only when it is complete. A path udp://HOST:PORT sends them as
    words of `spif`, with speed=1 at the pace of their times, with times=False without them. Raises
    OptionError when the format cannot hold the events.
    """
    if isinstance(path, str) and path.startswith("udp://"):
        from eventkit.formats import _live

        parts = _of_one_size([events] if isinstance(events, Events) else events)
        return _live.send(path, parts, format, options)
    path = Path(path)
    fmt = FORMATS[format] if format else _by_suffix(path)
    if fmt.write is None:
        raise OptionError(f"{fmt.name} can be read but not written")
    bound = bind(fmt.write, options, fmt.name)
    parts = iter([events] if isinstance(events, Events) else events)
    first = next(parts, None)
    if first is None:
        raise OptionError("no events to write: give at least one (maybe empty) chunk")
    expect(first)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            fmt.write(file, _of_one_size(chain([first], parts)), **bound)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def info(
    path: str | Path, *, strict: bool = True, format: str | None = None, **options: Any
) -> dict[str, Any]:
    """What a recording holds, from one streamed pass.

    Keys: path, format, bytes, size, events, t0, t1 (µs), duration_s, rate_hz, on, off, x_max,
    y_max, backward_steps, out_of_bounds, counts (what the reader left out), warnings, and header:
    what the file says of itself. The options are those of `stream`.
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
    fmt = None if _is_live(path, options) else _format(Path(path), format)
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
        "warnings": warnings,
        "header": fmt.header(Path(path)) if fmt and fmt.header else {},
    }


def extra(path: str | Path, name: str, *, format: str | None = None) -> np.ndarray:
    """What a recording holds beside its events, as extra(path, "triggers"): a structured array.

    Raises UnknownName when the format has nothing of that name.
    """
    path = Path(path)
    fmt = _format(path, format)
    if name not in fmt.extras:
        raise unknown(f"extra of {fmt.name}", name, list(fmt.extras))
    return fmt.extras[name](path)


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
    fmt = _format(path, format)
    asked.pop("follow", None)
    bound = bind(fmt.stream, asked, fmt.name)
    if bound["chunk"] < 1:
        raise OptionError(f"chunk is {bound['chunk']}, expected at least 1")
    report = Report(checksum=False) if report is None else report
    return fmt.stream(path, report, into or Columns(), **bound)


def _format(path: Path, name: str | None) -> Format:
    """The format named, or that of the file, which must be one and not be empty."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        if fmt := folder_format(path):
            return fmt
        raise FormatError(path, None, "is a folder; expected one recording")
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
