"""Recordings that are still being made: real pipes, real sockets, files that really grow."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from making import ROOT, make_events

import eventkit as ek
from eventkit import Events, FormatError, OptionError
from eventkit.formats import FORMATS, Report
from eventkit.formats.live import sources as _live_sources
from eventkit.formats.live.feed import Feed, Until

SIZE = (128, 128)
EVENTS = make_events(5000, SIZE)


def command(*words, **options) -> subprocess.Popen:
    """The command as a process of its own, whose pipes are open."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    line = [sys.executable, "-m", "eventkit", *map(str, words)]
    return subprocess.Popen(line, env=environment, **pipes, **options)


@pytest.fixture
def piped(monkeypatch):
    """A function that makes bytes standard input, written by another thread, then ended."""
    threads = []

    def pipe(data: bytes) -> None:
        reading, writing = os.pipe()

        def write():
            with os.fdopen(writing, "wb") as file:
                file.write(data)

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        monkeypatch.setattr(sys, "stdin", os.fdopen(reading))

    yield pipe
    for thread in threads:
        thread.join()


@pytest.fixture
def port() -> int:
    """A port at which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("name", ["aedat4", "evt3", "es", "dat", "hdf5", "npz"])
def test_standard_input_is_known_by_its_first_bytes(name, tmp_path, piped):
    path = tmp_path / f"a{FORMATS[name].suffixes[0]}"
    ek.write(path, EVENTS, format=name)
    piped(path.read_bytes())
    assert ek.read("-") == EVENTS
    piped(path.read_bytes())
    facts = ek.info("-")
    assert (facts["format"], facts["events"], facts["path"]) == (name, 5000, "-")
    if FORMATS[name].live:
        assert facts["bytes"] == path.stat().st_size


def test_chunks_and_windows_of_standard_input_are_those_of_a_file(tmp_path, piped):
    path = tmp_path / "a.raw"
    ek.write(path, EVENTS, format="evt2")
    low, high = int(EVENTS.t[1000]), int(EVENTS.t[3000])
    piped(path.read_bytes())
    parts = [part.copy() for part in ek.stream("-", 70, clock=(low, high))]
    assert Events.concat(parts) == EVENTS.between(low, high)
    assert max(map(len, parts)) <= 70


@pytest.mark.parametrize(
    ("data", "options", "reason"),
    [
        (b"", {}, "-: nothing came; expected a recording"),
        (b"some words\n" * 9, {}, "-: no known format: starts with b'some words"),
        (b"123456", {"format": "atis", "size": "9x9"}, "ends 1 bytes into the 5 of an event"),
        (b"123456", {"format": "bs2"}, "does not tell the sensor's size; size=WxH sets it"),
        (b"#!AER-DAT2.0\r\n12345678", {}, "its header names no chip that is known; chip= sets it"),
    ],
)
def test_what_is_wrong_with_standard_input_is_said(data, options, reason, piped):
    piped(data)
    with pytest.raises((FormatError, OptionError), match=reason):
        ek.read("-", **options)


def test_a_cut_stream_is_read_to_its_end_if_not_strict(piped):
    report = Report()
    piped(b"\1\2\3\4\5\6")
    events = ek.read("-", format="atis", size="9x9", strict=False, report=report)
    assert len(events) == 1
    assert report.counts == {"trailing bytes": 1}


def test_a_growing_file_is_followed_until_it_is_said_to_be_complete(tmp_path):
    whole, path = tmp_path / "whole.raw", tmp_path / "grows.raw"
    ek.write(whole, EVENTS, format="evt3")
    data = whole.read_bytes()
    path.write_bytes(data[:500])
    done = 500

    def ended() -> bool:
        """Somebody appends between two looks; it is complete once all is there."""
        nonlocal done
        with path.open("ab") as file:
            file.write(data[done : done + 3001])
        done += 3001
        return done >= len(data)

    parts = [part.copy() for part in ek.stream(path, follow=True, ended=ended)]
    assert Events.concat(parts) == EVENTS
    assert len(parts) > 2
    assert ek.read(whole, follow=True, idle_s=0) == EVENTS
    assert ek.read(whole, follow=False) == EVENTS


def test_a_followed_file_that_shrinks_is_an_error(tmp_path):
    path = tmp_path / "a.raw"
    ek.write(path, EVENTS, format="evt2")
    parts = ek.stream(path, 10, follow=True, size="128x128")
    next(parts)
    os.truncate(path, 100)
    with pytest.raises(FormatError, match="became shorter while it was read"):
        list(parts)


def test_what_cannot_be_followed_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    ek.write(path, EVENTS)
    with pytest.raises(OptionError, match="npz cannot be followed, as it is read as a whole"):
        ek.read(path, follow=True)
    with pytest.raises(OptionError, match="npz has no option 'seconds'"):
        ek.read(path, seconds=1)
    with pytest.raises(OptionError, match="idle_s is -1, expected a length of time"):
        ek.read(path, follow=True, idle_s=-1)


@pytest.mark.parametrize("speed", [None, 1000.0])
def test_datagrams_carry_events_from_one_process_to_another(port, speed):
    events = EVENTS[:3000] if speed is None else EVENTS[:500]
    address, report = f"udp://127.0.0.1:{port}", Report()
    got = []
    parts = ek.stream(address, size="128x128", idle_s=5, report=report, ended=lambda: done)
    done = False
    # The socket is bound when the first chunk is asked for, so it is asked for in a thread.
    receiver = threading.Thread(target=lambda: got.extend(part.copy() for part in parts))
    receiver.start()
    while not bound(port):
        pass
    ek.write(
        address,
        [events[i : i + 100] for i in range(0, len(events), 100)],
        **({} if speed is None else {"speed": speed}),
    )
    done = True
    receiver.join()
    assert Events.concat(got) == events
    assert not report.counts["trailing bytes"]


def bound(port: int) -> bool:
    """Whether somebody listens at a port; to try it would be in his way."""
    return f":{port:04X} " in Path("/proc/net/udp").read_text()


def test_words_without_a_time_and_odd_datagrams_are_understood(port):
    address, report, got, done = f"udp://127.0.0.1:{port}", Report(), [], []
    parts = ek.stream(address, size="9x9", report=report, ended=lambda: bool(done))
    receiver = threading.Thread(target=lambda: got.extend(part.copy() for part in parts))
    receiver.start()
    while not bound(port):
        pass
    words = np.array([1 << 31 | 3 << 16 | 1 << 15 | 4, 5 << 16 | 6, 77], "<u4").tobytes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(words + b"\1\2", ("127.0.0.1", port))
        out.sendto(b"\1", ("127.0.0.1", port))
    done.append(1)
    receiver.join()
    events = Events.concat(got)
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == ([3, 5], [4, 6], [1, 0])
    assert events.t[1] == 77
    assert report.counts == {"trailing bytes": 3}


def test_events_are_sent_without_their_times_if_asked():
    events, got = EVENTS[:300], []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        ek.write(f"udp://127.0.0.1:{receiver.getsockname()[1]}", events, times=False)
        while sum(map(len, got)) < 4 * 300:
            got.append(receiver.recv(1 << 16))
    words = np.frombuffer(b"".join(got), "<u4")
    assert max(map(len, got)) <= 512
    assert (words >> 31).all()
    assert (words >> 16 & 0x7FFF).tolist() == events.x.tolist()
    assert (words & 0x7FFF).tolist() == events.y.tolist()
    assert (words >> 15 & 1).tolist() == events.p.tolist()


@pytest.mark.parametrize(
    ("address", "options", "reason"),
    [
        ("udp://127.0.0.1", {}, r"expected udp://HOST:PORT, as udp://0.0.0.0:3333"),
        ("udp://127.0.0.1:99999", {}, r"expected udp://HOST:PORT"),
        ("udp://no.such.host.invalid:3333", {}, "is no known host"),
        ("udp://127.0.0.1:3333", {"format": "evt3"}, "as spif, not as evt3"),
    ],
)
def test_addresses_are_checked(address, options, reason):
    with pytest.raises(OptionError, match=reason):
        ek.read(address, size="9x9", seconds=0, **options)
    with pytest.raises(OptionError, match=reason):
        ek.write(address, EVENTS, **options)


def test_a_sender_may_be_slow_or_fast_but_not_backwards():
    for options, reason in (({"speed": 0}, "speed is 0.0"), ({"sped": 1}, "no option 'sped'")):
        with pytest.raises(OptionError, match=reason):
            ek.write("udp://127.0.0.1:9", EVENTS, **options)


def test_a_port_without_events_needs_a_size_and_gives_none(port):
    assert ek.read(f"udp://127.0.0.1:{port}", size="7x5", seconds=0) == Events.empty((7, 5))
    with pytest.raises(OptionError, match="size=WxH sets it"):
        ek.read(f"udp://127.0.0.1:{port}", seconds=0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        with pytest.raises(OSError, match="in use"):
            ek.read(f"udp://127.0.0.1:{port}", size="7x5", seconds=0)


def test_the_command_translates_a_pipe(tmp_path):
    ek.write(tmp_path / "a.raw", EVENTS, format="evt3")
    with (tmp_path / "a.raw").open("rb") as file:
        data = file.read()
    process = command("translate", "-", tmp_path / "b.es", "--json")
    out, err = process.communicate(data)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["written"] == 5000
    assert ek.read(tmp_path / "b.es") == EVENTS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_recording_from_a_port_in_good_order(tmp_path, port, number):
    target = tmp_path / "a.aedat4"
    address = f"udp://127.0.0.1:{port}"
    process = command("translate", address, target, "--from", "spif:size=128x128", "--json")
    while not bound(port):
        assert process.poll() is None
    while not any(path.stat().st_size > 1000 for path in tmp_path.glob(".a.*")):
        assert process.poll() is None
        ek.write(address, EVENTS)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["written"] == len(ek.read(target))


class Flood:
    """A source that always has more, as a port that is flooded: `ended` says so at its block n."""

    def __init__(self, waiting):
        self.blocks, self._waiting = 0, waiting

    def ready(self, wait):
        return True

    def read(self, buffer):
        self.blocks += 1
        buffer[:1000] = 0
        return 1000

    def waiting(self):
        return self._waiting


@pytest.mark.parametrize("waiting", [0, 5_000_000])
def test_a_flood_ends_once_what_waited_when_it_should_end_is_read(waiting):
    """Nobody could end it while more came: Ctrl-C was only looked for when nothing was there."""
    source = Flood(waiting)
    at = 3000
    feed = Feed(source, "udp://", Until(ended=lambda: source.blocks >= at))
    for data in feed:
        feed.use(len(data))
    assert feed.stop == "ended"
    assert at + waiting // 1000 <= source.blocks < at + waiting // 1000 + 2000
    assert feed.offset == 1000 * source.blocks
    assert len(feed._buffer) == 1 << 20


def receive(port, send, ended=None, **options):
    """The events and counts of a receiver, which `send` gets an address for."""
    report, got, done = Report(), [], []
    options = {"size": "128x128", "report": report, "ended": lambda: bool(done), **options}
    parts = ek.stream(f"udp://127.0.0.1:{port}", **options)
    receiver = threading.Thread(target=lambda: got.extend(part.copy() for part in parts))
    receiver.start()
    while not bound(port):
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", port))
        send(out)
    done.append(1)
    receiver.join()
    return Events.concat(got), report.counts


def test_a_datagram_that_ends_within_an_event_costs_no_other_event(port):
    """Its word once took the first word of the next datagram for its time."""
    words = [np.array([x << 16, 70 + x], "<u4").tobytes() for x in range(3)]

    def send(out):
        out.send(words[0] + words[1][:4])
        out.send(words[2])
        out.send(words[0] + words[1][:5])
        out.send(b"")

    events, counts = receive(port, send)
    assert events.x.tolist() == [0, 2, 0]
    assert events.t.tolist() == [70, 72, 70]
    assert counts == {"trailing bytes": 4 + 5}


def test_a_stray_datagram_does_not_spoil_the_recording(port, tmp_path):
    """Anybody may send to a port; no format of a sensor's size could hold what is not on it."""

    def send(out):
        for x, t in ((5, 70), (20_000, 71), (127, 72), (128, 73)):
            out.send(np.array([x << 16, t], "<u4").tobytes())

    events, counts = receive(port, send)
    assert (events.x.tolist(), events.t.tolist()) == ([5, 127], [70, 72])
    assert counts == {"outside the sensor": 2}


def test_what_a_port_loses_after_the_last_datagram_is_counted(port, monkeypatch):
    """The queue is filled while nobody reads; no later datagram brings the count of the lost."""
    monkeypatch.setattr(_live_sources, "RECEIVED", 1)  # which Linux takes for its least
    report = Report()
    source = _live_sources.Datagrams(f"udp://127.0.0.1:{port}", report)
    sent, buffer = 2000, np.empty(1 << 20, np.uint8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", port))
        for _ in range(sent):
            out.send(bytes(512))
    read = 0
    while source.ready(0):
        source.read(buffer)
        read += 1
    source.close()
    assert 0 < read < sent
    assert report.counts["datagrams lost by this machine"] == sent - read


@pytest.mark.parametrize("name", [name for name, fmt in FORMATS.items() if fmt.live and fmt.write])
def test_a_recording_that_is_stopped_within_a_record_keeps_all_before(name, tmp_path):
    """Who stops a recording cannot know where a record ends, so that is no damage."""
    path = tmp_path / f"a{FORMATS[name].suffixes[0]}"
    ek.write(path, EVENTS, format=name)
    options = {"size": "128x128"} if name in ("atis", "bs2", "spif", "dat") else {}
    options |= {"format": name}
    whole = ek.read(path, **options)
    data = path.read_bytes()
    for cut in range(len(data) - 25, len(data) - 1, 3):
        path.write_bytes(data[:cut])
        looks = []

        def ended(looks=looks):
            looks.append(1)
            return len(looks) > 3

        report = Report()
        parts = [
            part.copy()
            for part in ek.stream(path, follow=True, ended=ended, report=report, **options)
        ]
        events = Events.concat(parts)
        assert events == whole[: len(events)]
        assert len(events) < len(whole) or name in ("aedat4", "es", "evt3")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("info", "a.es", "--seconds", "1"), "--seconds requires --follow"),
        (("translate", "a.es", "-"), "standard output"),
        (("info", "udp://127.0.0.1:1x"), "expected udp://HOST:PORT"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(words, reason, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ek.write("a.es", EVENTS)
    code, _, err = run(*words)
    assert code != 0
    assert reason in err
