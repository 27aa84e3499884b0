"""Reading from an object store that is slow, overloaded, or cuts its answers off."""

import itertools
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from making import make_gestures

import eventkit as ek
from eventkit.conversion import convert
from eventkit.errors import StoreError, StoreUnreachable
from eventkit.store.storage import at
from eventkit.store.verify import verify

pytest.importorskip("obstore", reason="needs the extra cloud")
MODIFIED = "Wed, 01 Jan 2025 00:00:00 GMT"


class Bucket(BaseHTTPRequestHandler):
    """Objects of `server.objects`; `server.fault` may answer a request in its own way."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        parts = urlsplit(self.path)
        key = unquote(parts.path).removeprefix("/bucket/")
        if self.server.fault(self, key):
            return
        if key not in self.server.objects:
            self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>", body=body)
            return
        data, status = self.server.objects[key], 200
        extra = {"ETag": f'"{hash(data):x}"', "Last-Modified": MODIFIED}
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            extra["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[int(first) : int(last) + 1], 206
        self.reply(status, data, body=body, **extra)

    def reply(self, status, data=b"", *, body=True, cut=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store on the disk, of which the bucket has all objects."""
    folder = tmp_path_factory.mktemp("faults")
    root = make_gestures(folder / "raw", recordings=2, windows=2, events=300)
    convert("dvsgesture", root=root, out=folder / "x.zarr", represent="frames:n=4", workers=1)
    return folder / "x.zarr"


@pytest.fixture
def bucket(store, monkeypatch):
    """Serve the store's objects; the argument is the server's `fault`. Gives the address."""
    objects = {f"x.zarr/{name}": (at(store) / name).read_bytes() for name, _ in at(store).files()}

    @contextmanager
    def serving(fault):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
        server.daemon_threads, server.objects, server.fault = True, objects, fault
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        from eventkit.store import objects as module

        module._client.cache_clear()  # it has the address of the server before
        for key, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(key, value)
        try:
            yield "s3://bucket/x.zarr"
        finally:
            server.shutdown()
            server.server_close()
            module._client.cache_clear()

    return serving


def slow(request, key):
    time.sleep(0.02)
    return False


def overloaded(status):
    """Every second request is refused with this status."""
    turn = itertools.count()

    def fault(request, key):
        refuses = next(turn) % 2 == 0
        if refuses:
            request.reply(status, b"<Error><Code>SlowDown</Code><Message>later</Message></Error>")
        return refuses

    return fault


def cut(times):
    """The first answers to a request for an object end in the middle of it."""
    seen = {}

    def fault(request, key):
        data = request.server.objects.get(key, b"")
        if request.command != "GET" or len(data) < 200 or request.headers.get("Range"):
            return False
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > times:
            return False
        tag = f'"{hash(data):x}"'
        request.reply(200, data, cut=len(data) // 2, **{"ETag": tag, "Last-Modified": MODIFIED})
        return True

    return fault


@pytest.mark.parametrize("fault", [slow, overloaded(503), overloaded(500), cut(1)],
                         ids=["slow", "503", "500", "cut once"])  # fmt: skip
@pytest.mark.parametrize("cached", [False, True])
def test_a_passing_fault_is_not_met_by_the_reader(fault, cached, store, bucket, tmp_path):
    whole = ek.open(store)["train"].frames[:]
    with bucket(fault) as address:
        opened = ek.open(address, cache=tmp_path if cached else None)
        np.testing.assert_array_equal(opened["train"].frames[:], whole)


def broken(request, key):
    """No answer ever has more than its head."""
    data = request.server.objects.get(key)
    if request.command != "GET" or data is None:
        return False
    headers = {"ETag": '"1"', "Last-Modified": MODIFIED}
    if asked := request.headers.get("Range"):
        headers["Content-Range"] = f"bytes {asked.removeprefix('bytes=')}/{len(data)}"
    request.reply(206 if asked else 200, data, cut=0, **headers)
    return True


def refused(request, key):
    request.reply(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
    return True


@pytest.mark.parametrize("fault", [pytest.param(broken, marks=pytest.mark.slow), refused])
@pytest.mark.parametrize("read", [ek.open, verify])
def test_a_lasting_fault_is_an_error_of_one_sentence(fault, read, bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("EVENTKIT_CACHE", str(tmp_path))
    with bucket(fault) as address:
        with pytest.raises(StoreError, match=r"s3://bucket/x\.zarr/zarr\.json") as error:
            read(address)
        assert "\n" not in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # nothing half


def test_an_outage_while_a_target_is_looked_at_does_not_say_that_it_is_no_store(bucket, tmp_path):
    root = make_gestures(tmp_path / "raw", recordings=2, windows=1, events=100)
    for overwrite in (False, True):
        options = {"root": root, "represent": "frames:n=2", "overwrite": overwrite}
        with (
            bucket(lambda request, key: request.command == "GET" and refused(request, key)) as out,
            pytest.raises(StoreUnreachable, match="AccessDenied"),
        ):
            convert("dvsgesture", out=out, **options)


def test_a_fault_while_shards_are_read_is_an_error_of_one_sentence(bucket, tmp_path):
    failing = []
    with bucket(lambda request, key: bool(failing) and broken(request, key)) as address:
        opened, untouched = (ek.open(address, cache=tmp_path) for _ in range(2))
        frames = opened["train"].frames
        failing.append(True)
        assert "train (" in repr(untouched)  # which needs nothing from there
        with pytest.raises(StoreError, match=r"train/frames/c\.0") as error:
            _ = frames[:]
        assert "\n" not in str(error.value)
        failing.clear()
        assert frames[:].any()  # and it goes on when the network is back
    assert not list(tmp_path.rglob("*.part"))
