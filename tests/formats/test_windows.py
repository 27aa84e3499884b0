"""Every window of every real recording is that window of the whole recording."""

from pathlib import Path

import numpy as np

from eventkit import FormatError
from eventkit.errors import MissingExtra
from eventkit.formats import FORMATS, guess, read, stream

SEVERAL = 5


def recordings(folder: Path) -> list[Path]:
    """The files of the samples that hold events, by the suffixes of the formats."""
    suffixes = {suffix for fmt in FORMATS.values() for suffix in fmt.suffixes}
    found = [path for path in folder.rglob("*") if path.suffix.lower() in suffixes]
    numbers = sorted(path for path in found if "nmnist" in path.parts)
    others = sorted(path for path in found if "nmnist" not in path.parts)
    return [*others, *numbers[:: max(1, len(numbers) // SEVERAL)]]


def test_every_window_of_every_sample_is_that_of_the_whole(samples):
    looked_at = 0
    for path in recordings(samples):
        try:
            how = {"recording": 0} if guess(path).name == "mat" else {}
            whole = read(path, **how)
        except (FormatError, MissingExtra):  # a damaged one, or a table that is no recording
            continue
        looked_at += 1
        t = np.sort(whole.t)
        picks = t[[0, len(t) // 3, len(t) // 2, len(t) - 1]].tolist() if len(t) else [0, 1, 2, 3]
        for start, stop in [
            (None, picks[1]),
            (picks[1], picks[2]),
            (picks[2], picks[2] + 1),
            (picks[2], None),
            (picks[-1] + 1, None),
        ]:
            for strict in (True, False):
                found = read(path, clock=(start, stop), strict=strict, **how)
                assert found == whole.between(start, stop), (path, start, stop, strict)
    assert looked_at >= 60


def test_a_bound_allows_chunks_of_useful_length(samples):
    """A bound that is too low makes a chunk of every few events."""
    for path in recordings(samples):
        fmt = guess(path)
        if fmt.bound is None:
            continue
        try:
            events = sum(len(part) for part in stream(path))
        except FormatError:
            continue
        assert fmt.bound(path) >= events, path
