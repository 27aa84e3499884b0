"""Damaged files for readers that rest on a library: read in a process of its own, in limited time.

`lost` runs this file as a program.
"""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

SECONDS = 10  # for one file


def lost(folder: Path, seeds: range, name: str) -> list[int]:
    """The seeds of those mutants of the files source* on which the reading process hangs or dies.

    All others are read or refused; any other error fails.
    """
    found = []
    first = seeds.start
    while first < seeds.stop:
        arguments = [sys.executable, __file__, folder, str(first), str(seeds.stop), name]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode < 0, done.stdout[-20:] + done.stderr[-2000:]
        found.append(int(done.stdout.split()[-1]))
        first = found[-1] + 1
    return found


def invented(path: Path, step: int, name: str) -> str:
    """The bits (of every step-th) that, flipped, make a reader give other events, as text.

    Fails if the reading process dies or hangs.
    """
    arguments = [sys.executable, __file__, "flips", path, str(step), name]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-20:]} {done.stderr[-2000:]}"
    return done.stdout


def flips(path: Path, step: int, name: str) -> None:
    from eventkit import FormatError, OptionError
    from eventkit.formats import read

    whole, expected = path.read_bytes(), read(path, format=name)
    flipped = path.with_name(f"flipped{path.suffix}")
    for bit in range(0, 8 * len(whole), step):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        flipped.write_bytes(data)
        signal.alarm(SECONDS)
        try:
            if read(flipped, format=name) != expected:
                sys.stdout.write(f"{bit}\n")
        except (FormatError, OptionError):
            continue
        finally:
            signal.alarm(0)


def main(folder: Path, seeds: range, name: str) -> None:
    from test_format_laws import mutant

    from eventkit import FormatError, OptionError
    from eventkit.formats import read

    sources = sorted(folder.glob("source*"))
    for seed in seeds:
        source = sources[seed % len(sources)]
        rng = np.random.default_rng(seed)
        data = source.read_bytes()
        cut = rng.random() < 0.2
        path = folder / f"mutant{source.suffix}"
        path.write_bytes(data[: rng.integers(1, len(data))] if cut else mutant(data, rng))
        sys.stdout.write(f"{seed}\n")
        sys.stdout.flush()
        for strict in (True, False):
            signal.alarm(SECONDS)
            try:
                read(path, strict=strict, format=name)
            except (FormatError, OptionError):
                continue
            finally:
                signal.alarm(0)


if __name__ == "__main__":
    if sys.argv[1] == "flips":
        flips(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        main(Path(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3])), sys.argv[4])
