"""A web server on this machine that misbehaves as it is told."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers GET with the next of the server's answers, the last of them again and again."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        server.asked.append({key.lower(): value for key, value in self.headers.items()})
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        self.close_connection = True
        answer(self)

    def log_message(self, *_: object) -> None:
        pass

    @property
    def start(self) -> int:
        """The first byte asked for."""
        asked = self.headers.get("Range", "bytes=0-")
        return int(asked.removeprefix("bytes=").rstrip("-"))

    def send(self, status: int, body: bytes = b"", length: int | None = None, **headers) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[ThreadingHTTPServer]:
    """A server with these answers in turn; `url` is its address, `asked` what was asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.answers, server.asked = list(answers), []
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "https" if tls else "http"
    server.url = f"{scheme}://127.0.0.1:{server.server_port}/file"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def whole(body: bytes, **headers) -> Answer:
    """The file, or the part of it that was asked for."""

    def answer(request: Handler) -> None:
        start = request.start
        if not start:
            request.send(200, body, **headers)
            return
        where = f"bytes {start}-{len(body) - 1}/{len(body)}"
        request.send(206, body[start:], Content_Range=where, **headers)

    return answer


def cut(body: bytes, after: int, **headers) -> Answer:
    """The file from where it was asked for, but the connection ends after so many bytes."""

    def answer(request: Handler) -> None:
        start = request.start
        part = body[start : start + after]
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        request.send(206 if start else 200, part, length=len(body) - start, **headers)

    return answer


def plain(status: int, body: bytes = b"", **headers) -> Answer:
    """Always the same."""
    return lambda request: request.send(status, body, **headers)
