"""The targets of samples: read beside the recordings, cut by the windows, moved by the transforms.

They are small. A job returns them with its answer, and the last step of a conversion writes those
of a split as columns: see store/targets.py.
"""

import posixpath
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from eventkit import formats
from eventkit.conversion.times import filled
from eventkit.datasets import Dataset
from eventkit.errors import OptionError
from eventkit.layouts import Sample
from eventkit.store.metadata import SMALL_ARRAY
from eventkit.store.shard import decode
from eventkit.targets import KINDS, Placed, Size
from eventkit.targets.files import TargetFile, read
from eventkit.targets.rules import LABEL_RULES, LabelRules
from eventkit.transforms import Step, move_targets

Rows = tuple[np.ndarray, list[str]]


@dataclass(frozen=True)
class TargetPlan:
    """Which targets a conversion stores: their files, and the rules that choose among the boxes.

    Targets of frames that have every `scale`-th pixel are in pixels of these.
    """

    files: dict[str, TargetFile]  # by kind
    rules: str | None = None
    scale: int = 1

    @classmethod
    def of(cls, dataset: Dataset, rules: str | None) -> "TargetPlan | None":
        """What the description says; None where it has no targets. OptionError for wrong ones."""
        files = {
            kind: TargetFile.parse(kind, told, dataset.name)
            for kind, told in dataset.targets.items()
        }
        if rules is not None:
            LABEL_RULES[rules]
            if "boxes" not in files:
                raise OptionError(
                    f"the label rules {rules} choose among boxes, and the description of "
                    f"{dataset.name} says of no [targets.boxes] where they are"
                )
            if dataset.size is None:
                raise OptionError(f"{dataset.name}: label rules need the size of the sensor")
            LABEL_RULES[rules].classes(files["boxes"].classes)  # refuses those of other datasets
        return cls(files, rules) if files else None

    @property
    def rule(self) -> LabelRules | None:
        return None if self.rules is None else LABEL_RULES[self.rules]

    @property
    def raised(self) -> bool:
        """Whether times of events that go back are raised to the latest before them."""
        return self.rule is not None and self.rule.raised

    def document(self) -> dict[str, Any]:
        """What decides the targets, as JSON has it."""
        return {
            "files": {kind: asdict(file) for kind, file in self.files.items()},
            **({"rules": self.rules} if self.rules else {}),
        }

    def classes(self, kind: str) -> tuple[str, ...]:
        """The names of the classes of one kind that are stored."""
        names = self.files[kind].classes
        return self.rule.classes(names) if self.rule and kind == "boxes" else names

    def name(self, kind: str, source: str) -> str | None:
        """The file of one kind for a recording, below the root; None if it would lie outside."""
        name = posixpath.normpath(filled(self.files[kind].file, source))
        return None if name.startswith(("../", "/")) else name

    def names(self, root: Path, sources: Iterable[str]) -> dict[str, list[str]]:
        """By kind, the files of these recordings that are there."""
        sources = list(sources)
        found: dict[str, list[str]] = {}
        for kind in self.files:
            named = (self.name(kind, source) for source in sources)
            found[kind] = [n for n in dict.fromkeys(named) if n and (root / n).is_file()]
        return found

    def label_file(self, root: Path, source: str) -> str | None:
        """The first of the files of a recording that is there: its times are those of labels."""
        named = (self.name(kind, source) for kind in self.files)
        return next((name for name in named if name and (root / name).is_file()), None)


class TargetFiles:
    """Reads the files of one plan; the last one of each kind is kept."""

    def __init__(self, plan: TargetPlan, root: Path, reader: Mapping[str, Any], size: Size | None):
        """`reader` are the format and options by which recordings are read, `size` the sensor's."""
        self.plan, self.root, self.reader, self.size = plan, root, dict(reader), size
        self._kept: dict[str, tuple[tuple[str, str], Rows, np.ndarray, np.ndarray]] = {}

    def rows(self, kind: str, source: str, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """The rows of a file in its order, which of them count, and the texts that they number.

        Without a file there are none.
        """
        name = self.plan.name(kind, source)
        if name is None or not (self.root / name).is_file():
            return np.zeros(0, KINDS[kind]), np.zeros(0, bool), []
        if self._kept.get(kind, (None,))[0] != (name, split):
            file = self.plan.files[kind]
            rows, texts = read(self.root / name, kind, file, self.size)
            if file.untimed:
                rows["t"] += self._first(source)
            sized = counts = np.ones(len(rows), bool)
            if kind == "boxes" and self.plan.rule is not None and self.size is not None:
                rule = self.plan.rule
                sized, rows = rule.boxes(rows, file.classes, split, self.size)
                counts = sized & np.isin(rows["t"], rule.times(rows[sized], file.classes))
            self._kept[kind] = (name, split), (rows, texts), sized, counts
        _, (rows, texts), _, counts = self._kept[kind]
        return rows, counts, texts

    def sized(self, source: str, split: str) -> np.ndarray:
        """The boxes that count by themselves, at whatever time they are."""
        if not len(self.rows("boxes", source, split)[0]):
            return np.zeros(0, KINDS["boxes"])
        _, (rows, _), sized, _ = self._kept["boxes"]
        found: np.ndarray = rows[sized]
        return found

    def _first(self, source: str) -> int:
        """The time of the first event of a recording; 0 if it has none."""
        stream = formats.stream(self.root / source, 1, **self.reader)
        return next((int(events.t[0]) for events in stream if len(events)), 0)


@dataclass
class Passed:
    """What passed of a sample: its first and last time before the transforms, and their steps."""

    first: int | None = None
    last: int | None = None
    steps: Sequence[tuple[str, Step]] = ()

    def begin(self, steps: Sequence[tuple[str, Step]]) -> None:
        """Another time through its events, with these steps."""
        self.first, self.last, self.steps = None, None, steps

    def see(self, t: np.ndarray) -> None:
        """The times of the next events, in order."""
        if len(t):
            self.first = int(t[0]) if self.first is None else self.first
            self.last = int(t[-1])


@dataclass
class TargetWriter:
    """The targets of the samples of one job, in order."""

    plan: TargetPlan
    files: TargetFiles
    sensor: Size
    kept: dict[str, list[np.ndarray]] = field(default_factory=dict)
    texts: dict[str, int] = field(default_factory=dict)  # those of text, and their numbers

    def add(self, sample: Sample, passed: Passed) -> dict[str, int]:
        """Those of one sample, whose events have passed; its row."""
        placed = self._cut(sample, passed)
        for name, step in passed.steps:
            try:
                placed = move_targets(step, placed)
            except OptionError as error:
                raise OptionError(f"{name}: {error}") from None
        if self.plan.scale > 1:
            scale = self.plan.scale
            width, height = (side // scale for side in placed.size)
            placed = placed.moved((width, height), lambda xy: xy / scale)
        row = {"targets/t0": placed.start}
        for kind, rows in placed.rows.items():
            self.kept.setdefault(kind, []).append(rows)
            row[f"targets/{kind}/count"] = len(rows)
        return row

    def finish(self) -> dict[str, Any]:
        """All targets of the job as JSON has them: see `packed`."""
        return {
            kind: packed(np.concatenate(rows), list(self.texts) if kind == "text" else [])
            for kind, rows in self.kept.items()
        }

    def _cut(self, sample: Sample, passed: Passed) -> Placed:
        """The targets in the window of a sample, before its transforms."""
        low, high = sample.start, sample.stop
        if sample.by == "events":
            low = passed.first
            high = None if passed.last is None else passed.last + 1
        start = low if low is not None else passed.first or 0
        label_file = self.plan.label_file(self.files.root, sample.source)
        found: dict[str, np.ndarray] = {}
        for kind in self.plan.files:
            rows, counts, texts = self.files.rows(kind, sample.source, sample.split)
            named = sample.rows is not None and label_file == self.plan.name(kind, sample.source)
            if named and sample.rows is not None:
                first, n = sample.rows
                rows, counts = rows[first : first + n], counts[first : first + n]
            rows = rows[counts]
            if not named:
                rows = Placed({kind: rows}, self.sensor).between(low, high).rows[kind]
            rows = rows[np.argsort(rows["t"], kind="stable")]
            if kind == "text":
                rows["text"] = self._numbered(rows["text"], texts)
            found[kind] = rows
        return Placed(found, self.sensor, start)

    def _numbered(self, numbers: np.ndarray, texts: list[str]) -> np.ndarray:
        """Numbers of texts of a file as numbers of those of the job."""
        known = self.texts
        found = [known.setdefault(texts[i], len(known)) for i in numbers.tolist()]
        return np.array(found, np.int32)


def packed(rows: np.ndarray, texts: Sequence[str]) -> dict[str, Any]:
    """Rows as JSON has them: their number, and their bytes compressed, as text."""
    if not len(rows):
        return {"n": 0, "data": "", "texts": []}
    data = SMALL_ARRAY.encode(np.ascontiguousarray(rows).view(np.uint8))
    return {"n": len(rows), "data": b64encode(data).decode(), "texts": list(texts)}


def unpacked(kind: str, entry: Mapping[str, Any]) -> tuple[np.ndarray, list[str]]:
    """The rows and texts of `packed`."""
    rows = np.zeros(entry["n"], KINDS[kind])
    if len(rows):
        decode(b64decode(entry["data"]), rows.view(np.uint8), f"targets of {kind}")
    return rows, list(entry["texts"])


def joined(kind: str, entries: Iterable[Mapping[str, Any]]) -> tuple[np.ndarray, list[str]]:
    """The rows of several jobs, one after the other; texts are sorted and numbered again."""
    parts = [unpacked(kind, entry) for entry in entries]
    known = {text: n for n, text in enumerate(sorted({t for _, texts in parts for t in texts}))}
    for rows, texts in parts:
        if kind == "text" and len(rows):
            numbers = np.array([known[text] for text in texts], np.int32)
            rows["text"] = numbers[rows["text"]]
    return np.concatenate([rows for rows, _ in parts]), list(known)


def missing(plan: TargetPlan, root: Path, sources: Sequence[str]) -> list[str]:
    """A sentence on each kind of which recordings have no file."""
    told = []
    for kind in plan.files:
        names = {source: plan.name(kind, source) for source in sources}
        lacking = [s for s, name in names.items() if not (name and (root / name).is_file())]
        if lacking:
            told.append(
                f"recordings without a file of {kind}: {len(lacking):,} of {len(sources):,}, "
                f"first {lacking[0]}"
            )
    return told


def scaled(plan: TargetPlan | None, representation: Mapping[str, Any]) -> TargetPlan | None:
    """The plan for frames of a representation."""
    if plan is None:
        return None
    return replace(plan, scale=int(representation.get("downsample") or 1))
