"""Tracks: what a recording holds in addition to one stream of events, as chunks with times.

A track gives structured arrays with the field t (int64 µs, on the clock of the events). Its kind
says which other fields there are:

    frames    begin, end (int64 µs, of the exposure; -1: unknown), pixels (n, height, width) or
              (n, height, width, channels: BGR or BGRA); one array has images of one shape
    imu       accelerometer_x, _y, _z (g), gyroscope_x, _y, _z (°/s), and what else was measured:
              temperature (°C), magnetometer_x, _y, _z (µT)
    triggers  p (1 rising, 0 falling) and id (number of the input); in AEDAT 4 instead: source,
              0 clock reset, 1, 2, 3 external rising, falling, pulse, 4, 5 generated rising,
              falling, 6, 7 begin and end of a frame, 8, 9 of its exposure
    events    x, y, p: a second stream of events
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats.base import limits

KINDS = ("frames", "imu", "triggers", "events")
IMU = np.dtype(
    [
        ("t", np.int64),
        ("temperature", np.float32),
        *(
            (f"{sensor}_{axis}", np.float32)
            for sensor in ("accelerometer", "gyroscope", "magnetometer")
            for axis in "xyz"
        ),
    ]
)
TRIGGER = np.dtype([("t", np.int64), ("p", np.uint8), ("id", np.uint8)])
SOURCE = np.dtype([("t", np.int64), ("source", np.uint8)])
TIMES = ("t", "begin", "end", "frame_begin", "frame_end")
# What there is where a recording has none of a kind.
EMPTY: dict[str, np.dtype] = {
    "frames": np.dtype(
        [*((name, np.int64) for name in ("t", "begin", "end")), ("pixels", np.uint8, (0, 0))]
    ),
    "imu": IMU,
    "triggers": TRIGGER,
}
NEEDED = {
    "frames": ("t", "pixels"),
    "imu": ("t", "accelerometer_x", "gyroscope_x"),
    "triggers": ("t",),
    "events": ("t", "x", "y", "p"),
}
RISING, FALLING, PULSE = 1, 2, 3  # external signals among the sources of AEDAT 4


@dataclass(frozen=True)
class Track:
    """One track: `rows(low, high)` yields its arrays with low <= t < high, in the file's order.

    count is the number of rows of the whole recording, None if it is not known without reading
    them. about has facts for a person or a writer: source (a camera or topic), size.
    """

    name: str
    kind: str
    rows: Callable[[int, int], Iterator[np.ndarray]]
    count: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def within(self, start: int | None, stop: int | None) -> Iterator[np.ndarray]:
        """The arrays of a window on the camera's clock; None is no limit."""
        return self.rows(*limits(start, stop))

    def adapted(self, change: Callable[[np.ndarray], np.ndarray]) -> "Track":
        """The track with its rows changed; rows that are dropped make the count unknown."""

        def rows(low: int, high: int) -> Iterator[np.ndarray]:
            for part in self.rows(low, high):
                if len(changed := change(part)):
                    yield changed

        return replace(self, rows=rows)

    def shifted(self, by: int) -> "Track":
        """The track with `by` µs added to all its times."""

        def rows(low: int, high: int) -> Iterator[np.ndarray]:
            for part in self.rows(*limits(low - by, high - by)):
                moved = part.copy()
                for name in set(TIMES) & set(part.dtype.names or ()):
                    known = part[name] != -1 if name != "t" else True
                    moved[name] = np.where(known, part[name] + by, -1)
                yield moved

        return replace(self, rows=rows) if by else self


@dataclass(frozen=True)
class Packet:
    """Rows of the track number `track` of a writer, between chunks of events."""

    track: int
    rows: np.ndarray


def inside(rows: np.ndarray, low: int, high: int) -> np.ndarray:
    """The rows with low <= t < high."""
    keep = (rows["t"] >= low) & (rows["t"] < high)
    return rows if keep.all() else rows[keep]


def of(name: str, value: Track | np.ndarray | Iterable[np.ndarray]) -> Track:
    """A track from structured arrays; its kind is the beginning of its name ("imu", "imu_2").

    Raises OptionError for another name, or fields that are missing.
    """
    if isinstance(value, Track):
        return replace(value, name=name)
    kind = next((kind for kind in KINDS if name == kind or name.startswith(f"{kind}_")), None)
    if kind is None:
        known = ", ".join(KINDS)
        raise OptionError(f"stream {name!r}: its name must begin with one of {known}")
    parts = [value] if isinstance(value, np.ndarray) else value

    def rows(low: int, high: int) -> Iterator[np.ndarray]:
        for part in parts:
            missing = [need for need in NEEDED[kind] if need not in (part.dtype.names or ())]
            if missing:
                raise OptionError(
                    f"stream {name!r} has no field {', '.join(missing)}; {kind} are structured "
                    f"arrays with the fields {', '.join(NEEDED[kind])}"
                )
            chosen = inside(part, low, high)
            if len(chosen):
                yield chosen

    return Track(name, kind, rows, len(value) if isinstance(value, np.ndarray) else None)


def merged(chunks: Iterable[Events], tracks: list[Track], exact: bool) -> Iterator[Events | Packet]:
    """Events and the arrays of tracks in the order of time; an array stands at its first time.

    The first item is always a (maybe empty) chunk of events. If `exact`, arrays of triggers are cut
    so that each row stands before the first event that is later.
    """
    readers = [track.within(None, None) for track in tracks]
    waiting: list[tuple[int, int, np.ndarray]] = []

    def take(number: int, rows: np.ndarray | None = None) -> None:
        rows = next(readers[number], None) if rows is None else rows
        if rows is not None:
            heapq.heappush(waiting, (int(rows["t"][0]), number, rows))

    for number in range(len(tracks)):
        take(number)
    begun = False
    for events in chunks:
        at = 0
        if not begun and waiting:
            yield events[:0]
        begun = True
        while waiting and len(events):
            cut = at + int(np.searchsorted(events.t[at:], waiting[0][0]))
            if cut >= len(events):
                break
            if cut > at:
                yield events[at:cut]
                at = cut
            _, number, rows = heapq.heappop(waiting)
            n = len(rows)
            if exact and tracks[number].kind == "triggers":
                n = max(1, int(np.searchsorted(rows["t"], events.t[at], "right")))
            yield Packet(number, rows[:n])
            take(number, rows[n:] if n < len(rows) else None)
        if at < len(events) or not len(events):
            yield events[at:]
    while waiting:
        _, number, rows = heapq.heappop(waiting)
        yield Packet(number, rows)
        take(number)


def without(items: Iterable[Events | Packet], put: Callable[[Packet], None]) -> Iterator[Events]:
    """The events; packets are given to `put` when they come."""
    for item in items:
        if isinstance(item, Packet):
            put(item)
        else:
            yield item


def unchanged(rows: np.ndarray) -> np.ndarray:
    """The same rows."""
    return rows


def as_signals(rows: np.ndarray) -> np.ndarray:
    """Triggers as t, p, id (TRIGGER); of AEDAT 4's only the external ones, a pulse as rising."""
    names = rows.dtype.names or ()
    if "source" in names:
        rows = rows[(rows["source"] >= RISING) & (rows["source"] <= PULSE)]
    found = np.zeros(len(rows), TRIGGER)
    found["t"] = rows["t"]
    if "source" in names:
        found["p"] = rows["source"] != FALLING
    for name in {"p", "id"} & set(names):
        found[name] = rows[name]
    return found


def as_sources(rows: np.ndarray) -> np.ndarray:
    """Triggers as t and source (SOURCE), as AEDAT 4 has them; the number of the input is lost."""
    found = np.zeros(len(rows), SOURCE)
    found["t"] = rows["t"]
    if "source" in (rows.dtype.names or ()):
        found["source"] = rows["source"]
    else:
        found["source"] = np.where(rows["p"] != 0, RISING, FALLING)
    return found


def as_imu(rows: np.ndarray) -> np.ndarray:
    """Samples with all fields of IMU, as AEDAT 4 has them; what was not measured is 0."""
    found = np.zeros(len(rows), IMU)
    for name in set(IMU.names or ()) & set(rows.dtype.names or ()):
        found[name] = rows[name]
    return found


def as_images(rows: np.ndarray) -> np.ndarray:
    """Frames that AEDAT 4 can hold: uint8, 1, 3 or 4 channels; OptionError for others."""
    pixels = rows["pixels"]
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[3:] == (2,):
        raise OptionError(
            f"aedat4 holds frames of uint8 with 1, 3 or 4 channels, found {pixels.dtype} "
            f"{pixels.shape[1:]}; hdf5 holds any"
        )
    return rows


def numbered(names: Iterable[str]) -> Iterator[str]:
    """The names, further ones of the same with a number: imu, imu_2, imu_3."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}_{seen[name]}"
