"""N-MNIST small, 1,000 and 100 samples: python benchmarks/nmnist.py [--peers ENVIRONMENT] [PART]

PART is `seeds` (the given split, validation from the training part, three seeds), `folds` (five
folds over all 1,100 samples, nothing selected: the accuracy after the last epoch), and, beside
them on SpikingJelly's own N-MNIST net and recipe, `peer-seeds` and `peer-folds`. Each run takes at
most five minutes of two cores: both sides have as many epochs as fit in on cores that are idle, so
that a busy machine changes nothing but the time. A result is added to --results, and runs that are
there already are not repeated. The whole takes about 16 x 5 minutes.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from eventkit.conversion import convert
from eventkit.loader import EventDataset
from eventkit.models import MODELS, Model, Recipe
from eventkit.snn import Dropout, Fold, Halve, Voting, neuron
from eventkit.train import train

HERE = Path(__file__).parent
STEPS, PEER_STEPS = 5, 10
EPOCHS, PEER_EPOCHS = 96, 5  # 2.8 s and 63 s each on two idle cores, tests included
SEEDS, FOLDS = 3, 5
RECIPE = {
    "model": "nmnist_small:width=34",
    "epochs": EPOCHS,
    "batch": 32,
    "lr": 5e-3,
    "loss": "tet:weight=0.001",
    "smoothing": 0.1,
    "ema": 0.98,
    "augment": [
        "shift:share=0.06", "rotate:degrees=12", "scale:low=0.9,high=1.1", "shear:share=0.1",
    ],
}  # fmt: skip
T_95 = 2.776  # Student's t for a two-sided interval of 95 % with FOLDS - 1 = 4 degrees of freedom


def small(num_classes: int, in_shape: tuple[int, ...], *, width: int) -> nn.Module:
    """{conv 3x3, batch norm, LIF, max-pool 2} with `width`, 2 `width` and 64 channels, then 256
    LIF and ten voters a class.
    """
    channels, *sides = in_shape
    layers: list[nn.Module] = []
    for out in (width, 2 * width, 64):
        conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        layers += [Fold(conv, nn.BatchNorm2d(out)), neuron("lif"), Halve("max")]
        channels, sides = out, list(Halve.size(tuple(sides)))
    first = nn.Linear(channels * sides[0] * sides[1], 256, bias=False)
    second = nn.Linear(256, 10 * num_classes, bias=False)
    for linear in (first, second):
        nn.init.normal_(linear.weight, std=2 / math.sqrt(linear.in_features))
    layers += [nn.Flatten(2), Dropout(0.3), first, neuron("lif"), Dropout(0.3), second, Voting(10)]
    return nn.Sequential(*layers)


MODELS.register(Model("nmnist_small", small, "for 34 x 34 pixels on two CPU cores", Recipe()))


class Frames:
    """Samples in memory."""

    def __init__(self, frames: torch.Tensor, labels: np.ndarray, classes: list[str]) -> None:
        self.frames, self.labels, self.classes = frames, labels, classes

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.frames.shape[1:])

    def __getitems__(self, indices: list[int]) -> list:
        return [(self.frames[i], int(self.labels[i])) for i in indices]

    def only(self, indices: np.ndarray) -> "Frames":
        return Frames(self.frames[indices], self.labels[indices], self.classes)


def samples(data: Path, steps: int, like: str | None = None) -> dict[str, Frames]:
    """The given split, as frames by number."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "nmnist.zarr"
        spec = f"frames:n={steps}" + (f",like={like}" if like else "")
        convert("nmnist", represent=spec, root=data, out=store)
        found = {}
        for name in ("train", "test"):
            split = EventDataset(store, name)
            frames = torch.from_numpy(np.array(split.split.frames).astype(np.float32))
            found[name] = Frames(frames, split.labels, split.classes)
    return found


def parts(given: dict[str, Frames], kind: str, number: int) -> dict[str, Frames]:
    """The samples of a run: the given split, or a fold of all samples, stratified, fixed."""
    if kind == "seeds":
        return given
    frames = torch.cat([given[name].frames for name in ("train", "test")])
    labels = np.concatenate([given[name].labels for name in ("train", "test")])
    whole, fold = Frames(frames, labels, given["train"].classes), np.empty(len(labels), int)
    rng = np.random.default_rng(0)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        fold[members] = np.arange(len(members)) % FOLDS
    return {
        "train": whole.only(np.flatnonzero(fold != number)),
        "test": whole.only(np.flatnonzero(fold == number)),
    }


def ours(splits: dict[str, Frames], kind: str, number: int, options: dict) -> dict:
    seed = number if kind == "seeds" else 0
    validation = 0.1 if kind == "seeds" else 0.0
    settings = {**RECIPE, "seed": seed, "validation": validation, **options}
    with tempfile.TemporaryDirectory() as folder:
        result = train(splits, out=Path(folder) / "run", page=False, **settings)
    return {key: result[key] for key in ("accuracy", "epochs", "seconds", "parameters", "waiting")}


def theirs(splits: dict[str, Frames], kind: str, number: int, python: Path) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "samples.npz"
        arrays = {name: part.frames.numpy() for name, part in splits.items()}
        labels = {f"{name}_labels": part.labels for name, part in splits.items()}
        np.savez(file, **arrays, **labels)
        seed = number if kind == "seeds" else 0
        command = [python, HERE / "peer_nmnist.py", file, str(PEER_EPOCHS), str(seed)]
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def summary(results: dict) -> None:
    for side in ("", "peer-"):
        name = "SpikingJelly" if side else "eventkit"
        seeds = [r for key, r in results.items() if key.startswith(f"{side}seeds/")]
        folds = [r for key, r in results.items() if key.startswith(f"{side}folds/")]
        if seeds:
            for key in seeds[0]["accuracy"]:
                shares = [r["accuracy"][key] for r in seeds if r["accuracy"][key] is not None]
                if shares:
                    spread = statistics.stdev(shares) if len(shares) > 1 else math.nan
                    print(f"{name}, given split, {key}: {statistics.fmean(shares):.1%} "
                          f"± {spread:.1%} ({len(shares)} seeds)")  # fmt: skip
        if folds:
            shares = [r["accuracy"]["last"] for r in folds]
            half = T_95 * statistics.stdev(shares) / math.sqrt(FOLDS) if len(shares) == FOLDS else 0
            seconds = statistics.fmean(r["seconds"] for r in folds)
            print(f"{name}, {len(shares)} folds, last epoch: {statistics.fmean(shares):.2%} "
                  f"± {half:.2%} (95 % interval), {seconds:.0f} s and {folds[0]['epochs']} epochs "
                  "a run")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ("seeds", "folds", "peer-seeds", "peer-folds")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(known)} [all]")
    data = Path(os.environ.get("EVENTKIT_SAMPLES", ".")) / "nmnist"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--peers", type=Path, help="an environment with SpikingJelly")
    parser.add_argument("--results", type=Path, default=Path("nmnist.json"))
    parser.add_argument("--only", type=int, help="only the seed or fold of this number")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of ours")
    options = parser.parse_args()
    changes = dict(text.split("=", 1) for text in options.set)
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    cache: dict = {}
    for part in options.parts or known:
        if part not in known:
            parser.error(f"no part {part!r}; known: {', '.join(known)}")
        is_peer, kind = part.startswith("peer-"), part.removeprefix("peer-")
        if is_peer and options.peers is None:
            print(f"{part}: left out without --peers", file=sys.stderr)
            continue
        for number in range(SEEDS if kind == "seeds" else FOLDS):
            key = f"{part}/{number}"
            if key in results or options.only not in (None, number):
                continue
            if is_peer not in cache:
                steps = PEER_STEPS if is_peer else STEPS
                cache[is_peer] = samples(options.data, steps, "spikingjelly" if is_peer else None)
            splits = parts(cache[is_peer], kind, number)
            if is_peer:
                results[key] = theirs(splits, kind, number, options.peers / "bin" / "python")
            else:
                results[key] = ours(splits, kind, number, changes)
            print(key, json.dumps(results[key]), file=sys.stderr, flush=True)
            options.results.write_text(json.dumps(results, indent=1))
    summary(results)


if __name__ == "__main__":
    main()
