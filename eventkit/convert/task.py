"""The work of one shard: read, cut, sort, transform, represent, compress, write. A pure function.

It runs in a thread, in a process or on another machine; what it returns is small, and running it
twice writes the same bytes twice.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventkit import formats
from eventkit.convert.plan import MAX_EVENTS, Job
from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats import Report
from eventkit.layouts import Sample
from eventkit.representations import (
    REPRESENTATIONS,
    Whole,
    accumulate,
    allocate,
    empty_bins,
)
from eventkit.store import shard_name
from eventkit.store.building import write_file
from eventkit.store.shard import crc32c, file_crc32c, pack
from eventkit.transforms import Step, begin


class _Room(threading.local):
    """Memory that the samples of one thread share: fresh memory costs more than the work in it."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.array: np.ndarray = np.empty(0)


_room = _Room()


@dataclass
class Converted:
    """A sample on its way: its array, and the ledger of its events."""

    array: np.ndarray
    row: dict[str, int]


def produce(job: Job) -> dict[str, Any]:
    """Write the files of one shard and say what is in them.

    The answer is JSON: `files` (name -> bytes and crc32c), `rows` (one list per column, one entry
    per sample), `sources` (name -> crc32c of the files read whole) and `notes` (what was odd).
    """
    rows: dict[str, list[int]] = {}
    sources: dict[str, int] = {}
    notes: list[str] = []
    blocks: dict[int, dict[int, bytes]] = {}  # time block -> chunk -> encoded
    k, step = job.grid.chunk
    for first in range(0, len(job.samples), k):
        arrays = []
        for sample in job.samples[first : first + k]:
            report = Report()
            made = convert_sample(job, sample, report)
            arrays.append(made.array)
            for name, value in made.row.items():
                rows.setdefault(name, []).append(value)
            if sample.source not in sources:
                crc = report.crc32c
                sources[sample.source] = (
                    file_crc32c(Path(job.root, sample.source)) if crc is None else crc
                )
            notes += [*report.notes, *_outside(sample, report)]
        for block, data in _chunks(arrays, k, step):
            encoded = job.codec.encode(np.ascontiguousarray(data))
            blocks.setdefault(block, {})[first // k] = encoded
    files = _write(job, blocks)
    return {"files": files, "rows": rows, "sources": sources, "notes": notes}


def _outside(sample: Sample, report: Report) -> list[str]:
    """A sentence if a hundredth or more of the sample's window lies outside its recording."""
    if sample.start is None or sample.stop is None or report.span is None:
        return []
    first, last = report.span
    outside = max(first - sample.start, 0) + max(sample.stop - 1 - last, 0)
    if outside * 100 < sample.stop - sample.start or sample.stop <= sample.start:
        return []
    window = f"{sample.source}: window {sample.start}..{sample.stop} µs"
    return [f"{window} reaches outside the recording, which is {first}..{last} µs"]


def convert_sample(job: Job, sample: Sample, report: Report | None = None) -> Converted:
    """One sample from its recording to its array; `report` is what the reader met."""
    report = report if report is not None else Report()
    path = Path(job.root, sample.source)
    try:
        parts = _read(job, sample, report)
        events = next(parts)
        if next(parts, None) is None:
            made = _in_memory(job, events)
        else:
            del events, parts  # a hundred megabytes
            report.counts.clear()
            report.notes.clear()
            made = _in_chunks(job, lambda into: _read(job, sample, into), report, path)
    except OptionError as error:
        window = "" if sample.start is None else f", {sample.start} <= t < {sample.stop}"
        raise OptionError(f"{path}{window}: {error}") from None
    invalid = report.counts["invalid"]
    made.row["ledger/read"] += invalid
    made.row["ledger/invalid"] = invalid
    made.row["frames_crc"] = crc32c(made.array.data)
    made.row["n_frames"] = len(made.array)
    made.row["empty_frames"] = int(empty_bins(made.array).sum())
    return made


def _read(job: Job, sample: Sample, report: Report) -> Iterator[Events]:
    path = Path(job.root, sample.source)
    for events in formats.stream(
        path,
        MAX_EVENTS,
        start=sample.start,
        stop=sample.stop,
        format=job.format,
        report=report,
        into=_room.columns,
        **job.reader,
    ):
        if events.size == job.sensor:
            yield events
        elif job.sensor_stated:
            yield Events.trusted(events.t, events.x, events.y, events.p, job.sensor)
        else:
            width, height = events.size
            raise FormatError(
                path,
                None,
                f"is {width}x{height}, the first recording {job.sensor[0]}x{job.sensor[1]}; state "
                "the size of all in a dataset description (TOML)",
            )


def _in_memory(job: Job, events: Events) -> Converted:
    """The usual sample: all its events at once."""
    row = {"ledger/read": len(events), "ledger/backward_steps": events.backward_steps}
    events = _transform(_steps(job), events.sort(), row)
    row["n_events"] = len(events)
    t0, t1 = (int(events.t[0]), int(events.t[-1])) if len(events) else (0, 0)
    whole = Whole(len(events), t0, t1, ordered=True)
    array, placed = _accumulate(job, [events], whole)
    outside = events.out_of_bounds if placed < len(events) else 0
    return Converted(array, _closed(row, whole, placed, outside))


def _in_chunks(
    job: Job, read: Callable[[Report], Iterator[Events]], report: Report, path: Path
) -> Converted:
    """A sample with more events than are held at once: read once to know it, once to bin it."""
    row = {"ledger/read": 0, "ledger/backward_steps": 0}
    n = outside = 0
    t0 = last = None
    t1 = 0
    steps = _steps(job)
    for events in read(report):
        row["ledger/read"] += len(events)
        if not len(events):
            continue
        if events.backward_steps or (last is not None and int(events.t[0]) < last):
            raise FormatError(
                path,
                None,
                f"has more than {MAX_EVENTS:,} events and time goes back in them; such a recording "
                "must be sorted before it is converted",
            )
        last = int(events.t[-1])
        events = _transform(steps, events, row)
        if len(events):
            t0 = int(events.t[0]) if t0 is None else t0
            t1 = int(events.t[-1])
            n += len(events)
            outside += events.out_of_bounds
    row["n_events"] = n
    whole = Whole(n, t0 or 0, t1, ordered=True)
    steps = _steps(job)
    again = (_transform(steps, events, {}) for events in read(Report()))
    array, placed = _accumulate(job, again, whole)
    return Converted(array, _closed(row, whole, placed, outside))


def _steps(job: Job) -> list[tuple[str, Step]]:
    """The transforms of a sample, begun anew."""
    steps = []
    for entry in job.transforms:
        options = {key: value for key, value in entry.items() if key != "name"}
        steps.append((entry["name"], begin(entry["name"], options)))
    return steps


def _transform(steps: list[tuple[str, Step]], events: Events, row: dict[str, int]) -> Events:
    for name, step in steps:
        before = len(events)
        events = step(events)
        dropped = f"ledger/dropped_{name}"
        row[dropped] = row.get(dropped, 0) + before - len(events)
    return events


def _accumulate(job: Job, chunks: Iterable[Events], whole: Whole) -> tuple[np.ndarray, int]:
    options = {key: value for key, value in job.representation.items() if key != "name"}
    entry = REPRESENTATIONS[job.representation["name"]]
    shape = entry.shape(whole, job.size, **options)
    out = None
    if job.grid.chunk[0] == 1:  # encoded before the thread's next sample is made
        if _room.array.shape != shape or _room.array.dtype != entry.dtype:
            _room.array = allocate(entry, whole, job.size, options)
        out = _room.array
    return accumulate(chunks, whole, job.size, entry, options, out)


def _closed(row: dict[str, int], whole: Whole, placed: int, outside: int) -> dict[str, int]:
    """The row with its last entries: where the events that were not dropped went."""
    return {
        **row,
        "t_start": whole.t0,
        "t_end": whole.t1,
        "ledger/out_of_bounds": outside,
        "ledger/unbinned": whole.n - placed - outside,
        "ledger/binned": placed,
    }


def _chunks(arrays: list[np.ndarray], k: int, step: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cut up to k samples into chunks (k, step, C, H, W), padded with zeros."""
    longest = max(len(array) for array in arrays)
    for block, start in enumerate(range(0, longest, step)):
        parts = [array[start : start + step] for array in arrays]
        if k == 1 and len(parts[0]) == step:
            yield block, parts[0]
            continue
        chunk = np.zeros((k, step, *arrays[0].shape[1:]), arrays[0].dtype)
        for row, part in zip(chunk, parts, strict=False):
            row[: len(part)] = part
        yield block, chunk


def _write(job: Job, blocks: dict[int, dict[int, bytes]]) -> dict[str, dict[str, int]]:
    """Pack the encoded chunks into shard files; the names are relative to the tree."""
    (k, step), (per_shard, extent) = job.grid.chunk, job.grid.shard
    columns = extent // step
    files = {}
    for j in sorted({block // columns for block in blocks}):
        chunks = [
            blocks.get(j * columns + column, {}).get(row)
            for row in range(per_shard // k)
            for column in range(columns)
        ]
        data = pack(chunks)
        path = Path(job.folder, shard_name(job.number, j, 5))
        write_file(path, data)
        name = "/".join(path.parts[-3:])  # <split>/<array>/<shard>
        files[name] = {"bytes": len(data), "crc": crc32c(data)}
    return files
