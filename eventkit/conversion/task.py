"""The work of one shard: read, cut, sort, transform, represent, compress, write. A pure function.

It runs in a thread, in a process or on another machine; what it returns is small, and running it
twice writes the same bytes twice.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

from eventkit import formats
from eventkit.conversion.dense import DenseWriter
from eventkit.conversion.functions import begin
from eventkit.conversion.plan import MAX_EVENTS, Job, named
from eventkit.conversion.ragged import RaggedWriter
from eventkit.conversion.raised import RaisedTimes
from eventkit.conversion.sorting import sorted_on_disk
from eventkit.conversion.targets import Passed, TargetFiles, TargetWriter
from eventkit.conversion.times import span
from eventkit.errors import EventkitError, FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats import Report
from eventkit.layouts import Sample
from eventkit.representations import MAX_TIME
from eventkit.store.shard import file_crc32c
from eventkit.store.storage import at
from eventkit.transforms import Step


class _Buffers(threading.local):
    """Memory that the samples of one thread share: fresh memory costs more than the work in it."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.raised: tuple[Any, RaisedTimes] | None = None  # the recording that is open


_buffers = _Buffers()
Writer = DenseWriter | RaggedWriter


def writer(job: Job) -> Writer:
    """What takes the samples of a job and writes its files."""
    return RaggedWriter(job) if job.representation["name"] == "events" else DenseWriter(job)


def produce(job: Job, every_failure: bool = False) -> dict[str, Any]:
    """Write the files of one job and say what is in them.

    The answer is JSON: `files` (name -> bytes and crc32), `rows` (one list per column, one entry
    per sample), `sources` (name -> crc32c of the files read whole), `stats` (name -> what tells
    whether such a file was changed since), `notes` (what was odd) and, of an events store,
    `chunk_t`; of windows that a user chose also `outside` (source -> how many of them have no event
    because they lie before the recording or after it, and its first and last time), and
    of samples with boxes or the like `targets`.
    With `every_failure`, the samples after one that is damaged are tried too, and the
    answer is `failed` alone: the name of each such sample, and what is wrong with it.
    """
    rows: dict[str, list[int]] = {}
    sources: dict[str, int] = {}
    stats: dict[str, list[int]] = {}
    notes: list[str] = []
    failed: dict[str, str] = {}
    outside: dict[str, list[int]] = {}
    into, targets = writer(job), target_writer(job)
    for sample in job.samples:
        report = Report()
        try:
            path = Path(job.root, sample.source)
            found = {name: stat_of(Path(job.root, name)) for name in _files(job, sample)}
            row = convert_sample(job, sample, into, report, targets)
            if sample.source not in sources:
                sources[sample.source] = _sum(path) if report.crc32c is None else report.crc32c
            for name, stat in found.items():
                if not stat == stats.setdefault(name, stat) == stat_of(Path(job.root, name)):
                    raise FormatError(
                        Path(job.root, name), None, "changed while it was being converted"
                    )
                if name not in sources:
                    sources[name] = _sum(Path(job.root, name))
        except (FormatError, OptionError) as error:
            if not every_failure:
                raise
            failed[named(sample)] = str(error).replace(f"{job.root}{os.sep}", "")
            continue
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
        notes += [*report.notes, *_damage(job, sample, report)]
        if job.cut:
            _count_outside(job, sample, row, report, outside)
        else:
            notes += _outside(sample, report)
    if failed:
        return {"failed": failed}
    made = {**into.finish(), "rows": rows, "sources": sources, "stats": stats, "notes": notes}
    if targets is not None:
        made["targets"] = targets.finish()
    return {**made, "outside": outside} if outside else made


def target_writer(job: Job) -> TargetWriter | None:
    """What takes the targets of the samples of a job, if it has any."""
    if job.targets is None:
        return None
    reader = {"format": job.format, **job.reader, "strict": not job.tolerant}
    files = TargetFiles(job.targets, Path(job.root), reader, job.sensor)
    return TargetWriter(job.targets, files, job.sensor)


def _files(job: Job, sample: Sample) -> list[str]:
    """The files that a sample is made of: its recording, and those of its targets."""
    if job.targets is None:
        return [sample.source]
    named = job.targets.names(Path(job.root), [sample.source])
    return [sample.source, *(name for names in named.values() for name in names)]


def stat_of(path: Path) -> list[int]:
    """Size, time and inode of a recording: they differ when it is written again."""
    with _of(path):
        found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _sum(path: Path) -> int:
    with _of(path):
        return file_crc32c(path)


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """Say of a recording that the system cannot read its name, and why, as a FormatError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, EventkitError):
            raise
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from None


def _damage(job: Job, sample: Sample, report: Report) -> list[str]:
    """A sentence on what a tolerant reader left out, if anything."""
    words = ("damaged", "skipped", "missing", "trailing")
    left = [f"{n:,} {name}" for name, n in report.counts.items() if name.startswith(words) and n]
    if not left or not job.tolerant:
        return []
    return [f"{sample.source}: is damaged; taken is what is sound, without {', '.join(left)}"]


def _outside(sample: Sample, report: Report) -> list[str]:
    """A sentence if a hundredth or more of the sample's window lies outside its recording."""
    if sample.start is None or sample.stop is None or report.span is None:
        return []
    if sample.by == "events":
        return []
    first, last = report.span
    outside = max(first - sample.start, 0) + max(sample.stop - 1 - last, 0)
    if outside * 100 < sample.stop - sample.start or sample.stop <= sample.start:
        return []
    window = f"{sample.source}: window {sample.start}..{sample.stop} µs"
    return [f"{window} reaches outside the recording, which is {first}..{last} µs"]


def _count_outside(
    job: Job, sample: Sample, row: dict[str, int], report: Report, outside: dict[str, list[int]]
) -> None:
    """Count a window without events that lies before its recording or after it.

    The recording is gone through for its ends once in a job, where the reader does not know them.
    """
    if row["ledger/read"] or sample.start is None or sample.stop is None:
        return
    name = (
        sample.source if sample.recording is None else named(replace(sample, start=None, stop=None))
    )
    if name not in outside:
        ends = report.span or span(
            Path(job.root, sample.source), job.format, {**_options(job, sample), "strict": False}
        )
        outside[name] = [0, *(ends or (-MAX_TIME, MAX_TIME))]  # without events there is no outside
    count = outside[name]
    count[0] += sample.stop <= count[1] or sample.start > count[2]


def _options(job: Job, sample: Sample) -> dict[str, Any]:
    """Options for the reader of a recording."""
    which = {} if sample.recording is None else {"recording": sample.recording}
    return {**job.reader, **which}


def convert_sample(
    job: Job,
    sample: Sample,
    into: Writer,
    report: Report | None = None,
    targets: TargetWriter | None = None,
) -> dict[str, int]:
    """One sample from its recording to the writer; its row, and in `report` what was met.

    Its boxes and the like go to `targets`.

    The usual sample is in memory once. One with more than MAX_EVENTS events comes in chunks, as
    often as the writer must go through it.
    """
    report = report if report is not None else Report()
    path = Path(job.root, sample.source)
    row = {"ledger/read": 0, "ledger/backward_steps": 0}
    passed = Passed()
    try:
        parts = _read(job, sample, report)
        events = next(parts)
        if next(parts, None) is None:
            row = {"ledger/read": len(events), "ledger/backward_steps": events.backward_steps}
            events = events.sort()
            passed.begin(_steps(job))
            passed.see(events.t)
            events = _transform(passed.steps, events, row)
            made = into.add(lambda: [events])
        else:
            del events, parts  # a hundred megabytes
            report.counts.clear()
            report.notes.clear()
            made = _long(job, sample, into, report, row, passed)
        if targets is not None:
            made |= targets.add(sample, passed)
    except OptionError as error:
        window = "" if sample.start is None else f", {sample.start} <= t < {sample.stop}"
        raise OptionError(f"{path}{window}: {error}") from None
    invalid = report.counts["invalid"]
    row["ledger/read"] += invalid
    row["ledger/invalid"] = invalid
    return {**row, **made}


def _read(job: Job, sample: Sample, report: Report) -> Iterator[Events]:
    path = Path(job.root, sample.source)
    which: dict[str, Any] = {}
    raised = sample.by == "time" and job.targets is not None and job.targets.raised
    if sample.by == "time" and (sample.start is not None or sample.stop is not None):
        which["clock"] = sample.start, sample.stop
    with _of(path):
        if raised:
            read = iter([_raised(job, sample, path)])
        else:
            read = formats.stream(
                path,
                MAX_EVENTS,
                format=job.format,
                report=report,
                into=_buffers.columns,
                strict=not job.tolerant,
                **_options(job, sample),
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
                    f"is {width}x{height}, the first recording {job.sensor[0]}x{job.sensor[1]}",
                    "state the size of all, as {size:346x260}",
                )


def _numbered(path: Path, chunks: Iterator[Events], sample: Sample) -> Iterator[Events]:
    """The events of a sample that is given by their numbers; at least one, maybe empty, chunk.

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


def _raised(job: Job, sample: Sample, path: Path) -> Events:
    """The events of a window of such a recording, which the thread keeps open for the next."""
    options = {**_options(job, sample), "strict": not job.tolerant, **_guessed(job, path)}
    key = (path, stat_of(path), job.format, sorted(options.items()))
    known = _buffers.raised
    begin = -MAX_TIME if sample.start is None else sample.start
    if known is None or known[0] != key or not known[1].reaches(begin):
        report = Report(checksum=False)
        chunks = formats.stream(path, 1 << 18, format=job.format, report=report, **options)
        known = key, RaisedTimes(iter(chunks), job.sensor)
    _buffers.raised = known
    return known[1].window(sample.start, sample.stop)


def _guessed(job: Job, path: Path) -> dict[str, Any]:
    """What the reader of a file can be told: the threads to spare, the sensor that is stated."""
    told: dict[str, Any] = {"threads": job.threads} if job.threads > 1 else {}
    if job.format is None and job.sensor_stated:
        told["size"] = job.sensor
    if not told:
        return {}
    fmt = formats.FORMATS[job.format] if job.format else formats.guess(path)
    own = {key: told[key] for key in told if key in signature(fmt.stream).parameters}
    return own if fmt.threads else {key: own[key] for key in own if key != "threads"}


class _OutOfOrder(Exception):
    """Time goes back within a long sample."""


def _long(
    job: Job,
    sample: Sample,
    into: Writer,
    report: Report,
    row: dict[str, int],
    passed: Passed,
) -> dict[str, int]:
    """A sample that is not held at once, in chunks; what the writer says of it.

    Its first time through fills `report` and `row`. Where time goes back, be it only once, it
    starts again with events sorted on the disk.
    """
    before = into.mark()
    ledgers = iter([(report, row)])
    try:
        return into.add(
            lambda: _in_order(job, sample, passed, *next(ledgers, (Report(checksum=False), {})))
        )
    except _OutOfOrder:
        into.undo(before)
    for record in (report.counts, report.notes, row):
        record.clear()
    folder = at(job.folder)
    with sorted_on_disk(
        _read(job, sample, report), folder if isinstance(folder, Path) else None
    ) as events:
        row |= {"ledger/read": events.n, "ledger/backward_steps": events.backward_steps}
        rows = iter([row])
        return into.add(
            lambda: _transformed(job, events.chunks(MAX_EVENTS), next(rows, {}), passed)
        )


def _in_order(
    job: Job, sample: Sample, passed: Passed, report: Report, row: dict[str, int]
) -> Iterator[Events]:
    """The events of a long sample in chunks, transformed; _OutOfOrder where time goes back."""

    def read() -> Iterator[Events]:
        last = None
        for events in _read(job, sample, report):
            row["ledger/read"] = row.get("ledger/read", 0) + len(events)
            if not len(events):
                continue
            if events.backward_steps or (last is not None and int(events.t[0]) < last):
                raise _OutOfOrder
            last = int(events.t[-1])
            yield events

    return _transformed(job, read(), row, passed)


def _transformed(
    job: Job, chunks: Iterable[Events], row: dict[str, int], passed: Passed
) -> Iterator[Events]:
    """Chunks of one sample after its transforms, from their initial state."""
    steps = _steps(job)
    passed.begin(steps)
    for events in chunks:
        passed.see(events.t)
        yield _transform(steps, events, row)


def _steps(job: Job) -> list[tuple[str, Step]]:
    """The transforms of a sample, in their initial state."""
    steps = []
    for entry in job.transforms:
        options = {key: value for key, value in entry.items() if key != "name"}
        steps.append((entry["name"], begin(entry["name"], options)))
    return steps


def _transform(steps: Sequence[tuple[str, Step]], events: Events, row: dict[str, int]) -> Events:
    for name, step in steps:
        before = len(events)
        events = step(events)
        dropped = f"ledger/dropped_{name}"
        row[dropped] = row.get(dropped, 0) + before - len(events)
    return events
