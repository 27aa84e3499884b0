"""How events, frames, samples of the IMU and triggers are written as `aedat4`."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import BinaryIO, Literal

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats.aedat._aedat4_bytes import (
    MAGIC,
    Stream,
    make_events,
    make_frame,
    make_header,
    make_rows,
    make_table,
)
from eventkit.formats.filling import pieces
from eventkit.formats.tracks import Packet, Track, without

KINDS = {"events": "EVTS", "frames": "FRME", "imu": "IMUS", "triggers": "TRIG"}


def write(
    file: BinaryIO,
    chunks: Iterable[Events | Packet],
    *,
    compression: Literal["none", "lz4", "zstd"] = "lz4",
    packet: int = 8192,
    _tracks: Sequence[Track] = (),
) -> None:
    """AEDAT 4 with a table, and packets of `packet` events; coordinates below 32,768.

    Events are stream 0, tracks follow as streams 1, 2, ... The same events give the same bytes,
    however they are cut into chunks.
    """
    if not 1 <= packet <= 1 << 20:
        raise OptionError(f"packet is {packet}, expected 1 to {1 << 20}")
    items = iter(chunks)
    first = next(items)
    assert isinstance(first, Events)
    streams = {0: Stream("EVTS", *first.size)}
    for number, track in enumerate(_tracks, 1):
        width, height = track.about.get("size", first.size)
        source = str(track.about.get("source", ""))
        streams[number] = Stream(KINDS[track.kind], width, height, source)
    out = _File(file, _compressor(compression))
    file.write(MAGIC + make_header(compression.upper(), -1, streams))
    sides = without(
        chain([first], items), lambda packet: out.side(packet, _tracks[packet.track], first.size)
    )
    for events in pieces(sides, packet):
        out.events(0, events)
    at = file.tell()
    out.table()
    file.seek(0)
    file.write(MAGIC + make_header(compression.upper(), at, streams))


class _File:
    """Packets that are written, and the rows of the table about them."""

    def __init__(self, file: BinaryIO, compress: Callable[[bytes], bytes]) -> None:
        self._file, self._compress = file, compress
        self._rows: list[tuple[int, int, int, int, int, int]] = []

    def events(self, stream: int, events: Events) -> None:
        x, y = (int(side.max(initial=0)) for side in (events.x, events.y))
        if max(x, y) >= 1 << 15:
            raise OptionError(f"aedat4 holds coordinates below 32,768, found x {x}, y {y}")
        if len(events):
            self._put(stream, make_events(events), events.t)

    def side(self, packet: Packet, track: Track, size: tuple[int, int]) -> None:
        stream, rows = packet.track + 1, packet.rows
        if track.kind == "events":
            self.events(stream, Events.from_structured(rows, track.about.get("size", size)))
        elif track.kind == "frames":
            for row in rows:
                self._put(stream, make_frame(row), row["t"].reshape(1))
        else:
            name = KINDS[track.kind].encode()
            self._put(stream, make_rows(name, rows), rows["t"])

    def _put(self, stream: int, data: bytes, times: np.ndarray) -> None:
        at, payload = self._file.tell(), self._compress(data)
        self._file.write(np.array([stream, len(payload)], "<i4").tobytes() + payload)
        span = int(times.min()), int(times.max())
        self._rows.append((at + 8, stream, len(payload), len(times), *span))

    def table(self) -> None:
        self._file.write(self._compress(make_table(self._rows)))


def _compressor(name: str) -> Callable[[bytes], bytes]:
    if name == "none":
        return bytes
    if name == "lz4":
        import lz4.frame

        return lambda data: bytes(lz4.frame.compress(data, store_size=False))
    import zstandard

    return zstandard.ZstdCompressor(level=3).compress
