"""Lines of `text` as events: what the kernel cannot decide is decided here."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eventkit.errors import FormatError
from eventkit.events import Columns
from eventkit.formats.base import HEAD, Report, Size, limits
from eventkit.formats.tables._columns import Unit
from eventkit.formats.tables._polarity import (
    OFF_ON,
    Polarity,
    contradiction,
    contradicts,
    convention,
)
from eventkit.formats.tables._text_parse import BAD, ROUND, SCALE, ZEROS, How, parse

LINE = 1 << 16  # bytes of the longest line
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
SENTINEL = re.compile(rb"(-1(\.0*)?[\s,;]*)+")


@dataclass(frozen=True)
class Layout:
    """Where the lines begin, what their columns are (as txyp, - for others), and of what size."""

    begin: int
    order: str
    unit: Unit
    size: Size | None
    polarity: Polarity | None

    @property
    def roles(self) -> np.ndarray:
        """0 t, 1 x, 2 y, 3 p, -1 another, for each column."""
        return np.array(["txyp".find(letter) for letter in self.order], np.int64)


def words_of(line: str) -> list[str]:
    return re.split(r"[\s,;]+", line.strip(" \t\r\n,;"))


class Lines:
    """The lines of a file as events.

    `where` names the line of a byte, for a reader that is strict; `told` says that the polarities
    are those of an option, which nothing contradicts.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        window: tuple[int, int],
        report: Report,
        where: Callable[[int], str] | None,
        told: bool,
        rounded: bool,
    ) -> None:
        self.path, self.layout, self.report = path, layout, report
        self._window, self._where, self._told = window, where, told
        self._meaning = layout.polarity
        self._state = np.array([*OFF_ON[self._meaning], rounded, 0], np.int64)

    def survey(self) -> "Lines":
        """The same for all lines whenever they are, without errors and counts."""
        rounded = bool(self._state[ROUND])
        report = Report(checksum=False)
        return Lines(self.path, self.layout, limits(None, None), report, None, True, rounded)

    def parse(
        self, lines: np.ndarray, k: int, at: int, into: Columns, n: int, room: int
    ) -> tuple[int, int]:
        """Append to n events those of the lines from k on; the new n, and the place reached.

        at is the place of the lines in the file.
        """
        while k < len(lines) and n < room:
            self._state[ZEROS] = 0
            how = How(self.layout.roles, SCALE[self.layout.unit], *self._window, self._state)
            n, k, why = parse(lines, k, how, into.arrays, n, room)
            if self._state[ZEROS]:
                self.report.counts["invalid"] += int(self._state[ZEROS])
            if why == BAD and not self._decides(lines, k, at):
                k = self._skip(lines, k, at)
        return n, k

    def _decides(self, lines: np.ndarray, k: int, at: int) -> bool:
        """Whether a line tells the polarities, of which none told before; FormatError if it
        contradicts what was decided."""
        value = self._polarity(_line(lines, k))
        if value is None or (self._told and self._meaning is not None):
            return False
        if contradicts(value, self._meaning):
            line = self._where(at + k) if self._where else f"the line at byte {at + k:,}"
            raise contradiction(self.path, line, value, self._meaning)
        if self._meaning is not None or value not in (-1, 0):
            return False
        values = [self._polarity(line) for line in lines[k : k + HEAD].tobytes().split(b"\n")]
        self._meaning = convention(np.array([v for v in values if v in (-1, 0)]))
        self._state[:2] = OFF_ON[self._meaning]
        return True

    def _polarity(self, line: bytes) -> float | None:
        """The number that is the polarity of a line; None if there is none."""
        words = words_of(line.decode("latin-1"))
        place = self.layout.order.find("p")
        if place < 0 or len(words) != len(self.layout.order) or not NUMBER.fullmatch(words[place]):
            return None
        return None if SENTINEL.fullmatch(line.strip()) else float(words[place])

    def _skip(self, lines: np.ndarray, k: int, at: int) -> int:
        """The place after a line that is no event: it is counted, or refused if it is damaged."""
        line, layout = _line(lines, k), self.layout
        if SENTINEL.fullmatch(line.strip()):
            self.report.counts["sentinel lines"] += 1
        elif self._where is None:
            self.report.counts["damaged lines"] += 1
        else:
            text = line.decode("latin-1").strip()
            expected = f"the columns {layout.order} with t in {layout.unit}, x and y from 0 to "
            expected += f"65535, p of {self._meaning or '0/1 or -1/+1'}"
            hint = "strict=False leaves such lines out"
            if not self._state[ROUND] and "." in text:
                hint = f"round=true rounds coordinates; {hint}"
            reason = f"{self._where(at + k)} is {text[:60]!r}, expected {expected}; {hint}"
            raise FormatError(self.path, at + k, reason)
        return k + len(line)


def _line(lines: np.ndarray, k: int) -> bytes:
    """The line that begins at byte k, with its end."""
    length = LINE
    while not (ends := lines[k : k + length] == 10).any():
        length *= 2
    return lines[k : k + 1 + int(np.argmax(ends))].tobytes()
