"""Own functions in a conversion: importable ones, kept by name and digest of their source."""

import pytest
from making import make_events, tree_hash

import eventkit as ek
from eventkit.conversion import functions
from eventkit.conversion.repair import repair
from eventkit.errors import OptionError

SOURCE = """
import numpy as np
from eventkit import Events


def only_on(events):
    return events[events.p == 1]


def half(events):
    size = events.size[0] // 2, events.size[1]
    inside = events[events.x < size[0]]
    return Events(inside.t, inside.x, inside.y, inside.p, size)


def sums(events):
    out = np.zeros((1, 1, events.size[1], events.size[0]), np.float32)
    np.add.at(out[0, 0], (events.y, events.x), 1)
    return out


def varies(events):
    return np.zeros((1 + len(events), 1, 1, 1))


def nothing(events):
    return None


def backwards(events):
    return events[::-1]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of a user, and class folders of two recordings."""
    (tmp_path / "own_steps.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    functions.load.cache_clear()
    functions._entry.cache_clear()
    for number in range(2):
        path = tmp_path / f"raw/all/one/{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        ek.write(path, make_events(300, seed=number))
    import own_steps

    yield own_steps
    import sys

    sys.modules.pop("own_steps")


def test_own_functions_transform_and_represent(own, tmp_path):
    out = tmp_path / "s.zarr"
    ek.convert(tmp_path / "raw", represent=own.sums, transform=[own.only_on, own.half], out=out)
    store = ek.open(out)
    assert store.kind == "data"
    for number in range(2):
        events = own.half(own.only_on(make_events(300, seed=number)))
        assert (store["all"].frames[number] == own.sums(events)).all()
    plan = store.attributes["plan"]
    assert plan["representation"]["name"] == "own_steps:sums"
    assert [step["name"] for step in plan["transforms"]] == ["own_steps:only_on", "own_steps:half"]
    assert plan["representation"]["digest"] == functions.digest(own.sums)
    assert int(store["all"].ledger["dropped_own_steps:only_on"].sum()) > 0


def test_names_processes_and_repair_give_the_same_bytes(own, tmp_path):
    spelt = {"represent": "own_steps:sums", "transform": "own_steps:only_on"}
    ek.convert(tmp_path / "raw", represent=own.sums, transform=own.only_on, out=tmp_path / "a.zarr")
    ek.convert(tmp_path / "raw", out=tmp_path / "b.zarr", engine="processes", workers=1, **spelt)
    assert tree_hash(tmp_path / "a.zarr") == tree_hash(tmp_path / "b.zarr")
    expected = tree_hash(tmp_path / "b.zarr")
    next((tmp_path / "b.zarr/all/data").glob("c.*")).unlink()
    repair(tmp_path / "b.zarr", root=tmp_path / "raw")
    assert tree_hash(tmp_path / "b.zarr") == expected


def test_a_function_that_changed_is_another_plan(own, tmp_path):
    out = tmp_path / "s.zarr"
    ek.convert(tmp_path / "raw", represent="own_steps:sums", out=out)
    digest = ek.open(out).attributes["plan"]["representation"]["digest"]
    with pytest.raises(OptionError, match="its source has changed"):
        functions.parse(f"own_steps:half:digest={digest}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": lambda events: events}, "cannot be imported"),
        ({"transform": "nowhere.at_all:step"}, "there is no module nowhere"),
        ({"transform": "own_steps:missing"}, "has no missing"),
        ({"transform": "own_steps:np"}, "expected a function"),
        ({"transform": "own_steps:nothing"}, "returned NoneType, expected Events"),
        ({"represent": "own_steps:nothing"}, r"expected an array \(T, C, H, W\)"),
        ({"represent": "own_steps:varies"}, "as for a recording without events"),
        ({"represent": "frames:n"}, "expected key=value"),
    ],
)
def test_what_is_no_such_function_is_said(own, options, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        ek.convert(tmp_path / "raw", out=tmp_path / "s.zarr", **options)


@pytest.mark.parametrize("represent", ["events", "frames:n=2", "voxel:bins=3"])
def test_a_transform_that_changes_the_order_of_time_is_named(represent, own, tmp_path):
    with pytest.raises(OptionError, match=r"own_steps:backwards returned events whose time goes"):
        ek.convert(tmp_path / "raw", out=tmp_path / "s.zarr", represent=represent,
                   transform="own_steps:backwards")  # fmt: skip
