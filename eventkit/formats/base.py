"""What a format is, the table of all formats, and what every reader and writer uses."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.registry import Registry

CHUNK, WHOLE = 1_000_000, 1 << 62  # events
HEAD = 65536
NOTED, PLACES = 10, 100_000  # damaged places that get a sentence, and that are listed
LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
# What writers advise where a format cannot hold the events.
FIRST = "t0=first subtracts the first time"
CROP = "the transform crop:width=W,height=H makes the sensor smaller"


@dataclass
class Report:
    """What a reader met beside the events it returned: nothing is dropped without a count.

    counts has what was left out, by name; notes are sentences for a person; crc32c is that of the
    whole file, where the reader went through all of it; span is its first and last time (µs), where
    an index knows them though only a window was read. A reader may spare itself that sum where
    checksum is False, as when nobody gave a report. Of a live recording, format and bytes are what
    it was and how many came. places are the damaged ones that were skipped, as far as they are
    known: first byte, byte behind the last, reason.
    """

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    crc32c: int | None = None
    span: tuple[int, int] | None = None
    checksum: bool = True
    format: str | None = None
    bytes: int = 0
    places: list[tuple[int, int, str]] = field(default_factory=list)

    def skipped(self, at: int, end: int, reason: str, note: str | None = None) -> None:
        """Count a damaged place, list it, and note the first few in a sentence."""
        self.counts["damaged places"] += 1
        self.counts["skipped bytes"] += end - at
        n = self.counts["damaged places"]
        if len(self.places) < PLACES:
            self.places.append((at, end, reason))
        if n <= NOTED:
            self.notes.append(note or f"at byte {at:,}: {reason}; skipped to byte {end:,}")
        elif n == NOTED + 1:
            self.notes.append("further damaged places are counted, not listed")


@dataclass(frozen=True)
class Format:
    """One file format: functions of a path, no state.

    stream(path, report, into, *, chunk, start, stop, strict, **options) yields the events with
    start <= t < stop in file order, at most `chunk` at a time, and at least one (maybe empty)
    chunk; it counts in `report` what it leaves out, and decodes into the columns `into`, of which
    it reserves what it needs anew for each chunk. Its further keyword arguments are the options
    of the format.
    write(file, chunks, **options) writes at least one chunk to an open binary file.
    detect(head) says whether the first 64 KiB are of this format; a format without is known by
    its suffix.
    bound(path) is an upper limit of the number of events, for exact allocation; `bounded` says that
    the reader itself reserves no more than that, however large a `chunk` it is asked for.
    header(path, **options) is what the file says of itself; its keyword arguments are those
    options of the reader without which it could not be read.
    extras has functions of a path that give what is beside the events, as triggers.
    tracks(path, _strict=True, _report=None, **options) lists what else the file holds that has
    times (`formats.tracks.Track`); holds has the kinds of tracks that `write` can write, and
    functions that make of their rows what it can hold: it then takes them as `_tracks`, and Packets
    among the chunks; exact says that each trigger must stand before the first later event. heading
    says that it takes `_header` (texts by name), appends that it never goes back in the file.
    beside(path, **options) counts by name what is in the file and neither among the events nor the
    tracks: what the reader does not count in its report because it never looks at it.
    threads says that its reader has the option `threads` (several decode one file side by side),
    expansion that it has `expansion` (it bounds to how much a file may unpack).
    sized says whether the format keeps the sensor's size.
    reveals is what damage a reader is sure to find: that of single "bytes", by checksums; that of
    "blocks" (zeroed, or missing), by lengths and tables; or "nothing", as any bytes are events.
    live(feed, report, into, *, strict, **options) yields the events of a recording that is still
    being made, as its bytes come (`live.feed.Feed`), an empty chunk first; a format without is read
    from standard input by way of a file.
    folder is the name of the file by which a folder is known to be one recording.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    stream: Callable[..., Iterator[Events]]
    write: Callable[..., None] | None = None
    detect: Callable[[bytes], bool] | None = None
    bound: Callable[[Path], int] | None = None
    header: Callable[..., dict[str, Any]] | None = None
    extras: Mapping[str, Callable[[Path], np.ndarray]] = field(default_factory=dict)
    live: Callable[..., Iterator[Events]] | None = None
    folder: str | None = None
    beside: Callable[..., dict[str, int]] | None = None
    bounded: bool = False
    tracks: Callable[..., list[Any]] | None = None
    holds: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    exact: bool = False
    heading: bool = False
    appends: bool = False
    threads: bool = False
    expansion: bool = False
    sized: bool = True
    reveals: Literal["bytes", "blocks", "nothing"] = "nothing"


FORMATS: Registry[Format] = Registry(
    "file format", "eventkit.formats", options=lambda entry: entry.stream
)


def parse_size(size: object) -> tuple[int, int]:
    """Width and height, from a pair or text like 128x128 (or (128, 128), the text of a tuple).

    >>> parse_size("346x260"), parse_size((346, 260))
    ((346, 260), (346, 260))
    """
    text = "{}x{}".format(*size) if isinstance(size, tuple | list) and len(size) == 2 else str(size)
    match = re.fullmatch(r"\(?(\d+)(?:x|, ?)(\d+)\)?", text.strip())
    if match is None or not all(0 < int(side) <= 65536 for side in match.groups()):
        raise OptionError(f"size is {size!r}, expected width x height within 1..65536, as 128x128")
    return int(match[1]), int(match[2])


# An option of this type is (width, height), or that as text.
Size = Annotated[tuple[int, int], parse_size]


def limits(start: int | None, stop: int | None) -> tuple[int, int]:
    """A window of time as two numbers of 64 bits, where None is no limit."""
    low = LOWEST if start is None else min(max(start, LOWEST), HIGHEST)
    high = HIGHEST if stop is None else min(max(stop, LOWEST), HIGHEST)
    return low, high


class opened:
    """Where a `with` block reads the file descriptor of a file: in half the time of Path.open."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)


def fill(fd: int, buffer: np.ndarray, offset: int) -> int:
    """Read bytes of a file into a uint8 array, from a byte offset on, and say how many there were.

    Fewer than fit come only at the end of the file. Files are read, never mapped: one that is cut
    while it is mapped kills the process.
    """
    n = 0
    while n < len(buffer) and (got := os.preadv(fd, [buffer[n:].data], offset + n)):
        n += got
    return n
