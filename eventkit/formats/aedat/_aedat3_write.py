"""How events are written as `aedat3`."""

import itertools
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats.aedat._aedat3_packets import EVENT, HEADER

# Sizes of the sensors, by the names that libcaer gives to its devices; a family has one size.
DEVICES = {
    "DVS128": (128, 128),
    "DAVIS240C": (240, 180),
    "DAVIS346B": (346, 260),
    "DAVIS128": (128, 128),
    "DAVIS208": (208, 192),
    "DAVIS640": (640, 480),
    "EDVS4337": (128, 128),
}


def write(file: BinaryIO, chunks: Iterable[Events], *, packet: int = 4096) -> None:
    """AEDAT 3.1 as libcaer writes it, `packet` events at a time; coordinates below 32,768.

    Times go from 0 to 2^62 − 1 µs. The same events give the same bytes, however they are cut into
    chunks: the header has no date.
    """
    if packet < 1:
        raise OptionError(f"packet is {packet}, expected at least 1")
    rest = None
    for events in chunks:
        if rest is None:
            names = [name for name, size in DEVICES.items() if size == events.size]
            device = names[0] if names else f"eventkit {events.width}x{events.height}"
            lines = ("#!AER-DAT3.1", "#Format: RAW", f"#Source 0: {device}", "#!END-HEADER")
            file.write("".join(f"{line}\r\n" for line in lines).encode())
            rest = events[:0]
        _check(events)
        *full, rest = _packets(Events.concat([rest, events]) if len(rest) else events, packet)
        for part in full:
            file.write(_encode(part))
        rest = rest.copy()
    if rest is not None and len(rest):
        file.write(_encode(rest))


def _check(events: Events) -> None:
    if not len(events):
        return
    low, high = int(events.t.min()), int(events.t.max())
    if low < 0 or high >= 1 << 62:
        raise OptionError(f"aedat3 holds times from 0 to 2^62 - 1 µs, found {low} to {high}")
    x, y = int(events.x.max()), int(events.y.max())
    if max(x, y) >= 1 << 15:
        raise OptionError(f"aedat3 holds coordinates below 32,768, found x {x}, y {y}")


def _packets(events: Events, packet: int) -> list[Events]:
    """Events cut where t >> 31 changes, and into packets; at least one, the last maybe not full."""
    overflow = events.t >> 31
    cuts = [0, *(np.flatnonzero(overflow[1:] != overflow[:-1]) + 1).tolist(), len(events)]
    starts = [at for a, b in itertools.pairwise(cuts) for at in range(a, b, packet)]
    return [events[a:b] for a, b in zip(starts or [0], [*starts[1:], len(events)], strict=True)]


def _encode(events: Events) -> bytes:
    words = np.empty((len(events), 2), "<u4")
    words[:, 0] = events.x.astype(np.uint32) << 17 | events.y.astype(np.uint32) << 2
    words[:, 0] |= events.p.astype(np.uint32) << 1 | 1
    words[:, 1] = events.t & 0x7FFFFFFF
    n = len(events)
    return HEADER.pack(1, 0, EVENT, 4, int(events.t[0] >> 31), n, n, n) + words.tobytes()
