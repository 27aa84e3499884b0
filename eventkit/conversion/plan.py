"""What a conversion will do, decided before it starts: samples, shapes, shards, a digest."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from eventkit import __version__, formats, representations, transforms
from eventkit.conversion import functions, grids
from eventkit.conversion.functions import split_spec
from eventkit.conversion.grids import MIB, Grid, Segments
from eventkit.conversion.targets import TargetPlan, missing, scaled
from eventkit.datasets import Dataset
from eventkit.errors import FormatError, OptionError
from eventkit.events import Events
from eventkit.formats._packed import is_packed
from eventkit.layouts import Listing, Sample
from eventkit.registry import Registry, bind, format_spec
from eventkit.representations import Whole
from eventkit.store.metadata import SCHEMA, digest, plan_digest, split_digest
from eventkit.store.schema import RESERVED, safe_name
from eventkit.store.shard import CODECS, Codec
from eventkit.store.storage import Storage

# More events than this are not held at once: such a sample is read twice, in chunks.
MAX_EVENTS = 4_000_000
FEW = 100  # recordings that are tried for what the first should tell
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One unit of work: everything needed to produce its files, a row of shards, anywhere."""

    root: str
    folder: str  # where the files go
    split: str
    number: int
    samples: tuple[Sample, ...]
    format: str | None
    reader: dict[str, Any]  # options of the format
    sensor: tuple[int, int]
    sensor_stated: bool  # by the dataset; otherwise it is that of the first recording
    size: tuple[int, int]
    representation: dict[str, Any]
    transforms: tuple[dict[str, Any], ...]
    grid: Grid | Segments
    codec: Codec
    tolerant: bool = False  # takes what is sound in a damaged recording
    cut: bool = False  # the samples are windows that a user chose, see sampling.py
    targets: TargetPlan | None = None
    threads: int = 1  # to use for one recording, where there are fewer jobs than workers

    def digest(self) -> str:
        """The sha256 of all that decides its files: with the same, another plan's job made them."""
        deciding = {
            name: getattr(self, name)
            for name in ("split", "number", "format", "reader", "sensor", "sensor_stated", "size")
        }
        deciding |= {"representation": self.representation, "transforms": self.transforms}
        deciding |= {"codec": asdict(self.codec), "tolerant": self.tolerant, "version": __version__}
        deciding["grid"] = {**asdict(self.grid), "samples": None}
        deciding["samples"] = [(s.source, s.start, s.stop, s.recording) for s in self.samples]
        if self.targets is not None:
            deciding["targets"] = self.targets.document()
        return digest(deciding)

    @property
    def name(self) -> str:
        """The job in words: split, number, and the recordings of its samples."""
        first, last = self.samples[0].source, self.samples[-1].source
        return f"{self.split} {self.number}, {first}{f' to {last}' if last != first else ''}"


@dataclass(frozen=True)
class Plan:
    """A conversion, decided. The same plan gives the same bytes."""

    dataset: Dataset
    listing: Listing
    sources: dict[str, int]  # name below the root -> bytes
    sensor: tuple[int, int]
    size: tuple[int, int]  # after the transforms
    representation: dict[str, Any]
    transforms: tuple[dict[str, Any], ...]
    frame: tuple[int, ...]  # C, H, W; of events, nothing
    n_frames: int | None  # None: it differs from sample to sample
    dtype: np.dtype
    grids: Mapping[str, Grid | Segments]
    codec: Codec
    tolerant: bool = False
    left_out: tuple[str, ...] = ()  # the names of samples that are not made, see `named`
    windows: dict[str, Any] | None = None  # the options by which samples were cut (sampling.py)
    targets: TargetPlan | None = None
    remarks: tuple[str, ...] = ()  # what is odd about its targets
    chosen: dict[str, Any] = field(default_factory=dict)  # options that chosen.py documents

    @property
    def array(self) -> str:
        """What is in each split, frames, data (any other dense array) or events; its name."""
        name = self.representation["name"]
        return name if name in ("frames", "events") else "data"

    @property
    def spec(self) -> str:
        """The representation as text."""
        options = {k: v for k, v in self.representation.items() if k != "name"}
        return format_spec(self.representation["name"], options)

    def document(self) -> dict[str, Any]:
        """The plan as JSON has it (no tuples): equal documents mean equal stores."""
        document = {
            "schema": SCHEMA,
            "dataset": self.dataset.name,
            # What a user chose comes first: it is named first where two plans differ.
            "representation": self.representation,
            "transforms": list(self.transforms),
            "codec": asdict(self.codec),
            **({"windows": self.windows} if self.windows else {}),
            **({"targets": self.targets.document()} if self.targets else {}),
            **({"chosen": self.chosen} if self.chosen else {}),
            **({"tolerant": True} if self.tolerant else {}),
            **({"left_out": self.left_out} if self.left_out else {}),
            **({"plugins": self.plugins} if self.plugins else {}),
            "sources": digest(sorted(self.sources.items())),
            "classes": self.listing.classes,
            "sensor": list(self.sensor),
            "size": list(self.size),
            "splits": {split: self.split_digest(split) for split in self.grids},
            "grids": {split: asdict(grid) for split, grid in self.grids.items()},
            "version": __version__,
        }
        return json.loads(json.dumps(document))  # type: ignore[no-any-return]

    @cached_property
    def plugins(self) -> dict[str, str]:
        """What it uses that is not built in: its name, and the package it is from."""
        known = formats.FORMATS
        used: list[tuple[Registry[Any], str]] = [
            (representations.REPRESENTATIONS, self.representation["name"])
        ]
        used += [(transforms.TRANSFORMS, step["name"]) for step in self.transforms]
        if self.dataset.format is not None:
            used.append((known, self.dataset.format))
        elif any(known.plugin(name) for name in known):
            one_of_each = {Path(name).suffix: name for name in self.sources}.values()
            guessed = {formats.guess(self.listing.root / name).name for name in one_of_each}
            used += [(known, name) for name in sorted(guessed)]
        found = {name: table.plugin(name) for table, name in used if name in table}
        return {name: package for name, package in found.items() if package is not None}

    def digest(self) -> str:
        """The sha256 of the document without the version of eventkit."""
        return plan_digest(self.document())

    def split_digest(self, split: str) -> str:
        """The sha256 of which samples a split has, in order: source, window and label."""
        return split_digest((s.source, s.start, s.stop, s.label) for s in self.samples(split))

    def samples(self, split: str) -> list[Sample]:
        return [sample for sample in self.listing.samples if sample.split == split]

    def reader(self) -> dict[str, Any]:
        """Options for the reader: those of the dataset, and its sensor's size where it asks."""
        if self.dataset.format is None:
            return {}
        return self.dataset.reading(formats.FORMATS[self.dataset.format].stream)

    def folders(self) -> list[str]:
        """The folders below a tree into which jobs write."""
        parts = ["/" + name for name in "txyp"] if self.array == "events" else [""]
        return [f"{split}/{self.array}{part}" for split in self.grids for part in parts]

    def jobs(self, tree: Storage) -> list[Job]:
        """One job per shard, the folder of each below `tree`."""
        jobs = []
        for split, grid in self.grids.items():
            samples = self.samples(split)
            job = Job(
                root=str(self.listing.root),
                folder=str(tree / split / self.array),
                split=split,
                number=0,
                samples=(),
                format=self.dataset.format,
                reader=self.reader(),
                sensor=self.sensor,
                sensor_stated=self.dataset.size is not None,
                size=self.size,
                representation=self.representation,
                transforms=self.transforms,
                grid=grid,
                codec=self.codec,
                tolerant=self.tolerant,
                cut=self.windows is not None,
                targets=self.targets,
            )
            for number in range(grid.jobs):
                first = number * grid.per_job
                part = tuple(samples[first : first + grid.per_job])
                jobs.append(replace(job, number=number, samples=part))
        return jobs

    def dense_bytes(self) -> int | None:
        """Bytes of all samples uncompressed, if T is fixed."""
        if self.n_frames is None:  # or events: nobody has counted them
            return None
        n = sum(grid.samples for grid in self.grids.values())
        return n * self.n_frames * int(np.prod(self.frame)) * self.dtype.itemsize

    def memory(self, workers: int) -> int:
        """An upper bound of the memory a conversion with so many workers holds, in bytes."""
        largest = max(self.sources.values(), default=0)
        events = min(MAX_EVENTS, largest // 5 + 1)
        if self.array == "events":  # two sets of columns, what sorting copies, and a shard
            shard = max(grid.shard for grid in self.grids.values() if isinstance(grid, Segments))
            return 200 * MIB + workers * (3 * 13 * events + 2 * 4 * shard)
        frame = int(np.prod(self.frame)) * self.dtype.itemsize
        per_sample = frame * (self.n_frames or 64)
        shard = max(grid.per_job for grid in self.grids.values()) * per_sample
        return 200 * MIB + workers * (2 * 13 * events + 2 * per_sample + shard)


def make(
    dataset: Dataset,
    listing: Listing,
    representation: str,
    transform: tuple[str, ...] = (),
    codec: str = "fast",
    *,
    tolerant: bool = False,
    left_out: Collection[str] = (),
    windows: dict[str, Any] | None = None,
    label_rules: str | None = None,
    chosen: dict[str, Any] | None = None,
) -> Plan:
    """Decide a conversion, of all samples but those whose names (see `named`) are `left_out`.

    `windows` says by which options the samples of the listing were cut, if they were, `label_rules`
    by which rules targets are chosen, and `chosen` how the user changed the description.

    Raises OptionError for options that do not fit the data, FormatError for unreadable sources.
    """
    if codec not in CODECS:
        raise OptionError(f"codec is {codec!r}, expected one of {', '.join(CODECS)}")
    left_out = set(left_out) & {named(sample) for sample in listing.samples}
    kept = [sample for sample in listing.samples if named(sample) not in left_out]
    if not kept:
        raise OptionError(f"{listing.root}: all samples are left out, so there is nothing to make")
    listing = replace(listing, samples=kept)
    _check_names(dataset, listing)
    targets, labels, remarks = _targets(dataset, listing, label_rules)
    sources = {name: _bytes(listing.root / name) for name in (*_names(listing), *labels)}
    sensor = dataset.size or _sensor(listing, dataset.format)
    steps = [functions.parse_transform(spec) for spec in transform]
    size = _size_after(steps, sensor)
    name, options, frame, n_frames, dtype = _tensor(representation, size)
    laid: dict[str, Grid | Segments] = {}
    typical = _typical(listing, sources, dataset.format) if name == "events" else 0
    counts = Counter(sample.split for sample in listing.samples)
    for split in listing.splits():
        if name == "events":
            laid[split] = grids.segments(counts[split], typical)
        else:
            bytes_of_frame = int(np.prod(frame)) * dtype.itemsize
            laid[split] = grids.grid(counts[split], n_frames, bytes_of_frame)
    return Plan(
        dataset=dataset,
        listing=listing,
        sources=sources,
        sensor=sensor,
        size=size,
        representation={"name": name, **options},
        transforms=tuple({"name": name, **options} for name, options in steps),
        frame=frame,
        n_frames=n_frames,
        dtype=dtype,
        grids=laid,
        codec=CODECS[codec],
        tolerant=tolerant,
        left_out=tuple(sorted(left_out)),
        windows=windows,
        targets=scaled(targets, options),
        remarks=tuple(remarks),
        chosen=chosen or {},
    )


def _targets(
    dataset: Dataset, listing: Listing, rules: str | None
) -> tuple[TargetPlan | None, list[str], list[str]]:
    """The plan for targets, the files that they are in, and what is odd about these."""
    plan = TargetPlan.of(dataset, rules)
    if plan is None:
        return None, [], []
    recordings = _names(listing)
    found = plan.names(listing.root, recordings)
    plan = replace(plan, files={kind: plan.files[kind] for kind, names in found.items() if names})
    files = list(dict.fromkeys(name for names in found.values() for name in names))
    if rules is not None and not found["boxes"]:
        raise OptionError(f"{listing.root}: no recording has a file of boxes, for {rules}")
    if not files:
        return None, [], []
    recorded = set(recordings)
    labels = [name for name in files if name not in recorded]
    return plan, labels, missing(plan, listing.root, recordings)


def _size_after(
    steps: list[tuple[str, dict[str, Any]]], sensor: tuple[int, int]
) -> tuple[int, int]:
    """The size of the sensor after the transforms."""
    events = Events.empty(sensor)
    for step in steps:
        events = functions.begin(*step)(events)
    return events.size


def _tensor(
    representation: str, size: tuple[int, int]
) -> tuple[str, dict[str, Any], tuple[int, ...], int | None, np.dtype]:
    """Name and options of a representation, the shape (C, H, W), T if it is fixed, and the type."""
    if split_spec(representation)[0] == "events":
        options = bind(_events, split_spec(representation)[1], "events")
        return "events", options, (), None, np.dtype(np.void)
    if (own := functions.parse(representation)) is not None:
        name, options = own
        entry = functions.entry_of(name, size)
    else:
        entry, options = representations.parse(representation)
    length, *sides = entry.shape(Whole(1, 0, 0), size, **options)
    n_frames = length if entry.fixed(options) else None
    return entry.name, options, tuple(sides), n_frames, entry.dtype_of(options)


def without(plan: Plan, names: Collection[str]) -> Plan:
    """The same conversion, going also without the samples of these names."""
    if not names:
        return plan
    steps = [
        format_spec(step["name"], {k: v for k, v in step.items() if k != "name"})
        for step in (plan.representation, *plan.transforms)
    ]
    codec = next(name for name, known in CODECS.items() if known == plan.codec)
    made = make(
        plan.dataset,
        plan.listing,
        steps[0],
        tuple(steps[1:]),
        codec,
        tolerant=plan.tolerant,
        left_out=names,
        windows=plan.windows,
        label_rules=plan.targets.rules if plan.targets else None,
        chosen=plan.chosen,
    )
    return replace(made, left_out=tuple(sorted({*made.left_out, *plan.left_out})))


def _check_names(dataset: Dataset, listing: Listing) -> None:
    """Raise OptionError for a name that no store can have."""
    for name in (dataset.name, *_names(listing)):
        if (shown := name.encode(errors="replace").decode()) != name:
            raise OptionError(
                f"{shown}: its name is not UTF-8, as the names in a store must be; rename it"
            )
    for name in _names(listing):
        if not safe_name(name) or "\n" in name:
            raise OptionError(
                f"{name!r}: its name has a line break or a backslash, which no name in a store can "
                "have; rename it"
            )
    for split in listing.splits():
        if not safe_name(split) or "/" in split or split in RESERVED:
            raise OptionError(f"{split!r} cannot be the name of a split; rename its folder")


def named(sample: Sample) -> str:
    """What tells a sample from all others of its dataset, in words."""
    which = "" if sample.recording is None else f", recording {sample.recording}"
    if sample.start is not None or sample.stop is not None:
        which += f", {sample.start}..{sample.stop} µs"
    return sample.source + which


def _events(*, bounds: Literal["raise", "drop"] = "raise") -> None:
    """The options of `events`: what is done with events outside the sensor."""


def _typical(listing: Listing, sources: dict[str, int], format: str | None) -> int:
    """About how many events a sample has, from the sizes of the files."""

    def density_of(name: str) -> float:
        path = listing.root / name
        reader = formats.FORMATS[format] if format else formats.guess(path)
        bound = None if is_packed(path) else reader.bound
        return 0.25 if bound is None else min(bound(path) / max(sources[name], 1), 2)

    density = _first(listing, density_of)
    return int(sum(sources.values()) * density / len(listing.samples))


def _names(listing: Listing) -> list[str]:
    return list(dict.fromkeys(sample.source for sample in listing.samples))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror}") from None


def _sensor(listing: Listing, format: str | None) -> tuple[int, int]:
    """The sensor size of a dataset that does not state one: that of its first recording."""
    return _first(
        listing,
        lambda name: next(iter(formats.stream(listing.root / name, 1, format=format))).size,
    )


def _first(listing: Listing, read: Callable[[str], T]) -> T:
    """What the first recording tells, or the next where one is damaged, of a few."""
    problem: FormatError | None = None
    for name in _names(listing)[:FEW]:
        try:
            return read(name)
        except FormatError as error:
            problem = problem or error
    assert problem is not None
    raise problem
