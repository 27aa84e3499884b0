"""Datasets: one TOML each, with everything but the data.

A description is found by name in `eventkit.datasets_meta`, or given as the path of a file of the
user's own, so that a new dataset needs no change here.
"""

import tomllib
from dataclasses import dataclass, field
from importlib.resources import files as resource_files
from pathlib import Path
from typing import Any

from eventkit.errors import OptionError
from eventkit.registry import unknown


@dataclass(frozen=True)
class SourceFile:
    """One file of the original distribution: where it is and how to know it."""

    name: str
    url: str
    md5: str | None = None
    size: str | None = None
    manual: bool = False


@dataclass(frozen=True)
class Dataset:
    """What is known of a dataset.

    `classes` are in the dataset's own documented order: label i is classes[i]. `samples` are the
    published counts per split. `layout` says how its files become samples (`eventkit.layouts`).
    """

    name: str
    layout: dict[str, Any]
    title: str = ""
    homepage: str = ""
    cite: str = ""
    license: str = ""
    size: tuple[int, int] | None = None
    format: str | None = None
    classes: tuple[str, ...] = ()
    samples: dict[str, int] = field(default_factory=dict)
    files: tuple[SourceFile, ...] = ()


def names() -> list[str]:
    """The names of all datasets that come with eventkit."""
    folder = resource_files("eventkit.datasets_meta")
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def load(name: str | Path) -> Dataset:
    """The dataset of that name, or of a TOML or a folder of class folders at that path.

    Raises UnknownName (with the near one) and OptionError (what is wrong in a TOML).
    """
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise OptionError(f"{path}: no such dataset description")
        return _parse(path.stem, path.read_bytes(), str(path))
    if path.is_dir() and str(name) not in names():
        return Dataset(name=path.resolve().name, layout={"kind": "class_folders"})
    if str(name) not in names():
        raise unknown("dataset", str(name), names())
    text = resource_files("eventkit.datasets_meta").joinpath(f"{name}.toml").read_bytes()
    return _parse(str(name), text, f"{name}.toml")


def _parse(name: str, text: bytes, where: str) -> Dataset:
    try:
        table = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{where}: not a TOML file: {error}") from None
    kinds = {
        "title": str,
        "homepage": str,
        "cite": str,
        "license": str,
        "size": list,
        "format": str,
        "classes": list,
        "samples": dict,
        "files": list,
        "layout": dict,
    }
    for key, value in table.items():
        if key not in kinds:
            raise OptionError(f"{where}: unknown key {key!r}; known are {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):
            expected = kinds[key].__name__
            raise OptionError(f"{where}: {key} is {value!r}, expected a {expected}")
    if "kind" not in table.get("layout", {}):
        raise OptionError(f"{where}: no [layout] with a kind: it says how files become samples")
    size = table.pop("size", None)
    if size is not None and (len(size) != 2 or not all(isinstance(s, int) and s > 0 for s in size)):
        raise OptionError(f"{where}: size is {size}, expected [width, height]")
    classes = tuple(table.pop("classes", ()))
    if not all(isinstance(c, str) for c in classes) or len(set(classes)) != len(classes):
        raise OptionError(f"{where}: classes must be different names in the order of the labels")
    try:
        sources = tuple(SourceFile(**entry) for entry in table.pop("files", ()))
    except TypeError as error:
        raise OptionError(f"{where}: in [[files]]: {error}") from None
    return Dataset(
        name=name,
        size=tuple(size) if size else None,
        classes=classes,
        files=sources,
        **table,
    )


def steps(dataset: Dataset, root: Path, command: str) -> str:
    """How to get the data by hand: address, files, checksums, where to put them, what to run."""
    lines = [f"{dataset.title or dataset.name} is not at {root}. To get it:"]
    for number, source in enumerate(dataset.files, 1):
        about = ", ".join(filter(None, [source.size, source.md5 and f"md5 {source.md5}"]))
        lines.append(f"  {number}. download {source.name} ({about}) from {source.url}")
    parts = [dataset.layout.get("folder"), *list(dataset.layout.get("splits", {}).values())[:1]]
    inside = "/".join([str(root), *filter(None, parts)])
    what = " and ".join(source.name for source in dataset.files) or "its files"
    lines.append(f"  {len(dataset.files) + 1}. unpack {what} in {root}, so that there is {inside}")
    lines.append(f"  {len(dataset.files) + 2}. run: {command}")
    if dataset.license or dataset.cite:
        lines.append(f"Licence: {dataset.license}. Please cite: {dataset.cite}.")
    return "\n".join(lines)
