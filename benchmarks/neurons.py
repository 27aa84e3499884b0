"""How fast neurons and a training step are: python benchmarks/neurons.py [--peers ENVIRONMENT]

Forward and backward pass, float32, two threads; medians, each measurement in a process of its own
with the same script, the two libraries one after the other. Spikes and gradients are compared too,
with SpikingJelly and with snnTorch, for every neuron that they define as we do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
NEURONS = {"lif": "LIF", "psn": "PSN", "sliding": "sliding PSN"}


def side(python: Path, library: str, what: str, file: Path) -> dict:
    command = [python, HERE / "peer_neurons.py", library, what, file]
    # Threads that wait actively would take the core from whatever runs next.
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


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


def run(peers: Path | None) -> list[dict]:
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:

        def both(what: str) -> None:
            ours.update(side(Path(sys.executable), "eventkit", what, Path(folder, "eventkit.npz")))
            if peers:
                file = Path(folder, "SpikingJelly.npz")
                theirs.update(side(peers / "bin" / "python", "spikingjelly", what, file))

        both("equal")
        if peers:
            side(peers / "bin" / "python", "snntorch", "equal", Path(folder, "snnTorch.npz"))
            for name in ("SpikingJelly", "snnTorch"):
                apart = difference(Path(folder, "eventkit.npz"), Path(folder, f"{name}.npz"))
                what = f"largest relative difference of spikes and gradients, {name}"
                rows.append(row(what, apart, None, "", "1e-6"))
        for kind, name in NEURONS.items():
            both(kind)
            for shape in [key for key in ours if key.startswith(f"{kind} ")]:
                what = f"{name} forward + backward, {shape.partition(' ')[2]}"
                rows.append(row(what, ours[shape], theirs.get(shape), "ms", "2 ×"))
            memory = f"memory_{kind}"
            both(memory)
            what = "its memory, (16, 2^22)"
            rows.append(row(what, ours[memory], theirs.get(memory), "MB", "2 ×"))
        both("step")
        ours |= side(Path(sys.executable), "eventkit", "best", Path(folder, "eventkit.npz"))
        cells = side(Path(sys.executable), "eventkit", "loops", Path(folder, "eventkit.npz"))
        saved = side(Path(sys.executable), "eventkit", "saved", Path(folder, "eventkit.npz"))
    step = "csnn_small step, T=16, N=16, 2x64x64"
    rows += [
        row(f"{step}, the same float32", ours["step"], theirs.get("step"), "ms", "1.2 ×"),
        row(f"{step}, as trained", ours["best"], theirs.get("step"), "ms", "2.5 ×"),
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
