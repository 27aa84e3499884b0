"""Conversions that meet: locks that end in between, workers that die, jobs that left something."""

import errno
import fcntl
import os
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest
from making import make_events, tree_hash

import eventkit as ek
from eventkit.conversion import convert, engine, finalize
from eventkit.errors import OptionError, StoreError, StoreLocked
from eventkit.store import lock
from eventkit.store.building import Building
from eventkit.store.merge import subset
from eventkit.store.verify import verify


def to(path, gestures, **options):
    options = {"represent": "frames:n=4", "workers": 2, **options}
    return convert("dvsgesture", root=gestures, out=path, **options)


def test_a_lock_in_a_folder_that_is_gone_is_none(tmp_path, monkeypatch):
    out, flock, first = tmp_path / "x.zarr", lock.lock, ExitStack()
    first.enter_context(Building(out).locked())

    def late(handle, kind):
        monkeypatch.undo()
        Building(out).remove()  # as the first does at its end, after the second opened the file
        first.close()
        flock(handle, kind)

    monkeypatch.setattr(lock, "lock", late)
    with Building(out).locked():
        assert (tmp_path / "x.zarr.building/lock").exists()
        with pytest.raises(StoreLocked), Building(out).locked():
            pass


@pytest.mark.parametrize("how", ["convert", "job", "finalize", "merge"])
def test_a_store_finished_while_one_waits_for_the_lock_is_done(
    how, gestures, tmp_path, monkeypatch
):
    out = tmp_path / "x.zarr"
    work = {
        "convert": lambda: to(out, gestures),
        "job": lambda: to(out, gestures, shard="0/3"),
        "finalize": lambda: finalize(out),
        "merge": lambda: subset(out, tmp_path / "parent.zarr", indices=[1], splits=["train"]),
    }[how]
    if how == "merge":
        to(tmp_path / "parent.zarr", gestures)
    if how == "finalize":
        to(out, gestures, shard="0/1")
    locked = Building.locked

    def late(self):
        monkeypatch.undo()
        work() if how != "job" else to(out, gestures)
        return locked(self)

    monkeypatch.setattr(Building, "locked", late)
    assert "nothing to do" in work()["note"]
    assert {p.name for p in tmp_path.iterdir()} <= {"x.zarr", "parent.zarr"}
    assert not verify(out)


@pytest.mark.parametrize("failures", [None, []])
def test_workers_that_die_between_two_jobs_are_one_sentence(failures):
    class Dying(ThreadPoolExecutor):
        given = 0

        def submit(self, *_):
            self.given += 1
            if self.given > 3:
                raise BrokenExecutor("a child process terminated abruptly")
            done = Future()
            done.set_result({})
            return done

    jobs = [SimpleNamespace(name=str(n)) for n in range(9)]
    with pytest.raises(StoreError, match="a worker process was killed"):
        list(engine.run(jobs, Dying(1), lambda: 1, failures))


def test_shards_of_a_job_that_failed_do_not_stay(tmp_path):
    def recording(number, t, x):
        (tmp_path / "raw/one").mkdir(parents=True, exist_ok=True)
        columns = {"t": t, "x": x, "y": np.zeros(len(t), int), "p": np.zeros(len(t), int)}
        np.savez(tmp_path / "raw/one" / f"{number}.npz", **columns)  # as large for any events

    for number in range(5):
        recording(number, np.arange(20), np.zeros(20, int))
    long = np.arange(5000)
    recording(5, np.where(long < 4900, long, long + (1 << 33)), np.zeros(5000, int))
    (tmp_path / "d.toml").write_text('size = [34, 34]\n[layout]\nkind = "class_folders"\n')
    options = {
        "represent": "events",
        "root": tmp_path / "raw",
        "transform": ("crop:width=9,height=9",),
    }
    with pytest.raises(OptionError, match="nothing happens for"):
        convert(tmp_path / "d.toml", out=tmp_path / "x.zarr", **options)
    recording(5, long, long % 34)  # few of these are left
    for name in "xy":
        convert(tmp_path / "d.toml", out=tmp_path / f"{name}.zarr", **options)
    assert not verify(tmp_path / "x.zarr", deep=True)
    assert tree_hash(tmp_path / "x.zarr") == tree_hash(tmp_path / "y.zarr")


@pytest.mark.parametrize("command", ["verify", "inspect", "finalize"])
@pytest.mark.parametrize("place", [".", "/"])
def test_a_folder_without_a_name_is_one_sentence(command, place, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, told = run(command, place)
    assert code == 1
    assert len(told.strip().splitlines()) == 1


def test_a_store_can_be_named_by_a_dot(gestures, tmp_path, monkeypatch):
    to(tmp_path / "x.zarr", gestures)
    monkeypatch.chdir(tmp_path / "x.zarr")
    assert to(".", gestures)["note"] == "nothing to do"
    assert not verify(".")


def test_columns_of_long_numbers_are_names(tmp_path):
    for day in ("20190201150000", "20190201160000"):
        (tmp_path / "raw").mkdir(exist_ok=True)
        ek.write(tmp_path / "raw" / f"day{day}_3.bin", make_events(50))
    (tmp_path / "d.toml").write_text(
        'size = [34, 34]\n[layout]\nkind = "recordings"\npattern = "*.bin"\n'
        "name = 'day(?P<day>\\d+)_(?P<user>\\d+)'\n"
    )
    convert(tmp_path / "d.toml", root=tmp_path / "raw", out=tmp_path / "x.zarr", represent="events")
    store = ek.open(tmp_path / "x.zarr")
    names = store.nodes["all/day"]["attributes"]["names"]
    assert names == ["20190201150000", "20190201160000"]
    assert store["all"].column("user").tolist() == [3, 3]


def test_a_machine_with_another_byte_order_is_refused(gestures, tmp_path, monkeypatch):
    to(tmp_path / "x.zarr", gestures)
    monkeypatch.setattr(np, "little_endian", False)
    with pytest.raises(StoreError, match="little-endian machines only"):
        ek.open(tmp_path / "x.zarr")
    with pytest.raises(StoreError, match="little-endian machines only"):
        to(tmp_path / "y.zarr", gestures)
    assert not (tmp_path / "y.zarr.building").exists()


@pytest.mark.parametrize("reason", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_sentence_with_a_way_out(
    reason, run, gestures, tmp_path, monkeypatch
):
    def refuse(*_):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", refuse)
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures]
    code, _, told = run(*command, "--out", tmp_path / "x.zarr")
    assert code == 1
    assert "this file system has no locks" in told
    assert "EVENTKIT_LOCK=none" in told
    monkeypatch.setenv("EVENTKIT_LOCK", "none")
    assert run(*command, "--out", tmp_path / "x.zarr")[0] == 0
    assert not verify(tmp_path / "x.zarr")
    assert run(*command, "--out", tmp_path / "y.zarr", "--shard", "0/1")[0] == 0
    assert run("finalize", tmp_path / "y.zarr")[0] == 0
