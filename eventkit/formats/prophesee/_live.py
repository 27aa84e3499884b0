"""How Prophesee's codes are read from recordings that are still being made."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from eventkit.errors import FormatError
from eventkit.events import Columns, Events
from eventkit.formats.base import HEAD, Report, Size
from eventkit.formats.live.feed import Feed, sensor_of
from eventkit.formats.prophesee._file import SLACK, STATE, TRIGGER, Code, File, Header, parse_header
from eventkit.formats.prophesee._read import SCRATCH, check_trailing, shifted, tell

SEEN = 1 << 12  # bytes from which a variant is known


def live(code: Code) -> Callable[..., Iterator[Events]]:
    """The reader of live recordings in a code."""

    def reader(
        feed: Feed,
        report: Report,
        into: Columns,
        *,
        strict: bool,
        size: Size | None = None,
        t0: Literal["sensor", "first"] = "sensor",
    ) -> Iterator[Events]:
        """Events as they come; size is needed if the header does not name it."""
        header = live_header(feed, SEEN if code.variant else 2)
        if header.kind not in (code.name, None):
            reason = f"its header says {header.kind}, expected {code.name}"
            raise FormatError(feed.path, 0, reason)
        state = np.zeros(1, STATE)
        if code.variant is not None:
            state["variant"] = code.variant(header, bytes(feed.data[header.begin :]))
        feed.use(header.begin)
        feed.settle()
        file = File(Path(feed.path), -1, code, header, header.begin, 0, state, ())
        yield from live_words(feed, file, report, into, strict, size, t0)

    return reader


def live_header(feed: Feed, beyond: int) -> Header:
    """The header of a live recording, when so many bytes behind it are there or it has ended."""
    for data in feed:
        with contextlib.suppress(ValueError):
            header = parse_header(bytes(data[:HEAD]))
            if len(data) >= header.begin + beyond:
                return header
        if len(data) >= 2 * HEAD:
            break
    try:
        return parse_header(bytes(feed.data[:HEAD]))
    except ValueError as error:
        raise FormatError(feed.path, feed.offset, str(error)) from None


def live_words(
    feed: Feed, file: File, report: Report, into: Columns, strict: bool, size: Size | None, t0: str
) -> Iterator[Events]:
    """The events of a live recording, whose header is used already; `file` knows no end."""
    sensor = sensor_of(feed, size or file.header.size)
    yield Events.empty(sensor)
    state, code, shift = file.state, file.code, None if t0 == "first" else 0
    for data in feed:
        words, k = file.words(data), 0
        marks = np.empty(len(words), TRIGGER)
        state["marked"] = 0
        while k < len(words):
            into.reserve(SCRATCH + SLACK)
            n, k = code.decode(words, k, state, into.arrays, 0, SCRATCH, marks)
            if n:
                shift = int(into.arrays[0][0]) if shift is None else shift
                yield shifted(into, n, sensor, shift)
        feed.use(words.nbytes)
    file = replace(file, end=feed.offset + len(feed.data))
    strict = strict and feed.stop is None  # else we stopped, maybe within a word
    check_trailing(file, strict)
    tell(file, state, report, strict)
