"""SLAYER .bs1, .bs2, .bs3: events packed by hand, bad files, and real ones."""

import google_crc32c
import numpy as np
import pytest

from eventkit import Events, FormatError, OptionError
from eventkit.formats import Report, read, stream, write
from eventkit.formats.records import slayer


def bits(*parts):
    """Numbers of so many bits each, as (value, bits), one after the other."""
    word = length = 0
    for value, width in parts:
        word, length = word << width | value, length + width
    return word.to_bytes(length // 8, "big")


def bs1(t, neuron, p=1):
    return bits((neuron, 16), (p, 1), (t, 23))


def bs2(t, x, y, p=1):
    return bits((x, 8), (y, 8), (p, 1), (t, 23))


def bs3(t, x, y, channel=1):
    return bits((x, 12), (y, 12), (channel, 8), (t, 24))


@pytest.fixture
def file(tmp_path):
    """A function that writes bytes to a file and gives its path."""

    def make(name, *parts):
        path = tmp_path / name
        path.write_bytes(b"".join(parts))
        return path

    return make


def rows(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def test_bs1_has_neurons_in_one_row_as_wide_as_needed(file):
    events = read(file("a.bs1", bs1(0x7FFFFF, 300), bs1(1, 65535, 0), bs1(0, 0)))
    assert rows(events) == [(8388607, 300, 0, 1), (1, 65535, 0, 0), (0, 0, 0, 1)]
    assert events.size == (65536, 1)


def test_bs2_has_eight_bits_for_x_and_y_and_240_is_a_row_as_any_other(file):
    events = read(file("a.bs2", bs2(5, 1, 2), bs2(0x7FFFFF, 255, 240, 0), bs2(6, 3, 4)))
    assert rows(events) == [(5, 1, 2, 1), (8388607, 255, 240, 0), (6, 3, 4, 1)]


def test_bs3_has_twelve_bits_for_x_and_y_and_channels_beyond_polarity_are_counted(file):
    report = Report()
    path = file("a.bs3", bs3(5, 4095, 1), bs3(6, 1, 4095, 0), bs3(7, 1, 1, 2), bs3(0xFFFFFF, 9, 8))
    events = read(path, report=report)
    assert rows(events) == [(5, 4095, 1, 1), (6, 1, 4095, 0), (16777215, 9, 8, 1)]
    assert (events.size, report.counts) == ((4096, 4096), {"other channels": 1})
    report = Report()
    assert len(read(path, clock=(None, 7), report=report)) == 2
    assert report.counts == {}


@pytest.mark.parametrize(("side", "size"), [(33, 34), (34, 128), (127, 128), (128, 256)])
def test_the_size_is_the_smallest_known_one_that_holds_all_or_the_one_given(side, size, file):
    path = file("a.bs2", bs2(1, 0, side))
    assert read(path).size == (size, size)
    assert read(path, size="300x200").size == (300, 200)


@pytest.mark.parametrize(("name", "event"), [("a.bs1", bs1(1, 2)), ("a.bs3", bs3(1, 2, 3))])
def test_a_cut_event_is_refused_or_left_out(name, event, file):
    path = file(name, event * 3, event[:4])
    with pytest.raises(FormatError, match="4 bytes into the") as caught:
        read(path)
    assert caught.value.offset == 3 * len(event)
    report = Report()
    assert len(read(path, strict=False, report=report)) == 3
    assert report.counts == {"trailing bytes": 4}


def test_chunks_windows_and_checksums_are_right_across_blocks(file):
    n = slayer.BLOCK // 7 + 1000
    path = file("a.bs3", b"".join(bs3(i, i % 300, i % 200, i % 2) for i in range(n)))
    report = Report()
    events = read(path, report=report)
    assert np.array_equal(events.t, np.arange(n))
    assert np.array_equal(events.y, np.arange(n) % 200)
    assert report.crc32c == google_crc32c.value(path.read_bytes())
    assert sum(len(part) for part in stream(path, 999)) == n
    assert read(path, clock=(n - 5, n - 2)).t.tolist() == [n - 5, n - 4, n - 3]


def test_the_writer_makes_these_bytes_for_these_events(tmp_path):
    path = tmp_path / "out.bs2"
    write(path, Events([5, 8388607, 3], [1, 255, 2], [2, 240, 3], [1, 0, 1], (256, 256)))
    assert path.read_bytes() == bs2(5, 1, 2) + bs2(8388607, 255, 240, 0) + bs2(3, 2, 3)


@pytest.mark.parametrize(
    ("t", "x", "reason"),
    [
        ([-1], [0], "subtracts the first time"),
        ([1 << 23], [0], "subtracts the first time"),
        ([0], [256], "the transform crop"),
        ([], [], "no events would be an empty file"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(t, x, reason, tmp_path):
    with pytest.raises(OptionError, match=reason):
        write(tmp_path / "out.bs2", Events(t, x, [0] * len(t), [1] * len(t), (300, 300)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["bs1", "bs2", "bs3"])
def test_noise_never_crashes(name, file):
    rng = np.random.default_rng(0)
    for _ in range(30):
        path = file(f"noise.{name}", rng.bytes(int(rng.integers(1, 2000))))
        events = read(path, strict=False)
        parts = [row for part in stream(path, 7, strict=False) for row in rows(part)]
        assert parts == rows(events)


@pytest.mark.parametrize(
    "name",
    [
        "slayer/lavadl_oxford_input.bs1",
        "slayer/lavadl_oxford_output.bs1",  # not in order of time
        "slayer/NTIDIGITS_1.bs1",
        "slayer/1.bs2",
        "slayer/1.bs3",
    ],
)
def test_real_recordings_have_the_true_counts(name, samples, differs):
    assert differs(name, read(samples / "recordings" / name)) == {}


def test_a_real_recording_is_the_same_in_both_formats_of_pixels(samples, tmp_path):
    folder = samples / "recordings/slayer"
    events = read(folder / "1.bs2")
    assert read(folder / "1.bs3") == events
    write(tmp_path / "again.bs2", events)
    assert (tmp_path / "again.bs2").read_bytes() == (folder / "1.bs2").read_bytes()
