"""AEDAT 1.0 and 2.0: records packed by hand, bad files, and real recordings of jAER."""

import struct

import google_crc32c
import numpy as np
import pytest
from miniatures import aedat2_cameras, sample

from eventkit import Events, FormatError, OptionError
from eventkit.formats import FORMATS, Report, guess, info, read, stream, write
from eventkit.formats.aedat import aedat2

MAGIC = b"#!AER-DAT2.0\r\n"
DVS128 = MAGIC + b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"
DAVIS = MAGIC + b"# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"


def record(address, t, form=">Ii"):
    return struct.pack(form, address, t)


def dvs(t, x=0, y=0, p=0, more=0):
    return record(more | y << 8 | x << 1 | p, t)


def davis(t, x=0, y=0, p=0, more=0):
    return record(more | y << 22 | x << 12 | p << 11, t)


@pytest.fixture
def file(tmp_path):
    """A function that writes bytes to a file and gives its path."""

    def make(*parts, name="file.aedat"):
        path = tmp_path / name
        path.write_bytes(b"".join(parts))
        return path

    return make


def rows(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def test_a_dvs128_has_its_origin_at_the_bottom_right_and_zero_for_on(file):
    path = file(DVS128, dvs(5, 0, 0, 0), dvs(6, 127, 0, 1), dvs(6, 3, 126, 0))
    assert rows(read(path)) == [(5, 127, 127, 1), (6, 0, 127, 0), (6, 124, 1, 1)]
    assert read(path).size == (128, 128)


def test_a_davis_has_ten_and_nine_bits_and_one_for_on(file):
    path = file(DAVIS, davis(5, 0, 0, 0), davis(6, 239, 0, 1), davis(7, 3, 179, 1))
    assert rows(read(path)) == [(5, 239, 179, 0), (6, 0, 179, 1), (7, 236, 0, 1)]


def test_options_keep_raw_addresses_swap_axes_and_reverse_polarity(file):
    path = file(DVS128, dvs(5, 10, 20, 0), dvs(6, 11, 21, 1))
    assert rows(read(path, origin="raw")) == [(5, 10, 20, 1), (6, 11, 21, 0)]
    assert rows(read(path, origin="cifar10dvs")) == [(5, 107, 117, 1), (6, 106, 116, 0)]
    assert rows(read(path, polarity="reversed")) == [(5, 117, 107, 0), (6, 116, 106, 1)]
    with pytest.raises(OptionError, match="needs a square"):
        read(file(DAVIS, davis(5)), origin="cifar10dvs")


def test_what_is_no_event_is_counted_by_kind_within_the_window(file):
    words = [davis(10, 1, 1), davis(20, more=1 << 10), davis(30, 1, 1, more=1 << 31)]
    imu = [record(0x80000C00 | code << 28 | 77 << 12, 40) for code in range(7)]
    path = file(DAVIS, *words, *imu, davis(50, 240, 0), davis(60, 0, 180))
    report = Report()
    assert read(path, report=report).t.tolist() == [10]
    assert report.counts == {"special": 1, "aps": 1, "imu": 7, "out of bounds": 2}
    report = Report()
    assert len(read(path, clock=(25, 55), report=report)) == 0
    assert report.counts == {"aps": 1, "imu": 7, "out of bounds": 1}
    report = Report()
    read(file(DVS128, dvs(1, more=0x8000), dvs(2)), report=report)
    assert report.counts == {"special": 1}


def test_a_cochlea_is_one_pixel_high_and_its_address_is_x(file):
    path = file(MAGIC, record(1023, 1), record(0x1234, 2), record(17, 3))
    report = Report()
    events = read(path, chip="cochlea", report=report)
    assert rows(events) == [(1, 1023, 0, 0), (3, 17, 0, 0)]
    assert (events.size, report.counts) == ((1024, 1), {"adc": 1})


def test_times_are_signed_and_go_on_where_32_bits_wrap(file):
    last = (1 << 31) - 1
    times = [-5, 3, last - 1, -last - 1, last, -7, 9]
    true = [-5, 3, last - 1, last + 1, last, (1 << 32) - 7, (1 << 32) + 9]
    path = file(DVS128, *map(dvs, times))
    assert read(path).t.tolist() == true
    assert [int(part.t[0]) for part in stream(path, 1)] == true
    assert read(path, clock=(last + 1, None)).t.tolist() == [t for t in true if t > last]
    assert read(path, clock=(last + 1, None)).backward_steps == 0


def test_version_1_has_records_of_six_bytes_with_and_without_a_header(file):
    data = b"".join(record(y << 8 | 4, t, ">Hi") for t, y in ((3, 0x23), (4, 9)) * 30)
    expected = [(3, 125, 92, 1), (4, 125, 118, 1)] * 30
    assert rows(read(file(b"#!AER-DAT1.0\r\n# text\r\n", data))) == expected
    path = file(data, name="old.dat")
    assert guess(path).name == "aedat1"
    with pytest.raises(FormatError, match="times go back 29 times"):
        read(path)
    assert rows(read(path, strict=False)) == expected


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_header_line_is_text_and_data_may_begin_with_its_sign(file, end):
    lines = end.join(
        [MAGIC.strip(), b"# AEChip: x.Davis346red", b"#\t<preferences caf\xc3\xa9/>", b""]
    )
    first = davis(7, 0x23A & 0x3FF, 0x8E, 1)  # its first byte is #
    assert first[:1] == b"#"
    events = read(file(lines, first, davis(0x0A2D2D2D, 1, 1)), origin="raw")
    assert rows(events)[0] == (7, 0x23A, 0x8E, 1)
    assert (len(events), events.size) == (2, (346, 260))
    facts = FORMATS["aedat2"].header(file(lines, b"# created Fri Apr 15" + end))
    assert facts == {"version": "2.0", "aechip": "x.Davis346red", "created": "Fri Apr 15"}


def test_a_header_ends_where_it_says_so(file):
    ending = b"#End Of ASCII Header\r\n"
    path = file(DAVIS, ending, b"#abc\n\n\n\n")
    assert len(read(path, origin="raw")) == 1


def test_a_chip_without_a_name_is_known_by_its_addresses(file):
    def chip(*records):
        report = Report()
        return read(file(MAGIC, *records), report=report).size, report.notes

    assert chip(dvs(1, 3, 4), dvs(2, 5, 6)) == ((128, 128), [])
    for x, y, size in ((239, 179, (240, 180)), (240, 0, (346, 260)), (639, 479, (640, 480))):
        found, notes = chip(davis(1, x, y), davis(2, more=1 << 31))
        assert found == size
        assert "chip= sets it" in notes[0]
    assert chip(*[record(n, n) for n in range(40)])[0] == (1024, 1)
    report = Report()
    read(file(MAGIC, b"# AEChip: a.b.Other\r\n", dvs(1, 3, 4)), report=report)
    assert "'other' is unknown" in report.notes[0]


def test_a_cut_file_is_refused_or_read_without_its_last_bytes(file):
    path = file(DVS128, dvs(1), dvs(2)[:5])
    with pytest.raises(FormatError, match="5 bytes into the 8 of an event") as caught:
        read(path)
    assert caught.value.offset == len(DVS128) + 8
    report = Report()
    assert len(read(path, strict=False, report=report)) == 1
    assert report.counts == {"trailing bytes": 5}


def test_other_versions_are_refused(file):
    with pytest.raises(FormatError, match=r"it is AEDAT 3.1"):
        read(file(b"#!AER-DAT3.1\r\n"), format="aedat2")


def test_the_writer_makes_these_bytes_for_these_events(tmp_path):
    path = tmp_path / "out.aedat2"
    write(path, Events([5, -6], [127, 0], [127, 126], [1, 0], (128, 128)))
    data = DVS128 + b"#End Of ASCII Header\r\n" + record(0, 5) + record(1 << 8 | 127 << 1 | 1, -6)
    assert path.read_bytes() == data
    write(path, Events([5], [239], [0], [1], (240, 180)))
    assert path.read_bytes().endswith(b"#End Of ASCII Header\r\n" + davis(5, 0, 179, 1))
    write(path, Events([5], [3], [0], [1], (128, 128)), chip="davis128")
    assert path.read_bytes().endswith(davis(5, 124, 127, 1))


@pytest.mark.parametrize(
    ("t", "x", "size", "options", "reason"),
    [
        ([0, 1 << 31], [0, 0], (128, 128), {}, "subtracts the first time"),
        ([-(1 << 31) - 1, 0], [0, 0], (128, 128), {}, "subtracts the first time"),
        ([0, 1], [0, 128], (128, 128), {}, "the transform crop"),
        ([0, 1], [0, 0], (34, 34), {}, "no chip of the size"),
        ([0, 1], [0, 0], (34, 34), {"chip": "davis240"}, "has the size"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(t, x, size, options, reason, tmp_path):
    events = Events(t, x, [0, 0], [0, 1], size)
    with pytest.raises(OptionError, match=reason):
        write(tmp_path / "out.aedat2", events, **options)
    assert not list(tmp_path.iterdir())


def test_the_checksum_covers_header_and_trailing_bytes(file):
    path = file(DVS128, dvs(1) * 100_000, b"abc")
    report = Report()
    read(path, strict=False, report=report)
    assert report.crc32c == google_crc32c.value(path.read_bytes())


@pytest.mark.parametrize(
    "name",
    [
        "aedat1/grasp2007-04-23T10-27-23+0200-0-1.dat",
        "aedat2/davis240_IMU_translBoxes.aedat",
        "aedat2/dvs128_MovingDarkBox.aedat",
        "aedat2/synth_TranslatingBarX.aedat",  # no AEChip, but the addresses of a DAVIS
        "aedat2_set_activity/alex_walking_again.aedat",
        "aedat2_set_activity/rotated_cam255_right_clamp_test1.aedat",
        "aedat2_set_objects/DataSet2__Lapiseira.aedat",  # negative times
        "aedat2_set_objects/DataSet2__Tesoura.aedat",
        "aedat2_set_objects/NODS100__Lapiseira.aedat",
        "aedat2_set_objects/NODS100__Tesoura.aedat",
    ],
)
def test_real_recordings_have_the_true_counts(name, samples, differs):
    events = read(samples / "recordings" / name)
    assert differs(name, events) == {}
    assert events.out_of_bounds == 0


def test_a_real_cochlea_has_no_polarity_so_all_its_events_count_as_off(samples, differs):
    name = "aedat2/cochlea_VowelSounds.aedat"
    report = Report()
    events = read(samples / "recordings" / name, report=report)
    assert differs(name, events) == {"off": (0, 111_318)}
    assert (events.size, events.y.max()) == ((1024, 1), 0)
    assert "look like cochlea" in report.notes[0]


def test_real_words_of_the_imu_and_overflown_addresses_are_counted(samples):
    report = Report()
    read(samples / "recordings/aedat2/davis240_IMU_translBoxes.aedat", report=report)
    assert report.counts == {"imu": 33_837}  # 4,833 samples of 7 words, and 6 of one that is cut
    report = Report()
    path = samples / "recordings/aedat2_set_activity/rotated_cam255_right_clamp_test1.aedat"
    assert not read(path, report=report).p.any()  # its author lost the polarity
    assert report.counts == {"special": 318}  # and some y have run into bit 15


def test_a_real_header_without_events_is_a_recording_without_events(samples):
    facts = info(samples / "recordings/aedat2/tonic_sample_aedat_header.aedat")
    assert (facts["events"], facts["size"], facts["warnings"]) == (0, (346, 260), ["no events"])
    assert facts["header"]["creation time"].endswith("1695355587880")


def test_the_front_of_a_real_dark_object_is_off(samples):
    """The polarity of jAER: pixels that a dark box reaches see it get darker before lighter."""
    path = samples / "recordings/aedat2/dvs128_MovingDarkBox.aedat"
    events = read(path)
    first = np.zeros((128, 128), np.int64) - 1
    order = np.arange(len(events))[::-1]
    first[events.y[order], events.x[order]] = events.p[order]
    assert aedat2.CHIPS["dvs128"].size == events.size
    assert np.count_nonzero(first == 0) > np.count_nonzero(first == 1)


def several_cameras(path, n=5000, cameras=4):
    """A file of several DAVIS346 by the maker of miniatures, and the events of each."""
    events = [sample(f"camera {camera}", (346, 260), n) for camera in range(cameras)]
    aedat2_cameras(path, [(str(camera), each) for camera, each in enumerate(events)])
    return events


@pytest.mark.parametrize("threads", [1, 3])
def test_one_of_several_cameras_is_read(threads, tmp_path, monkeypatch):
    monkeypatch.setattr("eventkit.formats.aedat.aedat2.BLOCK", 1 << 12)
    truth = several_cameras(tmp_path / "a.aedat")
    for camera, events in enumerate(truth):
        report = Report()
        found = read(
            tmp_path / "a.aedat", chip="davis346", recording=camera, threads=threads, report=report
        )
        assert found == events
        assert report.counts == {"special": 1, "of other cameras": 15_000}
    assert len(read(tmp_path / "a.aedat", recording=7)) == 0
    assert len(read(tmp_path / "a.aedat")) == 20_000


def test_a_camera_that_no_address_has_is_one_sentence(tmp_path):
    several_cameras(tmp_path / "a.aedat", 10)
    with pytest.raises(OptionError, match="recording is 16, expected from 0 to 15"):
        read(tmp_path / "a.aedat", recording=16)
    with pytest.raises(OptionError, match="only addresses of a DAVIS"):
        read(tmp_path / "a.aedat", chip="dvs128", recording=1)
