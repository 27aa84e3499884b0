"""Where the bytes of a live recording come from: a pipe, a file that grows, a port."""

import contextlib
import os
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from eventkit import _platform
from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.formats.base import Report
from eventkit.formats.filling import shorter

RECEIVED = 1 << 25  # bytes of the queue of datagrams
DROPS = 40  # SO_RXQ_OVFL of Linux: count what found no place in that queue
MEMINFO = 55  # SO_MEMINFO of Linux: numbers of a socket, of which the ninth is that count


class Source(Protocol):
    """Where the bytes of a live recording come from."""

    def ready(self, wait: float) -> bool:
        """Whether there are bytes, or an end, after so many seconds at most."""

    def read(self, buffer: np.ndarray) -> int | None:
        """Fill what there is into the buffer: how many bytes, or None at the end."""

    def waiting(self) -> int:
        """How many bytes there are at most that were sent and not read yet."""


class Pipe:
    """Standard input."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def ready(self, wait: float) -> bool:
        return bool(select.select([self._fd], [], [], wait)[0])

    def read(self, buffer: np.ndarray) -> int | None:
        return os.readv(self._fd, [buffer.data]) or None

    def waiting(self) -> int:
        return _platform.unread(self._fd)


class Growing:
    """A file to which somebody appends; it has no end of its own."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd, self._path, self._at = fd, path, 0

    def ready(self, wait: float) -> bool:
        end = os.fstat(self._fd).st_size
        if end < self._at:
            raise shorter(self._path, end)
        if end == self._at and wait:
            time.sleep(wait)
            return os.fstat(self._fd).st_size > self._at
        return end > self._at

    def read(self, buffer: np.ndarray) -> int:
        n = os.preadv(self._fd, [buffer.data], self._at)
        self._at += n
        return n

    def waiting(self) -> int:
        return os.fstat(self._fd).st_size - self._at


@jit
def _whole_words(words: np.ndarray) -> int:
    """How many words of a datagram are those of whole events."""
    k = 0
    while k < len(words):
        step = 1 if words[k] >> 31 else 2
        if k + step > len(words):
            break
        k += step
    return k


class Datagrams:
    """What arrives at a port; it has no end of its own.

    Datagrams get lost, so each is taken alone: the rest of an event at its end is counted.
    """

    def __init__(self, address: str, report: Report) -> None:
        self._report, self._lost = report, 0
        family, kind, proto, _, place = resolved(address, passive=True)
        self._socket = socket.socket(family, kind, proto)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)
        self._socket.setsockopt(socket.SOL_SOCKET, DROPS, 1)
        try:
            self._socket.bind(place)
        except OSError as error:
            self._socket.close()
            raise OSError(error.errno, error.strerror, address) from None

    def close(self) -> None:
        """Close the socket, once what it lost since the last datagram is counted."""
        with contextlib.suppress(OSError):  # not Linux
            told = self._socket.getsockopt(socket.SOL_SOCKET, MEMINFO, 36)
            self._count(int.from_bytes(told[32:36], sys.byteorder))
        self._socket.close()

    def ready(self, wait: float) -> bool:
        return bool(select.select([self._socket], [], [], wait)[0])

    def read(self, buffer: np.ndarray) -> int:
        """The next datagram, its whole events."""
        n, told, _, _ = self._socket.recvmsg_into([buffer.data], 64)
        for level, kind, data in told:
            if level == socket.SOL_SOCKET and kind == DROPS:
                self._count(int.from_bytes(data[:4], sys.byteorder))
        whole = 4 * _whole_words(buffer[: n // 4 * 4].view("<u4"))
        if n > whole:
            self._report.counts["trailing bytes"] += n - whole
        return whole

    def waiting(self) -> int:
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _count(self, lost: int) -> None:
        """Report the datagrams lost so far, of which Linux keeps count."""
        if lost > self._lost:
            self._report.counts["datagrams lost by this machine"] += lost - self._lost
            self._lost = lost


def resolved(address: str, passive: bool) -> tuple[Any, ...]:
    """What `socket` needs to know of udp://HOST:PORT."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.path.strip("/") or parts.query:
        raise OptionError(f"{address}: expected udp://HOST:PORT, as udp://0.0.0.0:3333")
    flags = socket.AI_PASSIVE if passive else 0
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)[0]
    except socket.gaierror as error:
        raise OptionError(f"{address}: {host} is no known host ({error.strerror})") from None
