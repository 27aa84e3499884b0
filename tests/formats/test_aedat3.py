"""AEDAT 3: golden files packed by hand, damage of every kind, and real recordings."""

import os
import struct
import threading
import tracemalloc

import google_crc32c
import numpy as np
import pytest

from eventkit import Events, FormatError, OptionError
from eventkit.formats import Report, info, read, stream, write
from eventkit.formats.aedat import aedat3
from eventkit.formats.aedat._aedat3_packets import BLOCK

HEAD = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def event(t, x, y, p=1, valid=1):
    return struct.pack("<Ii", x << 17 | y << 2 | p << 1 | valid, t)


def special(kind, t=0, data=0):
    return struct.pack("<Ii", data << 8 | kind << 1 | 1, t)


def packet(*events, kind=1, source=1, overflow=0, pad=b"", capacity=None, **claims):
    """A packet of events of one length; the header says what is true, but for the claims."""
    size = len(events[0]) if events else 8
    fields = {
        "size": size,
        "stamp": 4,
        "overflow": overflow,
        "capacity": len(events) + len(pad) // size if capacity is None else capacity,
        "number": len(events),
        "valid": sum(one[0] & 1 for one in events),
    } | claims
    return struct.pack("<hh6i", kind, source, *fields.values()) + b"".join(events) + pad


A = packet(event(10, 1, 2), event(20, 127, 126, p=0))
B = packet(event(30, 5, 6), event(25, 7, 8), event(40, 9, 10))
C = packet(event(50, 3, 4, p=0))
ALL = [
    (10, 1, 2, 1),
    (20, 127, 126, 0),
    (30, 5, 6, 1),
    (25, 7, 8, 1),
    (40, 9, 10, 1),
    (50, 3, 4, 0),
]


@pytest.fixture
def file(tmp_path):
    """A function that writes bytes to a file and gives its path."""

    def make(*parts, head=HEAD):
        path = tmp_path / "file.aedat"
        path.write_bytes(head + b"".join(parts))
        return path

    return make


def rows(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def test_events_are_unpacked_bit_by_bit(file):
    events = read(file(A, B, C))
    assert rows(events) == ALL
    assert events.size == (128, 128)


def test_coordinates_have_fifteen_bits(file):
    assert rows(read(file(packet(event(0, 32767, 32766))))) == [(0, 32767, 32766, 1)]


def test_overflow_is_the_upper_half_of_the_time(file):
    path = file(packet(event(2**31 - 1, 1, 1)), packet(event(5, 1, 1), overflow=3))
    assert read(path).t.tolist() == [2**31 - 1, 3 * 2**31 + 5]


def test_greatest_time_fits(file):
    path = file(packet(event(2**31 - 1, 1, 1), overflow=2**31 - 1))
    assert read(path).t.tolist() == [2**62 - 1]


def test_invalid_events_are_left_out_and_counted(file):
    report = Report()
    path = file(packet(event(1, 1, 1), event(2, 2, 2, valid=0), event(-3, 3, 3)), A)
    assert read(path, report=report).t.tolist() == [1, 10, 20]
    assert report.counts == {"invalid": 2}


def test_invalid_events_of_a_window_are_counted_in_it(file):
    report = Report()
    path = file(packet(*(event(t, 1, 1, valid=t % 2) for t in range(10))))
    assert read(path, clock=(2, 7), report=report).t.tolist() == [3, 5]
    assert report.counts == {"invalid": 3}


def test_other_events_are_skipped_and_counted_by_name(file):
    report = Report()
    path = file(
        packet(special(1)),
        A,
        packet(special(0, 2**31 - 1), special(2, 15), kind=0),
        packet(bytes(36), kind=3),
        packet(bytes(5000), bytes(5000), kind=2),
        packet(bytes(11), bytes(11), bytes(11), kind=77),
        B,
    ).read_bytes()
    path = file(path[len(HEAD) :].replace(packet(special(1)), packet(special(1), kind=0), 1))
    assert rows(read(path, report=report)) == ALL[:5]
    assert report.counts == {"special": 3, "imu6": 1, "frame": 2, "unknown type": 3}
    assert report.notes == []


def test_a_reset_of_the_clock_among_the_events_is_noted(file):
    report = Report()
    read(file(A, packet(special(1), kind=0), A), report=report)
    assert report.notes == ["clock resets after the first event: 1; times begin anew"]


def test_a_second_camera_is_noted(file):
    report = Report()
    read(file(A, packet(event(1, 1, 1), source=2)), report=report)
    assert report.notes == ["events of other cameras than the first: 1; all are kept"]


@pytest.mark.parametrize("pad", [bytes(24), b"\xff" * 40, event(99, 9, 9) * 3])
@pytest.mark.parametrize("after", [(), (C,)])
def test_a_body_may_be_padded_to_the_capacity(file, pad, after):
    report = Report()
    path = file(A, packet(event(30, 5, 6), pad=pad), *after)
    assert rows(read(path, report=report)) == ALL[:3] + ALL[5:] * len(after)
    assert not report.counts
    assert not report.notes


@pytest.mark.parametrize("after", [(), (C,)])
def test_a_capacity_beyond_the_number_need_not_be_there(file, after):
    path = file(A, packet(event(30, 5, 6), capacity=4096), *after)
    assert rows(read(path)) == ALL[:3] + ALL[5:] * len(after)


def test_lines_may_end_in_lf(file):
    path = file(A, head=HEAD.replace(b"\r\n", b"\n"))
    assert rows(read(path)) == ALL[:2]


def test_version_3_0_has_no_end_line_and_counts_y_from_below(file):
    path = file(A, head=b"#!AER-DAT3.0\r\n#Source 1: DVS128\r\n")
    assert rows(read(path)) == [(10, 1, 125, 1), (20, 127, 1, 0)]
    assert read(path, size="200x200").y.tolist() == [197, 73]


def test_y_beyond_the_sensor_stays_beyond_it_in_version_3_0(file):
    path = file(packet(event(0, 1, 130)), head=b"#!AER-DAT3.0\r\n")
    assert info(path)["out_of_bounds"] == 1


@pytest.mark.parametrize(
    ("device", "size"),
    [
        ("DVS128", (128, 128)),
        ("DAVIS240A", (240, 180)),
        ("DAVIS346", (346, 260)),
        ("x 34x30", (34, 30)),
        ("DVS128 0x10", (128, 128)),
    ],
)
def test_the_source_tells_the_size(file, device, size):
    assert read(file(A, head=HEAD.replace(b"DVS128", device.encode()))).size == size


def test_an_unknown_source_is_noted_and_can_be_told(file):
    path = file(A, head=HEAD.replace(b"DVS128", b"Retina"))
    report = Report()
    assert read(path, report=report).size == (128, 128)
    assert report.notes == [
        "the sensor's size of 'Retina' is unknown, taken as 128x128; size=WxH sets it"
    ]
    assert read(path, size="640x480").size == (640, 480)
    assert read(path, size=(640, 480)).size == (640, 480)
    with pytest.raises(OptionError, match="size is 'big', expected width x height"):
        read(path, size="big")


def test_a_file_without_events_is_empty_but_has_a_size(file):
    (part,) = stream(file())
    assert (len(part), part.size) == (0, (128, 128))
    assert len(read(file(packet(special(2), kind=0)), clock=(0, 5))) == 0


def test_info_has_what_the_header_says(file):
    facts = info(file(A, B, head=HEAD.replace(b"#!END", b"#Start-Time: 2018\r\n#!END")))
    assert facts["header"] == {
        "version": "3.1",
        "format": "RAW",
        "source 1": "DVS128",
        "start-time": "2018",
    }
    assert facts["backward_steps"] == 1
    assert facts["warnings"] == ["backward steps of time: 1; read(sort=True) sorts"]


def damaged(path, **options):
    """Rows, counts and notes of a tolerant read."""
    report = Report()
    return rows(read(path, strict=False, report=report, **options)), report.counts, report.notes


def test_a_cut_tail_is_refused_with_the_way_out_and_read_when_asked(file):
    path = file(A, B[:-4])
    at = len(HEAD + A)
    reason = "a packet promises 3 polarity events, the file ends after 2; it is cut off"
    with pytest.raises(FormatError, match=f"{reason}; strict=False reads what is sound") as caught:
        read(path)
    assert (caught.value.path, caught.value.offset) == (str(path), at)
    end = path.stat().st_size
    assert damaged(path) == (
        ALL[:4],
        {"damaged places": 1, "skipped bytes": 4},
        [f"at byte {at}: {reason}; skipped bytes {end - 4} to {end}"],
    )


def test_a_cut_packet_header_is_refused_and_skipped_when_asked(file):
    path = file(A, B[:20])
    with pytest.raises(FormatError, match="no other packet follows"):
        read(path)
    found, counts, _ = damaged(path)
    assert found == ALL[:2]
    assert counts == {"damaged places": 1, "skipped bytes": 20}


def test_a_file_cut_within_its_first_packet_header(file):
    path = file(A[:20])
    with pytest.raises(FormatError, match="the file ends 20 bytes into a packet header"):
        read(path)
    assert damaged(path)[0] == []


def test_a_file_cut_within_its_text(file):
    path = file(head=HEAD[:40])
    with pytest.raises(FormatError, match="ends before #!END-HEADER"):
        read(path)
    assert damaged(path)[2][0] == "the file ends before #!END-HEADER; it is cut off"


@pytest.mark.parametrize(
    "garbage", [b"\0" * 100, b"\xff" * 9, b"some text, not a packet at all..."]
)
def test_garbage_between_packets_is_skipped_when_asked(file, garbage):
    path = file(A, garbage, B, C)
    with pytest.raises(FormatError, match="no other packet follows them at byte") as caught:
        read(path)
    assert caught.value.offset == len(HEAD)
    found, counts, notes = damaged(path)
    assert found == ALL
    assert counts == {"damaged places": 1, "skipped bytes": len(garbage)}
    at = len(HEAD + A)
    assert notes[0].endswith(f"skipped bytes {at} to {at + len(garbage)}")


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, 100, 2**31 - 1])
def test_a_wrong_number_of_events_never_takes_the_next_packet_along(file, number):
    path = file(A, packet(*([event(30, 5, 6)] * 3), number=number, capacity=number, valid=0), C)
    with pytest.raises(FormatError):
        read(path)
    found, counts, _ = damaged(path)
    sound = number if number <= 3 else 0  # of one that promises more, nobody knows what is missing
    assert found == ALL[:2] + ALL[2:3] * sound + ALL[5:]
    assert counts["skipped bytes"] == (8 * (3 - number) if number <= 3 else 28 + 24)


@pytest.mark.parametrize(
    "claim",
    [
        {"size": 0},
        {"size": 9},
        {"stamp": 0},
        {"overflow": -1},
        {"valid": 4},
        {"number": 9},
        {"kind": -1},
    ],
)
def test_an_impossible_header_is_refused_and_its_packet_skipped_when_asked(file, claim):
    path = file(A, packet(*([event(30, 5, 6)] * 3), **claim), C)
    with pytest.raises(FormatError, match="no other packet follows them"):
        read(path)
    found, counts, _ = damaged(path)
    assert found == ALL[:2] + ALL[5:]
    assert counts == {"damaged places": 1, "skipped bytes": 28 + 24}


def test_an_impossible_first_header_is_named(file):
    path = file(packet(event(1, 1, 1), size=7), C)
    with pytest.raises(FormatError, match=r"expected a packet header, found 0100"):
        read(path)
    assert damaged(path)[0] == ALL[5:]


def test_damage_is_the_same_to_windows_and_chunks(file):
    path = file(A, b"garbage!", B, C[:30])
    expected, counts, notes = damaged(path)
    assert expected == ALL[:5]
    assert damaged(path, clock=(20, 31))[0] == ALL[1:4]
    assert damaged(path, clock=(20, 31))[2] == notes
    with pytest.raises(FormatError, match="strict=False"):
        read(path, clock=(20, 31))
    assert [rows(part)[0] for part in stream(path, 1, strict=False)] == expected
    assert counts["damaged places"] == 2


def test_only_the_first_damaged_places_are_listed(file):
    _, counts, notes = damaged(file(*([A, b"garbage!"] * 50), A))
    assert counts["damaged places"] == 50
    assert len(notes) == 11
    assert notes[-1] == "further damaged places are counted, not listed"


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"#!AER-DAT2.0\r\n", "starts with b'#!AER-DAT2.0.*expected #!AER-DAT3.0 or"),
        (b"#!AER-DAT3.2\r\n", "starts with b'#!AER-DAT3.2"),
        (HEAD.replace(b"RAW", b"PNG_FRAMES"), "compressed .#Format: PNG_FRAMES., only RAW"),
        (b"#!AER-DAT3.1\r\n" + b"# words\r\n" * 10_000, "no packets in the first 65,536 bytes"),
    ],
)
def test_what_is_not_read_is_refused_by_name(file, head, reason):
    for strict in (True, False):
        with pytest.raises(FormatError, match=reason):
            read(file(A, head=head), format="aedat3", strict=strict)


def test_a_header_that_claims_two_billion_events_costs_nothing(file):
    path = file(packet(event(1, 2, 3), number=2**31 - 1, capacity=2**31 - 1))
    tracemalloc.start()
    for options in ({}, {"clock": (0, 5)}):
        assert damaged(path, **options)[0] == [(1, 2, 3, 1)]
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_stream_needs_the_memory_of_a_block_and_two_chunks(file):
    path = file(packet(*(event(t, 1, 1) for t in range(4000))) * 100)  # 3.2 MB, 400,000 events
    tracemalloc.start()
    assert sum(len(part) for part in stream(path, 5000)) == 400_000
    assert tracemalloc.get_traced_memory()[1] < 1_500_000
    tracemalloc.stop()


def test_packets_may_be_longer_than_a_block(file):
    n = 3 * BLOCK // 8 + 5
    body = np.empty((n, 2), "<u4")
    body[:, 0], body[:, 1] = 3 << 17 | 4 << 2 | 3, np.arange(n)
    long = struct.pack("<hh6i", 1, 1, 8, 4, 0, n, n, n) + body.tobytes()
    path = file(long, packet(bytes(2 * BLOCK), kind=2), long)
    events = read(path)
    assert np.array_equal(events.t, np.tile(np.arange(n), 2))
    assert set(events.x.tolist()) == {3}
    window = read(path, clock=(n - 100, n + 5))
    assert window.t.tolist() == [*range(n - 100, n)] * 2
    cut = file(long, long[:-12])
    assert len(read(cut, strict=False)) == 2 * n - 2


@pytest.mark.parametrize("shift", range(0, 40, 3))
def test_headers_may_lie_across_blocks(file, shift):
    first = packet(bytes(BLOCK - len(HEAD) - 28 - shift), kind=2)
    assert rows(read(file(first, A, B, C))) == ALL
    assert rows(read(file(first, A, B, C), clock=(20, 31))) == ALL[1:4]
    assert damaged(file(first, A, b"garbage!", B, C))[0] == ALL
    padded = packet(event(30, 5, 6), pad=b"\1" * 24)
    assert rows(read(file(first, padded, C))) == [ALL[2], ALL[5]]


def test_a_file_cut_while_it_is_read_is_an_error_not_a_signal(file):
    path = file(packet(*(event(t, 1, 1) for t in range(4000))) * 100)
    parts = stream(path, 1000)
    next(parts)
    os.truncate(path, 600_000)
    with pytest.raises(FormatError, match="became shorter while it was read"):
        list(parts)


@pytest.mark.parametrize("seed", range(20))
def test_a_file_overwritten_while_it_is_read_never_crashes(file, seed):
    rng = np.random.default_rng(seed)
    path = file(packet(*(event(t, 1, 1) for t in range(500))) * 600)
    parts = stream(path, 1000, strict=False)
    next(parts)
    with path.open("r+b") as other:
        for _ in range(200):
            other.seek(int(rng.integers(path.stat().st_size)))
            other.write(rng.bytes(30))
    assert sum(len(part) for part in parts) < path.stat().st_size


def settled(path):
    """The file, made to look as if it had not been changed for a while."""
    os.utime(path, ns=(0, 10**18))
    return path


def test_the_index_says_where_events_are(file):
    path = settled(file(A, packet(special(2), kind=0), B))
    index = aedat3.index(path)
    begin = len(HEAD) + 28
    assert index.runs["at"].tolist() == [begin, begin + 16 + 36 + 28]
    assert index.runs["first"].tolist() == [10, 25]
    assert index.runs["last"].tolist() == [20, 40]
    assert (index.events, index.span) == (5, (10, 40))
    assert index.report.counts == {"special": 1}
    assert index.report.crc32c == google_crc32c.value(path.read_bytes())


def test_the_index_is_made_once_and_anew_when_the_file_changes(file):
    path = settled(file(A))
    assert aedat3.index(path) is aedat3.index(path)
    assert read(path, clock=(0, 15)).t.tolist() == [10]
    settled(file(A, B))
    assert aedat3.index(path).events == 5
    file(A, B, C)  # changed just now: not kept
    assert aedat3.index(path) is not aedat3.index(path)


def test_a_failed_index_is_tried_again(file):
    path = settled(file(A, B[:-4]))
    for _ in range(2):
        with pytest.raises(FormatError, match="cut off"):
            read(path, clock=(0, 15))
    assert aedat3.index(path, strict=False).events == 4


def test_threads_cut_windows_out_of_one_file(tmp_path):
    n = 200_000
    path = tmp_path / "file.aedat"
    column = np.arange(n)
    write(path, Events(column, column % 128, column % 99, column % 2, (128, 128)))
    settled(path)
    found = {}

    def cut(start):
        found[start] = read(path, clock=(start, start + 30_000))

    threads = [threading.Thread(target=cut, args=(start,)) for start in range(0, n, 30_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = Events.concat(found[start] for start in sorted(found))
    assert whole == read(path)


def test_the_writer_lays_out_as_libcaer_does(tmp_path):
    path = tmp_path / "file.aedat"
    events = Events([2**31 - 1, 2**31, 5], [1, 2, 3], [4, 5, 6], [1, 0, 1], (128, 128))
    write(path, events)
    assert path.read_bytes() == HEAD.replace(b"Source 1", b"Source 0") + b"".join(
        (
            packet(event(2**31 - 1, 1, 4), source=0),
            packet(event(0, 2, 5, p=0), source=0, overflow=1),
            packet(event(5, 3, 6), source=0),
        )
    )


def test_the_writer_fills_packets_across_chunks(tmp_path):
    path = tmp_path / "file.aedat"
    column = np.arange(10_000)
    events = Events(column, column % 128, column % 128, column % 2, (128, 128))
    write(path, (events[i : i + 3] for i in range(0, 10_000, 3)))
    assert aedat3.index(path).runs["n"].tolist() == [4096, 4096, 1808]
    assert read(path) == events


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("t", -1, "times from 0 to 2.62 - 1 µs, found -1 to"),
        ("t", 2**62, "times from 0 to"),
        ("x", 2**15, "coordinates below 32,768, found x 32768, y 0"),
        ("y", 2**15, "coordinates below 32,768"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, column, value, reason):
    columns = {"t": [0], "x": [0], "y": [0], "p": [0]} | {column: [value]}
    with pytest.raises(OptionError, match=reason):
        write(tmp_path / "file.aedat", Events(**columns, size=(128, 128)))
    assert list(tmp_path.iterdir()) == []


def test_the_real_recording_is_its_truth(samples):
    path = samples / "recordings/derived/aedat31_dvs128.aedat"
    report = Report()
    events = read(path, report=report)
    truth = np.load(path.with_name("aedat31_dvs128_truth.npz"))
    for name in "txyp":
        assert np.array_equal(getattr(events, name), truth[name])
    assert report.counts == {"special": 1}
    start, stop = 2**31 - 5000, 2**31 + 200_000
    keep = (truth["t"] >= start) & (truth["t"] < stop)
    assert np.array_equal(read(path, clock=(start, stop)).t, truth["t"][keep])
