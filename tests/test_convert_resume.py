"""Conversions that go on after a source was damaged, taken away or changed."""

import json
import os
import shutil
from pathlib import Path

import pytest
from killing import killed_by
from making import flip, make_events, make_gestures, tree_hash

import eventkit as ek
from eventkit.conversion import convert, finalize, task
from eventkit.conversion.repair import repair
from eventkit.errors import FormatError, OptionError, PartlyDone, StoreError
from eventkit.store.building import Building
from eventkit.store.storage import at
from eventkit.store.verify import verify

SAMPLES = 40  # in jobs of two each


def recordings(root: Path, damaged=()) -> Path:
    """Class folders of small recordings, some of them cut in mid-event."""
    for number in range(SAMPLES):
        path = root / "Train" / str(number % 10) / f"{number:05d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        ek.write(path, make_events(100 + number, seed=number))
        if number in damaged:
            path.write_bytes(path.read_bytes()[:-3])
    return root


def to(out, root, represent="frames:n=20", **options):
    return convert("nmnist", root=root, out=out, represent=represent, workers=2, **options)


def place(root: Path, number: int) -> Path:
    return root / "Train" / str(number % 10) / f"{number:05d}.bin"


def made(out: Path) -> dict[str, list[str]]:
    """The names of the samples of a store, in order."""
    store = ek.open(out)
    names = bytes(store.small("sources/names")).decode().split("\n")
    return [names[number].rpartition("/")[2] for number in store["train"].column("source")]


# One damaged recording does not cost the others.


@pytest.mark.parametrize("represent", ["frames:n=20", "events"])
def test_keep_going_makes_the_store_without_what_failed(represent, tmp_path):
    root = recordings(tmp_path / "raw", damaged=(3, 14))
    out = tmp_path / "s.zarr"
    with pytest.raises(PartlyDone, match=r"made without 2 of 40 samples.*00003.*00014") as error:
        to(out, root, represent, keep_going=True)
    assert error.value.exit_code == 6
    assert [name in why for name, why in zip(("00003", "00014"), error.value.failed, strict=True)]
    assert error.value.summary["samples"] == {"train": 38}
    failed = ek.open(out).attributes["failed"]
    assert list(failed) == ["Train/3/00003.bin", "Train/4/00014.bin"]
    assert str(tmp_path) not in json.dumps(ek.open(out).attributes)  # no path of this machine
    assert not verify(out, deep=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw", "s.zarr"]
    with pytest.raises(PartlyDone, match="made without 2 of 40"):  # and says so again
        to(out, root, represent, keep_going=True)
    # Its arrays are those of a store of which the two were left out on request.
    other = tmp_path / "o.zarr"
    to(other, root, represent, exclude=["Train/3/00003.bin", place(root, 14)])
    assert tree_hash(out / "train") == tree_hash(other / "train")
    assert made(out) == made(other)


def test_the_first_recording_may_be_the_damaged_one(tmp_path):
    """The size of the sensor and the length of samples were asked of the first alone."""
    root = tmp_path / "raw"
    for number in range(4):
        (root / "one").mkdir(parents=True, exist_ok=True)
        ek.write(root / "one" / f"{number}.aedat4", make_events(200, seed=number))
    (root / "one/0.aedat4").write_bytes(b"")
    for represent in ("frames:n=2", "events"):
        with pytest.raises(FormatError, match=r"0\.aedat4"):
            convert(root, represent=represent, out=tmp_path / f"{represent[:2]}.zarr")
        options = {"represent": represent, "out": tmp_path / f"{represent[:2]}.zarr"}
        with pytest.raises(PartlyDone, match=r"1 of 4 samples, which failed: one/0\.aedat4"):
            convert(root, keep_going=True, **options)


def test_the_command_names_what_failed(run, tmp_path):
    root = recordings(tmp_path / "raw", damaged=(3,))
    command = ["convert", "nmnist", "--frames", 20, "--root", root]
    code, told, said = run(*command, "--out", tmp_path / "a.zarr")
    assert code == 1
    assert "00003.bin" in said
    assert "--tolerant" in said
    assert "strict" not in said
    code, told, said = run(*command, "--out", tmp_path / "a.zarr", "--keep-going")
    assert code == 6
    assert "39 train" in told
    assert "eventkit: failed: Train/3/00003.bin" in said
    assert "made without 1 of 40 samples" in said
    assert "strict" not in said
    code, told, _ = run(*command, "--out", tmp_path / "b.zarr", "--keep-going", "--json")
    assert code == 6
    answer = json.loads(told)
    assert answer["samples"] == {"train": 39}
    assert len(answer["failed"]) == 1
    assert "made without" in answer["error"]
    assert answer["exit_code"] == 6
    code, told, _ = run(*command, "--out", tmp_path / "c.zarr", "--exclude", "Train/3/00003.bin")
    assert code == 0
    code, told, _ = run(*command, "--out", tmp_path / "d.zarr", "--tolerant")
    assert code == 0
    assert "40 train" in told


def test_nothing_is_made_where_all_fail(tmp_path):
    root = recordings(tmp_path / "raw", damaged=range(SAMPLES))
    with pytest.raises(PartlyDone, match=r"40 of 40 samples failed.*nothing to make a store of"):
        to(tmp_path / "s.zarr", root, keep_going=True)
    assert not (tmp_path / "s.zarr").exists()


def test_a_recording_that_cannot_be_read_is_one_that_failed(tmp_path, monkeypatch):
    root = recordings(tmp_path / "raw")
    original = task.formats.stream

    def stream(path, *a, **options):
        if path.name == "00007.bin":
            raise OSError(5, "Input/output error")
        return original(path, *a, **options)

    monkeypatch.setattr(task.formats, "stream", stream)
    with pytest.raises(FormatError, match=r"00007\.bin: cannot be read: Input/output error"):
        to(tmp_path / "s.zarr", root)
    with pytest.raises(PartlyDone, match="made without 1 of 40"):
        to(tmp_path / "s.zarr", root, keep_going=True)


def test_samples_that_failed_are_known_after_a_kill(tmp_path):
    """The second time, those that are sound are not read again for what fails."""
    root = recordings(tmp_path / "raw", damaged=(30,))
    out = tmp_path / "s.zarr"
    begun(root, out, keep_going=True)
    with pytest.raises(PartlyDone) as error:
        to(out, root, keep_going=True)
    assert error.value.summary["resumed_shards"] == 20
    shutil.rmtree(out)
    begun(root, out, keep_going=True)
    ek.write(place(root, 30), make_events(130, seed=30))  # mended meanwhile: it is tried again
    with pytest.warns(UserWarning, match=r"00030.bin is new since"):
        assert to(out, root, keep_going=True)["samples"] == {"train": 40}


def test_other_failures_keep_what_is_done_and_make_no_store(tmp_path, monkeypatch):
    root = recordings(tmp_path / "raw")
    original = task.DenseWriter.finish

    def finish(self):
        if self.job.number == 7:
            raise StoreError("the disk is full")
        return original(self)

    monkeypatch.setattr(task.DenseWriter, "finish", finish)
    with pytest.raises(PartlyDone, match=r"1 of 20 jobs failed; what is done is kept") as error:
        to(tmp_path / "s.zarr", root, keep_going=True)
    assert "00014.bin" in error.value.failed[0] or "disk" in error.value.failed[0]
    monkeypatch.undo()
    assert to(tmp_path / "s.zarr", root)["resumed_shards"] == 19


def test_a_job_of_an_array_leaves_it_to_the_end_to_go_without(tmp_path):
    root = recordings(tmp_path / "raw", damaged=(3,))
    out = tmp_path / "s.zarr"
    to(out, root, shard="1/2")
    with pytest.raises(PartlyDone, match=r"1 of 20 samples failed.*same conversion without shard"):
        to(out, root, shard="0/2", keep_going=True)
    to(out, root, shard="1/2", keep_going=True)  # keeps to the plan of the array
    with pytest.raises(PartlyDone, match="made without 1 of 40") as error:
        to(out, root, keep_going=True)
    assert error.value.summary["samples"] == {"train": 39}


def test_finalize_says_so_too(tmp_path):
    root = recordings(tmp_path / "raw", damaged=(3,))
    out = tmp_path / "s.zarr"
    begun(root, out, keep_going=True)
    with pytest.raises(PartlyDone, match="made without 1 of 40 samples"):
        finalize(out)
    assert list(ek.open(out).attributes["failed"]) == ["Train/3/00003.bin"]


def test_on_an_object_store_too(tmp_path):
    pytest.importorskip("obstore")
    root = recordings(tmp_path / "raw", damaged=(3,))
    out = f"memory://{tmp_path.name}/s.zarr"
    with pytest.raises(PartlyDone, match="made without 1 of 40 samples"):
        to(out, root, keep_going=True)
    assert not verify(out)
    assert len(ek.open(out)["train"]) == 39
    assert not list(at(f"{out}.building").files())


# Tolerance and exclusion.


def test_tolerant_takes_what_is_sound(tmp_path):
    root = recordings(tmp_path / "raw", damaged=(3,))
    out = tmp_path / "s.zarr"
    to(out, root, tolerant=True)
    sound = ek.read(place(root, 3), strict=False)
    row = made(out).index("00003.bin")
    split = ek.open(out)["train"]
    assert split.ledger["binned"][row] == len(sound) == 102
    assert any("00003" in text for text in ek.open(out).attributes["warnings"])
    assert ek.open(out).attributes["command"].endswith("--tolerant")
    with pytest.raises(StoreError, match="tolerant is true there"):
        to(out, root)


@pytest.mark.parametrize("how", ["tolerant", "exclude", "keep_going"])
def test_such_stores_are_repaired_too(how, tmp_path):
    root = recordings(tmp_path / "raw", damaged=(3,))
    out = tmp_path / "s.zarr"
    try:
        to(out, root, **{how: ["Train/3/00003.bin"] if how == "exclude" else True})
    except PartlyDone:
        assert how == "keep_going"
    whole = tree_hash(out)
    flip(next(out.glob("train/frames/c.*")))
    flip(out / "train/n_events/c.0")
    repair(out, root=root)
    assert tree_hash(out) == whole


def test_what_is_to_be_left_out_must_be_there(tmp_path):
    root = recordings(tmp_path / "raw")
    with pytest.raises(OptionError, match=r"no recording of that name.*did you mean Train/3/000"):
        to(tmp_path / "s.zarr", root, exclude=["Train/3/0003.bin"])
    assert to(tmp_path / "t.zarr", root, exclude=["00003.bin"])["samples"] == {"train": 39}
    with pytest.raises(OptionError, match="all samples are left out"):
        to(tmp_path / "s.zarr", root, exclude=[place(root, n) for n in range(SAMPLES)])


# What is done is used again, where it still holds.


def begun(root: Path, out: Path, **options) -> None:
    """A conversion that is killed when all its jobs are done."""
    assert killed_by("before_root:1", lambda: to(out, root, **options))


@pytest.mark.parametrize("way", ["remove", "mend", "exclude"])
def test_one_bad_recording_does_not_throw_away_the_others(way, tmp_path):
    root = recordings(tmp_path / "raw", damaged=(39,))  # the last of its class and of all
    out = tmp_path / "s.zarr"
    with pytest.raises(FormatError, match=r"00039\.bin"):
        convert("nmnist", root=root, out=out, represent="frames:n=20", workers=1)
    if way == "remove":
        place(root, 39).unlink()
    elif way == "mend":
        ek.write(place(root, 39), make_events(139, seed=39))
    told = {"remove": "not there any more", "mend": "of another size", "exclude": None}[way]
    options = {"exclude": ["Train/9/00039.bin"]} if way == "exclude" else {}
    if told is None:
        summary = to(out, root, **options)
    else:
        with pytest.warns(UserWarning, match=f"00039.bin is {told} since the earlier run"):
            summary = to(out, root, **options)
    assert summary["resumed_shards"] == 19
    to(tmp_path / "new.zarr", root, **options)
    assert tree_hash(out) == tree_hash(tmp_path / "new.zarr")


def test_jobs_whose_samples_moved_are_made_anew(tmp_path):
    """With one sample less, those behind it are others: no shard of theirs may stay."""
    root = recordings(tmp_path / "raw")
    out = tmp_path / "s.zarr"
    begun(root, out)
    place(root, 34).unlink()  # in the middle of the order
    with pytest.warns(UserWarning, match="not there any more"):
        assert to(out, root)["resumed_shards"] == 9
    to(tmp_path / "new.zarr", root)
    assert tree_hash(out) == tree_hash(tmp_path / "new.zarr")
    assert not verify(out, deep=True)


def test_a_split_that_is_gone_leaves_nothing(tmp_path):
    root = recordings(tmp_path / "raw")
    shutil.copytree(root / "Train/1", root / "Test/1")
    out = tmp_path / "s.zarr"
    begun(root, out)
    shutil.rmtree(root / "Test")
    with pytest.warns(UserWarning, match="and 1 more are not there any more"):
        assert to(out, root)["resumed_shards"] == 20
    assert not (out / "test").exists()
    assert not verify(out)


def test_other_settings_are_still_another_plan(tmp_path):
    root = recordings(tmp_path / "raw")
    out = tmp_path / "s.zarr"
    begun(root, out)
    with pytest.raises(StoreError, match=r"another plan is there \(tolerant is null there"):
        to(out, root, tolerant=True)
    with pytest.raises(StoreError, match=r"another plan is there \(representation\.n is 20"):
        to(out, root, represent="frames:n=4")
    assert to(out, root, represent="frames:n=4", overwrite=True)["resumed_shards"] == 0


def test_jobs_of_an_array_do_not_change_the_plan_of_the_others(tmp_path):
    root = recordings(tmp_path / "raw")
    out = tmp_path / "s.zarr"
    to(out, root, shard="0/2")
    place(root, 39).unlink()
    with (
        pytest.warns(UserWarning, match=r"00039.bin is not there any more"),
        pytest.raises(StoreError, match="unfinished conversion with another plan"),
    ):
        to(out, root, shard="1/2")


def test_a_source_changed_at_equal_size_is_read_again(tmp_path):
    root = recordings(tmp_path / "raw")
    out = tmp_path / "s.zarr"
    begun(root, out)
    path = place(root, 5)
    before = path.stat()
    ek.write(path, make_events(105, seed=99))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # only its inode tells
    assert to(out, root)["resumed_shards"] == 19
    to(tmp_path / "new.zarr", root)
    assert tree_hash(out) == tree_hash(tmp_path / "new.zarr")


def test_a_source_that_was_only_touched_is_not(tmp_path):
    root = recordings(tmp_path / "raw")
    out = tmp_path / "s.zarr"
    begun(root, out)
    for path in root.rglob("*.bin"):
        os.utime(path)
    assert to(out, root)["resumed_shards"] == 20


def test_a_source_that_changes_while_it_is_read_is_named(tmp_path, monkeypatch):
    root = recordings(tmp_path / "raw")
    original = task.convert_sample

    def late(job, sample, *a):
        row = original(job, sample, *a)
        if sample.source.endswith("00005.bin"):
            os.utime(place(root, 5), ns=(0, 0))
        return row

    monkeypatch.setattr(task, "convert_sample", late)
    with pytest.raises(FormatError, match=r"00005\.bin: changed while it was being converted"):
        to(tmp_path / "s.zarr", root)


def test_a_damaged_shard_of_the_journal_is_made_anew(tmp_path):
    root = recordings(tmp_path / "raw")
    out = tmp_path / "s.zarr"
    begun(root, out)
    flip(next((tmp_path / "s.zarr.building").rglob("train/frames/c.3.*")))
    assert to(out, root)["resumed_shards"] == 19
    to(tmp_path / "new.zarr", root)
    assert tree_hash(out) == tree_hash(tmp_path / "new.zarr")


def test_a_shard_that_is_not_there_is_not_published(tmp_path, monkeypatch):
    """As one that a worker wrote into a folder of its own."""
    root = recordings(tmp_path / "raw")
    record = Building.record

    def elsewhere(self, key, entry):
        if key[1] == 7:
            (self.tree / next(iter(entry["files"]))).unlink()
            entry = {**entry, "worker": "tcp://10.0.0.7:1"}
        record(self, key, entry)

    monkeypatch.setattr(Building, "record", elsewhere)
    with pytest.raises(StoreError, match=r"1 of 20 jobs .*c\.7\.0.* of worker tcp://10\.0\.0\.7:1"):
        to(tmp_path / "s.zarr", root)
    monkeypatch.undo()
    assert to(tmp_path / "s.zarr", root)["resumed_shards"] == 19


def test_all_windows_of_a_recording_that_is_cut_are_named(tmp_path):
    root = make_gestures(tmp_path / "raw", recordings=3, windows=3)
    path = root / "user01_led.aedat"
    path.write_bytes(path.read_bytes()[:-100])
    out = tmp_path / "s.zarr"
    with pytest.raises(PartlyDone) as error:
        convert("dvsgesture", root=root, out=out, represent="frames:n=4", keep_going=True)
    windows = [f"user01_led.aedat, {n * 15_000}..{(n + 1) * 15_000} µs" for n in range(3)]
    assert list(ek.open(out).attributes["failed"]) == windows
    assert error.value.summary["samples"] == {"train": 3, "test": 3}
    assert not verify(out, deep=True)
