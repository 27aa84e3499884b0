"""Windows choose the samples of a conversion: which events each has, and what the store says."""

import json

import numpy as np
import pytest
from making import make_events, tree_hash

import eventkit as ek
from eventkit import EventkitError, Events, FormatError, OptionError
from eventkit.boxes import BOX, write_boxes
from eventkit.conversion import convert, finalize, sampling, times
from eventkit.conversion.repair import repair


def recordings(root, *, count=2, n=400, step=100, offset=5_000):
    """Class folders with recordings whose clock does not begin at 0."""
    found = {}
    for number in range(count):
        events = make_events(n, seed=number, step=step)
        events = Events(events.t + offset, events.x, events.y, events.p, events.size)
        path = root / f"all/one/{number}_td.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        ek.write(path, events)
        found[f"all/one/{number}_td.dat"] = events
    return found


def to(out, root, **options):
    convert(root, out=out, workers=2, **{"represent": "events", **options})
    return ek.open(out)


def check(store, found):
    """Every sample holds the events of its recording in its window, no more and no less."""
    names = [source.decode() for source in bytes(store.small("sources/names")).split(b"\n")]
    for split in store.values():
        for i in range(len(split)):
            start, stop = (int(split.column(f"window_{end}")[i]) for end in ("start", "stop"))
            events = found[names[split.column("source")[i]]]
            assert split.events(i) == events[(events.t >= start) & (events.t < stop)]


@pytest.mark.parametrize("options", [{"every": "2ms"}, {"sliding": "2ms/500us"}])
def test_windows_follow_each_other_from_the_first_event(options, tmp_path):
    found = recordings(tmp_path / "raw")
    store = to(tmp_path / "s.zarr", tmp_path / "raw", **options)
    check(store, found)
    split = store["all"]
    length, stride = 2000, 2000 if "every" in options else 500
    expected = []
    for events in found.values():
        expected += ek.windows(events, **options).starts.tolist()
    assert split.column("window_start")[:].tolist() == expected
    assert set(np.unique(split.column("window_stop")[:] - split.column("window_start")[:])) == {
        length
    }
    if stride == length:
        assert int(split.column("n_events")[:].sum()) == sum(map(len, found.values()))


@pytest.mark.parametrize("side", ["before", "after", "centre", "between", "front", "back"])
def test_windows_at_times_of_a_file_are_those_of_ek_windows(side, tmp_path):
    found = recordings(tmp_path / "raw", count=1)
    at = [6_000, 9_000, 12_500]
    (tmp_path / "raw/times.csv").write_text("name,t_ms\n" + "".join(f"a,{t / 1000}\n" for t in at))
    length = {} if side in ("between", "front", "back") else {"duration": 1500}
    expected = ek.windows(next(iter(found.values())), at=at, side=side, **length)
    window = {} if not length else {"window": "1500us"}
    store = to(tmp_path / "s.zarr", tmp_path / "raw", at="times.csv", side=side, **window)
    check(store, found)
    split = store["all"]
    assert split.column("window_start")[:].tolist() == expected.starts.tolist()
    assert split.column("window_stop")[:].tolist() == expected.stops.tolist()
    rows = {"front": [1, 2], "back": [1, 2], "between": [0, 1]}.get(side, [0, 1, 2])
    assert split.column("label_row")[:].tolist() == rows


def test_boxes_beside_a_recording_are_its_labels(tmp_path):
    """Equal times in successive rows are one window: an image has several boxes."""
    found = {}
    (tmp_path / "train").mkdir()
    for number in range(2):
        found[f"train/{number}_td.dat"] = make_events(400, (304, 240), number, 100)
        ek.write(tmp_path / f"train/{number}_td.dat", found[f"train/{number}_td.dat"])
        boxes = np.zeros(4, BOX)
        boxes["t"] = [6_000, 6_000, 8_000 + number, 9_000]
        write_boxes(tmp_path / f"train/{number}_bbox.npy", boxes)
    out = tmp_path / "s.zarr"
    convert("gen1", root=tmp_path, out=out, represent="events", at="labels", window="1ms")
    store = ek.open(out)
    check(store, found)
    split = store["train"]
    assert split.column("window_stop")[:].tolist() == [6_000, 8_000, 9_000, 6_000, 8_001, 9_000]
    assert split.column("label_row")[:].tolist() == [0, 2, 3] * 2
    assert split.column("label_count")[:].tolist() == [2, 1, 1] * 2
    assert store.attributes["plan"]["windows"] == {"at": "labels", "window": 1000, "side": "before"}


def test_a_label_table_of_the_layout_gives_label_times(gestures, tmp_path):
    plain = tmp_path / "plain.zarr"
    convert("dvsgesture", root=gestures, out=plain, represent="events")
    out = tmp_path / "s.zarr"
    convert(
        "dvsgesture",
        root=gestures,
        out=out,
        represent="events",
        at="labels",
        window="2ms",
        side="after",
    )
    whole, cut = ek.open(plain)["train"], ek.open(out)["train"]
    assert cut.labels.tolist() == whole.labels.tolist()
    assert (cut.column("window_start")[:] == whole.column("window_start")[:]).all()
    assert cut.column("label_row")[:].tolist() == [0, 1, 2] * (len(cut) // 3)
    for i in range(len(cut)):
        events = whole.events(i)
        assert cut.events(i) == events[events.t < int(cut.column("window_stop")[i])]


def test_windows_of_a_part_of_a_recording_end_with_it(gestures, tmp_path):
    """Otherwise they would hold events of the next label."""
    out = tmp_path / "s.zarr"
    convert("dvsgesture", root=gestures, out=out, represent="frames:n=2", every="4ms")
    split = ek.open(out)["train"]
    stops = split.column("window_stop")[:]
    ends = (split.labels + 1) * 15_000  # of the labels' windows in make_gestures
    assert (stops <= ends).all()
    assert set(np.unique(stops - split.column("window_start")[:])) == {3000, 4000}


def test_a_time_in_no_sample_has_no_window_and_is_counted(gestures, tmp_path):
    (tmp_path / "at.txt").write_text("100\n20000\n99999999\n")
    out = tmp_path / "s.zarr"
    convert(
        "dvsgesture",
        root=gestures,
        out=out,
        represent="events",
        at=tmp_path / "at.txt",
        window="50us",
        side="after",
    )
    store = ek.open(out)
    assert store["train"].labels[:2].tolist() == [0, 1]
    assert any(
        "times in no sample of their recording, so without a window: 4" in told
        for told in store.attributes["warnings"]
    )
    assert str(tmp_path) not in json.dumps(store.attributes)


def test_odd_windows_are_reported_in_few_sentences(tmp_path):
    found = recordings(tmp_path / "raw", count=1)
    last = int(next(iter(found.values())).t[-1])
    at = [0, 100, 6_000, 6_100, *range(last + 5_000, last + 505_000, 5_000)]
    np.save(tmp_path / "raw/at.npy", np.array(at))
    store = to(tmp_path / "s.zarr", tmp_path / "raw", at="at.npy", window="1ms")
    told = "\n".join(store.attributes["warnings"])
    first = int(next(iter(found.values())).t[0])
    assert "windows that overlap the one before: 2, first in all/one/0_td.dat" in told
    assert f"windows outside the recording, which is {first}..{last} µs: 102" in told
    assert "all: 102 samples have no events" in told
    assert len(store.attributes["warnings"]) < 8


@pytest.mark.parametrize(("engine", "workers"), [("threads", 1), ("threads", 4), ("processes", 2)])
def test_engine_and_workers_do_not_change_a_byte(engine, workers, tmp_path):
    recordings(tmp_path / "raw", count=3)
    options = {"represent": "frames:n=2", "sliding": "2ms/1ms"}
    convert(tmp_path / "raw", out=tmp_path / "a.zarr", workers=3, **options)
    convert(tmp_path / "raw", out=tmp_path / "b.zarr", workers=workers, engine=engine, **options)
    assert tree_hash(tmp_path / "a.zarr") == tree_hash(tmp_path / "b.zarr")


def test_jobs_of_an_array_give_the_same_store_and_a_repair_too(tmp_path, monkeypatch):
    recordings(tmp_path / "raw", count=2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw/at.txt").write_text("\n".join(map(str, range(6_000, 16_000, 100))))
    options = {"represent": "frames:n=2", "at": "at.txt", "window": "1ms", "side": "centre"}
    convert(tmp_path / "raw", out=tmp_path / "a.zarr", **options)
    for shard in ("1/2", "0/2"):
        convert(tmp_path / "raw", out=tmp_path / "b.zarr", shard=shard, **options)
    finalize(tmp_path / "b.zarr")
    expected = tree_hash(tmp_path / "a.zarr")
    assert tree_hash(tmp_path / "b.zarr") == expected
    shard = next((tmp_path / "b.zarr/all/frames").glob("c.*"))
    shard.unlink()
    (tmp_path / "b.zarr/all/label_row/c.0").unlink()
    repair(tmp_path / "b.zarr", root=tmp_path / "raw")
    assert tree_hash(tmp_path / "b.zarr") == expected


def test_another_choice_of_windows_is_another_plan(tmp_path):
    recordings(tmp_path / "raw", count=1)
    to(tmp_path / "s.zarr", tmp_path / "raw", every="2ms")
    with pytest.raises(ek.StoreError, match="windows"):
        to(tmp_path / "s.zarr", tmp_path / "raw", every="3ms")


def test_ten_thousand_windows_are_planned_at_once(tmp_path):
    """No recording is opened for windows at times, whatever their number."""
    recordings(tmp_path / "raw", count=1)
    np.save(tmp_path / "raw/at.npy", np.arange(10_000) * 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(times, "span", lambda *_: pytest.fail("the recording was read"))
        from eventkit.conversion import prepare

        windows = {"at": "at.npy", "window": 10}
        made = prepare(tmp_path / "raw", root=tmp_path / "raw", represent="events", windows=windows)
    assert sum(grid.samples for grid in made.grids.values()) == 10_000


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "5\n7\n", [5, 7]),
        ("a.txt", "# timestamps [us]\n5\n7\n", [5, 7]),
        ("a.txt", "# exposure_start_timestamp_us, exposure_end_timestamp_us\n5, 6\n7, 8\n", [5, 7]),
        ("a.csv", "x;time [ms]\n1;0.5\n2;2\n", [500, 2000]),
        ("a.csv", "t_ns,x\n1500,1\n2400,1\n", [2, 2]),
        ("a.csv", "x,timestamp_s\n1,1e-3\n", [1000]),
        ("a.txt", "x  time [ms]\n1 2\n", [2000]),
        ("a.csv", "weight,event\n3,1\n", [3]),
        ("a.txt", "1700000000.000001\n", [1_700_000_000]),
    ],
)
def test_times_of_a_text_file(name, text, expected, tmp_path):
    (tmp_path / name).write_text(text)
    assert times.of_file(tmp_path / name).tolist() == expected


def test_times_of_arrays_and_a_stated_unit(tmp_path):
    path = tmp_path / "a.npy"
    for array, unit, expected in [
        (np.array([1, 2], np.uint64), None, [1, 2]),
        (np.array([0.5, 2.25]), "s", [500_000, 2_250_000]),
        (np.array([1499, 1500, -1500]), "ns", [1, 2, -1]),
        (np.array([(1, 9), (2, 8)], [("x", "f4"), ("ts", "u8")]), None, [9, 8]),
        (np.array([[4, 1], [5, 2]]), "ms", [4000, 5000]),
    ]:
        np.save(path, array)
        assert times.of_file(path, unit).tolist() == expected
    text = tmp_path / "a.txt"
    text.write_text("1700000000.000001\n")
    assert times.of_file(text, "s").tolist() == [1_700_000_000_000_001]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([np.nan]), "not all numbers"),
        (np.array([2**62]), "73,000 years"),
        (np.array(["a"]), "expected a list of times"),
        (np.zeros((2, 2, 2)), "expected a list of times"),
        (np.array([{}], object), "not a .npy file of times"),
    ],
)
def test_arrays_that_are_no_times(array, message, tmp_path):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(FormatError, match=message):
        times.of_file(tmp_path / "a.npy")


def test_text_that_is_no_times(tmp_path):
    (tmp_path / "a.csv").write_text("t,x\n1,2\nsoon,2\n")
    with pytest.raises(FormatError, match="line 3 is soon,2, expected a time in column 1"):
        times.of_file(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": "labels"}, "side=before needs window"),
        ({"at": "labels", "window": "1ms", "side": "between"}, "side=between takes no window"),
        ({"at": "labels", "every": "1ms"}, "exclude each other"),
        ({"window": "1ms"}, "window belong to at"),
        ({"at": "labels", "window": "1ms", "side": "left"}, "side is 'left'"),
        ({"at": "labels", "window": "1ms", "at_unit": "ms"}, "for a file of times"),
        ({"at": "nowhere.txt", "window": "1ms"}, "there is no nowhere.txt"),
        ({"at": "labels", "window": "1ms"}, "no label times beside it; expected .*0_bbox.npy"),
        ({"at": "frames", "window": "1ms"}, "no image times in it or beside it"),
        ({"every": "0us"}, "expected at least 1 µs"),
        ({"sliding": "1ms/2ms"}, "would leave out events"),
    ],
)
def test_what_cannot_be_cut_is_said(options, message, tmp_path):
    recordings(tmp_path / "raw", count=1)
    with pytest.raises(OptionError, match=message):
        to(tmp_path / "s.zarr", tmp_path / "raw", **options)


def test_real_images_of_aedat4_give_a_window_each(samples, tmp_path):
    source = samples / "recordings/aedat4/dvproc_test-frame.aedat4"
    if not source.exists() or not len(ek.extra(source, "frames")):
        source = samples / "recordings/aedat4/dvproc_io_sample_data.aedat4"
    (tmp_path / "raw/all/one").mkdir(parents=True)
    (tmp_path / "raw/all/one/a.aedat4").symlink_to(source)
    images = np.unique(ek.extra(source, "frames")["t"])
    store = to(tmp_path / "s.zarr", tmp_path / "raw", at="frames", side="back")
    split = store["all"]
    assert split.column("window_start")[:].tolist() == images[:-1].tolist()
    assert split.column("frame_row")[:].tolist() == list(range(len(images) - 1))
    check(store, {"all/one/a.aedat4": ek.read(source, sort=True)})


def test_images_beside_a_recording_in_the_folders_of_dsec(tmp_path):
    folder = tmp_path / "train/a/events/left"
    folder.mkdir(parents=True)
    (tmp_path / "train/a/images").mkdir()
    (tmp_path / "train/a/images/timestamps.txt").write_text("6000\n7000\n8000\n")
    (tmp_path / "train/a/object_detections/left").mkdir(parents=True)
    tracks = np.zeros(3, [("t", "u8"), ("class_id", "u1")])
    tracks["t"] = [6000, 8000, 8000]
    np.save(tmp_path / "train/a/object_detections/left/tracks.npy", tracks)
    events = make_events(400, (640, 480), step=100)
    ek.write(folder / "events.h5", events, layout="dsec")
    out = tmp_path / "s.zarr"
    convert("dsec", root=tmp_path, out=out, represent="events", at="frames", side="front")
    split = ek.open(out)["train"]
    assert split.column("window_stop")[:].tolist() == [7000, 8000]
    assert split.column("frame_row")[:].tolist() == [1, 2]
    # The labels of dsec-det's drawing: those of the image at the front; the first has none.
    assert split.column("label_row")[:].tolist() == [1, 1]
    assert split.column("label_count")[:].tolist() == [0, 2]


def test_the_command_takes_the_same_options_and_records_them(run, tmp_path):
    recordings(tmp_path / "raw", count=1)
    out = tmp_path / "s.zarr"
    argv = ["convert", tmp_path / "raw", "--frames", 2, "--out", out]
    code, text, _ = run(*argv, "--sliding", "2ms/1ms")
    assert code == 0
    assert "samples" in text
    assert ek.open(out).attributes["command"].endswith("--frames 2 --sliding 2ms/1ms")
    assert run(*argv, "--every", "50")[0] == 2
    code, _, told = run(*argv, "--at", "labels", "--every", "5ms")
    assert code == 1
    assert "exclude each other" in told


@pytest.mark.parametrize(
    ("events", "images", "factor"),
    [("davis/left/events", "davis/left/image_raw_ts", 1e-6), ("prophesee/left", "ovc/ts", 1)],
)
def test_images_of_mvsec_and_m3ed_are_in_the_file_of_events(events, images, factor, tmp_path):
    h5py = pytest.importorskip("h5py")
    made = make_events(400, step=100)
    base = 1_500_000_000_000_000 if factor < 1 else 0
    (tmp_path / "raw/all/one").mkdir(parents=True)
    path = tmp_path / "raw/all/one/a.hdf5"
    with h5py.File(path, "w") as file:
        if factor < 1:
            columns = (made.x, made.y, (base + made.t) * factor, made.p * 2.0 - 1)
            file[events] = np.stack(columns, axis=1)
        else:
            for name in "txyp":
                file[f"{events}/{name}"] = getattr(made, name)
        file[images] = (base + np.array([6000, 7000, 8000])) * factor
    store = to(tmp_path / "s.zarr", tmp_path / "raw", at="frames", side="between")
    split = store["all"]
    assert (split.column("window_start")[:] - base).tolist() == [6000, 7000]
    check(store, {"all/one/a.hdf5": ek.read(path)})
    assert split.column("n_events")[:].min() > 0


def test_an_empty_window_within_the_recording_is_not_outside(tmp_path):
    events = next(iter(recordings(tmp_path / "raw", count=1).values()))
    gap = int(events.t[np.diff(events.t).argmax()]) + 2
    np.save(tmp_path / "raw/at.npy", np.array([gap, int(events.t[-1]) + 9]))
    store = to(tmp_path / "s.zarr", tmp_path / "raw", at="at.npy", window=1, side="before")
    told = "\n".join(store.attributes["warnings"])
    assert "all: 2 samples have no events" in told
    assert " µs: 1" in told


@pytest.mark.parametrize(
    ("name", "content", "unit", "message"),
    [
        ("t.csv", "timestamp [furlong]\n1\n", None, "has an unknown unit; expected one of ns"),
        ("t.csv", "timestamp [s]\n1\n", "ms", "the unit of its times is s, but ms was given"),
    ],
)
def test_times_that_could_mean_something_else_are_refused(name, content, unit, message, tmp_path):
    path = tmp_path / name
    path.write_text(content) if isinstance(content, str) else np.save(path, content)
    with pytest.raises(EventkitError, match=message):
        times.of_file(path, unit)


@pytest.mark.parametrize("options", [{"every": "1us"}, {"sliding": "50ms/1us"}])
def test_windows_of_which_most_would_be_empty_are_refused(options, tmp_path, monkeypatch):
    """A slip of the unit would otherwise make millions of samples."""
    recordings(tmp_path / "raw", count=1, n=400, step=10_000)
    with pytest.raises(OptionError, match=r"0_td\.dat: .* windows of .* µs for 400 events"):
        to(tmp_path / "s.zarr", tmp_path / "raw", **options)
    monkeypatch.setattr(sampling, "MOST", 20)
    with pytest.raises(OptionError, match=r"more than 20 windows of 50,000 µs, up to .*0_td\.dat"):
        to(tmp_path / "s.zarr", tmp_path / "raw", every="50ms")
    assert not (tmp_path / "s.zarr").exists()


def test_times_that_are_not_in_order_are_not_called_overlapping(tmp_path):
    recordings(tmp_path / "raw", count=1)
    np.save(tmp_path / "raw/at.npy", [15_000, 9_000, 12_000])
    store = to(tmp_path / "s.zarr", tmp_path / "raw", at="at.npy", window="1ms")
    found = "\n".join(store.attributes["warnings"])
    assert "windows that begin before the one before them: 1, first in all/one/0_td.dat" in found
    assert "overlap" not in found
    assert store["all"].column("window_stop")[:].tolist() == [15_000, 9_000, 12_000]


def test_excluded_recordings_are_not_in_the_remarks(tmp_path):
    recordings(tmp_path / "raw", count=2)
    np.save(tmp_path / "raw/at.npy", [9_000, 9_100])
    out = {"at": "at.npy", "window": "1ms", "exclude": ["1_td.dat"]}
    store = to(tmp_path / "s.zarr", tmp_path / "raw", **out)
    found = "\n".join(store.attributes["warnings"])
    assert "windows that overlap the one before: 1, first in all/one/0_td.dat" in found
    assert len(store["all"]) == 2
