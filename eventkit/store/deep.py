"""Does what a store holds make sense? Everything decoded, against its checksums and its ledger.

The checksums of files say that nothing changed since it was written. This says that what was
written is whole and consistent: every sample decodes to the bytes that were made of it, its counts
are those of its ledger, what is no sample is zero, labels are classes, splits are those hashed.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import numpy as np

from eventkit.errors import StoreDamaged, StoreError
from eventkit.store import Split, Store, metadata
from eventkit.store.ragged import Digest
from eventkit.store.sharded import Sharded
from eventkit.store.verify import Problem

Unit = Callable[[], list[Problem]]


def examine_contents(
    store: Store, damaged: set[str], workers: int
) -> Iterator[tuple[int, list[Problem]]]:
    """Bytes done and what was found, shard row by shard row; files `damaged` are left out."""
    yield 0, list(_plan(store, damaged))
    units: list[tuple[int, Unit]] = []
    for split in store:
        parts = {f"{split}/{name}/{file}" for name in store[split].columns for file in _SMALL}
        parts |= {f"{split}/events/chunk_t/{file}" for file in _SMALL}
        if parts & damaged:
            yield 0, []  # said before; without its columns nothing can be compared
            continue
        try:
            yield 0, list(_columns(store, split))
            units += _units(store, split, damaged)
        except (StoreError, KeyError) as error:
            yield 0, [Problem(split, str(error))]
    with ThreadPoolExecutor(workers) as pool:
        # As bounded as the number of shards: the answers are a few sentences.
        yield from pool.map(lambda unit: (unit[0], unit[1]()), units)


_SMALL = ("c.0", "zarr.json")


def _plan(store: Store, damaged: set[str]) -> Iterator[Problem]:
    """The plan and the sources are those of the digests."""
    attributes = store.attributes
    if metadata.plan_digest(attributes["plan"]) != attributes["plan_digest"]:
        yield Problem("zarr.json", "its plan_digest is not that of its plan")
    copied = not any(name.startswith(metadata.COPY) for name in damaged)
    if copied and bytes(store.small(metadata.COPY)) != bytes(metadata.copy_of(attributes)):
        yield Problem(metadata.COPY, "is no copy of the root's attributes")
    if any(name.startswith("sources/") for name in damaged):
        return
    names = bytes(store.small("sources/names")).decode(errors="replace").split("\n")
    sizes = store.small("sources/bytes").tolist()
    if len(names) != len(sizes) or len(store.small("sources/crc32c")) != len(sizes):
        yield Problem("sources", f"has {len(names)} names and {len(sizes)} sizes")
    elif metadata.digest(sorted(zip(names, sizes, strict=True))) != attributes["plan"]["sources"]:
        yield Problem("sources", "names and sizes are not those of the plan")


def _columns(store: Store, split: str) -> Iterator[Problem]:
    """Labels, ledger and split hash."""
    part, ledger = store[split], store[split].ledger
    labels, source = part.labels, part.column("source")
    n_sources = len(store.small("sources/bytes"))
    lowest = 0 if store.classes else -1  # of recordings without classes
    if (wrong := (labels < lowest) | (labels >= len(store.classes))).any():
        where = int(wrong.argmax())
        text = f"sample {where} has label {labels[where]}, expected 0..{len(store.classes) - 1}"
        yield Problem(f"{split}/labels", text)
    if (wrong := (source < 0) | (source >= n_sources)).any():
        text = f"sample {int(wrong.argmax())} is of source {source[wrong.argmax()]} of {n_sources}"
        yield Problem(f"{split}/source", text)
    elif metadata.split_digest(split_rows(store, split)) != _entry(store, split)["sha256"]:
        yield Problem(split, "the samples (source, window, label) are not those of its sha256")
    placed = ledger["out_of_bounds"] + ledger["unbinned"] + ledger["binned"]
    dropped = [column for name, column in ledger.items() if name.startswith("dropped_")]
    for name, left, right in (
        ("ledger", ledger["read"], ledger["invalid"] + sum(dropped) + placed),
        ("n_events", part.column("n_events"), placed),
    ):
        if (left != right).any():
            where = int((left != right).argmax())
            text = f"sample {where} has {left[where]:,} events, accounted for are {right[where]:,}"
            yield Problem(f"{split}/{name}", text)
    if (part.column("t_start") > part.column("t_end")).any():
        yield Problem(f"{split}/t_end", "a sample ends before it begins")
    for name in part.columns:
        names = store.nodes[f"{split}/{name}"]["attributes"].get("names")
        if names is not None and not _within(part.column(name), len(names)):
            yield Problem(f"{split}/{name}", f"has values outside its {len(names)} names")


def _entry(store: Store, split: str) -> dict[str, object]:
    entry: dict[str, object] = store.attributes["splits"][split]
    return entry


def split_rows(store: Store, split: str) -> list[tuple[object, ...]]:
    """Source, start, stop and label of each sample, of which the split's sha256 is made."""
    part = store[split]
    names = bytes(store.small("sources/names")).decode(errors="replace").split("\n")
    sources = [names[number] for number in part.column("source").tolist()]
    limits: list[list[int | None]] = []
    for name in ("window_start", "window_stop"):
        if name in part.columns:
            times = part.column(name).tolist()
            limits.append([None if time == metadata.NO_LIMIT else time for time in times])
        else:
            limits.append([None] * len(part))
    return list(zip(sources, *limits, part.labels.tolist(), strict=True))


def _within(column: np.ndarray, n: int) -> bool:
    return not len(column) or (int(column.min()) >= 0 and int(column.max()) < n)


def _units(store: Store, split: str, damaged: set[str]) -> list[tuple[int, Unit]]:
    """One unit of work for each row of shards of which every file is as it was written."""
    part = store[split]
    arrays = Sharded.of(store, split)
    sizes = {name: size for array in arrays for name, size, _ in array.sums(store)}
    present = set(sizes)
    units: list[tuple[int, Unit]] = []
    if part.kind != "events":
        (array,) = arrays
        if not _within(part.n_frames, array.shape[1] + 1):
            return [(0, lambda: [Problem(f"{split}/n_frames", "is not within the array")])]
    for row in range(arrays[0].rows):
        files = {a.file(row * a.columns + j) for a in arrays for j in range(a.columns)}
        if files & damaged:
            continue
        work = sum(sizes.get(file, 0) for file in files)
        units.append((work, _unit(store, part, arrays, row, present)))
    return units


def _unit(store: Store, part: Split, arrays: list[Sharded], row: int, present: set[str]) -> Unit:
    check = _check_events if part.kind == "events" else _check_dense

    def run() -> list[Problem]:
        try:
            return list(check(store, part, arrays, row, present))
        except (StoreDamaged, OSError) as error:
            return [Problem(f"{arrays[0].name}, shard row {row}", str(error))]

    return run


def _check_dense(
    store: Store, part: Split, arrays: list[Sharded], row: int, present: set[str]
) -> Iterator[Problem]:
    """Every sample of a row of shards: its checksum, its sum, and zeros where nothing is."""
    (array,) = arrays
    k, step = array.chunk[:2]
    counted = part.kind == "frames" and array.dtype.kind in "iu"
    expected, binned = part.column("frames_crc"), part.ledger["binned"]
    chunk = np.empty(array.chunk, array.dtype)
    shards = _Shards(store, array, present)
    for group in range(row * array.per_axis[0], (row + 1) * array.per_axis[0]):
        samples = range(min(group * k, len(part)), min((group + 1) * k, len(part)))
        lengths = part.n_frames[samples.start : samples.stop].tolist()
        crcs, sums = [0] * len(samples), [0] * len(samples)
        for block in range(array.columns * array.per_axis[1]):
            first = block * step
            if not shards.read(group, block, chunk, wanted=first < max(lengths, default=0)):
                continue
            for place, n in enumerate(lengths):
                frames = chunk[place, : max(0, min(n - first, step))]
                crcs[place] = google_crc32c.extend(crcs[place], frames)
                sums[place] += int(frames.sum(dtype=np.int64)) if counted else 0
                if chunk[place, len(frames) :].any():
                    yield Problem(
                        array.name, f"sample {samples[place]} goes on after its last frame"
                    )
            if chunk[len(samples) :].any():
                yield Problem(array.name, f"chunk {group} goes on after the last sample")
        for place, index in enumerate(samples):
            if crcs[place] != expected[index]:
                text = (
                    f"sample {index} decodes to {crcs[place]:08x}, expected {expected[index]:08x}"
                )
                yield Problem(array.name, text)
            elif counted and sums[place] != binned[index]:
                text = f"sample {index} holds {sums[place]:,} events, its ledger {binned[index]:,}"
                yield Problem(array.name, text)
    yield from shards.problems


def _check_events(
    store: Store, part: Split, arrays: list[Sharded], row: int, present: set[str]
) -> Iterator[Problem]:
    """Every sample of a segment: its checksum, its order, and zeros where nothing is."""
    ragged = part.ragged
    used = 0
    for index in np.flatnonzero(ragged.segments == row).tolist():
        yield from _check_sample(part, index)
        used = max(used, -(-int(ragged.starts[index] + ragged.counts[index]) // ragged.chunk))
    ends = {
        int(ragged.starts[i] + ragged.counts[i])
        for i in np.flatnonzero(ragged.segments == row)
        if ragged.counts[i] % ragged.chunk
    }
    for array in arrays:
        shards = _Shards(store, array, present)
        packed = 8 if array.name.endswith("/p") else 1
        chunk = np.empty(array.chunk, array.dtype)
        for end in sorted(ends):
            number, rest = divmod(end, ragged.chunk)
            shards.read(row, number, chunk, wanted=True)
            bits = np.unpackbits(chunk, bitorder="little") if packed == 8 else chunk[0]
            if bits.reshape(-1)[rest:].any():
                yield Problem(array.name, f"segment {row} goes on after the last event of a sample")
        for number in range(used, array.columns * array.per_axis[1]):
            shards.read(row, number, chunk, wanted=False)
        yield from shards.problems


def _check_sample(part: Split, index: int) -> Iterator[Problem]:
    name = f"{part.name}/events"
    digest, last, sound, span = Digest(), None, True, []
    width, height = part.size
    for events in part.ragged.parts(index):
        digest.add(events)
        steps = np.diff(events.t, prepend=events.t[0] if last is None else last)
        last = events.t[-1]
        span += [int(events.t[0]), int(events.t[-1])]
        span = [span[0], span[-1]]
        sound &= bool((steps >= 0).all() and (events.x < width).all() and (events.y < height).all())
    expected = int(part.column("events_crc")[index])
    count = int(part.column("count")[index])
    if digest.value != expected:
        yield Problem(
            name, f"sample {index} decodes to {digest.value:08x}, expected {expected:08x}"
        )
    if not sound:
        yield Problem(name, f"sample {index} has events out of order or outside the sensor")
    limits = [int(part.column("t_start")[index]), int(part.column("t_end")[index])]
    if span and span != limits:
        yield Problem(name, f"sample {index} is {span[0]}..{span[1]} µs, expected {limits}")
    if count != part.ledger["binned"][index]:
        binned = int(part.ledger["binned"][index])
        yield Problem(name, f"sample {index} holds {count:,} events, its ledger {binned:,}")


class _Shards:
    """The shards of one array, the last one kept open, and chunks too many or too few in them."""

    def __init__(self, store: Store, array: Sharded, present: set[str]) -> None:
        self.store, self.array = store, array
        self.problems: list[Problem] = []
        self._number = -1
        self._present = present

    def read(self, i: int, j: int, out: np.ndarray, *, wanted: bool) -> bool:
        """Decode a chunk if it is there; whether it is there and should be."""
        number, place = self.array.place(i, j)
        there = self.array.file(number) in self._present
        if there and number != self._number:
            self._shard, self._number = self.array.open(self.store, number), number
        there = there and self._shard.has(place)
        if there != wanted:
            text = f"chunk {i}, {j} is {'there' if there else 'absent'}, expected the contrary"
            self.problems.append(Problem(self.array.name, text))
        return wanted and there and self._shard.read(place, out)
