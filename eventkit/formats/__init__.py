"""Bytes <-> chunks of Events.

`base` says what a format is, `reading` and `writing` have the public functions, and the rooms have
one module per format, found by scanning: `aedat`, `prophesee`, `tables`, `records` and `ros`.
`live` reads recordings that are still being made.
"""

from eventkit.formats.base import CHUNK, FORMATS, Format, Report, limits, parse_size
from eventkit.formats.reading import beside, extra, info, read, size_on_disk, stream
from eventkit.formats.recognise import folder_format, format_of, guess
from eventkit.formats.writing import write, writer

__all__ = [
    "CHUNK",
    "FORMATS",
    "Format",
    "Report",
    "beside",
    "extra",
    "folder_format",
    "format_of",
    "guess",
    "info",
    "limits",
    "parse_size",
    "read",
    "size_on_disk",
    "stream",
    "write",
    "writer",
]
