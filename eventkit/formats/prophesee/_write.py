"""How words of Prophesee's codes are written; `_file` and `_read` read them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats.prophesee._file import KINDS, Code

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


def write_words(
    file: BinaryIO,
    chunks: Iterable[Events],
    code: Code,
    pen: Pen,
    *,
    variant: int = 0,
    detail: str = "",
) -> None:
    """A RAW file: its header, with `detail` in the line of the format, and words."""
    state, last, rest = np.zeros(1, WRITTEN), None, None
    state["high"], state["low"], state["y"], state["variant"] = -1, -1, -1, variant
    out = np.empty(1 << 16, code.word)
    for events in chunks:
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


@jit
def group(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, i: int) -> int:
    """The place after the events from i on that fit into one vector of 32 pixels."""
    j = i + 1
    while j < len(t) and t[j] == t[i] and y[j] == y[i] and p[j] == p[i]:
        if x[j] <= x[j - 1] or x[j] >> 5 != x[i] >> 5:
            break
        j += 1
    return j
