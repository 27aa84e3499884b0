"""What the formats of Prophesee share: the header, and streams of words of equal length.

The header has lines `% key value` and ends with `% end`, or where no further line starts with "% ".
Then come words, little endian, in which a state (time, row, ...) is carried from word to word: a
`Code` has the kernel that decodes them. A file is read block by block, never mapped.
Sources: the headers of openeb, https://github.com/prophesee-ai/openeb (generic_header.cpp,
psee_raw_file_header.cpp), and https://docs.prophesee.ai/stable/data/file_formats/raw.html
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from eventkit._jit import jit, trailing_zeros
from eventkit.errors import FormatError
from eventkit.formats.base import HEAD, opened
from eventkit.formats.filling import blocks
from eventkit.formats.tracks import TRIGGER as TRIGGER

BLOCK = 1 << 19  # stays in the second-level cache between read, checksum and decoding
SLACK = 64  # events that a kernel may decode beyond the room it is given
STATE = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("started", "high", "loops"),  # whether there was a time, its high part, its wraps
            *("low", "y", "x", "p", "vector"),  # of EVT3; whether EVT4 owes a mask
            *("variant", "marked"),  # of the layout; triggers of this block
            *("early", "triggers", "others", "unknown"),  # words that are no events, counted
            "holes",  # blocks in which bytes were replaced by zeros
        )
    ]
)
FIELD, NUMBER = re.compile(r"(\w+)=(\w+)"), re.compile(r"\d{1,4}")
SIDES = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})")
CONTROL = re.compile(rb"[^\t\r\x20-\xff]")  # a byte that no line of text has
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

    decode(words, k, state, out, n, room, marks) decodes from word k on and appends to the n events
    in `out` until there are `room` or a few more (up to SLACK), notes triggers in `marks`, and
    returns the new n and k. measure(words, state) goes over words in the same way, without their
    events: it returns how many there are, and bounds of their times. `word` is the type of a word
    for the kernels; what belongs together has `stride` bytes, with at most `most` events.
    variant(header, words) is the variant of the layout, for the kernels. kinds are the known types
    of words, where all words have one in their highest four bits; row says that an event needs a
    word of its row before.
    """

    name: str
    word: str
    stride: int
    most: int
    decode: Callable[..., tuple[int, int]]
    measure: Callable[..., tuple[int, int, int]]
    variant: Callable[["Header", bytes], int] | None = None
    kinds: tuple[int, ...] | None = None
    row: bool = False


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
        fields = dict(FIELD.findall(self.facts.get("format", "")))
        sides = [fields.get(side) or self.facts.get(side, "") for side in ("width", "height")]
        for text in ("x".join(sides), self.facts.get("geometry", "")):
            if match := SIDES.fullmatch(text):
                return int(match[1]), int(match[2])
        number = NUMBER.fullmatch(self.facts.get("system_id", ""))
        return SYSTEMS.get((self.kind or "", int(number[0]))) if number else None


def parse_header(data: bytes) -> Header:
    """The header at the begin of a file; without one, it is empty and ends at byte 0.

    Raises ValueError when the data end within a line.
    """
    facts: dict[str, str] = {}
    begin = 0
    while data.startswith(b"% ", begin):
        stop = data.find(b"\n", begin)
        line = data[begin:] if stop < 0 else data[begin:stop]
        if CONTROL.search(line):
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
        with opened(path) as fd:
            status = os.fstat(fd)
            head = os.pread(fd, HEAD, 0)
            try:
                header = parse_header(head)
            except ValueError as error:
                raise FormatError(path, status.st_size, str(error)) from None
            if header.kind not in (code.name, None):
                reason = f"its header says {header.kind}, expected {code.name}"
                raise FormatError(path, 0, reason)
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            state, begin = np.zeros(1, STATE), header.begin
            if code.variant is not None:
                state["variant"] = code.variant(header, head[begin:])
            yield cls(path, fd, code, header, begin, status.st_size, state, stamp)

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
        return blocks(self.path, self.fd, at, self.end, BLOCK)

    def words(self, block: np.ndarray) -> np.ndarray:
        """A block as words for the kernel."""
        return block[: len(block) // self.code.stride * self.code.stride].view(self.code.word)


U = np.uint64
COUNT = np.array([bin(mask).count("1") for mask in range(4096)], np.uint8)


@jit
def lowest(mask: np.int64) -> Any:
    """The number of the lowest bit of 32 that is set; 0 if none is."""
    return trailing_zeros(mask) & 31


@jit
def ones(mask: Any) -> int:
    """How many of 32 bits are set."""
    return int(COUNT[mask & 0xFFF]) + int(COUNT[mask >> 12 & 0xFFF]) + int(COUNT[mask >> 24 & 255])
