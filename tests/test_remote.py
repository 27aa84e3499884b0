"""Stores on an object store: the same bytes, resumed after a kill, read through a checked cache."""

import json
import os
import pickle
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from making import ROOT, eventkit, make_gestures

import eventkit as ek
from eventkit.conversion import convert
from eventkit.errors import OptionError, StoreDamaged, StoreError, StoreLocked
from eventkit.store import remote
from eventkit.store.files import sizes
from eventkit.store.merge import merge, subset
from eventkit.store.objects import Remote, at
from eventkit.store.verify import verify

pytest.importorskip("obstore", reason="needs the extra cloud")


@pytest.fixture(scope="session")
def service():
    """A server that speaks S3, in a process of its own; its address."""
    pytest.importorskip("moto.server", reason="a server that speaks S3 is moto[server]")
    program = (
        "import logging, sys; from moto.server import ThreadedMotoServer\n"
        "logging.getLogger('werkzeug').setLevel(logging.ERROR)\n"
        "server = ThreadedMotoServer('127.0.0.1', 0, verbose=False); server.start()\n"
        "print(server.get_host_and_port()[1], flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.stdin.close()
    process.wait(30)


@pytest.fixture
def s3(service, monkeypatch, request):
    """A new bucket: its address."""
    for key, value in {
        "AWS_ENDPOINT_URL": service,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)
    name = f"bucket-{abs(hash(request.node.nodeid)):x}"
    urllib.request.urlopen(urllib.request.Request(f"{service}/{name}", method="PUT")).close()
    return f"s3://{name}"


@pytest.fixture
def memory(request):
    """An object store in the memory of this process."""
    return f"memory://{abs(hash(request.node.nodeid)):x}"


def to(out, gestures, **options):
    options = {"represent": "frames:n=4", "workers": 2, **options}
    return convert("dvsgesture", root=gestures, out=out, **options)


def contents(place):
    return {name: (place / name).read_bytes() for name, _ in sizes(place)}


@pytest.fixture(scope="module")
def local(gestures, tmp_path_factory):
    """The store that must come out everywhere, and its files."""
    path = tmp_path_factory.mktemp("local") / "x.zarr"
    to(path, gestures)
    return path, contents(path)


@pytest.fixture
def stored(gestures, memory):
    """That store in memory."""
    to(f"{memory}/x.zarr", gestures)
    return at(f"{memory}/x.zarr")


# Writing.


@pytest.mark.slow
def test_dask_workers_write_the_same_objects(s3, gestures, local):
    to(f"{s3}/x.zarr", gestures, engine="dask", scheduler="local")
    assert contents(at(f"{s3}/x.zarr")) == local[1]


def test_an_array_of_jobs_needs_a_folder(memory, gestures):
    with pytest.raises(OptionError, match="--engine dask"):
        to(f"{memory}/x.zarr", gestures, shard="0/2")


def test_the_same_bytes_as_on_a_disk_and_nothing_else(local, stored, gestures):
    assert contents(stored) == local[1]
    assert not list(stored.with_name("x.zarr.building").files())
    assert to(str(stored), gestures)["note"] == "nothing to do"


def test_events_too(gestures, memory, tmp_path):
    for out in (f"{memory}/e.zarr", tmp_path / "e.zarr"):
        to(out, gestures, represent="events")
    assert contents(at(f"{memory}/e.zarr")) == contents(tmp_path / "e.zarr")
    assert ek.open(f"{memory}/e.zarr")["train"].events(1) == ek.open(tmp_path / "e.zarr")[
        "train"
    ].events(1)


POINTS = ["after_rename:6"]
MORE = [
    "before_rename:4",
    "before_journal:2",
    "after_journal:3",
    "before_root:1",
    "before_publish:1",
]


@pytest.mark.attack
@pytest.mark.parametrize(
    "point", [*POINTS, *(pytest.param(point, marks=pytest.mark.slow) for point in MORE)]
)
def test_killed_anywhere_and_run_again_is_the_same_store(point, s3, gestures, local):
    out = f"{s3}/x.zarr"
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out]
    killed = eventkit(*command, EVENTKIT_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if point != "before_publish:1":
        with pytest.raises(StoreError, match="run the same convert command again"):
            ek.open(out)
    summary = to(out, gestures)
    if point.startswith("before_root"):
        assert summary["resumed_shards"] == 12
    assert contents(at(out)) == local[1]
    assert not list(at(f"{out}.building").files())


def test_a_shard_that_was_changed_meanwhile_is_made_again(memory, gestures, local):
    out = f"{memory}/x.zarr"

    def interrupt(state):
        if state["samples"] == state["total"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to(out, gestures, progress=interrupt)
    shard = next(name for name, _ in at(out).files() if "train/frames/c" in name)
    (at(out) / shard).write_bytes(b"cut")
    assert to(out, gestures)["resumed_shards"] == 11
    assert contents(at(out)) == local[1]


@pytest.mark.slow
def test_processes_write_there_too(s3, gestures, local):
    to(f"{s3}/x.zarr", gestures, engine="processes")
    assert contents(at(f"{s3}/x.zarr")) == local[1]


def test_another_plan_needs_overwrite_and_replaces_all(stored, gestures, local):
    other = (stored / "train" / "left").write_bytes(b"from before")
    with pytest.raises(StoreError, match="finished store of another plan"):
        to(str(stored), gestures, represent="frames:n=2")
    to(str(stored), gestures, represent="frames:n=2", overwrite=True)
    assert ek.open(str(stored))["train"].frames.shape[1] == 2
    assert verify(str(stored)) == []
    assert other
    to(str(stored), gestures, overwrite=True)
    assert contents(stored) == local[1]


def test_an_overwrite_killed_at_its_begin_can_be_run_again(memory, gestures, local, monkeypatch):
    held = building(memory)
    with held.locked():  # what a conversion of another plan left
        held.begin({"plan": "another"})
        held.record(("train", 0), {"files": {}})
        (held.target / "train" / "left").write_bytes(b"from before")

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            to(f"{memory}/x.zarr", gestures, overwrite=True)
    to(f"{memory}/x.zarr", gestures, overwrite=True)
    assert contents(at(f"{memory}/x.zarr")) == local[1]


def test_what_is_no_store_is_not_touched(memory, gestures):
    place = at(f"{memory}/mine.zarr")
    (place / "notes.txt").write_bytes(b"mine")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="is no eventkit store"):
            to(str(place), gestures, overwrite=overwrite)
    assert contents(place) == {"notes.txt": b"mine"}


# The lock.


def building(memory):
    return remote.RemoteBuilding(Remote(f"{memory}/x.zarr"))


def test_a_second_converter_is_refused(memory, gestures):
    told = pytest.raises(StoreLocked, match=f"process {os.getpid()} on .* ends after 90 s")
    with building(memory).locked(), told:
        to(f"{memory}/x.zarr", gestures)
    to(f"{memory}/x.zarr", gestures)  # the lock is gone with its holder


def card(memory, **facts):
    place = Remote(f"{memory}/x.zarr.building/lock")
    place.write_bytes(json.dumps({"machine": remote._machine(), "beat": "", **facts}).encode())


def test_the_lock_of_a_process_that_is_gone_is_taken(memory):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for process in (gone.pid, os.getpid()):  # our number may have been another's before
        card(memory, process=process)
        with building(memory).locked():
            pass


def test_a_silent_lock_of_another_machine_is_taken_after_a_while(memory, monkeypatch):
    card(memory, process=1, host="node7", machine="another")
    with pytest.raises(StoreLocked, match="process 1 on node7"), building(memory).locked():
        pass
    monkeypatch.setattr(remote, "EXPIRED", -1.0)
    with building(memory).locked():
        pass


def test_who_lost_the_lock_commits_nothing(memory, monkeypatch):
    monkeypatch.setattr(remote, "RENEWED", 0.01)
    held = building(memory)
    with held.locked():
        card(memory, process=1, host="node7", machine="another")
        held.lock._stop.wait(0)
        while not held.lock._lost:  # until it is renewed for the next time
            pass
        with pytest.raises(StoreLocked, match="another process took it over"):
            held.record(("train", 0), {})
        with pytest.raises(StoreLocked):
            held.hold()
    assert (held.folder / "lock").head() is not None  # that of the other


def test_a_lock_is_renewed(memory, monkeypatch):
    monkeypatch.setattr(remote, "RENEWED", 0.01)
    held = building(memory)
    with held.locked():
        tags = set()
        while len(tags) < 3:
            tags.add((held.folder / "lock").head()["e_tag"])
        held.hold()


# Reading.


def test_frames_and_columns_are_those_of_the_local_store(local, stored):
    here, there = ek.open(local[0]), ek.open(str(stored))
    assert there.splits == here.splits
    assert there.classes == here.classes
    for split in here:
        np.testing.assert_array_equal(there[split].frames[:], here[split].frames[:])
        np.testing.assert_array_equal(there[split].labels, here[split].labels)
    assert str(stored) in repr(there)


def test_zarr_reads_it(local, s3, gestures):
    to(f"{s3}/x.zarr", gestures)
    array = ek.open(f"{s3}/x.zarr")["train"].zarr
    np.testing.assert_array_equal(array[:], ek.open(local[0])["train"].frames[:])


def test_what_was_read_is_kept_in_the_cache(local, stored, tmp_path):
    store = ek.open(str(stored), cache=tmp_path / "cache")
    first = store["train"].frames[0]
    kept = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert len(kept) == 1
    assert kept[0].read_bytes() in local[1].values()
    again = ek.open(str(stored), cache=tmp_path / "cache")
    (stored / "train/frames" / kept[0].name).unlink()  # so it can only come from the cache
    np.testing.assert_array_equal(again["train"].frames[0], first)


def test_what_is_cached_is_read_without_asking_again(stored, tmp_path, monkeypatch):
    ek.open(str(stored), cache=tmp_path)["train"].frames[0]
    again = ek.open(str(stored), cache=tmp_path)
    frames, n_frames = again["train"].frames, again["train"].n_frames
    monkeypatch.setattr(Remote, "_client", None)  # as if the network were gone
    assert frames.read([0], int(n_frames[0])).any()


def test_a_large_object_is_put_at_once(s3):
    place = at(f"{s3}/x.zarr/large")
    data = os.urandom(12 << 20)
    place.write_bytes(data)
    assert place.read_bytes() == data
    assert b"".join(place.blocks()) == data
    assert place.part(11 << 20, 100) == data[11 << 20 :][:100]
    assert "-" not in place.head()["e_tag"]  # as one of parts would have, of which some may be left


def test_a_store_goes_to_a_spawned_process(stored, tmp_path):
    store = ek.open(str(stored), cache=tmp_path)
    store["train"].frames[0]
    copy = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy["train"].frames[1], store["train"].frames[1])


@pytest.mark.parametrize("damage", ["flip", "cut", "index", "empty"])
def test_a_damaged_cache_is_fetched_again(damage, local, stored, tmp_path):
    right = ek.open(local[0])["train"].frames[0]
    ek.open(str(stored), cache=tmp_path / "cache")["train"].frames[0]
    file = next(p for p in (tmp_path / "cache").rglob("*") if p.is_file())
    data = bytearray(file.read_bytes())
    whole = bytes(data)
    if damage == "flip":
        data[20] ^= 1
    elif damage == "index":
        data[-10] ^= 1
    file.write_bytes({"cut": data[:-7], "empty": b""}.get(damage, data))
    found = ek.open(str(stored), cache=tmp_path / "cache")["train"].frames[0]
    np.testing.assert_array_equal(found, right)
    assert file.read_bytes() == whole


def test_another_store_of_that_name_does_not_meet_the_cache(stored, gestures, tmp_path):
    cache = tmp_path / "cache"
    before = ek.open(str(stored), cache=cache)
    before["train"].frames[0]
    to(str(stored), gestures, represent="frames:n=2", overwrite=True)
    assert ek.open(str(stored), cache=cache)["train"].frames[0].shape[0] == 2
    with pytest.raises(StoreError, match="was replaced or removed"):
        before["train"].frames[5]


def test_a_missing_or_changed_shard_is_said(stored):
    shard = stored / "train/frames/c.1.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(StoreDamaged, match="checksum differs"):
        ek.open(str(stored))["train"].frames[1]
    shard.unlink()
    with pytest.raises(StoreDamaged, match="is missing"):
        ek.open(str(stored))["train"].frames[1]


def test_exchanged_objects_are_refused_with_and_without_a_cache(stored, local, tmp_path):
    right = ek.open(local[0])["train"].frames[:]
    names = [stored / f"train/frames/c.{i}.0.0.0.0" for i in (0, 1)]
    first, second = (name.read_bytes() for name in names)
    ek.open(str(stored), cache=tmp_path)["train"].frames[0:2]
    kept = sorted(p for p in tmp_path.rglob("*") if p.is_file())
    for file, data in zip(kept, (second, first), strict=True):
        file.write_bytes(data)  # copies that are exchanged are fetched again
    found = ek.open(str(stored), cache=tmp_path)["train"].frames[0:2]
    np.testing.assert_array_equal(found, right[0:2])
    names[0].write_bytes(second)
    names[1].write_bytes(first)
    for cache in (None, tmp_path / "another"):
        with pytest.raises(StoreDamaged, match=r"belongs elsewhere|bytes, expected"):
            ek.open(str(stored), cache=cache)["train"].frames[0]
    labels = stored / "train/labels/c.0"
    labels.write_bytes((stored / "train/source/c.0").read_bytes())
    with pytest.raises(StoreDamaged, match=r"labels/c\.0"):
        ek.open(str(stored))


def test_verify_finds_every_kind_of_damage(stored):
    assert verify(str(stored)) == []
    changed = stored / "train/frames/c.1.0.0.0.0"
    data = bytearray(changed.read_bytes())
    data[30] ^= 1
    changed.write_bytes(bytes(data))
    (stored / "test/labels/c.0").unlink()
    (stored / "more").write_bytes(b"x")
    problems = "\n".join(verify(str(stored)))
    assert "train/frames/c.1.0.0.0.0: its checksum is" in problems
    assert "test/labels/c.0: is missing" in problems
    assert "more: does not belong to the store" in problems


def test_no_store_there_is_one_sentence(memory):
    with pytest.raises(StoreError, match="no such store; eventkit convert makes one"):
        ek.open(f"{memory}/nothing.zarr")
    for wrong in (memory, "ftp://x/y.zarr"):
        with pytest.raises(StoreError, match=r"names no store|is no address of a store"):
            ek.open(wrong)


# Through the command and into torch.


def test_the_commands_take_addresses(run, s3, gestures):
    out = f"{s3}/deep/er/x.zarr"
    code, told, err = run("convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out)
    assert code == 0, err
    assert out in told
    assert run("verify", out)[0] == 0
    code, told, _ = run("inspect", out, "--json")
    assert code == 0
    assert json.loads(told)["store"] == out
    (at(out) / "train/labels/c.0").unlink()
    assert run("verify", out)[0] == 3


def test_a_bucket_that_is_not_there_is_one_sentence(run, s3, gestures):
    code, _, err = run(
        "convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", "s3://no-such/x.zarr"
    )
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert "s3://no-such/x.zarr: the object store refuses: NoSuchBucket, The specified" in err


def test_batches_for_torch_come_from_there(stored, local, tmp_path):
    pytest.importorskip("torch")
    from eventkit.loader import EventDataset

    store = ek.open(str(stored), cache=tmp_path / "cache")
    there, here = EventDataset(store), EventDataset(local[0])
    for (a, label), (b, right) in zip(
        there.__getitems__([3, 0, 8]), here.__getitems__([3, 0, 8]), strict=True
    ):
        assert (a == b).all()
        assert label == right
    assert EventDataset(str(stored))[2][1] == here[2][1]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_is_told_what_to_do(stored):
    store = ek.open(str(stored))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            store["train"].frames[0]
        except StoreError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert b'multiprocessing_context="spawn"' in os.read(reading, 1000)


@pytest.mark.slow
def test_train_from_there(run, s3, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    root = make_gestures(tmp_path / "raw", recordings=4, windows=3, events=300)
    out = f"{s3}/x.zarr"
    to(out, root, represent="frames:n=2", transform=("crop:width=32,height=32",))
    command = ["train", out, "--model", "csnn_tiny", "--epochs", 1, "--out", tmp_path / "run"]
    monkeypatch.setenv("EVENTKIT_CACHE", str(tmp_path / "cache"))
    code, _, err = run(*command)
    assert code == 0, err
    assert list((tmp_path / "cache").rglob("c.*"))


def test_a_missing_library_is_said(run, gestures):
    program = (
        "import sys; sys.modules['obstore'] = None\n"
        "from eventkit.cli import main; sys.exit(main(['inspect', 's3://bucket/x.zarr']))"
    )
    command = [sys.executable, "-c", program]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "pip install 'eventkit-dvs[cloud]'" in told.stderr


# Merge, subset and every other command know an address wherever they know a path.


def test_subset_and_merge_read_and_write_there_as_on_a_disk(stored, local, memory, tmp_path):
    halves = {"a": range(5), "b": range(5, 9)}
    for name, indices in halves.items():
        for out, store in (
            (f"{memory}/{name}.zarr", stored),
            (tmp_path / f"{name}.zarr", local[0]),
        ):
            told = subset(out, str(store), splits=["train"], indices=list(indices))
            assert told["samples"] == {"train": len(indices)}
        assert contents(at(f"{memory}/{name}.zarr")) == contents(tmp_path / f"{name}.zarr")
    told = merge(f"{memory}/m.zarr", [f"{memory}/{name}.zarr" for name in halves])
    merge(tmp_path / "m.zarr", [tmp_path / f"{name}.zarr" for name in halves])
    assert contents(at(f"{memory}/m.zarr")) == contents(tmp_path / "m.zarr")
    assert told["bytes"] == sum(n for _, n in sizes(tmp_path / "m.zarr"))
    assert not list(at(f"{memory}/m.zarr.building").files())
    with pytest.raises(StoreError, match="is one of the stores to be read"):
        merge(f"{memory}/a.zarr", [f"{memory}/a.zarr", f"{memory}/b.zarr"], overwrite=True)
    subset(tmp_path / "here.zarr", f"{memory}/m.zarr")
    assert verify(tmp_path / "here.zarr", deep=True) == []


def test_a_damaged_shard_is_not_copied_from_there(stored, memory):
    shard = stored / "train/frames/c.1.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(StoreDamaged, match=r"c\.1\.0\.0\.0\.0"):
        subset(f"{memory}/y.zarr", str(stored))


def test_an_address_that_pathlib_shortened_is_still_one(stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(at(Path(str(stored)))) == str(stored)
    assert ek.open(Path(str(stored))).splits == ["train", "test"]
    subset(Path(str(stored.with_name("y.zarr"))), str(stored), splits=["test"])
    assert ek.open(str(stored.with_name("y.zarr"))).splits == ["test"]
    with pytest.raises(StoreError, match="is no address of a store"):
        at(Path("ftp://x/y.zarr"))
    assert not list(tmp_path.iterdir())


def test_no_command_takes_an_address_for_a_folder(run, s3, gestures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = f"{s3}/x.zarr"
    assert run("convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out)[0] == 0
    assert run("view", out, "--out", "x.png")[0] == 0
    code, _, err = run("info", out)
    assert code == 1
    assert "is a store, not a recording" in err
    code, _, err = run("bench", out)
    assert code == 1
    assert "bench times what is on a disk" in err
    code, _, err = run("repair", out)
    assert code == 1
    assert "only stores on a disk are repaired" in err
    assert run("subset", f"{s3}/a.zarr", out, "--split", "test")[0] == 0
    assert run("subset", f"{s3}/b.zarr", out, "--split", "train")[0] == 0
    code, told, err = run("merge", f"{s3}/m.zarr", f"{s3}/a.zarr", f"{s3}/b.zarr", "--json")
    assert code == 0, err
    assert json.loads(told)["samples"] == {"test": 3, "train": 9}
    assert run("verify", "--deep", f"{s3}/m.zarr")[0] == 0
    for command in (["evaluate", "run"], ["train"], ["finalize"], ["inspect"], ["view"]):
        code, _, err = run(*command, f"{s3}/nothing.zarr")
        assert "s3:/bucket" not in err
        assert code in (1, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
