"""Conversion on many workers: what a task costs beside its work, and how far that goes.

python benchmarks/run.py cluster [--peers ...]   the rows of the table
python benchmarks/cluster.py [SAMPLES ...]       those, and the cost and the coordinator's memory of
                                                 so many simulated samples [1000 10000 100000]

The model for more workers than there are here is printed with the numbers it rests on.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TASKS = 500
SCRIPT = """
import json, resource, sys, time
from pathlib import Path
from eventkit.conversion import convert
root, out, engine, workers = sys.argv[1:]
if __name__ == "__main__":
    seen = []
    started = time.perf_counter()
    told = convert("nmnist", root=root, out=out, represent="frames:n=2", engine=engine,
                   workers=int(workers), progress=lambda now: seen.append(time.perf_counter()))
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": ended - started, "plan": seen[0] - started,
                      "first": seen[1] - started, "work": seen[-1] - seen[1],
                      "finish": ended - seen[-1], "jobs": len(seen) - 1, "peak": peak}))
"""


def make(root: Path, samples: int, events: int) -> None:
    """Recordings like those of N-MNIST: 5 bytes an event, each with other events."""
    rng = np.random.default_rng(0)
    for number in range(10):
        (root / "Train" / str(number)).mkdir(parents=True)
    for number in range(samples):
        raw = np.zeros((events, 5), np.uint8)
        raw[:, :2] = rng.integers(0, 34, (events, 2))
        raw[:, 2] = rng.integers(0, 2, events) << 7
        raw[:, 3:] = (
            np.sort(rng.integers(0, 60_000, events)).astype(">u2").view(np.uint8).reshape(-1, 2)
        )
        (root / "Train" / str(number % 10) / f"{number:06d}.bin").write_bytes(raw.tobytes())


def conversion(root: Path, engine: str, workers: int) -> dict:
    """One conversion in a process of its own, and where its time went."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.py")
        script.write_text(SCRIPT)
        command = [sys.executable, script, root, Path(folder, "s.zarr"), engine, str(workers)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def overhead() -> float:
    """Seconds that a task without work takes, from submission to result, many in flight."""
    from concurrent.futures import wait

    from distributed import Client

    from eventkit.conversion.cluster import DaskExecutor, needing

    with (
        tempfile.TemporaryDirectory() as folder,
        needing(Path(folder), Path(folder), 0) as needs,
        Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client,
    ):
        pool = DaskExecutor(client, needs)
        wait([pool.submit(abs, -1) for _ in range(20)])
        started = time.perf_counter()
        wait([pool.submit(abs, -k) for k in range(TASKS)])
        return (time.perf_counter() - started) / TASKS


def journal() -> float:
    """Seconds in which the coordinator notes that a job is done."""
    from eventkit.store.building import Building

    with tempfile.TemporaryDirectory() as folder:
        building = Building(Path(folder, "s.zarr"))
        with building.locked():
            building.begin({})
            rows = {name: list(range(1024)) for name in ("n_events", "t_start", "t_end", "count")}
            started = time.perf_counter()
            for number in range(50):
                building.record(("train", number), {"files": {}, "rows": rows})
            return (time.perf_counter() - started) / 50


def run(peers: Path | None = None) -> list[dict]:
    """The rows of the table."""
    task, note = overhead(), journal()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, 4000, 4000)
        one, two = (conversion(root, "dask", workers) for workers in (1, 2))
    work = one["work"] / (one["jobs"] - 1)  # of a job; the first also starts and compiles
    print(f"a job: {work * 1e3:.1f} ms of work, {task * 1e3:.2f} ms of Dask, {note * 1e3:.2f} ms "
          f"of journal; plan {one['plan']:.2f} s, start {one['first'] - one['plan']:.2f} s, finish "
          f"{one['finish']:.2f} s", file=sys.stderr)  # fmt: skip
    model(work, task + note)
    rows = [("Dask, overhead of a task", task * 1e3, "ms", None, "")]
    rows += [("two Dask workers and one", two["work"], "s", one["work"], "one worker")]
    return [
        {
            "what": what,
            "ours": ours,
            "unit": unit,
            "peer": peer,
            "peer_name": name,
            "ratio": peer / ours if peer else None,
            "bar": "",
        }
        for what, ours, unit, peer, name in rows
    ]


def model(work: float, serial: float) -> None:
    """How a conversion of 10,000 jobs goes on: workers share the work, the coordinator does not.

    Jobs take as long as here; the file system is taken to be as fast for each of many workers.
    """
    print("model: workers, seconds for 10,000 jobs, efficiency", file=sys.stderr)
    for size in (20, 200):  # jobs of that many times the work measured
        limit = size * work / serial
        for workers in (1, 10, 100, 300, 1000):
            seconds = max(10_000 * size * work / workers, 10_000 * serial)
            share = 10_000 * size * work / workers / seconds
            print(f"  jobs of {size * work:.1f} s: {workers:5} {seconds:10,.0f} s {share:6.0%}"
                  f" (coordinator full at {limit:,.0f} workers)", file=sys.stderr)  # fmt: skip


def flat(counts: list[int]) -> None:
    """The cost of a sample and the coordinator's memory, for more and more samples."""
    for samples in counts:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), samples, 20)
            told = conversion(Path(folder), "threads", 2)
        steady, plan, finish = (
            seconds / samples * 1e6
            for seconds in (told["seconds"] - told["first"], told["plan"], told["finish"])
        )
        print(
            f"{samples:7,} samples: {steady:5.0f} µs each, plan {plan:4.0f} µs, "
            f"finish {finish:4.0f} µs, peak {told['peak'] / 1e6:,.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    for row in run():
        print(row["what"], f"{row['ours']:.3g} {row['unit']}", row["ratio"] or "")
    flat([int(word) for word in sys.argv[1:]] or [1000, 10_000, 100_000])
