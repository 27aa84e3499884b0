"""DAT: records packed by hand, the real N-CARS sample, and what cannot be written."""

import struct

import numpy as np
import pytest

import eventkit as ek
from eventkit import Events, FormatError, OptionError, UnknownName
from eventkit.formats import Report, extra, stream
from eventkit.formats.prophesee._file import BLOCK

HEAD = b"% Data file containing CD events.\n% Version 2\n% Width 304\n% Height 240\n"
WRAP = 1 << 32


def recording(folder, records, head=HEAD, kind=b"\x0c\x08"):
    path = folder / "file.dat"
    path.write_bytes(head + kind + b"".join(struct.pack("<II", *record) for record in records))
    return path


def rows(events: Events) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


@pytest.mark.parametrize("kind", [b"\x00\x08", b"\x0c\x08"])
def test_version_2_has_14_bits_for_a_coordinate(kind, tmp_path):
    records = [(7, 1 << 28 | 239 << 14 | 303), (7, 16383 << 14 | 16382), (8, 0xE << 28)]
    path = recording(tmp_path, records, kind=kind)
    events = ek.read(path)
    assert rows(events) == [(7, 303, 239, 1), (7, 16382, 16383, 0), (8, 0, 0, 0)]
    assert events.size == (304, 240)


def test_version_1_has_9_and_8_bits(tmp_path):
    head = HEAD.replace(b"Version 2", b"Version 1")
    records = [(7, 1 << 17 | 239 << 9 | 303), (9, 255 << 9 | 511)]
    assert rows(ek.read(recording(tmp_path, records, head))) == [(7, 303, 239, 1), (9, 511, 255, 0)]


def test_records_without_header_are_read_by_name(tmp_path):
    path = recording(tmp_path, [(7, 1 << 28 | 2 << 14 | 3)], b"", b"")
    assert rows(ek.read(path, format="dat", size="8x8")) == [(7, 3, 2, 1)]


@pytest.mark.parametrize("chunk", [1, 3, 100_000])
def test_time_wraps_when_it_falls_by_more_than_half(chunk, tmp_path):
    times = [WRAP - 2, 5, 4, WRAP // 2 + 4, 3, WRAP // 2 + 4, 4, WRAP - 1, 0]
    expected = [
        *[WRAP - 2, WRAP + 5, WRAP + 4, WRAP + WRAP // 2 + 4, 2 * WRAP + 3],
        *[2 * WRAP + WRAP // 2 + 4, 2 * WRAP + 4, 3 * WRAP - 1, 3 * WRAP],
    ]
    path = recording(tmp_path, [(time, 0) for time in times])
    parts = [part.copy() for part in stream(path, chunk)]
    assert Events.concat(parts).t.tolist() == expected
    assert ek.read(path, clock=(2 * WRAP, None)).t.tolist() == expected[4:]


def test_a_wrap_is_counted_between_blocks(tmp_path):
    n = BLOCK // 8  # records in a block
    path = recording(tmp_path, [(WRAP - 1, 0)] * n + [(0, 1)] * n + [(1, 1)])
    events = ek.read(path)
    assert events.t[[0, n - 1, n, 2 * n]].tolist() == [WRAP - 1, WRAP - 1, WRAP, WRAP + 1]
    assert len(ek.read(path, clock=(WRAP + 1, None))) == 1


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (b"\x0e\x08", "type 14 and 8 bytes, expected 8 bytes of type 0 or 12; formats.extra"),
        (b"\x28\x08", "type 40"),
        (b"\x0c\x10", "type 12 and 16 bytes"),
    ],
)
def test_other_types_of_events_are_refused(kind, reason, tmp_path):
    with pytest.raises(FormatError, match=f"at byte {len(HEAD)}: .*{reason}"):
        ek.read(recording(tmp_path, [(0, 0)], kind=kind))


def test_triggers_are_read(tmp_path):
    records = [(WRAP - 3, 1 | 5 << 26), (2, 63 << 26)]
    path = recording(tmp_path, records, kind=b"\x0e\x08")
    assert extra(path, "triggers").tolist() == [(WRAP - 3, 1, 5), (WRAP + 2, 0, 63)]
    with pytest.raises(UnknownName, match="'frames'"):
        extra(path, "frames")
    with pytest.raises(FormatError, match="type 12"):
        extra(recording(tmp_path, records), "triggers")


@pytest.mark.parametrize("rest", [1, 7])
def test_a_cut_record_is_an_error_or_a_count(rest, tmp_path):
    path = recording(tmp_path, [(0, 0)])
    path.write_bytes(path.read_bytes() + bytes(rest))
    with pytest.raises(FormatError, match=f"ends {rest} bytes into a word of 8; it is cut off"):
        ek.read(path)
    report = Report()
    assert len(ek.read(path, strict=False, report=report)) == 1
    assert report.counts == {"trailing bytes": rest}


def test_the_first_event_can_be_the_origin_of_time(tmp_path):
    path = recording(tmp_path, [(70, 0), (69, 0), (90, 0)])
    assert ek.read(path, t0="first").t.tolist() == [0, -1, 20]
    assert ek.read(path, t0="first", clock=(0, None)).t.tolist() == [0, 20]


@pytest.mark.parametrize(
    ("version", "kind", "word"), [(1, 0, 1 << 17 | 5 << 9 | 6), (2, 12, 1 << 28 | 5 << 14 | 6)]
)
def test_what_is_written_is_these_bytes(version, kind, word, tmp_path):
    path = tmp_path / "file.dat"
    events = Events([WRAP - 1, WRAP], [6, 6], [5, 5], [1, 1], (304, 240))
    ek.write(path, events, version=version)
    head = HEAD.replace(b"Version 2", b"Version %d" % version)
    assert path.read_bytes() == head + bytes([kind, 8]) + struct.pack(
        "<4I", WRAP - 1, word, 0, word
    )
    assert ek.read(path) == events


@pytest.mark.parametrize(
    ("t", "x", "options", "reason"),
    [
        ([WRAP], [0], {}, "cannot hold t = 4294967296 µs at the start; t0=first"),
        ([0, WRAP // 2 + 1, WRAP + WRAP // 2 + 1], [0] * 3, {}, "after 2147483649 µs"),
        ([WRAP // 2 + 1, 0], [0] * 2, {}, "cannot hold t = 0 µs after 2147483649"),
        ([WRAP - 1, WRAP, WRAP - 1], [0] * 3, {}, "after 4294967296 µs"),
        ([-1], [0], {}, "times from 0 on"),
        ([0], [16384], {}, "x below 16384"),
        ([0], [512], {"version": 1}, "x below 512 and y below 256"),
        ([0], [0], {"version": 3}, "version is 3, expected 1 or 2"),
    ],
)
def test_what_it_cannot_hold_is_refused(t, x, options, reason, tmp_path):
    with pytest.raises(OptionError, match=reason):
        ek.write(
            tmp_path / "file.dat", Events(t, x, [0] * len(t), [0] * len(t), (304, 240)), **options
        )
    assert not list(tmp_path.iterdir())


def test_unix_times_are_written_from_the_first_on(tmp_path):
    path = tmp_path / "file.dat"
    ek.write(path, Events([10**15, 10**15 + 9], [0, 1], [0, 1], [0, 1], (8, 8)), t0="first")
    assert ek.read(path).t.tolist() == [0, 9]


def test_the_real_sample_has_the_counts_of_the_manifest(samples):
    report = Report()
    events = ek.read(samples / "recordings" / "dat" / "tonic_sample_ncars.dat", report=report)
    assert (len(events), int(events.p.sum())) == (2009, 1350)
    assert (int(events.t[0]), int(events.t[-1])) == (0, 99_952)
    assert (events.size, events.backward_steps) == ((78, 42), 0)
    assert "taken as 78x42" in report.notes[0]
    assert np.all(np.diff(events.t) >= 0)
