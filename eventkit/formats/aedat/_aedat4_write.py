"""How events are written as `aedat4`."""

from collections.abc import Callable, Iterable
from typing import BinaryIO, Literal

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats.aedat._aedat4_bytes import MAGIC, make_events, make_header, make_table
from eventkit.formats.filling import pieces


def write(
    file: BinaryIO,
    chunks: Iterable[Events],
    *,
    compression: Literal["none", "lz4", "zstd"] = "lz4",
    packet: int = 8192,
) -> None:
    """AEDAT 4 with one stream, a table, and packets of `packet` events; coordinates below 32,768.

    The same events give the same bytes, however they are cut into chunks.
    """
    if not 1 <= packet <= 1 << 20:
        raise OptionError(f"packet is {packet}, expected 1 to {1 << 20}")
    compress = _compressor(compression)
    rows: list[tuple[int, int, int, int, int, int]] = []
    at, size = 0, (1, 1)
    for events in pieces(chunks, packet):
        if not at:
            size = events.size
            at = file.write(MAGIC + make_header(compression.upper(), -1, size))
        _check(events)
        if len(events):
            at = _put(file, events, at, rows, compress)
    file.write(compress(make_table(rows)))
    file.seek(0)
    file.write(MAGIC + make_header(compression.upper(), at, size))


def _check(events: Events) -> None:
    x, y = (int(side.max(initial=0)) for side in (events.x, events.y))
    if max(x, y) >= 1 << 15:
        raise OptionError(f"aedat4 holds coordinates below 32,768, found x {x}, y {y}")


def _put(
    file: BinaryIO,
    events: Events,
    at: int,
    rows: list[tuple[int, int, int, int, int, int]],
    compress: Callable[[bytes], bytes],
) -> int:
    """Write a packet at a byte, note it in `rows`, and say where it ends."""
    payload = compress(make_events(events))
    file.write(np.array([0, len(payload)], "<i4").tobytes() + payload)
    span = int(events.t.min()), int(events.t.max())
    rows.append((at + 8, 0, len(payload), len(events), *span))
    return at + 8 + len(payload)


def _compressor(name: str) -> Callable[[bytes], bytes]:
    if name == "none":
        return bytes
    if name == "lz4":
        import lz4.frame

        return lambda data: bytes(lz4.frame.compress(data, store_size=False))
    import zstandard

    return zstandard.ZstdCompressor(level=3).compress
