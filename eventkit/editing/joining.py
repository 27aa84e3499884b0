"""Several recordings as one: one after the other, or merged by time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats.tracks import Track, numbered

How = Literal["sequence", "append", "time"]


@dataclass(frozen=True)
class Part:
    """One of the recordings: its events, its streams, and the span of its events (µs)."""

    path: Path
    events: Iterable[Events]
    tracks: dict[str, Track]
    span: tuple[int, int] | None = None


def joined(parts: Sequence[Part], how: How, gap: int) -> tuple[Iterator[Events], dict[str, Track]]:
    """The events and the streams of all parts.

    "sequence" keeps all times: each part must begin after the one before. "append" moves each part
    so that it begins `gap` µs after the last event of the one before; it needs their spans. "time"
    merges parts that are in the order of time. Streams of one name become one, but with "time",
    where they are numbered.
    """
    if len(parts) == 1:
        return iter(parts[0].events), parts[0].tracks
    if how == "time":
        return _by_time(parts), _side_by_side(parts)
    shifts = _shifts(parts, gap) if how == "append" else [0] * len(parts)
    return _in_sequence(parts, shifts), _chained(parts, shifts)


def _shifts(parts: Sequence[Part], gap: int) -> list[int]:
    """What is added to the times of each part."""
    shifts, end = [], None
    for part in parts:
        first, last = part.span or (0, 0)
        shift = 0 if end is None else end + gap - first
        shifts.append(shift)
        end = last + shift if part.span else end
    return shifts


def _in_sequence(parts: Sequence[Part], shifts: Sequence[int]) -> Iterator[Events]:
    size, last, before = None, None, None
    for part, shift in zip(parts, shifts, strict=True):
        first = True
        for events in part.events:
            size = size or events.size
            _same(part, events, size)
            if len(events) and first and last is not None and events.t[0] + shift < last:
                raise OptionError(
                    f"{part.path} begins at {events.t[0]:,} µs, before the end of {before} at "
                    f"{last:,} µs: append it (its times are then moved) or merge both by time"
                )
            if len(events):
                first, last, before = False, int(events.t[-1]) + shift, part.path
            yield replace(events, t=events.t + shift) if shift else events


def _chained(parts: Sequence[Part], shifts: Sequence[int]) -> dict[str, Track]:
    """The streams of the same name and kind one after the other."""
    found: dict[str, list[Track]] = {}
    for part, shift in zip(parts, shifts, strict=True):
        for name, track in part.tracks.items():
            found.setdefault(name, []).append(track.shifted(shift))
    return {name: _chain(tracks) for name, tracks in found.items()}


def _chain(tracks: Sequence[Track]) -> Track:
    def rows(low: int, high: int) -> Iterator[np.ndarray]:
        for track in tracks:
            yield from track.rows(low, high)

    counts = [track.count for track in tracks]
    total = None if None in counts else sum(n or 0 for n in counts)
    return replace(tracks[0], rows=rows, count=total)


def _side_by_side(parts: Sequence[Part]) -> dict[str, Track]:
    tracks = [track for part in parts for track in part.tracks.values()]
    names = numbered(track.kind for track in tracks)
    return {name: replace(t, name=name) for name, t in zip(names, tracks, strict=True)}


def _by_time(parts: Sequence[Part]) -> Iterator[Events]:
    """All events in the order of time; of the same time, those of earlier parts first.

    From each part there is a chunk; what is not later than the earliest end of those is complete.
    """
    readers = [_sorted(part) for part in parts]
    held = [next(reader, None) for reader in readers]
    size = next(events.size for events in held if events is not None)
    for part, events in zip(parts, held, strict=True):
        if events is not None:
            _same(part, events, size)
    yield Events.empty(size)
    while True:
        for i, events in enumerate(held):
            while events is not None and not len(events):
                events = next(readers[i], None)
            held[i] = events
        there = [events for events in held if events is not None]
        if not there:
            return
        end = min(int(events.t[-1]) for events in there)
        done = []
        for i, events in enumerate(held):
            if events is not None:
                n = int(np.searchsorted(events.t, end, "right"))
                done.append(events[:n])
                held[i] = events[n:]
        yield Events.concat(done).sort()


def _sorted(part: Part) -> Iterator[Events]:
    """Copies of the chunks, which must be in the order of time."""
    last = None
    for events in part.events:
        if events.backward_steps or (last is not None and len(events) and events.t[0] < last):
            raise OptionError(
                f"the times of {part.path} go back, so it cannot be merged by time: repair it first"
            )
        last = int(events.t[-1]) if len(events) else last
        yield events.copy()


def _same(part: Part, events: Events, size: tuple[int, int]) -> None:
    if events.size != size:
        raise OptionError(
            "recordings of one sensor size can be joined; {} has {}x{}, expected {}x{}".format(
                part.path, *events.size, *size
            )
        )
