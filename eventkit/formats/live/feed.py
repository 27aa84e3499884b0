"""Recordings that are still being made: standard input, a file that grows, datagrams.

Their bytes come through a Feed, of which a format's `live` takes what it can use. A format that
needs all of a file at once (HDF5, .npz, ...) is read from standard input by way of a temporary
file. Datagrams hold words of `spif`, at most 512 bytes of them, as AEStream sends and takes them.
"""

import contextlib
import os
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.events import chunks as cut
from eventkit.formats.base import FORMATS, HEAD, Format, Report
from eventkit.formats.live.sources import Datagrams, Growing, Pipe, Source, resolved
from eventkit.formats.recognise import known_by, unknown_format
from eventkit.formats.window import Window, windowed
from eventkit.registry import bind

TICK = 0.05  # s between two looks at a file, a clock or a wish to stop
BLOCK, LARGEST = 1 << 20, 1 << 16  # bytes that are held, and of the largest datagram
LONGEST = 1 << 27  # bytes that a record may have
DATAGRAM = 512  # bytes of one that is sent
NO_TIME = np.uint32(1 << 31)  # the bit of a word that no time follows
ENOUGH = 64  # bytes of which a suffix can be believed that they have no magic
STEP = 1000  # µs of events that are sent at once, where they are sent at their pace


@dataclass(frozen=True)
class Until:
    """When a live recording ends: after so many seconds, after so many without a byte, or when
    `ended` says so and all that was there at that moment has been read; at the end of standard
    input at any rate.
    """

    seconds: float | None = None
    idle_s: float | None = None
    ended: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "idle_s"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise OptionError(f"{name} is {value}, expected a length of time in seconds")


class Feed:
    """The bytes that came and are not used yet: `data`, which begins at byte `offset` of all.

    stop says why it ended (ended, seconds or idle), None where its source did: then the last record
    should be whole.
    """

    def __init__(self, source: Source, path: str, until: Until) -> None:
        self.path, self.offset, self.ended = path, 0, False
        self.stop: str | None = None
        self._left = 0  # bytes that are still read once `Until.ended` said so
        self._source, self._until = source, until
        self._buffer = np.empty(BLOCK, np.uint8)
        self._begin = self._end = 0
        self._started = self._last = time.monotonic()

    @property
    def data(self) -> np.ndarray:
        return self._buffer[self._begin : self._end]

    def use(self, n: int) -> None:
        """The first n bytes are done with."""
        self._begin += n
        self.offset += n

    def __iter__(self) -> Iterator[np.ndarray]:
        """What is there, and again whenever there is more, until the end."""
        yield self.data
        while self.more():
            yield self.data

    def to_the_end(self) -> Iterator[tuple[np.ndarray, bool]]:
        """As iterating, and once more when no byte will come any more: then it is the last time."""
        for data in self:
            yield data, False
        yield self.data, True

    def more(self) -> bool:
        """Wait for further bytes, and take all that are there; False if there will be none.

        `data` then begins at the same place of memory again.
        """
        while not self.ended:
            if not self._wait():
                self.ended = True
                break
            self._make_room()
            before = self._end
            while len(self._buffer) - self._end >= LARGEST and self._source.ready(0):
                n = self._source.read(self._buffer[self._end :])
                self._left -= n or 1
                self.ended = n is None
                self._end += n or 0
                if not n:
                    break
            if self._end > before:
                self._last = time.monotonic()
                return True
        return False

    def settle(self) -> None:
        """Have `data` begin where it does after `more`, as kernels want words at such places."""
        self._make_room()

    def drain(self) -> None:
        """Leave out all that comes until the end."""
        for data in self:
            self.use(len(data))

    def _wait(self) -> bool:
        """Whether there are bytes; False once an end was asked for, however fast they come."""
        until = self._until
        while True:
            now = time.monotonic()
            if self.stop is None and until.ended is not None and until.ended():
                self.stop, self._left = "ended", self._source.waiting()
            if until.seconds is not None and now >= self._started + until.seconds:
                self.stop = self.stop or "seconds"
                return False
            if self.stop is not None and self._left <= 0:
                return False
            if self._source.ready(0):
                return True
            if self.stop is not None:
                return False
            if until.idle_s is not None and now >= self._last + until.idle_s:
                self.stop = "idle"
                return False
            ends = [self._started + until.seconds] if until.seconds is not None else []
            ends += [self._last + until.idle_s] if until.idle_s is not None else []
            self._source.ready(min([TICK, *(end - now for end in ends)]))

    def _make_room(self) -> None:
        tail = self.data
        if len(tail) > len(self._buffer) // 2:
            if len(tail) > LONGEST:
                reason = f"a record has more than {LONGEST:,} bytes, which cannot be true"
                raise FormatError(self.path, self.offset, reason)
            self._buffer = np.empty(2 * len(self._buffer), np.uint8)
        self._buffer[: len(tail)] = tail.copy()
        self._begin, self._end = 0, len(tail)


def until(options: dict[str, Any]) -> tuple[Until, dict[str, Any]]:
    """When to end, and the other options."""
    names = ("seconds", "idle_s", "ended")
    told = {name: value for name, value in options.items() if name in names}
    rest = {name: value for name, value in options.items() if name not in (*names, "follow")}
    return Until(**told), rest


def is_live(path: str | Path) -> bool:
    """Whether a path names a source without an end: - (standard input) or udp://HOST:PORT."""
    return str(path) == "-" or is_address(path)


def is_address(path: str | Path) -> bool:
    """Whether a path names a port: udp://HOST:PORT."""
    return isinstance(path, str) and path.startswith("udp://")


def stream(
    path: str | Path,
    asked: dict[str, Any],
    name: str | None,
    report: Report,
    into: Columns | None,
    window: Window,
) -> Generator[Events, None, None]:
    """The events of a live recording, as `eventkit.formats.stream` gives those of a file.

    A chunk has what is there, so that none waits for later events. Among what is asked for may be
    the fields of Until.
    """
    ends, asked = until(asked)
    chunk, strict = asked.pop("chunk"), asked.pop("strict")
    if chunk < 1:
        raise OptionError(f"chunk is {chunk}, expected at least 1")
    with _opened(path, report, ends) as feed:
        fmt = _format_of(feed, name, path)
        report.format = fmt.name
        if fmt.live is None:
            given = {**asked, **Window().options(), "chunk": chunk, "strict": strict}
            again = bind(fmt.stream, given, fmt.name)
            yield from _spooled(feed, fmt, again, report, into, window)
            return
        bound = bind(fmt.live, {**asked, "strict": strict}, f"{fmt.name}, live,")
        size, empty = (1, 1), True
        limits: Window | None = None
        for events in fmt.live(feed, report, into or Columns(), **bound):
            size = events.size
            if len(events):
                limits = limits or window.after(int(events.t[0]))
                if limits != Window():
                    events = events.between(limits.start, limits.stop)
            for part in cut(events, chunk):
                if len(part):
                    empty = False
                    report.bytes = feed.offset + len(feed.data)
                    yield part
        report.bytes = feed.offset + len(feed.data)
        if empty:
            yield Events.empty(size)


@contextlib.contextmanager
def _opened(path: str | Path, report: Report, until: Until) -> Iterator[Feed]:
    if is_address(path):
        source = Datagrams(str(path), report)
        with contextlib.closing(source):
            yield Feed(source, str(path), until)
    elif str(path) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise FormatError("-", None, "standard input is a terminal; expected a recording")
        yield Feed(Pipe(sys.stdin.fileno()), "-", until)
    else:
        with Path(path).open("rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FormatError(path, None, "is no regular file, which could be followed")
            yield Feed(Growing(file.fileno(), Path(path)), str(path), until)


def _format_of(feed: Feed, name: str | None, path: str | Path) -> Format:
    """The format named, or the one that the first bytes tell, for which it is waited."""
    if is_address(path):
        if name not in (None, "spif"):
            raise OptionError(f"{path}: datagrams are read as spif, not as {name}")
        return FORMATS["spif"]
    suffix = "" if is_live(path) else Path(path).suffix.lower()
    fmt = FORMATS[name] if name else None
    for data in feed:
        head = bytes(data[:HEAD])
        fmt = fmt or known_by(head, suffix if len(head) >= ENOUGH else "")
        if fmt is not None or len(head) == HEAD:
            break
    head = bytes(feed.data[:HEAD])
    if feed.ended and not head:
        raise FormatError(feed.path, None, "nothing came; expected a recording")
    return fmt or known_by(head, suffix) or unknown_format(feed.path, head)


def _spooled(
    feed: Feed,
    fmt: Format,
    bound: dict[str, Any],
    report: Report,
    into: Columns | None,
    window: Window,
) -> Iterator[Events]:
    """All of a feed by way of a file."""
    if feed.path != "-":
        raise OptionError(f"{feed.path}: {fmt.name} cannot be followed, as it is read as a whole")
    with tempfile.NamedTemporaryFile(suffix=fmt.suffixes[0]) as file:
        for data in feed:
            file.write(data.data)
            feed.use(len(data))
        file.flush()
        if feed.stop is not None:  # we stopped, maybe within a record
            bound["strict"] = False
        try:
            yield from windowed(fmt, Path(file.name), report, into or Columns(), bound, window)
        except FormatError as error:
            raise FormatError("-", error.offset, error.reason) from None


def sensor_of(
    feed: Feed, size: tuple[int, int] | None, option: str = "size=WxH"
) -> tuple[int, int]:
    """The size of the sensor; OptionError if neither the head of the stream nor the user told."""
    if size is None:
        reason = "a recording that is still being made does not tell the sensor's size"
        raise OptionError(f"{feed.path}: {reason}; {option} sets it")
    return size


def cut_off(feed: Feed, report: Report, strict: bool, what: str, before: int = 0) -> None:
    """What is left at the end is no whole record: FormatError, or counted.

    It is counted if not strict, or where we stopped before the source did. `before` are bytes of
    the record that are used already.
    """
    n = len(feed.data) + before
    if n and strict and feed.stop is None:
        reason = f"the recording ends {n:,} bytes into {what}; it is cut off"
        raise FormatError(feed.path, feed.offset - before, f"{reason}; strict=False reads the rest")
    if n:
        report.counts["trailing bytes"] += n


def send(
    address: str, chunks: Iterable[Events], name: str | None, options: Mapping[str, Any]
) -> None:
    """Events as datagrams of `spif`; speed=1 is at the pace of their times, 2 twice as fast.

    times=False sends words without times, as AEStream's receiver takes a time for one more event.
    """
    if name not in (None, "spif"):
        raise OptionError(f"{address}: datagrams are written as spif, not as {name}")
    asked = bind(_sending, options, "spif by udp")
    speed = asked["speed"]
    if speed is not None and not speed > 0:
        raise OptionError(f"speed is {speed}, expected more than 0, as 1 for real time")
    write = FORMATS["spif"].write
    assert write is not None
    family, kind, proto, _, place = resolved(address, passive=False)
    with socket.socket(family, kind, proto) as out:
        out.connect(place)
        write(_Sender(out, asked["times"]), _paced(chunks, speed) if speed else chunks)


def _sending(*, speed: float | None = None, times: bool = True) -> None:
    """The options of `send`."""


class _Sender:
    """A socket as a file: what is written is sent, whole words of 8 bytes in each datagram, or of 4
    without their times."""

    def __init__(self, out: socket.socket, times: bool) -> None:
        self._out, self._times = out, times

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        if not self._times:
            view = memoryview((np.frombuffer(data, "<u4")[::2] | NO_TIME).tobytes())
        for at in range(0, len(view), DATAGRAM):
            with contextlib.suppress(ConnectionRefusedError):  # nobody listens, or not yet
                self._out.send(view[at : at + DATAGRAM])
        return len(data)


def _paced(chunks: Iterable[Events], speed: float) -> Iterator[Events]:
    """The events, each group of STEP µs when it is due."""
    began, first = time.monotonic(), None
    for events in chunks:
        group = events.t // STEP
        edges = np.flatnonzero(group[1:] != group[:-1]) + 1
        for part in np.split(np.arange(len(events)), edges) if len(events) else [np.arange(0)]:
            if len(part):
                now = int(events.t[part[0]])
                first = now if first is None else first
                time.sleep(max(0.0, began + (now - first) / 1e6 / speed - time.monotonic()))
            yield events[part[0] : part[-1] + 1] if len(part) else events
