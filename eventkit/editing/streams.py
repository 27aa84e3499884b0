"""The streams of a recording on their way to a copy: which it can hold, and how much was copied."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eventkit.formats import FORMATS, Recording
from eventkit.formats.tracks import Track

Window = tuple[int | None, int | None]  # start <= t < stop (µs), None: no limit
EVERYTHING: Window = (None, None)
# Words of a header as they are written, where case matters to other readers.
SPELLED = {"system_id": "system_ID", "subsystem_id": "subsystem_ID"}


@dataclass
class Tally:
    """Rows of each stream that were read and written, and how many inputs lost their number."""

    read: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    def facts(self) -> dict[str, dict[str, int]]:
        return {
            name: {"read": n, "written": self.written.get(name, 0)} for name, n in self.read.items()
        }


def held(recording: Recording, name: str) -> dict[str, Track]:
    """The streams of a recording that a format can hold."""
    kinds = FORMATS[name].holds
    return {key: track for key, track in recording.streams.items() if track.kind in kinds}


def counted(track: Track, name: str, window: Window, tally: Tally) -> Track:
    """The rows in a window, in the form that the format can hold; the tally counts them."""
    change = FORMATS[name].holds[track.kind]
    tally.read.setdefault(track.name, 0)

    def rows(low: int, high: int) -> Iterator[np.ndarray]:
        for part in track.within(*window):
            tally.read[track.name] += len(part)
            changed = change(part)
            names = set(part.dtype.names or ()) - set(changed.dtype.names or ())
            if "id" in names and (numbers := int(np.count_nonzero(part["id"]))):
                lost = f"input numbers of {track.name}"
                tally.lost[lost] = tally.lost.get(lost, 0) + numbers
            if len(changed):
                yield changed
            tally.written[track.name] = tally.written.get(track.name, 0) + len(changed)

    return replace(track, rows=rows)


def uncopied(recording: Recording, copied: set[str], window: Window) -> dict[str, int]:
    """How much is in the window of each stream that is not copied, by name."""
    counts = {}
    for name, track in recording.streams.items():
        if name in copied:
            continue
        n = track.count
        if n is None or (window != EVERYTHING and track.kind != "other"):
            n = sum(len(rows) for rows in track.within(*window))
        counts[name] = n
    return {name: n for name, n in counts.items() if n}


def heading(recording: Recording, name: str) -> dict[str, str]:
    """The header fields of a recording that a copy can have in its header."""
    if not (FORMATS[name].heading and FORMATS[recording.format].heading):
        return {}
    return {
        SPELLED.get(key, key): value
        for key, value in recording.header.items()
        if isinstance(value, str) and value
    }


def options_of(how: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `recording` among those of a reader."""
    return {key: value for key, value in how.items() if key != "report"}
