"""Recordings -> Events: `stream`, `read`, `info` and what is beside the events."""

import inspect
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats._packed import is_packed, plain_file
from eventkit.formats.base import CHUNK, WHOLE, Format, Report
from eventkit.formats.live import feed
from eventkit.formats.recognise import format_of
from eventkit.formats.tracks import EMPTY
from eventkit.formats.window import EVERYTHING, Clock, Time, Window, windowed
from eventkit.registry import bind, unknown


class Stream(Iterator[Events]):
    """The chunks of a recording, made while they are asked for, once through.

    `report` says what the reader met so far; `close` ends it early and gives files back, as
    leaving a `with` block does.
    """

    def __init__(self, parts: Generator[Events, None, None], report: Report) -> None:
        self._parts = parts
        self.report = report

    def __next__(self) -> Events:
        return next(self._parts)

    def close(self) -> None:
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def stream(
    path: str | Path,
    chunk: int = CHUNK,
    *,
    start: Time | None = None,
    stop: Time | None = None,
    clock: Clock | None = None,
    strict: bool = True,
    format: str | None = None,
    report: Report | None = None,
    into: Columns | None = None,
    **options: Any,
) -> Stream:
    """The recording in chunks of at most `chunk` events, in file order, in bounded memory.

    start="1s", stop="1500ms" (or µs) select the events from `start` on and before `stop`, counted
    from the first event of the file; clock=(t0, t1) selects t0 <= t < t1 on the camera's clock.
    The times of the events are always those of the camera.

    At least one chunk comes, so the sensor's size is always known. Memory is used again for a
    later chunk once nobody holds the events in it; who reads many files or windows gives columns
    of its own (one per thread) as `into`, so that they share memory too. strict=False returns what
    is sound in a damaged file; `report` (or that of the stream) is filled with counts. A format's
    options are text or values: size="346x260" or size=(346, 260).

    A .gz or .zst file is unpacked to a temporary file first, of at most `expansion` (100) times its
    bytes. A path may also be - (standard input) or udp://HOST:PORT (words of `spif`), and
    follow=True goes on at the end of a file that grows. Such a recording ends after `seconds`,
    after `idle_s` seconds without a byte, or once the function `ended` says so; a chunk of it has
    what is there.

    Raises FormatError (file, byte, reason) when the file is not what it claims to be, OptionError
    for a wrong option or a window behind the end of the recording.
    """
    report = Report(checksum=False) if report is None else report
    asked = {**options, "chunk": chunk, "strict": strict}
    window = Window.of(start, stop, clock)
    return Stream(_stream(path, format, asked, report, into, window), report)


def read(
    path: str | Path,
    sort: bool = False,
    *,
    start: Time | None = None,
    stop: Time | None = None,
    clock: Clock | None = None,
    strict: bool = True,
    format: str | None = None,
    report: Report | None = None,
    into: Columns | None = None,
    **options: Any,
) -> Events:
    """The whole recording, or a window of it, in file order; sort=True sorts by time.

    `start` and `stop` count from the first event, clock=(t0, t1) is on the camera's clock. Sorting
    is stable. The other arguments are those of `stream`.
    """
    report = Report(checksum=False) if report is None else report
    live = _is_live(path, options)
    asked = {"chunk": CHUNK if live else None, "strict": strict, **options}
    events = _stream(path, format, asked, report, into, Window.of(start, stop, clock))
    parts = [part.copy() for part in events] if live else list(events)
    whole = parts[0] if len(parts) == 1 else Events.concat(parts)
    return whole.sort() if sort else whole


def info(
    path: str | Path,
    *,
    start: Time | None = None,
    stop: Time | None = None,
    clock: Clock | None = None,
    strict: bool = True,
    format: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """What a recording, or a window of it, holds, from one streamed pass.

    Keys: path, format, bytes, size, events, t0, t1 (µs), duration_s, rate_hz, on, off, x_max,
    y_max, backward_steps, out_of_bounds, counts (what the reader left out), beside (what else the
    file holds, by name), warnings, and header: what the file says of itself. `start`,
    `stop` and `clock` select a window, and the options are those of `stream`.
    """
    report = Report()
    events = on = outside = backward = x_max = y_max = 0
    t0 = t1 = last = None
    asked = {"chunk": CHUNK, "strict": strict, **options}
    for part in _stream(path, format, asked, report, None, Window.of(start, stop, clock)):
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
            about = header(fmt, plain, options)
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
        "also": beside(path, format=fmt.name, **options) if fmt else {},
        "warnings": warnings,
        "header": about,
    }


def beside(path: str | Path, *, format: str | None = None, **options: Any) -> dict[str, int]:
    """How much of what a recording holds is not among its events, by name: {"frames": 25}.

    The options are those of the reader. What the reader meets and leaves out is in its report.
    """
    path = Path(path)
    fmt = format_of(path, format)
    counts: dict[str, int] = {}
    with plain_file(path, options, True) as (plain, _):
        if fmt.tracks is not None:
            report = Report(checksum=False)
            for track in fmt.tracks(
                plain, **own(fmt.tracks, options), _strict=False, _report=report
            ):
                n = track.count
                rows = track.within(None, None) if n is None else ()
                counts[track.name] = sum(map(len, rows)) if n is None else n
        if fmt.beside is not None:
            counts |= fmt.beside(plain, **own(fmt.beside, options))
    return {name: n for name, n in counts.items() if n}


def own(function: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that a function of a format takes."""
    return {key: options[key] for key in options.keys() & inspect.signature(function).parameters}


def header(fmt: Format, path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of itself, read with those of the reader's options that matter to it."""
    if fmt.header is None:
        return {}
    taken = inspect.signature(fmt.header).parameters
    chosen = {name: value for name, value in options.items() if name in taken}
    return fmt.header(path, **(bind(fmt.header, chosen, fmt.name) if chosen else {}))


def extra(path: str | Path, name: str, *, format: str | None = None) -> np.ndarray:
    """What a recording holds in addition to its events, as extra(path, "triggers"): one array.

    Frames, samples of an IMU and triggers are structured arrays, as `formats.tracks` says; of
    recordings too long for memory, `recording` gives them in chunks.

    Raises UnknownName when the format has nothing of that name.
    """
    path = Path(path)
    fmt = format_of(path, format)
    with plain_file(path, {}, True) as (plain, _):
        if name in fmt.extras:
            return fmt.extras[name](plain)
        if fmt.tracks is None or name not in EMPTY:
            known = [*fmt.extras, *(EMPTY if fmt.tracks else ())]
            raise unknown(f"extra of {fmt.name}", name, known)
        tracks = [track for track in fmt.tracks(plain) if track.kind == name]
        parts = [part for track in tracks for part in track.within(None, None)]
    if len({part.dtype for part in parts}) > 1:
        raise FormatError(
            path, None, f"its {name} differ in shape; recording() gives them one by one"
        )
    return np.concatenate(parts) if parts else np.empty(0, EMPTY[name])


def frame_times(path: str | Path, *, format: str | None = None) -> np.ndarray:
    """When the frames of a recording were taken: int64 µs, of none where it has no frames."""
    path = Path(path)
    fmt = format_of(path, format)
    with plain_file(path, {}, True) as (plain, _):
        if "frame_times" in fmt.extras and len(found := fmt.extras["frame_times"](plain)):
            return np.asarray(found["t"])
        tracks = fmt.tracks(plain) if fmt.tracks is not None else []
        frames = [track for track in tracks if track.kind == "frames"]
        parts = [part["t"] for track in frames for part in track.within(None, None)]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _is_live(path: str | Path, options: Mapping[str, Any]) -> bool:
    return bool(options.get("follow")) or feed.is_live(path)


def _stream(
    path: str | Path,
    format: str | None,
    asked: dict[str, Any],
    report: Report,
    into: Columns | None,
    window: Window,
) -> Generator[Events, None, None]:
    """The chunks of any source, where wrong options raise at once and not with the first chunk.

    Where None is asked for as the chunk, one holds all events of a file that tells how many it has.
    """
    if _is_live(path, asked):
        return feed.stream(path, asked, format, report, into, window)
    path = path if isinstance(path, Path) else Path(path)  # which takes 2 µs even of a Path
    if is_packed(path):
        return _unpacked(path, format, asked, report, into, window)
    fmt = format_of(path, format)
    asked.pop("follow", None)
    if asked["chunk"] is None:
        asked["chunk"] = _room(fmt, path)
    bound = bind(fmt.stream, {**asked, **EVERYTHING.options()}, fmt.name)
    if bound["chunk"] < 1:
        raise OptionError(f"chunk is {bound['chunk']}, expected at least 1")
    return windowed(fmt, path, report, into or Columns(), bound, window)


def _room(fmt: Format, path: Path) -> int:
    """A chunk that holds all events of a file, if it tells how many it has."""
    if fmt.bounded:
        return WHOLE
    return CHUNK if fmt.bound is None else max(1, fmt.bound(path))


def _unpacked(
    path: Path,
    format: str | None,
    asked: dict[str, Any],
    report: Report,
    into: Columns | None,
    window: Window,
) -> Generator[Events, None, None]:
    fmt = format_of(path, format)
    with plain_file(path, asked, asked["strict"]) as (plain, damage):
        if damage:
            report.notes.append(damage)
        if not fmt.expansion:
            asked.pop("expansion", None)
        yield from _stream(plain, fmt.name, asked, report, into, window)
    report.crc32c = None  # that of the unpacked file


def size_on_disk(path: Path) -> int:
    """Bytes of a recording, which may be a folder of files."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())
