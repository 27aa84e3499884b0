"""Merge and subset: the same samples in a new store, by links and copies where that can be."""

import signal

import numpy as np
import pytest
import zarr
from making import eventkit, flip, make_events, make_gestures, tree_hash

import eventkit as ek
from eventkit.conversion import convert
from eventkit.conversion.repair import repair
from eventkit.errors import OptionError, StoreDamaged, StoreError, UnknownName
from eventkit.store import notes
from eventkit.store.merge import merge, subset
from eventkit.store.select import parse_indices
from eventkit.store.verify import verify

KINDS = ["frames:duration=4000", "events"]


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    """Two stores of one kind, of other recordings; the second has more samples."""
    folder = tmp_path_factory.mktemp("pair")
    for name, recordings in (("a", 3), ("b", 4)):
        root = make_gestures(folder / f"raw-{name}", recordings, windows=3, events=400)
        for number, path in enumerate(sorted(root.glob("*.aedat"))):
            seed = number + 10 * (name == "b")
            ek.write(path, make_events(1200, (128, 128), seed, 20))
        out = folder / f"{name}.zarr"
        convert("dvsgesture", root=root, out=out, represent=request.param, workers=1)
    return folder / "a.zarr", folder / "b.zarr"


def samples_of(path, split):
    """Everything about each sample, whatever store it is in."""
    store = ek.open(path)
    part = store[split]
    names = bytes(store.small("sources/names")).decode().split("\n")
    found = []
    for i in range(len(part)):
        if part.kind == "events":
            events = part.events(i)
            data = np.concatenate([events.t, events.x, events.y, events.p])
        else:
            data = part.read([i])[0]
        made_anew = ("source", "segment", "start")
        row = {name: int(part.column(name)[i]) for name in part.columns if name not in made_anew}
        found.append((names[part.column("source")[i]], row, data))
    return found


def same(left, right):
    assert len(left) == len(right)
    for (a, b, c), (d, e, f) in zip(left, right, strict=True):
        assert (a, b) == (d, e)
        np.testing.assert_array_equal(c, f)


def test_a_merged_store_has_the_samples_of_all(pair, tmp_path):
    out = tmp_path / "m.zarr"
    told = merge(out, pair)
    assert verify(out, deep=True) == []
    for split in ("train", "test"):
        same(samples_of(out, split), [s for p in pair for s in samples_of(p, split)])
    assert told["encoded"] == 0
    assert [p["name"] for p in ek.open(out).attributes["parents"]] == ["a.zarr", "b.zarr"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.zarr"]
    theirs = zarr.open_group(out, mode="r")
    assert theirs["train/labels"].shape == (15,)


def test_a_subset_of_all_has_the_split_hashes_and_the_shards_of_its_store(pair, tmp_path):
    out = tmp_path / "s.zarr"
    told = subset(out, pair[0])
    new, old = ek.open(out), ek.open(pair[0])
    assert new.attributes["splits"] == old.attributes["splits"]
    assert told["linked"] > 0
    assert told["copied"] == told["encoded"] == 0
    shards = list(pair[0].rglob("c.*.*"))
    for shard in shards:
        assert (out / shard.relative_to(pair[0])).stat().st_ino == shard.stat().st_ino
    assert verify(out, deep=True) == []


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"indices": [5, 0, 3]}, [5, 0, 3]),
        ({"classes": ["right hand wave"]}, [1, 4]),
        ({"classes": [0, "2"]}, [0, 2, 3, 5]),
        ({"where": ["user==2"]}, [3, 4, 5]),
        ({"where": ["user in 1,2", "labels != 0"]}, [1, 2, 4, 5]),
        ({"where": ["lighting==led", "user>=2", "labels<1"]}, [3]),
        ({"indices": range(6), "classes": [1]}, [1, 4]),
    ],
)
def test_a_subset_has_what_was_asked_for(options, rows, pair, tmp_path):
    out = tmp_path / "s.zarr"
    told = subset(out, pair[0], splits=["train"], **options)
    all_rows = samples_of(pair[0], "train")
    same(samples_of(out, "train"), [all_rows[i] for i in rows])
    assert told["samples"] == {"train": len(rows)}
    assert verify(out, deep=True) == []


def test_it_is_the_same_bytes_every_time_and_left_alone_when_it_is_there(pair, tmp_path):
    out, again = tmp_path / "1" / "m.zarr", tmp_path / "2" / "m.zarr"
    merge(out, pair)
    merge(again, pair)
    assert tree_hash(out) == tree_hash(again)
    assert merge(out, pair)["note"].startswith("nothing to do")
    with pytest.raises(StoreError, match="finished store of another plan"):
        subset(out, pair[0])
    subset(out, pair[0], overwrite=True)
    assert len(ek.open(out)["train"]) == 6


@pytest.mark.parametrize("point", ["after_journal:1", "before_root:1", "after_publish:1"])
def test_killed_and_run_again_is_the_same_store(point, pair, tmp_path):
    merge(tmp_path / "1" / "m.zarr", pair)
    out = tmp_path / "2" / "m.zarr"
    killed = eventkit("merge", out, *pair, EVENTKIT_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    merge(out, pair)
    assert tree_hash(out) == tree_hash(tmp_path / "1" / "m.zarr")
    assert sorted(p.name for p in out.parent.iterdir()) == ["m.zarr"]


def test_damage_in_a_parent_is_not_handed_on(pair, tmp_path):
    broken = tmp_path / "broken.zarr"
    subset(broken, pair[0])
    flip(sorted((broken / "train").rglob("c.*.*"))[0], 0.3)
    with pytest.raises(StoreDamaged, match="run eventkit verify"):
        merge(tmp_path / "m.zarr", [broken, pair[1]])
    with pytest.raises(StoreDamaged, match="run eventkit"):
        subset(tmp_path / "s.zarr", broken, splits=["train"], indices=[0])
    assert verify(pair[0]) == []


def test_what_cannot_be_one_store_is_named(pair, tmp_path, gestures):
    other = tmp_path / "other.zarr"
    convert("dvsgesture", root=gestures, out=other, represent="frames:n=3", workers=1)
    with pytest.raises(StoreError, match=r"cannot be one store: (kind|represent) is"):
        merge(tmp_path / "m.zarr", [pair[0], other])
    with pytest.raises(StoreError, match="is one of the stores to be read"):
        merge(pair[0], pair, overwrite=True)
    with pytest.raises(OptionError, match="at least two"):
        merge(tmp_path / "m.zarr", pair[:1])
    assert not (tmp_path / "m.zarr").exists()


def test_a_sample_that_is_in_it_twice_is_told(pair, tmp_path):
    told = merge(tmp_path / "m.zarr", [pair[0], pair[0]])
    assert "9 samples are in it twice" in " ".join(told["warnings"])


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"classes": ["wave"]}, UnknownName, "no class 'wave'"),
        ({"classes": [11]}, UnknownName, "no class '11'"),
        ({"where": ["user=3"]}, OptionError, "is no condition"),
        ({"where": ["usr==3"]}, UnknownName, "Did you mean 'user'"),
        ({"where": ["user==me"]}, OptionError, "expected a whole number"),
        ({"where": ["lighting==moon"]}, UnknownName, "no value of lighting 'moon'"),
        ({"where": ["user==77"]}, OptionError, "no sample fulfils"),
        ({"indices": [99]}, OptionError, "indices go from 99 to 99, train has 6"),
        ({"indices": [1, 1]}, OptionError, "given twice"),
        ({"splits": ["tests"]}, UnknownName, "Did you mean 'test'"),
    ],
)
def test_wrong_selections_are_explained(options, error, sentence, pair, tmp_path):
    with pytest.raises(error, match=sentence):
        subset(tmp_path / "s.zarr", pair[0], **{"splits": ["train"], **options})
    assert not list(tmp_path.iterdir())


def test_indices_as_text():
    assert parse_indices("3, 0,7:9") == [3, 0, 7, 8]
    for wrong in ("", "a", "-1", "3:", "1;2"):
        with pytest.raises(OptionError, match="is no index"):
            parse_indices(wrong)


def test_tiny_samples_that_share_chunks_are_torn_apart_and_put_together(tmp_path):
    for number in range(11):
        folder = tmp_path / "mine" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        ek.write(folder / f"{number}.bin", make_events(100, seed=number))
    whole = tmp_path / "w.zarr"
    convert(tmp_path / "mine", out=whole, represent="frames:n=1", workers=1)
    odd = [1, 2, 3, 4, 9, 10]
    told = subset(tmp_path / "s.zarr", whole, indices=odd, splits=["all"])
    assert told["encoded"] > 0
    rows = samples_of(whole, "all")
    same(samples_of(tmp_path / "s.zarr", "all"), [rows[i] for i in odd])
    assert verify(tmp_path / "s.zarr", deep=True) == []
    told = subset(tmp_path / "t.zarr", whole, indices=range(4, 11), splits=["all"])
    assert told["encoded"] == 0
    assert told["linked"] + told["copied"] == 2


def test_a_merged_store_is_repaired_from_itself_or_by_its_command(pair, tmp_path):
    out = tmp_path / "m.zarr"
    merge(out, pair)
    whole = tree_hash(out)
    flip(out / "zarr.json")
    repair(out)
    assert tree_hash(out) == whole
    flip(sorted((out / "train").rglob("c.*.*"))[0])
    with pytest.raises(StoreError, match=r"made of other stores; .* eventkit merge m.zarr a.zarr"):
        repair(out)


# What a store warns of is true of its own samples.


def many_empty(folder, n=300):
    """Recordings without events, and one of each class with some."""
    for number in range(n):
        path = folder / "ab"[number % 2] / f"{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        ek.write(path, make_events(100 if number < 2 else 0, seed=number))
    return folder


def test_many_empty_samples_are_one_warning(tmp_path):
    convert(
        many_empty(tmp_path / "mine"), out=tmp_path / "s.zarr", represent="frames:n=1", workers=1
    )
    told = ek.open(tmp_path / "s.zarr").attributes["warnings"]
    assert told == ["all: 298 samples have no events; the first is a/2.npz"]
    subset(tmp_path / "t.zarr", tmp_path / "s.zarr", splits=["all"], indices=[0, 1, 2, 150, 151])
    told = ek.open(tmp_path / "t.zarr").attributes["warnings"]
    assert told == ["all: 3 samples have no events; the first is a/2.npz"]
    subset(tmp_path / "u.zarr", tmp_path / "s.zarr", where=["n_events>0"])
    assert ek.open(tmp_path / "u.zarr").attributes["warnings"] == []
    merge(tmp_path / "m.zarr", [tmp_path / "t.zarr", tmp_path / "u.zarr"])
    told = ek.open(tmp_path / "m.zarr").attributes["warnings"]
    assert "all: 3 samples have no events; the first is a/2.npz" in told


def test_a_subset_does_not_repeat_the_counts_of_its_parent(pair, tmp_path):
    counts = ek.open(pair[0]).attributes["warnings"]
    assert any("samples of the published" in note for note in counts)
    told = subset(tmp_path / "s.zarr", pair[0], classes=["right hand wave"])
    assert not [note for note in told["warnings"] if "published" in note]
    told = subset(tmp_path / "t.zarr", pair[0])
    assert told["warnings"] == counts
    told = merge(tmp_path / "m.zarr", pair)
    assert [note for note in told["warnings"] if note.startswith("a.zarr: train has 6 samples of")]


def test_warnings_in_a_root_are_bounded():
    told = [f"{n}.aedat: {n} events out of order" for n in range(1000)]
    kept = notes.bounded([*told, *told])
    assert len(kept) == notes.MOST
    assert kept[:2] == told[:2]
    assert kept[-1].startswith("951 more warnings are left out")


# Names of any bytes.


def test_the_commands(pair, run, tmp_path):
    code, told, _ = run("merge", tmp_path / "m.zarr", *pair)
    assert code == 0
    assert "15 train, 6 test" in told
    code, told, _ = run(
        "subset", tmp_path / "s.zarr", tmp_path / "m.zarr", "--split", "train", "--users", "1,2",
        "--classes", "hand clapping",
    )  # fmt: skip
    assert code == 0
    assert "4 train" in told
    assert run("subset", tmp_path / "x.zarr", pair[0], "--indices", "0")[0] == 1
    assert run("merge", tmp_path / "x.zarr")[0] == 2
    odd = pair[0].rename(tmp_path / "two words\udcff.zarr")
    assert run("subset", tmp_path / "odd.zarr", odd, "--indices", "0", "--split", "train")[0] == 0
    assert "odd.zarr 'two words?.zarr'" in ek.open(tmp_path / "odd.zarr").attributes["command"]
    told = ek.open(tmp_path / "s.zarr").attributes["command"]
    assert told == (
        "eventkit subset s.zarr m.zarr --split train --classes 'hand clapping' "
        "--where 'user in 1,2'"
    )
