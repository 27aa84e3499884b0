"""What a user chooses of a dataset in addition to its description: split, size, format, labels."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from eventkit import formats, splits
from eventkit.datasets import Dataset
from eventkit.errors import OptionError
from eventkit.layouts import Listing, Sample
from eventkit.registry import bind, parse_spec, unknown

RECORDING = "recording"  # group=recording: the parts of a recording stay together


@dataclass(frozen=True)
class Chosen:
    """Options of a conversion that change a dataset's description; every field is one of them."""

    split: str | None = None  # the name of one of its splits, or the spec of a division
    size: str | None = None  # as 346x260
    source: str | None = None  # the format and its options, as a spec
    labels: str | None = None  # a table of files and labels

    @classmethod
    def of(cls, **options: Any) -> "Chosen":
        """The options as text; those that are None are left out."""
        if isinstance(options.get("size"), tuple):
            options["size"] = "x".join(map(str, options["size"]))
        given = {name: str(value) for name, value in options.items() if value is not None}
        if "split" in given and is_division(given["split"]):
            given["split"] = splits.parse(given["split"]).spec
        return cls(**given)

    def given(self) -> dict[str, str]:
        """The options that were given, as JSON has them; `of` takes them again."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def document(self, root: Path) -> dict[str, str]:
        """The options for a plan, which has no path of one machine."""
        given = self.given()
        if self.labels is not None:
            path = Path(self.labels).absolute()
            inside = path.is_relative_to(root.absolute())
            given["labels"] = path.relative_to(root.absolute()).as_posix() if inside else path.name
        return given

    def dataset(self, dataset: Dataset) -> Dataset:
        """The dataset with these options; OptionError for what does not fit it."""
        if self.size is not None:
            dataset = replace(dataset, size=_size(self.size))
        if self.source is not None:
            name, options = parse_spec(self.source)
            reader = formats.FORMATS[name].stream
            given = {"chunk": 1, "strict": True, "start": None, "stop": None}
            if taken := sorted(options.keys() & given):
                raise OptionError(f"{self.source}: {taken[0]} is not an option of a file format")
            bind(reader, {**given, **options}, name)
            dataset = replace(dataset, format=name, reader=options)
        if self.labels is not None:
            table = str(Path(self.labels).absolute())
            dataset = replace(dataset, layout={"kind": "file_table", "table": table}, samples={})
        if self.split in dataset.splits:
            dataset = dataset.with_split(self.split or "")
        return dataset

    def divided(self, dataset: Dataset, found: Listing) -> Listing:
        """The listing in the splits that were asked for, in their order."""
        if self.split is None or self.split in dataset.splits:
            return found
        if not is_division(self.split):
            known = [*dataset.splits, *splits.KINDS, "by-COLUMN"]
            raise unknown(f"split of {dataset.name}", self.split, known)
        division = splits.parse(self.split)
        names = [splits.sample_name(s.source, s.start, s.stop, s.recording) for s in found.samples]
        labels = np.array([sample.label for sample in found.samples])
        rows = splits.Rows(names, labels, [s.split for s in found.samples], _columns(found.samples))
        parts, notes = division.divide(rows)
        order = [*division.shares, *(s for s in found.splits() if s not in division.shares)]
        samples = [replace(s, split=p) for s, p in zip(found.samples, parts, strict=True)]
        samples.sort(key=lambda sample: order.index(sample.split))  # stable
        return replace(found, samples=samples, warnings=[*found.warnings, *notes])


NOTHING = Chosen()


def is_division(text: str) -> bool:
    """Whether a text asks for a division, and is not the name of a dataset's split."""
    kind = text.strip().partition(":")[0]
    return "=" in kind or kind in splits.KINDS or kind.startswith("by-")


def _columns(samples: Sequence[Sample]) -> Callable[[str], list[str]]:
    known = Counter(name for sample in samples for name in sample.columns)

    def column(name: str) -> list[str]:
        if name == RECORDING and name not in known:
            return [sample.source for sample in samples]
        if name not in known:
            raise unknown("column", name, [*known, RECORDING])
        return [sample.columns.get(name) or "" for sample in samples]

    return column


def _size(text: str) -> tuple[int, int]:
    """WxH as (width, height)."""
    try:
        width, height = map(int, text.lower().split("x"))
    except ValueError:
        width = height = 0
    if not (0 < width < 1 << 16 and 0 < height < 1 << 16):
        raise OptionError(f"size is {text!r}, expected WIDTHxHEIGHT, as 346x260")
    return width, height
