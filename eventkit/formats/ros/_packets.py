"""The encodings of event_camera_msgs/EventPacket; the layout of each is in `rosbag`."""

from collections import Counter
from collections.abc import Callable

import numpy as np

from eventkit._jit import jit
from eventkit.events import Arrays
from eventkit.formats.prophesee._file import COUNT, SLACK, STATE, TRIGGER
from eventkit.formats.prophesee._read import COUNTS
from eventkit.formats.prophesee.evt3 import CODE
from eventkit.formats.tables._columns import Block

NO_SIGNALS = np.zeros(0, TRIGGER)
WRAP = 1 << 31  # µs after which the times of libcaer begin again
UNORDERED, UNKNOWN = -1, -2  # what `_decode_compressed` returns for words that make no sense


class UnknownEncoding(ValueError):
    """A message is coded in a way that this reader does not know."""


class Decoder:
    """Decodes the messages of one topic; the state of EVT3 goes on from message to message.

    signals are the external triggers of the last message (TRIGGER).
    """

    def __init__(self) -> None:
        self.signals = NO_SIGNALS
        self._states = np.zeros(1, STATE)
        self._counts: Counter[str] = Counter()
        self._codes: dict[str, Callable[[memoryview, int, str], Block | None]] = {
            "evt3": self._evt3,
            "libcaer": self._libcaer,
            "libcaer_cmp": self._compressed,
            "mono": self._mono,
            "trigger": self._trigger,
        }

    def decode(self, encoding: str, data: memoryview, base: int, order: str) -> Block | None:
        """The events (t in µs) of a message with this time base [ns] and byte order (< or >).

        None where it cannot have events. Raises UnknownEncoding, and ValueError for damage.
        """
        if encoding not in self._codes:
            known = ", ".join(self._codes)
            raise UnknownEncoding(f"has the encoding {encoding!r:.20}, expected one of {known}")
        self.signals = NO_SIGNALS
        return self._codes[encoding](data, base, order)

    def counted(self) -> Counter[str]:
        """What was not returned as events, so far."""
        words = {name: int(self._states[field][0]) for field, name in COUNTS.items()}
        return self._counts + Counter(words)

    def _evt3(self, data: memoryview, base: int, order: str) -> Block:
        words = _words(data, order, "u2")
        n, _, _ = CODE.measure(words, self._states.copy())
        block = Arrays.empty(n + SLACK)
        self._states["marked"] = 0
        marks = np.empty(len(words), TRIGGER)
        CODE.decode(words, 0, self._states, block, 0, n + 1, marks)
        self.signals = marks[: int(self._states["marked"][0])]
        t, x, y, p = (column[:n] for column in block)
        return t, x, y, p

    def _libcaer(self, data: memoryview, base: int, order: str) -> Block:
        words = _words(data, order, "u4").reshape(-1, 2)
        valid = (words[:, 0] & 1).astype(bool)
        self._counts["invalid events"] += int(np.count_nonzero(~valid))
        words = words[valid]
        bits, low = words[:, 0], words[:, 1].astype(np.int64)
        if (low >= WRAP).any():
            raise ValueError("an event of libcaer has a negative time")
        # The base holds the upper bits of the first event alone.
        low[1:] += np.cumsum(np.diff(low) < -(WRAP >> 1)) * WRAP
        return base // 1000 + low, bits >> 17, bits >> 2 & 0x7FFF, bits >> 1 & 1

    def _compressed(self, data: memoryview, base: int, order: str) -> Block:
        words = _words(data, order, "u2")
        kinds = words >> 12
        room = int(np.count_nonzero(kinds == 3) + COUNT[words[kinds == 5] & 0xFF].sum())
        block = Arrays.empty(room)
        n = _decode_compressed(words, *block)
        if n == UNKNOWN:
            raise ValueError("a word of libcaer_cmp has an unknown type")
        if n == UNORDERED:
            raise ValueError("an event of libcaer_cmp comes before its column or row")
        t, x, y, p = (column[:n] for column in block)
        return base // 1000 + t, x, y, p

    def _mono(self, data: memoryview, base: int, order: str) -> Block:
        words = _words(data, order, "u8")
        t = (words & 0xFFFFFFFF).astype(np.int64)
        t = base // 1000 + (t + base % 1000) // 1000
        return t, words >> 32 & 0xFFFF, words >> 48 & 0x7FFF, words >> 63

    def _trigger(self, data: memoryview, base: int, order: str) -> None:
        words = _words(data, order, "u8")
        self._counts["triggers"] += len(words)
        self.signals = np.zeros(len(words), TRIGGER)
        t = (words & 0xFFFFFFFF).astype(np.int64)
        self.signals["t"] = base // 1000 + (t + base % 1000) // 1000
        self.signals["p"], self.signals["id"] = words >> 63, words >> 32 & 0xFF


def _words(data: memoryview, order: str, kind: str) -> np.ndarray:
    """The words of a message in the byte order of this machine."""
    return np.frombuffer(data, order + kind).astype(kind)


@jit
def _decode_compressed(
    words: np.ndarray, t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray
) -> int:
    """Decode the words of one message into columns with room for all: the number of events.

    The time starts at 0. A high part of 12 bits wraps at 2^24 µs, but the driver of the cameras
    writes only 4 bits of it, which wrap at 2^16: then no high part is above 15.
    """
    n, loops, bits = 0, 0, 4
    high = low = on = np.int64(0)
    column = row = np.int64(-1)
    for word in words:
        if word >> 12 == 0 and word & 0xFFF > 15:
            bits = 12
    for word in words:
        kind, value = word >> 12, np.int64(word & 0xFFF)
        if kind == 0:
            loops += int(value < high)
            high = value
        elif kind == 1:
            low = value
        elif kind == 2:
            column = value & 0x7FF
        elif kind == 4:
            row, on = value & 0x7FF, value >> 11
        elif kind > 5:
            return UNKNOWN
        elif column < 0 or (kind == 5 and row < 0):
            return UNORDERED
        else:
            now = (loops << bits | high) << 12 | low
            if kind == 3:
                t[n], x[n], y[n], p[n] = now, column, value & 0x7FF, value >> 11
                n += 1
                continue
            for bit in range(8):
                if value >> bit & 1:
                    t[n], x[n], y[n], p[n] = now, column, row + bit, on
                    n += 1
            row += 8
    return n
