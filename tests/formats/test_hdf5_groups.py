"""HDF5 files of many recordings: EBSSA and N-TIDIGITS18, and what is no such file."""

import numpy as np
import pytest
from making import make_events
from miniatures import ebssa, tidigits

import eventkit as ek
from eventkit.errors import FormatError, OptionError

h5py = pytest.importorskip("h5py")


def sources(folder):
    """Small files for `fuzz`."""
    ebssa(folder / "source1.h5", [("", make_events(20, (128, 128)))])
    tidigits(folder / "source2.h5", [("train-a-o", make_events(20, (64, 1)))])


@pytest.fixture
def recordings():
    return [(f"rec{n:02d}", make_events(50 + n, (240, 180), n)) for n in range(3)]


def read(path, **options):
    return ek.read(path, format="hdf5_groups", **{"size": "240x180", "lowest": 1, **options})


def test_each_group_is_a_recording(recordings, tmp_path):
    ebssa(tmp_path / "a.h5", recordings)
    for number, (_, events) in enumerate(recordings):
        assert read(tmp_path / "a.h5", recording=number) == events
    assert ek.info(tmp_path / "a.h5", format="hdf5_groups", recording=0)["header"] == {
        "layout": "groups",
        "recordings": 3,
    }
    with pytest.raises(OptionError, match="holds 3 recordings: recording=0 to 2"):
        read(tmp_path / "a.h5")
    with pytest.raises(OptionError, match="recording is 3"):
        read(tmp_path / "a.h5", recording=3)


def test_digits_are_told_by_the_names(tmp_path):
    names = ["train-man-ae-a-o", "train-man-ae-a-19", "train-man-ae-a-z", "test-girl-a-b-9"]
    events = make_events(40, (64, 1))
    events = ek.Events(events.t, events.x, events.y, np.ones(40), (64, 1))
    tidigits(tmp_path / "a.hdf5", [(name, events) for name in names])
    extra = {
        name: ek.extra(tmp_path / "a.hdf5", name, format="hdf5_groups").tolist()
        for name in ("names", "splits", "labels")
    }
    assert extra["names"] == names
    assert extra["splits"] == ["train", "train", "train", "test"]
    assert extra["labels"] == [0, -1, 10, 9]
    assert ek.read(tmp_path / "a.hdf5", format="hdf5_groups", recording=3) == events


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("rec01/TD/p", np.ones(1), "different lengths"),
        ("rec01/TD/x", np.ones((3, 3)), r"has the shape \(3, 3\)"),
        ("rec01/TD/x", np.array([b"a"]), "no column of whole"),
        ("rec01/TD/x", h5py.ExternalLink("/nowhere.h5", "/x"), "a link to another file"),
        ("rec01/TD/x", h5py.ExternalLink("b.h5", "/rec01/TD/x"), "a link to another file"),
    ],
)
def test_columns_that_are_none_are_said(name, value, match, recordings, tmp_path):
    for file in ("a.h5", "b.h5"):
        ebssa(tmp_path / file, recordings)
    with h5py.File(tmp_path / "a.h5", "r+") as out:
        _put(out, name, value)
    with pytest.raises(FormatError, match=match):
        read(tmp_path / "a.h5", recording=1)


def test_a_group_without_columns_is_no_recording(recordings, tmp_path):
    ebssa(tmp_path / "a.h5", recordings)
    with h5py.File(tmp_path / "a.h5", "r+") as out:
        del out["rec00/TD/x"]
        out["text"] = 5
    assert read(tmp_path / "a.h5", recording=0) == recordings[1][1]
    with h5py.File(tmp_path / "a.h5", "r+") as out:
        del out["rec01"], out["rec02"]
    with pytest.raises(FormatError, match="holds rec00, text, expected groups NAME/TD"):
        read(tmp_path / "a.h5", recording=0)


def _put(out, name, value):
    del out[name]
    out[name] = value


def test_a_file_that_is_cut_off_is_damaged(recordings, tmp_path):
    ebssa(tmp_path / "a.h5", recordings)
    (tmp_path / "a.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:2000])
    with pytest.raises(FormatError, match="damaged"):
        read(tmp_path / "a.h5", recording=0)
