"""What the formats of Prophesee share: the header, and streams of words of equal length.

The header has lines `% key value` and ends with `% end`, or where no further line starts with "% ".
Then come words, little endian, in which a state (time, row, ...) is carried from word to word: a
`Code` has the kernel that decodes them. A file is read block by block, never mapped; `index` keeps
the state at the begin of each block, so that a window of time is read without what lies outside.
Sources: the headers of openeb, https://github.com/prophesee-ai/openeb (generic_header.cpp,
psee_raw_file_header.cpp), and https://docs.prophesee.ai/stable/data/file_formats/raw.html
"""

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import google_crc32c
import numpy as np

from eventkit._jit import jit
from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats import HEAD, Format, Report, fill, limits, parse_size

BLOCK = 1 << 19  # stays in the second-level cache between read, checksum and decoding
SLACK = 64  # events that a kernel may decode beyond the room it is given
SCRATCH = 1 << 16
TRIGGER = np.dtype([("t", np.int64), ("p", np.uint8), ("id", np.uint8)])
STATE = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("started", "high", "loops"),  # whether there was a time, its high part, its wraps
            *("low", "y", "x", "p", "vector"),  # of EVT3; whether EVT4 owes a mask
            *("variant", "marked"),  # of the layout; triggers of this block
            *("early", "triggers", "others", "unknown"),  # words that are no events, counted
        )
    ]
)
COUNTS = {
    "early": "events before the first time",
    "triggers": "triggers",
    "others": "other words",
    "unknown": "unknown words",
}
KINDS = {"2.0": "EVT2", "2.1": "EVT21", "3.0": "EVT3", "4.0": "EVT4"}
# Sizes of the sensors whose recordings do not name one, by version and system_ID.
VGA, HD = (640, 480), (1280, 720)
SYSTEMS = {
    **{("EVT2", n): VGA for n in (21, 23, 25, 28, 29, 33, 34, 35, 41, 151, 153, 161, 162)},
    **{("EVT2", n): HD for n in (26, 31, 39)},
    ("EVT3", 40): VGA,
    **{("EVT3", n): HD for n in (30, 46, 48, 49, 50)},
}


@dataclass(frozen=True)
class Code:
    """One way to code events in words.

    decode(words, k, state, t, x, y, p, n, room, marks) decodes from word k on and appends to n
    events until there are `room` or a few more (up to SLACK), notes triggers in `marks`, and
    returns the new n and k. measure(words, state) goes over words in the same way, without their
    events: it returns how many there are, and bounds of their times. `word` is the type of a word
    for the kernels; what belongs together has `stride` bytes, with at most `most` events.
    """

    name: str
    word: str
    stride: int
    most: int
    decode: Callable[..., tuple[int, int]]
    measure: Callable[..., tuple[int, int, int]]


@dataclass(frozen=True)
class Header:
    """The lines `% key value`: the byte behind them, and what they say (keys in lower case)."""

    begin: int
    facts: dict[str, str]

    @property
    def kind(self) -> str | None:
        """EVT2, EVT21, EVT3, EVT4, another word after `format`, or None."""
        named = self.facts.get("format", "").partition(";")[0].strip().upper().replace(".", "")
        return named or KINDS.get(self.facts.get("evt", ""))

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height, said outright or known from the camera's number."""
        fields = dict(re.findall(r"(\w+)=(\w+)", self.facts.get("format", "")))
        sides = [fields.get(side) or self.facts.get(side, "") for side in ("width", "height")]
        for text in ("x".join(sides), self.facts.get("geometry", "")):
            if re.fullmatch(r"\d+x\d+", text):
                return parse_size(text)
        number = self.facts.get("system_id", "")
        return SYSTEMS.get((self.kind or "", int(number))) if number.isdecimal() else None


def parse_header(data: bytes) -> Header:
    """The header at the begin of a file; without one, it is empty and ends at byte 0.

    Raises ValueError when the data end within a line.
    """
    facts: dict[str, str] = {}
    begin = 0
    while data.startswith(b"% ", begin):
        stop = data.find(b"\n", begin)
        line = data[begin:] if stop < 0 else data[begin:stop]
        if re.search(rb"[^\t\r\x20-\xff]", line):
            break  # words that look like the begin of a line
        if stop < 0:
            raise ValueError("the file ends within its header; it is cut off")
        key, _, value = line[2:].decode("latin-1").strip().partition(" ")
        begin = stop + 1
        if key == "end":
            break
        facts[key.lower()] = value.strip()
    return Header(begin, facts)


def is_kind(kind: str) -> Callable[[bytes], bool]:
    """A detector of files whose header names that kind."""

    def detect(head: bytes) -> bool:
        try:
            return head.startswith(b"% ") and parse_header(head).kind == kind
        except ValueError:
            return False

    return detect


@dataclass(frozen=True)
class File:
    """An open file, seen as words of a code from a byte on; `state` is that before the first."""

    path: Path
    fd: int
    code: Code
    header: Header
    begin: int
    end: int
    state: np.ndarray
    stamp: tuple[int, ...]  # changes when the file does

    @classmethod
    @contextmanager
    def open(cls, path: Path, code: Code) -> Iterator[Self]:
        """Raises FormatError when the header is cut, or is that of another code."""
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            try:
                header = parse_header(os.pread(file.fileno(), HEAD, 0))
            except ValueError as error:
                raise FormatError(path, status.st_size, str(error)) from None
            if header.kind not in (code.name, None):
                reason = f"its header says {header.kind}, expected {code.name}"
                raise FormatError(path, 0, reason)
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            state = np.zeros(1, STATE)
            begin = header.begin
            yield cls(path, file.fileno(), code, header, begin, status.st_size, state, stamp)

    @property
    def trailing(self) -> int:
        """Bytes after the last whole word."""
        return max(self.end - self.begin, 0) % self.code.stride

    @property
    def records(self) -> int:
        return max(self.end - self.begin, 0) // self.code.stride

    def blocks(self, begin: int | None = None) -> Iterator[np.ndarray]:
        """The bytes from a place on in blocks of whole words, but for the last; one buffer."""
        at = self.begin if begin is None else begin
        buffer = np.empty(max(0, min(BLOCK, self.end - at)), np.uint8)
        while at < self.end:
            block = buffer[: self.end - at]
            n = fill(self.fd, block, at)
            if n < len(block):
                raise FormatError(self.path, at + n, "the file became shorter while it was read")
            yield block
            at += n

    def words(self, block: np.ndarray) -> np.ndarray:
        """A block as words for the kernel."""
        return block[: len(block) // self.code.stride * self.code.stride].view(self.code.word)


@dataclass(frozen=True)
class Asked:
    """The arguments of a reader, as in `eventkit.formats.Format`, and the options of this family.

    size is that of the sensor, if the file does not name it; t0="first" sets the time of the
    first event of the file to 0.
    """

    chunk: int
    start: int | None
    stop: int | None
    strict: bool
    size: str | None
    t0: str


def events(file: File, report: Report, into: Columns, asked: Asked) -> Iterator[Events]:
    """The events of a file, as a format's `stream` yields them."""
    if file.trailing and asked.strict:
        reason = f"the file ends {file.trailing} bytes into a word of {file.code.stride}"
        at = file.end - file.trailing
        raise FormatError(file.path, at, f"{reason}; it is cut off; strict=False reads the others")
    size = _size(file, asked.size, report)
    shift = _first(file) if asked.t0 == "first" else 0
    room = max(1, min(asked.chunk, file.records * file.code.most))
    if asked.start is None and asked.stop is None:
        yield from _chunks(_whole(file, report, asked.strict), file, into, room, size, shift)
        return
    low, high = (limit + shift for limit in limits(asked.start, asked.stop))
    found = index(file)
    _tell(file, found.state, report, asked.strict)
    rows = found.rows
    rows = rows[(rows["n"] > 0) & (rows["last"] >= low) & (rows["first"] < high)]
    room = max(1, min(room, int(rows["n"].sum())))
    empty = True
    for part in _chunks(_chosen(file, rows), file, into, room, size, shift):
        inside = part.between(asked.start, asked.stop)
        del part
        if len(inside):
            empty = False
            yield inside
        del inside  # so that its memory can be used again
    if empty:
        yield Events.empty(size)


def _size(file: File, option: str | None, report: Report) -> tuple[int, int]:
    """The size given, or that of the header, or the smallest that holds all events, with a note."""
    if option is not None:
        return parse_size(option)
    if file.header.size is not None:
        return file.header.size
    x = y = -1
    for _, xs, ys, _ in _pieces(file):
        if len(xs):
            x, y = max(x, int(xs.max())), max(y, int(ys.max()))
    if x < 0:
        reason = "neither its header nor an event tells the sensor's size; size=WxH sets it"
        raise FormatError(file.path, None, reason)
    taken = f"taken as {x + 1}x{y + 1} from the events; size=WxH sets it"
    report.notes.append(f"the sensor's size is not in the file, {taken}")
    return x + 1, y + 1


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
            n, k = file.code.decode(words, k, state, *columns.arrays, 0, SCRATCH, marks)
            t, x, y, p = columns.arrays
            yield t[:n], x[:n], y[:n], p[:n]


def triggers(file: File) -> np.ndarray:
    """The external triggers: a structured array (TRIGGER) of t (µs), p (1 rising) and id."""
    state, marks = file.state.copy(), _marks(file)
    parts = [marks[:0]]
    columns = Columns()
    columns.reserve(SCRATCH + SLACK)
    for block in file.blocks():
        words, k = file.words(block), 0
        state["marked"] = 0
        while k < len(words):
            _, k = file.code.decode(words, k, state, *columns.arrays, 0, SCRATCH, marks)
        parts.append(marks[: int(state["marked"][0])].copy())
    return np.concatenate(parts)


Block = tuple[np.ndarray, np.ndarray]  # words, and the state before them


def _whole(file: File, report: Report, strict: bool) -> Iterator[Block]:
    """All blocks of a file; fills the report when they are decoded."""
    state = file.state.copy()
    crc = google_crc32c.value(os.pread(file.fd, file.begin, 0))
    for block in file.blocks():
        crc = google_crc32c.extend(crc, block)
        state["marked"] = 0
        yield file.words(block), state
    report.crc32c = crc
    _tell(file, state, report, strict)


def _chosen(file: File, rows: np.ndarray) -> Iterator[Block]:
    """Some blocks of the index only."""
    for row in rows:
        state = np.array([row["state"]], STATE)
        state["marked"] = 0
        yield file.words(next(file.blocks(int(row["at"])))), state


def _tell(file: File, state: np.ndarray, report: Report, strict: bool) -> None:
    """Report what was left out, from the state after the last word."""
    for field, name in COUNTS.items():
        if state[field][0]:
            report.counts[name] += int(state[field][0])
    if file.trailing:
        report.counts["trailing bytes"] += file.trailing
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
                n, k = file.code.decode(words, k, state, *into.arrays, n, room, marks)
            if n >= room:
                over = [column[room:n].copy() for column in into.arrays]
                yield _shifted(into, room, size, shift)
                n, empty, fresh = n - room, False, True
    if n or empty:
        if fresh:
            _renew(into, room, over)
        yield _shifted(into, n, size, shift)


def _marks(file: File) -> np.ndarray:
    """Room for the triggers of a block."""
    return np.empty(min(BLOCK // file.code.stride, file.records), TRIGGER)


def _renew(into: Columns, room: int, over: list[np.ndarray]) -> None:
    into.reserve(room + SLACK)
    for column, values in zip(into.arrays, over, strict=False):
        column[: len(values)] = values


def _shifted(into: Columns, n: int, size: tuple[int, int], shift: int) -> Events:
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
    """The index of a file, from one pass over all of it; kept for the last few files."""
    return _index(file.path, file.code, file.begin, int(file.state["variant"][0]), file.stamp)


@functools.lru_cache(maxsize=16)
def _index(path: Path, code: Code, begin: int, variant: int, stamp: tuple[int, ...]) -> Index:
    with File.open(path, code) as file:
        file = replace(file, begin=begin)
        state = file.state.copy()
        state["variant"] = variant
        rows = np.zeros(-(-max(file.end - begin, 0) // BLOCK), ROW)
        for number, block in enumerate(file.blocks()):
            row = rows[number : number + 1]
            row["at"], row["state"] = begin + BLOCK * number, state
            row["n"], row["first"], row["last"] = code.measure(file.words(block), state)
        return Index(rows, state)


LONGEST = 1 << 34  # time before the first event, and between two events, that is written [µs]
SIDE = 1 << 11


@dataclass(frozen=True)
class Pen:
    """How to write a code.

    encode(t, x, y, p, i, final, state, out) encodes from event i on into the words `out` and
    returns the next i and how many words there are; it leaves events that belong together with
    some that may follow, unless `final`. state is a record WRITTEN. Time has `low` bits in the
    words of events, wraps after `wrap` bits, and does so when its high part falls by `fall`.
    """

    encode: Callable[..., tuple[int, int]]
    low: int
    wrap: int
    fall: int


WRITTEN = np.dtype([(name, np.int64) for name in ("high", "low", "y", "variant", "width")])


def shifted(chunks: Iterable[Events], t0: str) -> Iterator[Events]:
    """The chunks, for t0=first with the time of the first event as 0."""
    first = 0 if t0 == "sensor" else None
    for events in chunks:
        if first is None and len(events):
            first = int(events.t[0])
        yield replace(events, t=events.t - first) if first else events


def write_words(
    file: BinaryIO,
    chunks: Iterable[Events],
    code: Code,
    pen: Pen,
    *,
    t0: str,
    variant: int = 0,
    detail: str = "",
) -> None:
    """A RAW file: its header, with `detail` in the line of the format, and words."""
    state, last, rest = np.zeros(1, WRITTEN), None, None
    state["high"], state["low"], state["y"], state["variant"] = -1, -1, -1, variant
    out = np.empty(1 << 16, code.word)
    for events in shifted(chunks, t0):
        if len(events):
            _check(events, code.name.lower(), pen, last)
            last = int(events.t[-1])
        if rest is None:
            state["width"], rest = events.width, events[:0]
            file.write(_lines(code.name, events.size, detail))
        whole = Events.concat([rest, events]) if len(rest) else events
        rest = whole[_write(file, whole, pen, False, state, out) :].copy()
    if rest is not None:
        _write(file, rest, pen, True, state, out)


def _write(
    file: BinaryIO, events: Events, pen: Pen, final: bool, state: np.ndarray, out: np.ndarray
) -> int:
    """Encode and write; the place up to which the events are written."""
    i, m = 0, 1
    while m:
        i, m = pen.encode(events.t, events.x, events.y, events.p, i, final, state, out)
        file.write(out[:m].tobytes())
    return i


def _lines(kind: str, size: tuple[int, int], detail: str) -> bytes:
    evt = next(evt for evt, name in KINDS.items() if name == kind)
    lines = (
        f"evt {evt}",
        f"format {kind};{detail}height={size[1]};width={size[0]}",
        f"geometry {size[0]}x{size[1]}",
        "integrator_name Prophesee",  # openeb looks for its reader by these two
        "plugin_name hal_plugin_prophesee",
        "end",
    )
    return "".join(f"% {line}\n" for line in lines).encode()


def _check(events: Events, name: str, pen: Pen, last: int | None) -> None:
    """OptionError for what cannot be written after an event at the time `last`."""
    x, y = int(events.x.max()), int(events.y.max())
    if max(x, y) >= SIDE:
        raise OptionError(f"{name} holds coordinates below {SIDE:,}, found x {x}, y {y}")
    low = int(events.t.min())
    if low < 0:
        raise OptionError(f"{name} holds times from 0 on, found {low} µs")
    if last is None and events.t[0] >= LONGEST:
        raise OptionError(
            f"{name} begins before 2^34 µs (4.8 h), found {events.t[0]} µs; t0=first subtracts it"
        )
    before = np.concatenate([[events.t[0] if last is None else last], events.t[:-1]])
    step = events.t - before
    if (step > LONGEST).any():
        i = int((step > LONGEST).argmax())
        raise OptionError(
            f"{name} holds gaps of up to 2^34 µs (4.8 h), found {before[i]} then {events.t[i]} µs"
        )
    if step.min() >= 0:
        return
    wrong = (before >> pen.wrap != events.t >> pen.wrap) & (step < 0)
    wrong |= (before >> pen.low) - (events.t >> pen.low) >= pen.fall
    if wrong.any():
        i = int(wrong.argmax())
        raise OptionError(
            f"{name} cannot hold t = {events.t[i]} µs after {before[i]} µs, as its time would seem "
            "to wrap; Events.sort() puts events in order"
        )


@jit
def next_high(now: int, high: int, bits: int) -> int:
    """The high part of a time that is to be written after `now` (-1: none) on the way to `high`.

    Both count wraps above `bits`; a wrap is written as the greatest high part and then 0.
    """
    if max(now, 0) >> bits == high >> bits:
        return high
    top = (now >> bits << bits) + (1 << bits) - 1
    return top + (now == top)


def raw(code: Code, title: str, write: Callable[..., None] | None) -> Format:
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
        size: str | None = None,
        t0: Literal["sensor", "first"] = "sensor",
    ) -> Iterator[Events]:
        """Events; size (as 1280x720) is that of the sensor, if the header does not name it.

        t0=first sets the time of the first event to 0. Counts, of the whole file: triggers,
        events before the first time, other words, unknown words, trailing bytes.
        """
        with File.open(path, code) as file:
            yield from events(file, report, into, Asked(chunk, start, stop, strict, size, t0))

    return Format(
        name=code.name.lower(),
        title=title,
        suffixes=(".raw",),
        stream=stream,
        write=write,
        detect=is_kind(code.name),
        bound=functools.partial(bound, code),
        header=functools.partial(header, code),
        extras={"triggers": functools.partial(triggers_of, code)},
    )


def header(code: Code, path: Path) -> dict[str, Any]:
    """The lines of the header: format, geometry, system_id, ..."""
    with File.open(path, code) as file:
        return file.header.facts


def bound(code: Code, path: Path) -> int:
    """An upper limit of the number of events: counted where a word can hold several."""
    with File.open(path, code) as file:
        return file.records if code.most == 1 else index(file).events


def triggers_of(code: Code, path: Path) -> np.ndarray:
    """The external triggers of a file, as `triggers` gives them."""
    with File.open(path, code) as file:
        return triggers(file)
