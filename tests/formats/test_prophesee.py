"""What Prophesee's formats share: threads, triggers by name, and memory that stays sound."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eventkit as ek
from eventkit import Events, OptionError
from eventkit.formats import Report, stream

WRITABLE = ["dat", "evt2", "evt21", "evt3"]
FOLDER = Path(__file__).parent


@pytest.fixture(scope="module", params=WRITABLE)
def long(request, tmp_path_factory):
    """A file of several blocks, and its events: rows of pixels at once, some in vectors."""
    rng, n = np.random.default_rng(3), 100_000
    t, y, p = np.cumsum(rng.integers(0, 54, n)), rng.integers(0, 240, n), rng.integers(0, 2, n)
    x = rng.integers(0, 300, (n, 1)) + np.arange(0, 12, 2)
    events = Events(np.repeat(t, 6), x.ravel(), np.repeat(y, 6), np.repeat(p, 6), (320, 240))
    path = tmp_path_factory.mktemp("long") / f"{request.param}.bin"
    ek.write(path, events, format=request.param)
    return path, events


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_read_the_same(long, threads):
    path, events = long
    one, several = Report(), Report()
    assert ek.read(path, report=one) == events
    assert ek.read(path, threads=threads, report=several) == events
    assert one.counts == several.counts
    for chunk in (10_000, 250_000):
        parts = [part.copy() for part in stream(path, chunk, threads=threads)]
        assert Events.concat(parts) == events
        assert max(len(part) for part in parts) <= chunk
    start, stop = int(events.t[70_000]), int(events.t[300_000])
    window = ek.read(path, clock=(start, stop), threads=threads, t0="first")
    first = int(events.t[0])
    assert window.t.tolist() == [
        time for time in (events.t - first).tolist() if start <= time < stop
    ]
    with pytest.raises(OptionError, match="threads is 0"):
        ek.read(path, threads=0)


def test_windows_of_a_long_file_are_parts_of_the_whole(long):
    path, events = long
    edges = [int(events.t[0]), *events.t[[9, 100_000, 333_333]].tolist(), int(events.t[-1]) + 1]
    for start, stop in itertools.pairwise(edges):
        assert ek.read(path, clock=(start, stop)) == events.between(start, stop)


@pytest.mark.attack
@pytest.mark.slow
def test_damaged_files_never_reach_beyond_their_arrays(tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    which = "(evt or dat) and (damaged or cut_anywhere or noise or chunks or words or runs)"
    done = subprocess.run(
        [*command, str(FOLDER), "-k", which, "--deselect", str(Path(__file__))],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)},
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
