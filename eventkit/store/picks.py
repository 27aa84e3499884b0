"""Samples picked from stores for a new one, and how they are divided into new splits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eventkit.registry import unknown
from eventkit.splits import Division, Rows, sample_name
from eventkit.store import Store
from eventkit.store.provenance import split_rows


@dataclass(frozen=True)
class Pick:
    """Some samples of one split of a store."""

    store: Store
    split: str
    indices: np.ndarray


def divided(
    picks: dict[str, list[Pick]], division: Division
) -> tuple[dict[str, list[Pick]], list[str]]:
    """The samples in the splits that a division makes, each in the order it had."""
    parts = [pick for several in picks.values() for pick in several]
    rows = [(pick, int(i)) for pick in parts for i in pick.indices]
    labels = np.concatenate([p.store[p.split].labels[p.indices] for p in parts])

    def column(name: str) -> list[str]:
        return [text for p in parts for text in _texts(p, name)]

    names = [name for p in parts for name in _names(p)]
    found, notes_ = division.divide(Rows(names, labels, [p.split for p, _ in rows], column))
    made: dict[str, list[Pick]] = {}
    order = [*division.shares, *(split for split in picks if split not in division.shares)]
    for split in order:
        for pick in parts:
            own = [i for (p, i), to in zip(rows, found, strict=True) if p is pick and to == split]
            if own:
                made.setdefault(split, []).append(Pick(pick.store, pick.split, np.array(own)))
    return made, notes_


def _names(pick: Pick) -> list[str]:
    part, own = pick.store[pick.split], split_rows(pick.store, pick.split)
    several = part.column("recording").tolist() if "recording" in part.columns else None
    found = []
    for i in pick.indices.tolist():
        source, start, stop, _ = own[i]
        found.append(sample_name(source, start, stop, None if several is None else several[i]))
    return found


def _texts(pick: Pick, name: str) -> list[str]:
    """The values of a column as texts; `recording` is the source where there is no such column."""
    part = pick.store[pick.split]
    if name == "recording" and name not in part.columns:
        own = split_rows(pick.store, pick.split)
        return [str(own[i][0]) for i in pick.indices.tolist()]
    if name not in part.columns:
        raise unknown("column", name, [*part.columns, "recording"])
    values = part.column(name)[pick.indices].tolist()
    known = pick.store.nodes[f"{pick.split}/{name}"]["attributes"].get("names")
    return [str(value) if known is None else known[value] for value in values]


def ranges(indices: Sequence[int]) -> str:
    """Indices as text, runs of them as first:last + 1."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, index + 1])
    return ",".join(str(a) if b == a + 1 else f"{a}:{b}" for a, b in runs)
