"""When the power fails, only what was synced is left: nothing is published before it is.

A file survives if it was synced, its name if the folder was synced afterwards. The tests note every
sync, and look at the tree when it is about to take the store's name.
"""

import os

import pytest
from making import flip, make_gestures

from eventkit.conversion import convert
from eventkit.conversion.repair import repair
from eventkit.store import building
from eventkit.store.merge import subset


@pytest.fixture
def synced(monkeypatch):
    """The inodes that were synced, in order."""
    inodes = []
    monkeypatch.setattr(os, "fsync", lambda fd: inodes.append(os.fstat(fd).st_ino))
    return inodes


@pytest.fixture
def published(synced, monkeypatch):
    """Per publication: how much was synced before, and the files and folders of the tree."""
    seen = []

    def look(name):
        if name == "before_publish":
            (tree,) = made[0].glob("*.building/store*")
            paths = [tree, *tree.rglob("*")]
            seen.append((len(synced), {path: path.stat().st_ino for path in paths}))
            folders.update(path for path in paths if path.is_dir())

    made, folders = [], set()
    monkeypatch.setattr(building, "failpoint", look)
    return made, seen, folders


def check(synced, seen, folders, old=()):
    """Every file of the tree was synced, and its folder after it; `old` ones were there before."""
    ((mark, tree),) = seen
    when = {inode: place for place, inode in enumerate(synced[:mark])}
    for path, inode in tree.items():
        if inode in old:
            continue
        assert inode in when, f"{path} was not synced"
        if path not in folders:
            assert when[tree[path.parent]] > when[inode], f"{path}: its folder was synced before"


@pytest.mark.parametrize("kind", ["frames:n=2", "events"])
def test_a_store_is_published_after_all_of_it_was_synced(kind, synced, published, tmp_path):
    root = make_gestures(tmp_path / "raw", recordings=2, windows=2, events=100)
    made, seen, folders = published
    made.append(tmp_path)
    convert("dvsgesture", root=root, out=tmp_path / "s.zarr", represent=kind, workers=1)
    check(synced, seen, folders)
    assert synced[-1] == tmp_path.stat().st_ino  # the store's own name
    old = {path.stat().st_ino for path in (tmp_path / "s.zarr").rglob("*")}
    synced.clear()
    seen.clear()
    (tmp_path / "out").mkdir()
    made[0] = tmp_path / "out"
    subset(tmp_path / "out" / "t.zarr", tmp_path / "s.zarr", splits=["train"], indices=[1])
    check(synced, seen, folders, old)
    assert synced[-1] == (tmp_path / "out").stat().st_ino


def test_what_was_repaired_was_synced_with_its_folder(synced, tmp_path):
    root = make_gestures(tmp_path / "raw", recordings=2, windows=2, events=100)
    store = tmp_path / "s.zarr"
    convert("dvsgesture", root=root, out=store, represent="frames:n=2", workers=1)
    shard = next((store / "train/frames").glob("c.*"))
    for path in (shard, store / "zarr.json"):
        flip(path)
    synced.clear()
    repair(store, root=root, workers=1)
    for path in (shard, store / "zarr.json"):
        inode, folder = path.stat().st_ino, path.parent.stat().st_ino
        assert inode in synced
        assert folder in synced[synced.index(inode) :]
