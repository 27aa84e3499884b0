"""The viewer of events that are still arriving, served to this machine alone."""

import json
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from time import monotonic
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from eventkit import pages
from eventkit.events import Events

from .pack import pack_events
from .viewer import PALETTES, thinned

BLOCK = 200_000  # events of an answer; of more, some are left out
HELD = 4_000_000  # events that wait for a page; the oldest go first
PATIENCE = 1.0  # s that a request waits for events
GRACE = 2.0  # s at the end in which pages may fetch the last events


class LiveViewer:
    """A page on 127.0.0.1 that shows the events given to `add`; `url` is its address.

    The address holds a random token, and requests must name this host: neither other users of a
    page's browser nor other web pages can guess it.
    """

    def __init__(self, title: str, *, port: int = 0, window: int | None = None) -> None:
        self._data = {"live": True, "about": "", "palettes": PALETTES, "window": window}
        self._page = pages.build("viewer", title, self._data, connects=True)
        self._token = secrets.token_urlsafe(16)
        self._changed = Condition()
        self._parts: list[Events] = []
        self._first = self._last = 0  # numbers of the events that are held, from 0 of all
        self._origin: int | None = None
        self._ended = False
        self._told = 0  # the last number that a page has
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        port = self._server.server_address[1]
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self.url = f"http://127.0.0.1:{port}/{self._token}/"
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        end = monotonic() + GRACE
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            while 0 < self._told < self._last and monotonic() < end:
                self._changed.wait(0.1)
        self._server.shutdown()
        self._server.server_close()

    def add(self, events: Events) -> None:
        """Show these events next. Those outside the sensor are left out."""
        width, height = events.size
        inside = events[(events.x < width) & (events.y < height)].copy()
        with self._changed:
            if not len(inside):
                return
            if self._origin is None:
                self._origin = int(inside.t[0])
            self._parts.append(inside)
            self._last += len(inside)
            while self._last - self._first > HELD and len(self._parts) > 1:
                self._first += len(self._parts.pop(0))
            self._changed.notify_all()

    def answer(self, after: int) -> dict[str, Any]:
        """The events from number `after` on, or none after a while without any."""
        with self._changed:
            self._told = max(self._told, min(after, self._last))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._last > after or self._ended, PATIENCE)
            parts, first = list(self._parts), self._first
            last, ended, origin = self._last, self._ended, self._origin or 0
        if last <= after:
            return {"last": last, "ended": ended}
        events = Events.concat(parts)[max(0, after - first) :].sort()
        since = int(events.t[0])
        shown = thinned(events, 0, len(events), BLOCK)
        return {
            "last": last,
            "ended": False,  # the page asks once more
            "size": events.size,
            "total": last - max(after, 0),
            "since": since - origin,
            "block": pack_events(shown, since, level=1),
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        viewer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address = urlsplit(self.path)
                if self.headers.get("Host") not in viewer._hosts:
                    self.send_error(403)
                elif address.path == f"/{viewer._token}/":
                    self._send(viewer._page, "text/html; charset=utf-8")
                elif address.path == f"/{viewer._token}/events":
                    after = parse_qs(address.query).get("after", ["0"])[0]
                    found = viewer.answer(
                        int(after) if after.isascii() and after.isdecimal() else 0
                    )
                    self._send(json.dumps(found).encode(), "application/json")
                else:
                    self.send_error(404)

            def _send(self, body: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("Referrer-Policy", "no-referrer")
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing on the terminal."""

        return Handler
