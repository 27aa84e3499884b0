"""Attacks on conversions: killed at any change of a file, at a wrong time, beside each other."""

import contextlib
import os
import shutil
import time

import numpy as np
import pytest
from killing import killed_at
from making import link_tree, make_gestures, tree_hash

import eventkit as ek
from eventkit.conversion import convert
from eventkit.errors import PartlyDone, StoreError, StoreLocked

pytestmark = pytest.mark.attack


def to(out, root, **options):
    return convert("dvsgesture", root=root, out=out, **{"represent": "frames:n=4", **options})


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return make_gestures(tmp_path_factory.mktemp("raw") / "raw", recordings=3, windows=2)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """The same with a recording that is cut."""
    root = make_gestures(tmp_path_factory.mktemp("damaged") / "raw", recordings=4, windows=2)
    path = root / "user02_led.aedat"
    path.write_bytes(path.read_bytes()[:-100])
    return root


WAYS = {  # what is at the target before, and the options of the conversion that is killed
    "new": (None, {}),
    "overwrite": ({"represent": "frames:n=2"}, {"overwrite": True}),
    "overwrite the same": ({}, {"overwrite": True}),
    "keep going": (None, {"keep_going": True}),
    "part": (None, {"shard": "0/1"}),
}


def done(out, root, **options):
    """A conversion that may go without samples."""
    try:
        to(out, root, **options)
    except PartlyDone:
        assert options["keep_going"]


def killed_everywhere(way, root, tmp_path, step):
    """Kill at every `step`-th change, look at what is there, and run again."""
    before, options = WAYS[way]
    out, wanted, old = (tmp_path / f"{name}.zarr" for name in ("s", "wanted", "old"))
    again = {"workers": 1, **{key: options[key] for key in options if key != "shard"}}
    done(wanted, root, **again)
    if before is not None:
        to(old, root, **before)
    allowed = {tree_hash(wanted)} | ({tree_hash(old)} if before is not None else set())
    n = 1
    while True:
        if before is not None:
            link_tree(old, out)
        if not killed_at(n, tmp_path, lambda: done(out, root, workers=1, **options)):
            break
        if out.exists():  # one or the other, and whole
            assert tree_hash(out) in allowed
        done(out, root, **again)
        assert tree_hash(out) == tree_hash(wanted), f"killed at change {n}"
        assert {path.name for path in tmp_path.glob("s.*")} == {"s.zarr"}
        shutil.rmtree(out)
        n += step
    assert n > 40  # the shim saw what it should


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_some_changes_and_run_again(way, raw, damaged, tmp_path):
    killed_everywhere(way, damaged if way == "keep going" else raw, tmp_path, 89)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_every_change_and_run_again(way, raw, damaged, tmp_path):
    killed_everywhere(way, damaged if way == "keep going" else raw, tmp_path, 1)


def test_a_clock_that_is_set_back_changes_nothing(raw, tmp_path, monkeypatch):
    to(tmp_path / "wanted.zarr", raw)
    out = tmp_path / "s.zarr"
    assert killed_at(40, tmp_path, lambda: to(out, raw))
    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, lambda: -1e9)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    to(out, raw)
    assert tree_hash(out) == tree_hash(tmp_path / "wanted.zarr")


def test_a_reader_beside_a_converter_gets_one_store_or_is_told(raw, tmp_path):
    """The store at a name is replaced again and again, while it is read."""
    out = tmp_path / "s.zarr"
    right = {}
    for n in (2, 4):
        to(tmp_path / f"{n}.zarr", raw, represent=f"frames:n={n}")
        right[n] = ek.open(tmp_path / f"{n}.zarr")["train"].frames[:]
    to(out, raw, represent="frames:n=2")
    child = os.fork()
    if child == 0:
        for round in range(8):
            to(out, raw, represent=f"frames:n={(4, 2)[round % 2]}", overwrite=True, workers=1)
        os._exit(0)
    read = told = 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        try:
            split = ek.open(out)["train"]
            frames = np.concatenate([split.read([row]) for row in range(len(split))])
            np.testing.assert_array_equal(frames, right[frames.shape[1]])
            read += 1
        except StoreError:
            told += 1
    assert read
    assert tree_hash(out) == tree_hash(tmp_path / "2.zarr")


def test_two_converters_of_one_store_leave_it_whole(raw, tmp_path):
    """Each finishes, or is told that the other is at it; and it does not matter who."""
    out = tmp_path / "s.zarr"
    to(tmp_path / "wanted.zarr", raw)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            for _ in range(3):
                with contextlib.suppress(StoreLocked):
                    to(out, raw, workers=1, overwrite=True)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert tree_hash(out) == tree_hash(tmp_path / "wanted.zarr")
    assert {path.name for path in tmp_path.iterdir()} == {"s.zarr", "wanted.zarr"}
