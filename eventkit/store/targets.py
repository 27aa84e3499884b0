"""Targets in a store: boxes, points, intervals and text of each sample, as columns.

    <split>/targets/t0                    int64 (N,)   time at which a sample begins, µs
    <split>/targets/boxes/start, count    int64 (N,)   which rows are those of a sample
    <split>/targets/boxes/t x y w h class track confidence    one row a box, sample by sample
    <split>/targets/points, intervals, text                   likewise, with other columns

Rows start[i] to start[i] + count[i] are those of sample i, in order of time. Times t and stop are
int64 µs on the clock of the events; less t0, they are since the sample's begin. The names of
classes are the attribute `names` of class, and the texts that of text. A kind without any row has
one row of zeros, which no sample counts, as no array of Zarr may be without a chunk.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eventkit.errors import StoreDamaged
from eventkit.registry import unknown
from eventkit.store.reader import Problem
from eventkit.targets import KINDS

if TYPE_CHECKING:
    from eventkit.store.kinds.base import Split
    from eventkit.store.tree import Tree

_INDEX = ("start", "count")
_NAMED = ("class", "text")  # numbers with names


def is_start(column: str) -> bool:
    """Whether a column says where targets of samples are, which follows from their counts."""
    return column.startswith("targets/") and column.endswith("/start")


def write(
    tree: "Tree",
    split: str,
    kind: str,
    counts: np.ndarray,
    rows: np.ndarray,
    names: Sequence[str],
) -> None:
    """The columns of one kind: `counts` rows of each sample, and what their numbers are called."""
    below = f"{split}/targets/{kind}"
    starts = np.cumsum(counts, dtype=np.int64) - counts
    for name, index in zip(_INDEX, (starts, counts), strict=True):
        tree.column(f"{below}/{name}", index.astype(np.int64), "sample")
    rows = rows if len(rows) else np.zeros(1, rows.dtype)
    for name in rows.dtype.names or ():
        told: dict[str, Any] = {"unit": "us"} if name in ("t", "stop") else {}
        if names and name in _NAMED:
            told["names"] = list(names)
        tree.column(f"{below}/{name}", rows[name], "row", **told)


class StoredTargets(Mapping[int, dict[str, np.ndarray]]):
    """The targets of a split: targets[i] is a structured array for each kind, of sample i."""

    def __init__(self, split: "Split") -> None:
        self._split = split
        there = split.arrays_below("targets/")
        self.kinds = [kind for kind in KINDS if f"targets/{kind}/t" in there]
        self._indexes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._tables: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._split) if self.kinds else 0

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        index = range(len(self))[index]
        return {kind: self.rows(kind, slice(index, index + 1))[0] for kind in self.kinds}

    @property
    def t0(self) -> np.ndarray:
        """The time at which each sample begins, from which its targets count: int64 (N,), µs."""
        return self._split.column("targets/t0")

    def counts(self, kind: str) -> np.ndarray:
        """How many targets of a kind each sample has: int64 (N,)."""
        return self._index(kind)[1]

    def names(self, kind: str) -> list[str]:
        """What the numbers are called: those of classes, or the texts themselves."""
        for name in _NAMED:
            node = self._split.arrays_below(f"targets/{self._known(kind)}/").get(
                f"targets/{kind}/{name}"
            )
            if node is not None:
                return list(node["attributes"].get("names", []))
        return []

    def rows(self, kind: str, samples: slice) -> tuple[np.ndarray, list[str]]:
        """The targets of one kind of samples that follow each other, and what numbers are called.

        A structured array with the columns of the kind, sample by sample.
        """
        starts, counts = self._index(kind)
        starts, counts = starts[samples], counts[samples]
        if not len(starts):
            return self._table(kind)[:0], self.names(kind)
        first, last = int(starts[0]), int(starts[-1] + counts[-1])
        return self._table(kind)[first:last], self.names(kind)

    def _known(self, kind: str) -> str:
        if kind not in self.kinds:
            raise unknown("kind of targets", kind, self.kinds)
        return kind

    def _index(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Where the rows of each sample are. StoreDamaged if they do not follow each other."""
        if self._known(kind) not in self._indexes:
            starts, counts = (self._split.column(f"targets/{kind}/{name}") for name in _INDEX)
            ends = np.cumsum(counts)
            follow = (counts >= 0).all() and (starts == ends - counts).all()
            n = max(int(ends[-1]) if len(ends) else 0, 1)
            if not follow or n != len(self._table(kind)):
                raise StoreDamaged(
                    f"{self._split.store.path}: start and count of {self._split.name}/targets/"
                    f"{kind} do not fit its columns"
                )
            self._indexes[kind] = starts, counts
        return self._indexes[kind]

    def _table(self, kind: str) -> np.ndarray:
        if kind not in self._tables:
            below = f"{self._split.name}/targets/{kind}"
            columns = {
                name: self._split.store.small(f"{below}/{name}") for name in KINDS[kind].names or ()
            }
            if len({len(column) for column in columns.values()}) != 1:
                raise StoreDamaged(
                    f"{self._split.store.path}: the columns of {below} differ in their length"
                )
            table = np.empty(len(columns["t"]), KINDS[kind])
            for name, column in columns.items():
                table[name] = column
            self._tables[kind] = table
        return self._tables[kind]

    def check(self) -> Iterator[Problem]:
        """What is wrong with the contents: order of time, numbers without a name, sizes."""
        for kind in self.kinds:
            where = f"{self._split.name}/targets/{kind}"
            try:
                starts, counts = self._index(kind)
            except StoreDamaged as error:
                yield Problem(where, str(error))
                continue
            table = self._table(kind)[: int(counts.sum())]
            steps = np.diff(table["t"]) < 0
            steps[starts[(starts > 0) & (starts < len(table))] - 1] = False
            if steps.any():
                yield Problem(
                    where, f"row {int(steps.argmax()) + 1} is earlier than the one before"
                )
            names, numbered = (
                self.names(kind),
                [n for n in _NAMED if n in (table.dtype.names or ())],
            )
            for name in numbered if names else ():
                if len(table) and not -1 <= table[name].min() <= table[name].max() < len(names):
                    yield Problem(f"{where}/{name}", f"has values outside its {len(names)} names")
            for name in "wh" if kind == "boxes" else "":
                if (table[name] < 0).any():
                    yield Problem(f"{where}/{name}", "has negative sizes")

    def __repr__(self) -> str:
        counts = (f"{int(self.counts(kind).sum()):,} {kind}" for kind in self.kinds)
        return f"StoredTargets({len(self)} samples: {', '.join(counts) or 'none'})"


def join(tree: "Tree", split: str, parts: Sequence[tuple[StoredTargets, np.ndarray]]) -> list[str]:
    """Write the targets of samples of several splits, one after the other.

    Returns a sentence on each kind that not all of them have, which is left out. Classes keep their
    numbers where they have the same names everywhere; others are numbered again.
    """
    told = []
    for kind in dict.fromkeys(kind for targets, _ in parts for kind in targets.kinds):
        if not all(kind in targets.kinds for targets, _ in parts):
            told.append(f"{split}/targets/{kind} is left out, as not every store has it")
            continue
        lists = [targets.names(kind) for targets, _ in parts]
        if kind == "text" or any(names != lists[0] for names in lists):
            names = list(dict.fromkeys(name for names in lists for name in names))
            names = sorted(names) if kind == "text" else names
        else:
            names = lists[0]
        rows, counts = [], []
        for (targets, indices), own in zip(parts, lists, strict=True):
            counts.append(targets.counts(kind)[indices])
            for index in indices.tolist():
                found = targets.rows(kind, slice(index, index + 1))[0]
                rows.append(_renumbered(found, own, names))
        if kind == "text":  # only those that are there still, as if they were converted alone
            rows, names = _used(rows, names)
        write(tree, split, kind, np.concatenate(counts), np.concatenate(rows), names)
    return told


def _renumbered(rows: np.ndarray, own: list[str], names: list[str]) -> np.ndarray:
    if own == names or not len(rows):
        return rows
    rows = rows.copy()
    for name in _NAMED:
        if name in (rows.dtype.names or ()):
            table = np.array([*(names.index(each) for each in own), -1], np.int32)
            known = (rows[name] >= 0) & (rows[name] < len(own))
            rows[name] = np.where(known, table[np.where(known, rows[name], -1)], rows[name])
    return rows


def _used(rows: list[np.ndarray], names: list[str]) -> tuple[list[np.ndarray], list[str]]:
    used = sorted({number for part in rows for number in part["text"].tolist()})
    table = {number: place for place, number in enumerate(used)}
    out = []
    for part in rows:
        part = part.copy()
        part["text"] = [table[number] for number in part["text"].tolist()]
        out.append(part)
    return out, [names[number] for number in used]


def parts_of(picks: Sequence[Any]) -> list[tuple[StoredTargets, np.ndarray]]:
    """The targets of picked samples (`merge.Pick`), with their numbers."""
    return [(pick.store[pick.split].targets, pick.indices) for pick in picks]
