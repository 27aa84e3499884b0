"""All streams of a recording: read in chunks, written, copied, joined and split."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from making import ROOT, make_events

import eventkit as ek
from eventkit import OptionError
from eventkit.doctor import repair
from eventkit.editing import Rule, copy, split
from eventkit.editing.png import encode
from eventkit.formats import FORMATS
from eventkit.formats.tracks import IMU, SOURCE, TRIGGER, as_signals, merged, of

SIZE = (64, 48)
HOLDERS = [(name, kind) for name, fmt in FORMATS.items() for kind in sorted(fmt.holds)]
APPEND = [name for name, fmt in FORMATS.items() if fmt.appends and fmt.write]
SAMPLE = "recordings/aedat4/dvproc_io_sample_data.aedat4"
STREAMS = {"frames": 25, "imu": 3836, "triggers": 101}


def streams() -> dict[str, np.ndarray]:
    """Frames, samples, triggers and further events within the 25 ms of `make_events`."""
    rng = np.random.default_rng(1)
    imu = np.zeros(40, IMU)
    for name in IMU.names[1:]:
        imu[name] = rng.normal(size=40)
    imu["t"] = np.arange(40) * 600
    times = [(name, np.int64) for name in ("t", "begin", "end")]
    frames = np.zeros(3, [*times, ("pixels", np.uint8, SIZE[::-1])])
    frames["t"], frames["begin"], frames["end"] = [100, 9000, 17000], -1, [90, 8990, 16990]
    frames["pixels"] = rng.integers(0, 256, frames["pixels"].shape)
    signals = [(50, 1, 0), (900, 0, 0), (900, 1, 0), (20_000, 0, 0)]
    return {
        "frames": frames,
        "imu": imu,
        "triggers": np.array(signals, TRIGGER),
        "events": make_events(30, SIZE, 7).structured(),
    }


def like(rows: np.ndarray, wanted: np.ndarray) -> list:
    """The rows with the fields of `wanted`; triggers of AEDAT 4 as those of EVT."""
    rows = as_signals(rows) if rows.dtype == SOURCE else rows
    return [rows[name].tolist() for name in wanted.dtype.names]


def whole(recording: ek.formats.Recording, name: str) -> np.ndarray:
    return np.concatenate(list(recording.rows(name)))


@pytest.mark.parametrize(("name", "kind"), HOLDERS)
def test_what_a_format_holds_comes_back(tmp_path, name, kind):
    path = tmp_path / f"a{FORMATS[name].suffixes[0]}"
    rows, events = streams()[kind], make_events(1000, SIZE)
    key = "events_2" if kind == "events" else kind
    ek.write(path, events, name, streams={key: rows})
    found = ek.recording(path)
    assert list(found.streams) == [key]
    assert (found.size, found.streams[key].kind) == (SIZE, kind)
    assert found.streams[key].count == len(rows)
    assert like(whole(found, key), rows) == like(rows, rows)
    assert ek.read(path) == events
    assert like(np.concatenate(list(found.rows(key, clock=(100, 9000)))), rows) == like(
        rows[(rows["t"] >= 100) & (rows["t"] < 9000)], rows
    )
    assert f"{key}" in repr(found)
    assert ek.info(path)["also"] == ({key: len(rows)} if kind != "triggers" else {}) or (
        ek.info(path)["counts"].get("triggers", len(rows)) == len(rows)
    )


@pytest.mark.parametrize("name", sorted({name for name, _ in HOLDERS}))
def test_the_same_streams_give_the_same_bytes_however_they_are_cut(tmp_path, name):
    events, kept = make_events(1000, SIZE), {}
    for kind, rows in streams().items():
        if kind in FORMATS[name].holds and kind != "events":
            kept[kind] = rows
    made = []
    for number, step in enumerate((1000, 7)):
        path = tmp_path / f"{number}{FORMATS[name].suffixes[0]}"
        ek.write(path, [events[i : i + step] for i in range(0, 1000, step)], name, streams=kept)
        made.append(path.read_bytes())
    assert made[0] == made[1] or name == "aedat4"  # where packets of events end differs there
    assert ek.read(tmp_path / f"1{FORMATS[name].suffixes[0]}") == events


def test_triggers_stand_between_the_events_of_evt3_word_by_word(tmp_path):
    events = ek.Events([10, 20, 30], [1, 2, 3], [5, 5, 5], [1, 1, 1], SIZE)
    triggers = np.array([(5, 1, 2), (20, 0, 2)], TRIGGER)
    path = tmp_path / "a.raw"
    ek.write(path, events, "evt3", streams={"triggers": triggers}, fields={"serial_number": "7"})
    head, _, words = path.read_bytes().partition(b"% end\n")
    assert b"% serial_number 7\n" in head
    found = np.frombuffer(words, "<u2").tolist()
    time, low, trigger, event = 8 << 12, 6 << 12, 10 << 12, 2 << 12 | 1 << 11
    first = [time, low | 5, trigger | 2 << 8 | 1, low | 10, 5, event | 1]
    assert found == [*first, low | 20, trigger | 2 << 8, event | 2, low | 30, event | 3]


def test_streams_are_merged_at_their_times():
    events = ek.Events([1, 5, 9], [0] * 3, [0] * 3, [1] * 3, SIZE)
    rows = np.array([(0, 1, 0), (5, 1, 0), (6, 1, 0), (99, 1, 0)], TRIGGER)
    track = of("triggers", [rows[:3], rows[3:]])
    items = [
        item.t.tolist() if isinstance(item, ek.Events) else ("rows", item.rows["t"].tolist())
        for item in merged([events], [track], exact=True)
    ]
    assert items == [[], ("rows", [0]), [1], ("rows", [5]), [5], ("rows", [6]), [9], ("rows", [99])]


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("es", {"imu": np.zeros(1, IMU)}, "es cannot hold imu; aedat4, hdf5 can"),
        ("aedat4", {"sound": np.zeros(1, IMU)}, "its name must begin with one of frames, imu"),
        ("aedat4", {"imu": np.zeros(1, TRIGGER)}, "has no field accelerometer_x"),
        ("evt3", {"triggers": np.array([(1, 1, 99)], TRIGGER)}, "inputs 0 to 15, found 99"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, name, given, sentence):
    with pytest.raises(OptionError, match=sentence):
        ek.write(tmp_path / "a", make_events(9, SIZE), name, streams=given)
    assert not list(tmp_path.iterdir())


def test_frames_that_aedat4_cannot_hold_go_into_hdf5(tmp_path):
    frames = np.zeros(2, [("t", np.int64), ("pixels", np.uint16, (4, 5))])
    frames["pixels"] = 1000
    with pytest.raises(OptionError, match="aedat4 holds frames of uint8"):
        ek.write(tmp_path / "a.aedat4", make_events(9, SIZE), streams={"frames": frames})
    larger = np.zeros(1, [("t", np.int64), ("pixels", np.uint16, (8, 9))])
    ek.write(tmp_path / "a.h5", make_events(9, SIZE), streams={"frames": [frames, larger]})
    shapes = [rows["pixels"].shape for rows in ek.recording(tmp_path / "a.h5").frames()]
    assert shapes == [(2, 4, 5), (1, 8, 9)]
    with pytest.raises(ek.FormatError, match="its frames differ in shape"):
        ek.extra(tmp_path / "a.h5", "frames")


def test_a_packed_recording_has_its_streams(tmp_path):
    import gzip

    ek.write(tmp_path / "a.aedat4", make_events(9, SIZE), streams={"imu": streams()["imu"]})
    packed = tmp_path / "a.aedat4.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.aedat4").read_bytes()))
    with ek.recording(packed) as found:
        assert np.array_equal(whole(found, "imu"), streams()["imu"])
        plain = found._found.plain
    assert not plain.exists()


def rows_in(file, name: str) -> list[np.ndarray]:
    found = ek.recording(file)
    return list(found.rows(name)) if name in found.streams else []


# Copies


def file_of(folder, name="a.aedat4", **more):
    kept = {key: rows for key, rows in streams().items() if key != "events"}
    ek.write(folder / name, make_events(1000, SIZE), streams=kept, **more)
    return folder / name


def test_a_copy_has_every_stream_and_counts_the_rest(tmp_path):
    path = file_of(tmp_path)
    ledger = copy(path, tmp_path / "b.h5")
    counts = {"frames": 3, "imu": 40, "triggers": 4}
    assert ledger["streams"] == {k: {"read": n, "written": n} for k, n in counts.items()}
    ledger = copy(path, tmp_path / "b.raw", to="evt2")
    assert ledger["streams"] == {"triggers": {"read": 4, "written": 4}}
    assert {key: ledger["not_copied"][key] for key in ("frames", "imu")} == {"frames": 3, "imu": 40}
    assert ek.extra(tmp_path / "b.raw", "triggers")["t"].tolist() == [50, 900, 900, 20_000]


def test_the_number_of_an_input_that_is_lost_is_counted(tmp_path):
    rows = np.array([(5, 1, 0), (6, 0, 3)], TRIGGER)
    ek.write(tmp_path / "a.raw", make_events(9, SIZE), "evt3", streams={"triggers": rows})
    ledger = copy(tmp_path / "a.raw", tmp_path / "b.aedat4")
    assert ledger["not_copied"] == {"input numbers of triggers": 1} | ledger["not_copied"]
    assert ek.extra(tmp_path / "b.aedat4", "triggers")["source"].tolist() == [1, 2]


def test_a_cut_and_rezero_move_all_streams_alike(tmp_path):
    path = file_of(tmp_path)
    first = int(make_events(1000, SIZE).t[0])
    copy(path, tmp_path / "b.aedat4", start=5000, stop=12_000, rezero=True)
    events = make_events(1000, SIZE).between(first + 5000, first + 12_000)
    origin = int(events.t[0])
    assert ek.read(tmp_path / "b.aedat4").t.tolist() == (events.t - origin).tolist()
    imu = streams()["imu"]
    inside = imu["t"][(imu["t"] >= first + 5000) & (imu["t"] < first + 12_000)]
    assert ek.extra(tmp_path / "b.aedat4", "imu")["t"].tolist() == (inside - origin).tolist()
    frames = ek.extra(tmp_path / "b.aedat4", "frames")
    assert [frames[name].tolist() for name in ("t", "begin", "end")] == [
        [9000 - origin],
        [-1],
        [8990 - origin],
    ]


def test_recordings_follow_each_other_or_are_moved_or_merged(tmp_path):
    path, late = file_of(tmp_path), tmp_path / "late.aedat4"
    events = make_events(1000, SIZE)
    first, last = int(events.t[0]), int(events.t[-1])
    with pytest.raises(OptionError, match="before the end of"):
        copy([path, path], tmp_path / "b.aedat4")
    assert not (tmp_path / "b.aedat4").exists()
    copy([path, path], tmp_path / "b.aedat4", how="append", gap=10)
    by = last + 10 - first
    assert ek.read(tmp_path / "b.aedat4").t.tolist() == [*events.t, *(events.t + by)]
    imu = streams()["imu"]["t"]
    assert ek.extra(tmp_path / "b.aedat4", "imu")["t"].tolist() == [*imu, *(imu + by)]
    other = make_events(500, SIZE, 3)
    ek.write(late, other, streams={"imu": streams()["imu"]})
    copy([path, late], tmp_path / "c.aedat4", how="time")
    both = ek.Events.concat([events, other])
    assert ek.read(tmp_path / "c.aedat4") == both.sort()
    assert {n: t.count for n, t in ek.recording(tmp_path / "c.aedat4").streams.items()} == {
        "frames": 3, "imu": 40, "triggers": 4, "imu_2": 40,
    }  # fmt: skip


def test_what_cannot_be_joined_is_named(tmp_path):
    ek.write(tmp_path / "a.es", make_events(9, SIZE))
    ek.write(tmp_path / "b.es", make_events(9, (10, 10)))
    ek.write(tmp_path / "c.aedat4", ek.Events([9, 3], [0, 0], [0, 0], [1, 1], SIZE))
    for second, how, sentence in (
        ("b.es", "append", "has 10x10, expected 64x48"),
        ("b.es", "time", "has 10x10, expected 64x48"),
        ("c.aedat4", "time", "c.aedat4 go back"),
    ):
        with pytest.raises(OptionError, match=sentence):
            copy([tmp_path / "a.es", tmp_path / second], tmp_path / "d.es", how=how)


@pytest.mark.parametrize(
    "rule", [Rule(every=6000), Rule(events=300), Rule(size=4000), Rule(triggers=True)], ids=str
)
@pytest.mark.parametrize("suffix", [".aedat4", ".h5"])
def test_the_parts_of_a_split_are_the_whole(tmp_path, rule, suffix):
    path = file_of(tmp_path)
    ledger = split(path, tmp_path / f"p{suffix}", rule)
    files = [part["path"] for part in ledger["files"]]
    assert len(files) > 1
    assert files[0].endswith(f"p_000{suffix}")
    events = ek.Events.concat([ek.read(file) for file in files])
    assert events == make_events(1000, SIZE)
    assert [part["events"] for part in ledger["files"]] == [len(ek.read(f)) for f in files]
    for name, rows in streams().items():
        if name != "events":
            parts = [part for file in files for part in rows_in(file, name)]
            assert like(np.concatenate(parts), rows) == like(rows, rows)
    if rule.every:
        for file in files:
            assert np.ptp(ek.read(file).t) < 6000
    if rule.events:
        assert [len(ek.read(f)) for f in files] == [300, 300, 300, 100]
    if rule.triggers:
        firsts = [next(iter(rows_in(file, "triggers")), None) for file in files]
        assert [as_signals(rows)["p"][0] for rows in firsts if rows is not None] == [1, 1]


@pytest.mark.parametrize("name", APPEND)
def test_standard_output_gets_the_bytes_of_the_file(tmp_path, name):
    events = make_events(300, (128, 128))
    ek.write(tmp_path / "a", events, name)
    ek.write(tmp_path / "in.aedat4", events)
    script = "import eventkit as ek, sys; ek.write('-', ek.stream(sys.argv[1]), sys.argv[2])"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "in.aedat4", name],
        capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == (tmp_path / "a").read_bytes()


def test_the_commands(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file_of(tmp_path)
    code, out, _ = run("translate", "a.aedat4", "b.aedat4", "--json")
    assert (code, json.loads(out)["streams"]["imu"]) == (0, {"read": 40, "written": 40})
    code, out, _ = run("join", "a.aedat4", "b.aedat4", "c.aedat4", "--gap", "1ms")
    assert code == 0
    assert "imu       80" in out
    code, out, _ = run("split", "c.aedat4", "p.aedat4", "--events", "500")
    assert code == 0
    assert "written   4 files (aedat4)" in out
    assert run("split", "c.aedat4", "p.aedat4", "--events", "500")[0] == 1
    for argv, sentence in (
        ("join a.aedat4 b.aedat4", "two recordings or more"),
        ("join a.aedat4 b.aedat4 d.es --merge --gap 1ms", "cannot be combined with --gap"),
        ("split a.aedat4 q.es", "give one of"),
        ("split a.aedat4 q.es --size 3x", "is not a size"),
        ("translate a.aedat4 -", "give its format"),
    ):
        code, _, err = run(*argv.split())
        assert code == 2
        assert sentence in err


def test_live_input_is_split_as_it_comes(tmp_path):
    events = make_events(1000, (34, 34))
    ek.write(tmp_path / "a.raw", events, "evt3")
    command = ["-m", "eventkit", "split", "-", tmp_path / "p.es", "--events", "400"]
    done = subprocess.run(
        [sys.executable, *command, "--json"], input=(tmp_path / "a.raw").read_bytes(),
        capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    files = [part["path"] for part in json.loads(done.stdout)["files"]]
    assert [len(ek.read(file)) for file in files] == [400, 400, 200]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_frames_are_written_as_png(tmp_path, shape, kind):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, kind)
    data = encode(pixels)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    if kind == np.uint8:
        image = pytest.importorskip("PIL.Image")
        found = np.asarray(image.open(io.BytesIO(data)))
        order = {2: [0], 3: [2, 1, 0]}.get(len(shape)) if shape[2:] != (4,) else [2, 1, 0, 3]
        assert np.array_equal(found.reshape(4, 5, -1), pixels.reshape(4, 5, -1)[..., order])


def test_a_folder_of_frames_is_complete_or_absent(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file_of(tmp_path)
    assert run("translate", "a.aedat4", "b.es", "--frames", "png")[0] == 0
    assert sorted(path.name for path in (tmp_path / "png").iterdir()) == [
        *(f"{i:06d}.png" for i in range(3)),
        "frames.csv",
    ]
    table = (tmp_path / "png/frames.csv").read_text().splitlines()
    assert table[:2] == ["file,t,begin,end", "000000.png,100,-1,90"]
    assert run("translate", "a.aedat4", "c.es", "--frames", "png")[0] == 1
    assert run("translate", "b.es", "c.es", "--frames", "other")[0] == 1
    assert not (tmp_path / "other").exists()


# Repair


def test_a_repair_lists_what_was_dropped_and_where(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = [1, 70, 71, 2, 99]
    ek.write("a.aedat4", ek.Events([1, 2, 3, 4, 5], x, [0] * 5, [1] * 5, SIZE))
    assert run("doctor", "a.aedat4", "--repair", "b.aedat4", "--dropped", "d.json")[0] == 0
    listed = json.loads((tmp_path / "d.json").read_text())
    reason = "out of bounds"
    assert listed["places"] == [
        {"event": 1, "events": 2, "t0": 2, "t1": 3, "reason": reason},
        {"event": 4, "events": 1, "t0": 5, "t1": 5, "reason": reason},
    ]
    assert listed["dropped"][reason] == sum(place["events"] for place in listed["places"]) == 3
    assert run("doctor", "a.aedat4", "--dropped", "d.json")[0] == 2


def test_skipped_bytes_are_listed_in_order_and_add_up(tmp_path):
    ek.write(tmp_path / "a.aedat4", make_events(5000, SIZE), compression="none", packet=500)
    data = bytearray((tmp_path / "a.aedat4").read_bytes())
    for at in (20_000, 60_000):
        data[at : at + 4000] = bytes(4000)
    (tmp_path / "a.aedat4").write_bytes(data)
    ledger = repair(tmp_path / "a.aedat4", tmp_path / "b.aedat4")
    places = [place for place in ledger["places"] if "from_byte" in place]
    assert places
    assert sum(p["to_byte"] - p["from_byte"] for p in places) == ledger["counts"]["skipped bytes"]
    for at in (20_000, 60_000):
        assert any(p["from_byte"] <= at + 2000 < p["to_byte"] for p in places)


# Real recordings, compared by another library


def theirs(path) -> dict[str, list]:
    aedat = pytest.importorskip("aedat")
    found: dict[str, list] = {}
    for part in aedat.Decoder(str(path)):
        for key in ("events", "imus", "triggers"):
            found.setdefault(key, []).extend(part[key].tolist() if key in part else [])
        if "frame" in part:
            frame = {k: v.tolist() if k == "pixels" else v for k, v in part["frame"].items()}
            found.setdefault("frames", []).append(frame)
    return found


@pytest.mark.parametrize("way", ["copy", "by hdf5", "split and joined", "repaired"])
def test_every_stream_of_a_real_recording_survives(samples, tmp_path, way):
    path, out = samples / SAMPLE, tmp_path / "out.aedat4"
    if way == "copy":
        copy(path, out)
    elif way == "by hdf5":
        copy(path, tmp_path / "a.h5")
        copy(tmp_path / "a.h5", out)
    elif way == "repaired":
        assert repair(path, out)["clean"]
    else:
        parts = split(path, tmp_path / "p.aedat4", Rule(every=1_000_000))
        copy([part["path"] for part in parts["files"]], out)
    assert theirs(out) == theirs(path)


def test_streams_of_a_real_recording_are_read_in_a_window(samples):
    found = ek.recording(samples / SAMPLE)
    assert {name: track.count for name, track in found.streams.items()} == STREAMS
    for name in STREAMS:
        rows = whole(found, name)
        part = np.concatenate(list(found.rows(name, start="1s", stop="2s")))
        low = found.first + 1_000_000
        assert np.array_equal(part, rows[(rows["t"] >= low) & (rows["t"] < low + 1_000_000)])


def test_triggers_within_a_real_bag_are_those_of_its_words(samples, tmp_path):
    path = samples / "recordings/ros/codecs_evt3_trigger_0.db3"
    rows = whole(ek.recording(path), "triggers")
    assert len(rows) == ek.info(path)["counts"]["triggers"] == 2
    copy(path, tmp_path / "a.raw", to="evt3")
    assert np.array_equal(ek.extra(tmp_path / "a.raw", "triggers"), rows)
