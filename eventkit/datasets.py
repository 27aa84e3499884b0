"""Dataset descriptions: one TOML file per dataset, with everything except the data.

A description is found by name in `eventkit.datasets_meta` or in one of the folders listed in the
environment variable EVENTKIT_DATASETS, or is given as the path of a TOML file.
"""

import difflib
import inspect
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files as resource_files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from eventkit._address import ADDRESSES, https
from eventkit.errors import OptionError
from eventkit.registry import format_spec, unknown

TASKS = (
    *("classification", "detection", "tracking", "segmentation", "eye tracking", "pose"),
    *("reconstruction", "motion", "driving", "denoising", "audio", "touch"),
)
CHECKSUMS = {"crc32": 8, "md5": 32, "sha256": 64}  # and how many digits each has

FETCH_FOLDER = ".fetch"  # in the root of a dataset: partial downloads and the receipt
MOVING = ".moving"  # NAME.moving exists while the files of NAME are moved to the root


@dataclass(frozen=True)
class SourceFile:
    """One file of the original distribution: where to get it and how to verify it.

    `urls` are its mirrors; without any, it must be downloaded by hand from `page`. `bytes` is the
    exact size; `about` and `unpacked` are the approximate sizes before and after unpacking.
    Archives are unpacked into the folder `into` below the root, unless `unpack` is false; `nested`
    determines how archives inside it are treated (see eventkit.fetch.unpack).
    """

    name: str
    urls: tuple[str, ...] = ()
    page: str = ""
    md5: str | None = None
    sha256: str | None = None
    crc32: str | None = None
    bytes: int | None = None
    about: int | None = None
    unpacked: int | None = None
    unpack: bool = True
    nested: str = ""
    into: str = ""

    @property
    def sums(self) -> dict[str, str]:
        """Its checksums by their names, the strongest last."""
        told = {name: getattr(self, name) for name in CHECKSUMS}
        return {name: value for name, value in told.items() if value}

    @property
    def size(self) -> str:
        """The size as text, empty if unknown."""
        if self.bytes is not None:
            return f"{self.bytes:,} bytes"
        parts = []
        if self.about:
            parts.append(f"about {_rough(self.about)}")
        if self.unpacked:
            parts.append(f"about {_rough(self.unpacked)} unpacked")
        return ", ".join(parts)


@dataclass(frozen=True)
class Dataset:
    """The description of a dataset.

    `classes` are in the dataset's documented order: label i is classes[i]. `samples` are the
    published counts per split. `layout` defines how files become samples (see `eventkit.layouts`),
    `reader` has options for the format's reader, and `note` is information for users. A dataset
    without a layout is known but cannot be converted: `missing` says what is not known of it.

    `targets` says where boxes, points, intervals and text of a recording are (`targets.files`).
    `terms` are conditions that a person must accept before the files are downloaded. `about` is
    one sentence, `task` one of TASKS, `sensor` the camera, `labels` the kinds of labels that are
    published with the events. `defects` are known faults of the data, printed whenever it is
    listed; `unverified` are statements of the description that no source confirms. `splits` are
    named ways to divide it: each has `about` and options of the layout (`with_split`). `example`
    has paths as in the original: recordings = [[path, split, label], ...]; where only the pattern
    of names is known, names in it are made up.
    """

    name: str
    layout: dict[str, Any]
    title: str = ""
    about: str = ""
    task: str = ""
    homepage: str = ""
    cite: str = ""
    license: str = ""
    terms: str = ""
    sensor: str = ""
    size: tuple[int, int] | None = None
    format: str | None = None
    classes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    samples: dict[str, int] = field(default_factory=dict)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: tuple[SourceFile, ...] = ()
    reader: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    defects: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    missing: str = ""
    targets: dict[str, Any] = field(default_factory=dict)
    example: dict[str, Any] = field(default_factory=dict)

    @property
    def n_classes(self) -> int:
        """The number of classes, known even if only the files contain their names."""
        return len(self.classes) or int(self.layout.get("count", 0))

    @property
    def bibtex(self) -> str:
        """How to cite it, as BibTeX, made from `cite`: authors, title, venue and year."""
        found = re.fullmatch(r"(.+?), (.+), ([^,]+?) (\d{4})", self.cite)
        if found is None:
            return ""
        authors = found[1].replace(" et al.", " and others").replace(" & ", " and ")
        return (
            f"@misc{{{self.name},\n  author = {{{authors}}},\n  title = {{{{{found[2]}}}}},\n"
            f"  howpublished = {{{found[3]}}},\n  year = {{{found[4]}}}\n}}"
        )

    @property
    def spec(self) -> str:
        """The format of its files with the options of the reader, as text."""
        return format_spec(self.format or "", self.reader) if self.format else ""

    def with_split(self, name: str) -> "Dataset":
        """The dataset divided in one of the ways that `splits` names.

        Raises UnknownName, with those that it has.
        """
        if name not in self.splits:
            raise unknown(f"split of {self.name}", name, list(self.splits))
        options = {key: value for key, value in self.splits[name].items() if key != "about"}
        return replace(self, layout={**self.layout, **options}, samples={})

    def reading(self, stream: Callable[..., Any]) -> dict[str, Any]:
        """Options for the reader `stream`: `reader`, and the sensor size if it has that option."""
        asks = self.size is not None and "size" in inspect.signature(stream).parameters
        return {**({"size": "{}x{}".format(*self.size or ())} if asks else {}), **self.reader}


def default_root(name: str | Path) -> Path:
    """The default folder of the files: the given folder, $EVENTKIT_DATA/NAME, or data/NAME.

    That of a recording is the folder it is in.
    """
    path = Path(name)
    if path.exists() and path.suffix != ".toml" and str(name) not in names():
        return path if path.is_dir() else path.parent
    if path.suffix == ".toml":
        path = Path(path.stem)
    return Path(os.environ.get("EVENTKIT_DATA", "data")) / path


def interrupted(root: Path) -> bool:
    """Whether a fetch was killed while moving files into `root`, so that files may be missing."""
    return any(root.glob(f"{FETCH_FOLDER}/*{MOVING}"))


def names() -> list[str]:
    """The names of all datasets: built in, and from the folders in EVENTKIT_DATASETS."""
    return sorted(_descriptions())


def _descriptions() -> dict[str, Traversable]:
    """The TOML files by dataset name; built-in names take precedence over EVENTKIT_DATASETS."""
    found: dict[str, Traversable] = {}
    own = filter(None, os.environ.get("EVENTKIT_DATASETS", "").split(os.pathsep))
    for folder in [resource_files("eventkit.datasets_meta"), *map(Path, own)]:
        if not folder.is_dir():
            raise OptionError(f"EVENTKIT_DATASETS: {folder} is not a folder")
        for entry in folder.iterdir():
            if entry.name.endswith(".toml"):
                found.setdefault(entry.name.removesuffix(".toml"), entry)
    return found


def load(name: str | Path) -> Dataset:
    """The dataset with the given name, or the one described by a TOML file or class folders.

    `name` is a known name, the path of a TOML file, or a folder with one subfolder per class.
    Raises UnknownName, with the closest name, or OptionError for an invalid TOML file.
    """
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise OptionError(f"{path}: no such dataset description")
        return _parse(path.stem, path.read_bytes(), str(path))
    if path.is_dir() and str(name) not in names():
        if (path / "zarr.json").is_file():
            raise OptionError(f"{name}: is already a store; expected a folder of recordings")
        return Dataset(name=path.resolve().name, layout={"kind": "class_folders"})
    if str(name) not in names():
        if path.is_file():
            raise OptionError(
                f"{name}: is a file; expected a dataset or a folder of class folders. For a "
                "single recording, use eventkit view or ek.frames"
            )
        if "/" in str(name):
            raise OptionError(f"{name}: no such folder; expected a folder of class folders")
        raise unknown("dataset", str(name), names())
    entry = _descriptions()[str(name)]
    return _parse(str(name), entry.read_bytes(), entry.name)


def _parse(name: str, text: bytes, where: str) -> Dataset:
    try:
        table = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{where}: not a TOML file: {error}") from None
    for key, value in table.items():
        if key not in KINDS:
            raise _unknown_key(where, key, list(KINDS))
        if not isinstance(value, KINDS[key]):
            raise OptionError(f"{where}: {key} is {value!r}, expected {_expected(KINDS[key])}")
    if "kind" not in table.setdefault("layout", {}) and not table.get("missing"):
        raise OptionError(f"{where}: no [layout] with a kind: it says how files become samples")
    if table.get("task", TASKS[0]) not in TASKS:
        raise OptionError(f"{where}: task is {table['task']!r}, expected one of {', '.join(TASKS)}")
    for key, split in table.get("splits", {}).items():
        if not isinstance(split, dict) or not isinstance(split.get("about"), str):
            raise OptionError(f'{where}: [splits.{key}] needs about = "...", who divides it so')
    for key in LISTS:
        table[key] = _texts(table.get(key, []), key, where)
    size = table.pop("size", None)
    if size is not None and (len(size) != 2 or not all(isinstance(s, int) and s > 0 for s in size)):
        raise OptionError(f"{where}: size is {size}, expected [width, height]")
    return Dataset(
        name=name,
        size=tuple(size) if size else None,
        classes=_classes(table.pop("classes", ()), where),
        files=tuple(_source(entry, where) for entry in table.pop("files", ())),
        **table,
    )


def _unknown_key(where: str, key: str, known: list[str]) -> OptionError:
    """An OptionError that suggests the closest key."""
    near = difflib.get_close_matches(key.lower(), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return OptionError(f"{where}: unknown key {key!r}.{hint} Its keys: {', '.join(known)}")


LISTS = ("labels", "defects", "unverified")  # keys that are lists of texts
KINDS: dict[str, Any] = {
    **dict.fromkeys(("title", "about", "task", "homepage", "cite", "license"), str),
    **dict.fromkeys(("sensor", "note", "missing", "terms"), str),
    "size": list,
    "format": str,
    "reader": dict,
    "classes": (list, dict),
    "samples": dict,
    "splits": dict,
    "files": list,
    "layout": dict,
    "targets": dict,
    "example": dict,
    **dict.fromkeys(LISTS, list),
}


def _expected(kind: Any) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(f"a {each.__name__}" for each in kinds)


def _texts(given: list[Any], key: str, where: str) -> tuple[str, ...]:
    if not all(isinstance(each, str) for each in given):
        raise OptionError(f"{where}: {key} is {given}, expected a list of texts")
    return tuple(given)


def _classes(given: Any, where: str) -> tuple[str, ...]:
    """A list of names, or { pattern = "class%d", first = 0, count = 1000 }."""
    if isinstance(given, dict):
        try:
            numbers = range(given.get("first", 0), given.get("first", 0) + given["count"])
            given = [given["pattern"] % number for number in numbers]
        except (KeyError, TypeError, ValueError) as error:
            raise OptionError(
                f'{where}: classes is {given}, expected {{ pattern = "class%d", count = 10 }}'
            ) from error
    classes = tuple(given)
    if not all(isinstance(c, str) for c in classes) or len(set(classes)) != len(classes):
        raise OptionError(f"{where}: classes must be distinct names in the order of the labels")
    return classes


def _source(entry: Any, where: str) -> SourceFile:
    """One entry of [[files]], validated here so that errors do not appear during a download."""
    known = {each.name: each.type for each in fields(SourceFile)}
    if not isinstance(entry, dict):
        raise OptionError(f"{where}: [[files]] is {entry!r}, expected a table with a name")
    if odd := [key for key in entry if key not in known]:
        raise _unknown_key(f"{where}: in [[files]]", odd[0], list(known))
    urls = tuple(https(url) or url for url in entry.get("urls", ()) if isinstance(url, str))
    for key, kind in (
        *((key, str) for key in ("name", "page", *CHECKSUMS, "nested", "into")),
        *((key, int) for key in ("bytes", "about", "unpacked")),
    ):
        if key in entry and not isinstance(entry[key], kind):
            raise OptionError(f"{where}: in [[files]]: {key} is {entry[key]!r}")
    sums = {key: entry[key].lower() for key in CHECKSUMS if key in entry}
    source = SourceFile(**{**entry, **sums, "urls": urls}) if "name" in entry else None
    if source is None or "/" in source.name or not _plain(source.name):
        raise OptionError(f"{where}: in [[files]]: name must be a plain file name, not a path")
    if source.name.casefold().startswith("receipt."):
        raise OptionError(f"{where}: in [[files]]: the name {source.name} is reserved")
    if source.into and not _plain(source.into):
        raise OptionError(
            f"{where}: in [[files]]: into is {source.into!r}, expected a subfolder of the root"
        )
    wrong = [url for url in entry.get("urls", ()) if not isinstance(url, str) or not https(url)]
    if wrong:
        raise OptionError(
            f"{where}: in [[files]]: urls of {source.name} has {wrong[0]!r}, expected {ADDRESSES}"
        )
    for key, length in CHECKSUMS.items():
        value = getattr(source, key)
        if value is not None and (len(value) != length or set(value) - set("0123456789abcdef")):
            raise OptionError(
                f"{where}: in [[files]]: {key} of {source.name} is {value!r}, expected {length} "
                "hex digits"
            )
    if source.nested not in ("", "here", "folder"):
        raise OptionError(
            f"{where}: in [[files]]: nested is {source.nested!r}, expected here or folder"
        )
    return source


def _plain(name: str) -> bool:
    """Whether a name is relative, without hidden or parent folders."""
    parts = name.split("/")
    return "\\" not in name and not any(part.startswith(".") or not part for part in parts)


def _rough(n: float) -> str:
    """An approximate number of bytes as text."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            return f"{n:.3g} {unit}"
        n /= 1000
    return ""


def steps(
    dataset: Dataset, root: Path, files: Sequence[SourceFile] | None = None, command: str = ""
) -> str:
    """Instructions for getting the data: URLs, checksums, and the shell commands to run.

    `files` are the missing files (default: all); `command` is the command to run at the end.
    """
    files = dataset.files if files is None else files
    place = shlex.quote(str(root))
    lines = [f"{dataset.title or dataset.name} is not at {root}. To get it:"]
    if files and all(source.urls for source in dataset.files):
        lines.append(f"  eventkit fetch {dataset.name} --root {place}")
        lines.append("or by hand:")
    number = 0
    if not dataset.files:
        number = 1
        lines.append(f"  1. download its files from {dataset.homepage or 'its authors'}")
    for number, source in enumerate(files, 1):
        sums = (f"{name} {value}" for name, value in source.sums.items())
        about = ", ".join(filter(None, [source.size, *sums]))
        where = source.page or next(iter(source.urls), "") or dataset.homepage
        lines.append(f"  {number}. download {source.name} ({about or 'no checksum'}) from {where}")
    names = " ".join(f"~/Downloads/{shlex.quote(source.name)}" for source in files) or "FOLDER"
    lines.append(f"  {number + 1}. run: eventkit adopt {dataset.name} {names} --root {place}")
    if command:
        command += "" if root == default_root(dataset.name) else f" --root {place}"
        lines.append(f"  {number + 2}. run: {command}")
    notes = [f"Licence: {dataset.license}." if dataset.license else ""]
    notes += [f"Please cite: {dataset.cite}." if dataset.cite else "", dataset.note]
    notes += [f"Unverified: {each}." for each in dataset.unverified]
    return "\n".join([*lines, " ".join(filter(None, notes))]).rstrip()
