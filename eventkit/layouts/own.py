"""The description of data that has none: a folder or a recording, guessed from what is there."""

import glob
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from eventkit import datasets
from eventkit.datasets import Dataset
from eventkit.formats import guess
from eventkit.formats._packed import suffix_within
from eventkit.layouts import suffixes
from eventkit.layouts.file_table import is_table

TABLES = ("labels.csv", "labels.tsv", "labels.txt", "labels.json")


def described(name: str | Path) -> Dataset:
    """The dataset of that name or description; otherwise what the folder or recording holds.

    A recording is one sample. A folder may have a table labels.csv, .tsv, .txt or .json of its
    files (see `file_table`), recordings, which are samples without labels, or class folders.

    Raises UnknownName, with the closest name, or OptionError for what is none of them.
    """
    path = Path(name)
    if str(name) in datasets.names() or path.suffix == ".toml":
        return datasets.load(name)
    if path.is_file():
        guess(path)  # says what is wrong with it
        layout = {"kind": "recordings", "pattern": glob.escape(path.name)}
        return Dataset(name=path.name.partition(".")[0] or path.name, layout=layout)
    dataset = datasets.load(name)
    return replace(dataset, layout=_layout(path)) if path.is_dir() else dataset


def _layout(folder: Path) -> dict[str, Any]:
    """The layout of a folder of own data."""
    for name in TABLES:
        if (folder / name).is_file() and is_table(folder / name, folder):
            return {"kind": "file_table", "table": name}
    known = suffixes()
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    folders = [e for e in visible if e.is_dir() and ".zarr" not in Path(e.name).suffixes]
    files = Counter(
        Path(e.name).suffix for e in visible if e.is_file() and suffix_within(e.name) in known
    )
    if folders or not files:
        return {"kind": "class_folders"}
    parts = [{"kind": "recordings", "pattern": f"*{glob.escape(suffix)}"} for suffix in files]
    return parts[0] if len(parts) == 1 else {"kind": "parts", "parts": parts}
