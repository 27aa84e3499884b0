"""A proxy between a client and an object store that damages some of what passes, by its faults.

Each fault is a function of the request that forwards it, or not, and answers in its own way.
"""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Answer = tuple[int, list[tuple[str, str]], bytes]
OWN = {"connection", "transfer-encoding", "content-length", "date", "server"}
ERROR = b"<Error><Code>%s</Code><Message>this is a test</Message></Error>"


class Request(BaseHTTPRequestHandler):
    """One request; `server.fault(request)` chooses what happens to it, None for nothing."""

    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        self.body = self._body()
        fault = self.server.fault(self)
        if fault is not None:
            self.server.faults += 1
        (fault or Request.passed)(self)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def forwarded(self) -> Answer:
        """What the store answers."""
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        headers["Content-Length"] = str(len(self.body))
        upstream.request(self.command, self.path, self.body, headers)
        answer = upstream.getresponse()
        found = answer.status, answer.getheaders(), answer.read()
        upstream.close()
        return found

    def send(self, answer: Answer, cut: bool = False) -> None:
        status, headers, body = answer
        self.send_response(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # of an answer to HEAD
            elif name.lower() not in OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection |= cut

    def drop(self) -> None:
        """End the connection without an answer."""
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass

    # Faults.

    def passed(self) -> None:
        self.send(self.forwarded())

    def refused(self) -> None:
        """The store has an inner error."""
        self.send((500, [], ERROR % b"InternalError"))

    def overloaded(self) -> None:
        self.send((503, [], ERROR % b"SlowDown"))

    def reset_before(self) -> None:
        """The request is lost."""
        self.drop()

    def reset_after(self) -> None:
        """The request is done, its answer lost."""
        self.forwarded()
        self.drop()

    def failed_after(self) -> None:
        """The request is done, and reported as failed."""
        self.forwarded()
        self.refused()

    def cut(self) -> None:
        """The answer ends in its middle."""
        answer = self.forwarded()
        if answer[2]:
            self.send(answer, cut=True)
        else:
            self.drop()

    def slow(self) -> None:
        time.sleep(0.05)
        self.passed()

    def twice(self) -> None:
        """The request arrives twice; the first answer counts."""
        answer = self.forwarded()
        self.forwarded()
        self.send(answer)


FAULTS = [Request.refused, Request.overloaded, Request.reset_before, Request.reset_after,
          Request.failed_after, Request.cut, Request.slow, Request.twice]  # fmt: skip
Fault = Callable[[Request], None]


@contextmanager
def proxy(upstream: str) -> Iterator[ThreadingHTTPServer]:
    """A proxy of an address; `url` is its own. Set `fault`; `faults` counts."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:  # the client has gone
            pass

    server = Server(("127.0.0.1", 0), Request)
    server.upstream = urlsplit(upstream).netloc
    server.fault, server.faults = lambda request: None, 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        with suppress(OSError):
            server.shutdown()
            server.server_close()
