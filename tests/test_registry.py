"""Registries, and specs `name:key=value`."""

import json
import threading
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventkit.errors import OptionError, UnknownName
from eventkit.registry import Registry, bind, format_spec, parse_spec
from eventkit.representations import REPRESENTATIONS
from eventkit.transforms import TRANSFORMS


def sample(
    events,
    *,
    n: int = 16,
    by: Literal["number", "time"] = "number",
    rate: float | None = None,
    flip: bool = False,
    label: str = "a",
    _hidden: int = 0,
):
    """A function with one option of every kind."""


class Stateful:
    def __init__(self, *, wait: int | None = None, flag: bool = True) -> None:
        pass


# Registry


def test_first_look_up_imports_every_module_of_the_package():
    assert {"crop", "crop_time"} <= set(TRANSFORMS)
    assert {"frames", "voxel"} <= set(REPRESENTATIONS)
    assert list(TRANSFORMS) == sorted(TRANSFORMS)
    assert len(REPRESENTATIONS) == len(list(REPRESENTATIONS))


def test_unknown_name_suggests_the_near_one():
    with pytest.raises(UnknownName, match=r"no representation 'frame'\. Did you mean 'frames'\?"):
        REPRESENTATIONS["frame"]
    with pytest.raises(UnknownName, match=r"Did you mean 'voxel'\?.*Known: .*frames, "):
        REPRESENTATIONS["VOXELS"]


def test_unknown_name_far_from_all_lists_what_there_is():
    with pytest.raises(UnknownName, match=r"^no transform 'qqq'\. Known: .*crop") as caught:
        TRANSFORMS["qqq"]
    assert "Did you mean" not in str(caught.value)


def test_registry_is_a_mapping():
    assert "crop" in TRANSFORMS
    assert "crap" not in TRANSFORMS
    assert TRANSFORMS.get("crap") is None


def test_all_entries_are_in_the_order_of_their_names_those_of_later_too():
    table: Registry = Registry("thing", None)
    assert table.all() == ()
    for name in "bca":
        table.register(named := type(name, (), {"__init__": lambda self: None}))
        assert named in table.all()
    assert [entry.__name__ for entry in table.all()] == ["a", "b", "c"]


def test_one_name_cannot_be_registered_twice():
    registry: Registry = Registry("thing", "eventkit.transforms")
    registry.register(sample)
    assert registry.register(sample) is sample
    other = type("Other", (), {"name": "sample"})
    with pytest.raises(ValueError, match="two things are called 'sample'"):
        registry.register(other)


def test_two_threads_see_the_whole_table(tmp_path, monkeypatch):
    package = tmp_path / "slowpackage"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from eventkit.registry import Registry\nTABLE = Registry('thing', __name__)\n"
    )
    for name in "abcd":
        (package / f"{name}.py").write_text(
            f"from slowpackage import TABLE\n@TABLE.register\nclass Thing:\n    name = {name!r}\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    from slowpackage import TABLE

    seen = []
    threads = [threading.Thread(target=lambda: seen.append(list(TABLE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [["a", "b", "c", "d"]] * 8


# Specs


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("voxel", "voxel", {}),
        ("voxel:", "voxel", {}),
        ("voxel:bins=9", "voxel", {"bins": "9"}),
        (" frames : n = 16 , by = time ", "frames", {"n": "16", "by": "time"}),
        ("crop:x=0,y=0,", "crop", {"x": "0", "y": "0"}),
        ("read:path=a:b=c", "read", {"path": "a:b=c"}),
    ],
)
def test_spec_is_split_in_name_and_options(text, name, options):
    assert parse_spec(text) == (name, options)


@pytest.mark.parametrize("text", ["voxel:9", "voxel:bins=", "voxel:=9", "crop:x=1,7"])
def test_spec_without_key_and_value_is_refused(text):
    with pytest.raises(OptionError, match="expected key=value"):
        parse_spec(text)


def test_spec_with_an_option_twice_is_refused():
    with pytest.raises(OptionError, match="'x' is given twice"):
        parse_spec("crop:x=1,x=2")


@given(
    n=st.integers(-(10**18), 10**18),
    by=st.sampled_from(["number", "time"]),
    rate=st.none() | st.floats(allow_nan=False),
    flip=st.booleans(),
)
def test_options_survive_the_text_and_json(n, by, rate, flip):
    bound = bind(sample, {"n": n, "by": by, "rate": rate, "flip": flip}, "sample")
    name, options = parse_spec(format_spec("sample", bound))
    assert (name, bind(sample, options, "sample")) == ("sample", bound)
    assert bind(sample, json.loads(json.dumps(bound)), "sample") == bound


# Binding


def test_bind_fills_in_defaults_and_hides_private_options():
    assert bind(sample, {}, "sample") == {
        "n": 16,
        "by": "number",
        "rate": None,
        "flip": False,
        "label": "a",
    }


def test_bind_converts_text_by_the_annotation():
    options = {"n": "3", "by": "time", "rate": "0.5", "flip": "yes", "label": "7"}
    assert bind(sample, options, "sample") == {
        "n": 3,
        "by": "time",
        "rate": 0.5,
        "flip": True,
        "label": "7",
    }


def test_bind_reads_the_options_of_a_class_from_its_init():
    assert bind(Stateful, {"wait": "7", "flag": "no"}, "stateful") == {"wait": 7, "flag": False}


@pytest.mark.parametrize("nothing", [None, "none", "None"])
def test_none_is_an_option_where_the_annotation_has_it(nothing):
    assert bind(sample, {"rate": nothing}, "sample")["rate"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": "x"}, "sample: n is 'x', expected a whole number"),
        ({"n": "1.5"}, "n is '1.5', expected a whole number"),
        ({"n": 1.5}, "n is 1.5, expected a whole number"),
        ({"n": np.float32(1.5)}, "n is .*1.5.*, expected a whole number"),
        ({"n": float("nan")}, "n is nan, expected a whole number"),
        ({"n": float("inf")}, "n is inf, expected a whole number"),
        ({"n": None}, "n is None, expected a whole number"),
        ({"n": [1]}, "expected a whole number"),
        ({"rate": "fast"}, "rate is 'fast', expected a number"),
        ({"flip": "maybe"}, "flip is 'maybe', expected true or false"),
        ({"by": "tiem"}, "by is 'tiem', expected one of number, time"),
        ({"by": ["time"]}, "by is .*, expected one of number, time"),
        ({"m": 1}, "sample has no option 'm'.*Its options: n, by, rate, flip, label"),
        ({"rat": 1}, "no option 'rat'. Did you mean 'rate'?"),
        ({"_hidden": 1}, "no option '_hidden'"),
    ],
)
def test_wrong_option_says_what_was_expected(options, message):
    with pytest.raises(OptionError, match=message):
        bind(sample, options, "sample")


def test_needed_option_is_asked_for():
    def needy(events, *, n: int):
        """Has no default."""

    with pytest.raises(OptionError, match=r"needy needs the option 'n', as in needy:n=\.\.\."):
        bind(needy, {}, "needy")


# Nested specs


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("net:neurons=[lif:tau=4,rest=0],width=16", {"neurons": "lif:tau=4,rest=0", "width": "16"}),
        ("net:neurons=lif:tau=4", {"neurons": "lif:tau=4"}),
        ("net:inner=[a:b=[c:d=1,e=2],f=3]", {"inner": "a:b=[c:d=1,e=2],f=3"}),
        ("net:pair=[1][2]", {"pair": "[1][2]"}),
    ],
)  # fmt: skip
def test_a_value_in_brackets_may_have_commas(text, options):
    assert parse_spec(text) == ("net", options)
    assert parse_spec(format_spec("net", options)) == ("net", options)


@pytest.mark.parametrize("text", ["net:a=[b", "net:a=b]", "net:a=[b]]", "net:a=],b=["])
def test_brackets_must_match(text):
    with pytest.raises(OptionError, match="brackets do not match"):
        parse_spec(text)


balanced = st.recursive(
    st.text("abc:=,. ", max_size=6),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]"),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.text("xyz", min_size=1, max_size=3), balanced.map(str.strip).filter(bool), max_size=3
    )
)
def test_any_balanced_value_survives_the_text(options):
    assert parse_spec(format_spec("net", options)) == ("net", options)
