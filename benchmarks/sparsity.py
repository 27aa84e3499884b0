"""Sparse training: python benchmarks/sparsity.py [METHOD ...] [--data FOLDER]

A network of LIF neurons with 290,000 weights on five paired folds of the 1,100 samples of N-MNIST
small, dense and with each method, whose options bring it near to 10 % of the weights. Nothing is
selected: accuracy and connectivity are those after the last epoch. Differences are in points of
accuracy, in pairs of folds, with half a 95 % interval. A result is added to --results and not
repeated.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path

from nmnist import FOLDS, T_95, Frames, parts, samples
from torch import nn

from eventkit.models import MODELS, Model, Recipe
from eventkit.snn import Fold, Halve, SumPool2d, Voting, neuron
from eventkit.train import evaluate_run, train

STEPS = 3
SETTINGS = {
    "model": "nmnist_sparse",
    "epochs": 16,
    "batch": 32,
    "lr": 5e-3,
    "weight_decay": 0.0,
    "optimizer": "adam",
    "loss": "tet:weight=0.001",
    "augment": ["shift:share=0.06", "rotate:degrees=12"],
}
METHODS = {
    "dense": None,
    "gradr": "gradr:share=0.1,alpha=0.2",
    "deepr": "deepr:share=0.1",
    "soft_deepr": "soft_deepr:share=0.1",
    "stds": "stds:threshold=0.2",
    "stds-linear": "stds:threshold=0.2,growth=linear",
    "slats": "slats:threshold=0.22",
    "pgh": "pgh:threshold=0.22",
    "lats": "lats:threshold=0.22",
}


def net(num_classes: int, in_shape: tuple[int, ...], *, width: int = 16) -> nn.Module:
    """Sum pooling by 2, conv 3x3, batch norm, LIF, max pooling, 256 LIF with norm, ten voters."""
    side = -(-in_shape[1] // 2) // 2
    conv = nn.Conv2d(in_shape[0], width, 3, padding=1, bias=False)
    first = nn.Linear(width * side * side, 256, bias=False)
    second = nn.Linear(256, 10 * num_classes, bias=False)
    for linear in (first, second):
        nn.init.normal_(linear.weight, std=2 / math.sqrt(linear.in_features))
    layers = [SumPool2d(2), Fold(conv, nn.BatchNorm2d(width)), neuron("lif"), Halve("max")]
    hidden = Fold(first, nn.BatchNorm1d(256))  # which keeps neurons awake while weights shrink
    return nn.Sequential(*layers, nn.Flatten(2), hidden, neuron("lif"), second, Voting(10))


MODELS.register(Model("nmnist_sparse", net, "for 34 x 34 pixels", Recipe()))


def fold(splits: dict[str, Frames], spec: str | None, **options: object) -> dict:
    """Accuracy, connectivity and operations of one fold."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = {**SETTINGS, "validation": 0.0, "page": False, "sparsity": spec, **options}
        result = train(splits, out=run, **settings)
        found = evaluate_run(run, splits, batch=100)
    operations = found["SynapticOperations"]
    return {
        "accuracy": found["ClassificationAccuracy"],
        "connectivity": 1 - found["ConnectionSparsity"],
        "synops": operations["Effective_MACs"] + operations["Effective_ACs"],
        "seconds": result["seconds"],
    }


def summary(results: dict) -> None:
    print("| method | weights left | accuracy | difference | effective operations |")
    print("|---|--:|--:|--:|--:|")
    dense = [results.get(f"dense/{number}") for number in range(FOLDS)]
    for name, spec in METHODS.items():
        pairs = [
            (whole, own)
            for number, whole in enumerate(dense)
            if whole and (own := results.get(f"{name}/{number}"))
        ]
        if not pairs:
            continue
        change = [100 * (own["accuracy"] - whole["accuracy"]) for whole, own in pairs]
        half = T_95 * statistics.stdev(change) / math.sqrt(FOLDS) if len(pairs) == FOLDS else 0
        mean = {
            key: statistics.fmean(own[key] for _, own in pairs)
            for key in ("connectivity", "accuracy", "synops")
        }
        print(
            f"| `{spec or 'none'}` | {mean['connectivity']:.1%} | {mean['accuracy']:.2%} | "
            f"{statistics.fmean(change):+.2f} ± {half:.2f} | {mean['synops']:,.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(METHODS)}")
    default = Path(os.environ.get("EVENTKIT_SAMPLES", ".")) / "nmnist"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--results", type=Path, default=Path("sparsity.json"))
    parser.add_argument("--folds", type=int, default=FOLDS, help="only the first so many")
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    for name in options.methods:
        if name not in METHODS:
            parser.error(f"no method {name!r}; known: {', '.join(METHODS)}")
    given = samples(options.data, STEPS)
    for number in range(options.folds):
        splits = parts(given, "folds", number)
        for name in options.methods or METHODS:
            if (key := f"{name}/{number}") not in results:
                results[key] = fold(splits, METHODS[name])
                print(key, json.dumps(results[key]), file=sys.stderr, flush=True)
                options.results.write_text(json.dumps(results, indent=1))
    summary(results)


if __name__ == "__main__":
    main()
