"""Bytes that were lost from words: what is sound before and after is found, and nothing else."""

import itertools

import numpy as np
import pytest

from eventkit import Events, FormatError
from eventkit.formats import Report, read, stream, write

N = 20_000
KINDS = [("evt2", {}), ("evt21", {"order": "little"}), ("evt21", {"order": "legacy"}), ("evt3", {})]
each_kind = pytest.mark.parametrize(("name", "options"), KINDS)


def recording() -> Events:
    """Rows of a few events at some times, as cameras send them."""
    rng = np.random.default_rng(5)
    t = np.repeat(np.cumsum(rng.integers(0, 40, N // 4)), 4)
    y = np.repeat(rng.integers(0, 480, N // 4), 4)
    return Events(t, rng.integers(0, 640, N), y, rng.integers(0, 2, N), (640, 480))


EVENTS = recording()


def rows(events: Events) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def damaged(path, name, options, lost, places):
    """The recording without `lost` bytes at some places, given as parts of its length."""
    write(path, EVENTS, format=name, **options)
    data = path.read_bytes()
    for part in sorted(places, reverse=True):
        at = int(part * len(data))
        data = data[:at] + data[at + lost :]
    path.write_bytes(data)


@each_kind
@pytest.mark.parametrize("lost", [1, 3, 5, 7])
def test_after_lost_bytes_events_are_found_again(name, options, lost, tmp_path):
    path, report = tmp_path / "a.raw", Report()
    damaged(path, name, options, lost, (0.3, 0.7))
    found = rows(read(path, strict=False, report=report))
    true = iter(rows(EVENTS))
    assert all(row in true for row in found)  # these, and in their order
    assert len(found) > 0.9 * N
    assert report.counts["damaged places"] == 2
    assert report.counts["skipped bytes"] > 0
    assert "out of step, as bytes are missing or foreign; skipped to byte" in report.notes[0]
    path.write_bytes(path.read_bytes() + bytes(2 * lost % 8))  # whole words again
    with pytest.raises(FormatError, match="strict=False finds where they are in step again"):
        read(path)


@each_kind
def test_a_damaged_file_is_read_the_same_in_every_way(name, options, tmp_path):
    path = tmp_path / "a.raw"
    damaged(path, name, options, 3, (0.1, 0.5))
    whole = read(path, strict=False)
    parts = [part.copy() for part in stream(path, 777, strict=False)]
    assert Events.concat(parts) == whole
    assert read(path, strict=False, threads=3) == whole
    cuts = [None, int(EVENTS.t[N // 3]), int(EVENTS.t[N // 2]), None]
    for start, stop in itertools.pairwise(cuts):
        assert read(path, strict=False, clock=(start, stop)) == whole.between(start, stop)
    first = read(path, strict=False, t0="first")
    assert first.t.tolist() == (whole.t - whole.t[0]).tolist()


@each_kind
def test_whole_words_may_be_lost_without_a_trace(name, options, tmp_path):
    path, report = tmp_path / "a.raw", Report()
    damaged(path, name, options, 8, (0.5,))
    assert len(read(path, strict=False, report=report)) > 0.99 * N
    assert not report.counts["damaged places"]


@pytest.mark.parametrize("name", ["evt2", "evt3"])
def test_real_recordings_are_in_step(name, samples):
    report = Report()
    path = samples / "recordings" / name / f"expelliarmus_{name}_sample.raw"
    read(path, strict=False, report=report)
    assert not report.counts["damaged places"]
