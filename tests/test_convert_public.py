"""ek.convert: the options of the command under the same names, and what it returns."""

import inspect

import pytest
from eventkit.cli.convert import command
from making import tree_hash

import eventkit as ek
from eventkit.errors import OptionError

NAMED_OTHERWISE = {"rep": "represent", "transforms": "transform", "length": "duration"}


def test_the_command_and_the_function_have_the_same_options():
    ours = set(inspect.signature(ek.convert).parameters) - {"progress"}
    theirs = {NAMED_OTHERWISE.get(option.name, option.name) for option in command.params}
    assert ours == theirs - {"as_json"}


@pytest.mark.parametrize(
    ("options", "spec"),
    [
        ({}, "frames:n=16"),
        (
            {"frames": 4, "by": "time", "like": "spikingjelly"},
            "frames:n=4,by=time,like=spikingjelly",
        ),
        ({"duration": "50ms"}, "frames:duration=50000"),
        ({"events": True}, "events"),
        ({"represent": ("voxel", {"bins": 9})}, "voxel:bins=9"),
    ],
)
def test_a_representation_is_a_spec_or_options(options, spec, gestures):
    planned = ek.convert("dvsgesture", root=gestures, dry_run=True, **options)
    same = ek.convert("dvsgesture", root=gestures, dry_run=True, represent=spec)
    assert planned.represent == same["represent"]
    assert repr(planned).startswith(f"Planned('{planned.out}', 9 train + 3 test, ")
    assert planned.out == same.out


def test_transforms_are_specs_or_names_with_options(gestures, tmp_path):
    ways = ["crop:width=64", ("crop", {"width": 64}), ["crop:width=64"], [("crop", {"width": 64})]]
    made = []
    for number, way in enumerate(ways):
        out = tmp_path / f"{number}.zarr"
        result = ek.convert("dvsgesture", frames=2, root=gestures, out=out, transform=way)
        made.append(tree_hash(out))
    assert len(set(made)) == 1
    assert repr(result) == (
        f"Converted('{out}', 9 train + 3 test, each 2 x 2 x 128 x 64, {result.events:,} events "
        f"read, {result.bytes:,} bytes, {len(result.warnings)} warnings)"
    )
    assert {**result}["samples"] == {"train": 9, "test": 3}
    with pytest.raises(KeyError):
        result["nothing"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 4, "events": True}, "frames and events exclude each other"),
        ({"events": True, "by": "time"}, "by and like belong to frames"),
        ({"represent": 5}, "5 is neither a spec"),
        ({"transform": [5]}, "5 is neither a spec"),
    ],
)
def test_arguments_that_exclude_each_other_are_refused(options, message, gestures):
    with pytest.raises(OptionError, match=message):
        ek.convert("dvsgesture", root=gestures, dry_run=True, **options)
