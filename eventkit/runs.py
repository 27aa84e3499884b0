"""Which folders hold a run of a training: known without torch, which takes seconds to load.

What is in the folder of a run is told in `eventkit.train.run`.
"""

import json
from pathlib import Path
from typing import Any

from eventkit.errors import FormatError, OptionError

STARTING = {"config.json", ".config.json.part", ".run.toml.part"}  # before a run has begun


def has_begun(folder: Path) -> bool:
    """Whether there is a run in the folder, which can be resumed."""
    return all((folder / name).is_file() for name in ("config.json", "run.toml"))


def check_begun(folder: Path) -> None:
    """OptionError unless there is a run in the folder."""
    if not has_begun(folder):
        raise OptionError(f"{folder} is no run folder; eventkit train makes one")


def check_free(folder: Path) -> None:
    """OptionError unless a run may begin there: nothing is, or only what a killed start wrote."""
    if not folder.exists() or _is_free(folder):
        return
    more = f", or go on with it: eventkit train --resume {folder}" if has_begun(folder) else ""
    raise OptionError(f"{folder} exists already; choose another folder for the run{more}")


def _is_free(folder: Path) -> bool:
    if not folder.is_dir() or not {path.name for path in folder.iterdir()} <= STARTING:
        return False
    config = folder / "config.json"
    try:
        return not config.is_file() or isinstance(read_json(config).get("data"), dict)
    except FormatError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    """An object that a run folder holds; FormatError if it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, None, f"no JSON ({error})") from error
    if not isinstance(found, dict):
        raise FormatError(path, None, "no JSON object")
    return found
