"""However many threads decode a recording, it is the same."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from test_format_laws import WRITABLE, example, holds, mutant, written

from eventkit import Events, FormatError, OptionError
from eventkit.formats import FORMATS, Report, _threads, guess, read, stream, write
from eventkit.formats.aedat import _aedat3_packets as _aedat3
from eventkit.formats.aedat import _aedat4_packets as _aedat4
from eventkit.formats.aedat import aedat2

THREADED = [
    n for n, entry in FORMATS.items() if "threads" in inspect.signature(entry.stream).parameters
]
AEDAT = ["aedat2", "aedat3", "aedat4"]  # formats that `_threads` reads
LONG = 150_000
each_format = pytest.mark.parametrize("name", [n for n in WRITABLE if n in THREADED])


@pytest.fixture
def tiny(monkeypatch):
    """Blocks and tasks so small that a short file has many."""
    for module in (aedat2, _aedat3, _aedat4):
        monkeypatch.setattr(module, "BLOCK", 1 << 10)
    for constant, value in (("BYTES", 700), ("EVENTS", 90)):
        monkeypatch.setattr(_threads, constant, value)


def outcome(path: Path, chunk: int, **options) -> tuple[list[Events], object, Report]:
    """The chunks of a stream, what it ends with, and its report."""
    report, parts, end = Report(), [], None
    try:
        for part in stream(path, chunk, report=report, **options):
            parts.append(part.copy())
    except FormatError as error:
        end = str(error)
    return parts, end, report


def joined(parts: list[Events]) -> Events | None:
    return Events.concat(parts) if parts else None


def same(path: Path, name: str, chunk: int, threads: int, **options) -> None:
    """One thread and several give the same events, end and report."""
    options |= {"format": name, **holds(name).options}
    one, end, report = outcome(path, chunk, **options)
    several, other_end, other = outcome(path, chunk, threads=threads, **options)
    assert other_end == end
    assert (other.counts, other.notes, other.span) == (report.counts, report.notes, report.span)
    assert other.crc32c in (report.crc32c, None)
    if name in AEDAT:
        assert [len(part) for part in several] == [len(part) for part in one]
    assert all(len(part) <= chunk for part in several)
    if name in AEDAT or end is None:
        assert joined(several) == joined(one)


def test_many_formats_have_the_option():
    assert {*AEDAT, "dat", "evt2", "evt21", "evt3", "evt4"} <= {*THREADED}


@each_format
@pytest.mark.parametrize("threads", [2, 3, 5])
def test_a_long_recording_is_the_same(name, threads, tmp_path):
    events = example(name, LONG)
    path = tmp_path / f"long{FORMATS[name].suffixes[0]}"
    write(path, events, format=name, **({"packet": 1000} if holds(name).writing else {}))
    assert read(path, threads=threads, **holds(name).options) == events
    for chunk in (1_000, 99_999, 1_000_000):
        same(path, name, chunk, threads)
    for a, b in ((0, 5), (1000, 70_000), (LONG // 2, LONG - 1)):
        same(path, name, 30_000, threads, clock=(int(events.t[a]), int(events.t[b])))


@each_format
@pytest.mark.parametrize("threads", [0, -1])
def test_there_is_at_least_one_thread(name, threads, tmp_path):
    with pytest.raises(OptionError, match=f"threads is {threads}, expected at least 1"):
        read(written(name, tmp_path), threads=threads, **holds(name).options)


@pytest.mark.parametrize("name", AEDAT)
@pytest.mark.parametrize("chunk", [1, 7, 299, 300, 1000])
def test_chunks_of_any_length_are_cut_from_tiny_blocks(name, chunk, tmp_path, tiny):
    path = written(name, tmp_path, example(name, 1000))
    for threads in (2, 3):
        same(path, name, chunk, threads)
        for start, stop in ((5000, 30_000), (None, 20_000), (10**9, None)):
            same(path, name, chunk, threads, clock=(start, stop))


def test_a_clock_that_wraps_again_and_again_is_followed(tmp_path, tiny):
    rng = np.random.default_rng(0)
    steps = rng.choice([-(1 << 31), (1 << 31) - 1, -1, 0, 1, 1 << 30, 3 << 29], 1000)
    events = example("aedat2", 1000)
    events = Events(np.cumsum(steps), events.x, events.y, events.p, events.size)
    path = written("aedat2", tmp_path, events)
    for threads in (1, 2, 3):
        assert read(path, threads=threads) == events


@each_format
def test_damaged_recordings_are_the_same(name, tmp_path, tiny):
    whole = written(name, tmp_path, example(name, 600)).read_bytes()
    path = tmp_path / f"mutant{FORMATS[name].suffixes[0]}"
    for seed in range(120):
        rng = np.random.default_rng(seed)
        path.write_bytes(mutant(whole, rng))
        chunk, threads = int(rng.integers(1, 400)), int(rng.integers(2, 4))
        for strict in (True, False):
            same(path, name, chunk, threads, strict=strict)
        same(path, name, chunk, threads, strict=False, clock=(3000, 20_000))


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_damaged_packets_of_any_compression_are_the_same(compression, tmp_path, tiny):
    path = tmp_path / "file.aedat4"
    write(path, example("aedat4", 900), compression=compression, packet=50)
    whole = path.read_bytes()
    for seed in range(60):
        path.write_bytes(mutant(whole, np.random.default_rng(seed)))
        for strict in (True, False):
            same(path, "aedat4", 111, 3, strict=strict)


def test_real_recordings_are_the_same(samples):
    seen = set()
    for path in sorted((samples / "recordings").rglob("*")):
        if not path.is_file():
            continue
        try:
            name = guess(path).name
        except FormatError:
            continue
        if name in THREADED:
            seen.add(name)
            for threads in (2, 3, 5):
                one, several = Report(), Report()
                try:
                    events = read(path, report=one)
                except FormatError as error:
                    with pytest.raises(FormatError, match=str(error.reason)[:20]):
                        read(path, threads=threads)
                    continue
                assert read(path, report=several, threads=threads) == events
                assert (one.counts, one.notes) == (several.counts, several.notes)
    assert {*AEDAT, "dat", "evt2", "evt21", "evt3"} <= seen
