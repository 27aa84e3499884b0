"""Folders that RVT's preprocessing has made, as stores: the same windows, tensors and boxes.

    <split>/<sequence>/labels_v2/labels.npz                       boxes, and the first of each frame
    <split>/<sequence>/event_representations_v2/NAME/
        event_representations.h5 (or ..._ds2_nearest.h5)          data (T, 2·bins, H, W) uint8
        timestamps_us.npy                                         ends of the windows
        objframe_idx_2_repr_idx.npy                               the window of each labelled frame

NAME is stacked_histogram_dt=50_nbins=10 or the like. Source: scripts/genx/preprocess_dataset.py of
uzh-rpg/RVT. Events are not in it: the ledger of such a store has the counts of its tensors.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eventkit import datasets, representations
from eventkit.conversion import grids
from eventkit.conversion.dense import DenseWriter
from eventkit.conversion.finish import finish
from eventkit.conversion.plan import Job, Plan
from eventkit.conversion.results import Converted
from eventkit.conversion.run import Progress
from eventkit.conversion.summary import summary
from eventkit.conversion.targets import TargetPlan, packed
from eventkit.conversion.task import stat_of
from eventkit.datasets import Dataset
from eventkit.errors import FormatError, OptionError
from eventkit.layouts import UNLABELLED, Listing, Sample
from eventkit.store import storage
from eventkit.store.remote import building_at
from eventkit.store.shard import CODECS, file_crc32c
from eventkit.targets import KINDS

REMARK = (
    "taken from tensors that RVT has made: the ledger has their counts, which are cut off at 10, "
    "and t_start and t_end are the ends of the windows"
)
SPLITS = ("train", "val", "test")
_NAME = re.compile(r"stacked_histogram_dt=?(\d+)_nbins=?(\d+)")
_FILES = {"event_representations.h5": 1, "event_representations_ds2_nearest.h5": 2}


@dataclass(frozen=True)
class _Sequence:
    """One sequence: its tensors' file below the root, the ends of its windows, and its boxes."""

    root: Path
    split: str
    name: str
    file: str

    @property
    def others(self) -> list[str]:
        """The files beside that of the tensors, below the root."""
        folder = str(Path(self.file).parent.as_posix())
        labels = f"{self.split}/{self.name}/labels_v2/labels.npz"
        return [f"{folder}/timestamps_us.npy", f"{folder}/objframe_idx_2_repr_idx.npy", labels]

    @cached_property
    def ends(self) -> np.ndarray:
        """The last time of each window, which belongs to it: int64 (windows,)."""
        found: np.ndarray = self._load(self.others[0])
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise FormatError(self.root / self.others[0], None, "expected whole numbers of µs")
        return np.asarray(found, np.int64)

    def boxes(self, scale: int) -> list[np.ndarray]:
        """The boxes of each window, in pixels of its tensor."""
        windows = self._load(self.others[1])
        path = self.root / self.others[2]
        labels, first = self._load(self.others[2], "labels", "objframe_idx_2_label_idx")
        names = labels.dtype.names or ()
        lacking = {"t", "x", "y", "w", "h", "class_id"} - set(names)
        borders = [*first.tolist(), len(labels)]
        sound = len(first) == len(windows) and borders == sorted(borders)
        if lacking or not sound or (len(windows) and windows.max() >= len(self.ends)):
            what = f"lacks {', '.join(sorted(lacking))}" if lacking else "does not fit its windows"
            raise FormatError(path, None, what)
        found = [np.zeros(0, KINDS["boxes"])] * len(self.ends)
        for window, a, b in zip(windows.tolist(), borders[:-1], borders[1:], strict=True):
            rows = np.zeros(b - a, KINDS["boxes"])
            for name in "txywh":
                rows[name] = labels[name][a:b]
            for name in "xywh":
                rows[name] /= scale
            rows["class"] = labels["class_id"][a:b]
            for name, theirs in (("track", "track_id"), ("confidence", "class_confidence")):
                rows[name] = labels[theirs][a:b] if theirs in names else -1
            found[window] = rows
        return found

    def _load(self, name: str, *keys: str) -> Any:
        path = self.root / name
        try:
            found = np.load(path, allow_pickle=False)
            return found if not keys else [found[key] for key in keys]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise FormatError(path, None, f"is not as RVT writes it: {error}") from None


def find(folder: Path) -> list[_Sequence]:
    """The sequences in a folder that RVT's preprocessing has made; none in any other."""
    found = []
    for split in SPLITS:
        for file in sorted(folder.glob(f"{split}/*/event_representations_v2/*/*.h5")):
            if file.name in _FILES and _NAME.fullmatch(file.parent.name):
                name = file.relative_to(folder).as_posix()
                found.append(_Sequence(folder, split, name.split("/")[1], name))
    return found


def adopt(
    name: str | Path,
    folder: str | Path,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Make a store of a folder that RVT's preprocessing has made of a dataset (gen1, one_mpx).

    It equals `convert` with every="50ms", represent="stacked_histogram:bins=10,like=rvt" (1 Mpx:
    downsample=2) and label_rules="rvt" in its windows, tensors and targets; `out` is by default
    ./NAME-rvt.zarr. An interrupted run continues. Raises FormatError, OptionError, StoreError.
    """
    started = time.perf_counter()
    dataset = datasets.load(name)
    sequences = find(Path(folder))
    if not sequences:
        raise OptionError(f"{folder}: has no <split>/<sequence>/event_representations_v2 of RVT")
    plan = _plan(dataset, Path(folder), sequences)
    target = storage.at(out if out is not None else Path(f"{dataset.name}-rvt.zarr"))
    building = building_at(target, None)
    by_file = {sequence.file: sequence for sequence in sequences}
    with building.begun(plan.document(), overwrite=overwrite) as finished:
        if finished:
            return summary(target, 0, started, note="nothing to do")
        resumed = len(building.done)
        for below in plan.folders():
            building.folder_of(below)
        state: dict[str, Any] = {"samples": 0, "total": len(plan.listing.samples)}
        state |= {"events": 0, "bytes": 0}
        for job in plan.jobs(building.tree):
            if (job.split, job.number) not in building.done:
                building.record((job.split, job.number), _produce(job, by_file))
            state["samples"] += len(job.samples)
            if progress is not None:
                progress(state)
        shown = Path(folder).resolve().name
        finish(plan, building, f"eventkit adopt {dataset.name} {shown}")
        building.finish(replace=overwrite)
    return summary(target, resumed, started)


def _plan(dataset: Dataset, root: Path, sequences: Sequence[_Sequence]) -> Plan:
    """What the store will be: as if it were converted."""
    if dataset.size is None:
        raise OptionError(f"{dataset.name}: its description does not state the sensor's size")
    targets = TargetPlan.of(dataset, "rvt")
    assert targets is not None
    kinds = {(Path(s.file).parent.name, Path(s.file).name) for s in sequences}
    if len(kinds) > 1:
        names = ", ".join(sorted("/".join(kind) for kind in kinds))
        raise OptionError(f"{root}: has several representations, expected one: {names}")
    ((folder, file),) = kinds
    match = _NAME.fullmatch(folder)
    assert match is not None
    window, bins, scale = int(match[1]) * 1000, int(match[2]), _FILES[file]
    entry, options = representations.parse(
        f"stacked_histogram:bins={bins},like=rvt,downsample={scale}"
    )
    samples: list[Sample] = []
    for sequence in sequences:
        ends = sequence.ends.tolist()
        samples += [
            Sample(sequence.split, UNLABELLED, sequence.file, end - window, end + 1) for end in ends
        ]
    whole = representations.Whole(1, 0, 0)
    frame = entry.shape(whole, dataset.size, **options)[1:]
    listing = Listing(root, list(dataset.classes), samples)
    files = [name for s in sequences for name in (s.file, *s.others)]
    counts = {split: sum(s.split == split for s in samples) for split in listing.splits()}
    return Plan(
        dataset=dataset,
        listing=listing,
        sources={name: stat_of(root / name)[0] for name in files},
        sensor=dataset.size,
        size=dataset.size,
        representation={"name": entry.name, **options},
        transforms=(),
        frame=frame,
        n_frames=1,
        dtype=np.dtype(np.uint8),
        grids={s: grids.grid(n, 1, int(np.prod(frame))) for s, n in counts.items()},
        codec=CODECS["fast"],
        targets=TargetPlan({"boxes": targets.files["boxes"]}, "rvt", scale),
        remarks=(REMARK,),
    )


def _produce(job: Job, sequences: dict[str, _Sequence]) -> dict[str, Any]:
    """Write the files of one job; what `task.produce` would say of it."""
    writer = DenseWriter(job)
    rows: dict[str, list[int]] = {}
    sources: dict[str, int] = {}
    kept: list[np.ndarray] = []
    scale = 1 if job.targets is None else job.targets.scale
    for source in dict.fromkeys(sample.source for sample in job.samples):
        sequence = sequences[source]
        mine = [sample for sample in job.samples if sample.source == source]
        places = np.searchsorted(sequence.ends, [(sample.stop or 0) - 1 for sample in mine])
        boxes = sequence.boxes(scale)
        tensors = _read(Path(job.root, source), places, job)
        for sample, place, tensor in zip(mine, places.tolist(), tensors, strict=True):
            row = writer.take(tensor[None].copy())
            n = int(tensor.sum(dtype=np.int64))
            row |= dict.fromkeys(("n_events", "ledger/read", "ledger/binned"), n)
            row |= dict.fromkeys(
                ("ledger/backward_steps", "ledger/invalid", "ledger/out_of_bounds"), 0
            )
            row |= {"ledger/unbinned": 0, "t_start": sample.start or 0, "t_end": sample.stop or 0}
            row |= {"targets/t0": sample.start or 0, "targets/boxes/count": len(boxes[place])}
            kept.append(boxes[place])
            for key, value in row.items():
                rows.setdefault(key, []).append(value)
        for name in (source, *sequence.others):
            sources[name] = file_crc32c(Path(job.root, name))
    made = {**writer.finish(), "rows": rows, "sources": sources, "notes": []}
    return {**made, "targets": {"boxes": packed(np.concatenate(kept), [])}}


def _read(path: Path, places: np.ndarray, job: Job) -> np.ndarray:
    """Some tensors of a file, (len(places), 2·bins, H, W)."""
    from eventkit.formats.tables.hdf5 import read_dataset

    low, high = int(places.min()), int(places.max()) + 1
    scale = 1 if job.targets is None else job.targets.scale
    sides = 2 * int(job.representation["bins"]), job.size[1] // scale, job.size[0] // scale
    found = read_dataset(path, "data", (low, high), dtype=np.dtype(np.uint8), sides=sides)
    chosen: np.ndarray = found[places - low]
    return chosen
