"""Raw DVS128-Gesture recordings to frames: eventkit convert beside SpikingJelly, same files.

python benchmarks/convert.py [--peers ENVIRONMENT] [--full]

Random recordings of 12 windows with 380,000 events each. Per recording is the slope between a
small and a larger set, so that start-up is left out; --full also lets SpikingJelly convert 400 MB
(minutes), otherwise its time for them is its slope times their number.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import eventkit as ek
from eventkit.events import Columns, Events
from eventkit.store.shard import FAST

WINDOWS, EVENTS, LENGTH = 12, 380_000, 6_000_000
SIZE = (128, 128)


def make(root: Path, recordings: int) -> int:
    """Write recordings in the layout of DVS128 Gesture; their bytes in all."""
    root.mkdir(parents=True)
    names = []
    for number in range(recordings):
        rng = np.random.default_rng(number)
        n = WINDOWS * EVENTS
        centre = rng.normal(64, 18, (n, 2)).clip(0, 127)  # denser in the middle, as a person is
        events = Events(
            t=np.sort(rng.integers(0, WINDOWS * LENGTH, n)),
            x=centre[:, 0].astype(np.uint16),
            y=centre[:, 1].astype(np.uint16),
            p=rng.integers(0, 2, n),
            size=SIZE,
        )
        name = f"user{number + 1:02d}_led"
        ek.write(root / f"{name}.aedat", events)
        rows = [f"{min(w, 10) + 1},{w * LENGTH},{(w + 1) * LENGTH}" for w in range(WINDOWS)]
        table = "\n".join(["class,startTime_usec,endTime_usec", *rows]) + "\n"
        (root / f"{name}_labels.csv").write_text(table)
        names.append(f"{name}.aedat")
    (root / "trials_to_train.txt").write_text("\n".join(names[:-1]) + "\n")
    (root / "trials_to_test.txt").write_text(names[-1] + "\n")
    return sum(file.stat().st_size for file in root.glob("*.aedat"))


def command(root: Path, out: Path) -> float:
    """Seconds of one `eventkit convert` in a process of its own."""
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    words = ["convert", "dvsgesture", "--frames", "16", "--root", str(root), "--out", str(out)]
    subprocess.run(
        [sys.executable, "-m", "eventkit", *words, "--json"], check=True, capture_output=True
    )
    return time.perf_counter() - started


def floor(root: Path) -> float:
    """Seconds to read, decode once and compress, nothing else, on all cores."""
    files = sorted(root.glob("*.aedat"))
    rng = np.random.default_rng(0)
    cells = (rng.normal(64, 18, (2, EVENTS)).clip(0, 127)).astype(int)
    frames = np.zeros((16, 2, 128, 128), np.uint16)
    np.add.at(frames, (rng.integers(0, 16, EVENTS), rng.integers(0, 2, EVENTS), *cells), 1)

    def work(path: Path) -> None:
        room = Columns()
        for _ in ek.stream(path, EVENTS, into=room):
            pass
        for _ in range(WINDOWS):
            FAST.encode(frames)

    workers = len(os.sched_getaffinity(0))
    work(files[0])
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, files))
    return time.perf_counter() - started


def peer(python: Path, root: Path) -> float:
    """Seconds SpikingJelly needs for raw samples and frames of the same recordings."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(__file__).with_name("peer_spikingjelly_convert.py")
        done = subprocess.run(
            [python, script, root, folder], check=True, capture_output=True, text=True
        )
        return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def run(peers: Path | None, full: bool = False) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        small, large, many, tiny = base / "small", base / "large", base / "many", base / "tiny"
        make(small, 2), make(large, 4)
        n_bytes = make(many, 11)
        out = base / "out.zarr"
        tiny.mkdir()
        for name in ("user01_led.aedat", "user02_led.aedat"):
            whole = ek.read(small / name)
            ek.write(tiny / name, whole[: EVENTS // 10])
            table = name.replace(".aedat", "_labels.csv")
            (tiny / table).write_text("class,startTime_usec,endTime_usec\n1,0,600000\n")
        for name in ("trials_to_train.txt", "trials_to_test.txt"):
            shutil.copy(small / name, tiny / name)
        command(small, out)  # kernels are compiled, files are in memory
        few = statistics.median(command(small, out) for _ in range(5))
        lot = statistics.median(command(many, out) for _ in range(5))
        start = statistics.median(command(tiny, out) for _ in range(5))
        least = statistics.median(floor(many) for _ in range(5))
        slope = (lot - few) / 9
        floor_slope = least / 11
        theirs = theirs_whole = None
        if peers is not None:
            python = peers / "bin" / "python"
            low, high = peer(python, small), peer(python, large)
            theirs = (high - low) / 2
            theirs_whole = peer(python, many) if full else low + 9 * theirs
    name = "SpikingJelly 2.0" if full else "SpikingJelly 2.0, from its slope"
    return [
        row(
            "convert DVS128 Gesture, per recording of 36 MB",
            slope,
            theirs,
            "SpikingJelly 2.0",
            "≥ 200 ×",
        ),
        row(f"convert {n_bytes / 1e6:.0f} MB, whole process", lot, theirs_whole, name, "≥ 60 ×"),
        row(
            "the same against read + decode + compress", slope, floor_slope, "floor", "≤ 2 × floor"
        ),
        row("convert a tiny set, whole process", start, None, "", "≤ 1.5 s"),
    ]


def row(what: str, ours: float, beside: float | None, name: str, bar: str) -> dict:
    ratio = None if beside is None else beside / ours
    return {
        "what": what,
        "ours": ours,
        "peer": beside,
        "peer_name": name,
        "ratio": ratio,
        "unit": "s",
        "bar": bar,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    for line in run(options.peers, options.full):
        print(json.dumps(line, ensure_ascii=False))
