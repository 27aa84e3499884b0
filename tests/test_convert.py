"""Conversion: the same bytes whatever happens, every event accounted for, and plain errors."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from making import ROOT, eventkit, make_events, make_gestures, tree_hash

import eventkit as ek
from eventkit.conversion import convert, task
from eventkit.errors import FetchError, FormatError, OptionError, StoreError, StoreLocked
from eventkit.store.building import Building
from eventkit.store.shard import crc32c


def to(path, gestures, **options):
    options = {"represent": "frames:n=4", "workers": 2, **options}
    return convert("dvsgesture", root=gestures, out=path, **options)


@pytest.fixture(scope="module")
def undisturbed(gestures, tmp_path_factory):
    """The store that every way to make it must give, bit for bit."""
    path = tmp_path_factory.mktemp("undisturbed") / "store.zarr"
    to(path, gestures)
    return path


# Law: the same bytes, whatever the engine, the number of workers or of interruptions.


@pytest.mark.parametrize(("engine", "workers"), [("threads", 1), ("threads", 5), ("processes", 2)])
def test_engine_and_workers_do_not_change_a_byte(engine, workers, gestures, undisturbed, tmp_path):
    to(tmp_path / "s.zarr", gestures, engine=engine, workers=workers)
    assert tree_hash(tmp_path / "s.zarr") == tree_hash(undisturbed)


POINTS = [
    "before_sync:1",
    "before_rename:4",
    "after_rename:6",
    "before_journal:2",
    "after_journal:3",
    "before_root:1",
    "before_publish:1",
    "after_publish:1",
]
MORE_POINTS = [
    f"{name}:{n}"
    for name in ("before_sync", "before_rename", "after_rename", "before_journal", "after_journal")
    for n in (1, 2, 5, 9, 12, 20, 40)
]


def killed_then_run_again(point, gestures, undisturbed, tmp_path):
    out = tmp_path / "s.zarr"
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out]
    killed = eventkit(*command, EVENTKIT_FAILPOINT=point)
    if killed.returncode == 0:
        pytest.skip(f"the conversion passes {point} fewer times")
    assert killed.returncode == -signal.SIGKILL
    if point != "after_publish:1":
        with pytest.raises(StoreError, match="run the same convert command again"):
            ek.open(out)
    to(out, gestures)
    assert tree_hash(out) == tree_hash(undisturbed)
    assert sorted(tmp_path.iterdir()) == [out]  # nothing is left over


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_and_run_again_is_the_same_store(point, gestures, undisturbed, tmp_path):
    killed_then_run_again(point, gestures, undisturbed, tmp_path)


@pytest.mark.attack
@pytest.mark.slow
@pytest.mark.parametrize("point", MORE_POINTS)
def test_killed_at_any_passage(point, gestures, undisturbed, tmp_path):
    killed_then_run_again(point, gestures, undisturbed, tmp_path)


@pytest.mark.attack
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(34))
def test_killed_at_random_times(seed, tmp_path_factory, tmp_path):
    """Three times each: 102 kills in all, of both kinds of stores."""
    represent = ("frames:n=4", "events")[seed // 2 % 2]
    root = tmp_path_factory.getbasetemp() / "many-gestures"
    if not root.exists():
        make_gestures(root, recordings=12, windows=11, events=20_000)
    whole = root.with_name(f"many-{represent.partition(':')[0]}.zarr")
    if not whole.exists():
        to(whole, root, represent=represent)
    rng = np.random.default_rng(seed)
    out = tmp_path / "s.zarr"
    command = [sys.executable, "-m", "eventkit", "convert", "dvsgesture"]
    command += ["--events"] if represent == "events" else ["--frames", "4"]
    command += [
        "--root",
        str(root),
        "--out",
        str(out),
        "--engine",
        ("threads", "processes")[seed % 2],
    ]
    for _ in range(3):
        process = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.3, 1.2))
        process.kill()
        process.wait()
    to(out, root, represent=represent)
    assert tree_hash(out) == tree_hash(whole)
    assert sorted(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("point", ["before_root:1", "before_publish:1", "after_publish:1"])
def test_overwriting_killed_and_run_again_ends(point, gestures, undisturbed, tmp_path):
    """The store that was replaced lay in the way of the next attempt, and of all after it."""
    out = tmp_path / "s.zarr"
    to(out, gestures, represent="frames:n=2")
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out]
    killed = eventkit(*command, "--overwrite", EVENTKIT_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL
    assert len(ek.open(out)["train"]) == 9  # one of both, whole
    summary = to(out, gestures, overwrite=True)
    assert summary["resumed_shards"] == (12 if point != "after_publish:1" else 0)
    assert tree_hash(out) == tree_hash(undisturbed)
    assert sorted(tmp_path.iterdir()) == [out]


def test_a_store_that_was_to_be_replaced_comes_back(gestures, undisturbed, tmp_path):
    """Killed between two renames, no store has the name: the next run sees to it."""
    out = tmp_path / "s.zarr"
    to(out, gestures, represent="frames:n=2")
    before = tree_hash(out)
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out]
    killed = eventkit(*command, "--overwrite", EVENTKIT_FAILPOINT="in_publish:1")
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    with pytest.raises(StoreError, match="finished store of another plan"):
        to(out, gestures)  # nobody says --overwrite now
    assert tree_hash(out) == before
    assert to(out, gestures, overwrite=True)["resumed_shards"] == 12
    assert tree_hash(out) == tree_hash(undisturbed)
    assert sorted(tmp_path.iterdir()) == [out]


def test_shards_that_are_done_are_not_made_again(gestures, tmp_path):
    out = tmp_path / "s.zarr"
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out]
    eventkit(*command, EVENTKIT_FAILPOINT="before_root:1")
    made = {f: f.stat().st_mtime_ns for f in (tmp_path / "s.zarr.building").rglob("c.*.0.0.0.0")}
    summary = to(out, gestures)
    assert summary["resumed_shards"] == len(made) == 12
    assert {f.stat().st_mtime_ns for f in out.rglob("c.*.0.0.0.0")} == set(made.values())


def test_a_torn_journal_line_and_a_cut_shard_are_done_again(gestures, undisturbed, tmp_path):
    out = tmp_path / "s.zarr"
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out]
    eventkit(*command, EVENTKIT_FAILPOINT="before_root:1")
    building = tmp_path / "s.zarr.building"
    journal = building / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])
    shard = next(building.rglob("train/frames/c.*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert to(out, gestures)["resumed_shards"] in (10, 11)
    assert tree_hash(out) == tree_hash(undisturbed)


def test_interrupt_keeps_what_is_done(gestures, undisturbed, tmp_path):
    out = tmp_path / "s.zarr"
    seen = []

    def interrupt(state):
        seen.append(state["samples"])
        if state["samples"] >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to(out, gestures, workers=1, progress=interrupt)
    assert to(out, gestures)["resumed_shards"] >= 4
    assert tree_hash(out) == tree_hash(undisturbed)


@pytest.mark.parametrize(
    "engine", ["threads", "processes", pytest.param("dask", marks=pytest.mark.slow)]
)
def test_ctrl_c_on_the_command_is_one_line_and_130(engine, gestures, undisturbed, tmp_path):
    out = tmp_path / "s.zarr"
    command = [sys.executable, "-m", "eventkit", "convert", "dvsgesture", "--frames", "4"]
    command += ["--root", str(gestures), "--out", str(out), "--engine", engine, "--workers", "1"]
    environment = {**os.environ, "EVENTKIT_FAILPOINT": "stop_after_journal:2"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    os.killpg(process.pid, signal.SIGCONT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what is converted is kept" in told
    assert "Traceback" not in told
    assert to(out, gestures)["resumed_shards"] >= 2
    assert tree_hash(out) == tree_hash(undisturbed)


# Law: no event is lost without a word.


def test_frames_are_those_of_the_windows(gestures, undisturbed):
    store = ek.open(undisturbed)
    for split, names in (("train", ("user01", "user02", "user03")), ("test", ("user04",))):
        row = 0
        for name in names:
            events = ek.read(gestures / f"{name}_led.aedat")
            for window in range(3):
                part = events.between(window * 15_000, (window + 1) * 15_000)
                expected = ek.frames(part, n=4)
                np.testing.assert_array_equal(store[split].frames[row], expected)
                assert store[split].labels[row] == window
                assert store[split].ledger["binned"][row] == len(part)
                assert store[split].column("t_start")[row] == part.t[0]
                assert store[split].column("t_end")[row] == part.t[-1]
                row += 1
        assert row == len(store[split])


CROPS = ("crop:x=10,y=20,width=64,height=32", "crop_time:start=1000,stop=9000")


def test_transforms_give_the_same_in_chunks(gestures, tmp_path, monkeypatch):
    to(tmp_path / "whole.zarr", gestures, transform=CROPS)
    monkeypatch.setattr(task, "MAX_EVENTS", 100)
    to(tmp_path / "chunks.zarr", gestures, transform=CROPS)
    assert tree_hash(tmp_path / "whole.zarr") == tree_hash(tmp_path / "chunks.zarr")


def test_the_ledger_balances(gestures, tmp_path):
    to(tmp_path / "s.zarr", gestures, transform=CROPS)
    store = ek.open(tmp_path / "s.zarr")
    for split in store.values():
        ledger = split.ledger
        lost = sum(v for k, v in ledger.items() if k.startswith("dropped_"))
        lost = lost + ledger["invalid"] + ledger["out_of_bounds"] + ledger["unbinned"]
        np.testing.assert_array_equal(ledger["read"], lost + ledger["binned"])
        assert ledger["dropped_crop"].sum() > 0
        assert ledger["dropped_crop_time"].sum() > 0
        assert split.frames.shape[3:] == (32, 64)
        np.testing.assert_array_equal(
            ledger["binned"], split.frames[:].sum(axis=(1, 2, 3, 4), dtype=np.int64)
        )


def test_a_recording_too_long_for_memory_is_binned_in_chunks(
    gestures, undisturbed, tmp_path, monkeypatch
):
    monkeypatch.setattr(task, "MAX_EVENTS", 100)
    to(tmp_path / "s.zarr", gestures)
    assert tree_hash(tmp_path / "s.zarr") == tree_hash(undisturbed)


def test_time_that_goes_back_is_sorted_and_counted(tmp_path):
    root = make_gestures(tmp_path / "raw", recordings=2, windows=1)
    path = root / "user01_led.aedat"
    events = ek.read(path)
    order = np.arange(len(events))
    order[[100, 101]] = [101, 100]
    order[[500, 900]] = [900, 500]
    events = events[order]
    ek.write(path, events)
    to(tmp_path / "s.zarr", root)
    split = ek.open(tmp_path / "s.zarr")["train"]
    assert split.ledger["backward_steps"][0] == events.between(0, 15_000).backward_steps > 0
    expected = ek.frames(events.between(0, 15_000).sort(), n=4)
    np.testing.assert_array_equal(split.frames[0], expected)


@pytest.mark.parametrize("represent", ["frames:n=4", "events", "frames:duration=5000"])
@pytest.mark.parametrize("late", ["few", "all", "one time"])
def test_late_events_of_a_recording_too_long_for_memory_are_sorted(
    late, represent, tmp_path, monkeypatch
):
    """They were refused; now they are sorted on the disk, to what sorting in memory gives."""
    (tmp_path / "raw/one").mkdir(parents=True)
    for number in range(3):  # the second follows the first in one segment
        events = make_events(3000, (34, 34), number, 20)
        t = events.t.copy()
        if number == 1:
            t = {"few": t, "all": t[::-1].copy(), "one time": np.full(3000, 7)}[late]
            t[[1500, 2999]] = [17, 3]
        ek.write(
            tmp_path / f"raw/one/{number}.npz", ek.Events(t, events.x, events.y, events.p, (34, 34))
        )
    options = {"represent": represent, "transform": ("crop:x=3,width=20,height=30",)}
    convert(tmp_path / "raw", out=tmp_path / "whole.zarr", **options)
    monkeypatch.setattr(task, "MAX_EVENTS", 100)
    convert(tmp_path / "raw", out=tmp_path / "chunks.zarr", **options)
    assert ek.open(tmp_path / "whole.zarr")["all"].ledger["backward_steps"][1] >= 2
    assert tree_hash(tmp_path / "whole.zarr") == tree_hash(tmp_path / "chunks.zarr")


def test_label_windows_are_audited(tmp_path):
    root = make_gestures(tmp_path / "raw", recordings=2, windows=3)
    table = root / "user01_led_labels.csv"
    table.write_text(
        "class,startTime_usec,endTime_usec\n"
        "9,0,16000\n10,15000,30000\n11,20000,20000\n1,99000000,99100000\n"
    )
    summary = to(tmp_path / "s.zarr", root)
    text = "\n".join(summary["warnings"])
    assert "windows 1 (class 9) and 2 (class 10) overlap by 0.001 s" in text
    assert "window 3 (class 11) is empty: 20000..20000" in text
    assert "train: 2 samples have no events; the first is user01_led.aedat, 20000..20000 µs" in text
    assert "user01_led.aedat: window 99000000..99100000 µs reaches outside the recording" in text
    assert summary["samples"] == {"train": 4, "test": 3}
    assert "train has 4 samples of the published 1,176" in text


def test_many_empty_samples_are_one_warning(tmp_path):
    for number in range(12):
        (tmp_path / "raw/one").mkdir(parents=True, exist_ok=True)
        ek.write(tmp_path / f"raw/one/{number}.npz", make_events(50 * (number == 0)))
    summary = convert(tmp_path / "raw", represent="events", out=tmp_path / "s.zarr")
    told = "all: 11 samples have no events; the first is one/1.npz"
    assert [text for text in summary["warnings"] if "no events" in text] == [told]


# Other shapes of samples.


@pytest.fixture
def digits(tmp_path):
    """Class folders of small recordings, 12 of 10 classes."""
    root = tmp_path / "digits"
    for number in range(12):
        for split in ("Train", "Test"):
            folder = root / split / str(number % 10)
            folder.mkdir(parents=True, exist_ok=True)
            ek.write(folder / f"{number:05d}.bin", make_events(200 + 10 * number, seed=number))
    return root


def test_tiny_samples_share_a_chunk(digits, tmp_path):
    convert("nmnist", root=digits, out=tmp_path / "s.zarr", represent="frames:n=1")
    store = ek.open(tmp_path / "s.zarr")
    files = sorted((digits / "Train").rglob("*.bin"))
    for row, file in enumerate(files):
        np.testing.assert_array_equal(store["train"].frames[row], ek.frames(ek.read(file), n=1))
        assert store["train"].labels[row] == int(file.parent.name)
    node = json.loads((tmp_path / "s.zarr/train/frames/zarr.json").read_text())
    assert node["codecs"][0]["configuration"]["chunk_shape"][0] == 4


def test_frames_of_one_duration_differ_in_number(digits, tmp_path):
    convert("nmnist", root=digits, out=tmp_path / "s.zarr", represent="frames:duration=1000")
    split = ek.open(tmp_path / "s.zarr")["train"]
    files = sorted((digits / "Train").rglob("*.bin"))
    expected = [ek.frames(ek.read(file), duration=1000) for file in files]
    assert split.n_frames.tolist() == [len(part) for part in expected]
    assert split.frames.shape[1] == max(map(len, expected))
    for row, part in enumerate(expected):
        np.testing.assert_array_equal(split.read([row])[0], part)
    batch = split.read([0, 11])
    assert not batch[0, len(expected[0]) :].any()


def test_other_representations_are_called_data(digits, tmp_path):
    convert("nmnist", root=digits, out=tmp_path / "s.zarr", represent="voxel:bins=3")
    split = ek.open(tmp_path / "s.zarr")["test"]
    first = sorted((digits / "Test").rglob("*.bin"))[0]
    np.testing.assert_array_equal(split.frames[0], ek.voxel(ek.read(first), bins=3))
    assert split.frames.path.name == "data"


def test_sources_are_recorded_with_their_checksums(gestures, undisturbed, tmp_path):
    store = ek.open(undisturbed)
    found = {name: store.small(f"sources/{name}") for name in ("names", "bytes", "crc32c")}
    for row, name in enumerate(bytes(found["names"]).decode().split("\n")):
        whole = (gestures / name).read_bytes()
        assert found["bytes"][row] == len(whole)
        assert found["crc32c"][row] == crc32c(whole)


def test_a_folder_of_class_folders_needs_no_description(digits, tmp_path):
    for name in ("Train", "Test"):
        (digits / name).rename(digits / name.lower())
    out = tmp_path / "s.zarr"
    summary = convert(digits, out=out, represent="frames:n=2")
    store = ek.open(out)
    assert summary["samples"] == {"test": 12, "train": 12}
    assert store.classes == [str(n) for n in range(10)]  # 2 before 10, as numbers


def test_real_nmnist_loses_no_event(samples, tmp_path):
    out = tmp_path / "s.zarr"
    summary = convert("nmnist", root=samples / "nmnist", out=out, represent="frames:n=10")
    assert summary["samples"] == {"train": 1000, "test": 100}
    assert summary["ledger"]["read"] == summary["ledger"]["binned"] == 4_518_827
    assert "train has 1,000 samples of the published 60,000" in summary["warnings"]
    labels = ek.open(out)["train"].labels
    assert np.bincount(labels).tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]


# What goes wrong is said in one sentence, and nothing is lost.


def test_data_that_is_not_there_comes_with_the_steps(tmp_path):
    with pytest.raises(FetchError, match=r"8a5c71fb11e24e5ca5b11866ca6c00a1") as error:
        convert("dvsgesture", root=tmp_path / "nowhere")
    assert "DvsGesture.tar.gz" in str(error.value)
    assert "eventkit convert dvsgesture --frames 16" in str(error.value)
    assert error.value.exit_code == 4


@pytest.mark.parametrize("place", ["DvsGesture", "extract", "extract/DvsGesture"])
def test_data_is_found_where_others_unpack_it(place, tmp_path):
    make_gestures(tmp_path / "root" / place, recordings=2, windows=1)
    summary = to(tmp_path / "s.zarr", tmp_path / "root")
    assert summary["samples"] == {"train": 1, "test": 1}


def test_second_converter_is_refused(gestures, tmp_path):
    out = tmp_path / "s.zarr"
    with Building(out).locked():
        with pytest.raises(StoreLocked, match=f"process {os.getpid()}") as error:
            to(out, gestures)
        assert error.value.exit_code == 5
    to(out, gestures)


def test_finished_store_is_left_alone(gestures, undisturbed):
    before = {f: f.stat().st_mtime_ns for f in undisturbed.rglob("*")}
    assert to(undisturbed, gestures)["note"] == "nothing to do"
    assert {f: f.stat().st_mtime_ns for f in undisturbed.rglob("*")} == before


def test_conversions_that_differ_have_names_that_do(gestures):
    """16 frames and frames of 16 µs had one name, and so had both codecs."""
    asked = [{"represent": "frames:n=16"}, {"represent": "frames:duration=16"}, {"codec": "small"}]
    asked = [{"represent": "frames:n=16"} | one for one in asked]
    names = [convert("dvsgesture", root=gestures, dry_run=True, **one)["out"] for one in asked]
    assert names == [f"dvsgesture-frames-16{end}.zarr" for end in ("", "us", "-small")]


def test_another_plan_is_refused_and_named(gestures, tmp_path):
    out = tmp_path / "s.zarr"
    to(out, gestures)
    with pytest.raises(StoreError, match=r"representation\.n is 4 there, 8 now"):
        to(out, gestures, represent="frames:n=8")
    assert ek.open(out)["train"].frames.shape[1] == 4
    to(out, gestures, represent="frames:n=8", overwrite=True)
    assert ek.open(out)["train"].frames.shape[1] == 8
    assert sorted(tmp_path.iterdir()) == [out]


def test_unfinished_conversion_of_another_plan_is_refused(gestures, tmp_path):
    out = tmp_path / "s.zarr"
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out]
    eventkit(*command, EVENTKIT_FAILPOINT="before_root:1")
    with pytest.raises(StoreError, match=r"unfinished conversion with another plan"):
        to(out, gestures, represent="frames:n=8")
    to(out, gestures, represent="frames:n=8", overwrite=True)
    assert ek.open(out)["train"].frames.shape[1] == 8


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_store_is_never_touched(overwrite, gestures, tmp_path):
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter1.txt").write_text("years of work")
    with pytest.raises(StoreError, match="no eventkit store"):
        to(mine, gestures, overwrite=overwrite)
    assert (mine / "chapter1.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda r: (r / "user01_led_labels.csv").unlink(), "this label table is missing"),
        (lambda r: (r / "user01_led.aedat").unlink(), "names user01_led.aedat, which is not in"),
        (lambda r: (r / "user01_led_labels.csv").write_text("a,b\n1,2\n"), "its header is"),
        (
            lambda r: (r / "user01_led_labels.csv").write_text(
                "class,startTime_usec,endTime_usec\n1,now,later\n"
            ),
            "line 2 is '1,now,later', expected whole numbers",
        ),
        (
            lambda r: (r / "user01_led_labels.csv").write_text(
                "class,startTime_usec,endTime_usec\n12,0,5\n"
            ),
            "class 12 is not within 1..11",
        ),
        (lambda r: (r / "trials_to_train.txt").write_text("../x.aedat\n"), "outside the dataset"),
        (lambda r: (r / "user01_led.aedat").write_bytes(b""), "empty"),
        (lambda r: (r / "user01_led.aedat").write_text("hello\n" * 99), "user01_led.aedat"),
    ],
)
def test_damaged_dataset_is_explained(damage, sentence, tmp_path):
    root = make_gestures(tmp_path / "raw", recordings=2)
    damage(root)
    with pytest.raises(FormatError, match=sentence):
        to(tmp_path / "s.zarr", root)


def test_out_of_bounds_events_are_an_error_or_dropped_on_request(tmp_path):
    root = make_gestures(tmp_path / "raw", recordings=2, windows=1)
    events = make_events(1500, (128, 128), 0, 20)
    outside = ek.Events(
        events.t, np.where(np.arange(1500) == 7, 200, events.x), events.y, events.p, (240, 180)
    )
    ek.write(
        root / "user01_led.aedat", ek.Events(outside.t, outside.x, outside.y, outside.p, (128, 128))
    )
    with pytest.raises(OptionError, match=r"user01_led\.aedat.*lie outside"):
        to(tmp_path / "s.zarr", root)
    to(tmp_path / "d.zarr", root, represent="frames:n=4,bounds=drop")
    assert ek.open(tmp_path / "d.zarr")["train"].ledger["out_of_bounds"].sum() == 1


def test_full_disk_is_said_and_the_run_continues(gestures, undisturbed, tmp_path):
    """A tiny file system of its own; only root may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        with pytest.raises(StoreError, match=r"the disk is full .* it continues"):
            to(disk / "s.zarr", gestures)
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        to(disk / "s.zarr", gestures)
        assert tree_hash(disk / "s.zarr") == tree_hash(undisturbed)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_dry_run_says_what_would_be_done_and_does_nothing(gestures, tmp_path):
    told = to(tmp_path / "s.zarr", gestures, dry_run=True)
    assert told["samples"] == {"train": 9, "test": 3}
    assert told["sources"] == 4
    assert told["source_bytes"] == sum(f.stat().st_size for f in gestures.glob("*.aedat"))
    assert told["dense_bytes"] == 12 * 4 * 2 * 128 * 128 * 2
    assert told["memory_bytes"] < 1e9
    assert 0 < told["seconds"] < 60
    assert not list(tmp_path.iterdir())
