"""Writing a file: whole or not at all, and only where a regular file is or nothing."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventkit.errors import OptionError


def check_target(path: Path, overwrite: bool, source: Path | None = None) -> None:
    """OptionError unless a file may be written at `path`, which is not that of `source`.

    What is there is replaced only with `overwrite`, and only if it is a regular file: never a
    folder, a device, a pipe, a socket or a link that leads nowhere.
    """
    if not (path.exists() or path.is_symlink()):
        return
    if source is not None and source.exists() and path.exists() and path.samefile(source):
        raise OptionError(f"{path} is the recording itself; write to another file")
    if path.is_dir():
        raise OptionError(f"{path} is a folder; expected the name of a file")
    if not path.is_file():
        raise OptionError(f"{path} is not a regular file, so it is not replaced; write elsewhere")
    if not overwrite:
        raise OptionError(f"{path} exists; use overwrite=True to replace it")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` when all is written, else goes.

    What is written is synced first: a power failure leaves the old file or the new one. Raises
    OptionError as `check_target` does with `overwrite`, and FileNotFoundError where there is no
    folder for it.
    """
    check_target(path, overwrite=True)
    if not path.parent.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def replace(path: Path, data: bytes | bytearray) -> None:
    """Put a file there as a whole: neither a kill nor a full disk nor a power cut leaves a half."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(data)
        sync(temporary)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # the space is needed, what was there before too
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, durable; on Windows nothing is done."""
    if os.name == "nt":  # which cannot sync folders, nor files that are open for reading
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
