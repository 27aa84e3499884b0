"""Frames as PNG files; the format is at https://www.w3.org/TR/png-3/"""

import csv
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np

from eventkit.errors import OptionError
from eventkit.formats import Recording

GRAY, RGB, RGBA = 0, 2, 6  # colour types
CHANNELS = {1: (GRAY, [0]), 3: (RGB, [2, 1, 0]), 4: (RGBA, [2, 1, 0, 3])}  # from BGR(A)
LEVEL = 3  # of zlib; higher ones take three times as long for 3 % fewer bytes


def encode(pixels: np.ndarray) -> bytes:
    """A PNG file of an image (height, width) or (height, width, 3 or 4: BGR, BGRA), uint8 or 16.

    Raises OptionError for another shape or type.
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if (
        pixels.ndim not in (2, 3)
        or channels not in CHANNELS
        or pixels.dtype.str[1:]
        not in (
            "u1",
            "u2",
        )
    ):
        raise OptionError(
            f"PNG holds uint8 or uint16 with 1, 3 or 4 channels, found {pixels.dtype} "
            f"{pixels.shape}"
        )
    kind, order = CHANNELS[channels]
    height, width = pixels.shape[:2]
    bits = 8 * pixels.dtype.itemsize
    rows = pixels.reshape(height, width, channels)[..., order]
    data = np.zeros((height, 1 + width * channels * bits // 8), np.uint8)  # no filter of rows
    data[:, 1:] = np.ascontiguousarray(rows, f">u{bits // 8}").view(np.uint8).reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(data.tobytes(), LEVEL)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )


def write_frames(
    recording: Recording, folder: Path, *, start: int | None = None, stop: int | None = None
) -> int:
    """Write the frames of a window as 000000.png, ... and their times to frames.csv (µs).

    start and stop (µs) count from the first event. The folder appears when it is complete. Returns
    the number of frames. Raises OptionError if the folder exists or there are no frames.
    """
    if folder.exists() or folder.is_symlink():
        raise OptionError(f"{folder} exists; expected the name of a new folder")
    if not any(track.kind == "frames" for track in recording.streams.values()):
        raise OptionError(f"{recording.path} has no frames")
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    n = 0
    try:
        with (temporary / "frames.csv").open("w", newline="") as table:
            lines = csv.writer(table)
            lines.writerow(["file", "t", "begin", "end"])
            for rows in recording.frames(start=start, stop=stop):
                for row in rows:
                    name = f"{n:06d}.png"
                    (temporary / name).write_bytes(encode(row["pixels"]))
                    lines.writerow([name, *(int(row[key]) for key in ("t", "begin", "end"))])
                    n += 1
        temporary.chmod(0o755)
        temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return n
