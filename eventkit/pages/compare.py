"""Trainings side by side: accuracies, costs, the settings that differ, curves."""

import csv
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eventkit.errors import FormatError
from eventkit.runs import check_begun, has_begun, read_json

COSTS = ("ActivationSparsity", "latency_ms")


def data(folders: Sequence[str | Path]) -> dict[str, Any]:
    """What is in the folders of some runs; those of several seeds or folds are one run.

    `runs` has a dictionary for each, `settings` every setting that is not the same for all, with
    its values in their order, and `notes` says why accuracies may not be comparable. Raises
    OptionError for a folder without a run, FormatError for damaged files in one.
    """
    runs = [_run(Path(folder)) for folder in folders]
    every = [run.pop("settings") for run in runs]
    names = list(dict.fromkeys(name for settings in every for name in settings))
    values = {name: [settings.get(name) for settings in every] for name in names}
    differing = {name: own for name, own in values.items() if any(v != own[0] for v in own)}
    splits = [run.pop("splits") for run in runs]
    notes = [
        f"The runs have different {name} samples; their {name} accuracies do not compare directly."
        for name in ("test", "validation")
        if len({split.get(name) for split in splits}) > 1
    ]
    return {"about": "", "runs": runs, "settings": differing, "notes": notes}


def _run(folder: Path) -> dict[str, Any]:
    members = [folder]
    if not has_begun(folder) and folder.is_dir():
        members = sorted(path for path in folder.iterdir() if has_begun(path)) or [folder]
    for member in members:
        check_begun(member)
    config = read_json(members[0] / "config.json")
    finished = folder / "metrics.json"
    result = read_json(finished) if finished.is_file() else {}
    each = [read_json(m / "evaluation.json") for m in members if (m / "evaluation.json").is_file()]
    rows = [_rows(member / "metrics.csv") for member in members]
    operations = [found.get("SynapticOperations", {}) for found in each]
    try:
        return {
            "name": str(folder),
            "members": len(members),
            "finished": bool(result) and not result.get("interrupted", False),
            "model": config["model"],
            "data": config["data"].get("dataset", "") if isinstance(config["data"], dict) else "",
            "parameters": config.get("parameters"),
            "accuracy": result.get("accuracy", {}),
            "spread": result.get("spread", {}),
            "validation": _mean(
                [r.get("validation_accuracy") for r in result.get("runs", [result])]
            ),
            "epochs": max(map(len, rows)),
            "seconds": result.get("seconds"),
            **{key: _mean([found.get(key) for found in each]) for key in COSTS},
            "macs": _mean([found.get("Effective_MACs") for found in operations]),
            "acs": _mean([found.get("Effective_ACs") for found in operations]),
            "microjoules": _mean([found.get("energy", {}).get("microjoules") for found in each]),
            "rows": _averaged(rows),
            "settings": config.get("settings", {}),
            "splits": config.get("splits", {}),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(folder, None, f"no files of a run ({error!r})") from error


def _rows(path: Path) -> list[dict[str, float]]:
    """The rows of a table of epochs, numbers only; none where there is no table yet."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                {key: float(value) for key, value in row.items() if value}
                for row in csv.DictReader(file)
            ]
    except (ValueError, TypeError, csv.Error) as error:
        raise FormatError(path, None, f"no table of epochs ({error})") from error


def _averaged(rows: list[list[dict[str, float]]]) -> list[dict[str, float | None]]:
    """The mean over the members of every value of every epoch."""
    found = []
    for k in range(max(map(len, rows))):
        own = [member[k] for member in rows if k < len(member)]
        found.append({key: _mean([row.get(key) for row in own]) for key in own[0]})
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(known) if known else None
