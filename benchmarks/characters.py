"""One sample a class: HFirst's 36 characters, python benchmarks/characters.py [FILE.mat]

The file (`alphabet_ExtractedStabilized.mat`, 76 recordings of 32 x 32 pixels) has no labels: a belt
with 36 characters passes the camera two times and a bit, so a recording's class is its number
modulo 36, as its picture shows. The first turn is trained on, the other 40 recordings are the test;
nothing is selected: the accuracy is that after the last epoch, of three seeds.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from nmnist import RECIPE, SEEDS, STEPS, Frames

import eventkit as ek
from eventkit.train import train

CHARACTERS = "XFYGZH0I1J2K3L4M5N6O7P8Q9RSATBUCVDWE"  # in the order of the belt
SETTINGS = RECIPE | {
    "model": "nmnist_small:width=32", "epochs": 200, "batch": 12, "validation": 0.0, "page": False,
}  # fmt: skip


def samples(file: Path) -> dict[str, Frames]:
    """36 recordings to train on and 40 for the test, as frames by number."""
    number = 76
    frames = np.stack(
        [
            ek.frames(ek.read(file, recording=i, lowest=1, size="32x32"), n=STEPS)
            for i in range(number)
        ]
    ).astype(np.float32)
    labels, turn = np.arange(number) % len(CHARACTERS), len(CHARACTERS)
    whole = Frames(torch.from_numpy(frames), labels, list(CHARACTERS))
    return {"train": whole.only(np.arange(turn)), "test": whole.only(np.arange(turn, number))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = Path(os.environ.get("EVENTKIT_SAMPLES", ".")) / "recordings" / "mat"
    default = folder / "alphabet_ExtractedStabilized.mat"
    parser.add_argument("file", nargs="?", type=Path, default=default)
    splits = samples(parser.parse_args().file)
    shares = []
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory() as out:
            result = train(splits, out=Path(out) / "run", seed=seed, **SETTINGS)
        shares.append(result["accuracy"]["last"])
        print(f"seed {seed}: {shares[-1]:.1%} of 40 in {result['seconds']:.0f} s", flush=True)
    print(f"characters: {statistics.fmean(shares):.1%} ± {statistics.stdev(shares):.1%}")


if __name__ == "__main__":
    main()
