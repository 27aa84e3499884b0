"""Images, samples of an IMU and triggers of a ROS bag.

    sensor_msgs/Image   header, uint32 height, width, string encoding, uint8 big endian,
                        uint32 bytes of a row, uint8[]
    sensor_msgs/Imu     header, float64: orientation 4, its covariance 9, angular velocity 3
                        [rad/s], its covariance 9, acceleration 3 [m/s²], its covariance 9

Their times are those of their headers. Sources: https://github.com/ros/common_msgs (sensor_msgs)
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError
from eventkit.formats.base import Report
from eventkit.formats.ros._files import DAMAGE, Reader
from eventkit.formats.ros._message import Message
from eventkit.formats.ros._packets import Decoder, UnknownEncoding
from eventkit.formats.tables._columns import damaged
from eventkit.formats.tracks import Track, inside, numbered

GRAVITY = 9.80665  # m/s² of 1 g
SAMPLE = np.dtype(
    [
        ("t", np.int64),
        *((f"{what}_{axis}", "f8") for what in ("accelerometer", "gyroscope") for axis in "xyz"),
    ]
)
# Encodings of images: channels, type, and the order of the channels that BGR(A) has.
IMAGES: dict[str, tuple[int, str, list[int]]] = {
    **{name: (1, "u1", [0]) for name in ("mono8", "8UC1")},
    **{name: (1, "u2", [0]) for name in ("mono16", "16UC1")},
    **{f"bayer_{order}8": (1, "u1", [0]) for order in ("rggb", "bggr", "gbrg", "grbg")},
    "bgr8": (3, "u1", [0, 1, 2]),
    "8UC3": (3, "u1", [0, 1, 2]),
    "rgb8": (3, "u1", [2, 1, 0]),
    "bgra8": (4, "u1", [0, 1, 2, 3]),
    "rgba8": (4, "u1", [2, 1, 0, 3]),
}
KINDS = {"sensor_msgs/msg/Image": "frames", "sensor_msgs/msg/Imu": "imu"}


def tracks(
    path: Path,
    open_bag: Callable[[], Reader],
    events: tuple[str, bool],
    strict: bool,
    report: Report,
) -> list[Track]:
    """The tracks of a bag whose events are on a topic, in packets or not."""
    topic, packets = events
    known = [(name, KINDS[kind]) for name, kind in open_bag().topics() if kind in KINDS]
    found = []
    names = numbered(kind for _, kind in known)
    for (source, kind), name in zip(known, names, strict=True):
        parse = _image if kind == "frames" else _sample
        rows = partial(_rows, path, open_bag, source, parse, strict, report)
        found.append(Track(name, kind, rows, None, {"source": source, "clock": "ROS"}))
    if packets:
        rows = partial(_triggers, open_bag, topic)
        found.append(Track("triggers", "triggers", rows, None, {"source": topic}))
    return found


def _rows(
    path: Path,
    open_bag: Callable[[], Reader],
    topic: str,
    parse: Callable[[Message, int], np.ndarray],
    strict: bool,
    report: Report,
    low: int,
    high: int,
) -> Iterator[np.ndarray]:
    with damaged(path, DAMAGE):
        reader = open_bag()
        for number, data in enumerate(reader.messages(topic)):
            try:
                rows = parse(Message.of(data, reader.version), reader.version)
            except ValueError as error:
                if strict:
                    reason = f"message {number:,} of {topic} is damaged or unknown: {error}"
                    hint = "strict=False leaves it out"
                    raise FormatError(path, None, f"{reason}; {hint}") from error
                report.counts[f"unreadable messages of {topic}"] += 1
                continue
            if len(rows := inside(rows, low, high)):
                yield rows


def _image(message: Message, version: int) -> np.ndarray:
    t = message.stamp(version)
    height, width, encoding = message.number(4), message.number(4), message.text()
    if encoding not in IMAGES:
        raise ValueError(f"its image is {encoding!r:.20}, expected one of {', '.join(IMAGES)}")
    channels, kind, order = IMAGES[encoding]
    kind = (">" if message.number(1) else "<") + kind
    step = message.number(4)
    data = np.frombuffer(message.bytes(message.number(4)), np.uint8)
    row = width * channels * np.dtype(kind).itemsize
    if not height * width or step < row or len(data) < height * step:
        raise ValueError(f"an image of {width}x{height} has {len(data):,} bytes")
    rows = np.ascontiguousarray(data[: height * step].reshape(height, step)[:, :row])
    pixels: Any = rows.view(kind).reshape(height, width, channels)[..., order]
    pixels = pixels.astype(np.dtype(kind).newbyteorder("="))
    pixels = pixels[..., 0] if channels == 1 else pixels
    sides = [(name, np.int64) for name in ("t", "begin", "end")]
    found = np.zeros(1, [*sides, ("pixels", pixels.dtype, pixels.shape)])
    found["t"], found["begin"], found["end"], found["pixels"] = t, -1, -1, pixels
    return found


def _sample(message: Message, version: int) -> np.ndarray:
    t = message.stamp(version)
    values = np.frombuffer(message.bytes(8 * 37, 8), "<f8")
    found = np.zeros(1, SAMPLE)
    found["t"] = t
    for i, axis in enumerate("xyz"):
        found[f"gyroscope_{axis}"] = values[13 + i] * 180 / math.pi
        found[f"accelerometer_{axis}"] = values[25 + i] / GRAVITY
    return found


def _triggers(
    open_bag: Callable[[], Reader], topic: str, low: int, high: int
) -> Iterator[np.ndarray]:
    """Those within packets; damaged ones are reported by the reader of the events."""
    reader, decoder = open_bag(), Decoder()
    for data in reader.messages(topic):
        try:
            message = Message.of(data, reader.version)
            message.head(reader.version)
            message.packet(decoder)
        except (ValueError, UnknownEncoding):
            continue
        if len(rows := inside(decoder.signals, low, high)):
            yield rows
