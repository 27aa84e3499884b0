"""Copy a recording with all its streams: translate, cut, transform and join."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eventkit import formats, transforms
from eventkit._write import check_target
from eventkit.editing.joining import How, Part, joined
from eventkit.editing.losses import losses
from eventkit.editing.streams import (
    EVERYTHING,
    Tally,
    Window,
    counted,
    heading,
    held,
    uncopied,
)
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats import Recording, Report

Source = Path | str
Progress = Callable[[int], None]


def copy(
    sources: Source | Sequence[Source],
    out: Source,
    *,
    to: str | None = None,
    writing: Mapping[str, Any] | None = None,
    start: int | None = None,
    stop: int | None = None,
    rezero: bool = False,
    change: Sequence[str] = (),
    how: How = "sequence",
    gap: int = 1,
    strict: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
    **reading: Any,
) -> dict[str, Any]:
    """Write a recording, or several as one, to another file, with every stream that it can hold.

    `to` is the format of the copy with the options `writing` [by the suffix of `out`]; `out` may be
    - (standard output) or udp://HOST:PORT. start and stop (µs) count from the first event of each
    recording. `rezero` makes the time of the first event 0, in all streams. `change` are transforms
    of the events. `how` and `gap` are those of `joining.joined`. A source may be live (standard
    input, a port, a growing file): of such, only the events are copied. `reading` are the options
    of the reader.

    Returns a dict with the keys path, out, format, bytes, read and written (events), left_out,
    streams (read and written rows of each), counts (what the reader skipped), not_copied (what
    else is in the recording, by name), warnings and size.
    """
    paths = [sources] if isinstance(sources, str | Path) else list(sources)
    sent = str(out).startswith("udp://")
    if not (sent or out == "-"):
        for path in paths:
            check_target(Path(out), overwrite, Path(path))
    name = to or ("spif" if sent else _by_suffix(out))
    options = {**(writing or {}), **({"t0": "first"} if rezero else {})}
    formats.writer(name, options)  # raises for wrong options before anything is read
    tally, report = Tally(), Report(checksum=False)
    with contextlib.ExitStack() as files:
        window: dict[str, Any] = {"start": start, "stop": stop}
        found = [_open(path, strict, report, reading, files) for path in paths]
        parts = [
            _part(path, one, window, how == "append", name, tally, report, reading, strict)
            for path, one in zip(paths, found, strict=True)
        ]
        events, tracks = joined(parts, how, gap)
        ledger: dict[str, Any] = {"read": 0, "written": 0, "size": None}
        counting = _counted(events, _changes(change), ledger, progress)
        header = heading(found[0], name) if found[0] is not None else {}
        target = str(out) if sent or out == "-" else Path(out)
        formats.write(target, counting, name, streams=tracks, fields=header, **options)
        beside: dict[str, int] = dict(tally.lost)
        for one in found:
            if one is not None:
                for key, n in uncopied(one, set(held(one, name)), _on_clock(one, window)).items():
                    beside[key] = beside.get(key, 0) + n
                lost, notes = losses(one, None if isinstance(target, str) else target, name,
                                     ledger["size"])  # fmt: skip
                beside |= {key: beside.get(key, 0) + n for key, n in lost.items()}
                report.notes += [note for note in notes if note not in report.notes]
        if change and tally.written:
            report.notes.append("transforms change the events only, not the other streams")
    copied = {key for key, n in tally.written.items() if n}
    return {
        "path": ", ".join(map(str, paths)),
        "out": str(out),
        "format": name,
        "bytes": None if isinstance(target, str) else target.stat().st_size,
        **{key: ledger[key] for key in ("read", "written")},
        "left_out": ledger["read"] - ledger["written"],
        "streams": tally.facts(),
        "counts": {key: n for key, n in report.counts.items() if key not in copied},
        "not_copied": beside,
        "warnings": list(report.notes),
        "size": ledger["size"],
    }


def _by_suffix(out: Source) -> str:
    if out == "-":
        raise OptionError("standard output has no suffix: give the format of the copy")
    return formats.written_as(Path(out)).name


def _open(
    path: Source, strict: bool, report: Report, reading: Mapping[str, Any], files: Any
) -> Recording | None:
    """The recording; None for a live one."""
    if (isinstance(path, str) and (path == "-" or "://" in path)) or reading.get("follow"):
        return None
    found = formats.recording(path, strict=strict, **reading)
    found.report = report
    return files.enter_context(found)  # type: ignore[no-any-return]


def _part(
    path: Source,
    recording: Recording | None,
    window: Mapping[str, Any],
    spans: bool,
    name: str,
    tally: Tally,
    report: Report,
    reading: Mapping[str, Any],
    strict: bool,
) -> Part:
    """The events and streams of one source in the window."""
    if recording is None:
        events = formats.stream(path, report=report, strict=strict, **window, **reading)
        return Part(Path(path), events, {})
    clock = _on_clock(recording, window)
    tracks = {
        key: counted(track, name, clock, tally) for key, track in held(recording, name).items()
    }
    span = _span(recording.events(**window)) if spans else None
    return Part(recording.path, recording.events(**window), tracks, span)


def _on_clock(recording: Recording, window: Mapping[str, Any]) -> Window:
    if window["start"] is None and window["stop"] is None:
        return EVERYTHING
    return recording.window(window["start"], window["stop"])


def _span(events: Iterable[Events]) -> tuple[int, int] | None:
    first = last = None
    for part in events:
        if len(part):
            first = int(part.t[0]) if first is None else first
            last = int(part.t.max()) if last is None else max(last, int(part.t.max()))
    return None if first is None or last is None else (first, last)


def _changes(specs: Sequence[str]) -> Callable[[Events], Events]:
    """A function that applies all transforms; call it with the chunks in order."""
    steps = [transforms.begin(*transforms.parse(spec)) for spec in specs]

    def change(events: Events) -> Events:
        for step in steps:
            events = step(events)
        return events

    return change


def _counted(
    parts: Iterable[Events],
    change: Callable[[Events], Events],
    ledger: dict[str, Any],
    progress: Progress | None,
) -> Iterator[Events]:
    """Yield the transformed chunks; a chunk counts as written when the next is requested."""
    for whole in parts:
        ledger["read"] += len(whole)
        events = change(whole)
        ledger["size"] = events.size
        yield events
        ledger["written"] += len(events)
        if progress is not None:
            progress(ledger["read"])
