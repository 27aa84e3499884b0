"""The work of one shard: read, cut, sort, transform, represent, compress, write. A pure function.

It runs in a thread, in a process or on another machine; what it returns is small, and running it
twice writes the same bytes twice.
"""

import threading
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

from eventkit import formats
from eventkit.convert.dense import DenseWriter
from eventkit.convert.plan import MAX_EVENTS, Job
from eventkit.convert.ragged import RaggedWriter
from eventkit.errors import EventkitError, FormatError, OptionError, PartlyDone
from eventkit.events import Columns, Events
from eventkit.formats import Report
from eventkit.layouts import Sample
from eventkit.store.shard import file_crc32c
from eventkit.transforms import Step, begin


class _Room(threading.local):
    """Memory that the samples of one thread share: fresh memory costs more than the work in it."""

    def __init__(self) -> None:
        self.columns = Columns()


_room = _Room()
Writer = DenseWriter | RaggedWriter


def writer(job: Job) -> Writer:
    """What takes the samples of a job and writes its files."""
    return RaggedWriter(job) if job.representation["name"] == "events" else DenseWriter(job)


def produce(job: Job, every_failure: bool = False) -> dict[str, Any]:
    """Write the files of one job and say what is in them.

    The answer is JSON: `files` (name -> bytes and crc32), `rows` (one list per column, one entry
    per sample), `sources` (name -> crc32c of the files read whole), `notes` (what was odd) and, of
    an events store, `chunk_t`. With `every_failure`, the samples after one that fails are tried
    too, and PartlyDone says what is wrong with each.
    """
    rows: dict[str, list[int]] = {}
    sources: dict[str, int] = {}
    notes: list[str] = []
    failed: list[str] = []
    into = writer(job)
    for sample in job.samples:
        report = Report()
        try:
            row = convert_sample(job, sample, into, report)
        except EventkitError as error:
            if not every_failure:
                raise
            failed.append(str(error))
            continue
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
        if sample.source not in sources:
            crc = report.crc32c
            sources[sample.source] = (
                file_crc32c(Path(job.root, sample.source)) if crc is None else crc
            )
        notes += [*report.notes, *_outside(sample, report)]
    if failed:
        raise PartlyDone(f"{len(failed)} of {len(job.samples)} samples failed", failed)
    return {**into.finish(), "rows": rows, "sources": sources, "notes": notes}


def _outside(sample: Sample, report: Report) -> list[str]:
    """A sentence if a hundredth or more of the sample's window lies outside its recording."""
    if sample.by == "events":
        return []
    if sample.start is None or sample.stop is None or report.span is None:
        return []
    first, last = report.span
    outside = max(first - sample.start, 0) + max(sample.stop - 1 - last, 0)
    if outside * 100 < sample.stop - sample.start or sample.stop <= sample.start:
        return []
    window = f"{sample.source}: window {sample.start}..{sample.stop} µs"
    return [f"{window} reaches outside the recording, which is {first}..{last} µs"]


def convert_sample(
    job: Job, sample: Sample, into: Writer, report: Report | None = None
) -> dict[str, int]:
    """One sample from its recording to the writer; its row, and in `report` what was met.

    The usual sample is in memory once. One with more than MAX_EVENTS events comes in chunks, as
    often as the writer must go through it.
    """
    report = report if report is not None else Report()
    path = Path(job.root, sample.source)
    row = {"ledger/read": 0, "ledger/backward_steps": 0}
    try:
        parts = _read(job, sample, report)
        events = next(parts)
        if next(parts, None) is None:
            row = {"ledger/read": len(events), "ledger/backward_steps": events.backward_steps}
            events = _transform(_steps(job), events.sort(), row)
            made = into.add(lambda: [events])
        else:
            del events, parts  # a hundred megabytes
            report.counts.clear()
            report.notes.clear()
            ledgers = iter([(report, row)])  # the first time through counts
            made = into.add(
                lambda: _in_order(job, sample, *next(ledgers, (Report(checksum=False), {})))
            )
    except OptionError as error:
        window = "" if sample.start is None else f", {sample.start} <= t < {sample.stop}"
        raise OptionError(f"{path}{window}: {error}") from None
    invalid = report.counts["invalid"]
    row["ledger/read"] += invalid
    row["ledger/invalid"] = invalid
    return {**row, **made}


def _read(job: Job, sample: Sample, report: Report) -> Iterator[Events]:
    path = Path(job.root, sample.source)
    which: dict[str, Any] = {} if sample.recording is None else {"recording": sample.recording}
    if sample.by == "time":
        which |= {"start": sample.start, "stop": sample.stop}
    read = formats.stream(
        path,
        MAX_EVENTS,
        format=job.format,
        report=report,
        into=_room.columns,
        **job.reader,
        **which,
        **_guessed(job, path),
    )
    for events in read if sample.by == "time" else _numbered(path, read, sample):
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


def _numbered(path: Path, chunks: Iterator[Events], sample: Sample) -> Iterator[Events]:
    """The events of a sample that is told by their numbers; at least one, maybe empty, chunk.

    FormatError where the recording has fewer. It is read to its end: what is damaged is seen.
    """
    start, stop = sample.start or 0, sample.stop
    done, given = 0, False
    for events in chunks:
        first = max(start - done, 0)
        last = len(events) if stop is None else min(len(events), stop - done)
        done += len(events)
        if first < last:
            given = True
            yield events[first:last]
    if stop is not None and done < stop:
        reason = f"has {done:,} events, but a sample is its events {start:,} to {stop:,}"
        raise FormatError(path, None, f"{reason}; it is cut off or of another version")
    if not given:
        yield events[:0]


def _guessed(job: Job, path: Path) -> dict[str, Any]:
    """What the reader of a file can be told: the threads to spare, the sensor that is stated."""
    told: dict[str, Any] = {"threads": job.threads} if job.threads > 1 else {}
    if job.format is None and job.sensor_stated:
        told["size"] = "{}x{}".format(*job.sensor)
    if not told:
        return {}
    fmt = formats.FORMATS[job.format] if job.format else formats.guess(path)
    return {key: told[key] for key in told if key in signature(fmt.stream).parameters}


def _in_order(job: Job, sample: Sample, report: Report, row: dict[str, int]) -> Iterator[Events]:
    """The events of a long sample in chunks, transformed; FormatError where time goes back."""
    last = None
    steps = _steps(job)
    for events in _read(job, sample, report):
        row["ledger/read"] = row.get("ledger/read", 0) + len(events)
        if not len(events):
            continue
        if events.backward_steps or (last is not None and int(events.t[0]) < last):
            raise FormatError(
                Path(job.root, sample.source),
                None,
                f"has more than {MAX_EVENTS:,} events and time goes back in them; such a recording "
                "must be sorted before it is converted",
            )
        last = int(events.t[-1])
        yield _transform(steps, events, row)


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
