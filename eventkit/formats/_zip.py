"""What zipfile leaves unchecked: how many files the end of a zip announces; skipping with sums."""

import os
import struct
import zipfile
from itertools import pairwise
from typing import IO

END = b"PK\x05\x06"
END_64 = b"PK\x06\x06"
HEADER = 30  # bytes before the name and the data of a file, at least
LONGEST_END = 22 + 65_535  # bytes, with a comment


def end(file: IO[bytes]) -> tuple[int, int, int]:
    """Number of files, length of the directory (bytes) and place of the end record of a zip.

    Raises BadZipFile when there is no such record.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - LONGEST_END))
    tail = file.read()
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < 22:
        raise zipfile.BadZipFile("its end is missing")
    files, directory = struct.unpack_from("<HI", tail, at + 10)
    if files == 0xFFFF or directory == 0xFFFFFFFF:  # they are in the zip64 record before, if any
        at64 = tail.rfind(END_64, 0, at)
        if at64 >= 0 and at - at64 >= 56:
            files, directory = struct.unpack_from("<QQ", tail, at64 + 32)
        elif directory == 0xFFFFFFFF:
            raise zipfile.BadZipFile("its zip64 end is missing")
    return files, directory, length - len(tail) + at


def check_directory(archive: zipfile.ZipFile) -> None:
    """BadZipFile unless the directory lists as many files as the end says, none within another.

    The directory has no checksum: one flipped bit in a length hides the files that follow, one in
    a size lets a file reach into the next (of which zipfile only warns, since Python 3.12).
    """
    assert archive.fp is not None  # for types: it is open
    files, listed = end(archive.fp)[0], len(archive.infolist())
    if files != listed:
        raise zipfile.BadZipFile(f"its directory lists {listed:,} files, its end says {files:,}")
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    for entry, following in pairwise(entries):
        end_of_data = entry.header_offset + HEADER + len(entry.orig_filename) + entry.compress_size
        if end_of_data > following.header_offset:
            raise zipfile.BadZipFile(f"{entry.filename} reaches into {following.filename}")


def skip(file: IO[bytes], length: int) -> None:
    """Pass over the first bytes of a file; EOFError if it is shorter.

    Those of a zip are read: since Python 3.12, seeking in one ends the check of its checksum.
    """
    if not isinstance(file, zipfile.ZipExtFile):
        file.seek(length)
        return
    while length:
        data = file.read(min(length, 1 << 20))
        if not data:
            raise EOFError("a file is shorter than expected")
        length -= len(data)
