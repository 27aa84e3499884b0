"""The damage of `fuzz` on every reader, in small; `make fuzz` goes on for as long as is given."""

import fuzz
import pytest

from eventkit.formats import FORMATS


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in fuzz.LIBRARY])
def test_damaged_files_are_refused_or_read_the_same_in_every_way(name, tmp_path):
    wholes = fuzz.sources(name, tmp_path)
    path = tmp_path / f"mutant{FORMATS[name].suffixes[0]}"
    for seed in range(40):
        path.write_bytes(fuzz.mutate(wholes, seed))
        fuzz.examine(name, path, seed)


def test_the_program_counts_what_becomes_of_every_mutant(tmp_path):
    tally = fuzz.run("bs1", False, 0.1, tmp_path)
    assert tally.mutants == tally.sound > 0
    assert (tally.refused, tally.dead, tally.failures) == (0, [], [])
