"""Which samples a conversion makes: those of the dataset, or windows of its recordings.

A window belongs to a sample of the dataset (a recording, or a part of one), whose split, label and
columns it keeps.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from eventkit import formats, layouts
from eventkit._platform import cpus
from eventkit.conversion import times
from eventkit.conversion.activity import Activity, Pair, by_count
from eventkit.conversion.chosen import NOTHING, Chosen
from eventkit.conversion.targets import TargetFiles, TargetPlan
from eventkit.datasets import Dataset
from eventkit.errors import FormatError, OptionError
from eventkit.layouts import Listing, Sample
from eventkit.windowing import (
    BETWEEN,
    MOST,
    SIDES,
    Side,
    around,
    backward,
    following,
    overlapping,
    parse_length,
    parse_sliding,
)

NAMES = ("labels", "frames")  # of times that come with the recordings
FEW = 100_000  # windows of a recording that are made, however few events it has


@dataclass(frozen=True)
class WindowOptions:
    """Where the windows of a conversion are; every field is one of the options of `convert`."""

    at: str | None = None  # labels, frames or a file
    window: int | None = None  # µs
    side: Side = "before"
    every: int | None = None  # µs
    sliding: str | None = None
    count: int | None = None
    active: str | None = None  # the options of Activity
    at_unit: str | None = None

    @classmethod
    def of(
        cls,
        *,
        at: str | Path | None = None,
        window: int | str | None = None,
        side: Side | None = None,
        every: int | str | None = None,
        sliding: str | None = None,
        count: int | str | None = None,
        active: str | None = None,
        at_unit: str | None = None,
    ) -> "WindowOptions | None":
        """The options, checked; None where none asks for windows."""
        places = {"at": at, "every": every, "sliding": sliding, "count": count, "active": active}
        chosen = [name for name, value in places.items() if value is not None]
        if len(chosen) > 1:
            raise OptionError(f"{' and '.join(chosen)} exclude each other; give one of them")
        if at is None:
            given = {"window": window, "side": side, "at_unit": at_unit}
            if wrong := [name for name, value in given.items() if value is not None]:
                raise OptionError(f"{' and '.join(wrong)} belong to at; give the times with at")
            if not chosen:
                return None
            if sliding is not None:
                parse_sliding(sliding)
            if count is not None and not (str(count).isdecimal() and int(count) > 0):
                raise OptionError(f"count is {count!r}, expected a number of events of at least 1")
            return cls(
                every=None if every is None else parse_length(every),
                sliding=sliding,
                count=None if count is None else int(count),
                active=None if active is None else Activity.of(active).text,
            )
        side = side or "before"
        if side not in SIDES:
            raise OptionError(f"side is {side!r}, expected one of {', '.join(SIDES)}")
        if (window is None) != (side in BETWEEN):
            needs = "takes no window" if side in BETWEEN else "needs window, such as 50ms"
            raise OptionError(f"side={side} {needs}")
        if at_unit is not None and (at_unit not in times.UNITS or str(at) in NAMES):
            units = ", ".join(times.UNITS)
            raise OptionError(
                f"at_unit is {at_unit!r}, expected one of {units}, for a file of times"
            )
        length = None if window is None else parse_length(window)
        return cls(at=str(at), window=length, side=side, at_unit=at_unit)

    def given(self) -> dict[str, Any]:
        """The options that matter, as JSON has them; `of` takes them again."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["side"] = self.side if self.at is not None else None
        return {name: value for name, value in values.items() if value is not None}

    def document(self, root: Path) -> dict[str, Any]:
        """The options for a plan, which has no path of one machine: a file is named only."""
        given = self.given()
        if self.at is None or self.at in NAMES:
            return given
        path = Path(self.at)
        if path.is_absolute() and path.is_relative_to(root.absolute()):
            given["at"] = path.relative_to(root.absolute()).as_posix()
        elif path.is_absolute() or not ("{" in self.at or (root / path).is_file()):
            given["at"] = path.name
        return given


def listing(
    dataset: Dataset,
    folder: Path,
    options: WindowOptions | None,
    *,
    chosen: Chosen = NOTHING,
    tolerant: bool = False,
    label_rules: str | None = None,
    excluded: Collection[str] = (),
) -> Listing:
    """The samples of a dataset in `folder`, cut into windows where options ask for it.

    They are divided into the chosen splits first, so that the windows of a sample are in one. What
    is odd about the recordings `excluded`, named as below the folder, is not reported.
    """
    found = chosen.divided(dataset, layouts.listing(dataset, folder))
    if options is None:
        return found
    rules = TargetPlan.of(dataset, label_rules)
    cutter = _Cutter(dataset, found, options, tolerant, rules, excluded)
    samples = [sample for part in cutter.parts() for sample in part]
    warnings = [*found.warnings, *cutter.remarks()]
    if not samples:
        reason = "; ".join(cutter.remarks()) or "there are none"
        raise OptionError(f"{folder}: no window can be cut: {reason}")
    return replace(found, samples=samples, warnings=warnings)


class _Cutter:
    """Cuts the samples of one dataset, and counts what is odd."""

    def __init__(
        self,
        dataset: Dataset,
        found: Listing,
        options: WindowOptions,
        tolerant: bool,
        targets: TargetPlan | None,
        excluded: Collection[str],
    ) -> None:
        self.dataset, self.root, self.options = dataset, found.root, options
        self.samples = found.samples
        self.reader: dict[str, Any] = {"strict": not tolerant}
        if dataset.format is not None:
            self.reader |= dataset.reading(formats.FORMATS[dataset.format].stream)
        self.rule = targets.rule if targets else None
        reader = {"format": dataset.format, **self.reader}
        self.targets: TargetFiles | None = None
        if targets is not None:
            self.targets = TargetFiles(targets, found.root, reader, dataset.size)
        others = [name for name in ("sliding", "count", "active") if getattr(options, name)]
        if self.rule is not None and self.rule.own_windows and others:
            raise OptionError(
                f"the label rules {self.rule.name} have windows of their own, at the labels; give "
                f"every or at, not {others[0]}"
            )
        self.excluded, self.total = excluded, 0
        names = ("backward", "overlap", "outside", "empty", "idle", "few")
        self.counts = dict.fromkeys(names, 0)
        self.first: dict[str, str] = {}  # the recording of which each was found first
        self._times: dict[Path, np.ndarray] = {}  # of files that are not of one recording

    def parts(self) -> Iterator[list[Sample]]:
        """The windows of every recording, or of every sample of it, in order."""
        ruled = self.rule is not None and self.rule.own_windows
        if self.options.count is not None or self.options.active is not None:
            yield from self._by_content()
            return
        if self.options.at is None and not ruled:
            yield from self._following()
            return
        cut = self._around if self.options.at is not None else self._ruled
        grouped = groupby(self.samples, key=lambda s: (s.split, s.source, s.recording))
        for _, group in grouped:
            yield cut(list(group))

    def remarks(self) -> list[str]:
        """A sentence on each thing that was odd, for all recordings together."""
        words = {
            "backward": "windows that begin before the one before them",
            "overlap": "windows that overlap the one before",
            "outside": "times in no sample of their recording, so without a window",
            "empty": "recordings without events, so without windows",
            "idle": "recordings without activity, so without windows",
            "few": "recordings with too few times, so without windows",
        }
        return [
            f"{text}: {self.counts[name]:,}, first in {self.first[name]}"
            for name, text in words.items()
            if self.counts[name]
        ]

    def _count(self, name: str, n: int, source: str) -> None:
        if n and source not in self.excluded:
            self.counts[name] += n
            self.first.setdefault(name, source)

    # Windows that follow each other.

    def _following(self) -> Iterator[list[Sample]]:
        options = self.options
        if options.sliding is not None:
            length, stride = parse_sliding(options.sliding)
        else:
            length = stride = options.every or 0
        with ThreadPoolExecutor(cpus()) as pool:
            for sample, ends in zip(self.samples, pool.map(self._ends, self.samples), strict=True):
                if ends is None:
                    yield [sample]  # its conversion says what is wrong with it
                    continue
                first, last, events = ends
                starts, stops = following(first, last, length, stride)
                self._limit(sample.source, length, len(starts), events)
                self._count("empty", int(not len(starts)), sample.source)
                if sample.stop is not None:
                    stops = np.minimum(stops, sample.stop)  # what follows has another label
                yield [
                    replace(sample, start=start, stop=stop)
                    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
                ]

    def _limit(self, source: str, length: int, n: int, events: int | None) -> None:
        """OptionError for a length that can only be a mistake: most windows would be empty."""
        if events is not None and n > max(events, FEW):
            raise OptionError(
                f"{source}: {n:,} windows of {length:,} µs for {events:,} events, so most would be "
                "empty; ask for longer ones"
            )
        self.total += n
        if self.total > MOST:
            raise OptionError(
                f"{self.root}: more than {MOST:,} windows of {length:,} µs, up to {source}; ask "
                "for longer ones"
            )

    def _ends(self, sample: Sample) -> tuple[int, int, int | None] | None:
        """The first and last time of a sample, (0, -1) if it has none, and its number of events.

        The number is None where the times are known without reading; None if it is damaged.
        """
        if sample.start is not None and sample.stop is not None:
            return sample.start, sample.stop - 1, None
        options = {**self.reader, "start": sample.start, "stop": sample.stop}
        if sample.recording is not None:
            options["recording"] = sample.recording
        try:
            path = self.root / sample.source
            return times.counted_span(path, self.dataset.format, options)
        except (FormatError, OSError):
            return None

    # Windows that label rules choose.

    def _ruled(self, samples: list[Sample]) -> list[Sample]:
        """The windows of one recording, each with the labels that are at its end."""
        assert self.rule is not None
        assert self.targets is not None
        split, source = samples[0].split, samples[0].source
        classes = self.targets.plan.files["boxes"].classes
        boxes = self.targets.sized(source, split)
        starts, stops = self.rule.windows(boxes, classes, self.options.every or 0)
        if not len(starts):
            self._count("few", 1, source)
            return []
        low, n = self._rows_at(source, split, stops - 1)
        named = {"label_row": low, "label_count": n}
        owners = self._owners(samples, stops - 1)
        return self._cut(samples, starts, stops, owners, named)

    def _cut(
        self,
        samples: list[Sample],
        starts: np.ndarray,
        stops: np.ndarray,
        owners: np.ndarray,
        named: dict[str, np.ndarray],
        *,
        own: bool = False,
    ) -> list[Sample]:
        """Windows of the samples that own them, with columns; `own` if labels are these samples."""
        columns = [dict(zip(named, map(str, row), strict=True)) for row in _transposed(named)]
        labelled = not own and "label_row" in named and self.options.at in (None, *NAMES)
        cut = []
        for start, stop, own_columns, owner in zip(
            starts.tolist(), stops.tolist(), columns, owners.tolist(), strict=True
        ):
            if owner >= 0:
                sample = samples[owner]
                merged = {**sample.columns, **own_columns}
                rows = None
                if labelled:
                    rows = int(own_columns["label_row"]), int(own_columns["label_count"])
                cut.append(replace(sample, start=start, stop=stop, columns=merged, rows=rows))
        return cut

    # Windows that the events themselves decide.

    def _by_content(self) -> Iterator[list[Sample]]:
        with ThreadPoolExecutor(cpus()) as pool:
            for sample, cut in zip(self.samples, pool.map(self._pairs, self.samples), strict=True):
                if cut is None:
                    yield [sample]  # its conversion says what is wrong with it
                    continue
                self._count(
                    "empty" if self.options.count else "idle", not len(cut[0]), sample.source
                )
                yield [
                    replace(sample, start=start, stop=stop, by="time")
                    for start, stop in zip(cut[0].tolist(), cut[1].tolist(), strict=True)
                ]

    def _pairs(self, sample: Sample) -> Pair | None:
        """Starts and stops of the windows in a sample; None if it is damaged."""
        if sample.by == "events":
            raise OptionError("count and active cut recordings by time, these samples are not")
        options: dict[str, Any] = {**self.reader, "clock": (sample.start, sample.stop)}
        if sample.recording is not None:
            options["recording"] = sample.recording
        path = self.root / sample.source
        try:
            chunks = formats.stream(path, format=self.dataset.format, **options)
            if self.options.count is not None:
                return by_count(chunks, self.options.count)
            return Activity.of(self.options.active or "").windows(chunks)
        except (FormatError, OSError):
            return None

    # Windows at given times.

    def _around(self, samples: list[Sample]) -> list[Sample]:
        """The windows of the samples of one recording."""
        options, source = self.options, samples[0].source
        whole = samples[0].start is None and samples[0].stop is None
        own = options.at == "labels" and not whole
        if own:
            found = np.array([sample.start or 0 for sample in samples], np.int64)
            first, counts = np.arange(len(found)), np.ones(len(found), np.int64)
        else:
            found = self._of(samples[0])
            first, counts = _runs(found)
            if options.at == "labels":
                counting = self._labels(source, samples[0].split)[1]
                kept = np.logical_or.reduceat(counting, first) if len(first) else counting
                first, counts = first[kept], counts[kept]
        if len(first) < (2 if options.side in BETWEEN else 1):
            self._count("few", 1, source)
            return []
        try:
            starts, stops = around(found[first], options.window, options.side)
        except OptionError as error:
            raise OptionError(f"{source}: times of {options.at}: {error}") from None
        self._count("backward", backward(starts), source)
        self._count("overlap", overlapping(starts, stops), source)
        moved = int(self._belongs_to_end()) if options.side in BETWEEN else 0
        rows, counts = first[moved:][: len(starts)], counts[moved:][: len(starts)]
        owners = rows if own else self._owners(samples, found[rows])
        self._count("outside", int((owners < 0).sum()), source)
        named = {"label_row": rows, "label_count": counts}
        if options.at == "frames":
            ends = options.side in ("front", "back") and not self._at_start
            late = first[1:] if ends else first
            named = {"frame_row": rows}
            if self._label_file(source) is not None:
                low, n = self._rows_at(source, samples[0].split, found[late[: len(rows)]])
                named |= {"label_row": low, "label_count": n}
        return self._cut(samples, starts, stops, owners, named, own=own)

    def _rows_at(self, source: str, split: str, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first row and the number of the labels of given times, in their file.

        A time without labels has the row at which they would be, and the number 0.
        """
        rows, _ = self._labels(source, split)
        if (np.diff(rows) < 0).any():
            file = self.root / str(self._label_file(source))
            raise FormatError(file, None, "its times go back, expected labels in order of time")
        low, high = (np.searchsorted(rows, at, end) for end in ("left", "right"))
        return low, high - low

    def _label_file(self, source: str) -> str | None:
        """The file of labels of a recording, below the root; None where there is none."""
        named = self.targets and self.targets.plan.label_file(self.root, source)
        if named:
            return named
        found = times.beside(self.root, source, times.LABELS)
        return None if found is None else str(found.relative_to(self.root))

    def _labels(self, source: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        """The times of the labels in their file, in its order, and which of them count."""
        plan = self.targets and self.targets.plan
        if self.targets and plan and (name := plan.label_file(self.root, source)):
            kind = next(kind for kind in plan.files if plan.name(kind, source) == name)
            rows, counts, _ = self.targets.rows(kind, source, split)
            return rows["t"].copy(), counts
        found = times.of_labels(self.root, source)
        return found, np.ones(len(found), bool)

    @property
    def _at_start(self) -> bool:
        return self.rule is not None and self.rule.at_start

    def _belongs_to_end(self) -> bool:
        """Whether a window between two times has the row of the later one.

        So says the drawing in dsec-det's docstring of labels, both for front and back; an image
        is at the front or at the back.
        """
        side = self.options.side
        if self.options.at != "frames" and self._at_start:
            return False
        return side == "front" or (side == "back" and self.options.at != "frames")

    def _of(self, sample: Sample) -> np.ndarray:
        """The times of a recording, of labels, images or a file."""
        options = self.options
        path = self.root / sample.source
        if options.at == "labels":
            return self._labels(sample.source, sample.split)[0]
        if options.at == "frames":
            return times.of_images(path, self.root, sample.source, self.dataset.format)
        named = times.filled(options.at or "", sample.source)
        file = self.root / named if (self.root / named).is_file() else Path(named)
        if not file.is_file():
            raise OptionError(
                f"at is {options.at!r}, expected labels, frames or a file of times; there is no "
                f"{named} in {self.root} or here"
            )
        if file not in self._times:
            if "{" in (options.at or ""):
                self._times.clear()  # each is read once
            self._times[file] = times.of_file(file, options.at_unit)
        return self._times[file]

    def _owners(self, samples: list[Sample], at: np.ndarray) -> np.ndarray:
        """The number of the sample in which each time lies; -1 where there is none."""
        owners = np.full(len(at), -1, np.int64)
        for number in range(len(samples) - 1, -1, -1):  # the first wins where parts overlap
            low, high = samples[number].start, samples[number].stop
            inside = np.ones(len(at), bool)
            if low is not None:
                inside &= at >= low
            if high is not None:
                inside &= at < high
            owners[inside] = number
        return owners


def _transposed(named: dict[str, np.ndarray]) -> list[tuple[int, ...]]:
    """One tuple for each window, of arrays with a number for each."""
    return list(zip(*(column.tolist() for column in named.values()), strict=True))


def _runs(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each run of equal times begins, and how long it is: an image has several boxes."""
    if not len(found):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first = np.concatenate([[0], np.flatnonzero(np.diff(found)) + 1])
    return first, np.diff(np.concatenate([first, [len(found)]]))
