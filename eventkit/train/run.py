"""The folder of a run: settings, numbers and weights."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eventkit.errors import FormatError, OptionError
from eventkit.models import create

# What torch.load, and building the net of what it gives, raise for files that are no weights.
_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    EOFError,
)


class Run:
    """The folder of a run. Every file is replaced as a whole, so none is ever half written."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OptionError(f"{folder} exists already; choose another folder for the run")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = config
        self.rows: list[dict[str, Any]] = []
        self._write("config.json", json.dumps(config, indent=2).encode())

    @property
    def best(self) -> dict[str, Any]:
        """The row of the epoch that was best on the validation samples; without any, the last."""
        if "validation_accuracy" not in self.rows[-1]:
            return self.rows[-1]
        return max(self.rows, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))

    def add(self, row: dict[str, Any], net: nn.Module) -> None:
        """Keep the numbers of an epoch and its weights."""
        self.rows.append(row)
        lines = [",".join(row), *(",".join(map(str, each.values())) for each in self.rows)]
        self._write("metrics.csv", "".join(line + "\n" for line in lines).encode())
        self.save("last.pt", net)
        if self.best is row:
            self.save("model.pt", net)

    def save(self, name: str, net: nn.Module) -> None:
        """Write the weights, with what `load` needs to build the net."""
        about = {key: self.config[key] for key in ("model", "num_classes", "in_shape", "classes")}
        buffer = io.BytesIO()
        torch.save({**about, "epoch": len(self.rows), "state": net.state_dict()}, buffer)
        self._write(name, buffer.getvalue())

    def result(self, **facts: Any) -> dict[str, Any]:
        """Write and return the content of metrics.json; numbers that nothing gave are None."""
        best = self.best if self.rows else {}
        tests = [row["test_accuracy"] for row in self.rows if "test_accuracy" in row]
        result = {
            "accuracy": {
                "last": tests[-1] if tests else None,
                "at_best_validation": best.get("test_accuracy"),
                "best_optimistic": max(tests, default=None),
            },
            "validation_accuracy": best.get("validation_accuracy"),
            "best_epoch": best.get("epoch"),
            "epochs": len(self.rows),
            "run": str(self.folder),
            **facts,
        }
        self._write("metrics.json", json.dumps(result, indent=2).encode())
        return result

    def _write(self, name: str, data: bytes) -> None:
        temporary = self.folder / f".{name}"
        temporary.write_bytes(data)
        temporary.replace(self.folder / name)


def load(path: str | Path) -> nn.Module:
    """The net of a run folder (its model.pt) or of a file of weights, in eval mode.

    A file of weights can hold no code. FormatError when it is none of eventkit's.
    """
    path = Path(path)
    path = path / "model.pt" if path.is_dir() else path
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        shape = tuple(saved["in_shape"])
        net = create(saved["model"], num_classes=saved["num_classes"], in_shape=shape)
        net.load_state_dict(saved["state"])
    except _UNREADABLE as error:
        raise FormatError(path, None, f"no weights of an eventkit net ({error})") from error
    return net.eval()
