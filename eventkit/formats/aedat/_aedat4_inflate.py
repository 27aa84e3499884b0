"""How payloads of `aedat4` are inflated: LZ4 and Zstandard frames, never beyond LIMIT bytes."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, cast

LIMIT = 1 << 26  # bytes of one packet or of the table, inflated: 4 million events
EXPANSION = 255  # bytes that one byte of LZ4 becomes, at most
PIECE = 1 << 20  # bytes that are inflated at a time where it is not known how many there are
LZ4_MAGIC, ZSTD_MAGIC = 0x184D2204, 0xFD2FB528
Inflate = Callable[[memoryview], bytes | None]  # a payload -> plain bytes, or None if damaged


def inflater(magic: int) -> Inflate:
    """What inflates the payloads that begin with these four bytes (0: plain), in this thread."""
    return {0: lambda: bytes, LZ4_MAGIC: _unlz4, ZSTD_MAGIC: _unzstd}[magic]()


def _unlz4() -> Inflate:
    import lz4.frame

    reset, step = lz4.frame.reset_decompression_context, lz4.frame.decompress_chunk
    context = _own("lz4", lz4.frame.create_decompression_context)

    def inflate(data: memoryview) -> bytes | None:
        size = len(data)
        most = -1 if EXPANSION * size <= LIMIT else LIMIT + 1  # -1: as many as there are
        try:
            plain, used, ended = step(context, data, max_length=most)
        except (RuntimeError, MemoryError):
            ended = False
        if ended and used == size and len(plain) <= LIMIT:
            return cast(bytes, plain)
        reset(context)  # it may be within a frame still
        return None

    return inflate


def _unzstd() -> Inflate:
    import zstandard

    size_of = zstandard.frame_content_size
    inflater = _own("zstd", partial(zstandard.ZstdDecompressor, max_window_size=LIMIT))

    def inflate(data: memoryview) -> bytes | None:
        try:
            size = size_of(data)
            if size > LIMIT:
                return None
            if size >= 0:
                return cast(bytes, inflater.decompress(data, allow_extra_data=False))
            parts = [b""]
            with inflater.stream_reader(data) as reader:
                while (part := reader.read(PIECE)) and len(parts) * PIECE <= LIMIT:
                    parts.append(part)
        except (zstandard.ZstdError, MemoryError):
            return None
        return None if part else b"".join(parts)

    return inflate


_OWN = threading.local()


def _own(name: str, make: Callable[[], Any]) -> Any:
    """What this thread inflates with: to make one takes as long as to inflate a small packet."""
    if not hasattr(_OWN, name):
        setattr(_OWN, name, make())
    return getattr(_OWN, name)
