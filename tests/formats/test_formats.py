"""Reading, writing and knowing files, whatever their format."""

import inspect
import os

import numpy as np
import pytest

import eventkit as ek
from eventkit import Events, FormatError, OptionError, UnknownName
from eventkit.formats import FORMATS, Report, guess, info, limits, parse_size, read, stream, write

EVENTS = Events([30, 10, 20], [1, 2, 3], [4, 5, 6], [1, 0, 1], (128, 128))


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "file.aedat"
    write(path, EVENTS)
    return path


def test_the_content_tells_the_format_before_the_suffix(recording, tmp_path):
    assert guess(recording).name == "aedat3"
    other = recording.rename(tmp_path / "file.bin")
    assert guess(other).name == "aedat3"
    other.write_bytes(bytes(5))
    assert guess(other).name == "atis"


def test_upper_case_suffixes_and_text_paths_are_known(tmp_path):
    path = str(tmp_path / "FILE.BIN")
    write(path, EVENTS)
    assert read(path, size="128x128") == EVENTS


def test_reading_can_sort(recording):
    assert read(recording) == EVENTS
    assert read(recording, sort=True) == EVENTS.sort()
    assert read(recording, True).t.tolist() == [10, 20, 30]


def test_the_public_names_are_these_functions():
    assert (ek.read, ek.stream, ek.write, ek.info) == (read, stream, write, info)


@pytest.mark.parametrize("verb", [read, stream, info])
def test_what_is_no_recording_is_named(verb, tmp_path):
    with pytest.raises(FileNotFoundError):
        verb(tmp_path / "none.aedat")
    with pytest.raises(FormatError, match="is a folder; expected one recording"):
        verb(tmp_path)
    with pytest.raises(FormatError, match="is a folder"):
        verb(tmp_path, format="aedat3")
    empty = tmp_path / "empty.aedat"
    empty.touch()
    for options in ({}, {"format": "atis"}):
        with pytest.raises(FormatError, match=r"empty.aedat: the file is empty"):
            verb(empty, **options)
    text = tmp_path / "notes.doc"
    text.write_text("some words")
    with pytest.raises(FormatError, match=r"b'some words'; supported formats: .*aedat3"):
        verb(text)
    pipe = tmp_path / "pipe.bin"
    os.mkfifo(pipe)
    with pytest.raises(FormatError, match="is a pipe or a device"):
        verb(pipe)


@pytest.mark.parametrize("verb", [read, stream, info])
def test_unknown_names_and_options_are_named_with_the_near_one(verb, recording):
    with pytest.raises(UnknownName, match=r"no file format 'aedat33'. Did you mean 'aedat3'"):
        verb(recording, format="aedat33")
    with pytest.raises(OptionError, match=r"aedat3 has no option 'sice'. Did you mean 'size'"):
        verb(recording, sice="3x3")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"chunk": 0}, "chunk is 0, expected at least 1"),
        ({"chunk": "many"}, "aedat3: chunk is 'many', expected a whole number"),
        ({"start": 0.5}, "start is '?0.5'?, which is not a whole number of µs"),
        ({"start": "soon"}, "start is 'soon', expected a time such as 50ms"),
        ({"start": 1, "clock": (0, 1)}, "give one or the other"),
        ({"clock": "1s"}, r"clock is '1s', expected two times: clock=\(t0, t1\)"),
        ({"clock": 5}, r"clock is 5, expected two times: clock=\(t0, t1\)"),
        ({"strict": "maybe"}, "aedat3: strict is 'maybe', expected true or false"),
    ],
)
def test_settings_are_checked_before_reading(recording, options, reason):
    with pytest.raises(OptionError, match=reason):
        stream(recording, **options)


def test_windows_may_be_numpy_numbers_or_beyond_all_times(recording):
    assert read(recording, clock=(np.int64(20), np.uint32(31))).t.tolist() == [30, 20]
    assert read(recording, clock=(-(10**30), 10**30)) == EVENTS
    assert len(read(recording, clock=(10**30, None))) == 0
    assert len(read(recording, clock=(25, 15))) == 0
    assert limits(None, 5) == (-(2**63), 5)


def test_a_report_collects_over_several_files(recording):
    report = Report()
    for _ in range(2):
        read(recording, report=report)
    assert (report.counts, report.notes) == ({}, [])
    assert report.crc32c is not None


def test_info_says_what_is_odd(tmp_path):
    path = tmp_path / "file.aedat"
    write(path, Events([30, 10, 20], [1, 200, 3], [4, 5, 6], [1, 0, 1], (128, 128)))
    facts = info(path)
    assert facts["warnings"] == [
        "1 of 3 events lie outside 128x128",
        "backward steps of time: 1; read(sort=True) sorts",
    ]
    assert (facts["t0"], facts["t1"], facts["duration_s"]) == (10, 30, 20e-6)
    assert facts["rate_hz"] == pytest.approx(3 / 20e-6)
    assert (facts["x_max"], facts["y_max"]) == (200, 6)


def test_info_of_a_recording_without_events_has_no_times(tmp_path):
    path = tmp_path / "file.aedat"
    write(path, Events.empty((128, 128)))
    facts = info(path)
    assert facts["warnings"] == ["no events"]
    assert [facts[key] for key in ("t0", "t1", "rate_hz", "x_max", "y_max")] == [None] * 5


def test_info_counts_backward_steps_across_chunks(tmp_path, monkeypatch):
    path = tmp_path / "file.aedat"
    write(path, EVENTS)
    monkeypatch.setattr("eventkit.formats.reading.CHUNK", 1)
    assert info(path)["backward_steps"] == 1


def test_info_of_a_damaged_file_tells_when_asked_to_go_on(recording):
    recording.write_bytes(recording.read_bytes()[:-4])
    with pytest.raises(FormatError):
        info(recording)
    facts = info(recording, strict=False)
    assert facts["events"] == 2
    assert facts["counts"] == {"damaged places": 1, "skipped bytes": 4}
    assert len(facts["warnings"]) == 2


def test_chunks_are_written_as_one_recording(tmp_path):
    path = tmp_path / "file.aedat"
    write(path, (EVENTS[i : i + 1] for i in range(3)))
    assert read(path) == EVENTS


def test_a_failed_write_leaves_what_was_there(recording):
    def failing():
        yield EVENTS
        raise RuntimeError("no more")

    before = recording.read_bytes()
    with pytest.raises(RuntimeError, match="no more"):
        write(recording, failing())
    with pytest.raises(OptionError, match="coordinates below"):
        write(recording, Events([1], [40000], [0], [0], (65536, 1)))
    assert recording.read_bytes() == before
    assert list(recording.parent.iterdir()) == [recording]


def test_a_file_can_be_rewritten_from_itself(recording):
    write(recording, stream(recording, 1))
    assert read(recording) == EVENTS


def test_files_are_made_with_the_rights_that_the_user_wants(tmp_path):
    path = tmp_path / "file.aedat"
    before = os.umask(0o027)
    try:
        write(path, EVENTS)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "events", "reason"),
    [
        ("file.xyz", EVENTS, "no writable format has the suffix '.xyz'; use one of .*.aedat"),
        ("file.aedat", [], "no events to write"),
        ("file.aedat", [EVENTS, Events.empty((3, 3))], r"have the sizes \(128, 128\) and \(3, 3\)"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, events, reason):
    with pytest.raises(OptionError, match=reason):
        write(tmp_path / name, events)
    assert list(tmp_path.iterdir()) == []


def test_writing_into_no_folder_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        write(tmp_path / "missing" / "file.aedat", EVENTS)


def test_sizes_are_written_as_width_x_height():
    assert parse_size("346x260") == parse_size("(346, 260)") == (346, 260)
    for text in ("346", "0x3", "3x70000", "axb", "3 x 3"):
        with pytest.raises(OptionError, match="expected width x height"):
            parse_size(text)


def test_every_format_says_what_it_is():
    for name, entry in FORMATS.items():
        assert entry.name == name
        assert entry.title
        assert all(suffix.startswith(".") and suffix.islower() for suffix in entry.suffixes)


def test_what_a_file_says_of_itself_is_read_with_the_options_that_reading_it_needs(tmp_path, run):
    """`info` read all events with them, then the header without, and asked for them again."""
    table, deep = tmp_path / "a.csv", tmp_path / "a.h5"
    table.write_text("5 6 1 100\n7 8 0 200\n9 3 1 300\n".replace("\n", " 0\n"))
    h5py = pytest.importorskip("h5py")
    with h5py.File(deep, "w") as file:
        for name in "txyp":
            file[f"far/down/{name}"] = np.arange(3) % (2 if name == "p" else 3)
    for path, option in ((table, "text:columns=xypt-"), (deep, "hdf5:group=far/down")):
        code, out, err = run("info", path, "--from", f"{option},size=20x20")
        assert (code, err) == (0, "")
        assert "events" in out
    assert info(table, columns="xypt-", unit="ms", size="20x20")["header"]["unit"] == "ms"


def test_headers_take_only_options_of_their_readers():
    for entry in FORMATS.values():
        if entry.header is not None:
            taken = list(inspect.signature(entry.header).parameters)[1:]
            assert {*taken} <= {*inspect.signature(entry.stream).parameters}


def test_a_time_of_the_cameras_clock_is_not_taken_for_one_from_the_first_event(tmp_path):
    path = tmp_path / "late.csv"
    late = Events(EVENTS.t + 10**12, EVENTS.x, EVENTS.y, EVENTS.p, EVENTS.size).sort()
    write(path, late)
    assert read(path, stop="1s", size="128x128") == late
    for wrong in ({"start": 10**12}, {"stop": 10**12 + 20}, {"start": 0, "stop": 10**12 + 20}):
        with pytest.raises(OptionError, match=r"clock=\(t0, t1\) selects on the camera's clock"):
            read(path, size="9x9", **wrong)
    assert info(path, start="0ms", stop="20us", size="9x9")["events"] == 2
    with pytest.raises(OptionError, match="stop=1s is not after start=2s"):
        read(path, start="2s", stop="1s", size="9x9")


def test_a_size_is_a_pair_or_text(tmp_path):
    path = tmp_path / "a.npy"
    write(path, EVENTS)
    for size in ((300, 200), [300, 200], "300x200", "(300, 200)"):
        assert read(path, size=size).size == info(path, size=size)["size"] == (300, 200)
    for wrong in ((0, 200), (300,), (300, 200, 2), 300, "300"):
        with pytest.raises(OptionError, match=r"expected width x height within 1\.\.65536"):
            stream(path, size=wrong)


def test_a_stream_has_its_report_and_can_be_closed(recording):
    report = Report()
    with stream(recording, 1, report=report) as parts:
        assert parts.report is report
        assert len(next(parts)) == 1
    assert next(parts, None) is None
    assert stream(recording).report.counts == {}
