"""Decompression in bounded memory and time, for files that others made."""

from pathlib import Path
from typing import Any, BinaryIO

from eventkit.errors import FormatError, OptionError

FREE = 1 << 28  # bytes that any file may inflate to
TIMES = 100  # how many times its size a file may inflate to beyond that
LARGEST = 1 << 28  # bytes of one message or chunk
BLOCK = 1 << 20


class Budget:
    """How much a file may still inflate to: `times` its size (100 by default) and 256 MiB.

    Raises FormatError when that is used up; the sentence names the option `inflate`.
    """

    def __init__(self, path: Path, size: int, times: float | None = None) -> None:
        if times is not None and not times > 0:
            raise OptionError(f"inflate is {times}, expected more than 0, as 100")
        self._path = path
        self._all = FREE + int(size * (TIMES if times is None else times))
        self._left = self._all

    def begin(self) -> None:
        """Begin anew, as when a file is read a second time."""
        self._left = self._all

    def take(self, n: int) -> None:
        """Count n bytes that were inflated."""
        self._left -= n
        if self._left < 0:
            reason = f"inflates to more than {self._all:,} bytes, as a decompression bomb does"
            advice = f"if it is sound, inflate=N allows N times its size [{TIMES}]"
            raise FormatError(self._path, None, f"{reason}; {advice}")

    def inflate(self, decoder: Any, data: bytes, size: int) -> bytes:
        """What a decoder (as bz2.BZ2Decompressor) makes of data: `size` bytes, fewer if it is cut.

        Raises ValueError if it is more than that, and what the decoder raises on damage.
        """
        parts, n = [], 0
        while True:
            part = decoder.decompress(data, max_length=min(BLOCK, size + 1 - n))
            data = b""
            self.take(len(part))
            parts.append(part)
            n += len(part)
            if n > size:
                raise ValueError(f"a chunk inflates to more than the {size:,} bytes it states")
            if decoder.eof or (decoder.needs_input and not part):
                return b"".join(parts)

    def copy(self, source: BinaryIO, target: BinaryIO, size: int | None = None) -> None:
        """Copy a stream that inflates as it is read; ValueError if it has more than size bytes."""
        n = 0
        while part := source.read(BLOCK):
            self.take(len(part))
            n += len(part)
            if size is not None and n > size:
                raise ValueError(f"a chunk inflates to more than the {size:,} bytes it states")
            target.write(part)
