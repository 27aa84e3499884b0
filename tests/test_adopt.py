"""Archives and folders that are there: recognised, checked, linked to, never changed."""

import hashlib
import json
import shutil
import zipfile

import numpy as np
import pytest
from making import make_events, make_gestures, tree_hash
from miniatures import build

import eventkit as ek
from eventkit import datasets
from eventkit.errors import FetchFailed
from eventkit.fetch import adopt


def digits(root, names=("Train", "Test"), digits="07"):
    """A tiny N-MNIST."""
    for split in names:
        for digit in digits:
            (root / split / digit).mkdir(parents=True)
            for number in (1, 2):
                ek.write(root / split / digit / f"0000{number}.bin", make_events(100, seed=number))
    return root


def packed(tree, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in tree.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(tree))
    return path


def own(tmp_path, archive, name="digits.zip"):
    """A description of that archive."""
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    toml = tmp_path / "digits.toml"
    toml.write_text(
        f'size = [34, 34]\nformat = "atis"\nclasses = ["0", "7"]\n[[files]]\nname = "{name}"\n'
        f'md5 = "{md5}"\n[layout]\nkind = "class_folders"\n'
        'splits = { train = "Train", test = "Test" }\n'
    )
    return toml


def test_an_archive_is_checked_unpacked_and_left_as_it_is(run, tmp_path):
    archive = packed(digits(tmp_path / "tree"), tmp_path / "digits.zip")
    toml = own(tmp_path, archive)
    code, out, err = run("adopt", toml, archive, "--root", tmp_path / "data")
    assert code == 0, err
    assert "4 train, 4 test" in out
    assert archive.exists()
    assert tree_hash(tmp_path / "data/Train") == tree_hash(tmp_path / "tree/Train")
    code, out, err = run(
        "convert", toml, "--frames", 2, "--root", tmp_path / "data", "--out", tmp_path / "s.zarr"
    )
    assert code == 0, err


def test_a_renamed_archive_is_known_by_its_checksum(tmp_path):
    archive = packed(digits(tmp_path / "tree"), tmp_path / "digits (1).zip")
    told = adopt(own(tmp_path, archive), [archive], root=tmp_path / "data")
    assert told["samples"] == {"train": 4, "test": 4}


def test_another_archive_is_refused_and_not_deleted(tmp_path):
    archive = packed(digits(tmp_path / "tree"), tmp_path / "digits.zip")
    toml = own(tmp_path, archive)
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(FetchFailed, match="its md5 is"):
        adopt(toml, [archive], root=tmp_path / "data")
    assert archive.exists()
    other = archive.rename(tmp_path / "else.zip")
    with pytest.raises(FetchFailed, match=r"is not a file of digits; .* matches digits.zip"):
        adopt(toml, [other], root=tmp_path / "data")


def test_what_is_still_missing_is_said(tmp_path):
    digits(tmp_path / "tree")
    train = packed(tmp_path / "tree/Train", tmp_path / "Train.zip")
    toml = own(tmp_path, train, "Train.zip")
    toml.write_text(
        toml.read_text().replace(
            "[layout]", '[[files]]\nname = "Test.zip"\nmd5 = "' + "0" * 32 + '"\n[layout]'
        )
    )
    told = adopt(toml, [train], root=tmp_path / "data")
    assert told["missing"] == ["Test.zip"]
    assert any("still missing: Test.zip" in warning for warning in told["warnings"])


@pytest.mark.parametrize("below", ["", "extract", "NMNIST", "extract/x/.."])
def test_a_folder_is_linked_where_the_data_is(below, run, tmp_path):
    """At its top, as SpikingJelly unpacks it, as Tonic does."""
    (tmp_path / "theirs/extract/x").mkdir(parents=True)
    digits(tmp_path / "theirs" / below)
    before = tree_hash(tmp_path / "theirs")
    root = tmp_path / "data/nmnist"
    code, out, err = run("adopt", "nmnist", tmp_path / "theirs", "--root", root, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["samples"] == {"train": 4, "test": 4}
    assert "train has 4 samples of the published 60,000" in told["warnings"]
    assert root.is_symlink()
    assert tree_hash(tmp_path / "theirs") == before
    code, out, err = run(
        "convert", "nmnist", "--frames", 2, "--root", root, "--out", tmp_path / "s.zarr"
    )
    assert code == 0, err
    assert ek.open(tmp_path / "s.zarr")["train"].labels.tolist() == [0, 0, 7, 7]


def test_the_archives_in_a_spikingjelly_folder_are_taken(tmp_path):
    (tmp_path / "theirs/download").mkdir(parents=True)
    archive = packed(digits(tmp_path / "tree"), tmp_path / "theirs/download/digits.zip")
    told = adopt(own(tmp_path, archive), [tmp_path / "theirs"], root=tmp_path / "data")
    assert told["samples"] == {"train": 4, "test": 4}


def test_copy_copies(tmp_path):
    digits(tmp_path / "theirs")
    adopt("nmnist", [tmp_path / "theirs"], root=tmp_path / "mine", copy=True)
    assert not (tmp_path / "mine").is_symlink()
    assert tree_hash(tmp_path / "mine") == tree_hash(tmp_path / "theirs")


def test_gestures_of_spikingjelly_are_adopted(tmp_path):
    make_gestures(tmp_path / "theirs/extract/DvsGesture")
    (tmp_path / "theirs/events_np").mkdir()
    told = adopt("dvsgesture", [tmp_path / "theirs"], root=tmp_path / "data")
    assert told["samples"] == {"train": 9, "test": 3}


def tonic_gestures(root):
    """Tonic's cut copy: xypt, times in ms, the label as the name."""
    for split in ("ibmGestureTrain", "ibmGestureTest"):
        folder = root / split / "user01_led"
        folder.mkdir(parents=True)
        for label in (0, 2, 10):
            events = make_events(50, (128, 128), label)
            rows = np.stack([events.x, events.y, events.p, events.t // 1000], 1)
            np.save(folder / f"{label}.npy", rows.astype(np.int64))
    return root


def test_tonics_gestures_are_another_dataset(run, tmp_path):
    tonic_gestures(tmp_path / "theirs/DVSGesture")
    code, _, err = run("adopt", "dvsgesture", tmp_path / "theirs", "--root", tmp_path / "data")
    assert code == 1
    assert "contains DVS128 Gesture as cut by Tonic, not DVS128 Gesture" in err
    assert "eventkit adopt dvsgesture_tonic" in err
    code, _, err = run(
        "adopt", "dvsgesture_tonic", tmp_path / "theirs", "--root", tmp_path / "data"
    )
    assert code == 0, err


@pytest.mark.parametrize(
    ("folder", "match"),
    [
        (
            "events_np",
            r"only SpikingJelly's copy of the events .* eventkit convert .*events_np",
        ),
        ("frames_number_16_split_by_number", "only frames created by SpikingJelly"),
        ("holiday", "contains no data of dvsgesture; expected trials_to_train.txt"),
    ],
)
def test_what_is_not_the_original_is_said(folder, match, tmp_path):
    (tmp_path / "theirs" / folder).mkdir(parents=True)
    with pytest.raises(FetchFailed, match=match):
        adopt("dvsgesture", [tmp_path / "theirs"], root=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_folder_whose_recordings_cannot_be_read_is_refused(tmp_path):
    digits(tmp_path / "theirs")
    shutil.rmtree(tmp_path / "theirs/Train/0")
    (tmp_path / "theirs/Train/0").mkdir()
    (tmp_path / "theirs/Train/0/1.bin").touch()
    with pytest.raises(FetchFailed, match="its first recording cannot be read"):
        adopt("nmnist", [tmp_path / "theirs"], root=tmp_path / "data")


def test_a_root_in_use_is_left_alone(tmp_path):
    digits(tmp_path / "theirs")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine").touch()
    with pytest.raises(FetchFailed, match="is not empty; choose another root folder"):
        adopt("nmnist", [tmp_path / "theirs"], root=tmp_path / "data")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    assert adopt("nmnist", [tmp_path / "theirs"], root=tmp_path / "link")["samples"]
    (tmp_path / "other").symlink_to(tmp_path / "data")
    with pytest.raises(FetchFailed, match="already exists"):
        adopt("nmnist", [tmp_path / "theirs"], root=tmp_path / "other")


def test_fetch_after_adopt_has_nothing_to_do(run, tmp_path):
    digits(tmp_path / "theirs")
    root = tmp_path / "data"
    adopt("nmnist", [tmp_path / "theirs"], root=root)
    code, out, _ = run("fetch", "nmnist", "--root", root)
    assert code == 0
    assert "placed by hand; not verified" in out
    assert sorted(p.name for p in (tmp_path / "theirs").iterdir()) == ["Test", "Train"]


def test_nothing_there_is_one_sentence(run, tmp_path):
    code, _, err = run("adopt", "nmnist", tmp_path / "nowhere.zip")
    assert code == 1
    assert "nowhere.zip: no such file or folder" in err


def test_every_description_says_how_to_get_the_data(tmp_path):
    for dataset in map(datasets.load, datasets.names()):
        told = datasets.steps(dataset, tmp_path)
        assert f"eventkit adopt {dataset.name}" in told
        assert all(source.name in told for source in dataset.files)


@pytest.mark.parametrize("name", ["sl_animals_dvs", "poker_dvs", "roshambo17", "evimo2", "ebssa"])
def test_another_dataset_is_told_by_its_names_or_classes(name, tmp_path):
    build(datasets.load(name), tmp_path / "theirs")
    with pytest.raises(
        FetchFailed, match=f"contains {datasets.load(name).title}, not DVS128 Gesture"
    ):
        adopt("dvsgesture", [tmp_path / "theirs"], root=tmp_path / "data")


def test_data_that_is_nested_deeper_is_found_for_the_person(run, tmp_path):
    place = tmp_path / "theirs/a/b c"
    digits(place / "y")
    (tmp_path / "theirs/readme.txt").write_text("?")
    code, _, err = run("adopt", "nmnist", tmp_path / "theirs", "--root", tmp_path / "data")
    assert code == 1
    assert f"contains N-MNIST in a subfolder; run: eventkit adopt nmnist '{place}/y'" in err


@pytest.mark.parametrize("name", ["bullying10k", "poker_dvs", "hfirst_characters", "n_omniglot"])
def test_what_is_missing_or_too_much_in_a_folder_is_said(name, tmp_path):
    """Of each layout: half of the recordings, and files that belong to nothing."""
    theirs = tmp_path / "theirs"
    build(datasets.load(name), theirs)
    (theirs / "notes.txt").write_text("?")
    told = adopt(name, [theirs], root=tmp_path / "data")
    published = datasets.load(name).samples
    for split, count in published.items():
        there = told["samples"][split]
        said = f"{split} has {there} sample{'' if there == 1 else 's'} of the published {count:,}"
        assert any(w.replace("1 samples", "1 sample") == said for w in told["warnings"]), told
