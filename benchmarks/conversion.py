"""Conversion to spikes: python benchmarks/conversion.py [digits] [nmnist] [--data FOLDER]

Networks without spikes on five paired folds of scikit-learn's digits (8 x 8 grey images) and of the
1,100 samples of N-MNIST small, all events of a sample in one frame; then the same weights as IF
and group neurons. `qcfs` is the activation of Bu et al. (ICLR 2022), `relu` the baseline with
thresholds at the 99.9th percentile. Nothing is selected: the weights are those after the last
epoch. Differences are in points of accuracy, in pairs of folds, with half a 95 % interval. A result
is added to --results and not repeated.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from nmnist import FOLDS, T_95, Frames, parts, samples

from eventkit.train import spiking_run, train

STEPS = {1: (1, 2, 4, 8, 32), 4: (2,), 8: (1, 2)}  # by the members of a group
NETS = {
    "qcfs": "csnn_tiny:neurons=[qcfs:levels=8,threshold=4],pool=avg,width=16",
    "relu": "csnn_tiny:neurons=relu,pool=avg,width=16",
}
SETTINGS = {
    "digits": {"epochs": 30, "batch": 32, "lr": 5e-3, "augment": ["none"]},
    "nmnist": {
        "epochs": 30, "batch": 32, "lr": 5e-3,
        "augment": ["shift:share=0.06", "rotate:degrees=12", "scale:low=0.9,high=1.1"],
    },
}  # fmt: skip


def digits() -> dict[str, Frames]:
    """The 1,797 images of scikit-learn as frames (1, 1, 8, 8) from 0 to 1."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("digits need scikit-learn: pip install scikit-learn")
    found = load_digits()
    images = torch.from_numpy(found.images / 16).float()[:, None, None]
    whole = Frames(images, found.target.astype(np.int64), [str(digit) for digit in range(10)])
    return {"train": whole.only(np.arange(0, 1797, 2)), "test": whole.only(np.arange(1, 1797, 2))}


def fold(splits: dict[str, Frames], data: str, net: str) -> list[dict]:
    """The rows of one fold: without spikes, then for all members and steps."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = {**SETTINGS[data], "model": NETS[net], "validation": 0.0, "page": False}
        train(splits, out=run, **settings)
        rows = []
        for members, steps in STEPS.items():
            found = spiking_run(
                run, splits, steps=steps, members=[members], weights="last", batch=100
            )["rows"]
            rows += found[1:] if rows else found
        return rows


def summary(results: dict) -> None:
    print("| data | network | without spikes | members | steps | spiking | difference |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for data in SETTINGS:
        for net in NETS:
            runs = [rows for key, rows in results.items() if key.startswith(f"{data}/{net}/")]
            if not runs:
                continue
            whole = [100 * rows[0]["accuracy"] for rows in runs]
            for members, steps in ((m, T) for m, each in STEPS.items() for T in each):
                found = [
                    100 * row["accuracy"]
                    for rows in runs
                    for row in rows
                    if (row["members"], row["steps"]) == (members, steps)
                ]
                change = [b - a for a, b in zip(whole, found, strict=True)]
                half = T_95 * statistics.stdev(change) / math.sqrt(FOLDS) if len(runs) > 1 else 0
                a, b = statistics.fmean(whole), statistics.fmean(found)
                print(f"| {data} | {net} | {a:.2f} % | {members} | {steps} | {b:.2f} % | "
                      f"{b - a:+.2f} ± {half:.2f} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help="digits or nmnist [both]")
    default = Path(os.environ.get("EVENTKIT_SAMPLES", ".")) / "nmnist"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--results", type=Path, default=Path("conversion.json"))
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    for data in options.sets or SETTINGS:
        if data not in SETTINGS:
            parser.error(f"no set {data!r}; known: {', '.join(SETTINGS)}")
        given = digits() if data == "digits" else samples(options.data, 1)
        for number in range(FOLDS):
            splits = parts(given, "folds", number)
            for net in NETS:
                if (key := f"{data}/{net}/{number}") not in results:
                    results[key] = fold(splits, data, net)
                    options.results.write_text(json.dumps(results, indent=1))
                    print(key, results[key][0]["accuracy"], file=sys.stderr, flush=True)
    summary(results)


if __name__ == "__main__":
    main()
