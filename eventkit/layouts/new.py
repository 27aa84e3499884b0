"""A dataset description (TOML) for a folder of own data, with what was found and what to check."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eventkit import formats
from eventkit.datasets import Dataset
from eventkit.errors import FormatError
from eventkit.layouts import Listing, listing
from eventkit.layouts.class_folders import guess_splits
from eventkit.layouts.own import described

TRIED = 20  # recordings whose format and size are compared


def description(folder: str | Path) -> tuple[str, list[str]]:
    """The text of a TOML that describes a folder, and sentences on what to check in it.

    Raises what `described` and its layout raise, and FormatError where no recording can be read.
    """
    root = Path(folder)
    dataset = described(root)
    found = listing(dataset, root)
    size, format, notes = _recordings(found)
    layout = dict(dataset.layout)
    if layout["kind"] == "class_folders":
        layout["splits"] = guess_splits(root)
    lines = [
        f"# Guessed from {dataset.name}/, where it is to be checked: see docs/datasets.md.",
        f'title    = "{_plain(dataset.name)}"',
        '# about  = "One sentence."',
        '# task   = "classification"',
        '# cite   = "Authors, Title, Venue 2026"',
        '# license = "CC BY 4.0"',
        '# sensor = "DAVIS346"',
        f"size     = [{size[0]}, {size[1]}]",
        f"format   = {json.dumps(format)}" if format else "# the format differs between recordings",
    ]
    if found.classes:
        lines.append(f"classes  = {_value(found.classes)}  # label 0, label 1, ...")
    lines += ["", "[layout]", *(f"{key:<8} = {_value(value)}" for key, value in layout.items())]
    return "\n".join(lines) + "\n", [*notes, *_checks(dataset, found), *found.warnings]


def _recordings(found: Listing) -> tuple[tuple[int, int], str, list[str]]:
    """The size of the sensor, the format if all have one, and what differs."""
    sizes: dict[tuple[int, int], str] = {}
    kinds: dict[str, str] = {}
    problem: FormatError | None = None
    names = list(dict.fromkeys(sample.source for sample in found.samples))
    for name in names[:: max(1, len(names) // TRIED)]:
        try:
            kinds.setdefault(formats.guess(found.root / name).name, name)
            first = next(iter(formats.stream(found.root / name, 1024)))
            sizes.setdefault(first.size, name)
        except FormatError as error:
            problem = problem or error
    if not sizes:
        assert problem is not None
        raise problem
    width, height = (max(size[side] for size in sizes) for side in (0, 1))
    notes = [f"size: {width}x{height}, as recordings say or their coordinates suggest"]
    if len(sizes) > 1:
        shown = ", ".join(f"{w}x{h} ({name})" for (w, h), name in sizes.items())
        notes = [f"size: the recordings differ: {shown}; the largest sides are taken"]
    if len(kinds) > 1:
        shown = ", ".join(f"{kind} ({name})" for kind, name in kinds.items())
        notes.append(f"format: the recordings differ: {shown}; each is detected")
    else:
        notes.append(f"format: {next(iter(kinds))}, detected")
    return (width, height), next(iter(kinds)) if len(kinds) == 1 else "", notes


def _checks(dataset: Dataset, found: Listing) -> Iterator[str]:
    counts = dict.fromkeys(found.splits(), 0)
    for sample in found.samples:
        counts[sample.split] += 1
    yield "splits: " + ", ".join(f"{n:,} {split}" for split, n in counts.items())
    if found.classes:
        few = ", ".join(found.classes[:5]) + (", ..." if len(found.classes) > 5 else "")
        yield f"classes: {len(found.classes)} ({few}), label 0 is the first: check their order"
    else:
        yield "classes: none found; a table of labels or class folders would say them"
    if list(counts) == ["all"]:
        yield "splits: there is one only; divide it when it is converted or add by_number"


def _value(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else json.dumps(name)


def _plain(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)[1:-1]
