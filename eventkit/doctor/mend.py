"""Write a cleaned copy of a recording: readable events on the sensor, sorted by time."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eventkit import formats
from eventkit._write import check_target
from eventkit.doctor.exam import examine
from eventkit.doctor.findings import UNCERTAIN
from eventkit.doctor.foreign import foreign
from eventkit.doctor.survey import FAR
from eventkit.editing.losses import losses
from eventkit.editing.streams import EVERYTHING, Tally, counted, heading, held, uncopied
from eventkit.errors import OptionError
from eventkit.events import Events, chunks
from eventkit.formats import CHUNK, FORMATS
from eventkit.formats.base import PLACES

NOISE = "noise may have caused a clock wrap: later times may be wrong, so the copy is not clean"
WAITING = 1 << 25  # maximum number of events held for sorting, about 1.2 GB


def repair(
    path: str | Path,
    out: str | Path,
    *,
    to: str | None = None,
    writing: dict[str, Any] | None = None,
    overwrite: bool = False,
    format: str | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write a cleaned copy of a recording: the undamaged events on the sensor, sorted by time.

    The sort is stable; its memory is proportional to the maximum lateness of an event. The format
    of the copy is `to` with the options `writing`, or determined by the suffix of `out`, or that of
    the recording; other options are those of the reader. All streams that the format can hold are
    copied.

    Returns a dict with the keys path, out, format, read, dropped (events by reason), places (what
    was dropped and where, a maximum of 100,000 of each kind: bytes of the file, or events by their
    number and times), written, sorted (number of backward steps), streams (rows of each, read and
    written), counts (what the reader skipped), not_copied (other contents of the recording), notes
    (about these), before and after (the results of `examine` for both files) and clean (whether the
    copy has exactly these events, in order, with trustworthy times).

    Raises OptionError if `out` exists (unless `overwrite`) or is the recording itself, if the
    format cannot be written or cannot represent the events, or if sorting needs too much memory.
    """
    path, out = Path(path), Path(out)
    check_target(out, overwrite, path)
    with formats.recording(path, strict=False, format=format, **options) as recording:
        report, tally = recording.report, Tally()
        parts = recording.events()
        name = to or _suited(path, out, recording.format)
        if FORMATS[name].write is None:
            raise OptionError(
                f"{name} can be read but not written; specify another format for the copy"
            )
        formats.writer(name, writing or {})
        before = examine(path, format=format, **options)
        ledger: Counter[str] = Counter()
        runs: list[dict[str, Any]] = []
        inside = _inside(parts, ledger, runs, progress)
        late_by = before["order"]["late_by"]
        streams = {
            key: counted(track, name, EVERYTHING, tally)
            for key, track in held(recording, name).items()
        }
        formats.write(
            out,
            _sorted(inside, late_by) if late_by else inside,
            name,
            streams=streams,
            fields=heading(recording, name),
            **(writing or {}),
        )
        after = examine(out, format=name, **_sized(name, before["size"]))
        lost, notes = losses(recording, out, name, before["size"])
        not_copied = {**tally.lost, **uncopied(recording, set(streams), EVERYTHING), **lost}
    if before["noise"]:
        notes.append(NOISE)
    if before["damage"] and before["reveals"] == "nothing":
        notes.append(UNCERTAIN)
    faults = after["damage"], after["foreign"], after["order"]["backward_steps"]
    sound = not (any(faults) or after["out_of_bounds"])
    return {
        "path": str(path),
        "out": str(out),
        "format": name,
        "read": ledger["read"],
        "dropped": {"out of bounds": ledger["outside"], "foreign": ledger["foreign"]},
        "places": [
            *({"from_byte": at, "to_byte": end, "reason": why} for at, end, why in report.places),
            *runs,
        ],
        "written": ledger["inside"],
        "sorted": before["order"]["backward_steps"],
        "streams": tally.facts(),
        "counts": {key: n for key, n in report.counts.items() if key not in streams},
        "not_copied": not_copied,
        "notes": notes,
        "before": before,
        "after": after,
        "clean": sound and after["events"] == ledger["inside"] and not before["noise"],
    }


def _suited(path: Path, out: Path, name: str) -> str:
    """The format given by the suffix of `out`, or the recording's own if there is none."""
    suffix = out.suffix.lower()
    if suffix == path.suffix.lower():
        return name
    known = [n for n, entry in FORMATS.items() if suffix in entry.suffixes and entry.write]
    return known[0] if known and name not in known else name


def _sized(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """The reader option for the sensor size, which the file may not contain."""
    takes_size = "size" in inspect.signature(FORMATS[name].stream).parameters
    return {"size": "{}x{}".format(*size)} if takes_size else {}


def _inside(
    parts: Iterable[Events],
    ledger: Counter[str],
    runs: list[dict[str, Any]],
    progress: Callable[[int], None] | None,
) -> Iterator[Events]:
    """The undamaged events on the sensor; the ledger counts all events and the kept ones.

    `runs` gets the dropped events: number of the first, how many follow each other, first and last
    time, reason.
    """
    for events in parts:
        first = ledger["read"]
        ledger["read"] += len(events)
        strange, _ = foreign(events)
        if strange.any():
            ledger["foreign"] += int(strange.sum())
            _list(events, strange, first, "foreign", runs)
            events = events[~strange]
        if outside := events.out_of_bounds:
            ledger["outside"] += outside
            width, height = events.size
            on = (events.x < width) & (events.y < height)
            number = np.flatnonzero(~strange) + first
            _list(events, ~on, number, "out of bounds", runs)
            events = events[on]
        ledger["inside"] += len(events)
        if progress is not None:
            progress(ledger["read"])
        yield events


def _list(
    events: Events, drop: np.ndarray, first: Any, reason: str, runs: list[dict[str, Any]]
) -> None:
    """List the runs of dropped events; `first` is the number of the first event, or of each."""
    places = np.flatnonzero(drop)
    numbers = first[places] if isinstance(first, np.ndarray) else first + places
    for part in np.split(np.arange(len(places)), np.flatnonzero(np.diff(numbers) != 1) + 1):
        if len(runs) == PLACES:
            return
        t = events.t[places[part]]
        runs.append(
            {
                "event": int(numbers[part[0]]),
                "events": len(part),
                "t0": int(t.min()),
                "t1": int(t.max()),
                "reason": reason,
            }
        )


def _sorted(
    parts: Iterable[Events], late_by: int, *, enough: int = CHUNK, most: int = WAITING
) -> Iterator[Events]:
    """The events sorted by time, given that none comes more than `late_by` µs too late.

    Events older than `late_by` can be emitted, because no earlier event can follow. The held events
    are sorted only when their number has doubled, so that the total work stays O(n log n).
    """
    waiting: list[Events] = []
    n = kept = 0
    top = -FAR
    for events in parts:
        waiting.append(events.copy())
        n += len(events)
        top = max(top, int(events.t.max(initial=-FAR)))
        if n > most:
            raise OptionError(
                f"time goes back by up to {late_by:,} µs, so more than {most:,} events would have "
                "to be held in memory for sorting; split the recording into shorter ones first, "
                "e.g. with eventkit translate"
            )
        if n >= max(enough, 2 * kept) and late_by < FAR:
            held = Events.concat(waiting).sort()
            done = int(held.t.searchsorted(top - late_by))
            yield from chunks(held[:done], CHUNK)
            waiting, n = [held[done:].copy()], len(held) - done
            kept = n
            del held
    yield from chunks(Events.concat(waiting).sort(), CHUNK)
