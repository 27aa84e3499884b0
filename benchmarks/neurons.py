"""How fast neurons and a training step are: python benchmarks/neurons.py [--peers ENVIRONMENT]

Forward and backward pass of LIF, float32, two threads; medians, each measurement in a process of
its own with the same script, the two libraries one after the other. Spikes and gradients are
compared too.
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


def side(python: Path, library: str, what: str, file: Path) -> dict:
    command = [python, HERE / "peer_neurons.py", library, what, file]
    # Threads that wait actively would take the core from whatever runs next.
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def row(what: str, ours: float, peer: float | None, unit: str, bar: str) -> dict:
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": "SpikingJelly",
        "ratio": peer / ours if peer else None,
        "unit": unit,
        "bar": bar,
    }


def difference(files: list[Path]) -> float:
    """The largest difference of the two sides, as a share of the largest value of its array."""
    ours, theirs = (np.load(file) for file in files)
    return max(
        float(np.abs(ours[key] - theirs[key]).max() / np.abs(theirs[key]).max()) for key in ours
    )


def run(peers: Path | None) -> list[dict]:
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, "ours.npz"), Path(folder, "theirs.npz")]
        for what in ("lif", "memory", "step", "best"):
            ours |= side(Path(sys.executable), "eventkit", what, files[0])
            if peers and what != "best":
                theirs |= side(peers / "bin" / "python", "spikingjelly", what, files[1])
        apart = difference(files) if peers else None
    step = "csnn_tiny step, T=16, N=16, 2x64x64"
    rows = [
        *(
            row(f"LIF forward + backward, {shape}", ours[shape], theirs.get(shape), "ms", "2 ×")
            for shape in ours
            if shape.startswith("(")
        ),
        row("its memory, (16, 2^22)", ours["memory"], theirs.get("memory"), "MB", "2 ×"),
        row(f"{step}, the same float32", ours["step"], theirs.get("step"), "ms", "1.2 ×"),
        row(f"{step}, as trained", ours["best"], theirs.get("step"), "ms", "2.5 ×"),
    ]
    if apart is not None:
        rows.append(
            row("largest relative difference of spikes and gradients", apart, None, "", "1e-6")
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path)
    for line in run(parser.parse_args().peers):
        print(line)
