"""One HTTP request for a file, with every failure classified as permanent or transient.

Redirects are followed on the same host, or over HTTPS to an allowed host; never from HTTPS to HTTP,
and never from a public address into a private network. TLS certificates are always verified.
"""

import email.utils
import http.client
import ipaddress
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from eventkit import __version__

RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}
LONGEST_WAIT = 300.0  # seconds; a longer Retry-After is a permanent failure


class Unavailable(Exception):
    """This URL will not deliver the file: bot wall, wrong content, not found."""


class Retryable(Exception):
    """The connection failed or the server is busy; `wait` is its Retry-After in seconds.

    With `slow`, bytes received in the meantime do not reset the retry counter; with `beyond`, the
    server has no bytes after the requested start.
    """

    def __init__(
        self, reason: str, wait: float | None = None, slow: bool = False, beyond: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait, self.slow, self.beyond = wait, slow, beyond


@dataclass
class Response:
    """The body of a file from byte `start` on, its total size if known, and its ETag.

    `encoding` is a Content-Encoding that was not requested: the body may differ from the file.
    """

    body: IO[bytes]
    start: int
    total: int | None
    tag: str | None
    encoding: str = ""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects on one host, and over HTTPS to one of `hosts` (None: any host)."""

    max_redirections = 8

    def __init__(self, hosts: Collection[str] | None) -> None:
        self.hosts = hosts

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = newurl.partition(":")[0].lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise Unavailable(f"redirects from {req.type} to {scheme}: {newurl}")
        here, there = urlsplit(req.full_url).hostname, urlsplit(newurl).hostname or ""
        if there != here and scheme != "https":
            raise Unavailable(f"redirects to another host without https: {newurl}")
        if there != here and self.hosts is not None and there not in self.hosts:
            raise Unavailable(
                f"redirects to another host, {there}, and the file has no checksum to verify the "
                "download"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def public(address: str) -> bool:
    """Whether an IP address is globally routable, not of this machine or a private network."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_global


class _Route:
    """The addresses of one request; raises Unavailable when they turn from public to private.

    The address is checked after connecting, because a name may resolve differently each time.
    Behind a proxy, every address is that of the proxy, which is then responsible.
    """

    def __init__(self) -> None:
        self.public = False

    def reached(self, connection: http.client.HTTPConnection) -> None:
        address = connection.sock.getpeername()[0]
        if self.public and not public(address):
            connection.close()
            raise Unavailable(f"redirects into a private network ({connection.host}, {address})")
        self.public = public(address)


class _Plain(urllib.request.HTTPHandler):
    """HTTP handler that checks the connected addresses."""

    def __init__(self, route: _Route) -> None:
        super().__init__()
        self.route = route

    def http_open(self, req: urllib.request.Request) -> Any:
        route = self.route

        class Connection(http.client.HTTPConnection):
            def connect(self) -> None:
                super().connect()
                route.reached(self)

        return self.do_open(Connection, req)


class _Secure(urllib.request.HTTPSHandler):
    """HTTPS handler that checks the connected addresses."""

    def __init__(self, route: _Route) -> None:
        super().__init__()
        self.route, self.tls = route, ssl.create_default_context()

    def https_open(self, req: urllib.request.Request) -> Any:
        route = self.route

        class Connection(http.client.HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                route.reached(self)

        return self.do_open(Connection, req, context=self.tls)


@contextmanager
def request(
    url: str, start: int, tag: str | None, timeout: float, hosts: Collection[str] | None = None
) -> Iterator[Response]:
    """Request a file from byte `start` on; the response may start at 0 anyway.

    `tag` is the ETag of the bytes received so far: if the file has changed, the server sends it
    from the beginning. `hosts` are the hosts that redirects may lead to (None: any). Raises
    Unavailable or Retryable, also while the body is being read.
    """
    if url.partition(":")[0].lower() not in ("http", "https"):
        raise Unavailable("is not an HTTP or HTTPS address")
    # A proxy must not compress archives: sizes would differ.
    headers = {"User-Agent": f"eventkit/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag is not None and not tag.startswith("W/"):
            headers["If-Range"] = tag
    route = _Route()
    opener = urllib.request.build_opener(_Redirects(hosts), _Plain(route), _Secure(route))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as found:
            yield _checked(found, start)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # range not satisfiable
            raise Retryable(
                "has no bytes after the partial download", wait=0, beyond=True
            ) from None
        reason = f"answers {error.code} {error.reason}"
        if error.headers.get("x-amzn-waf-action"):
            raise Unavailable(f"{reason} and requires a browser (bot wall)") from None
        if error.code in RETRY_STATUS:
            raise Retryable(reason, _wait(error.headers.get("Retry-After"))) from None
        raise Unavailable(reason) from None
    except http.client.InvalidURL:
        raise Unavailable("is not a valid URL: use %XX for spaces and special characters") from None
    except urllib.error.URLError as error:
        raise Retryable(f"cannot be reached ({error.reason})") from None
    except TimeoutError:
        raise Retryable(f"sent nothing for {timeout:g} s") from None
    except (http.client.HTTPException, ssl.SSLError, ConnectionError, ValueError) as error:
        raise Retryable(f"closed the connection ({error or type(error).__name__})") from None


def _checked(found: Any, start: int) -> Response:
    """The response, if it is the file; `found` is an open response with a success status."""
    headers, status = found.headers, found.status
    kind = headers.get_content_type() if headers.get("Content-Type") else ""
    wall = headers.get("x-amzn-waf-action")
    if wall or status == 202:
        raise Unavailable(
            f"answers {status}{' ' + wall if wall else ''} without the file (bot wall)"
        )
    if kind in ("text/html", "application/xhtml+xml"):
        raise Unavailable("sends a web page instead of the file")
    if status not in (200, 206):
        raise Unavailable(f"answers {status} {found.reason}")
    length = headers.get("Content-Length")
    length = int(length) if length and length.isdecimal() else None
    tag, encoding = headers.get("ETag"), (headers.get("Content-Encoding") or "").strip().lower()
    encoding = "" if encoding == "identity" else encoding
    if status == 200:
        if length == 0:
            raise Unavailable("sends an empty file")
        return Response(found, 0, length, tag, encoding)
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != start:
        raise Unavailable(f"sends the range {headers.get('Content-Range')!r}, expected {start}-")
    total = None if match[3] == "*" else int(match[3])
    return Response(found, start, total, tag, encoding)


def _wait(text: str | None) -> float | None:
    """The seconds of a Retry-After header, which is a number or a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
