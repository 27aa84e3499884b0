"""The numbers and texts of a ROS message."""

from dataclasses import dataclass

from eventkit.formats.ros._packets import Decoder
from eventkit.formats.tables._columns import Block


@dataclass
class Message:
    """The bytes of a message, read number by number; in version 2 each is aligned."""

    data: memoryview
    at: int
    aligned: bool

    @classmethod
    def of(cls, data: bytes, version: int) -> "Message":
        """A message of a bag of version 1 or 2."""
        if version == 1:
            return cls(memoryview(data), 0, False)
        if len(data) < 4 or data[1] not in (1, 3):
            raise ValueError(f"a message starts with {data[:4]!r}, expected little endian CDR")
        return cls(memoryview(data)[4:], 0, True)

    def number(self, size: int) -> int:
        """The next unsigned number of so many bytes."""
        return int.from_bytes(self.bytes(size, size), "little")

    def bytes(self, n: int, align: int = 1) -> memoryview:
        """The next n bytes."""
        self.at += -self.at % align if self.aligned else 0
        if self.at + n > len(self.data):
            raise ValueError(f"a message of {len(self.data):,} bytes ends early")
        self.at += n
        return self.data[self.at - n : self.at]

    def text(self) -> str:
        """The next string."""
        return bytes(self.bytes(self.number(4))).decode("latin-1").rstrip("\0")

    def stamp(self, version: int) -> int:
        """The time of the header (µs), which is used then."""
        if version == 1:
            self.number(4)
        seconds, rest = self.number(4), self.number(4)
        self.text()
        return seconds * 1_000_000 + rest // 1000

    def head(self, version: int) -> tuple[int, int]:
        """Skip the header; the sensor's width and height follow it."""
        self.stamp(version)
        height, width = self.number(4), self.number(4)
        return width, height

    def packet(self, decoder: Decoder) -> Block | None:
        """The events of a coded message, after its head."""
        self.number(8)
        base = self.number(8)
        encoding, big = self.text(), self.number(1)
        data = self.bytes(self.number(4))
        return decoder.decode(encoding, data, base, ">" if big else "<")
