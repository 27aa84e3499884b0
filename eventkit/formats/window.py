"""Which part of a recording is read: counted from its first event, or on the camera's clock.

Readers take absolute times, start <= t < stop; here, once for all of them, a window that counts
from the first event becomes one.
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from eventkit.errors import OptionError
from eventkit.events import Columns, Events
from eventkit.formats.base import HIGHEST, LOWEST, Format, Report
from eventkit.units import microseconds

Time = int | float | str
Clock = tuple[Time | None, Time | None]
FAR = 10  # times the length of a recording: a `stop` so far behind its end is a time of a clock


@dataclass(frozen=True)
class Window:
    """start <= t < stop in µs, None for no limit; `counted` from the first event of the recording.

    >>> Window.of("1s", "1500ms", None)
    Window(start=1000000, stop=1500000, counted=True)
    >>> Window.of(None, None, (70_000_000, None))
    Window(start=70000000, stop=None, counted=False)
    """

    start: int | None = None
    stop: int | None = None
    counted: bool = False

    @classmethod
    def of(cls, start: Time | None, stop: Time | None, clock: Clock | None) -> Self:
        """What the arguments of `read` select; OptionError if they are no times or contradict."""
        if clock is None:
            ends = _time("start", start), _time("stop", stop)
            if ends[0] is not None and ends[1] is not None and ends[1] <= ends[0]:
                raise OptionError(f"stop={stop} is not after start={start}")
            return cls(*ends, counted=ends != (None, None))
        if start is not None or stop is not None:
            raise OptionError(
                "start and stop count from the first event, clock=(t0, t1) is on the camera's "
                "clock: give one or the other"
            )
        if not isinstance(clock, tuple | list) or len(clock) != 2:
            raise OptionError(f"clock is {clock!r}, expected two times: clock=(t0, t1)")
        return cls(_time("clock", clock[0]), _time("clock", clock[1]))

    def after(self, first: int | None) -> Self:
        """The same window on the camera's clock, if the first event is at `first` (None: none)."""
        origin = first or 0 if self.counted else 0
        start, stop = (
            None if end is None else min(max(origin + end, LOWEST), HIGHEST)
            for end in (self.start, self.stop)
        )
        return type(self)(start, stop)

    def options(self) -> dict[str, int | None]:
        """The arguments of a reader."""
        return {"start": self.start, "stop": self.stop}


EVERYTHING = Window()


def windowed(
    fmt: Format,
    path: Path,
    report: Report,
    into: Columns,
    options: Mapping[str, Any],
    window: Window,
) -> Generator[Events, None, None]:
    """The events of a file in the window.

    Raises OptionError where a window that counts from the first event lies behind the last one,
    or `stop` was plainly meant on the camera's clock: start and stop were that once.
    """
    if window == EVERYTHING:
        yield from fmt.stream(path, report, into, **{**options, **window.options()})
        return
    first = first_time(fmt, path, options) if window.counted else None
    last = None
    absolute = window.after(first)
    for events in fmt.stream(path, report, into, **{**options, **absolute.options()}):
        if len(events):
            last = int(events.t[-1])
        yield events
    if first is None:
        return
    if last is None and (window.start or 0) > 0:
        end = _last(fmt, path, options)
        if end < first + (window.start or 0):
            raise _beyond(path, "start", window.start or 0, first, end)
    elif last is not None and window.stop is not None and not window.start:
        length = last - first
        if window.stop > FAR * length and first < window.stop <= last + 1:
            raise _beyond(path, "stop", window.stop, first, last)


def _beyond(path: Path, name: str, value: int, first: int, last: int) -> OptionError:
    return OptionError(
        f"{path}: {name} is {value:,} µs after the first event, but the last one comes after "
        f"{last - first:,} µs; start and stop count from the first event, clock=(t0, t1) selects "
        f"on the camera's clock, here from {first} to {last} µs"
    )


def first_time(fmt: Format, path: Path, options: Mapping[str, Any]) -> int | None:
    """The time of the first event in the file; None if there is none."""
    for events in _all(fmt, path, options, chunk=1):
        if len(events):
            return int(events.t[0])
    return None


def _last(fmt: Format, path: Path, options: Mapping[str, Any]) -> int:
    """The latest time in the file, which has events."""
    return max(int(events.t.max()) for events in _all(fmt, path, options) if len(events))


def _all(fmt: Format, path: Path, options: Mapping[str, Any], **others: Any) -> Iterator[Events]:
    everything = {**options, **others, "start": None, "stop": None}
    return fmt.stream(path, Report(checksum=False), Columns(), **everything)


def _time(name: str, value: Time | None) -> int | None:
    if isinstance(value, int):
        return value  # beyond all times too: it is cut to them later
    try:
        return None if value is None else microseconds(value)
    except ValueError as error:
        raise OptionError(f"{name} is {error}") from None
