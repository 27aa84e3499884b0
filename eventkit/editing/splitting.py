"""Split a recording into several files, in one pass; also one that is still being made."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from eventkit import formats
from eventkit._write import check_target, whole
from eventkit.editing.streams import EVERYTHING, Tally, counted, heading, held, uncopied
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats import FORMATS, Recording, Report
from eventkit.formats.tracks import PULSE, RISING, Packet, Track, merged

PIECE = 1 << 15  # events between two looks at the size of a file
MOST = 1_000_000  # files


@dataclass(frozen=True)
class Rule:
    """Where a new file begins: exactly one of these is given.

    every: so many µs after the last one began, counted from the first event. events: after so many
    events. size: after the chunk with which a file reaches so many bytes. triggers: at each rising
    trigger. With all but `every`, an array of a stream (a packet of the file) stays whole.
    """

    every: int | None = None
    events: int | None = None
    size: int | None = None
    triggers: bool = False

    def __post_init__(self) -> None:
        given = [n for n in (self.every, self.events, self.size) if n is not None]
        if len(given) + self.triggers != 1:
            raise OptionError("split by one of: time, number of events, size, triggers")
        if given and given[0] < 1:
            raise OptionError(f"the length of a part is {given[0]}, expected at least 1")


def split(
    source: str | Path,
    out: Path,
    rule: Rule,
    *,
    to: str | None = None,
    writing: Mapping[str, Any] | None = None,
    strict: bool = True,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
    **reading: Any,
) -> dict[str, Any]:
    """Write a recording, or a live one, in several files: a.aedat4 becomes a_000.aedat4, a_001, ...

    Each file appears when it is complete and has every stream that its format can hold. Files
    without events or rows are not written. Returns a dict with the keys path, format, files (each
    with path, events, t0, t1), read, streams, counts, not_copied, warnings.
    """
    live = isinstance(source, str) or reading.get("follow")
    name = to or formats.written_as(out).name
    fmt = FORMATS[name]
    formats.writer(name, dict(writing or {}))
    tally, report = Tally(), Report(checksum=False)
    with contextlib.ExitStack() as files:
        tracks: list[Track] = []
        header: dict[str, str] = {}
        recording: Recording | None = None
        if live:
            events = formats.stream(source, PIECE, strict=strict, report=report, **reading)
        else:
            recording = formats.recording(source, strict=strict, **reading)
            recording.report = report
            files.enter_context(recording)
            header = heading(recording, name)
            there = held(recording, name).values()
            tracks = [counted(track, name, EVERYTHING, tally) for track in there]
            events = recording.events(PIECE)
            if rule.every is not None:
                cells = functools.partial(_cells, origin=recording.first, every=rule.every)
                tracks = [replace(track, rows=functools.partial(cells, track)) for track in tracks]
        if rule.triggers and not any(track.kind == "triggers" for track in tracks):
            raise OptionError(f"{source} has no triggers that {name} can hold, to be split at them")
        items = merged(events, tracks, exact=rule.triggers or fmt.exact)
        origin = None if recording is None else recording.first
        cutter = _Cutter(items, tracks, rule, origin, progress)
        written: list[dict[str, Any]] = []
        while cutter.more():
            path = out.with_name(f"{out.stem}_{len(written):03d}{out.suffix}")
            check_target(path, overwrite, None if live else Path(source))
            if len(written) == MOST:
                raise OptionError(f"more than {MOST:,} files; make the parts longer")
            with whole(path) as temporary, temporary.open("xb") as file:
                encode = formats.writing.encoder(name, writing or {}, tracks, header)
                encode(file, cutter.part(file))
            written.append({"path": str(path), **cutter.facts()})
        beside = dict(tally.lost)
        if recording is not None:
            beside |= uncopied(recording, {track.name for track in tracks}, EVERYTHING)
            beside |= recording.beside()
    return {
        "path": str(source),
        "format": name,
        "files": written,
        "read": cutter.read,
        "streams": tally.facts(),
        "counts": {key: n for key, n in report.counts.items() if key not in tally.written},
        "not_copied": beside,
        "warnings": list(report.notes),
    }


def _cells(track: Track, low: int, high: int, *, origin: int, every: int) -> Iterator[np.ndarray]:
    """The rows of a track, cut where parts begin."""
    for rows in track.rows(low, high):
        cell = np.maximum(0, (rows["t"] - origin) // every)
        yield from np.split(rows, np.flatnonzero(np.diff(cell)) + 1)


class _Cutter:
    """Deals the items out to one file after the other."""

    def __init__(
        self,
        items: Iterator[Events | Packet],
        tracks: Sequence[Track],
        rule: Rule,
        origin: int | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._items, self._tracks = items, tracks
        self._rule, self._progress = rule, progress
        self._ahead: Events | Packet | None = None
        self._size: tuple[int, int] = (1, 1)
        self._begin = origin  # of the next part, for `every`
        self.read = self._events = 0
        self._span: list[int] = []

    def more(self) -> bool:
        """Whether there is an item with events or rows."""
        while self._ahead is None or not _length(self._ahead):
            self._ahead = next(self._items, None)
            if self._ahead is None:
                return False
            if isinstance(self._ahead, Events):
                self._size = self._ahead.size
        return True

    def part(self, file: BinaryIO) -> Iterator[Events | Packet]:
        """The items of one file."""
        self._events, self._span, began = 0, [], False
        yield Events.empty(self._size)
        if self._rule.every is not None and self._ahead is not None:
            first = int(_times(self._ahead)[0])
            self._begin = first if self._begin is None else self._begin
            passed = max(0, (first - self._begin) // self._rule.every)
            self._begin += (passed + 1) * self._rule.every
        while self.more():
            item = self._ahead
            assert item is not None
            n = self._until(item, began)
            if n:
                self._count(item, n)
                yield _first(item, n)
                began = True
            self._ahead = None if n == _length(item) else _rest(item, n)
            full = self._rule.size is not None and _written(file) >= self._rule.size
            if self._ahead is not None or full:
                return

    def _until(self, item: Events | Packet, began: bool) -> int:
        """How much of an item belongs to this file."""
        rule, n = self._rule, _length(item)
        if rule.every is not None:
            late = np.flatnonzero(_times(item) >= self._begin)
            return int(late[0]) if len(late) else n
        if rule.events is not None and isinstance(item, Events):
            return min(n, rule.events - self._events)
        if (
            rule.triggers
            and isinstance(item, Packet)
            and self._tracks[item.track].kind == "triggers"
        ):
            rising = np.flatnonzero(_rising(item.rows))
            rising = rising if began else rising[rising > 0]
            return int(rising[0]) if len(rising) else n
        return n

    def _count(self, item: Events | Packet, n: int) -> None:
        if isinstance(item, Events):
            self.read += n
            self._events += n
            self._span += [int(item.t[0])] if not self._span else []
            self._span[1:] = [int(item.t[n - 1])]
            if self._progress is not None:
                self._progress(self.read)

    def facts(self) -> dict[str, Any]:
        """What the last file has."""
        t0, t1 = (self._span[0], self._span[-1]) if self._span else (None, None)
        return {"events": self._events, "t0": t0, "t1": t1}


def _rising(rows: np.ndarray) -> np.ndarray:
    """Which triggers are rising external signals."""
    if "source" in (rows.dtype.names or ()):
        return np.asarray((rows["source"] == RISING) | (rows["source"] == PULSE))
    return np.asarray(rows["p"] != 0)


def _length(item: Events | Packet) -> int:
    return len(item) if isinstance(item, Events) else len(item.rows)


def _times(item: Events | Packet) -> np.ndarray:
    return item.t if isinstance(item, Events) else item.rows["t"]


def _first(item: Events | Packet, n: int) -> Events | Packet:
    return item[:n] if isinstance(item, Events) else Packet(item.track, item.rows[:n])


def _rest(item: Events | Packet, n: int) -> Events | Packet:
    return item[n:] if isinstance(item, Events) else Packet(item.track, item.rows[n:])


def _written(file: BinaryIO) -> int:
    """Bytes of a file that another library may write, too."""
    return max(file.tell(), Path(file.name).stat().st_size)
