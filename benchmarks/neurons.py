"""How fast neurons and a training step are: python benchmarks/neurons.py [--peers ENVIRONMENT]

Forward and backward pass, float32, two threads. Each library has a process, which run the same
script and take turns; the numbers are medians. Spikes and gradients are compared too, with
SpikingJelly and with snnTorch, for every neuron that they define as we do.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
NEURONS = {"lif": "LIF", "psn": "PSN", "sliding": "sliding PSN"}


# Exponent of the neurons -> turns, runs of each library in a turn.
SHAPES = {16: (12, 3), 18: (8, 1), 20: (4, 1), 22: (2, 1)}
STEPS = 3


class Side:
    """A library in a process of its own, which does a job at a time."""

    def __init__(self, python: Path, library: str) -> None:
        # Threads that wait actively would take the core from whatever runs next.
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
        self.process = subprocess.Popen(
            [python, HERE / "peer_neurons.py", library], text=True, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, *job: object) -> Any:
        print(json.dumps(job, default=str), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args[-1]} ended in the job {job}")
        return json.loads(answer)

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.stdin.close()
        self.process.wait()


def turns(sides: list[Side], rounds: int, *job: object) -> list[float]:
    """The median of each side, after one run that does not count."""
    for side in sides:
        side.ask(*job[:-1], 1)
    found = [[] for _ in sides]
    for _ in range(rounds):
        for times, side in zip(found, sides, strict=True):
            times += side.ask(*job)
    return [statistics.median(times) for times in found]


def row(what: str, ours: float, peer: float | None, unit: str, bar: str, name="") -> dict:
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": name or "SpikingJelly",
        "ratio": peer / ours if peer else None,
        "unit": unit,
        "bar": bar,
    }


def difference(ours: Path, theirs: Path) -> float:
    """The largest difference of the two sides, as a share of the largest value of its array.

    Gradients of parameters are sums over all neurons, given in units of the root of their number:
    those that nearly cancel out count by that unit.
    """
    a, b = np.load(ours), np.load(theirs)
    shares = {key: float(np.abs(a[key] - b[key]).max() / max(1, np.abs(b[key]).max())) for key in b}
    for key, share in shares.items():
        print(f"{theirs.stem} {key}: {share:.1e}", file=sys.stderr)
    return max(shares.values())


def compare(sides: list[Side], peers: Path) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder, Side(peers / "bin/python", "snntorch") as torch:
        names = ("eventkit", "SpikingJelly", "snnTorch")
        files = [Path(folder, f"{name}.npz") for name in names]
        for side, file in zip([*sides, torch], files, strict=True):
            side.ask("equal", file)
        for file in files[1:]:
            what = f"largest relative difference of spikes and gradients, {file.stem}"
            rows.append(row(what, difference(files[0], file), None, "", "≤ 1e-6"))
    return rows


def layers(sides: list[Side], kind: str, name: str) -> list[dict]:
    """Times over all shapes, and the memory of the largest."""
    rows = []
    for exponent, (rounds, repeats) in SHAPES.items():
        shape = (16, 1 << exponent)
        peaks = [side.ask("peak", kind, shape) for side in sides]
        ours, *theirs = turns(sides, rounds, "neuron_times", kind, shape, repeats)
        for side in sides:
            side.ask("drop")
        what = f"{name} forward + backward, (16, 2^{exponent})"
        rows.append(row(what, ours, theirs[0] if theirs else None, "ms", "≥ 2 ×"))
    ours, *theirs = peaks
    what = f"{name}, peak memory, (16, 2^{exponent})"
    rows.append(row(what, ours, theirs[0] if theirs else None, "MB", "≥ 2 ×"))
    return rows


def run(peers: Path | None) -> list[dict]:
    rows = []
    with ExitStack() as open_:
        us = open_.enter_context(Side(Path(sys.executable), "eventkit"))
        sides = [us]
        if peers:
            sides.append(open_.enter_context(Side(peers / "bin" / "python", "spikingjelly")))
            rows += compare(sides, peers)
        for kind, name in NEURONS.items():
            rows += layers(sides, kind, name)
        same, *theirs = turns(sides, STEPS, "step_times", False, 1)
        cells, saved = us.ask("loops"), us.ask("saved")
    with Side(Path(sys.executable), "eventkit") as us:  # keeps freed memory from its start
        best = turns([us], STEPS, "step_times", True, 1)[0]
    step, peer = "csnn_small step, T=16, N=16, 2x64x64", theirs[0] if theirs else None
    rows += [
        row(f"{step}, the same float32", same, peer, "ms", "≥ 1.2 ×"),
        row(f"{step}, as trained", best, peer, "ms", "≥ 2.5 ×"),
    ]
    for name, (kernel, loop) in cells.items():
        what = f"{name} forward + backward, (100, 64, 512)"
        rows.append(row(what, kernel, loop, "ms", "", "the same step by step in torch"))
    for name, (less, plain) in saved.items():
        rows.append(row(f"csnn_small, kept for the backward pass, {name}", less, plain, "MB", "",
                        "without"))  # fmt: skip
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path)
    for line in run(parser.parse_args().peers):
        print(line)
