"""The commands that list what there is to choose from."""

import json

import pytest
from eventkit.cli import main

from eventkit.augment import AUGMENTATIONS
from eventkit.representations import REPRESENTATIONS
from eventkit.transforms import TRANSFORMS

REGISTRIES = {
    "representations": REPRESENTATIONS,
    "transforms": TRANSFORMS,
    "augmentations": AUGMENTATIONS,
}


@pytest.mark.parametrize("command", REGISTRIES)
def test_every_entry_is_listed_with_a_sentence(command, capsys):
    assert main([command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(facts) == list(REGISTRIES[command])
    for name, one in facts.items():
        assert len(one["about"]) > 20, name
        assert one["about"][0].isupper(), name
        assert one["package"] == "eventkit"
    assert main([command]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in facts)


def test_one_entry_shows_its_options_and_defaults(capsys):
    assert main(["representations", "time_surface"]) == 0
    out = capsys.readouterr().out
    assert "exponential | linear" in out
    assert "50000" in out
    assert main(["transforms", "crop_time", "--json"]) == 0
    options = json.loads(capsys.readouterr().out)["options"]
    assert options["start"] == {"type": "time | none", "default": None}


def test_unknown_entry_suggests_the_near_one(capsys):
    assert main(["transforms", "stfc"]) != 0
    assert "no transform 'stfc'. Did you mean 'stcf'?" in capsys.readouterr().err
