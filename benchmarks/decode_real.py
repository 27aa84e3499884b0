"""How fast real recordings are read whole: decode_real.py --peers ENVIRONMENT [--samples FOLDER]

The recordings are those of a folder (default $EVENTKIT_SAMPLES), most of them small, so that also
opening a file counts. Each is read by `eventkit.read` and by the other libraries in turns, as whole
arrays, on one core; the numbers are medians of CPU times. A library counts where it finds as many
events as eventkit. Without a folder there are no rows.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from decode import one_core

import eventkit as ek

LIBRARIES = (
    *("aedat", "evlib", "evutils", "expelliarmus", "faery", "h5py", "numpy", "spikingjelly"),
    "tonic",
)
ROUNDS, SECONDS = 3, 0.15
LARGEST = 1 << 23  # bytes


def recordings(samples: Path) -> Iterator[tuple[str, Path, int]]:
    """Format, file and number of events of each recording that is one as it stands."""
    files = sorted(path for path in (samples / "recordings").rglob("*") if path.is_file())
    files += sorted((samples / "nmnist").rglob("*.bin"))[:1]
    for path in files:
        try:
            name = ek.formats.guess(path).name
            events = len(ek.read(path)) if path.stat().st_size <= LARGEST else 0
        except ek.EventkitError:
            continue
        if events:
            yield name, path, events


def ours(path: Path) -> float:
    """Median CPU seconds of reading a file."""
    times, end = [], time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        began = time.process_time()
        ek.read(path)
        times.append(time.process_time() - began)
    return statistics.median(times)


@contextmanager
def library(peers: Path, name: str) -> Iterator[subprocess.Popen]:
    script = Path(__file__).with_name("peer_real.py")
    command = [peers / "bin" / "python", "-W", "ignore", script, name]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process
        process.stdin.close()


def theirs(process: subprocess.Popen, name: str, path: Path) -> dict | None:
    try:
        process.stdin.write(f"{name} {path}\n")
        process.stdin.flush()
    except BrokenPipeError:  # the library is not installed
        return None
    return json.loads(process.stdout.readline() or "null")


def measured(name: str, path: Path, events: int, processes: dict[str, subprocess.Popen]) -> dict:
    """The row of one recording."""
    own, others = [], {}
    for _ in range(ROUNDS):
        own.append(ours(path))
        for other, process in processes.items():
            found = theirs(process, name, path)
            if found is not None and found["events"] == events:
                others.setdefault(other, []).append(found["seconds"])
    seconds = {other: statistics.median(times) for other, times in others.items()}
    best = min(seconds, key=seconds.get, default="")
    mine = statistics.median(own)
    return {
        "what": f"{ek.formats.FORMATS[name].title}: {path.name}, {events:,} events, whole",
        "ours": 1e3 * mine,
        "peer": 1e3 * seconds[best] if best else None,
        "peer_name": best,
        "ratio": seconds[best] / mine if best else None,
        "unit": "ms",
        "bar": "≥ 1 ×" if best else "",
    }


def summary(rows: list[dict]) -> Iterator[dict]:
    """The median and the worst of the ratios."""
    ratios = [row["ratio"] for row in rows if row["ratio"]]
    if ratios:
        what = f"{len(ratios)} real recordings, whole, beside the fastest library of each"
        row = {"ours": None, "peer": None, "peer_name": "", "unit": ""}
        yield {**row, "what": f"{what}: median", "ratio": statistics.median(ratios), "bar": "≥ 2 ×"}
        yield {**row, "what": f"{what}: worst", "ratio": min(ratios), "bar": "≥ 1 ×"}


def run(peers: Path | None, samples: Path | None = None) -> list[dict]:
    """Rows for the table."""
    if samples is None and "EVENTKIT_SAMPLES" in os.environ:
        samples = Path(os.environ["EVENTKIT_SAMPLES"])
    if samples is None:
        return []
    with warnings.catch_warnings(), one_core(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        names = LIBRARIES if peers else []
        processes = {name: stack.enter_context(library(peers, name)) for name in names}
        rows = [measured(*found, processes) for found in recordings(samples)]
    return [*rows, *summary(rows)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, help="a virtual environment with the other libraries")
    parser.add_argument("--samples", type=Path, help="the folder of the recordings")
    options = parser.parse_args()
    for line in run(options.peers, options.samples):
        print(json.dumps(line, ensure_ascii=False))
