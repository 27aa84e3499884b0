"""Recordings packed as a whole: .gz and .zst files, unpacked to a temporary file to be read.

Memory is bounded, and the disk by `expansion` (see `_limits`). The format of what is inside is
known by its first bytes, or else by the suffix before .gz or .zst.
"""

import contextlib
import gzip
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from eventkit.errors import FormatError, OptionError
from eventkit.formats._limits import DEFAULT_EXPANSION, check_expansion
from eventkit.registry import bind

MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
READ, BIT = 1 << 20, 1 << 10  # bytes that come at once; a bit of .zst, which may become 32 MB
DAMAGE = (EOFError, OSError, zlib.error)


def is_packed(path: Path) -> bool:
    """Whether a file has a suffix and the first bytes of a packed one."""
    magic = MAGIC.get(_suffix(path.name))
    if magic is None or not path.is_file():
        return False
    with path.open("rb", buffering=0) as file:
        return file.read(len(magic)) == magic


def refuse_packed(path: Path) -> None:
    """OptionError if a file that is to be written has the suffix of a packed one."""
    if path.suffix.lower() in MAGIC:
        reason = "packed files are read but not written"
        raise OptionError(f"{path}: {reason}; leave out {path.suffix} and pack it afterwards")


def suffix_within(name: str | PurePath) -> str:
    """The suffix of a file, in small letters, or of what is packed in it.

    >>> suffix_within("a/recording.csv.GZ")
    '.csv'
    """
    name = name.name if isinstance(name, PurePath) else PurePath(name).name
    suffix = _suffix(name)
    return _suffix(name[: -len(suffix)]) if suffix in MAGIC else suffix


def _suffix(name: str) -> str:
    """As PurePath(name).suffix.lower(), in a tenth of its time."""
    at = name.rfind(".")
    return name[at:].lower() if 0 < at < len(name) - 1 else ""


def head(path: Path, length: int) -> bytes:
    """The first bytes of what is packed, as far as it is sound."""
    found = b""
    with contextlib.suppress(*DAMAGE):
        for part in _parts(path):
            found += part[: length - len(found)]
            if len(found) == length:
                break
    return found


@contextlib.contextmanager
def plain_file(
    path: Path, options: Mapping[str, Any], strict: bool
) -> Iterator[tuple[Path, str | None]]:
    """The file itself or, of a packed one, what is in it; and what is damaged about that, if any.

    Of the options, `expansion` is used. Errors within name the file, and places in the unpacked
    data.
    """
    if not is_packed(path):
        yield path, None
        return
    asked = {"expansion": options.get("expansion", DEFAULT_EXPANSION)}
    with _unpacked(path, strict, **bind(_options, asked, path.suffix[1:].lower())) as found:
        try:
            yield found
        except FormatError as error:
            where = "" if error.offset is None else f", at byte {error.offset:,} of what is packed"
            raise FormatError(path, None, f"{error.reason}{where}") from None


def _options(*, expansion: int) -> None:
    """The options of a packed file."""


@contextlib.contextmanager
def _unpacked(path: Path, strict: bool, expansion: int) -> Iterator[tuple[Path, str | None]]:
    """What is packed in a file, as a temporary file, and what is damaged about it.

    If `strict`, damage is a FormatError, as is more than `expansion` times the bytes in any case.
    """
    with tempfile.TemporaryDirectory(prefix="eventkit-") as folder:
        inner, size, damage = Path(folder, path.stem), 0, None
        with inner.open("wb") as file:
            try:
                for part in _parts(path):
                    size += len(part)
                    check_expansion(path, "it", size, expansion)
                    file.write(part)
            except DAMAGE as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # of the disk, not of the data
                damage = f"the packed data are damaged or cut off after {size:,} unpacked bytes"
                if strict:
                    reason = f"{damage} ({error}); strict=False reads what comes before"
                    raise FormatError(path, None, reason) from None
        yield inner, damage


def _parts(path: Path) -> Iterator[bytes]:
    """The unpacked data, piece by piece."""
    if path.suffix.lower() == ".gz":
        with gzip.GzipFile(path) as file:
            while part := file.read1(READ):  # `read` loses what comes before the damage
                yield part
        return
    import zstandard

    with path.open("rb") as file:
        frame: Any = None
        while data := file.read(BIT):
            while data:
                try:
                    frame = frame or zstandard.ZstdDecompressor().decompressobj()
                    yield frame.decompress(data)
                except zstandard.ZstdError as error:
                    raise EOFError(str(error)) from None
                data, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
        if frame is not None:
            raise EOFError("the file ends within a frame")
