"""A recording with all its streams: `recording(path)`."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from eventkit.errors import EventkitError, OptionError
from eventkit.events import Columns
from eventkit.formats import reading
from eventkit.formats._packed import plain_file
from eventkit.formats.base import CHUNK, Format, Report
from eventkit.formats.recognise import format_of
from eventkit.formats.tracks import Track
from eventkit.formats.window import Clock, Time, Window, first_time
from eventkit.registry import bind, unknown


def recording(
    path: str | Path, *, format: str | None = None, strict: bool = True, **options: Any
) -> "Recording":
    """A recording with all its streams: events, frames, IMU, triggers, ...; nothing is read yet.

    Options are those of the reader of the format. strict=False leaves out what is damaged, and
    counts it in `report`. Of a packed file (.gz, .zst) a temporary copy is kept until `close`.

    >>> recording("davis.aedat4")  # doctest: +SKIP
    davis.aedat4 (aedat4, 346x260)
      events
      frames         25
      imu         3,836
      triggers      101
    >>> for rows in recording("davis.aedat4").imu(start="1s", stop="2s"):  # doctest: +SKIP
    ...     print(rows["t"], rows["gyroscope_x"])

    Raises FormatError for a file that is not what it claims to be, OptionError for a wrong option.
    """
    return Recording(Path(path), format, strict, options)


@dataclass(frozen=True)
class Found:
    """What a file is: its format, where its plain bytes are, and its tracks."""

    format: Format
    plain: Path
    tracks: dict[str, Track]


class Recording:
    """The streams of a recording, each read in chunks when it is asked for, as often as wished.

    `events` yields Events, all others yield structured arrays with the field t, whose further
    fields `eventkit.formats.tracks` lists. All times are those of the camera's clock in µs.
    `streams` has all by name. Windows are those of `eventkit.stream`: start and stop count from the
    first event, clock=(t0, t1) is on the camera's clock.
    """

    def __init__(
        self, path: Path, format: str | None, strict: bool, options: Mapping[str, Any]
    ) -> None:
        self.path, self.report = path, Report(checksum=False)
        self._strict, self._options = strict, dict(options)
        self._files = contextlib.ExitStack()
        fmt = format_of(path, format)
        plain, damage = self._files.enter_context(plain_file(path, options, strict))
        if damage:
            self.report.notes.append(damage)
        reader = {key: value for key, value in options.items() if key != "expansion"}
        asked = {"chunk": CHUNK, "strict": strict, **Window().options()}
        bound = bind(fmt.stream, {**reader, **asked}, fmt.name)
        tracks: list[Track] = []
        if fmt.tracks is not None:
            own = {key: bound[key] for key in reading.own(fmt.tracks, bound)}
            tracks = fmt.tracks(plain, **own, _strict=strict, _report=self.report)
        self._found = Found(fmt, plain, {track.name: track for track in tracks})

    @property
    def format(self) -> str:
        """The name of the format."""
        return self._found.format.name

    @property
    def streams(self) -> dict[str, Track]:
        """All streams but the events, by name; those of the kind "other" cannot be read."""
        return dict(self._found.tracks)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the sensor."""
        with self.events(chunk=1) as events:
            return next(events).size

    @cached_property
    def header(self) -> dict[str, Any]:
        """What the file says of itself; nothing if its header is damaged and not strict."""
        try:
            return reading.header(self._found.format, self._found.plain, self._options)
        except EventkitError:
            if self._strict:
                raise
            return {}

    def beside(self) -> dict[str, int]:
        """How much else is in the file that is no stream, by name: arrays, columns, topics."""
        fmt = self._found.format
        if fmt.beside is None:
            return {}
        counts = fmt.beside(self._found.plain, **reading.own(fmt.beside, self._options))
        return {name: n for name, n in counts.items() if n}

    @cached_property
    def first(self) -> int:
        """The time of the first event (µs), from which windows count; 0 if there is none."""
        options = {"chunk": 1, "strict": self._strict, **Window().options(), **self._options}
        fmt = self._found.format
        options.pop("expansion", None) if not fmt.expansion else None
        return first_time(fmt, self._found.plain, bind(fmt.stream, options, fmt.name)) or 0

    def window(
        self, start: Time | None = None, stop: Time | None = None, clock: Clock | None = None
    ) -> tuple[int | None, int | None]:
        """A window on the camera's clock: start <= t < stop in µs, None for no limit."""
        asked = Window.of(start, stop, clock)
        found = asked.after(self.first if asked.counted else None)
        return found.start, found.stop

    def events(
        self,
        chunk: int = CHUNK,
        *,
        start: Time | None = None,
        stop: Time | None = None,
        clock: Clock | None = None,
        into: Columns | None = None,
    ) -> reading.Stream:
        """The events in chunks of at most `chunk`, as `eventkit.stream` gives them."""
        options = dict(self._options)
        if not self._found.format.expansion:
            options.pop("expansion", None)
        return reading.stream(
            self._found.plain,
            chunk,
            start=start,
            stop=stop,
            clock=clock,
            strict=self._strict,
            format=self.format,
            report=self.report,
            into=into,
            **options,
        )

    def rows(
        self,
        name: str,
        *,
        start: Time | None = None,
        stop: Time | None = None,
        clock: Clock | None = None,
    ) -> Iterator[np.ndarray]:
        """The arrays of one stream, in the order of the file.

        Raises UnknownName when there is no stream of that name.
        """
        if name not in self._found.tracks:
            raise unknown(f"stream of {self.path}", name, list(self._found.tracks))
        track = self._found.tracks[name]
        if track.kind == "other":
            raise OptionError(f"{self.path}: {name} are of a kind that cannot be read")
        return track.within(*self.window(start, stop, clock))

    def frames(self, **window: Any) -> Iterator[np.ndarray]:
        """Frames: arrays of t, begin, end, pixels; none if there are no frames."""
        return self._first_of("frames", window)

    def imu(self, **window: Any) -> Iterator[np.ndarray]:
        """Samples of the IMU: arrays of t, accelerometer_x (g), gyroscope_x (°/s), ..."""
        return self._first_of("imu", window)

    def triggers(self, **window: Any) -> Iterator[np.ndarray]:
        """Triggers: arrays of t, p (1 rising) and id, or of t and source in AEDAT 4."""
        return self._first_of("triggers", window)

    def _first_of(self, kind: str, window: Mapping[str, Any]) -> Iterator[np.ndarray]:
        names = [name for name, track in self._found.tracks.items() if track.kind == kind]
        return self.rows(names[0], **window) if names else iter(())

    def close(self) -> None:
        """Delete the temporary copy of a packed file."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        counts = {"events": "", **{name: _count(t) for name, t in self._found.tracks.items()}}
        wide, long = max(map(len, counts)), max(map(len, counts.values()))
        lines = [f"  {name:<{wide}}  {count:>{long}}".rstrip() for name, count in counts.items()]
        return "\n".join([f"{self.path} ({self.format}, {self.size[0]}x{self.size[1]})", *lines])


def _count(track: Track) -> str:
    return "" if track.count is None else f"{track.count:,}"
