"""One answer of a web server, with what can be wrong with it said in words.

Redirects are followed, but never from https to http; a server's certificate is always checked.
"""

import email.utils
import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

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
    """The body of a file from byte `start` on, the size of the whole if known, and its tag."""

    body: IO[bytes]
    start: int
    total: int | None
    tag: str | None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https, but never from https to http."""

    max_redirections = 8

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = newurl.partition(":")[0].lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise Refused(f"redirects from {req.type} to {scheme}: {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def ask(url: str, start: int, tag: str | None, timeout: float) -> Iterator[Answer]:
    """Ask for a file from byte `start` on; the answer may begin at 0 all the same.

    `tag` is the ETag of what is there already, for the server to begin anew if the file changed.
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
    opener = urllib.request.build_opener(_Redirects)
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
    tag = headers.get("ETag")
    if status == 200:
        if length == 0:
            raise Refused("sends an empty file")
        return Answer(found, 0, length, tag)
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != start:
        raise Refused(f"sends the part {headers.get('Content-Range')!r}, asked was {start}-")
    total = None if match[3] == "*" else int(match[3])
    return Answer(found, start, total, tag)


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
