"""How words of Prophesee's codes are written; `_file` and `_read` read them."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats.prophesee._file import KINDS, Code
from eventkit.formats.tracks import Packet

LONGEST = 1 << 34  # time before the first event, and between two events, that is written [µs]
SIDE = 1 << 11
VECTOR = 32  # events in a vector at most
INPUTS = 15  # the last trigger input that all codes can number
NO_LINES: Mapping[str, str] = MappingProxyType({})
# Lines of a header that say how its words are to be read.
LAYOUT = {"evt", "format", "geometry", "width", "height", "endianness", "end"}


@dataclass(frozen=True)
class Pen:
    """How to write a code.

    encode(t, x, y, p, i, final, state, out) encodes from event i on into the words `out` and
    returns the next i and how many words there are; it leaves events that belong together with
    some that may follow, unless `final`. state is a record WRITTEN. Time has `low` bits in the
    words of events, wraps after `wrap` bits, and does so when its high part falls by `fall`.
    trigger(t, p, id, state, out) encodes a trigger and returns how many words there are.
    """

    encode: Callable[..., tuple[int, int]]
    trigger: Callable[..., int]
    low: int
    wrap: int
    fall: int


WRITTEN = np.dtype([(name, np.int64) for name in ("high", "low", "y", "variant", "width")])


def write_words(
    file: BinaryIO,
    chunks: Iterable[Events | Packet],
    code: Code,
    pen: Pen,
    heading: Mapping[str, str],
    *,
    variant: int = 0,
    detail: str = "",
) -> None:
    """A RAW file: its header, with `detail` in the line of the format, and words."""
    state, last, rest = np.zeros(1, WRITTEN), None, None
    state["high"], state["low"], state["y"], state["variant"] = -1, -1, -1, variant
    out = np.empty(1 << 16, code.word)
    for events in chunks:
        if isinstance(events, Packet):
            assert rest is not None
            _write(file, rest, pen, True, state, out)
            last, rest = _triggers(file, events.rows, rest, code, pen, last, state, out), rest[:0]
            continue
        if len(events):
            _check(events, code.name.lower(), pen, last)
            last = int(events.t[-1])
        if rest is None:
            state["width"], rest = events.width, events[:0]
            file.write(_lines(code.name, events.size, detail, heading))
        if len(rest):  # a vector that some of the next events may complete
            whole = Events.concat([rest, events[:VECTOR]])
            done = _write(file, whole, pen, False, state, out)
            if len(events) <= VECTOR:
                rest = whole[done:].copy()
                continue
            events = events[done - len(rest) :]
        rest = events[_write(file, events, pen, False, state, out) :].copy()
    if rest is not None:
        _write(file, rest, pen, True, state, out)


def _write(
    file: BinaryIO, events: Events, pen: Pen, final: bool, state: np.ndarray, out: np.ndarray
) -> int:
    """Encode and write; the place up to which the events are written."""
    i, m = 0, 1
    while m:
        i, m = pen.encode(events.t, events.x, events.y, events.p, i, final, state, out)
        file.write(out[:m].data)
    return i


def _triggers(
    file: BinaryIO,
    signals: np.ndarray,
    like: Events,
    code: Code,
    pen: Pen,
    last: int | None,
    state: np.ndarray,
    out: np.ndarray,
) -> int:
    """Write triggers, and return the time of the last one."""
    t, zero = np.ascontiguousarray(signals["t"]), np.zeros(len(signals), np.uint16)
    _check(Events(t, zero, zero, zero, like.size), code.name.lower(), pen, last)
    if signals["id"].max() > INPUTS:
        raise OptionError(
            f"{code.name.lower()} holds triggers of the inputs 0 to {INPUTS}, found "
            f"{signals['id'].max()}"
        )
    for signal in signals:
        m = pen.trigger(int(signal["t"]), int(signal["p"] != 0), int(signal["id"]), state, out)
        file.write(out[:m].data)
    return int(t[-1])


def _lines(kind: str, size: tuple[int, int], detail: str, heading: Mapping[str, str]) -> bytes:
    """The header; `heading` has further lines, or other values for those about the maker."""
    evt = next(evt for evt, name in KINDS.items() if name == kind)
    facts = {
        "evt": evt,
        "format": f"{kind};{detail}height={size[1]};width={size[0]}",
        "geometry": f"{size[0]}x{size[1]}",
        "integrator_name": "Prophesee",  # openeb looks for its reader by these two
        "plugin_name": "hal_plugin_prophesee",
    }
    more = {key: value for key, value in heading.items() if key.lower() not in LAYOUT}
    for key, value in more.items():
        if not re.fullmatch(r"\S+", key) or re.search(r"[^\t\x20-\xff]", f"{key}{value}"):
            raise OptionError(
                f"header field {key!r}: {value!r}; expected a word and one line of Latin-1 text"
            )
    lines = "".join(f"% {key} {value}\n" for key, value in {**facts, **more}.items())
    return f"{lines}% end\n".encode("latin-1")


def _check(events: Events, name: str, pen: Pen, last: int | None) -> None:
    """OptionError for what cannot be written after an event at the time `last`."""
    t = events.t
    x, y, low, far, wrap = _faults(
        t, events.x, events.y, t[0] if last is None else last, pen.low, pen.wrap, pen.fall
    )
    if max(x, y) >= SIDE:
        raise OptionError(f"{name} holds coordinates below {SIDE:,}, found x {x}, y {y}")
    if low < 0:
        raise OptionError(f"{name} holds times from 0 on, found {low} µs")
    if last is None and t[0] >= LONGEST:
        raise OptionError(
            f"{name} begins before 2^34 µs (4.8 h), found {t[0]} µs; t0=first subtracts it"
        )
    if far < len(t):
        before = t[far - 1] if far else last
        raise OptionError(
            f"{name} holds gaps of up to 2^34 µs (4.8 h), found {before} then {t[far]} µs"
        )
    if wrap < len(t):
        before = t[wrap - 1] if wrap else last
        raise OptionError(
            f"{name} cannot hold t = {t[wrap]} µs after {before} µs, as its time would seem "
            "to wrap; Events.sort() puts events in order"
        )


@jit
def _faults(
    t: np.ndarray, x: np.ndarray, y: np.ndarray, last: int, low: int, wrap: int, fall: int
) -> Any:
    """The greatest x and y, the least time, and where the first gap is too long, and where time
    goes back too far (the number of events: nowhere)."""
    x_max, y_max, least = np.int64(0), np.int64(0), t[0]
    for i in range(len(t)):
        x_max, y_max, least = (
            max(x_max, np.int64(x[i])),
            max(y_max, np.int64(y[i])),
            min(least, t[i]),
        )
    far = back = len(t)
    for i in range(len(t)):
        step = t[i] - last
        if step > LONGEST and far == len(t):
            far = i
        wraps = step < 0 and last >> wrap != t[i] >> wrap
        if (wraps or (last >> low) - (t[i] >> low) >= fall) and back == len(t):
            back = i
        last = t[i]
    return x_max, y_max, least, far, back


@jit
def next_high(now: int, high: int, bits: int) -> int:
    """The high part of a time that is to be written after `now` (-1: none) on the way to `high`.

    Both count wraps above `bits`; a wrap is written as the greatest high part and then 0.
    """
    if max(now, 0) >> bits == high >> bits:
        return high
    top = (now >> bits << bits) + (1 << bits) - 1
    return top + (now == top)
