"""Event Stream: files packed by hand, bad files, and real ones."""

import struct

import google_crc32c
import numpy as np
import pytest

from eventkit import Events, FormatError, OptionError
from eventkit.formats import FORMATS, Report, info, read, stream, write
from eventkit.formats.records import es

SIZE = (320, 240)


def head(kind, size=SIZE, version=2):
    return (
        b"Event Stream"
        + bytes((version, 0, 0, kind))
        + (struct.pack("<HH", *size) if kind else b"")
    )


def pixel(first, x, y, *more):
    return struct.pack("<BHH", first, x, y) + bytes(more)


@pytest.fixture
def file(tmp_path):
    """A function that writes bytes to a file and gives its path."""

    def make(*parts, name="file.es"):
        path = tmp_path / name
        path.write_bytes(b"".join(parts))
        return path

    return make


def rows(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def found(path, **options):
    report = Report()
    return rows(read(path, report=report, **options)), dict(report.counts)


def test_dvs_events_have_a_step_of_seven_bits_and_the_polarity(file):
    path = file(
        head(1),
        pixel(5 << 1 | 1, 0, 0),
        b"\xff\xff\xfe\xff",
        pixel(126 << 1, 319, 239),
        pixel(1, 258, 1),
    )
    assert found(path) == ([(5, 0, 239, 1), (512, 319, 0, 0), (512, 258, 238, 1)], {})
    assert read(path).size == SIZE


def test_atis_events_have_a_step_of_six_bits_and_exposures_are_counted(file):
    path = file(
        head(2),
        pixel(9 << 2 | 2, 1, 2),
        b"\xfc\xfd\xff",
        pixel(62 << 2, 3, 4),
        pixel(1 << 2 | 1, 3, 4),
        pixel(1 << 2 | 3, 3, 4),
        pixel(0 << 2 | 2, 5, 6),
    )
    true = [(9, 1, 237, 1), (9 + 4 * 63 + 62, 3, 235, 0), (325, 5, 233, 1)]
    assert found(path) == (true, {"exposure events": 2})


def test_color_events_are_on_and_their_colors_are_counted(file):
    path = file(head(4), pixel(253, 1, 2, 9, 8, 7), b"\xff\xfe", pixel(1, 3, 4, 1, 2, 3))
    assert found(path) == ([(253, 1, 237, 1), (508, 3, 235, 1)], {"colors": 2})


def test_generic_events_have_a_time_and_their_bytes_are_counted(file):
    long = bytes((300 << 1 & 255 | 1, 300 >> 7 << 1)) + b"\xff" * 300
    path = file(head(0), b"\x07\x04hi", b"\xff\x01\x00", b"\xfe\x02", long)
    expected = [(7, 0, 0, 0), (262, 0, 0, 0), (264, 0, 0, 0)]
    assert found(path) == (expected, {"payload bytes": 302})
    assert read(path).size == (1, 1)
    assert found(path, clock=(8, 264)) == (expected[1:2], {})


def test_events_and_payloads_go_on_across_blocks(file):
    n = es.BLOCK // 5 + 1000
    path = file(head(1), b"".join(pixel(2 | i & 1, i % 320, i % 240) for i in range(n)))
    events = read(path)
    assert np.array_equal(events.t, np.arange(1, n + 1))
    assert np.array_equal(events.x, np.arange(n) % 320)
    assert np.array_equal(events.y, 239 - np.arange(n) % 240)
    size = 3 * es.BLOCK
    length = bytes((size >> 7 * i & 127) << 1 | (i < 2) for i in range(3))
    path = file(head(0), b"\x01" + length, bytes(size), b"\x02\x00")
    assert found(path) == ([(1, 0, 0, 0), (3, 0, 0, 0)], {"payload bytes": size})


def test_reading_ends_where_times_reach_the_stop(file):
    path = file(head(1), pixel(4, 1, 1), pixel(4, 2, 2), pixel(0, 999, 999))
    assert [t for t, *_ in found(path, clock=(None, 4))[0]] == [2]
    with pytest.raises(FormatError, match="expected an event on the sensor"):
        read(path)


@pytest.mark.parametrize("kind", [0, 1, 2, 4])
def test_a_cut_event_is_refused_or_left_out(kind, file):
    one = {0: b"\x01\x06abc", 1: pixel(2, 1, 1), 2: pixel(4, 1, 1), 4: pixel(1, 1, 1, 1, 2, 3)}[
        kind
    ]
    whole = head(kind) + one * 2
    for length in range(len(whole) - len(one) + 1, len(whole)):
        path = file(whole[:length])
        with pytest.raises(FormatError, match="cut off"):
            read(path)
        events, counts = found(path, strict=False)
        assert len(events) == 1
        assert counts["trailing bytes"] == length - len(whole) + len(one)


def test_a_damaged_event_beyond_a_window_does_not_end_it(file):
    sound = [pixel(5 << 1, x, 7) for x in range(30)]
    path = file(head(1), *sound[:10], pixel(100 << 1, 60_000, 7), *sound[10:])
    whole = read(path, strict=False)
    assert len(whole) > 20
    assert read(path, strict=False, clock=(None, 120)) == whole.between(None, 120)
    assert len(read(path, clock=(None, 120))) == 10


def test_after_damage_events_go_on_where_all_that_follows_is_on_the_sensor(file):
    good = [pixel(2, i, i) for i in range(100)]
    path = file(head(1), *good[:50], b"\x07\x08\x09", *good[50:])
    with pytest.raises(FormatError, match=r"expected an event on the sensor, found 0[27]"):
        read(path)
    report = Report()
    events = read(path, strict=False, report=report)
    assert rows(events)[:50] == [(i + 1, i, 239 - i, 0) for i in range(50)]
    assert events.x[-48:].tolist() == list(range(52, 100))
    assert report.counts["damaged places"] == 1
    assert report.counts["skipped bytes"] > 0
    assert "times after the first are uncertain" in report.notes[0]
    parts = [rows(part) for part in stream(path, 7, strict=False)]
    assert [row for part in parts for row in part] == rows(events)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Event Stream\2\0\0", "ends within its header"),
        (head(1)[:18], "ends within its header"),
        (head(1, version=1), "Event Stream 1, expected version 2"),
        (head(3), "its type is 3, expected one of 0, 1, 2, 4"),
        (head(1, (0, 240)), "size is 0x240"),
    ],
)
def test_a_false_header_is_refused(data, reason, file):
    with pytest.raises(FormatError, match=reason):
        read(file(data))


def test_the_header_tells_version_and_type(file):
    assert FORMATS["es"].header(file(head(4))) == {"version": "2.0.0", "type": "color"}
    assert info(file(head(1)))["events"] == 0


def test_the_writer_makes_these_bytes_for_these_events(tmp_path):
    path = tmp_path / "out.es"
    write(path, Events([126, 126, 253, 600], [0, 319, 258, 1], [239, 0, 1, 2], [1, 0, 1, 0], SIZE))
    gaps = 126 << 1 | 1, 0, 1, (600 - 253 - 2 * 127) << 1
    assert path.read_bytes() == b"".join(
        [
            *[head(1), pixel(gaps[0], 0, 0), pixel(gaps[1], 319, 239)],
            *[b"\xff", pixel(gaps[2], 258, 238), b"\xff\xff", pixel(gaps[3], 1, 237)],
        ]
    )


@pytest.mark.parametrize(
    ("t", "x", "size", "reason"),
    [
        ([5, 4], [0, 0], SIZE, r"t = 4 µs after 5 µs: read with sort=True"),
        ([-1, 4], [0, 0], SIZE, "subtracts the first time"),
        ([1 << 50, 1 << 50], [0, 0], SIZE, "subtracts the first time"),
        ([0, 1 << 32], [0, 0], SIZE, "or cut the recording"),
        ([1, 2], [320, 0], SIZE, "the transform crop"),
        ([1, 2], [0, 0], (65536, 1), "sizes up to 65535"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(t, x, size, reason, tmp_path):
    with pytest.raises(OptionError, match=reason):
        write(tmp_path / "out.es", Events(t, x, [0, 0], [1, 1], size))
    assert not list(tmp_path.iterdir())


def test_long_gaps_are_written_and_read(tmp_path):
    events = Events([0, 1 << 30, (1 << 30) + 5], [1, 2, 3], [0, 0, 0], [1, 0, 1], SIZE)
    write(tmp_path / "gap.es", [events[:1], events[1:]])
    assert read(tmp_path / "gap.es") == events


def test_steps_longer_than_what_is_written_at_once(tmp_path):
    """A byte 255 for every 127 µs: 300,001 of them, which cross two borders of blocks."""
    t = [5, 5 + 127 * 300_001, 5 + 127 * 300_001 + 126]
    path = tmp_path / "a.es"
    write(path, Events(t, [1, 2, 3], [0, 0, 0], [1, 0, 1], (4, 3)))
    data = path.read_bytes()
    assert len(data) == 20 + 15 + 300_001
    assert data[25 : 25 + 300_001] == b"\xff" * 300_001
    assert data[-10:] == bytes([0, 2, 0, 2, 0, 126 << 1 | 1, 3, 0, 2, 0])
    assert read(path).t.tolist() == t


def test_the_checksum_is_that_of_the_whole_file(file):
    path = file(head(1), pixel(2, 1, 1) * 200_000, b"\xff\xfe")
    report = Report()
    read(path, report=report)
    assert report.crc32c == google_crc32c.value(path.read_bytes())


@pytest.mark.parametrize("kind", [0, 1, 2, 4])
def test_noise_never_crashes(kind, file):
    rng = np.random.default_rng(kind)
    for _ in range(40):
        path = file(head(kind, (2000, 9000)), rng.bytes(int(rng.integers(1, 3000))))
        events, _ = found(path, strict=False)
        parts = [row for part in stream(path, 7, strict=False) for row in rows(part)]
        assert parts == events
        assert all(y < 9000 and x < 2000 for _, x, y, _ in events)


@pytest.mark.parametrize("name", ["es/dvs.es", "es/generic.es"])
def test_real_recordings_have_the_true_counts(name, samples, differs):
    assert differs(name, read(samples / "recordings" / name)) == {}


def test_a_real_generic_file_holds_text(samples):
    report = Report()
    events = read(samples / "recordings/es/generic.es", report=report)
    assert (len(events), report.counts) == (70, {"payload bytes": 822})
