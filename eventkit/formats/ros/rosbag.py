"""ROS bags: version 1 (.bag), version 2 (.db3, .mcap, or a folder of such files with its
metadata.yaml).

Messages of one topic that hold events, little endian (in version 2 after 4 bytes that say so, and
each number at a multiple of its size from there):

    header          uint32 number (version 1 only), int32 s and uint32 ns, string: its uint32 length
    height, width   uint32
    dvs_msgs/EventArray, prophesee_event_msgs/EventArray
        uint32 n, then n events: uint16 x, uint16 y, int32 s and uint32 ns of the time, uint8 p
        (13 bytes; in version 2 each begins at a multiple of 4)
    event_camera_msgs/EventPacket, event_array_msgs/EventArray
        uint64 number, uint64 time base [ns], string encoding, uint8 big endian, then bytes:
        evt3      words as in evt3, whose state goes on from message to message
        mono      uint64: 0-31 ns after the base | 32-47 x | 48-62 y | 63 p
        trigger   like mono, of an external input: counted
        libcaer   uint32: 0 valid | 1 p | 2-16 y | 17-31 x, then int32: the low 31 bits of the time
                  [µs], which is added to the base and wraps within a message
        libcaer_cmp  uint16, whose bits 12-15 are its type; the time [µs] counts from the base
                  0 high part of the time, 1 its low 12 bits, 2 column: 0-10 x,
                  3 event: 0-10 y | 11 p, 4 row of vectors: 0-10 y | 11 p,
                  5 vector: bit i of 0-7 is an event at row + i; the row then moves on by 8

Times are whole µs: a rest of ns is cut off. Sources: https://github.com/uzh-rpg/rpg_dvs_ros,
https://github.com/ros-event-camera/event_camera_msgs and event_camera_codecs
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats.base import FORMATS, Format, Report, Size
from eventkit.formats.ros import _tracks
from eventkit.formats.ros._files import DAMAGE, MAGICS, METADATA, Reader, opened
from eventkit.formats.ros._message import Message
from eventkit.formats.ros._packets import Decoder, UnknownEncoding
from eventkit.formats.ros._tracks import KINDS as TRACKED
from eventkit.formats.tables._columns import Asked, Block, Table, damaged, events
from eventkit.formats.tracks import Track

LISTS = {"dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray"}
PACKETS = {"event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray"}
UNKNOWN = "messages of an unknown encoding"
FIELDS = ("x", "y", "s", "ns", "p")
KINDS = ("<u2", "<u2", "<u4", "<u4", "u1")
PACKED = np.dtype([*zip(FIELDS, KINDS, strict=True)])
ALIGNED = np.dtype(  # from the second event on, as the first number of each is at 2 mod 4
    {"names": FIELDS, "formats": KINDS, "offsets": [0, 2, 6, 10, 14], "itemsize": 16}
)


@dataclass(frozen=True)
class Bag:
    """The messages of one topic: `packets` are coded, others list their events."""

    path: Path
    reader: Reader
    topic: str
    packets: bool

    def messages(self) -> Iterator[bytes]:
        """All messages."""
        return self.reader.messages(self.topic)

    def open(self, data: bytes) -> Message:
        """A message, to be read from its begin."""
        return Message.of(data, self.reader.version)


def stream(
    path: Path,
    report: Report,
    into: Columns,
    *,
    chunk: int,
    start: int | None,
    stop: int | None,
    strict: bool,
    size: Size | None = None,
    topic: str | None = None,
    inflate: float | None = None,
) -> Iterator[Events]:
    """Events of one topic, by default of the only one that has events.

    inflate is how many times its size a compressed bag may inflate to, beyond 256 MiB [100].

    Counts: what `evt3` counts, triggers, invalid events; with strict=False also damaged messages
    and messages of an unknown encoding.
    """
    with damaged(path, DAMAGE):
        reader = opened(path, strict, inflate)
        bag = Bag(path, reader, *_chosen(path, reader.topics(), topic))
        table = Table(lambda: _blocks(bag, report, strict), chunk, _size(bag), "us")
        yield from events(path, report, into, table, Asked(chunk, start, stop, strict, size))


def _size(bag: Bag) -> tuple[int, int] | None:
    """The sensor's size in the first sound message; None if it does not have it."""
    for data in bag.messages():
        with contextlib.suppress(ValueError):
            sides = bag.open(data).head(bag.reader.version)
            return sides if all(0 < side <= 65536 for side in sides) else None
    return None


def _blocks(bag: Bag, report: Report, strict: bool) -> Iterator[Block]:
    """The events of each message; what is left out is counted when all are read."""
    decoder = Decoder()
    counts: Counter[str] = Counter()
    number = -1
    for number, data in enumerate(bag.messages()):
        try:
            message = bag.open(data)
            message.head(bag.reader.version)
            block = message.packet(decoder) if bag.packets else _list(message)
        except ValueError as error:
            unknown = isinstance(error, UnknownEncoding)
            if strict:
                fault = str(error) if unknown else f"is damaged: {error}"
                reason = f"message {number:,} of {bag.topic} {fault}"
                raise FormatError(
                    bag.path, None, f"{reason}; strict=False leaves it out"
                ) from error
            counts[UNKNOWN if unknown else "damaged messages"] += 1
            if unknown:
                example = str(error)
            continue
        if block is not None:
            yield block
    if counts[UNKNOWN] == number + 1 > 0:
        raise FormatError(bag.path, None, f"every message of {bag.topic} {example}")
    counts.update(decoder.counted())
    report.notes += [one for one in bag.reader.losses if one not in report.notes]
    report.counts.update({name: n - report.counts[name] for name, n in counts.items() if n})


def _list(message: Message) -> Block:
    """The events of a message that lists them."""
    n = message.number(4)
    if not message.aligned or n < 2:
        rows = np.frombuffer(message.bytes(13 * n), PACKED)
    else:
        first, others = message.bytes(13), message.bytes(16 * (n - 1))
        rows = np.empty(n, PACKED)
        rows[:1] = np.frombuffer(first, PACKED)
        rows[1:] = np.frombuffer(bytes(others[1:]) + b"\0", ALIGNED)
    t = rows["s"].astype(np.int64) * 1_000_000 + rows["ns"] // 1000
    return t, rows["x"], rows["y"], rows["p"]


def header(path: Path) -> dict[str, Any]:
    """The topics and the types of their messages."""
    with damaged(path, DAMAGE):
        return {"topics": dict(opened(path, strict=False).topics())}


def beside(path: Path, *, topic: str | None = None) -> dict[str, int]:
    """Topics that are neither that of the events nor tracks."""
    with damaged(path, DAMAGE):
        known = opened(path, strict=False).topics()
        read, _ = _chosen(path, known, topic)
        return {"other topics": sum(name != read and kind not in TRACKED for name, kind in known)}


def tracks(
    path: Path,
    *,
    topic: str | None = None,
    inflate: float | None = None,
    _strict: bool = True,
    _report: Report | None = None,
) -> list[Track]:
    """Images, samples of IMUs and triggers."""

    def open_bag() -> Reader:
        return opened(path, _strict, inflate)

    with damaged(path, DAMAGE):
        events = _chosen(path, open_bag().topics(), topic)
        return _tracks.tracks(path, open_bag, events, _strict, _report or Report())


def _chosen(path: Path, known: list[tuple[str, str]], topic: str | None) -> tuple[str, bool]:
    """The topic asked for, or the only one with events, and whether its messages are packets."""
    fitting = [(name, kind) for name, kind in known if kind in LISTS | PACKETS]
    chosen = [pair for pair in fitting if topic in (None, pair[0])]
    there = ", ".join(f"{name} ({kind})" for name, kind in known) or "none"
    if topic is not None and not chosen:
        raise OptionError(f"{path} has no events on the topic {topic!r}; its topics: {there}")
    if not chosen:
        kinds = ", ".join(sorted(LISTS | PACKETS))
        raise FormatError(path, None, f"no topic has messages of {kinds}; its topics: {there}")
    if len(chosen) > 1:
        names = ", ".join(name for name, _ in chosen)
        raise OptionError(f"{path} has events on several topics: topic= chooses one of {names}")
    return chosen[0][0], chosen[0][1] in PACKETS


FORMATS.register(
    Format(
        name="rosbag",
        title="ROS bags of version 1 and 2 (.bag, .db3, .mcap, folders)",
        suffixes=(".bag", ".db3", ".mcap"),
        stream=stream,
        detect=lambda head: head.startswith(MAGICS),
        header=header,
        folder=METADATA,
        beside=beside,
        tracks=tracks,
    )
)
