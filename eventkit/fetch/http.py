"""One answer of a web server, with what can be wrong with it said in words.

A redirect is followed on the same host, or by https to a host that may be trusted with the file;
never from https to http, and never from a public address into a private network. A server's
certificate is always checked.
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

AGAIN = {408, 425, 429, 500, 502, 503, 504}  # the server may answer better in a while
LONGEST_WAIT = 300.0  # seconds that a server may ask us to wait


class Refused(Exception):
    """This address will not give the file, now or in a minute: a wall, a wrong page, not there."""


class Broken(Exception):
    """The connection failed or the server is busy; `wait` is how long it asked to wait (s).

    With `slow` the bytes that came meanwhile are no reason to try for longer; with `beyond` the
    server has none after those that are there.
    """

    def __init__(
        self, reason: str, wait: float | None = None, slow: bool = False, beyond: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait, self.slow, self.beyond = wait, slow, beyond


@dataclass
class Answer:
    """The body of a file from byte `start` on, the size of the whole if known, and its tag.

    `encoding` is a Content-Encoding that nobody asked for: the body may not be the file.
    """

    body: IO[bytes]
    start: int
    total: int | None
    tag: str | None
    encoding: str = ""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects on one host, and by https to one of `hosts`, or to any if that is None."""

    max_redirections = 8

    def __init__(self, hosts: Collection[str] | None) -> None:
        self.hosts = hosts

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = newurl.partition(":")[0].lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise Refused(f"redirects from {req.type} to {scheme}: {newurl}")
        here, there = urlsplit(req.full_url).hostname, urlsplit(newurl).hostname or ""
        if there != here and scheme != "https":
            raise Refused(f"redirects to another host without https: {newurl}")
        if there != here and self.hosts is not None and there not in self.hosts:
            raise Refused(
                f"redirects to another host, {there}, and the file has no checksum to check what "
                "comes from there"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def public(address: str) -> bool:
    """Whether an IP address is one of the internet, not of this machine or a private network."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_global


class _Route:
    """The addresses that one request was led to; Refused when they turn from public to private.

    Looked at when connected, as a name may have another address each time that it is asked for.
    Behind a proxy all addresses are that of the proxy, which decides instead.
    """

    def __init__(self) -> None:
        self.public = False

    def reached(self, connection: http.client.HTTPConnection) -> None:
        address = connection.sock.getpeername()[0]
        if self.public and not public(address):
            connection.close()
            raise Refused(f"redirects into a private network ({connection.host}, {address})")
        self.public = public(address)


class _Plain(urllib.request.HTTPHandler):
    """http, with the addresses that are reached looked at."""

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
    """https, with the addresses that are reached looked at."""

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
def ask(
    url: str, start: int, tag: str | None, timeout: float, hosts: Collection[str] | None = None
) -> Iterator[Answer]:
    """Ask for a file from byte `start` on; the answer may begin at 0 all the same.

    `tag` is the ETag of what is there already, for the server to begin anew if the file changed.
    `hosts` are those to which it may be redirected, None: any.
    Raises Refused or Broken, also while the body is read.
    """
    if url.partition(":")[0].lower() not in ("http", "https"):
        raise Refused("is no http or https address")
    # Archives come as they are: a proxy must not compress them anew, the sizes would differ.
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
        if error.code == 416:  # nothing beyond what is there
            raise Broken("has no more bytes than are there", wait=0, beyond=True) from None
        reason = f"answers {error.code} {error.reason}"
        if error.headers.get("x-amzn-waf-action"):
            raise Refused(f"{reason} and asks for a person (a bot wall)") from None
        if error.code in AGAIN:
            raise Broken(reason, _wait(error.headers.get("Retry-After"))) from None
        raise Refused(reason) from None
    except http.client.InvalidURL:
        raise Refused("is no address: it has blanks or characters that belong in %XX") from None
    except urllib.error.URLError as error:
        raise Broken(f"cannot be reached ({error.reason})") from None
    except TimeoutError:
        raise Broken(f"sent nothing for {timeout:g} s") from None
    except (http.client.HTTPException, ssl.SSLError, ConnectionError, ValueError) as error:
        raise Broken(f"broke the connection ({error or type(error).__name__})") from None


def _checked(found: Any, start: int) -> Answer:
    """The answer, if it is the file; `found` is an open response with a good status."""
    headers, status = found.headers, found.status
    kind = headers.get_content_type() if headers.get("Content-Type") else ""
    wall = headers.get("x-amzn-waf-action")
    if wall or status == 202:
        raise Refused(f"answers {status}{' ' + wall if wall else ''} without the file (a bot wall)")
    if kind in ("text/html", "application/xhtml+xml"):
        raise Refused("sends a web page instead of the file")
    if status not in (200, 206):
        raise Refused(f"answers {status} {found.reason}")
    length = headers.get("Content-Length")
    length = int(length) if length and length.isdecimal() else None
    tag, encoding = headers.get("ETag"), (headers.get("Content-Encoding") or "").strip().lower()
    encoding = "" if encoding == "identity" else encoding
    if status == 200:
        if length == 0:
            raise Refused("sends an empty file")
        return Answer(found, 0, length, tag, encoding)
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != start:
        raise Refused(f"sends the part {headers.get('Content-Range')!r}, asked was {start}-")
    total = None if match[3] == "*" else int(match[3])
    return Answer(found, start, total, tag, encoding)


def _wait(text: str | None) -> float | None:
    """Seconds of a Retry-After, which is a number or a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
