"""Networks for a CPU on simulated gestures: python benchmarks/gestures.py [--minutes M] [MODEL ...]

A stand-in of DVS128 Gesture is simulated, converted and trained on, each model for the same time;
test subjects are not those of the training. Accuracy, time and estimated energy are of simulated
gestures, and say nothing about the dataset. Results are added to --results; what is there already
is not repeated. About MODELS x (M + 1) minutes.
"""

import argparse
import json
from pathlib import Path

from eventkit.conversion import convert
from eventkit.simulate import simulate
from eventkit.train import evaluate_run, train

MODELS = [
    "csnn_tiny:limit=32", "csnn_tiny", "csnn_small", "csnn_tiny:neurons=lif",
    "csnn_tiny:neurons=sliding_psn", "speck_cnn", "plif_dvsgesture:width=16",
    "sew7b_dvsgesture:width=16",
]  # fmt: skip


def store(folder: Path) -> Path:
    path = folder / "dvsgesture-frames-16.zarr"
    if not path.exists():
        simulate("dvsgesture", folder / "raw")
        convert("dvsgesture", represent="frames:n=16", root=folder / "raw", out=path)
    return path


def measured(model: str, data: Path, run: Path, minutes: float) -> dict:
    result = train(data, model=model, minutes=minutes, out=run)
    found = evaluate_run(run)
    return {
        "accuracy": result["accuracy"],
        "parameters": result["parameters"],
        "epochs": result["epochs"],
        "seconds": result["seconds"],
        "waiting": result["waiting"],
        "microjoules": found["energy"]["microjoules"],
        "latency_ms": found["latency_ms"],
    }


def table(results: dict) -> str:
    lines = [
        "| model | parameters | test, simulated | epochs | ms a sample | µJ a sample, estimated |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for model, row in results.items():
        lines.append(
            f"| `{model}` | {row['parameters']:,} | {row['accuracy']['at_best_validation']:.1%} | "
            f"{row['epochs']} | {row['latency_ms']:.3g} | {row['microjoules']:.3g} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help=f"specs [{', '.join(MODELS)}]")
    parser.add_argument("--minutes", type=float, default=4.0, help="for each training")
    parser.add_argument("--folder", type=Path, default=Path("gestures"), help="for data and runs")
    parser.add_argument("--results", type=Path, default=Path("gestures.json"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    data = store(options.folder)
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    for number, model in enumerate(options.models or MODELS):
        if model not in results:
            run = options.folder / f"run-{number}-{len(results)}"
            results[model] = measured(model, data, run, options.minutes)
            options.results.write_text(json.dumps(results, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
