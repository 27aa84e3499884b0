"""Several stores, or some samples of one, as a new store: without decoding where it can be helped.

Whole shards are linked (or copied, on another disk), other chunks copied byte for byte, each
compared with its checksum. Only where tiny samples share a chunk and are torn apart are chunks made
anew. The new store is made as any other: locked, resumable, the same bytes every time, and
named only when it is whole. It has no sources of its own to be repaired from but its parents.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventkit import __version__
from eventkit.errors import OptionError, StoreError
from eventkit.splits import parse, request
from eventkit.store import Store, metadata, notes, targets
from eventkit.store.building import Building, difference
from eventkit.store.copying import Copier, Row
from eventkit.store.picks import Pick, divided, ranges
from eventkit.store.provenance import sources, split_rows
from eventkit.store.remote import building_at
from eventkit.store.select import label_numbers, select
from eventkit.store.storage import Storage, at
from eventkit.store.tree import Tree

Progress = Callable[[int, int], None]
_SAME = ("kind", "represent", "size", "classes")
_MADE = {"segment", "start", "source"}  # columns that are made anew


def merge(
    out: str | Path,
    stores: Sequence[str | Path],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All samples of several stores in one, splits of the same name one after the other.

    Raises StoreError when they differ in kind, representation, transforms, size or classes.
    Samples that are in it more than once are told in the warnings. Returns the summary.
    """
    if len(stores) < 2:
        raise OptionError("merge takes at least two stores")
    opened = [Store(path) for path in stores]
    picks: dict[str, list[Pick]] = {}
    for store in opened:
        for name in store:
            picks.setdefault(name, []).append(Pick(store, name, np.arange(len(store[name]))))
    names = " ".join(_quoted(path) for path in (out, *stores))
    return _make(at(out), picks, f"eventkit merge {names}", overwrite, progress)


def subset(
    out: str | Path,
    store: str | Path,
    *,
    splits: Sequence[str] = (),
    classes: Sequence[str | int] = (),
    where: Sequence[str] = (),
    indices: Sequence[int] | None = None,
    relabel: bool = False,
    split_into: str | None = None,
    stratify: bool = False,
    seed: int | None = None,
    group: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Some samples of a store as a store of their own.

    `splits` are all by default; the conditions are those of `select.select`; `indices` need one
    split. Labels keep their numbers; with `relabel` the classes are only those in `classes`, and
    label i is the i-th of these. `split_into` divides the samples that were selected:
    "train=0.8,test=0.2" or another request of `eventkit.splits`, to which `stratify`, `seed` and
    `group` add.

    Raises OptionError when nothing is left. Returns the summary.
    """
    opened = Store(store)
    if relabel and not classes:
        raise OptionError("relabel needs classes: label i becomes the i-th of them")
    chosen = list(splits) or opened.splits
    if indices is not None and len(chosen) != 1:
        raise OptionError("indices are those of one split; say which")
    picks = {}
    for name in chosen:
        found = select(opened, name, classes=classes, where=where, indices=indices)
        if len(found):
            picks[name] = [Pick(opened, name, found)]
    if not picks:
        raise OptionError(f"{store}: no sample fulfils all of these conditions")
    notes_: list[str] = []
    split_into = request(split_into, stratify=stratify, seed=seed, group=group)
    if split_into is not None:
        division = parse(split_into)
        split_into = division.spec
        picks, notes_ = divided(picks, division)
    command = ["eventkit subset", _quoted(out), _quoted(store)]
    command += [f"--split {name}" for name in splits]
    command += [f"--classes {','.join(map(str, classes))!r}"] if classes else []
    command += [f"--where {condition!r}" for condition in where]
    command += [f"--indices {ranges(indices)}"] if indices is not None else []
    command += ["--relabel"] if relabel else []
    command += [f"--split-into {shlex.quote(split_into)}"] if split_into is not None else []
    kept = label_numbers(opened, classes) if relabel else None
    return _make(at(out), picks, " ".join(command), overwrite, progress, labels=kept, notes_=notes_)


def _name(path: object) -> str:
    """The last part of a path as text that a document can hold, whatever its bytes are."""
    return Path(str(path)).name.encode(errors="replace").decode()


def _quoted(path: str | Path) -> str:
    return shlex.quote(_name(path))


def _make(
    out: Storage,
    picks: dict[str, list[Pick]],
    command: str,
    overwrite: bool,
    progress: Progress | None,
    labels: Sequence[int] | None = None,
    notes_: Sequence[str] = (),
) -> dict[str, Any]:
    """The new store; `labels` are the old numbers of its classes where these are renumbered."""
    started = time.perf_counter()
    parents = list({id(p.store): p.store for parts in picks.values() for p in parts}.values())
    _check_same(parents)
    if out.identity() in [store.path.identity() for store in parents]:
        raise StoreError(f"{out}: is one of the stores to be read; choose another name")
    work = _Work(picks, parents, command, labels, notes_)
    building = building_at(out)
    note = ""
    with building.begun(work.plan, overwrite=overwrite) as finished:
        if finished:
            note = "nothing to do: the store is already there"
        else:
            work.run(building, progress or (lambda done, total: None))
            building.finish(replace=overwrite)
    made = Store(str(out))
    return {
        "out": str(out),
        "note": note,
        "samples": {split: len(made[split]) for split in made},
        "parents": [str(store.path) for store in parents],
        **work.counts,
        "bytes": sum(n_bytes for _, n_bytes in out.files()),
        "warnings": made.attributes["warnings"],
        "seconds": time.perf_counter() - started,
    }


def _check_same(parents: list[Store]) -> None:
    """Raise StoreError, naming the difference, unless all stores hold the same kind of samples."""
    first = parents[0]
    for other in parents[1:]:
        told = [{key: s.attributes[key] for key in _SAME} for s in (first, other)]
        told[0]["transforms"], told[1]["transforms"] = (
            s.attributes["plan"]["transforms"] for s in (first, other)
        )
        if told[0] != told[1]:
            what = difference(told[0], told[1])
            raise StoreError(
                f"{first.path} and {other.path} cannot be one store: {what} "
                "(there: the first, now: the second)"
            )


class _Work:
    """One new store: its plan, and how it is made."""

    def __init__(
        self,
        picks: dict[str, list[Pick]],
        parents: list[Store],
        command: str,
        labels: Sequence[int] | None = None,
        notes_: Sequence[str] = (),
    ) -> None:
        self.picks, self.parents, self.command, self.notes = picks, parents, command, notes_
        known = parents[0].classes
        self.labels = None if labels is None else {old: new for new, old in enumerate(labels)}
        self.classes = known if labels is None else [known[old] for old in labels]
        self.counts = {"linked": 0, "whole": 0, "copied": 0, "encoded": 0}
        self.sources, self._numbers = self._sources()
        self.dropped: list[str] = []
        self.rows = {split: self._rows(split) for split in picks}
        told = parents[0].attributes["plan"]
        self.plan: dict[str, Any] = {
            "schema": metadata.SCHEMA,
            "dataset": self._joined("dataset", "+"),
            **{key: told[key] for key in ("representation", "transforms", "codec")},
            "classes": list(self.classes),
            **{key: told[key] for key in ("sensor", "size")},
            **self._plugins(),
            "sources": metadata.digest(sorted((s["name"], s["bytes"]) for s in self.sources)),
            "splits": {split: metadata.split_digest(rows) for split, rows in self.rows.items()},
            "made_of": {
                split: [
                    [p.store.attributes["digest"], p.split, metadata.digest(p.indices.tolist())]
                    for p in parts
                ]
                for split, parts in picks.items()
            },
            "version": __version__,
        }

    def run(self, building: Building, progress: Progress) -> None:
        """Write everything into the building's tree."""
        tree = Tree(building)
        done, total = 0, sum(len(p.indices) for parts in self.picks.values() for p in parts)
        for split, parts in self.picks.items():
            samples = [Row(p.store[p.split], int(i)) for p in parts for i in p.indices]
            first = samples[0].part
            copier = first.COPIER(split, samples, self.plan["codec"], self.counts)
            for array in copier.arrays:
                building.folder_of(array.name)
            files: dict[str, dict[str, int]] = {}
            for number, rows in copier.groups():
                entry = building.done.get((split, number))
                if entry is None:
                    entry = {"files": copier.write(building.tree, number, rows)}
                    building.record((split, number), entry)
                files |= entry["files"]
                done += len(rows)
                progress(done, total)
            integrities = first.layout(split, first.kind)
            for array in copier.arrays:
                tree.sharded(array.name, array.document, integrities[array.name], files)
            self._columns(tree, split, copier)
        self._finish(tree)

    def _plugins(self) -> dict[str, dict[str, str]]:
        """The plug-ins that the parents were made with, if any."""
        plans = [store.attributes["plan"] for store in self.parents]
        found = {name: plan["plugins"][name] for plan in plans for name in plan.get("plugins", {})}
        return {"plugins": found} if found else {}

    def _sources(self) -> tuple[list[dict[str, Any]], dict[int, np.ndarray]]:
        """All sources that samples are of, each once, and the new numbers for each parent's."""
        found: dict[tuple[str, int, str], int] = {}
        numbers = {}
        for store in self.parents:
            own = sources(store)
            used = {
                int(i)
                for parts in self.picks.values()
                for p in parts
                if p.store is store
                for i in np.unique(store[p.split].column("source")[p.indices])
            }
            numbers[id(store)] = np.full(len(own), -1)
            for number in sorted(used):
                key = (own[number]["name"], own[number]["bytes"], own[number]["crc32c"])
                numbers[id(store)][number] = found.setdefault(key, len(found))
        return [dict(zip(("name", "bytes", "crc32c"), key, strict=True)) for key in found], numbers

    def _rows(self, split: str) -> list[tuple[object, ...]]:
        """What the split's hash is made of."""
        rows: list[tuple[object, ...]] = []
        for p in self.picks[split]:
            own = split_rows(p.store, p.split)
            rows += [own[i] for i in p.indices.tolist()]
        if self.labels is not None:
            rows = [(*row[:3], self.labels[int(str(row[3]))]) for row in rows]
        return rows

    def _columns(self, tree: Tree, split: str, copier: Copier) -> None:
        parts = self.picks[split]
        for name, column in copier.columns().items():
            tree.column(f"{split}/{name}", column, "chunk" if "/" in name else "sample")
        numbers = [self._renumbered(p) for p in parts]
        tree.column(f"{split}/source", np.concatenate(numbers).astype(np.int32), "sample")
        everywhere = set.intersection(*(set(p.store[p.split].columns) for p in parts))
        for name in dict.fromkeys(n for p in parts for n in p.store[p.split].columns):
            if name in _MADE or (name.startswith("targets/") and name != "targets/t0"):
                continue
            nodes = [p.store.nodes.get(f"{p.split}/{name}") for p in parts]
            windows = name in ("window_start", "window_stop") or name.startswith("ledger/")
            if name not in everywhere and not windows:
                self.dropped.append(f"{split}/{name} is left out, as not every store has it")
                continue
            names = [node["attributes"].get("names") for node in nodes if node is not None]
            columns = [_column(p, name) for p in parts]
            if name == "labels" and self.labels is not None:
                new = [[self.labels[label] for label in column.tolist()] for column in columns]
                columns = [np.array(column, np.int32) for column in new]
            if not any(names):
                tree.column(f"{split}/{name}", np.concatenate(columns), "sample")
            elif all(names):
                known = sorted({value for values in names for value in values})
                columns = [
                    np.array([known.index(value) for value in values], np.int32)[column]
                    for values, column in zip(names, columns, strict=True)
                ]
                tree.column(f"{split}/{name}", np.concatenate(columns), "sample", names=known)
            else:
                self.dropped.append(
                    f"{split}/{name} is left out: it is a name here, a number there"
                )

        self.dropped += targets.join(tree, split, targets.parts_of(parts))

    def _renumbered(self, pick: Pick) -> np.ndarray:
        """The sources of some samples by their new numbers."""
        column = pick.store[pick.split].column("source")[pick.indices]
        numbers: np.ndarray = self._numbers[id(pick.store)][column]
        return numbers

    def _joined(self, key: str, by: str) -> str:
        texts = [str(store.attributes.get(key, "")) for store in self.parents]
        return by.join(dict.fromkeys(filter(None, texts)))

    def _finish(self, tree: Tree) -> None:
        names, sizes, crcs = ([s[key] for s in self.sources] for key in ("name", "bytes", "crc32c"))
        tree.sources(names, sizes, [int(crc, 16) for crc in crcs])
        first = self.parents[0].attributes
        about = {
            **{key: first[key] for key in ("kind", "size", "represent")},
            "classes": list(self.classes),
            **{key: self._joined(key, "; ") for key in ("title", "cite", "license")},
            "dataset": self.plan["dataset"],
            "command": self.command,
        }
        kept = ("digest", "plan_digest", "command", "versions")
        parents = [
            {"name": _name(store.path.identity()), **{key: store.attributes[key] for key in kept}}
            for store in self.parents
        ]
        samples = {split: len(rows) for split, rows in self.rows.items()}
        tree.root(self.plan, samples, about, self._warnings(), {"parents": parents})

    def _warnings(self) -> list[str]:
        told = [note for store in self.parents for note in self._kept(store)]
        seen: dict[tuple[object, ...], str] = {}
        twice: list[str] = []
        for split, rows in self.rows.items():
            numbers = np.concatenate([self._renumbered(p) for p in self.picks[split]])
            for row, number in zip(rows, numbers.tolist(), strict=True):
                sample = (number, *row[1:3])  # source and window
                if sample in seen:
                    twice.append(f"{row[0]} in {seen[sample]} and {split}")
                seen[sample] = split
            gaps = self._joined_column(split, "empty_frames")
            told += notes.of_empty(split, rows, self._joined_column(split, "n_events"), gaps)
        if twice:
            told.append(f"{len(twice):,} samples are in it twice, the first is {twice[0]}")
        return [*told, *self.notes, *self.dropped]

    def _kept(self, store: Store) -> Iterator[str]:
        """What a parent warned of that is true of its samples here: of what was read of a source.

        What it says of all of it, as a count, is handed on only if all of it is here.
        """
        picked = [p for parts in self.picks.values() for p in parts if p.store is store]
        whole = sum(len(p.indices) for p in picked) >= sum(map(len, store.values()))
        own = sources(store)
        here = tuple(
            own[number]["name"] + mark
            for number in np.flatnonzero(self._numbers[id(store)] >= 0).tolist()
            for mark in (":", ",")
        )
        for note in store.attributes["warnings"]:
            if notes.is_of_empty(note):  # counted anew
                continue
            if note.startswith(here):
                yield note
            elif whole:
                yield note if len(self.parents) == 1 else f"{_name(store.path.name)}: {note}"

    def _joined_column(self, split: str, name: str) -> list[int]:
        """A column of all samples of a split; empty if a parent has none of that name."""
        parts = self.picks[split]
        if any(name not in p.store[p.split].columns for p in parts):
            return []
        return [n for p in parts for n in p.store[p.split].column(name)[p.indices].tolist()]


def _column(pick: Pick, name: str) -> np.ndarray:
    """The values of a column; what they are where there is no such column."""
    part = pick.store[pick.split]
    if name in part.columns:
        chosen: np.ndarray = part.column(name)[pick.indices]
        return chosen
    missing = metadata.NO_LIMIT if name.startswith("window_") else 0
    return np.full(len(pick.indices), missing, np.int64)
