"""EVT2: words packed by hand, real recordings, and what cannot be written."""

import struct

import pytest

import eventkit as ek
from eventkit import Events, OptionError
from eventkit.formats import Report, extra, stream

HEAD = b"% evt 2.0\n% format EVT2;height=480;width=640\n% geometry 640x480\n% end\n"
WRAP = 1 << 34
TOP = (1 << 28) - 1


def high(value: int) -> int:
    return 8 << 28 | value


def event(low: int, x: int, y: int, p: int) -> int:
    return p << 28 | low << 22 | x << 11 | y


def recording(folder, words, head=HEAD):
    path = folder / "file.raw"
    path.write_bytes(head + struct.pack(f"<{len(words)}I", *words))
    return path


def rows(events: Events) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def test_every_kind_of_word_means_what_the_specification_says(tmp_path):
    trigger = 10 << 28 | 9 << 22 | 5 << 8
    words = [
        *[event(1, 1, 1, 1), trigger, high(3), event(63, 639, 479, 1), event(2, 5, 6, 0)],
        *[trigger | 1, 13 << 28, 5 << 28, 14 << 28, 15 << 28, 2 << 28, 12 << 28, trigger],
        *[high(3), event(0, 2047, 2047, 1)],
    ]
    path = recording(tmp_path, words)
    report = Report()
    t = 3 << 6
    expected = [(t + 63, 639, 479, 1), (t + 2, 5, 6, 0), (t, 2047, 2047, 1)]
    assert rows(ek.read(path, report=report)) == expected
    assert report.counts == {
        "events before the first time": 2,
        "triggers": 2,
        "other words": 4,
        "unknown words": 2,
    }
    assert extra(path, "triggers").tolist() == [(t + 9, 1, 5), (t + 9, 0, 5)]
    assert ek.info(path)["out_of_bounds"] == 1


@pytest.mark.parametrize(
    ("highs", "times"),
    [
        ([TOP, 0], [TOP << 6, WRAP]),
        ([TOP, 156], [TOP << 6, WRAP + (156 << 6)]),
        ([TOP, 157], [TOP << 6, 157 << 6]),  # 10,048 µs less than the whole is a step back
        ([5, 4], [320, 256]),
        ([TOP, 0, TOP, 0], [TOP << 6, WRAP, (TOP << 6) + WRAP, 2 * WRAP]),
    ],
)
def test_time_wraps_when_it_falls_by_nearly_all(highs, times, tmp_path):
    words = [word for value in highs for word in (high(value), event(0, 0, 0, 0))]
    assert ek.read(recording(tmp_path, words)).t.tolist() == times


@pytest.mark.parametrize("chunk", [1, 7, 100, 333, 100_000])
def test_runs_of_any_length_are_cut_anywhere(chunk, tmp_path):
    words, expected = [], []
    for n in (1, 31, 32, 33, 64, 100, 0, 170):
        base = len(words)
        words.append(high(base))
        for i in range(n):
            words.append(event(i % 64, i, n, i & 1))
            expected.append(((base << 6) + i % 64, i, n, i & 1))
    parts = [part.copy() for part in stream(recording(tmp_path, words), chunk)]
    assert rows(Events.concat(parts)) == expected


def test_what_is_written_is_these_words(tmp_path):
    path = tmp_path / "file.raw"
    events = Events(
        [200, 255, 256, 190, WRAP + 5], [1, 2, 3, 4, 5], [6] * 5, [1, 0] * 2 + [1], (8, 8)
    )
    ek.write(path, events, format="evt2")
    words = [
        *[high(3), event(8, 1, 6, 1), event(63, 2, 6, 0), high(4), event(0, 3, 6, 1)],
        *[high(2), event(62, 4, 6, 0), high(TOP), high(0), event(5, 5, 6, 1)],
    ]
    assert path.read_bytes().partition(b"% end\n")[2] == struct.pack("<10I", *words)
    assert ek.read(path) == events


@pytest.mark.parametrize("name", ["evt2", "evt21"])
@pytest.mark.parametrize(
    ("t", "x", "reason"),
    [
        ([WRAP], [0], "begins before 2\\^34 µs .* t0=first"),
        ([0], [2048], "coordinates below 2,048"),
        ([0, WRAP + 1], [0, 0], "gaps of up to 2\\^34"),
        ([5, WRAP, WRAP - 1], [0] * 3, "cannot hold t = 17179869183 µs after 17179869184"),
        ([WRAP - 1, 0], [0, 0], "cannot hold t = 0"),
    ],
)
def test_what_it_cannot_hold_is_refused(name, t, x, reason, tmp_path):
    with pytest.raises(OptionError, match=f"{name} .*{reason}"):
        ek.write(
            tmp_path / "file.raw", Events(t, x, [0] * len(t), [0] * len(t), (640, 480)), format=name
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["evt2", "evt21", "evt3"])
def test_recordings_longer_than_the_clock_are_written(name, tmp_path):
    path = tmp_path / "file.raw"
    t = [WRAP - 1, WRAP, 2 * WRAP, 3 * WRAP - 1, 3 * WRAP + 5]
    events = Events(t, [1] * 5, [2] * 5, [1] * 5, (8, 8))
    ek.write(path, [events[:2], events[2:2], events[2:]], format=name)
    assert ek.read(path) == events


def test_the_real_recordings_have_the_counts_of_the_manifest(samples):
    folder = samples / "recordings" / "evt2"
    events = ek.read(folder / "expelliarmus_evt2_sample.raw")
    assert (len(events), int(events.p.sum())) == (539_481, 367_855)
    assert (int(events.t[0]), int(events.t[-1])) == (1_317_888, 1_367_888)
    assert (int(events.x.max()), int(events.y.max())) == (599, 475)
    assert (events.size, events.backward_steps) == ((640, 480), 0)
    window = ek.read(folder / "expelliarmus_evt2_sample.raw", clock=(1_330_000, 1_340_000))
    assert window == events.between(1_330_000, 1_340_000)


def test_the_real_stream_without_header_is_read_by_name(samples):
    path = samples / "recordings" / "evt2" / "fpga_left2.bin"
    events = ek.read(path, format="evt2", size="320x320")
    assert (len(events), int(events.p.sum())) == (119_317, 91_930)
    assert (int(events.t[0]), int(events.t[-1])) == (963_215, 3_910_802)
    assert (int(events.x.max()), int(events.y.max())) == (319, 319)
    report = Report()
    assert ek.read(path, format="evt2", report=report) == events
    assert "taken as 320x320 from the events" in report.notes[0]
