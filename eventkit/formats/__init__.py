"""Bytes <-> chunks of Events.

`base` says what a format is, `reading` and `writing` have the public functions, and the rooms have
one module per format, found by scanning: `aedat`, `prophesee`, `tables`, `records` and `ros`.
`live` reads recordings that are still being made.
"""

from eventkit.formats.base import CHUNK, FORMATS, Format, Report, limits, parse_size
from eventkit.formats.reading import beside, extra, frame_times, info, read, size_on_disk, stream
from eventkit.formats.recognise import folder_format, format_of, guess, written_as
from eventkit.formats.recordings import Recording, recording
from eventkit.formats.writing import write, writer

__all__ = [
    "CHUNK",
    "FORMATS",
    "Format",
    "Recording",
    "Report",
    "beside",
    "extra",
    "folder_format",
    "format_of",
    "frame_times",
    "guess",
    "info",
    "limits",
    "parse_size",
    "read",
    "recording",
    "size_on_disk",
    "stream",
    "write",
    "writer",
    "written_as",
]
