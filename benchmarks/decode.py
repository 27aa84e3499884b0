"""How fast files are decoded: python benchmarks/decode.py [--peers ENVIRONMENT] [--file RECORDING]

Files are in memory (page cache) and kernels are compiled. The numbers are medians, beside another
library's in the same minute and on the same cores; a slow library is given a smaller file.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import eventkit as ek
from eventkit.events import Columns, Events
from eventkit.formats.aedat.aedat3 import index

LARGE, SMALL, SAMPLE = 20_000_000, 400_000, 4_100
WINDOWS = 12
FILES = 200
REPEATS = 7


def recording(n: int, side: int, step: int) -> Events:
    """Random events of a square sensor, `step` µs apart at most, in order of time."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, side, (2, n), np.uint16)
    t = np.cumsum(rng.integers(0, step, n))
    return Events(t, x, y, rng.integers(0, 2, n, np.uint8), (side, side))


def streamed(path: Path, into: Columns | None = None) -> int:
    return sum(len(part) for part in ek.stream(path, into=into))


def windows(path: Path, into: Columns) -> int:
    """All events, in as many windows as a recording of DVS128 Gesture has samples."""
    first, last = index(path).span
    edges = np.linspace(first, last + 1, WINDOWS + 1).astype(int).tolist()
    return sum(
        len(ek.read(path, clock=(start, stop), into=into))
        for start, stop in itertools.pairwise(edges)
    )


def sample(path: Path, into: Columns) -> int:
    """One small file, as `convert` reads it."""
    return len(ek.read(path, format="atis", size="34x34", into=into))


def rate(decode: Callable[[], int], repeats: int = REPEATS) -> float:
    """Million events per second, after one run to warm up."""
    decode()
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        events = decode()
        rates.append(events / (time.perf_counter() - started) / 1e6)
    return statistics.median(rates)


def peer(
    peers: Path | None, library: str, files: list[Path], repeats: int = REPEATS
) -> dict | None:
    if peers is None:
        return None
    script = Path(__file__).with_name("peer_decode.py")
    command = [peers / "bin" / "python", script, library, str(repeats), *files]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(what: str, ours: float, other: dict | None, name: str, bar: str) -> dict:
    theirs = None if other is None else other["events"] / other["seconds"] / 1e6
    return {
        "what": what,
        "ours": ours,
        "peer": theirs,
        "peer_name": name,
        "ratio": None if theirs is None else ours / theirs,
        "unit": "M events/s",
        "bar": bar,
    }


@contextmanager
def one_core() -> Iterator[None]:
    """One thread has one core; what is started meanwhile too."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    yield
    os.sched_setaffinity(0, cores)


def aedat3(large: Path, small: Path, peers: Path | None) -> list[dict]:
    into = Columns()
    with one_core():
        slow = peer(peers, "spikingjelly", [small], 3)
        fast = peer(peers, "evutils", [large], 3)
        rows = [
            row(
                "AEDAT 3.1, streamed",
                rate(lambda: streamed(large)),
                slow,
                "SpikingJelly",
                "≥ 100 ×",
            ),
            row("AEDAT 3.1, streamed", rate(lambda: streamed(large)), fast, "evutils", "≥ 1.5 ×"),
            row(
                "AEDAT 3.1, whole",
                rate(lambda: len(ek.read(small))),
                slow,
                "SpikingJelly",
                "≥ 100 ×",
            ),
            row(
                f"AEDAT 3.1, {WINDOWS} windows, indexed",
                rate(lambda: windows(large, into)),
                slow,
                "SpikingJelly",
                "≥ 100 ×",
            ),
        ]
    two = rate(lambda: sum(len(part) for part in ek.stream(large, threads=2)))
    return [*rows, row("AEDAT 3.1, streamed by two threads", two, fast, "evutils", "≥ 2.5 ×")]


def atis(large: Path, files: list[Path], peers: Path | None) -> list[dict]:
    into = Columns()
    with one_core():
        others = {name: peer(peers, name.lower(), [large]) for name in ("SpikingJelly", "Tonic")}
        name = min(others, key=lambda name: others[name]["seconds"] if peers else 0)
        whole = rate(lambda: streamed(large))
        small = peer(peers, "spikingjelly", files)
        each = rate(lambda: sum(sample(file, into) for file in files))
    return [
        row("ATIS .bin, streamed", whole, others[name], name, "≥ 1.5 ×"),
        row(f"ATIS .bin, files of {SAMPLE:,} events", each, small, "SpikingJelly", ""),
    ]


def run(peers: Path | None, file: Path | None = None) -> list[dict]:
    """Rows for the table; `file` is an AEDAT 3.1 recording in place of the made one."""
    with tempfile.TemporaryDirectory() as folder:
        large, small, ended = (Path(folder, name) for name in ("l.aedat", "s.aedat", "l.bin"))
        if file is None:
            ek.write(large, recording(LARGE, 128, 50))
        ek.write(small, recording(SMALL, 128, 50))
        ek.write(ended, recording(LARGE // 4, 34, 3))
        files = [Path(folder, f"{number}.bin") for number in range(FILES)]
        for path in files:
            ek.write(path, recording(SAMPLE, 34, 150))
        return aedat3(file or large, small, peers) + atis(ended, files, peers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, help="a virtual environment with the other libraries")
    parser.add_argument("--file", type=Path, help="an AEDAT 3.1 recording [random events]")
    options = parser.parse_args()
    for line in run(options.peers, options.file):
        beside = (
            f", {line['peer_name']} {line['peer']:.3g}: {line['ratio']:.3g} ×"
            if line["peer"]
            else ""
        )
        bar = f" ({line['bar']})" if line["bar"] else ""
        print(f"{line['what']}: {line['ours']:.3g} {line['unit']}{beside}{bar}")
        print(json.dumps(line, ensure_ascii=False))
