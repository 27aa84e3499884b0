"""One file from one of its mirrors: continued after an interruption, checked, renamed when whole.

NAME.part grows beside the target, NAME.part.json remembers what the server said of it, and the
file gets its name only when its size and its checksums are right.
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
from eventkit.fetch.http import LONGEST_WAIT, Answer, Broken, Refused, ask

BLOCK = 1 << 18
RESERVE = 64 << 20  # bytes of a disk that are left free
ENDLESS = 1 << 42  # a file of which nobody said the size is not longer than this
Progress = Callable[[str, int, int | None], None]  # label, bytes done, bytes in all


@dataclass(frozen=True)
class Manners:
    """How long to try: the defaults are for the internet, tests are less patient."""

    tries: int = 6  # failures in a row, without a byte between them, before a mirror is given up
    timeout: float = 30.0  # seconds without a byte
    slowest: float = 1000.0  # bytes a second, over `patience` seconds
    patience: float = 60.0
    first_pause: float = 1.0  # seconds; doubled at each failure, then anything between half and all
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


PATIENT = Manners()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; FetchLocked if another process does. The kernel frees it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            lock(handle)
        except BlockingIOError:
            holder = os.pread(handle, 100, 0).decode(errors="replace").strip()
            raise FetchLocked(
                f"{path.with_suffix('')}: is being fetched by {holder or 'another process'}; "
                "wait for it"
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
    manners: Manners = PATIENT,
) -> Path:
    """Fetch a file to `target` and check it; one that is there and right is kept, else replaced.

    Raises FetchError when no mirror gives it to a program, FetchFailed when connections break,
    bytes are wrong or the disk is full; what came is kept, and the next call continues there.
    """
    part = target.with_name(target.name + ".part")
    if target.is_file():
        try:
            check(source, target, progress)
        except FetchFailed:  # damaged since, or of an earlier description
            target.unlink()
        else:
            _forget(part)  # of a run that was killed after it had renamed the file
            return target
    failures: list[str] = []
    refused = 0
    for url in source.urls:
        try:
            _from(url, source, part, progress, manners)
        except (Refused, Broken) as error:
            failures.append(f"{url} {error}")
            refused += isinstance(error, Refused)
            continue
        except OSError as error:
            raise _disk(error, target, part, source) from None
        try:
            check(source, part, progress)
        except FetchFailed as error:  # the bytes are wrong: the next one starts anew
            failures.append(f"{url}: {str(error).partition(': ')[2]}")
            _forget(part)
            continue
        part.replace(target)
        _forget(part)
        return target
    told = "; ".join(failures) or "no address is known"
    if refused == len(source.urls):
        raise FetchError(f"{source.name}: no address gives it to a program ({told})")
    raise FetchFailed(f"{source.name}: {told}; run the same command again, it continues")


class Crc32:
    """The checksum crc32 in the form of those of hashlib."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes) -> None:
        self.value = zlib.crc32(data, self.value)

    def hexdigest(self) -> str:
        return f"{self.value:08x}"


def check(source: SourceFile, path: Path, progress: Progress | None = None) -> None:
    """FetchFailed unless a file has the size and the checksums that its publisher gave."""
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


def room(folder: Path, needed: int, what: str) -> None:
    """FetchFailed if so many bytes do not fit on the disk of a folder."""
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise FetchFailed(
            f"{folder}: {free:,} bytes are free, {needed:,} are needed for {what}; make room or "
            "choose another --root"
        )


def _from(
    url: str, source: SourceFile, part: Path, progress: Progress | None, manners: Manners
) -> None:
    """Bring `part` to its end from one address; Refused or Broken if that does not work."""
    failed = 0
    while True:
        before = _size(part)
        try:
            _once(url, source, part, progress, manners)
            return
        except Broken as error:
            if error.beyond and source.bytes:
                told = f"has no more than the {before:,} bytes that are there"
                raise Refused(f"{told}, expected {source.bytes:,}") from None
            if error.beyond:
                _forget(part)  # of which nobody knows whether it is whole
            failed = 1 if _size(part) > before and not error.slow else failed + 1
            if failed >= manners.tries:
                raise
            if (error.wait or 0) > LONGEST_WAIT:
                raise Refused(f"{error} and asks to wait {error.wait:.0f} s") from None
            pause = manners.first_pause * 2 ** min(failed - 1, 8)
            jitter = random.uniform(0.5, 1)
            manners.sleep(error.wait if error.wait is not None else pause * jitter)


def _once(
    url: str, source: SourceFile, part: Path, progress: Progress | None, manners: Manners
) -> None:
    have, known = _size(part), _remembered(part)
    if have and not source.sums:
        # Only a checksum can tell whether parts of two addresses fit, or whether all that seems to
        # be there survived a power failure.
        known = known if known.get("url") == url else {}
        have = min(have, known.get("synced", 0))
    whole = source.bytes if source.bytes is not None else known.get("total")
    if have and have == whole:
        return
    if whole is not None and have > whole:
        have = 0
    hosts = None if source.sums else {urlsplit(each).hostname or "" for each in source.urls}
    with ask(url, have, known.get("tag"), manners.timeout, hosts) as answer:
        if answer.encoding and not source.sums:  # some servers say so of a .tar.gz that is as asked
            told = f"sends the file compressed with {answer.encoding}, which was not asked for"
            raise Refused(f"{told}, and there is no checksum to tell whether it is the file")
        total = answer.total if answer.total is not None else source.bytes
        if source.bytes is not None and total != source.bytes:
            raise Refused(f"has a file of {total:,} bytes, expected {source.bytes:,}")
        if answer.start and known.get("total") not in (None, answer.total):
            _forget(part)
            raise Broken("has another file than before", wait=0)
        if total is not None:
            room(part.parent, total - answer.start, source.name)
        facts: dict[str, object] = {
            "url": url,
            "tag": answer.tag,
            "total": answer.total,
            "synced": answer.start,
        }
        _remember(part, facts)
        with part.open("r+b" if part.exists() else "wb", buffering=0) as file:
            file.truncate(answer.start)
            file.seek(answer.start)
            try:
                _pour(answer, file, source, total, progress, manners)
            finally:
                os.fsync(file.fileno())
                _remember(part, facts | {"synced": file.tell()})


def _pour(
    answer: Answer,
    file: BinaryIO,
    source: SourceFile,
    total: int | None,
    progress: Progress | None,
    manners: Manners,
) -> None:
    done = answer.start
    limit = total if total is not None else (source.about * 4 if source.about else ENDLESS)
    mark, since = done, manners.clock()
    while block := answer.body.read1(BLOCK):  # type: ignore[attr-defined]
        if done + len(block) > limit:
            raise Refused(f"sends more than the {limit:,} bytes that the file may have")
        view = memoryview(block)
        while view:
            view = view[file.write(view) :]
        done += len(block)
        now = manners.clock()
        if now - since >= manners.patience:
            if (done - mark) < manners.slowest * (now - since):
                told = f"sent only {done - mark:,} bytes in {now - since:.0f} s"
                raise Broken(told, slow=True)
            mark, since = done, now
            if total is None:
                room(Path(file.name).parent, BLOCK, source.name)
        if progress is not None:
            progress(source.name, done, total)
    if total is not None and done < total:
        raise Broken(f"ended at byte {done:,} of {total:,}")
    if not done:
        raise Refused("sends an empty file")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _memory(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _remember(part: Path, facts: dict[str, object]) -> None:
    _memory(part).write_text(json.dumps(facts))


def _remembered(part: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        known = json.loads(_memory(part).read_bytes())
        if isinstance(known, dict):
            return known
    return {}


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _memory(part).unlink(missing_ok=True)


def _disk(error: OSError, target: Path, part: Path, source: SourceFile) -> OSError:
    """A full disk in words; any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = shutil.disk_usage(target.parent).free
        return FetchFailed(
            f"{part}: the disk is full ({free:,} bytes free, {_size(part):,} of "
            f"{source.bytes or source.about or 0:,} are there); make room and run the same "
            "command again, it continues"
        )
    return error
