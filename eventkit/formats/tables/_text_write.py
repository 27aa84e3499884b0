"""How events are written as `text`."""

from collections.abc import Iterable
from typing import Any, BinaryIO, Literal

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.events import chunks as cut
from eventkit.formats.tables._text_parse import POWERS

BLOCK = 1 << 20
LONGEST = 40  # bytes of a line that is written


def write(
    file: BinaryIO,
    chunks: Iterable[Events],
    *,
    unit: Literal["us", "s"] = "us",
    separator: Literal["comma", "space"] = "comma",
    header: bool = True,
) -> None:
    """Lines of t, x, y, p, under a comment with size and unit and a line of names.

    unit=s writes seconds with six decimals. header=False, unit=s, separator=space is as the Event
    Camera Dataset.
    """
    mark = "," if separator == "comma" else " "
    first = True
    out = np.empty(0, np.uint8)
    for events in chunks:
        if first and header:
            width, height = events.size
            names = mark.join("txyp")
            file.write(f"# size {width}x{height}, t [{unit}]\n{names}\n".encode())
        first = False
        for part in cut(events, BLOCK // LONGEST):
            out = out if len(out) else np.empty(BLOCK, np.uint8)
            columns = (part.t, part.x, part.y, part.p)
            file.write(out[: _print(*columns, ord(mark), unit == "s", out)].data)
    if not file.tell():
        raise OptionError("a text file with no events and no header would be empty")


@jit
def _digits(value: Any, least: int, out: np.ndarray, at: int) -> int:
    """Write a number that is not negative with at least so many digits; the place after it."""
    n = 1
    while n < 19 and POWERS[n] <= value:
        n += 1
    n = max(n, least)
    for i in range(at + n - 1, at - 1, -1):
        rest = value // 10
        out[i] = 48 + value - 10 * rest
        value = rest
    return at + n


@jit
def _print(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    mark: int,
    seconds: bool,
    out: np.ndarray,
) -> int:
    """Write lines of events, of at most LONGEST bytes each; how many bytes they are."""
    at = 0
    for i in range(len(t)):
        time = t[i]
        if time < 0:
            out[at] = 45
            at += 1
            time = -time
        if seconds:
            at = _digits(time // 1_000_000, 1, out, at)
            out[at] = 46
            at = _digits(time % 1_000_000, 6, out, at + 1)
        else:
            at = _digits(time, 1, out, at)
        out[at] = mark
        at = _digits(np.int64(x[i]), 1, out, at + 1)
        out[at] = mark
        at = _digits(np.int64(y[i]), 1, out, at + 1)
        out[at] = mark
        out[at + 1] = 48 + p[i]
        out[at + 2] = 10
        at += 3
    return at
