"""Which format a file has: by its first bytes, then by its suffix."""

import os
import stat
from pathlib import Path
from typing import NoReturn

from eventkit.errors import FormatError, OptionError
from eventkit.formats._packed import head as packed_head
from eventkit.formats._packed import is_packed, suffix_within
from eventkit.formats.base import FORMATS, HEAD, Format, opened


def guess(path: str | Path) -> Format:
    """The format of a file, or of what is packed in it, by its first bytes, then by its suffix; or
    of a folder, if it is one recording.

    Raises FormatError for an unknown file or folder, OSError when it cannot be opened.
    """
    path = Path(path)
    return _guess_folder(path) if path.is_dir() else _guess_file(path)


def _guess_folder(path: Path) -> Format:
    if fmt := folder_format(path):
        return fmt
    raise FormatError(path, None, "is a folder; expected one recording")


def _guess_file(path: Path) -> Format:
    if is_packed(path):
        head = packed_head(path, HEAD)
    else:
        with opened(path) as fd:
            head = os.read(fd, HEAD)
    return known_by(head, suffix_within(path)) or unknown_format(path, head)


def known_by(head: bytes, suffix: str) -> Format | None:
    """The format that the first bytes tell, or else the suffix."""
    by_suffix = None
    for fmt in FORMATS.all():
        if fmt.detect is None:
            by_suffix = by_suffix or (fmt if suffix in fmt.suffixes else None)
        elif fmt.detect(head):
            return fmt
    return by_suffix


def unknown_format(path: str | Path, head: bytes) -> NoReturn:
    """FormatError for a file of which neither the first bytes nor the suffix are known."""
    known = "; ".join(f"{fmt.name} ({', '.join(fmt.suffixes)})" for fmt in FORMATS.values())
    reason = f"no known format: starts with {head[:12]!r}"
    raise FormatError(path, None, reason, f"supported formats: {known}")


def format_of(path: Path, name: str | None) -> Format:
    """The format named, or that of the file, which must be one and not be empty."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return _guess_folder(path)
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(path, None, "is a pipe or a device; expected a file")
    if not status.st_size:
        raise FormatError(path, None, "the file is empty; expected a recording")
    return FORMATS[name] if name else _guess_file(path)


def folder_format(path: Path) -> Format | None:
    """The format of a folder that is one recording."""
    named = (fmt for fmt in FORMATS.values() if fmt.folder and (path / fmt.folder).is_file())
    return next(named, None)


def written_as(path: Path) -> Format:
    """The format that a file of that suffix is written in; OptionError if there is none."""
    for fmt in FORMATS.values():
        if fmt.write is not None and path.suffix.lower() in fmt.suffixes:
            return fmt
    writable = ", ".join(sorted({s for f in FORMATS.values() if f.write for s in f.suffixes}))
    raise OptionError(
        f"{path}: no writable format has the suffix {path.suffix!r}; use one of {writable} "
        "or name the format"
    )
