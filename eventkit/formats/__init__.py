"""Bytes <-> chunks of Events: one module per file format, found by scanning this folder."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Events
from eventkit.registry import Registry, bind

CHUNK = 1_000_000
HEAD = 65536


@dataclass
class Report:
    """What a reader met beside the events it returned: nothing is dropped without a count."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Format:
    """One file format: functions of a path, no state.

    stream(path, report, *, chunk, start, stop, strict, **options) yields the events with
    start <= t < stop in file order, at most `chunk` at a time, and at least one (maybe empty)
    chunk; it counts in `report` what it leaves out. Its further keyword arguments are the options
    of the format.
    write(file, chunks, **options) writes to an open binary file.
    detect(head) says whether the first 64 KiB are of this format.
    bound(path) is an upper limit of the number of events, for exact allocation.
    header(path) is what the file says of itself.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    stream: Callable[..., Iterator[Events]]
    write: Callable[..., None] | None = None
    detect: Callable[[bytes], bool] | None = None
    bound: Callable[[Path], int] | None = None
    header: Callable[[Path], dict[str, Any]] | None = None


FORMATS: Registry[Format] = Registry("file format", __name__)


def guess(path: str | Path) -> Format:
    """The format of a file: by its first bytes, then by its suffix.

    Raises FormatError for an empty or unknown file, OSError when it cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise FormatError(path, None, "the file is empty; expected a recording")
    for fmt in FORMATS.values():
        if fmt.detect is not None and fmt.detect(head):
            return fmt
    for fmt in FORMATS.values():
        if fmt.detect is None and path.suffix.lower() in fmt.suffixes:
            return fmt
    known = "; ".join(f"{fmt.name} ({', '.join(fmt.suffixes)})" for fmt in FORMATS.values())
    raise FormatError(
        path, None, f"no known format: starts with {head[:12]!r}; readable are {known}"
    )


def stream(
    path: str | Path,
    chunk: int = CHUNK,
    *,
    start: int | None = None,
    stop: int | None = None,
    strict: bool = True,
    format: str | None = None,
    report: Report | None = None,
    **options: Any,
) -> Iterator[Events]:
    """The recording in chunks of at most `chunk` events, in file order, in bounded memory.

    At least one chunk comes, so the sensor's size is always known. Memory is used again for the
    next chunk once nobody holds the last one. `start` and `stop` (µs) select start <= t < stop;
    strict=False returns what is sound in a damaged file; `report` is filled with counts.

    Raises FormatError (file, byte, reason) when the file is not what it claims to be.
    """
    path = Path(path)
    if chunk < 1:
        raise OptionError(f"chunk is {chunk}, expected at least 1")
    if path.is_dir():
        raise FormatError(path, None, "is a folder; expected one recording")
    fmt = FORMATS[format] if format else guess(path)
    own = {"chunk", "start", "stop", "strict"}
    known = bind(fmt.stream, {**options, "chunk": chunk, "start": start, "stop": stop}, fmt.name)
    bound = {key: value for key, value in known.items() if key not in own}
    return fmt.stream(
        path,
        report if report is not None else Report(),
        chunk=chunk,
        start=start,
        stop=stop,
        strict=strict,
        **bound,
    )


def read(
    path: str | Path,
    sort: bool = False,
    *,
    start: int | None = None,
    stop: int | None = None,
    strict: bool = True,
    format: str | None = None,
    report: Report | None = None,
    **options: Any,
) -> Events:
    """The whole recording (or start <= t < stop, in µs) in file order; sort=True sorts by time.

    Sorting is stable. The other arguments are those of `stream`.
    """
    path = Path(path)
    fmt = FORMATS[format] if format or path.is_dir() else guess(path)
    chunk = CHUNK if fmt.bound is None else max(1, fmt.bound(path))
    parts = list(
        stream(
            path,
            chunk,
            start=start,
            stop=stop,
            strict=strict,
            format=fmt.name,
            report=report,
            **options,
        )
    )
    events = parts[0] if len(parts) == 1 else Events.concat(parts)
    return events.sort() if sort else events


def write(
    path: str | Path,
    events: Events | Iterable[Events],
    format: str | None = None,
    **options: Any,
) -> None:
    """Write events, or chunks of them, in the format named or that of the suffix.

    The file appears under its name only when it is complete. Raises OptionError when the format
    cannot hold the events.
    """
    path = Path(path)
    fmt = FORMATS[format] if format else _by_suffix(path)
    if fmt.write is None:
        raise OptionError(f"{fmt.name} can be read but not written")
    bound = bind(fmt.write, options, fmt.name)
    parts = iter([events] if isinstance(events, Events) else events)
    first = next(parts, None)
    if first is None:
        raise OptionError("no events to write: give at least one (maybe empty) chunk")
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            fmt.write(file, chain([first], parts), **bound)
        os.chmod(temporary, 0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def info(path: str | Path, **options: Any) -> dict[str, Any]:
    """What a recording holds, from one streamed pass.

    Keys: path, format, bytes, size, events, t0, t1 (µs), duration_s, rate_hz, on, off, x_max, y_max,
    backward_steps, out_of_bounds, counts (what the reader left out), warnings, and what the
    header says.
    """
    path = Path(path)
    report = Report()
    fmt = guess(path) if not path.is_dir() else None
    events = on = outside = backward = 0
    t0 = t1 = last = None
    x_max = y_max = 0
    size = (0, 0)
    for part in stream(path, report=report, **options):
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
    assert fmt is not None
    seconds = 0.0 if t0 is None or t1 is None else (t1 - t0) / 1e6
    warnings = list(report.notes)
    if not events:
        warnings.append("no events")
    if outside:
        warnings.append(f"{outside:,} events lie outside {size[0]}x{size[1]}")
    if backward:
        warnings.append(f"time goes back {backward:,} times; read(sort=True) sorts")
    return {
        "path": str(path),
        "format": fmt.name,
        "bytes": path.stat().st_size,
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
        **({"header": fmt.header(path)} if fmt.header else {}),
    }


def _by_suffix(path: Path) -> Format:
    for fmt in FORMATS.values():
        if fmt.write is not None and path.suffix.lower() in fmt.suffixes:
            return fmt
    writable = ", ".join(sorted({s for f in FORMATS.values() if f.write for s in f.suffixes}))
    raise OptionError(
        f"{path}: no writable format has the suffix {path.suffix!r}; use one of {writable} "
        "or name the format"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
