"""How long the command and the import take before they do anything."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path


def seconds(*arguments: str) -> float:
    """Median wall time of a Python process with these arguments, files in memory."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def run(peers: Path | None) -> list[dict]:
    told = seconds("-m", "eventkit", "--help")
    loaded = seconds("-c", "import eventkit; eventkit.Events, eventkit.frames, eventkit.read")
    theirs = None
    if peers is not None:
        python = peers / "bin" / "python"
        times = []
        for _ in range(4):
            started = time.perf_counter()
            subprocess.run([python, "-c", "import tonic"], check=True, capture_output=True)
            times.append(time.perf_counter() - started)
        theirs = statistics.median(times[1:])
    common = {"unit": "s", "peer_name": "import tonic"}
    return [
        {"what": "eventkit --help", "ours": told, "peer": None, "ratio": None, "bar": "≤ 0.25 s"}
        | common,
        {
            "what": "import eventkit, with its kernels",
            "ours": loaded,
            "peer": theirs,
            "ratio": theirs / loaded if theirs else None,
            "bar": "≤ 0.35 s",
        }
        | common,
    ]


if __name__ == "__main__":
    for line in run(None):
        print(json.dumps(line, ensure_ascii=False))
