"""EVIMO2: three files beside each other are one recording."""

import numpy as np
import pytest
from making import make_events
from miniatures import evimo2

import eventkit as ek
from eventkit.errors import FormatError

NAME = "dataset_events_t.npy"


def read(path, **options):
    return ek.read(path, format="evimo2", size="640x480", **options)


def sources(folder):
    """For `fuzz`, whose damaged files have another name: damage is tried here below."""
    evimo2(folder / "source_t.npy", [("", make_events(40, (128, 128)))])


@pytest.fixture
def events():
    made = make_events(300, (640, 480))
    return ek.Events(made.t * 100, made.x, made.y, made.p, (640, 480))


def test_columns_are_put_together(events, tmp_path):
    evimo2(tmp_path / NAME, [("", events)])
    assert read(tmp_path / NAME) == events
    cut = read(tmp_path / NAME, clock=(100_000, 400_000))
    assert cut == events[(events.t >= 100_000) & (events.t < 400_000)]


def test_polarity_of_the_samsung_camera_is_turned_round(events, tmp_path):
    evimo2(tmp_path / NAME, [("", events)], inverted=True)
    assert read(tmp_path / NAME, polarity="reversed") == events


@pytest.mark.parametrize(
    ("name", "array", "match"),
    [
        ("dataset_events_p.npy", None, "dataset_events_p.npy is missing beside it"),
        ("dataset_events_p.npy", np.zeros(299), "different lengths"),
        ("dataset_events_xy.npy", np.zeros((300, 3), int), r"has the shape \(300, 3\), expected 2"),
        ("dataset_events_t.npy", np.zeros((300, 2)), r"has the shape \(300, 2\), expected 1"),
    ],
)
def test_what_does_not_fit_is_said(name, array, match, events, tmp_path):
    evimo2(tmp_path / NAME, [("", events)])
    (tmp_path / name).unlink()
    if array is not None:
        np.save(tmp_path / name, array)
    with pytest.raises(FormatError, match=match):
        read(tmp_path / NAME)


def test_another_file_is_refused(events, tmp_path):
    evimo2(tmp_path / NAME, [("", events)])
    with pytest.raises(FormatError, match=r"expected the file of the times, \*_t.npy"):
        read(tmp_path / "dataset_events_p.npy")


@pytest.mark.parametrize("name", ["t", "xy", "p"])
def test_any_damage_is_one_error(name, events, tmp_path):
    evimo2(tmp_path / NAME, [("", events[:20])])
    path = tmp_path / f"dataset_events_{name}.npy"
    data = path.read_bytes()
    for at in range(len(data)):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]):
            path.write_bytes(changed)
            try:
                read(tmp_path / NAME)
            except (FormatError, ek.errors.OptionError):
                continue
