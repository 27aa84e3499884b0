"""Whether our networks are SpikingJelly's: python benchmarks/models.py --peers ENVIRONMENT

Networks that both define get the same weights and input, in training mode without dropout. For each
the largest difference of the votes and of all gradients is printed, as a share of the largest
value; 0 means that every spike is the same. Where a slope has edges, as the rectangle of
spiking_vgg11, a membrane that rounding moves over one may change a gradient by a few per cent.
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
NETS = (
    "plif_dvsgesture",
    "plif_cifar10dvs",
    "plif_nmnist",
    "sew_resnet18",
    "sew_resnet18 iand",
    "sew_resnet50",
    "spiking_resnet18",
    "spiking_resnet50",
    "vggsnn",
    "spiking_vgg11",
    "self-attention",
    "token attention",
)


def side(python: Path, library: str, net: str, file: Path) -> dict:
    """What one library makes of a network; ours writes the weights that the other reads."""
    command = [python, HERE / "peer_models.py", library, net, file]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{library}, {net}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, as a share of the largest value."""
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))


def run(peers: Path | None) -> list[dict]:
    """Two rows for each network: its votes, its gradients."""
    rows = []
    if peers is None:
        return rows
    for net in NETS:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "net.npz")
            told = side(Path(sys.executable), "eventkit", net, file)
            side(peers / "bin" / "python", "spikingjelly", net, file)
            ours, theirs = np.load(file), np.load(file.with_suffix(".peer.npz"))
            sizes = {
                key: np.abs(theirs[key]).max() for key in ours.files if key.startswith("gradient")
            }
            # Those of biases before a norm are zero but for rounding.
            gradients = [key for key in sizes if sizes[key] > 1e-4 * max(sizes.values())]
            worst = max(apart(ours[key], theirs[key]) for key in gradients)
            what = f"{net}, {told['parameters']:,} parameters, votes of {told['mean']:.3f}"
            for words, value in (
                ("largest difference of votes", apart(ours["votes"], theirs["votes"])),
                (f"largest of {len(gradients)} gradients", worst),
            ):
                rows.append(
                    {
                        "what": f"{what}: {words}", "ours": value, "peer": None,
                        "peer_name": "SpikingJelly", "ratio": None, "unit": "", "bar": "1e-5",
                    }
                )  # fmt: skip
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, required=True)
    for line in run(parser.parse_args().peers):
        print(f"{line['what']:<90} {line['ours']:.2g}", flush=True)
