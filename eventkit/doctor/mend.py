"""A sound copy of a recording: what can be read, on the sensor, in order of time."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from eventkit import formats
from eventkit._write import check_target
from eventkit.doctor.exam import examine
from eventkit.doctor.foreign import foreign
from eventkit.doctor.losses import losses
from eventkit.doctor.survey import FAR
from eventkit.errors import OptionError
from eventkit.events import Events, chunks
from eventkit.formats import CHUNK, FORMATS, Report

NOISE = "noise may have made the clock wrap: later times may be wrong, so the copy is not clean"
WAITING = 1 << 25  # events that may wait to be sorted: about 1.2 GB while they are


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
    """Write a clean copy of a recording: what is sound in it, on the sensor, sorted by time.

    Sorting is stable and needs memory for as many events as one may come late. The copy is in
    the format that `to` names, with the options `writing`, or that its suffix tells, or in that of
    the recording; the other options are those of the reader. Keys: path, out, format, read,
    dropped (events by reason), written, sorted (how many steps back there were), counts (what the
    reader left out), beside (what else the recording holds, which the copy has not, by name),
    notes (sentences on that), before and after: what `examine` says of both files, and clean:
    whether the copy has just these events, in order, and no noise may have moved their times.

    Raises OptionError if `out` exists (unless `overwrite`) or is the recording itself, if the
    format cannot be written, or cannot hold the events, or if too many would have to wait.
    """
    path, out = Path(path), Path(out)
    check_target(out, overwrite, path)
    report = Report()
    parts = formats.stream(path, strict=False, format=format, report=report, **options)
    name = to or _suited(path, out, formats.format_of(path, format).name)
    if FORMATS[name].write is None:
        raise OptionError(
            f"{name} can be read but not written; name a format for the copy: --format NAME"
        )
    formats.writer(name, writing or {})
    before = examine(path, format=format, **options)
    ledger: Counter[str] = Counter()
    inside = _inside(parts, ledger, progress)
    late_by = before["order"]["late_by"]
    formats.write(out, _sorted(inside, late_by) if late_by else inside, name, **(writing or {}))
    after = examine(out, format=name, **_sized(name, before["size"]))
    beside, notes = losses(path, out, name, before["size"], {"format": format, **options})
    if before["noise"]:
        notes.append(NOISE)
    faults = after["damage"], after["foreign"], after["order"]["backward_steps"]
    sound = not (any(faults) or after["out_of_bounds"])
    return {
        "path": str(path),
        "out": str(out),
        "format": name,
        "read": ledger["read"],
        "dropped": {"out of bounds": ledger["outside"], "foreign": ledger["foreign"]},
        "written": ledger["inside"],
        "sorted": before["order"]["backward_steps"],
        "counts": dict(report.counts),
        "beside": beside,
        "notes": notes,
        "before": before,
        "after": after,
        "clean": sound and after["events"] == ledger["inside"] and not before["noise"],
    }


def _suited(path: Path, out: Path, name: str) -> str:
    """The format that the suffix of `out` tells, or the recording's own if it tells none."""
    suffix = out.suffix.lower()
    if suffix == path.suffix.lower():
        return name
    known = [n for n, entry in FORMATS.items() if suffix in entry.suffixes and entry.write]
    return known[0] if known and name not in known else name


def _sized(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """What tells the reader of a format the sensor's size, which may not be in the file."""
    takes_size = "size" in inspect.signature(FORMATS[name].stream).parameters
    return {"size": "{}x{}".format(*size)} if takes_size else {}


def _inside(
    parts: Iterable[Events], ledger: Counter[str], progress: Callable[[int], None] | None
) -> Iterator[Events]:
    """The events on the sensor that a camera made; the ledger counts all and those."""
    for events in parts:
        ledger["read"] += len(events)
        strange, _ = foreign(events)
        if strange.any():
            ledger["foreign"] += int(strange.sum())
            events = events[~strange]
        if outside := events.out_of_bounds:
            ledger["outside"] += outside
            width, height = events.size
            events = events[(events.x < width) & (events.y < height)]
        ledger["inside"] += len(events)
        if progress is not None:
            progress(ledger["read"])
        yield events


def _sorted(
    parts: Iterable[Events], late_by: int, *, enough: int = CHUNK, most: int = WAITING
) -> Iterator[Events]:
    """The events in order of time, where none comes more than `late_by` µs after a later one.

    Whatever is older than that cannot be overtaken any more. What waits is sorted when there is
    enough of it and it has doubled, so that the work stays in proportion to the events.
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
                f"time goes back by up to {late_by:,} µs, so more than {most:,} events would "
                "have to wait in memory to be sorted; cut the recording into shorter ones first: "
                "eventkit translate IN OUT --start TIME --stop TIME"
            )
        if n >= max(enough, 2 * kept) and late_by < FAR:
            held = Events.concat(waiting).sort()
            done = int(held.t.searchsorted(top - late_by))
            yield from chunks(held[:done], CHUNK)
            waiting, n = [held[done:].copy()], len(held) - done
            kept = n
            del held
    yield from chunks(Events.concat(waiting).sort(), CHUNK)
