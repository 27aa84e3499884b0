"""Unpack untrusted archives as streams: zip, tar, tar.gz, tar.bz2, tar.xz.

Only regular files and folders are unpacked, inside the target folder, with limits on their number
and size that depend on the size of the archive. Path traversal, links, device files, decompression
bombs and wrong sizes are refused, and a failed unpack leaves no partial files.
"""

import bz2
import errno
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from eventkit.errors import FetchError, FetchFailed
from eventkit.fetch.download import Progress, check_space
from eventkit.formats._zip import end as zip_end

BLOCK = 1 << 20
FREE = 64 << 20  # unpacked bytes that any archive may have
RATIO = 100  # maximum compression ratio beyond that; recordings reach about 10
MEMBERS = 400_000
HEADERS = 1 << 20  # maximum bytes of tar headers between two files
CLUTTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")  # written by file managers
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile),
    *(EOFError, NotImplementedError, RuntimeError, struct.error, ValueError, UnicodeError),
)
OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


@dataclass
class Limits:
    """Limits for one archive, including nested archives, and the totals so far."""

    max_bytes: int
    max_files: int = MEMBERS
    bytes: int = 0
    files: int = 0
    left_out: int = 0
    names: set[str] = field(default_factory=set)  # of files, case-folded (see `folded`)
    folders: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Member:
    """One file of an archive: its relative name, declared size and data stream."""

    name: PurePosixPath
    size: int
    body: IO[bytes]


def is_archive(path: Path) -> bool:
    """Whether a file starts with the signature of an archive."""
    return _kind(path) is not None


def unpack(
    archive: Path, into: Path, *, nested: str = "", progress: Progress | None = None
) -> Limits:
    """Unpack an archive into the new folder `into`; return the totals.

    nested="here" also unpacks the archives inside it, each into the folder that contains it;
    nested="folder" each into a folder of its own name. The nested archives are then deleted.
    Raises FetchFailed if the archive is malicious or damaged or the disk is full, and FetchError
    for archive types that are not supported (rar, 7z).
    """
    size = archive.stat().st_size
    into.mkdir(parents=True)
    limits = Limits(max_bytes=FREE + RATIO * size)
    try:
        _unpack(archive, into, PurePosixPath(), limits, progress)
        inner = [file for file in sorted(into.rglob("*")) if file.is_file() and is_archive(file)]
        for file in inner if nested else []:
            base = PurePosixPath(file.relative_to(into).as_posix())
            below = base.parent if nested == "here" else base.parent / _stem(base.name)
            try:
                _unpack(file, into, below, limits, progress)
            except FetchError as error:
                message = str(error).replace(str(file), f"{archive} (nested archive {base})")
                raise type(error)(message) from None
            file.unlink()
    except OSError as error:
        shutil.rmtree(into, ignore_errors=True)
        raise _as_fetch_error(error, archive, limits) from None
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise
    return limits


def _unpack(
    archive: Path, into: Path, below: PurePosixPath, limits: Limits, progress: Progress | None
) -> None:
    kind = _kind(archive)
    if kind is None:
        raise FetchFailed(f"{archive}: is not an archive; expected zip or tar")
    if kind in ("rar", "7z"):
        raise FetchError(
            f"{archive}: {kind} archives are not supported; unpack it with "
            f"{'unrar' if kind == 'rar' else '7z'} and run eventkit adopt on the folder"
        )
    members = _of_zip(archive, limits) if kind == "zip" else _of_tar(archive, kind, limits)
    size = archive.stat().st_size
    try:
        with archive.open("rb") as file:
            for member, position in members(file):
                _write(archive, member, into, below, limits)
                if progress is not None:
                    progress(f"unpack {archive.name}", position, size)
    except DAMAGE as error:
        raise FetchFailed(
            f"{archive}: is damaged or not a {kind} archive ({error or type(error).__name__})"
        ) from None


def _kind(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(262)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return None if path.suffix == ".npz" else "zip"
    if head[:2] == b"\x1f\x8b":
        return "tar.gz"
    if head[:3] == b"BZh":
        return "tar.bz2"
    if head[:6] == b"\xfd7zXZ\0":
        return "tar.xz"
    if head[:4] == b"Rar!":
        return "rar"
    if head[:6] == b"7z\xbc\xaf'\x1c":
        return "7z"
    return "tar" if head[257:262] == b"ustar" else None


def _stem(name: str) -> str:
    for suffix in (".tar.gz", ".tar.bz2", ".tar.xz"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name.rpartition(".")[0] or f"{name}.d"


class _LimitedReader:
    """A stream with a read quota, so that huge tar headers cannot exhaust memory."""

    def __init__(self, file: Any, archive: Path) -> None:
        self.file, self.archive, self.allowed = file, archive, HEADERS

    def read(self, n: int) -> bytes:
        data: bytes = self.file.read(n)
        self.allowed -= len(data)
        if self.allowed < 0:
            raise FetchFailed(f"{self.archive}: a tar header is larger than {HEADERS:,} bytes")
        return data


def _of_tar(archive: Path, kind: str, limits: Limits) -> Any:
    def members(file: IO[bytes]) -> Iterator[tuple[Member, int]]:
        opener = OPENERS.get(file.read(2))
        file.seek(0)
        reader = _LimitedReader(opener(file, "rb") if opener else file, archive)
        with tarfile.open(fileobj=reader, mode="r|") as tar:  # type: ignore[call-overload]
            while True:
                reader.allowed = HEADERS
                if (info := tar.next()) is None:
                    break
                tar.members = []  # tarfile would keep every member in memory
                if info.isdir():
                    _name(archive, info.name)
                    _count(archive, limits)
                    continue
                body = tar.extractfile(info) if info.isreg() and info.size >= 0 else None
                if body is None or info.issparse():
                    raise FetchFailed(
                        f"{archive}: contains {_what(info)} {info.name!r}, expected only files and "
                        "folders; not unpacked"
                    )
                reader.allowed = info.size + HEADERS
                yield Member(_name(archive, info.name), info.size, body), file.tell()
        while reader.read(BLOCK):  # read to the end, to verify the checksum of the compression
            pass

    return members


def _what(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return f"the link (to {info.linkname!r})"
    return "the device" if info.ischr() or info.isblk() or info.isfifo() else "the entry"


def _of_zip(archive: Path, limits: Limits) -> Any:
    def members(file: IO[bytes]) -> Iterator[tuple[Member, int]]:
        entries = _count_entries(archive, file, limits)
        with zipfile.ZipFile(file) as zipped:
            packed = 0
            if len(zipped.infolist()) & 0xFFFF != entries & 0xFFFF:
                raise zipfile.BadZipFile("the central directory is incomplete")
            for info in zipped.infolist():
                name = _name(archive, info.orig_filename)
                packed += info.compress_size
                mode = stat.S_IFMT(info.external_attr >> 16)
                if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                    what = "the link" if mode == stat.S_IFLNK else "the device"
                    raise FetchFailed(
                        f"{archive}: contains {what} {info.orig_filename!r}, expected only files "
                        "and folders; not unpacked"
                    )
                if info.is_dir():
                    if info.file_size:
                        raise zipfile.BadZipFile(f"the folder {info.filename!r} has content")
                    _count(archive, limits)
                    continue
                if info.flag_bits & 1:
                    raise FetchFailed(
                        f"{archive}: {info.filename!r} is encrypted; unpack the archive with its "
                        "password and run eventkit adopt on the folder"
                    )
                with zipped.open(info) as body:
                    yield Member(name, info.file_size, body), packed

    return members


def _count_entries(archive: Path, file: IO[bytes], limits: Limits) -> int:
    """The number of entries that a zip file declares, modulo 65,536.

    Too many entries are refused here, before zipfile creates an object for each.
    """
    declared, length, end = zip_end(file)
    if length > 400 * limits.max_files:
        raise _too_many(archive, limits)
    file.seek(max(0, end - length - 98))
    entries = file.read(length + 98).count(b"PK\x01\x02")
    if entries > limits.max_files:
        raise _too_many(archive, limits)
    file.seek(0)
    return declared


def _too_many(archive: Path, limits: Limits) -> FetchFailed:
    return FetchFailed(
        f"{archive}: contains more than {limits.max_files:,} files, possibly an archive bomb; "
        "not unpacked"
    )


def _count(archive: Path, limits: Limits) -> None:
    limits.files += 1
    if limits.files > limits.max_files:
        raise _too_many(archive, limits)


def _name(archive: Path, text: str) -> PurePosixPath:
    """The name of a member; raises FetchFailed if it could lead outside the target folder."""
    name = PurePosixPath(text)
    drive = len(text) > 1 and text[1] == ":"
    odd = any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in text)
    if name.is_absolute() or ".." in name.parts or "\\" in text or drive or odd or not text:
        raise FetchFailed(
            f"{archive}: contains the unsafe name {text[:100]!r}, which may lead outside the "
            "folder; not unpacked"
        )
    return name


def folded(name: PurePosixPath) -> str:
    """A name as compared by file systems that ignore case and Unicode normalisation."""
    return unicodedata.normalize("NFC", str(name)).casefold()


def _write(archive: Path, member: Member, into: Path, below: PurePosixPath, limits: Limits) -> None:
    if any(part in CLUTTER for part in member.name.parts):
        limits.left_out += 1
        return
    _count(archive, limits)
    name = below / member.name
    if not name.parts:
        raise FetchFailed(f"{archive}: contains a file without a name; not unpacked")
    key, above = folded(name), [folded(parent) for parent in name.parents]
    if key in limits.names or key in limits.folders or limits.names.intersection(above):
        raise FetchFailed(
            f"{archive}: contains {str(member.name)!r} twice, or two names that some file systems "
            "treat as equal; not unpacked"
        )
    limits.names.add(key)
    limits.folders.update(above)
    if limits.bytes + member.size > limits.max_bytes:
        raise FetchFailed(
            f"{archive}: unpacks to more than {limits.max_bytes:,} bytes, possibly an archive "
            "bomb; not unpacked"
        )
    if member.size > BLOCK:
        check_space(into, member.size, str(name))
    target = into / name
    target.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    written = 0
    with open(os.open(target, flags, 0o644), "wb") as file:  # noqa: PTH123
        while block := member.body.read(min(BLOCK, member.size - written + 1)):
            written += len(block)
            if written > member.size:
                break
            file.write(block)
    if written != member.size:
        raise FetchFailed(
            f"{archive}: {str(member.name)!r} declares {member.size:,} bytes and has "
            f"{'more' if written > member.size else f'{written:,}'}; not unpacked"
        )
    limits.bytes += written


def _as_fetch_error(error: OSError, archive: Path, limits: Limits) -> OSError:
    if isinstance(error, FetchError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return FetchFailed(
            f"{archive}: the disk is full after {limits.bytes:,} unpacked bytes; free some space "
            "and try again"
        )
    return FetchFailed(f"{archive}: cannot be unpacked ({error.strerror or error})")
