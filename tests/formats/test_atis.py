"""ATIS .bin: golden files packed by hand, bad files, and the real N-MNIST."""

import os

import google_crc32c
import numpy as np
import pytest

from eventkit import Events, FormatError, OptionError
from eventkit.formats import Report, info, read, stream, write
from eventkit.formats.records import atis

MARK = bytes((7, 240, 0x83, 1, 2))  # an overflow marker, whatever its other bytes are


def event(t, x, y, p=1):
    return bytes((x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255))


@pytest.fixture
def file(tmp_path):
    """A function that writes bytes to a file and gives its path."""

    def make(*parts, name="file.bin"):
        path = tmp_path / name
        path.write_bytes(b"".join(parts))
        return path

    return make


def rows(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def test_events_are_unpacked_bit_by_bit(file):
    path = file(event(1, 2, 3), event(0x7FFFFF, 33, 32, p=0), event(0x010203, 0, 0))
    assert rows(read(path)) == [(1, 2, 3, 1), (8388607, 33, 32, 0), (66051, 0, 0, 1)]


def test_a_marker_moves_all_later_times_and_is_no_event(file):
    report = Report()
    path = file(event(5, 1, 1), MARK, event(5, 1, 1), MARK, MARK, event(6, 1, 1))
    assert read(path, report=report).t.tolist() == [5, 8197, 3 * 8192 + 6]
    assert report.counts == {"overflow markers": 3}


def test_markers_move_times_across_chunks_pieces_and_blocks(file):
    n = atis.BLOCK // 5 + 3000
    path = file(MARK, event(0, 1, 1) * n, MARK, event(1, 1, 1) * 10)
    events = read(path)
    assert np.array_equal(events.t, np.repeat([8192, 16385], [n, 10]))
    parts = [part.t.copy() for part in stream(path, 999)]
    assert np.array_equal(np.concatenate(parts), events.t)
    assert len(read(path, clock=(8193, None))) == 10


@pytest.mark.parametrize(
    ("x", "y", "size"),
    [(33, 33, (34, 34)), (34, 0, (240, 180)), (0, 34, (240, 180)), (239, 179, (240, 180))],
)
def test_the_size_is_the_smallest_known_that_holds_the_file(file, x, y, size):
    report = Report()
    path = file(event(0, 1, 1) * 100_000, event(9, x, y))
    assert next(stream(path, 10, report=report)).size == size
    assert not report.notes


def test_a_size_beyond_the_known_is_noted(file):
    report = Report()
    assert read(file(event(0, 250, 3)), report=report).size == (256, 256)
    assert report.notes == ["events lie outside 240x180, so the size is taken as 256x256"]


def test_the_size_can_be_told(file):
    path = file(event(0, 50, 3))
    assert read(path, size="34x34").size == (34, 34)
    assert info(path, size="34x34")["out_of_bounds"] == 1


def test_trailing_bytes_are_refused_with_the_way_out_and_counted_when_asked(file):
    path = file(event(1, 2, 3), b"abc")
    with pytest.raises(FormatError, match="ends 3 bytes into the 5 of an event") as caught:
        read(path)
    assert caught.value.offset == 5
    report = Report()
    assert rows(read(path, strict=False, report=report)) == [(1, 2, 3, 1)]
    assert report.counts == {"trailing bytes": 3}
    assert report.crc32c == google_crc32c.value(path.read_bytes())


def test_text_and_random_bytes_are_refused_but_can_be_forced(file):
    text = file(b"t,x,y,p\n" + b"17,3,4,1\n" * 99 + b"\n\n")
    with pytest.raises(FormatError, match="expected 5-byte ATIS events, found text"):
        read(text)
    noise = file(np.random.default_rng(0).bytes(5000))
    with pytest.raises(FormatError, match=r"times go back \d+ times in the first 1,000 records"):
        read(noise)
    assert len(read(noise, strict=False)) > 900


def test_a_few_backward_steps_are_kept_as_they_are(file):
    times = [t if t % 4 else t + 50 for t in range(1, 400)]
    path = file(*(event(t, 1, 1) for t in times))
    assert read(path).t.tolist() == times
    assert info(path)["backward_steps"] == 99


def test_a_file_cut_while_it_is_read_is_an_error(file):
    path = file(event(0, 1, 1) * 300_000)
    parts = stream(path, 1000)
    next(parts)
    os.truncate(path, 600_000)
    with pytest.raises(FormatError, match="became shorter while it was read"):
        list(parts)


def test_the_writer_packs_bit_by_bit(tmp_path):
    path = tmp_path / "file.bin"
    write(path, Events([1, 8388607], [2, 33], [3, 32], [1, 0], (34, 34)))
    assert path.read_bytes() == event(1, 2, 3) + event(8388607, 33, 32, p=0)


def test_the_writer_marks_times_past_23_bits_as_late_as_it_can(tmp_path):
    path = tmp_path / "file.bin"
    events = Events(
        [8388607, 8388608, 8396800, 8396799, 8413184], [1] * 5, [1] * 5, [1] * 5, (34, 34)
    )
    write(path, events)
    records = [path.read_bytes()[i : i + 5] for i in range(0, path.stat().st_size, 5)]
    mark = bytes((0, 240, 0, 0, 0))
    assert records == [
        event(8388607, 1, 1),
        mark,
        event(8388608 - 8192, 1, 1),
        mark,
        event(8396800 - 2 * 8192, 1, 1),
        event(8396799 - 2 * 8192, 1, 1),
        mark,
        mark,
        event(8413184 - 4 * 8192, 1, 1),
    ]
    assert read(path) == events


def test_sparse_events_for_an_hour_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "file.bin"
    t = np.linspace(0, 2**32 - 1, 500).astype(np.int64)
    events = Events(t, t % 34, t % 33, t % 2, (34, 34))
    write(path, events)
    assert read(path) == events


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"t": [-1]}, "times from 0 to 2.32 - 1 µs, found -1"),
        ({"t": [2**32]}, "times from 0 to"),
        ({"x": [256]}, "coordinates below 256, found x 256, y 0"),
        ({"y": [256]}, "coordinates below 256"),
        ({"y": [240]}, "cannot hold y = 240"),
        (
            {"t": [20_000_000, 100]},
            "cannot hold t = 100 µs after times that need markers of 11616256 µs",
        ),
        ({"t": []}, "no events would be an empty file"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, columns, reason):
    n = max(len(values) for values in columns.values())
    whole = {name: [0] * n for name in "txyp"} | columns
    with pytest.raises(OptionError, match=reason):
        write(tmp_path / "file.bin", Events(**whole, size=(34, 34)))
    assert list(tmp_path.iterdir()) == []


def test_times_that_go_back_too_far_from_chunk_to_chunk_are_refused(tmp_path):
    events = Events([20_000_000, 100], [0, 0], [0, 0], [0, 0], (34, 34))
    with pytest.raises(OptionError, match="cannot hold t = 100 µs"):
        write(tmp_path / "file.bin", [events[:1], events[1:]])


def test_real_n_mnist_has_the_known_counts(samples):
    files = sorted((samples / "nmnist").rglob("*.bin"))
    assert len(files) == 1100
    events = [read(file) for file in files]
    assert sum(len(one) for one in events) == 4_518_827
    assert sum(int(one.p.sum()) for one in events) == 2_250_078
    assert {one.size for one in events} == {(34, 34)}
    assert sum(one.backward_steps for one in events) == 0
    assert min(len(one) for one in events) == 1069
    assert max(int(one.t[-1]) for one in events) == 336_040
