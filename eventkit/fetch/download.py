"""Download one file from one of its mirrors: resumed, verified, and renamed when complete.

NAME.part grows next to the target and NAME.part.json records the server's metadata. The file gets
its final name only after its size and checksums have been verified.
"""

import errno
import hashlib
import json
import os
import random
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from eventkit._platform import lock
from eventkit.datasets import SourceFile
from eventkit.errors import FetchError, FetchFailed, FetchLocked
from eventkit.fetch.http import (
    LONGEST_WAIT,
    Response,
    Retryable,
    Unavailable,
    request,
)

BLOCK = 1 << 18
RESERVE = 64 << 20  # bytes of the disk that stay free
MAX_BYTES = 1 << 42  # limit for a file of unknown size
Progress = Callable[[str, int, int | None], None]  # label, bytes done, bytes in all


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to retry; the defaults suit the internet."""

    tries: int = 6  # consecutive failures without progress before a mirror is given up
    timeout: float = 30.0  # seconds without data
    slowest: float = 1000.0  # minimum bytes per second, averaged over `patience` seconds
    patience: float = 60.0
    first_pause: float = 1.0  # seconds; doubled after each failure, with jitter of 50 to 100 %
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


DEFAULT_RETRY = RetryPolicy()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; the kernel releases it when the process ends.

    Raises FetchLocked if another process holds it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            lock(handle)
        except BlockingIOError:
            holder = os.pread(handle, 100, 0).decode(errors="replace").strip()
            raise FetchLocked(
                f"{path.with_suffix('')}: is being fetched by {holder or 'another process'}; "
                "wait until it has finished"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(handle)


def download(
    source: SourceFile,
    target: Path,
    progress: Progress | None = None,
    retry: RetryPolicy = DEFAULT_RETRY,
) -> Path:
    """Download a file to `target` and verify it; an existing valid file is kept.

    Raises FetchError if no mirror allows automated download; FetchFailed if connections fail, the
    checksum differs or the disk is full. The received bytes are kept, and the next call resumes.
    """
    part = target.with_name(target.name + ".part")
    if target.is_file():
        try:
            check(source, target, progress)
        except FetchFailed:  # damaged, or an earlier version of the file
            target.unlink()
        else:
            _discard(part)  # left by a process that was killed after renaming the file
            return target
    failures: list[str] = []
    refused = 0
    for url in source.urls:
        try:
            _download_from(url, source, part, progress, retry)
        except (Unavailable, Retryable) as error:
            failures.append(f"{url} {error}")
            refused += isinstance(error, Unavailable)
            continue
        except OSError as error:
            raise _disk_error(error, target, part, source) from None
        try:
            check(source, part, progress)
        except FetchFailed as error:  # wrong bytes: start from the beginning with the next mirror
            failures.append(f"{url}: {str(error).partition(': ')[2]}")
            _discard(part)
            continue
        part.replace(target)
        _discard(part)
        return target
    reasons = "; ".join(failures) or "no mirror is known"
    if refused == len(source.urls):
        raise FetchError(f"{source.name}: no mirror allows automated download ({reasons})")
    raise FetchFailed(f"{source.name}: {reasons}; fetch again to resume")


class Crc32:
    """The checksum crc32 in the form of those of hashlib."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes) -> None:
        self.value = zlib.crc32(data, self.value)

    def hexdigest(self) -> str:
        return f"{self.value:08x}"


def check(source: SourceFile, path: Path, progress: Progress | None = None) -> None:
    """Raise FetchFailed unless a file has the size and checksums given by its publisher."""
    size = path.stat().st_size
    if source.bytes is not None and size != source.bytes:
        raise FetchFailed(f"{path}: has {size:,} bytes, expected {source.bytes:,}")
    if not size:
        raise FetchFailed(f"{path}: is empty")
    sums = {
        name: Crc32() if name == "crc32" else hashlib.new(name, usedforsecurity=False)
        for name in source.sums
    }
    done = 0
    with path.open("rb") as file:
        while sums and (block := file.read(1 << 20)):
            for each in sums.values():
                each.update(block)
            done += len(block)
            if progress is not None:
                progress(f"check {source.name}", done, size)
    for name, found in sums.items():
        if found.hexdigest() != getattr(source, name):
            raise FetchFailed(
                f"{path}: its {name} is {found.hexdigest()}, expected {getattr(source, name)}"
            )


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise FetchFailed unless `needed` bytes are free on the disk of a folder."""
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise FetchFailed(
            f"{folder}: {free:,} bytes are free, {needed:,} are needed for {what}; free some "
            "space or choose another root folder"
        )


def _download_from(
    url: str, source: SourceFile, part: Path, progress: Progress | None, retry: RetryPolicy
) -> None:
    """Complete `part` from one URL, with retries; raises Unavailable or Retryable if that fails."""
    failed = 0
    while True:
        before = _size(part)
        try:
            _attempt(url, source, part, progress, retry)
            return
        except Retryable as error:
            if error.beyond and source.bytes:
                raise Unavailable(f"has only {before:,} bytes, expected {source.bytes:,}") from None
            if error.beyond:
                _discard(part)  # whether it is complete is unknown
            failed = 1 if _size(part) > before and not error.slow else failed + 1
            if failed >= retry.tries:
                raise
            if (error.wait or 0) > LONGEST_WAIT:
                raise Unavailable(f"{error} and asks to wait {error.wait:.0f} s") from None
            pause = retry.first_pause * 2 ** min(failed - 1, 8)
            jitter = random.uniform(0.5, 1)
            retry.sleep(error.wait if error.wait is not None else pause * jitter)


def _attempt(
    url: str, source: SourceFile, part: Path, progress: Progress | None, retry: RetryPolicy
) -> None:
    have, known = _size(part), _load_state(part)
    if have and not source.sums:
        # Without a checksum, parts from two mirrors may not match, and bytes that were not synced
        # may be lost after a power failure: resume only from the same URL and synced bytes.
        known = known if known.get("url") == url else {}
        have = min(have, known.get("synced", 0))
    whole = source.bytes if source.bytes is not None else known.get("total")
    if have and have == whole:
        return
    if whole is not None and have > whole:
        have = 0
    hosts = None if source.sums else {urlsplit(each).hostname or "" for each in source.urls}
    with request(url, have, known.get("tag"), retry.timeout, hosts) as response:
        if response.encoding and not source.sums:  # some servers wrongly label a plain .tar.gz
            reason = f"sends the file compressed with {response.encoding}, which was not requested"
            raise Unavailable(f"{reason}, and there is no checksum to verify it")
        total = response.total if response.total is not None else source.bytes
        if source.bytes is not None and total != source.bytes:
            raise Unavailable(f"has a file of {total:,} bytes, expected {source.bytes:,}")
        if response.start and known.get("total") not in (None, response.total):
            _discard(part)
            raise Retryable("has a different file than before", wait=0)
        if total is not None:
            check_space(part.parent, total - response.start, source.name)
        facts: dict[str, object] = {
            "url": url,
            "tag": response.tag,
            "total": response.total,
            "synced": response.start,
        }
        _save_state(part, facts)
        with part.open("r+b" if part.exists() else "wb", buffering=0) as file:
            file.truncate(response.start)
            file.seek(response.start)
            try:
                _receive(response, file, source, total, progress, retry)
            finally:
                os.fsync(file.fileno())
                _save_state(part, facts | {"synced": file.tell()})


def _receive(
    response: Response,
    file: BinaryIO,
    source: SourceFile,
    total: int | None,
    progress: Progress | None,
    retry: RetryPolicy,
) -> None:
    """Append the response body to `file`, checking its length and speed."""
    done = response.start
    limit = total if total is not None else (source.about * 4 if source.about else MAX_BYTES)
    mark, since = done, retry.clock()
    while block := response.body.read1(BLOCK):  # type: ignore[attr-defined]
        if done + len(block) > limit:
            raise Unavailable(f"sends more than the expected {limit:,} bytes")
        view = memoryview(block)
        while view:
            view = view[file.write(view) :]
        done += len(block)
        now = retry.clock()
        if now - since >= retry.patience:
            if (done - mark) < retry.slowest * (now - since):
                reason = f"sent only {done - mark:,} bytes in {now - since:.0f} s"
                raise Retryable(reason, slow=True)
            mark, since = done, now
            if total is None:
                check_space(Path(file.name).parent, BLOCK, source.name)
        if progress is not None:
            progress(source.name, done, total)
    if total is not None and done < total:
        raise Retryable(f"ended at byte {done:,} of {total:,}")
    if not done:
        raise Unavailable("sends an empty file")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _state_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _save_state(part: Path, facts: dict[str, object]) -> None:
    _state_path(part).write_text(json.dumps(facts))


def _load_state(part: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        known = json.loads(_state_path(part).read_bytes())
        if isinstance(known, dict):
            return known
    return {}


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_path(part).unlink(missing_ok=True)


def _disk_error(error: OSError, target: Path, part: Path, source: SourceFile) -> OSError:
    """A FetchFailed for a full disk; any other error unchanged."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = shutil.disk_usage(target.parent).free
        return FetchFailed(
            f"{part}: the disk is full ({free:,} bytes free, {_size(part):,} of "
            f"{source.bytes or source.about or 0:,} downloaded); free some space and fetch again "
            "to resume"
        )
    return error
