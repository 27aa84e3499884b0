"""How payloads of `aedat4` are inflated: LZ4 and Zstandard frames, never beyond LIMIT bytes."""

import threading
from typing import Any

LIMIT = 1 << 26  # bytes of one packet or of the table, inflated: 4 million events
PIECE = 1 << 20  # bytes that are inflated at a time where it is not known how many there are


def unlz4(data: memoryview) -> bytes | None:
    import lz4.frame

    inflater, parts, total = lz4.frame.LZ4FrameDecompressor(), [], 0
    more: bytes | memoryview = data
    try:
        while not inflater.eof:
            part = inflater.decompress(more, max_length=PIECE)
            more = b""
            parts.append(part)
            total += len(part)
            if total > LIMIT or (not part and not inflater.eof and inflater.needs_input):
                break
    except (RuntimeError, EOFError, ValueError):
        return None
    if total > LIMIT or not inflater.eof or inflater.unused_data:
        return None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def unzstd(data: memoryview) -> bytes | None:
    import zstandard

    try:
        size = zstandard.frame_content_size(data)
        inflater = _zstd()
        if 0 <= size <= LIMIT:
            return bytes(inflater.decompress(data, allow_extra_data=False))
        if size > LIMIT:
            return None
        parts = [b""]
        with inflater.stream_reader(data) as reader:
            while (part := reader.read(PIECE)) and len(parts) * PIECE <= LIMIT:
                parts.append(part)
    except (zstandard.ZstdError, MemoryError):
        return None
    return None if part else b"".join(parts)


_OWN = threading.local()


def _zstd() -> Any:
    """The decompressor of this thread: to make one anew takes a seventh of a packet's time."""
    import zstandard

    if not hasattr(_OWN, "zstd"):
        _OWN.zstd = zstandard.ZstdDecompressor(max_window_size=LIMIT)
    return _OWN.zstd
