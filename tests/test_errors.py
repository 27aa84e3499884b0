"""Errors: one sentence, whose hint names options as Python or the command line has them."""

import pickle
import re

import pytest
from eventkit.cli._text import flag
from making import ROOT

from eventkit.errors import FormatError, OptionError, PartlyDone, StoreError, UnknownName


def test_a_hint_names_options_as_its_reader_types_them():
    error = StoreError("a.zarr is another", hint="{overwrite} or {shard:0/2}; see {root:...}")
    assert str(error) == "a.zarr is another; overwrite=True or shard='0/2'; see root"
    assert error.text(flag) == "a.zarr is another; --overwrite or --shard 0/2; see --root"


def test_fields_make_the_sentence():
    error = OptionError(where="a.toml", found="kind is {x}", expected="slurm", hint="see {out:b}")
    assert str(error) == "a.toml: kind is {x}, expected slurm; see out='b'"
    assert (error.found, error.expected) == ("kind is {x}", "slurm")
    assert str(OptionError(found="nothing was found")) == "nothing was found"
    assert str(OptionError("as before {x}")) == "as before {x}"


@pytest.mark.parametrize(
    "error",
    [
        OptionError("a", hint="{root:...}"),
        OptionError(found="b", expected="c"),
        PartlyDone("a", ["b"], {"out": "c"}, hint="{overwrite}"),
        FormatError("a.raw", 3, "is short"),
        UnknownName("no such name"),
    ],
)
def test_errors_of_workers_say_the_same_here(error):
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.text(flag)) == (str(error), error.text(flag))


def test_no_error_of_a_conversion_has_words_of_the_command_line():
    """Dask's own flags excepted, and what writes the command or a batch script."""
    known = {"--memory-limit", "--nthreads", "--exclusive"}
    for path in sorted((ROOT / "eventkit/conversion").glob("*.py")):
        if path.name in ("summary.py", "repair.py"):
            continue
        found = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", path.read_text()))
        assert not found - known, path.name
