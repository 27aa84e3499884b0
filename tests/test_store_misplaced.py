"""Content that is whole, with right checksums of its own, but not where it was written."""

import multiprocessing
import os
import pickle

import numpy as np
import pytest
from making import link_tree, make_events, make_gestures, tree_hash

import eventkit as ek
from eventkit.conversion import convert
from eventkit.conversion.repair import repair
from eventkit.errors import StoreDamaged, StoreError
from eventkit.store import Store
from eventkit.store.array import Checksums
from eventkit.store.merge import merge, subset
from eventkit.store.verify import verify


@pytest.fixture(scope="module", params=["frames:n=2", "events"])
def pair(request, tmp_path_factory):
    """Two stores of the same shapes, of other events, and the recordings of the first."""
    folder = tmp_path_factory.mktemp("pair")
    crop = ("crop:width=32,height=32",)
    for name, seed in (("a", 0), ("b", 50)):
        root = make_gestures(folder / f"raw-{name}", recordings=5, windows=2, events=300)
        for number, path in enumerate(sorted(root.glob("*.aedat"))):
            ek.write(path, make_events(600, (128, 128), seed + number, 20))
        convert(
            "dvsgesture", root=root, out=folder / f"{name}.zarr", represent=request.param,
            transform=crop, workers=1,
        )  # fmt: skip
    return folder / "a.zarr", folder / "b.zarr", folder / "raw-a"


@pytest.fixture
def store(pair, tmp_path):
    return link_tree(pair[0], tmp_path / "s.zarr")


def exchange(one, other):
    """Let two files take each other's place."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def take(source, target):
    """A file of another store in place of one of this."""
    target.unlink()
    os.link(source, target)


def shards(path, column="t"):
    folder = path / "train" / "frames"
    return sorted((folder if folder.is_dir() else path / "train/events" / column).glob("c.*"))


def data_of(path):
    """Everything that readers give, split by split, as plain values."""
    found = []
    for part in ek.open(path).values():
        found += [part.column(name).tolist() for name in part.columns]
        if part.kind == "events":
            events = part.read_events(range(len(part)))
            found += [getattr(events, name).tolist() for name in "txyp"]
        else:
            found.append(part.frames[:].tolist())
    return found


def refused(path, out):
    """Nobody reads it, nobody copies it, and verify tells."""
    assert verify(path)
    with pytest.raises(StoreDamaged):
        data_of(path)
    with pytest.raises(StoreDamaged):
        subset(out, path)
    with pytest.raises(StoreDamaged):
        subset(out, path, splits=["train"], indices=[0], overwrite=True)
    assert not out.exists()


def test_the_root_of_another_store_is_refused_on_opening(pair, store, tmp_path):
    take(pair[1] / "zarr.json", store / "zarr.json")
    with pytest.raises(StoreDamaged, match=r"differs from what the root says"):
        ek.open(store)
    refused(store, tmp_path / "out.zarr")
    repair(store, root=tmp_path / "nowhere")  # from its own copy, not towards the other's
    assert tree_hash(store) == tree_hash(pair[0])


def test_two_exchanged_shards_are_refused(store, pair, tmp_path):
    first, *_, last = shards(store)
    exchange(first, last)
    ek.open(store)  # shards are compared when they are read
    refused(store, tmp_path / "out.zarr")
    with pytest.raises(StoreDamaged, match=r"run eventkit verify"):
        merge(tmp_path / "m.zarr", [store, pair[1]])
    repair(store, root=pair[2], workers=1)
    assert tree_hash(store) == tree_hash(pair[0])


def test_a_shard_of_another_store_is_refused(store, pair, tmp_path):
    take(shards(pair[1])[0], shards(store)[0])
    refused(store, tmp_path / "out.zarr")


def test_exchanged_columns_are_refused_on_opening(store, tmp_path):
    exchange(store / "train/t_start/c.0", store / "train/t_end/c.0")
    with pytest.raises(StoreDamaged, match=r"train/t_(start|end)/c\.0"):
        ek.open(store)
    refused(store, tmp_path / "out.zarr")
    assert len(verify(store)) == 2  # it opens what readers refuse, and tells all


def test_exchanged_columns_of_events_are_refused(store, tmp_path):
    if not (store / "train/events").is_dir():
        pytest.skip("a store of frames has one array")
    exchange(shards(store, "x")[0], shards(store, "y")[0])
    refused(store, tmp_path / "out.zarr")


def test_exchanged_lists_of_checksums_and_their_shards_are_refused(store, pair, tmp_path):
    for theirs in sorted(pair[1].rglob("c.*")):
        name = theirs.relative_to(pair[1])
        if name.parts[0] == "integrity" or len(name.name) > 3:
            take(theirs, store / name)
    refused(store, tmp_path / "out.zarr")


def test_no_file_in_the_place_of_another_is_read_as_data(store, pair):
    """Law: every file of a split in turn is the next one's, or that of another store."""
    right = data_of(store)
    files = sorted(p for p in (store / "test").rglob("c.*"))
    theirs = [pair[1] / file.relative_to(store) for file in files]
    for file, other in [
        *zip(files, [*files[1:], files[0]], strict=True),
        *zip(files, theirs, strict=True),
    ]:
        if file.read_bytes() == other.read_bytes():
            continue
        aside = file.with_name("aside")
        file.rename(aside)
        os.link(other, file)
        with pytest.raises(StoreDamaged):
            data_of(store)
        file.unlink()
        aside.rename(file)
    assert data_of(store) == right


def test_a_column_that_changes_after_opening_is_refused(store):
    opened = ek.open(store)
    exchange(store / "train/t_start/c.0", store / "train/t_end/c.0")
    with pytest.raises(StoreDamaged, match="differs from what the root says"):
        opened["train"].column("t_start")


# Once for each shard, not for each reading.


@pytest.fixture
def compared(monkeypatch):
    """The shards that were compared, by their path."""
    paths, whole = [], Checksums._compare

    def counted(self, number, path, file):
        paths.append(str(path))
        return whole(self, number, path, file)

    monkeypatch.setattr(Checksums, "_compare", counted)
    return paths


def read_all(part):
    if part.kind == "events":
        part.read_events(range(len(part)))
    else:
        part.read(range(len(part)))


def test_a_shard_is_compared_once_however_often_it_is_opened(store, compared, monkeypatch):
    monkeypatch.setattr("eventkit.store.array.KEPT", 1)
    part = ek.open(store)["train"]
    for _ in range(3):
        read_all(part)
    assert len(compared) == len(set(compared)) > 1


def test_forked_workers_know_what_the_others_compared(store, compared):
    part = ek.open(store)["train"]
    _ = part.ragged if part.kind == "events" else part.frames
    fork = multiprocessing.get_context("fork")

    def work(told):
        read_all(part)
        told.put(len(compared))

    counts = []
    for _ in range(2):
        told = fork.SimpleQueue()
        worker = fork.Process(target=work, args=(told,))
        worker.start()
        worker.join(60)
        counts.append(told.get())
    assert counts[0] > 0
    assert counts[1] == 0


def test_a_copy_sent_to_another_process_compares_for_itself(store):
    part = ek.open(store)["train"]
    read_all(part)
    first, *_, last = shards(store)
    exchange(first, last)
    with pytest.raises(StoreDamaged):
        read_all(pickle.loads(pickle.dumps(part)))


def test_a_store_that_is_replaced_while_it_opens_is_no_damage(store, pair, monkeypatch):
    """Between root and columns, another store takes its place."""
    small = Store._encoded

    def swap(self, name):
        monkeypatch.setattr(Store, "_encoded", small)
        store.rename(store.with_name("old.zarr"))
        link_tree(pair[1], store)
        return small(self, name)

    monkeypatch.setattr(Store, "_encoded", swap)
    with pytest.raises(StoreError, match="was replaced or removed") as raised:
        ek.open(store)
    assert not isinstance(raised.value, StoreDamaged)
    np.testing.assert_array_equal(ek.open(store)["train"].labels, ek.open(pair[1])["train"].labels)
