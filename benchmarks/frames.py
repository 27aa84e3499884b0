"""Frames of one sample beside SpikingJelly and Tonic, on one thread.

python benchmarks/run.py frames --peers ENVIRONMENT: 400,000 events on 128x128, T = 16.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import eventkit as ek
from eventkit import Events
from eventkit._jit import jit

HERE = Path(__file__).parent
EVENTS, SIZE = 400_000, (128, 128)
# What is timed, and by how much each library is to be beaten.
SETTINGS = [{"n": 16, "by": "number"}, {"n": 16, "by": "time"}, {"duration": 300_000}]
BARS = {"spikingjelly": ["≥ 3 ×", "≥ 10 ×", ""], "tonic": ["≥ 25 ×", "≥ 25 ×", ""]}
NAMES = {"spikingjelly": "SpikingJelly", "tonic": "Tonic"}


def sample() -> Events:
    """Events in order of time, denser in the middle of the sensor, as a person makes them."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(64, 18, (2, EVENTS)).clip(0, 127).astype(np.uint16)
    t = np.sort(rng.integers(0, 5_000_000, EVENTS))
    return Events(t, x, y, rng.integers(0, 2, EVENTS), SIZE)


@jit
def sum_columns(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> int:
    """Read all events, several at a time, and keep one sum: the floor of any pass."""
    total = 0
    for i in range(len(t)):
        total += t[i] + x[i] + y[i] + p[i]
    return total


@jit
def count_unchecked(out: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> None:
    """Count events in 16 frames and check nothing: the floor of counting, one at a time."""
    pixels = np.uint64(out[0, 0].size)
    counts = out.reshape(out.size)
    for k in range(16):
        frame = np.uint64(k) * np.uint64(2) * pixels
        for i in range(k * len(x) // 16, (k + 1) * len(x) // 16):
            j = np.uint64(i)
            column, row, channel = np.uint64(x[j]), np.uint64(y[j]), np.uint64(p[j])
            counts[frame + channel * pixels + row * np.uint64(128) + column] += np.uint16(1)


def median_ms(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(31):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def theirs(peers: Path, events: Events) -> dict[str, float]:
    """Median ms of the other libraries, from one process in their environment."""
    columns = {key: getattr(events, key).astype(np.int64) for key in "txyp"}
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(SETTINGS)
        np.savez(Path(folder, "sample.npz"), size=events.size, settings=text, **columns)
        command = [peers / "bin" / "python", HERE / "peer_frames.py", "time", folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | threads)
    return json.loads(done.stdout)


def run(peers: Path | None) -> list[dict]:
    events = sample()
    out = np.zeros((16, 2, *SIZE), np.uint16)
    beside = theirs(peers, events) if peers else {}
    beside["count"] = median_ms(lambda: count_unchecked(out, events.x, events.y, events.p))
    beside["sum"] = median_ms(lambda: sum_columns(events.t, events.x, events.y, events.p))

    def row(what: str, ours: float, key: str, name: str, bar: str = "") -> dict:
        peer = beside.get(key)
        numbers = {"ours": ours, "peer": peer, "ratio": peer / ours if peer else None}
        return {"what": what, "peer_name": name, "unit": "ms", "bar": bar, **numbers}

    rows = []
    for number, options in enumerate(SETTINGS):
        ours = median_ms(lambda o=options: ek.frames(events, **o))
        what = "frames " + ("by " + options["by"] if "by" in options else "of 0.3 s")
        for library, name in NAMES.items():
            rows.append(row(what, ours, f"{number} {library}", name, BARS[library][number]))
    by_time = median_ms(lambda: ek.frames(events, n=16, by="time"))
    rows.append(row("frames by time", by_time, "sum", "only summing the columns", "≥ 0.5 ×"))
    rows.append(row("frames by time", by_time, "count", "counting without a check"))
    grid = median_ms(lambda: ek.voxel(events, bins=5))
    rows.append(row("voxel, 5 bins", grid, "voxel", "Tonic"))
    return rows


if __name__ == "__main__":
    for line in run(None):
        print(json.dumps(line, ensure_ascii=False))
