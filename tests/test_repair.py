"""Repair: the same bytes as before, from the store itself where it can, else from the sources."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from making import eventkit, flip, link_tree, make_events, make_gestures, put, tree_hash

import eventkit as ek
from eventkit.conversion import convert
from eventkit.conversion import repair as repairing
from eventkit.conversion.repair import repair
from eventkit.errors import FetchError, StoreDamaged, StoreError, StoreLocked, UnknownName
from eventkit.store.building import Building
from eventkit.store.verify import verify

KINDS = ["frames:duration=4000", "events"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return make_gestures(tmp_path_factory.mktemp("raw") / "g", recordings=3, windows=2, events=400)


@pytest.fixture(scope="module", params=KINDS)
def made(request, raw, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "s.zarr"
    convert("dvsgesture", root=raw, out=path, represent=request.param, workers=1)
    return path


@pytest.fixture
def store(made, tmp_path):
    return link_tree(made, tmp_path / "s.zarr")


def shards(path):
    return sorted((path / "train").rglob("c.*.*"))


FROM_ITSELF = {
    "root changed": lambda s: flip(s / "zarr.json"),
    "root missing": lambda s: (s / "zarr.json").unlink(),
    "root cut": lambda s: put(s / "zarr.json", (s / "zarr.json").read_bytes()[:1000]),
    "document missing": lambda s: (s / "train/labels/zarr.json").unlink(),
    "all documents missing": lambda s: [p.unlink() for p in s.rglob("zarr.json") if p.parent != s],
    "copy changed": lambda s: flip(s / "integrity/attributes/c.0"),
    "checksums missing": lambda s: shutil.rmtree(s / "integrity/train"),
}
FROM_SOURCES = {
    "shard changed": lambda s: flip(shards(s)[0]),
    "shard missing": lambda s: shards(s)[-1].unlink(),
    "shard empty": lambda s: put(shards(s)[0], b""),
    "all shards missing": lambda s: [p.unlink() for p in shards(s)],
    "labels changed": lambda s: flip(s / "train/labels/c.0"),
    "window missing": lambda s: (s / "train/window_stop/c.0").unlink(),
    "user missing": lambda s: (s / "train/user/c.0").unlink(),
    "ledger changed": lambda s: flip(s / "train/ledger/binned/c.0"),
    "sources missing": lambda s: shutil.rmtree(s / "sources"),
    "checksums and a shard": lambda s: (shutil.rmtree(s / "integrity/train"), flip(shards(s)[0])),
    "all but the root": lambda s: [shutil.rmtree(p) for p in s.iterdir() if p.is_dir()],
    "root and a shard": lambda s: (flip(s / "zarr.json"), flip(shards(s)[0])),
}


@pytest.mark.parametrize("damage", FROM_ITSELF.values(), ids=FROM_ITSELF)
def test_what_the_store_holds_twice_is_restored_without_sources(damage, store, made, tmp_path):
    damage(store)
    assert verify(store)
    told = repair(store, root=tmp_path / "nowhere")
    assert told["repaired"]
    assert told["left"] == []
    assert tree_hash(store) == tree_hash(made)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.zarr"]


@pytest.mark.parametrize("damage", FROM_SOURCES.values(), ids=FROM_SOURCES)
def test_what_is_lost_is_made_anew_from_the_sources(damage, store, made, raw, tmp_path):
    damage(store)
    assert verify(store)
    repair(store, root=raw, workers=1)
    assert tree_hash(store) == tree_hash(made)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.zarr"]


def test_only_what_is_bad_is_written(store, raw):
    flip(shards(store)[1])
    before = {file: file.stat().st_ino for file in store.rglob("*") if file.is_file()}
    assert repair(store, root=raw)["repaired"] == [shards(store)[1].relative_to(store).as_posix()]
    after = {file: file.stat().st_ino for file in store.rglob("*") if file.is_file()}
    assert {file for file in after if after[file] != before[file]} == {shards(store)[1]}


def test_a_whole_store_is_left_alone(store, made):
    assert repair(store)["repaired"] == []
    assert tree_hash(store) == tree_hash(made)


def test_what_does_not_belong_to_the_store_stays_and_is_named(store, raw, tmp_path):
    (store / "train/note.txt").write_text("mine")
    flip(shards(store)[0])
    done = eventkit("repair", store, "--root", raw, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 3
    assert told["left"] == ["train/note.txt: does not belong to the store"]
    assert len(told["repaired"]) == 1
    assert (store / "train/note.txt").read_text() == "mine"


@pytest.mark.parametrize("point", ["before_rename:1", "after_rename:2", "after_repair:1"])
def test_killed_repair_is_run_again(point, raw, tmp_path):
    out = tmp_path / "s.zarr"
    convert("dvsgesture", root=raw, out=out, represent="frames:n=2", workers=1)
    whole = tree_hash(out)
    flip(out / "zarr.json")
    for shard in shards(out):
        flip(shard)
    killed = eventkit("repair", out, "--root", raw, EVENTKIT_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    repair(out, root=raw)
    assert tree_hash(out) == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.zarr"]


def test_other_sources_are_refused_and_nothing_is_changed(store, raw, tmp_path):
    flip(shards(store)[0])
    before = tree_hash(store)
    other = shutil.copytree(raw, tmp_path / "other")
    with pytest.raises(FetchError, match="no data of dvsgesture there"):
        repair(store, root=tmp_path / "nowhere")
    recording = other / "user01_led.aedat"
    whole = recording.read_bytes()
    recording.write_bytes(whole[:-10])
    with pytest.raises(StoreError, match=r"user01_led.aedat: has .* bytes, .* was made from"):
        repair(store, root=other)
    recording.write_bytes(bytes([*whole[:-1], whole[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"user01_led.aedat: its crc32c is .* was made from"):
        repair(store, root=other)
    recording.write_bytes(whole)
    table = other / "user01_led_labels.csv"
    table.write_text(table.read_text().replace("1,0,4000", "2,0,4000"))
    with pytest.raises(StoreError, match=r"was made by another plan \(splits.train"):
        repair(store, root=other)
    assert tree_hash(store) == before


def test_bytes_of_another_version_are_refused(raw, tmp_path, monkeypatch):
    from eventkit.store.shard import Codec

    out = tmp_path / "s.zarr"
    convert("dvsgesture", root=raw, out=out, represent="frames:n=2", workers=1)
    flip(shards(out)[0])
    before = tree_hash(out)
    encode = Codec.encode
    monkeypatch.setattr(Codec, "encode", lambda self, chunk: encode(Codec("lz4", 1), chunk))
    with pytest.raises(StoreError, match="comes out with other bytes than it had"):
        repair(out, root=raw)
    assert tree_hash(out) == before


def test_repair_waits_for_nobody(store, raw):
    with Building(store).locked(), pytest.raises(StoreLocked, match="another"):
        repair(store, root=raw)
    flip(shards(store)[0])
    with Building(store).locked():
        done = eventkit("repair", store, "--root", raw)
    assert done.returncode == 5


def test_two_damages_at_the_same_place_are_too_many(store):
    put(store / "zarr.json", b"{}")
    (store / "integrity/attributes/c.0").unlink()
    with pytest.raises(StoreDamaged, match=r"and so is its copy .* convert again"):
        repair(store)


def test_what_is_no_store_is_said(tmp_path):
    with pytest.raises(StoreError, match="no such store"):
        repair(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="is no eventkit store"):
        repair(tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


def test_a_store_of_a_folder_or_a_description_is_repaired(tmp_path):
    for number in range(4):
        folder = tmp_path / "mine" / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        ek.write(folder / f"{number}.bin", make_events(100, seed=number))
    out = tmp_path / "s.zarr"
    convert(tmp_path / "mine", out=out, represent="frames:n=2", workers=1)
    whole = tree_hash(out)
    flip(shards(out)[0])
    (tmp_path / "mine").rename(tmp_path / "moved")
    with pytest.raises(UnknownName, match=r"made from 'mine', which is none of the known"):
        repair(out)
    repair(out, root=tmp_path / "moved")
    assert tree_hash(out) == whole
    description = tmp_path / "described.toml"
    description.write_text('[layout]\nkind = "class_folders"\nsplits = { train = "train" }\n')
    out = tmp_path / "d.zarr"
    convert(description, root=tmp_path / "moved", out=out, represent="frames:n=2", workers=1)
    whole = tree_hash(out)
    flip(shards(out)[0])
    repair(out, root=tmp_path / "moved", dataset=description)
    assert tree_hash(out) == whole


def test_files_that_end_with_their_own_checksum_still_differ_in_the_list(made, tmp_path):
    """The crc32c of data followed by its crc32c is one number for all data; this is another."""
    from eventkit.store.metadata import SMALL_ARRAY
    from eventkit.store.shard import crc32, crc32c

    rng = np.random.default_rng(0)
    a, b = (SMALL_ARRAY.encode(rng.integers(0, 2**32, 9).astype(np.uint32)) for _ in "ab")
    assert len(a) == len(b)
    assert crc32c(a) == crc32c(b)
    assert crc32(a) != crc32(b)


def test_folder_that_cannot_be_written_is_one_sentence(store, raw):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    flip(shards(store)[0])
    store.parent.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            repair(store, root=raw)
    finally:
        store.parent.chmod(0o755)


# Others at the same time, and places that cannot be written.


def test_a_reader_of_a_store_that_is_repaired_gets_right_data_or_an_error(store, made, raw):
    """Whatever is there when it reads: before, between any two files put in place, and after."""
    truth = [ek.open(made)[split].labels.tolist() for split in ("train", "test")]
    flip(shards(store)[0])
    flip(shards(store)[-1])
    flip(store / "train/labels/c.0")
    seen = []

    def look(self, source, name):
        move(self, source, name)
        try:
            opened = ek.open(store)
            seen.append([opened[split].labels.tolist() for split in ("train", "test")])
        except StoreDamaged:
            seen.append(None)
        verify(store)  # and it ends

    move = repairing._Mender.move
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repairing._Mender, "move", look)
        repair(store, root=raw, workers=1)
    assert seen[-1] == truth
    assert all(found in (None, truth) for found in seen)
    assert tree_hash(store) == tree_hash(made)


def test_a_second_repair_is_refused_and_a_third_finds_it_whole(store, made, raw):
    flip(shards(store)[0])

    def second(self, source, name):
        with pytest.raises(StoreLocked):
            repair(store, root=raw)
        move(self, source, name)

    move = repairing._Mender.move
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repairing._Mender, "move", second)
        assert repair(store, root=raw, workers=1)["repaired"]
    assert repair(store, root=raw)["repaired"] == []
    assert tree_hash(store) == tree_hash(made)


def test_a_store_that_is_read_only_is_read_and_verified(store, made):
    for path in [store, *store.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert verify(store, deep=True) == []
        assert [len(part) for part in ek.open(store).values()] == [4, 2]
        assert tree_hash(store) == tree_hash(made)
    finally:
        for path in [store, *store.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
