"""HDF5: files made by h5py in the layouts of the data sets, windows, hostile files, real ones."""

import contextlib
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from fuzzing import invented, lost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventkit import Events, FormatError, OptionError
from eventkit.formats import FORMATS, Report, _limits, extra, info, read, stream, write
from eventkit.formats.tables import _ecf, _hdf5_read

N = 5000
RNG = np.random.default_rng(3)
T = np.sort(RNG.integers(0, 90_000, N))
X, Y, P = RNG.integers(0, 300, N), RNG.integers(0, 200, N), RNG.integers(0, 2, N)
OFFSET = 40_000_000_000


def expected(t, size):
    return Events(t, X, Y, P, size)


def same(found, t, size):
    assert found == expected(t, size)
    return True


@pytest.fixture
def new(tmp_path):
    """A function that opens a new HDF5 file; its path is `path`."""
    files = []

    def make(name="file.h5", **options):
        files.append(h5py.File(tmp_path / name, "w", **options))
        return files[-1]

    yield make
    for file in files:
        file.close()


def dsec(file, index=True):
    for name, values, kind in (("t", T, "u4"), ("x", X, "u2"), ("y", Y, "u2"), ("p", P, "u1")):
        options = {"chunks": (700,), "compression": "gzip"}
        file.create_dataset(f"events/{name}", data=values.astype(kind), **options)
    file["t_offset"] = np.int64(OFFSET)
    if index:
        file["ms_to_idx"] = np.searchsorted(T, np.arange(T[-1] // 1000 + 1) * 1000).astype("u8")
    file.flush()
    return file.filename


def test_DSEC_times_begin_at_the_offset(new):
    path = dsec(new())
    assert same(read(path), T + OFFSET, (640, 480))
    assert info(path)["header"]["layout"] == "dsec"
    parts = [part.copy() for part in stream(path, 77)]
    assert same(Events.concat(parts), T + OFFSET, (640, 480))


WINDOWS = [(5000, 5001), (0, 1), (-9, 0), (12_345, 67_890), (None, 777), (89_000, None)]
WINDOWS += [(89_999, 10**9), (10**9, None), (3000, 3000), (None, -5), (1000, 2000)]


@pytest.mark.parametrize(("start", "stop"), WINDOWS)
@pytest.mark.parametrize("index", ["right", "none", "wrong"])
def test_a_window_is_the_same_with_a_right_a_wrong_or_no_index(new, start, stop, index):
    file = new()
    path = dsec(file, index != "none")
    if index == "wrong":
        file["ms_to_idx"][:] = file["ms_to_idx"][:][::-1]
        file.flush()
    start, stop = (None if time is None else time + OFFSET for time in (start, stop))
    whole = expected(T + OFFSET, (640, 480))
    assert read(path, clock=(start, stop)) == whole.between(start, stop)


def test_a_window_of_DSEC_does_not_decode_the_rest(new):
    file = new()
    path = dsec(file)
    file.close()
    with h5py.File(path) as file:
        chunk = file["events/x"].id.get_chunk_info(0)
    with Path(path).open("r+b") as raw:  # the first 700 values can no longer be unpacked
        raw.seek(chunk.byte_offset)
        raw.write(bytes(chunk.size))
    start = int(T[2000]) + OFFSET
    assert read(path, clock=(start, None)) == expected(T + OFFSET, (640, 480)).between(start)
    with pytest.raises(FormatError, match="it is damaged or cut off"):
        read(path)


def test_M3ED_has_two_cameras(new):
    file = new()
    for camera in ("left", "right"):
        shift = 0 if camera == "left" else 7
        for name, values in (("t", T + shift), ("x", X), ("y", Y), ("p", P)):
            file[f"prophesee/{camera}/{name}"] = values
        rows = np.searchsorted(T + shift, np.arange(90) * 1000)
        file[f"prophesee/{camera}/ms_map_idx"] = rows.astype("u8")
    file.flush()
    assert same(read(file.filename), T, (1280, 720))
    assert same(read(file.filename, camera="right"), T + 7, (1280, 720))
    window = read(file.filename, camera="right", clock=(4000, 5500))
    assert window == expected(T + 7, (1280, 720)).between(4000, 5500)


def test_MVSEC_is_a_table_in_seconds(new):
    file = new()
    seconds = 1_500_000_000 + T / 1e6
    file["davis/left/events"] = np.stack([X, Y, seconds, 2.0 * P - 1], axis=1)
    file.flush()
    assert same(read(file.filename), T + 1_500_000_000_000_000, (346, 260))


def metavision(file, **options):
    rows = np.zeros(N, {"names": [*"xypt"], "formats": ["<u2", "<u2", "<i2", "<i8"]})
    for name, values in (("t", T), ("x", X), ("y", Y), ("p", P)):
        rows[name] = values
    place = file.create_dataset("CD/events", data=rows, **options)
    file.attrs["geometry"] = "320x240"
    file.flush()
    return place


def test_plain_Metavision_files_and_their_triggers(new):
    file = new()
    metavision(file, chunks=(512,))
    rows = np.array([(1, 5, 6), (0, 9, 6)], [("p", "<i2"), ("t", "<i8"), ("id", "<i2")])
    file["EXT_TRIGGER/events"] = rows
    file.flush()
    assert same(read(file.filename), T, (320, 240))
    assert extra(file.filename, "triggers").tolist() == [(5, 1, 6), (9, 0, 6)]


def packed(t, x, y, p):
    """An ECF chunk with x, y and p packed, and a run for each time."""
    out = bytearray(np.uint32(len(t) << 2 | 2).tobytes() + np.int64(t[0]).tobytes())
    last = int(t[0])
    for now in t.tolist():
        step, last = now - last, now
        while step >= 15:  # four bits at a time; what is left after them is 0
            out.append(0xF0 | step & 15)
            step >>= 4
            if step < 15:
                out.append(0xF0 | step)
                step = 0
        out.append(step << 4 | 1)
    words = (y << 12 | x << 1 | p).astype("u4")
    words = np.pad(words, (0, -len(words) % 4))
    for a, b, c, d in words.reshape(-1, 4).tolist():
        three = (a << 8 | b & 255, b >> 8 << 16 | c & 65535, c >> 16 << 24 | d)
        out += np.array(three, "<u4").tobytes()
    return bytes(out)


def runs(t, x, y, p):
    """An ECF chunk with runs of y and p, and a mask for each x."""
    out = bytearray(np.uint32(len(t) << 2).tobytes())
    out += packed(t, x, y, p)[4:]
    out = out[: len(packed(t, x, y, p)) - 12 * (-(-len(t) // 4))]
    out += b"".join(np.uint16(row << 5 | 1).tobytes() for row in y.tolist())
    out += b"".join(np.uint16(column << 5).tobytes() for column in x.tolist())
    for polarity in p.tolist():  # a count of 127 is followed by the true one
        out += bytes([polarity << 7 | 127, 1, 0])
    return bytes(out)


@pytest.mark.parametrize("encode", [packed, runs])
def test_ECF_is_decoded_without_the_plug_in(new, encode):
    file = new()
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((2048,))
    plan.set_filter(_ecf.FILTER, h5py.h5z.FLAG_OPTIONAL, ())
    kind = np.dtype({"names": [*"xypt"], "formats": ["<u2", "<u2", "<i2", "<i8"]})
    space = h5py.h5s.create_simple((N,))
    group = file.create_group("CD")
    place = h5py.h5d.create(group.id, b"events", h5py.h5t.py_create(kind), space, plan)
    for i in range(0, N, 2048):
        part = slice(i, i + 2048)
        place.write_direct_chunk((i,), encode(T[part], X[part], Y[part], P[part]))
    file.attrs["geometry"] = "320x240"
    file.flush()
    assert same(read(file.filename), T, (320, 240))
    assert Events.concat([e.copy() for e in stream(file.filename, 99)]) == read(file.filename)


def test_damaged_ECF_is_found_and_never_read_beyond():
    rng = np.random.default_rng(0)
    part = slice(0, 300)
    for encode in (packed, runs):
        whole = np.frombuffer(encode(T[part], X[part], Y[part], P[part]), np.uint8)
        for i in range(2000):
            data = whole[: rng.integers(0, len(whole))] if i % 2 else whole.copy()
            if not i % 2:
                data[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
            n = _ecf.length(data)
            if n < 0:
                continue
            guard = [np.full(n + 8, 77, kind) for kind in ("i8", "u2", "u2", "u1")]
            wrong = _ecf.decode(data, *(column[:n] for column in guard))
            assert 0 <= wrong <= len(data)
            assert all((column[n:] == 77).all() for column in guard)
            if i % 2 and n:
                assert wrong


def test_SHD_has_many_recordings_of_channels(new):
    file = new()
    times, units = ([0.0, 0.25, 0.5], [0.125]), ([699, 0, 3], [12])
    for name, values, kind in (("times", times, "f2"), ("units", units, "u2")):
        place = file.create_dataset(f"spikes/{name}", (2,), h5py.vlen_dtype(np.dtype(kind)))
        for i, row in enumerate(values):
            place[i] = np.array(row, kind)
    file["labels"] = np.array([4, 17])
    file.flush()
    path = file.filename
    first = read(path, recording=0)
    assert first == Events([0, 250_000, 500_000], [699, 0, 3], [0, 0, 0], [1, 1, 1], (700, 1))
    assert read(path, recording=1).t.tolist() == [125_000]
    with pytest.raises(OptionError, match="holds 2 recordings: recording=0 to 1 chooses one"):
        read(path)
    with pytest.raises(OptionError, match=r"recording is 2, but .* has 0 to 1"):
        read(path, recording=2)
    assert extra(path, "labels").tolist() == [4, 17]
    assert FORMATS["hdf5"].header(path)["recordings"] == 2


def test_other_columns_are_found_wherever_they_are(new):
    file = new("event_utils.h5")
    for name, values in (("ts", T / 1e6), ("xs", X), ("ys", Y), ("ps", P > 0)):
        file[f"deep/down/{name}"] = values
    file.attrs["sensor_resolution"] = (200, 300)  # height, width
    file.flush()
    assert same(read(file.filename), T, (300, 200))
    for name in "txyp":
        file[f"second/{name}"] = np.zeros(3, "i4")
    file.flush()
    with pytest.raises(FormatError, match="may be in /deep/down, /second; group= says where"):
        read(file.filename)
    assert same(read(file.filename, group="deep/down"), T, (300, 200))
    with pytest.raises(OptionError, match="no group or dataset 'third'; it holds deep"):
        read(file.filename, group="third")


def test_what_is_elsewhere_or_not_there_is_refused(new, tmp_path):
    other = new("other.h5")
    path = dsec(other)
    other.close()
    linked = new("linked.h5")
    linked["events"] = h5py.ExternalLink(path, "/events")
    linked.flush()
    with pytest.raises(FormatError, match="is a link to another file"):
        read(linked.filename)
    empty = new("empty.h5")
    for name in "txyp":
        empty.create_dataset(f"events/{name}", (1 << 45,), "u2", chunks=(1024,))
    empty.flush()
    with pytest.raises(FormatError, match="values, of which at most 0 are in the file"):
        read(empty.filename)
    huge = new("huge.h5")
    for name in "txyp":
        huge.create_dataset(f"events/{name}", (1 << 45,), "u2", chunks=(1 << 30,))
    huge.flush()
    with pytest.raises(FormatError, match="too large to be true"):
        read(huge.filename)
    nothing = new("nothing.h5")
    nothing["words"] = "no events"
    nothing.flush()
    with pytest.raises(FormatError, match="no known layout of events; it holds words"):
        read(nothing.filename)
    uneven = new("uneven.h5")
    for name, n in (("t", 3), ("x", 4), ("y", 3), ("p", 3)):
        uneven[f"events/{name}"] = np.zeros(n, "u2")
    uneven.flush()
    with pytest.raises(FormatError, match="the columns have different lengths"):
        read(uneven.filename)


def test_the_writer_follows_the_layouts(tmp_path):
    events = expected(T + 1234, (640, 480))
    write(tmp_path / "dsec.h5", events)
    with h5py.File(tmp_path / "dsec.h5") as file:
        t, rows = file["events/t"][:].astype(np.int64), file["ms_to_idx"][:].astype(np.int64)
        first = int(file["t_offset"][()])
        assert {n: file[f"events/{n}"].dtype.str for n in "txyp"} == {
            "t": "<u4", "x": "<u2", "y": "<u2", "p": "|u1"}  # fmt: skip
    assert np.array_equal(t + first, events.t)
    assert np.array_equal(rows, np.searchsorted(t, np.arange(len(rows)) * 1000))
    write(tmp_path / "meta.hdf5", events, layout="metavision", compression="none")
    with h5py.File(tmp_path / "meta.hdf5") as file:
        assert file.attrs["geometry"] == "640x480"
        assert np.array_equal(file["CD/events"]["t"], events.t)
    assert read(tmp_path / "meta.hdf5") == events
    with pytest.raises(OptionError, match="no times that go back: read with sort=True"):
        write(tmp_path / "x.h5", events[::-1])
    with pytest.raises(OptionError, match=r"less than 2\^32 µs: layout=metavision has more"):
        write(tmp_path / "x.h5", Events([0, 1 << 32], [1, 1], [1, 1], [0, 0], (9, 9)))
    unsorted = events[::-1].copy()
    write(tmp_path / "x.h5", unsorted, layout="metavision")
    assert read(tmp_path / "x.h5") == unsorted


def sources(folder):
    write(folder / "source1.h5", expected(T, (640, 480))[:300])
    write(folder / "source2.h5", expected(T, (640, 480))[:300], layout="metavision")
    with h5py.File(folder / "source3.h5", "w") as file:
        file["davis/left/events"] = np.stack([X, Y, T / 1e6, P], axis=1)[:100]


def test_some_damaged_files_are_refused_in_a_process_of_their_own(tmp_path):
    sources(tmp_path)
    assert not lost(tmp_path, range(60), "hdf5")


@pytest.mark.attack
@pytest.mark.slow
def test_many_damaged_files_are_refused_in_a_process_of_their_own(tmp_path):
    sources(tmp_path)
    seeds = range(60, 6000)
    assert len(lost(tmp_path, seeds, "hdf5")) < len(seeds) // 200  # the HDF5 library hangs


def test_real_ECF_of_all_three_kinds_of_chunks(samples):
    path = samples / "recordings" / "derived" / "prophesee_ecf.hdf5"
    with np.load(path.with_name("prophesee_ecf_truth.npz")) as truth:
        found = read(path)
        for column in "txyp":
            assert np.array_equal(getattr(found, column), truth[column])
        window = read(path, clock=(1_318_000, 1_320_500))
        assert window == found.between(1_318_000, 1_320_500)
    assert found.size == (640, 480)


def test_real_events_in_the_layout_of_DSEC(samples):
    path = samples / "recordings" / "derived" / "dsec_layout_events.h5"
    found = read(path)
    with np.load(path.with_name("dsec_layout_truth.npz")) as truth:
        for column in "txyp":
            assert np.array_equal(getattr(found, column), truth[column])
    for start, stop in ((913_716_224, 913_717_000), (913_750_000, 913_760_001)):
        assert read(path, clock=(start, stop)) == found.between(start, stop)


def test_a_real_slice_of_MVSEC(samples):
    path = samples / "recordings" / "hdf5" / "mvsec_slice_000000.hdf5"
    report = Report()
    found = read(path, report=report, size="346x260")
    with h5py.File(path) as file:
        x, y, t, p = file["events"][:].T
    assert np.array_equal(found.t, np.rint(t * 1e6).astype(np.int64))
    assert (found.x == x).all()
    assert (found.y == y).all()
    assert ((found.p == 1) == (p > 0)).all()
    assert found.size == (346, 260)


@given(
    steps=st.lists(st.sampled_from([0, 0, 1, 14, 15, 16, 255, 1999, 2000, 1 << 20]), min_size=1),
    repeat=st.sampled_from([1, 3, 40, 200]),
    seed=st.integers(0, 99),
    wide=st.booleans(),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_written_as_ECF_is_read_with_and_without_its_index(
    steps, repeat, seed, wide, tmp_path
):
    rng = np.random.default_rng(seed)
    t = np.repeat(np.cumsum(steps), repeat)
    n = len(t)
    x, y, p = np.arange(n) % 640, np.arange(n) // 50, np.arange(n) // 150 % 2
    if wide:
        (x, y), p = rng.integers(0, 2048, (2, n)), rng.integers(0, 2, n)
    events = Events(t, x, y, p, (2048, 2048))
    path = tmp_path / "a.hdf5"
    write(path, events, compression="ecf")
    assert read(path) == events
    middle = int(t[n // 2])
    assert read(path, clock=(middle, None)) == events.between(middle, None)
    assert read(path, clock=(None, middle)) == events.between(None, middle)


def test_ECF_is_written_as_in_a_case_made_by_hand(tmp_path):
    """Two times, of which the second is 300 µs later; a row of three pixels, then one more."""
    path = tmp_path / "a.hdf5"
    write(
        path,
        Events([7, 7, 7, 307], [5, 6, 9, 1], [2, 2, 2, 2], [1, 1, 1, 1], (9, 9)),
        compression="ecf",
    )
    head = bytes([4 << 2, 0, 0, 0]) + bytes([7, *bytes(7)])
    times = bytes([0x03, 0xFC, 0xF2, 0xF1, 0x01])  # three; then 300 = 0x12C, lowest first; one
    rows = bytes([2 << 5 | 4, 0])
    columns = bytes([5 << 5 & 255 | 0b10010, 0, 1 << 5, 0])  # 5, and 6 and 9 of the five behind it
    with h5py.File(path) as file:
        place = file["CD/events"]
        assert place.id.read_direct_chunk((0,)) == (
            0,
            head + times + rows + columns + bytes([128 | 4]),
        )
        assert place.id.get_create_plist().get_filter(0)[0] == 0x8ECF
        assert file["CD/indexes"][:].tolist() == [(0, -1), (0, 0)]
        assert file["CD/indexes"].attrs["offset"] == "-7"
        assert dict(file.attrs) == {"version": "1.0", "format": "ECF", "geometry": "9x9"}


def test_real_ECF_is_written_no_longer_than_it_was(samples, tmp_path):
    path = samples / "recordings" / "derived" / "prophesee_ecf.hdf5"
    write(tmp_path / "a.hdf5", stream(path, 5000), compression="ecf")
    assert (tmp_path / "a.hdf5").stat().st_size <= path.stat().st_size
    assert read(tmp_path / "a.hdf5") == read(path)
    with h5py.File(path) as file, h5py.File(tmp_path / "a.hdf5") as ours:
        assert (ours["CD/indexes"][:] == file["CD/indexes"][:]).all()


@pytest.mark.parametrize(
    ("events", "options", "reason"),
    [
        (([2, 1], [0, 0], [0, 0], [0, 0], (9, 9)), {}, "times that go back: read with sort=True"),
        (([0, 1 << 36], [0, 0], [0, 0], [0, 0], (9, 9)), {}, r"span less than 2\^36 µs"),
        (([0], [2048], [0], [0], (4096, 9)), {}, "coordinates below 2,048, found x 2048, y 0"),
        (([0], [0], [0], [0], (9, 9)), {"layout": "dsec"}, "goes with layout=metavision"),
    ],
)
def test_what_ECF_cannot_hold_is_refused(events, options, reason, tmp_path):
    with pytest.raises(OptionError, match=reason):
        write(tmp_path / "a.hdf5", Events(*events), compression="ecf", **options)
    assert not list(tmp_path.iterdir())


def test_numbers_beside_the_columns_are_the_size(new):
    file = new()
    path = dsec(file)
    file["events/height"], file["events/width"] = np.int64(720), np.uint32(1280)
    file.flush()
    assert read(path).size == (1280, 720)
    other = new("other.h5")
    for name, values in (("t", T), ("x", X), ("y", Y), ("p", P)):
        other[f"events/{name}"] = values
    other["events/height"], other["events/width"] = np.array([720]), np.array([1280.0])
    other.flush()
    assert read(other.filename).size == (1280, 720)
    del other["events/width"]
    other["events/width"] = -1
    other.flush()
    with pytest.raises(FormatError, match="the file says that the size is '-1x720'"):
        read(other.filename)


@pytest.mark.parametrize("axis", [0, 1])
def test_columns_of_MATLAB_7_3_have_two_axes(new, axis):
    file = new("file.mat", userblock_size=512)
    for name, values in (("ts", T), ("x", X + 0.0), ("y", Y + 0.0), ("p", P + 1.0)):
        file[f"TD/{name}"] = np.expand_dims(values, axis)
    file.flush()
    path = file.filename
    assert same(read(path, size="300x200"), T, (300, 200))
    parts = [part.copy() for part in stream(path, 77, size="300x200", clock=(9000, None))]
    assert Events.concat(parts) == expected(T, (300, 200)).between(9000)


def test_an_empty_array_of_MATLAB_holds_its_axes(new):
    file = new()
    for name in ("ts", "x", "y", "p"):
        file[f"TD/{name}"] = np.zeros(2, "u8")
        file[f"TD/{name}"].attrs["MATLAB_empty"] = np.uint8(1)
    file.flush()
    assert len(read(file.filename, size="9x9")) == 0


@pytest.mark.parametrize("turned", [False, True])
def test_tables_anywhere_are_found_and_several_are_named(new, turned):
    file = new()
    table = np.stack([X, Y, 2 * P - 1, T], axis=1).astype("f8")
    table = table.T if turned else table
    file["left"] = table
    file.flush()
    assert same(read(file.filename, size="300x200"), T, (300, 200))
    file["deep/right"] = table[:99]
    file.flush()
    with pytest.raises(FormatError, match="events may be in /deep/right, /left; group= says where"):
        read(file.filename)
    assert same(read(file.filename, size="300x200", group="left"), T, (300, 200))


@pytest.mark.parametrize("kind", ["external", "soft", "virtual", "around"])
def test_links_to_a_pipe_are_refused_and_never_opened(new, tmp_path, kind):
    os.mkfifo(tmp_path / "pipe")  # opening it would block
    pipe = str(tmp_path / "pipe")
    file = new(libver="latest")
    if kind == "external":
        file["events"] = h5py.ExternalLink(pipe, "/events")
    elif kind == "soft":
        file["elsewhere"] = h5py.ExternalLink(pipe, "/events")
        file["events"] = h5py.SoftLink("/elsewhere/here")
    elif kind == "around":
        file["events"], file["back"] = h5py.SoftLink("/back"), h5py.SoftLink("events")
    else:
        for name in "txyp":
            layout = h5py.VirtualLayout((10,), "i8", maxshape=(None,))
            source = h5py.VirtualSource(pipe, name, (10,), maxshape=(None,))
            layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
            file.create_virtual_dataset(f"events/{name}", layout)
    path = file.filename
    file.close()
    with pytest.raises(FormatError, match=r"to another file|refers to other files|without end"):
        read(path)
    for about in (FORMATS["hdf5"].header, FORMATS["hdf5"].bound):
        with contextlib.suppress(FormatError):
            about(Path(path))


def test_soft_links_within_the_file_are_followed(new):
    file = new()
    path = dsec(file)
    file.move("events", "deep/er")
    file["deep/link"] = h5py.SoftLink("er")
    file["events"] = h5py.SoftLink("/deep/link")
    file.flush()
    assert same(read(path), T + OFFSET, (640, 480))


def test_a_small_file_that_unpacks_to_much_is_read_on_request_only(new, monkeypatch):
    monkeypatch.setattr(_limits, "ALWAYS", 100_000)
    file = new()
    n = 3_000_000
    for name in "txyp":
        options = {"chunks": (n // 2,), "compression": "gzip"}
        file.create_dataset(f"events/{name}", data=np.zeros(n, "u1"), **options)
    file.flush()
    path = file.filename
    message = r"/events/., in 2 chunks, would unpack to 3,000,000 bytes.*expansion=\d+ reads it"
    with pytest.raises(FormatError, match=message):
        read(path)
    assert len(read(path, size="9x9", expansion=10_000)) == n
    many = new("many.h5", libver="latest")
    for name in "txyp":
        many.create_dataset(f"events/{name}", data=np.zeros(3000, "u1"), chunks=(1,))
    many.flush()
    with pytest.raises(FormatError, match="in 3,000 chunks, would unpack to 12,288,000 bytes"):
        read(many.filename)


def test_no_more_than_some_chunks_are_read_at_once(new, monkeypatch):
    file = new()
    for name, values in (("t", T), ("x", X), ("y", Y), ("p", P)):
        file.create_dataset(f"events/{name}", data=values, chunks=(2,))
    file.flush()
    longest = 0
    read_part = _hdf5_read._Column.read

    def spy(column, part):
        nonlocal longest
        longest = max(longest, part[1] - part[0])
        return read_part(column, part)

    monkeypatch.setattr(_hdf5_read._Column, "read", spy)
    assert same(read(file.filename, size="300x200"), T, (300, 200))
    assert longest == 2 * _hdf5_read.CHUNKS_READ


def test_long_names_do_not_make_a_long_message(new):
    file = new()
    for i in range(50):
        file.create_group(f"{i}{'n' * 5000}")
    file.flush()
    with pytest.raises(FormatError, match="no known layout of events") as caught:
        read(file.filename)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("step", [101, pytest.param(1, marks=pytest.mark.slow)])
def test_flipped_bits_of_a_file_with_checksums_give_no_other_events(new, step):
    file = new(libver="latest")  # with checksums in all that describes the data
    options = {"chunks": (20,), "fletcher32": True}
    columns = (("t", T, "u4"), ("x", X, "u2"), ("y", Y, "u2"), ("p", P, "u1"))
    for name, values, kind in columns:
        file.create_dataset(f"events/{name}", data=values[:40].astype(kind), **options)
    file["events"].attrs["width"], file["events"].attrs["height"] = 320, 240
    path = Path(file.filename)
    file.close()
    assert invented(path, step, "hdf5") == ""


def test_the_size_of_a_window_is_that_of_the_file(new):
    file = new()
    rows = np.zeros(N, [("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")])
    rows["t"], rows["x"], rows["y"], rows["p"] = T, X, Y, P
    file["CD/events"] = rows
    edges = np.searchsorted(T, np.arange(0, T[-1] + 2000, 2000))
    file["CD/indexes"] = np.array([(0, -1), *((e, 0) for e in edges)], [("id", "u8"), ("ts", "i8")])
    file.flush()
    whole = read(file.filename)
    window = read(file.filename, clock=(30_000, 30_100))
    assert 0 < len(window) < 50
    assert window == whole.between(30_000, 30_100)
    assert (window.size, whole.size) == ((300, 200), (300, 200))


@pytest.mark.parametrize("layout", ["dsec", "metavision"])
def test_known_layouts_may_hold_signed_polarities(new, layout):
    file = new()
    p = np.where(np.arange(N) % 5 == 0, 0, 2 * P - 1)
    if layout == "dsec":
        dsec(file)
        del file["events/p"]
        file["events/p"] = p.astype("i1")
    else:
        rows = np.zeros(N, [("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")])
        rows["t"], rows["x"], rows["y"], rows["p"] = T, X, Y, p
        file["CD/events"] = rows
    file.flush()
    report = Report()
    found = read(file.filename, size="640x480", report=report)
    assert report.counts == {"invalid": N // 5}
    assert np.array_equal(found.p, P[p != 0])
    start = int(found.t[100])
    assert read(file.filename, size="640x480", clock=(start, None)) == found.between(start)


@pytest.mark.parametrize("layout", ["dsec", "metavision"])
def test_the_default_compression_gives_the_same_bytes_each_time(layout, tmp_path):
    """LZF did not, about once in ten thousand files: HDF5 never clears its table of matches."""
    path = tmp_path / "a.h5"
    write(path, Events([1], [2], [3], [1], (346, 260)), layout=layout)
    with h5py.File(path) as file:
        columns = file["events"] if layout == "dsec" else file["CD"]
        filters = {column.compression for column in columns.values()}
    assert filters == {"gzip"}


def test_a_window_without_an_index_reads_only_the_parts_that_hold_it(tmp_path, monkeypatch):
    """Times may go back: an event is in the window of its own time, wherever in the file it is."""
    rows = _hdf5_read.ROWS
    n = 4 * rows + 17
    rng = np.random.default_rng(0)
    t = np.arange(n) * 3
    late = rng.integers(rows, n, 40)
    t[late] -= 2 * rows
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as out:
        for name, values in (("t", t), ("x", t % 9), ("y", t % 7), ("p", t % 2)):
            out[f"events/{name}"] = values.astype("i8" if name == "t" else "u2")
    taken = []
    block_of = _hdf5_read.block_of
    monkeypatch.setattr(_hdf5_read, "block_of", lambda c: taken.append(len(c["t"])) or block_of(c))
    for low, high in (
        (0, 10),
        (3 * rows, 3 * rows + 99),
        (6 * rows - 50, 6 * rows + 50),
        (n, 4 * n),
    ):
        found = read(path, clock=(low, high), size=(9, 7))
        np.testing.assert_array_equal(found.t, t[(t >= low) & (t < high)])
    taken.clear()
    read(path, clock=(30, 60), size=(9, 7))
    assert sum(taken) <= 3 * rows  # the first look at the polarity, and what may hold the window
    assert len(read(path, clock=(9 * n, 9 * n + 5), size=(9, 7))) == 0
    with h5py.File(path, "r+") as out:  # what is remembered of a file is of that version of it
        out["events/t"][...] = t + 1_000
    os.utime(path, ns=(1, 1))
    assert len(read(path, clock=(0, 900), size=(9, 7))) == 0
