"""How files of Prophesee's codes are read: in chunks, in windows of time, by several threads.

`index` keeps the state at the begin of each block of a file, so that a window of time is read
without what lies outside, and threads know where to begin.
"""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Arrays, Columns, Events
from eventkit.formats import _index_cache
from eventkit.formats._holes import find_hole
from eventkit.formats.base import Format, Report, Size, limits
from eventkit.formats.filling import Extent, cut_short
from eventkit.formats.prophesee import _step as steps
from eventkit.formats.prophesee._file import (
    BLOCK,
    SLACK,
    STATE,
    TRIGGER,
    Code,
    File,
    is_kind,
)
from eventkit.formats.tracks import Track, as_signals, inside

SCRATCH = 1 << 16
COUNTS = {
    "early": "events before the first time",
    "triggers": "triggers",
    "others": "other words",
    "unknown": "unknown words",
}


@dataclass(frozen=True)
class Asked:
    """The arguments of a reader, as in `eventkit.formats.Format`, and the options of this family.

    size is that of the sensor, if the file does not name it; t0="first" sets the time of the
    first event of the file to 0; `threads` decode side by side.
    """

    chunk: int
    start: int | None
    stop: int | None
    strict: bool
    size: Size | None
    t0: str
    threads: int


def events(file: File, report: Report, into: Columns, asked: Asked) -> Iterator[Events]:
    """The events of a file, as a format's `stream` yields them."""
    if asked.threads < 1:
        raise OptionError(f"threads is {asked.threads}, expected at least 1")
    check_trailing(file, asked.strict)
    if not asked.strict and len(segments := _segments(file)) > 1:
        yield from _in_step(file, segments, report, into, asked)
        return
    size = _size(file, asked.size, report)
    shift = _first(file) if asked.t0 == "first" else 0
    room = max(1, min(asked.chunk, file.records * file.code.most))
    whole = asked.start is None and asked.stop is None
    if whole and asked.threads == 1:
        yield from _chunks(_whole(file, report, asked.strict), file, into, room, size, shift)
        return
    low, high = (limit + shift for limit in limits(asked.start, asked.stop))
    found = index(file)
    tell(file, found.state, report, asked.strict)
    rows = found.rows[found.rows["n"] > 0]
    rows = rows[(rows["last"] >= low) & (rows["first"] < high)]
    room = max(1, min(room, int(rows["n"].sum())))
    parts = _decoded(file, rows, into, room, size, shift, asked.threads)
    yield from _inside(parts, asked, size)


def _in_step(
    file: File, found: list[steps.Segment], report: Report, into: Columns, asked: Asked
) -> Iterator[Events]:
    """The events of a file of which bytes are lost: of its segments, one after the other."""
    steps.tell(found, report)
    size = _size(replace(file, end=found[0][1]), asked.size, report)
    shift = _first(replace(file, end=found[0][1])) if asked.t0 == "first" else 0
    state = file.state.copy()

    def blocks() -> Iterator[Block]:
        for part in steps.parts(file, found):
            for block in part.blocks():
                state["marked"] = 0
                yield file.words(block), state
        tell(file, state, report, False)

    room = max(1, min(asked.chunk, file.records * file.code.most))
    yield from _inside(_chunks(blocks(), file, into, room, size, shift), asked, size)


def _inside(parts: Iterable[Events], asked: Asked, size: tuple[int, int]) -> Iterator[Events]:
    """The events of the window, and at least one (maybe empty) chunk."""
    whole, empty = asked.start is None and asked.stop is None, True
    for part in parts:
        inside = part if whole else part.between(asked.start, asked.stop)
        del part
        if len(inside):
            empty = False
            yield inside
        del inside  # so that its memory can be used again
    if empty:
        yield Events.empty(size)


def _segments(file: File) -> list[steps.Segment]:
    """The parts of a file in which words are in step: all of it, where few words are unknown."""
    return steps.segments(file) if _suspect(index(file).state) else [(file.begin, file.end)]


def _suspect(state: np.ndarray) -> bool:
    """Whether bytes may be missing, from the state after the last word."""
    return bool(state["unknown"][0] >= steps.STRAY or state["holes"][0])


def check_trailing(file: File, strict: bool) -> None:
    if strict:  # else `tell` counts it
        what = f"a word of {file.code.stride}"
        cut_short(file.path, file.end, file.trailing, what, strict, Report())


def _decoded(
    file: File,
    rows: np.ndarray,
    into: Columns,
    room: int,
    size: tuple[int, int],
    shift: int,
    threads: int,
) -> Iterator[Events]:
    """The events of some blocks of the index; several threads decode as many as fit in `room`."""
    if threads == 1 or int(rows["n"].max(initial=0)) > room:
        yield from _chunks(_chosen(file, rows), file, into, room, size, shift)
        return
    with ThreadPoolExecutor(threads) as pool:
        while len(rows):
            ends = np.cumsum(rows["n"])
            now = int(np.searchsorted(ends, room, "right"))
            into.reserve(room + SLACK)
            work = functools.partial(_place, file, into)
            list(pool.map(work, rows[:now], (ends - rows["n"])[:now].tolist()))
            yield shifted(into, int(ends[now - 1]), size, shift)
            rows = rows[now:]


def _place(file: File, into: Columns, row: Any, at: int) -> None:
    """Decode the events of a block to a place in the columns, and nothing beyond them."""
    ((words, state),) = _chosen(file, [row])
    n = int(row["n"])
    columns = Arrays(*(column[at : at + n] for column in into.arrays))
    file.code.decode(words, 0, state, columns, 0, n, _marks(file))


def _size(file: File, option: Size | None, report: Report) -> tuple[int, int]:
    """The size given, or that of the header, or the smallest that holds all events, with a note."""
    if option is not None:
        return option
    if file.header.size is not None:
        return file.header.size
    extent = Extent()
    for _, x, y, _ in _pieces(file):
        extent.see(x, y)
    return extent.size(file.path, report)


def _first(file: File) -> int:
    """The time of the first event, 0 if there is none."""
    return next((int(t[0]) for t, _, _, _ in _pieces(file) if len(t)), 0)


def _pieces(file: File) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The columns of all events, a few at a time, in memory that is filled again."""
    state, marks = file.state.copy(), _marks(file)
    columns = Columns()
    columns.reserve(SCRATCH + SLACK)
    for block in file.blocks():
        words, k = file.words(block), 0
        state["marked"] = 0
        while k < len(words):
            n, k = file.code.decode(words, k, state, columns.arrays, 0, SCRATCH, marks)
            t, x, y, p = columns.arrays
            yield t[:n], x[:n], y[:n], p[:n]


def tracks(
    code: Code, path: Path, *, _strict: bool = True, _report: Report | None = None
) -> list[Track]:
    """The external triggers, if there are any, block by block."""
    with File.open(path, code) as file:
        found = index(file)
    counts = np.append(found.rows["state"]["triggers"], found.state["triggers"])
    there = np.diff(counts) > 0  # blocks with triggers

    def rows(low: int, high: int) -> Iterator[np.ndarray]:
        chosen = found.rows[there & (found.rows["last"] >= low) & (found.rows["first"] < high)]
        columns = Columns()
        columns.reserve(SCRATCH + SLACK)
        with File.open(path, code) as file:
            marks = _marks(file)
            for words, state in _chosen(file, chosen):
                k = 0
                while k < len(words):
                    _, k = code.decode(words, k, state, columns.arrays, 0, SCRATCH, marks)
                part = inside(marks[: int(state["marked"][0])].copy(), low, high)
                if len(part):
                    yield part

    total = int(found.state["triggers"][0])
    return [Track("triggers", "triggers", rows, total)] if total else []


Block = tuple[np.ndarray, np.ndarray]  # words, and the state before them


def _whole(file: File, report: Report, strict: bool) -> Iterator[Block]:
    """All blocks of a file; fills the report when they are decoded."""
    state = file.state.copy()
    crc = google_crc32c.value(os.pread(file.fd, file.begin, 0))
    for block in file.blocks():
        crc = google_crc32c.extend(crc, block)
        state["holes"] += find_hole(block)[0] >= 0
        state["marked"] = 0
        yield file.words(block), state
    report.crc32c = crc
    tell(file, state, report, strict)


def _chosen(file: File, rows: Iterable[Any]) -> Iterator[Block]:
    """Some blocks of the index only."""
    for row in rows:
        state = np.array([row["state"]], STATE)
        state["marked"] = 0
        yield file.words(next(file.blocks(int(row["at"])))), state


def tell(file: File, state: np.ndarray, report: Report, strict: bool) -> None:
    """Report what was left out, from the state after the last word."""
    suspect = _suspect(state) and file.fd >= 0  # live bytes are gone by now
    if strict and suspect and len(found := steps.segments(file)) > 1:
        reason = steps.REASON.format("from here on")
        hint = "strict=False finds where they are in step again"
        raise FormatError(file.path, found[0][1], f"{reason}; {hint}")
    for field, name in COUNTS.items():
        if state[field][0]:
            report.counts[name] += int(state[field][0])
    if file.trailing:
        report.counts["trailing bytes"] += file.trailing
    if state["vector"][0]:
        reason = "the file ends between the two words of a vector; it is cut off"
        if strict:
            raise FormatError(file.path, file.end, f"{reason}; strict=False reads the others")
        report.notes.append(reason)
    if file.records and not state["started"][0]:
        reason = f"no word has a time, so there are no events: these are no {file.code.name} words"
        if strict:
            raise FormatError(file.path, file.begin, f"{reason}; strict=False lets that pass")
        report.notes.append(reason)


def _chunks(
    blocks: Iterator[Block],
    file: File,
    into: Columns,
    room: int,
    size: tuple[int, int],
    shift: int,
) -> Iterator[Events]:
    """Decoded blocks in chunks of `room` events, the last of what is left."""
    n, empty, fresh = 0, True, True
    over: list[np.ndarray] = []  # what a word gave beyond the room of its chunk
    marks = _marks(file)
    for words, state in blocks:
        k = 0
        while k < len(words) or n >= room:
            if fresh:
                _renew(into, room, over)
                fresh = False
            if n < room:
                n, k = file.code.decode(words, k, state, into.arrays, n, room, marks)
            if n >= room:
                over = [column[room:n].copy() for column in into.arrays]
                yield shifted(into, room, size, shift)
                n, empty, fresh = n - room, False, True
    if n or empty:
        if fresh:
            _renew(into, room, over)
        yield shifted(into, n, size, shift)


def _marks(file: File) -> np.ndarray:
    """Room for the triggers of a block."""
    return np.empty(min(BLOCK // file.code.stride, file.records), TRIGGER)


def _renew(into: Columns, room: int, over: list[np.ndarray]) -> None:
    into.reserve(room + SLACK)
    for column, values in zip(into.arrays, over, strict=False):
        column[: len(values)] = values


def shifted(into: Columns, n: int, size: tuple[int, int], shift: int) -> Events:
    if shift:
        into.arrays[0][:n] -= shift
    return into.events(n, size)


ROW = np.dtype(
    [
        ("at", np.int64),  # byte of the first word of a block
        ("n", np.int64),  # events
        ("first", np.int64),  # no event of the block is earlier or later than
        ("last", np.int64),
        ("state", STATE),  # before the first word
    ]
)


@dataclass(frozen=True)
class Index:
    """rows is a structured array (ROW), one for each block; state is that after the last word."""

    rows: np.ndarray
    state: np.ndarray

    @property
    def events(self) -> int:
        return int(self.rows["n"].sum())


def index(file: File) -> Index:
    """The index of a file, from one pass over all of it; kept for the last few files, and for
    large ones in the user's cache folder."""
    return _index(file.path, file.code, file.begin, file.state.tobytes(), file.stamp)


@functools.lru_cache(maxsize=16)
def _index(path: Path, code: Code, begin: int, before: bytes, stamp: tuple[int, ...]) -> Index:
    state = np.frombuffer(before, STATE).copy()
    with File.open(path, code) as file:
        file = replace(file, begin=begin)
        about = code.name.encode(), str(begin).encode(), before, repr(ROW).encode()
        kept = _index_cache.load(file.fd, about, (ROW, STATE))
        if kept is not None and len(kept[1]) == 1:
            return Index(kept[0], kept[1])
        rows = np.zeros(-(-max(file.end - begin, 0) // BLOCK), ROW)
        for number, block in enumerate(file.blocks()):
            row = rows[number : number + 1]
            row["at"], row["state"] = begin + BLOCK * number, state
            row["n"], row["first"], row["last"] = code.measure(file.words(block), state)
            state["holes"] += find_hole(block)[0] >= 0
        _index_cache.save(file.fd, about, (rows, state))
        return Index(rows, state)


def raw(
    code: Code, title: str, write: Callable[..., None] | None, live: Callable[..., Any]
) -> Format:
    """The format of RAW files in a code."""

    def stream(
        path: Path,
        report: Report,
        into: Columns,
        *,
        chunk: int,
        start: int | None,
        stop: int | None,
        strict: bool,
        size: Size | None = None,
        t0: Literal["sensor", "first"] = "sensor",
        threads: int = 1,
    ) -> Iterator[Events]:
        """Events; size (as 1280x720) is that of the sensor, if the header does not name it.

        t0=first sets the time of the first event to 0. Several `threads` decode whole blocks
        after a pass that counts; their chunks may be shorter than asked.

        Counts, of the whole file: triggers, events before the first time, other words, unknown
        words, trailing bytes.
        """
        with File.open(path, code) as file:
            asked = Asked(chunk, start, stop, strict, size, t0, threads)
            yield from events(file, report, into, asked)

    return Format(
        name=code.name.lower(),
        title=title,
        suffixes=(".raw",),
        stream=stream,
        write=write,
        detect=is_kind(code.name),
        bound=functools.partial(bound, code),
        bounded=code.most == 1,
        header=functools.partial(header, code),
        tracks=functools.partial(tracks, code),
        holds={"triggers": as_signals} if write else {},
        exact=True,
        heading=write is not None,
        appends=True,
        live=live(code),
        threads=True,
    )


def header(code: Code, path: Path) -> dict[str, Any]:
    """The lines of the header: format, geometry, system_id, ..."""
    with File.open(path, code) as file:
        return file.header.facts


def bound(code: Code, path: Path) -> int:
    """An upper limit of the number of events: counted where a word can hold several."""
    with File.open(path, code) as file:
        return file.records if code.most == 1 else index(file).events
