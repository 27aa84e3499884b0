"""The report of a store: what it holds, how it is distributed, and what looks wrong in it.

Counts, durations, labels and checksums are columns of the store, so that all samples are compared
without reading any. Pixels are read of a limited number of samples, which the page states.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from eventkit import representations, viz
from eventkit.events import Events
from eventkit.registry import format_spec
from eventkit.representations import Whole
from eventkit.store import Split, Store
from eventkit.store.provenance import sources

from . import stores
from .pack import pack_pixels
from .viewer import PALETTES

SAMPLES = 256  # whose pixels are read
TILES = 24  # that are shown
STEPS = 8  # frames of a tile made from events
SIDE = 96  # pixels of a tile's longer side, at most
BYTES = 1 << 30  # of decoded samples that are read
ROWS = 50  # of a table of findings
BINS = 40
MAD = 5.0  # robust standard deviations from the median of its class: an outlier
CHUNK = 1 << 20  # events of a sample at once


def data(store: Store, *, samples: int = SAMPLES) -> dict[str, Any]:
    """What the page "report" shows of a store; pixels of at most `samples` samples are read."""
    columns = {name: _columns(store[name]) for name in store.splits}
    chosen = _affordable(store, stores.choose(store, store.splits, samples))
    return {
        "about": store.attributes["title"],
        "facts": _facts(store, columns),
        "command": store.attributes["command"],
        "warnings": store.attributes["warnings"],
        "classes": _classes(store, columns),
        "splits": store.splits,
        "balance": {
            name: np.bincount(found["label"], minlength=1).tolist()
            for name, found in columns.items()
        },
        "table": _table(store, columns),
        "histograms": _histograms(columns),
        "ledger": {
            name: {key: int(column.sum()) for key, column in store[name].ledger.items()}
            for name in store.splits
        },
        "read": len(chosen),
        "samples": sum(len(split) for split in store.values()),
        **_pixels(store, chosen),
        "tiles": [_tile(store, *each) for each in chosen[:TILES]],
        "palette": PALETTES["blue, orange"],
        "outliers": _outliers(store, columns),
        "empty": {name: int((found["events"] == 0).sum()) for name, found in columns.items()},
        "duplicates": _duplicates(store),
        "provenance": _provenance(store),
    }


def _columns(split: Split) -> dict[str, np.ndarray]:
    """Label, number of events, duration (s) and rate (events/s) of each sample."""
    events = split.ledger["binned"].astype(np.float64)
    seconds = (split.column("t_end") - split.column("t_start")) / 1e6
    rate = np.divide(events, seconds, out=np.full(len(events), np.nan), where=seconds > 0)
    labels = np.maximum(split.labels, 0)
    return {"label": labels, "events": events, "seconds": seconds, "rate": rate}


def _facts(store: Store, columns: dict[str, Any]) -> dict[str, Any]:
    n_bytes = sum(size for _, size in store.path.files())
    events = sum(int(found["events"].sum()) for found in columns.values())
    facts = {
        "dataset": store.attributes["dataset"],
        "contents": store.attributes["represent"],
        "sensor": "{} × {}".format(*store.size),
    }
    if store.kind != "events":
        frames = store[store.splits[0]].frames
        facts["sample"] = f"{' × '.join(map(str, frames.shape[1:]))} {frames.dtype.name}"
    transforms = [
        format_spec(step["name"], {k: v for k, v in step.items() if k != "name"})
        for step in store.attributes["plan"]["transforms"]
    ]
    return {
        **facts,
        "transforms": ", ".join(transforms),
        "events": f"{events:,}",
        "size on disk": f"{n_bytes / 1e6:,.1f} MB",
        "licence": store.attributes["license"],
        "cite": store.attributes["cite"],
    }


def _classes(store: Store, columns: dict[str, Any]) -> list[str]:
    largest = max((int(found["label"].max(initial=0)) for found in columns.values()), default=0)
    return [stores.class_of(store, label) for label in range(max(largest + 1, len(store.classes)))]


def _table(store: Store, columns: dict[str, Any]) -> list[dict[str, Any]]:
    """For each split and class: samples, and medians of events, duration and rate."""
    rows = []
    for split, found in columns.items():
        order = np.argsort(found["label"], kind="stable")
        labels, starts = np.unique(found["label"][order], return_index=True)
        for label, members in zip(labels, np.split(order, starts[1:]), strict=True):
            medians = {
                name: _median(found[name][members]) for name in ("events", "seconds", "rate")
            }
            named = {"split": split, "class": stores.class_of(store, int(label))}
            rows.append({**named, "samples": len(members), **medians})
    return rows


def _median(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def _histograms(columns: dict[str, Any]) -> dict[str, Any]:
    """Of events, duration and rate: edges, and how many samples of each split are between them."""
    found = {}
    for name in ("events", "seconds", "rate"):
        per_split = {split: each[name][np.isfinite(each[name])] for split, each in columns.items()}
        every = np.concatenate([*per_split.values(), np.zeros(0)])
        low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        counts = {split: np.histogram(values, edges)[0] for split, values in per_split.items()}
        found[name] = {"edges": edges, "counts": counts}
    return found


def _affordable(store: Store, chosen: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The first of the samples that together take no more than BYTES to decode; at least one."""
    kept: list[tuple[str, int]] = []
    used = 0
    for split, number in chosen:
        used += store[split].decoded_bytes(np.array([number]))
        if kept and used > BYTES:
            break
        kept.append((split, number))
    return kept


def _parts(split: Split, number: int) -> Iterator[Events]:
    """The events of a sample in chunks."""
    yield from split.ragged.parts(number) if split.column("count")[number] else ()


def _pixels(store: Store, chosen: list[tuple[str, int]]) -> dict[str, Any]:
    """Of the samples read: where events are, and the share of ON events of each class."""
    width, height = store.size
    off_on: np.ndarray | None = None
    polarity: dict[int, np.ndarray] = {}
    for name, number in chosen:
        split = store[name]
        if store.kind == "events":
            flat = np.zeros((2, height * width))
            for events in _parts(split, number):
                place = events.y.astype(np.int64) * width + events.x
                for p in (0, 1):
                    flat[p] += np.bincount(place[events.p == p], minlength=height * width)
            total = flat.reshape(2, height, width)
        else:
            frames = np.abs(split.read([number])[0].astype(np.float64))
            total = frames.sum(axis=0)
            if total.shape[0] != 2:
                total = total.sum(axis=0, keepdims=True)
        off_on = total if off_on is None else off_on + total
        if len(total) == 2:
            sums = polarity.setdefault(int(split.labels[number]), np.zeros(2))
            sums += total.sum(axis=(1, 2))
    density = np.zeros((1, 1, 1)) if off_on is None else off_on
    density = density.sum(axis=0)
    share = {
        stores.class_of(store, label): float(sums[1] / max(1.0, sums.sum()))
        for label, sums in sorted(polarity.items())
    }
    counts = sum(polarity.values(), np.zeros(2))
    quiet = float((density == 0).mean())
    hot = density.max() / max(float(np.median(density[density > 0])) if density.any() else 1, 1e-9)
    reduced, edge = density, max(density.shape)
    if edge > 4 * SIDE:
        block = -(-edge // (4 * SIDE))
        reduced = viz.reduced(density[None, None].astype(np.float32), block)[0, 0]
    scale = np.percentile(reduced[reduced > 0], 99.5) if reduced.any() else 1
    levels = np.sqrt(np.minimum(reduced / scale, 1))
    return {
        "density": {
            "width": reduced.shape[1],
            "height": reduced.shape[0],
            "data": pack_pixels(np.ceil(255 * levels)),
            "silent": quiet,
            "hottest": float(hot),
        },
        "polarity": share,
        "on": float(counts[1] / max(1.0, counts.sum())) if polarity else None,
    }


def _tile(store: Store, split: str, number: int) -> dict[str, Any]:
    """A small animation of a sample."""
    part = store[split]
    if store.kind == "events":
        entry, bound = representations.parse(f"frames:n={STEPS},by=time,bounds=drop")
        n, t0, t1 = (int(part.column(name)[number]) for name in ("count", "t_start", "t_end"))
        whole = Whole(n, t0, t1, ordered=True)
        parts = list(_parts(part, number)) if whole.n <= CHUNK else _parts(part, number)
        frames, _ = representations.accumulate(parts, whole, store.size, entry, bound)
    else:
        frames = stores.pictures(store, part.read([number])[0])
    if max(frames.shape[2:]) > SIDE:
        frames = viz.reduced(frames, -(-max(frames.shape[2:]) // SIDE))
    return {
        "name": f"{split} {number}",
        "label": stores.class_of(store, int(part.labels[number])),
        "n": len(frames),
        "height": frames.shape[2],
        "width": frames.shape[3],
        "data": pack_pixels(viz.palette_indices(frames)),
    }


class _Place:
    """Split and number of a sample by its place among those of all splits, one after the other."""

    def __init__(self, numbers: dict[str, np.ndarray]) -> None:
        self.splits = list(numbers)
        self.ends = np.cumsum([len(each) for each in numbers.values()])
        self.numbers = np.concatenate([*numbers.values(), np.zeros(0, np.int64)])

    def __call__(self, place: int) -> tuple[str, int]:
        split = int(np.searchsorted(self.ends, place, side="right"))
        return self.splits[split], int(self.numbers[place])


def _outliers(store: Store, columns: dict[str, Any]) -> dict[str, Any]:
    """Samples whose events, duration or rate are far from the median of their class.

    The distance is in robust standard deviations (1.4826 times the median absolute deviation) of
    the logarithm, over all samples of a class together.
    """
    where = _Place({split: np.arange(len(found["label"])) for split, found in columns.items()})
    labels = np.concatenate([found["label"] for found in columns.values()])
    order = np.argsort(labels, kind="stable")
    _, starts = np.unique(labels[order], return_index=True)
    rows: list[dict[str, Any]] = []
    for name in ("events", "seconds", "rate"):
        values = np.concatenate([found[name] for found in columns.values()])
        logs = np.log(np.where(values > 0, values, np.nan))
        for members in np.split(order, starts[1:]):
            known = members[np.isfinite(logs[members])]
            if len(known) < 8:
                continue
            middle = np.median(logs[known])
            spread = max(1.4826 * float(np.median(np.abs(logs[known] - middle))), 0.02)
            distance = (logs[known] - middle) / spread
            for index in np.flatnonzero(np.abs(distance) > MAD):
                sample = int(known[index])
                rows.append(
                    {
                        **dict(zip(("split", "sample"), where(sample), strict=True)),
                        "class": stores.class_of(store, int(labels[sample])),
                        "what": name,
                        "value": float(values[sample]),
                        "median": float(np.exp(middle)),
                        "distance": float(distance[index]),
                    }
                )
    rows.sort(key=lambda row: -abs(row["distance"]))
    return {"found": len(rows), "rows": rows[:ROWS]}


def _duplicates(store: Store) -> dict[str, Any]:
    """Samples with the same contents, by the checksums that the store keeps of each.

    Equal checksums (32 bits) and event counts are compared value by value for the rows shown.
    """
    crc = "events_crc" if store.kind == "events" else "frames_crc"
    keys, kept = [], {}
    for name in store.splits:
        split = store[name]
        counts = split.ledger["binned"]
        kept[name] = filled = np.flatnonzero(counts > 0)
        keys.append(np.stack([split.column(crc)[filled].astype(np.int64), counts[filled]], axis=1))
    where = _Place(kept)
    every = np.concatenate([*keys, np.zeros((0, 2), np.int64)])
    _, group, size = np.unique(every, axis=0, return_inverse=True, return_counts=True)
    group = group.ravel()  # NumPy 2.0.0 gives a column
    order = np.argsort(group, kind="stable")
    repeated = order[size[group[order]] > 1]
    groups = np.split(repeated, np.flatnonzero(np.diff(group[repeated])) + 1)
    rows: list[dict[str, Any]] = []
    across = within = 0
    for members in groups if len(repeated) else []:
        samples = [where(index) for index in members.tolist()]
        splits = {split for split, _ in samples}
        across += len(splits) > 1
        within += len(splits) == 1
        if len(rows) < ROWS:
            labels = {stores.class_of(store, int(store[s].labels[n])) for s, n in samples}
            same = all(_same(store, samples[0], other) for other in samples[1:4])
            rows.append(
                {
                    "samples": [f"{split} {number}" for split, number in samples[:8]],
                    "more": max(0, len(samples) - 8),
                    "classes": sorted(labels),
                    "across": len(splits) > 1,
                    "same": same,
                }
            )
    rows.sort(key=lambda row: not row["across"])
    return {"across": across, "within": within, "rows": rows, "shared": _shared(store)}


def _same(store: Store, one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether two samples hold the same values."""
    if store.kind != "events":
        first, second = (store[split].read([number])[0] for split, number in (one, other))
        return np.array_equal(first, second)
    parts = zip(*(_parts(store[split], number) for split, number in (one, other)), strict=True)
    return all(a == b for a, b in parts)


def _shared(store: Store) -> int:
    """How many source files give samples to more than one split."""
    per_split = [set(np.unique(split.column("source")).tolist()) for split in store.values()]
    seen: set[int] = set()
    shared: set[int] = set()
    for found in per_split:
        shared |= seen & found
        seen |= found
    return len(shared)


def _provenance(store: Store) -> dict[str, Any]:
    record = store.attributes
    files = sources(store)
    return {
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        "plan digest": record["plan_digest"],
        "store digest": record["digest"],
        **{f"split {name}": entry["sha256"] for name, entry in record["splits"].items()},
        **{f"made from {p['name']}": p["digest"] for p in record.get("parents", [])},
        "sources": f"{len(files):,} files, {sum(f['bytes'] for f in files) / 1e6:,.1f} MB",
    }
