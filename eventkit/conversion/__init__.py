"""Raw recordings -> store: plan, then independent jobs, then one commit.

sampling.py which samples: those of the dataset, or windows of its recordings (times.py)
plan.py     what will be done: samples, shapes, shards (grids.py), a digest of all that matters
task.py     the work of one shard, a pure function
resume.py   what an earlier run has done, and which samples to go without
engine.py   jobs on any concurrent.futures.Executor: threads, processes, Dask (cluster.py)
run.py      the jobs of a plan, each recorded in the journal
here        the coordinator: finds the data, holds the lock, commits
"""

import re
import time
import warnings
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from eventkit import datasets, layouts, splits
from eventkit._platform import cpus
from eventkit.conversion import plan, resume, sampling, specs
from eventkit.conversion.chosen import Chosen
from eventkit.conversion.engine import executor
from eventkit.conversion.finish import few, finish
from eventkit.conversion.plan import Plan
from eventkit.conversion.results import Converted, Part, Planned
from eventkit.conversion.run import Progress, Run
from eventkit.conversion.sampling import WindowOptions
from eventkit.conversion.specs import Spec
from eventkit.conversion.summary import command_of, default_out, describe, estimate, summary
from eventkit.errors import FetchError, OptionError, PartlyDone
from eventkit.layouts.own import described
from eventkit.store import storage
from eventkit.store.building import Building, is_store
from eventkit.store.remote import building_at
from eventkit.windowing import Side


def prepare(
    name: str | Path,
    *,
    represent: str,
    root: str | Path,
    transform: tuple[str, ...] = (),
    codec: str = "fast",
    tolerant: bool = False,
    exclude: Sequence[str | Path] = (),
    left_out: Collection[str] = (),
    windows: dict[str, Any] | None = None,
    label_rules: str | None = None,
    chosen: dict[str, Any] | None = None,
    command: str = "",
) -> Plan:
    """Find the data of a dataset and decide its conversion.

    It goes without the samples of the recordings `exclude` and without those whose names are
    `left_out`; `windows` are the options of `WindowOptions`, `chosen` those of `Chosen`. Raises
    FetchError, with the steps to get the data, when it is not at `root`.
    """
    choice = Chosen.of(**(chosen or {}))
    dataset = choice.dataset(described(name))
    root = Path(root)
    folder = layouts.find(dataset, root)
    if folder is None:
        if dataset.files:
            raise FetchError(datasets.steps(dataset, root, command=command))
        raise FetchError(
            f"{root}: no data of {dataset.name} there", hint="give its folder with {root:...}"
        )
    options = WindowOptions.of(**windows) if windows else None
    without: set[str] = set()
    if exclude:
        without = resume.excluded(layouts.listing(dataset, folder).samples, folder, exclude)
    listing = sampling.listing(
        dataset,
        folder,
        options,
        chosen=choice,
        tolerant=tolerant,
        label_rules=label_rules,
        excluded=without,
    )
    left_out = {*left_out, *(plan.named(s) for s in listing.samples if s.source in without)}
    return plan.make(
        dataset,
        listing,
        represent,
        transform,
        codec,
        tolerant=tolerant,
        left_out=left_out,
        windows=options.document(folder) if options else None,
        label_rules=label_rules,
        chosen=choice.document(folder),
    )


def convert(
    name: str | Path,
    *,
    represent: Spec | None = None,
    frames: int | None = None,
    by: Literal["number", "time"] | None = None,
    duration: int | str | None = None,
    like: str | None = None,
    events: bool = False,
    root: str | Path | None = None,
    out: str | Path | None = None,
    at: str | Path | None = None,
    window: int | str | None = None,
    side: Side | None = None,
    every: int | str | None = None,
    sliding: str | None = None,
    count: int | None = None,
    active: str | None = None,
    at_unit: str | None = None,
    label_rules: str | None = None,
    split: str | None = None,
    stratify: bool = False,
    seed: int | None = None,
    group: str | None = None,
    size: str | tuple[int, int] | None = None,
    source: str | None = None,
    labels: str | Path | None = None,
    transform: Spec | Sequence[Spec] = (),
    codec: str = "fast",
    engine: str = "threads",
    workers: int | None = None,
    scheduler: str | None = None,
    report: str | Path | None = None,
    shard: str | None = None,
    tolerant: bool = False,
    exclude: Sequence[str | Path] = (),
    keep_going: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Converted | Planned | Part:
    """Convert a dataset (its name or TOML), a folder of own data or a recording to a store.

    Returns what was made, `Converted`; with `dry_run` only `Planned`, with `shard` a `Part`. The
    arguments are the options of `eventkit convert`, under the same names.

    The tensor of a sample is one of frames=16 (by="number" or "time"), duration="50ms" (of each
    frame), represent="voxel:bins=9" or ("voxel", {"bins": 9}), and events=True, which keeps the
    events; frames=16 by default. `like` cuts frames exactly as "spikingjelly" or "tonic".
    `transform` is one spec or several, applied in order, each with options in the same two ways.
    Both also take a function that can be imported, itself or as "package.module:function": see
    functions.py; the plan keeps its name and a digest of its source.

    An interrupted conversion continues when called again with the same arguments; where samples
    came, went or changed in between, what depends on them is done again. A finished store of the
    same plan is left alone; one of another plan is an error unless `overwrite`. `progress` is
    called with {"samples", "total", "events", "bytes"} as shards finish.

    `engine` is threads, processes or dask; for dask, `scheduler` is an address, a scheduler file
    (.json), a profile (.toml, see convert/profile.py) or local, and `report` an HTML file to write.
    `shard` = "i/n" does the i-th of n parts (from 0), as a job of an array; `finalize` makes the
    store of them.

    By default the samples are those of the dataset. `at`, `every`, `sliding`, `count` and `active`
    cut each of them into windows, half-open, on the camera's clock; the store has their times in µs
    as window_start and window_stop. With every="50ms" and sliding="50ms/25ms" (length/stride) they
    follow each other from the first event on; those of a sample that is a part of a recording end
    with it. With `count` each has so many events. With `active` they are the times of activity, as
    "rate=50000,bin=10ms,gap=100ms,least=100ms": where at least `rate` events a second fall into
    every `bin`, pauses shorter than `gap` included, for `least` or longer; "auto" takes the mean
    rate of the recording.

    With `at` there is one for each time:

    - at="labels": those of the labels, in the label table or in a file of boxes beside the
      recording (times.LABELS); at="frames": those of the images (times.IMAGES);
    - at=FILE: a .npy, .csv or .txt file, which may be named by {stem}, {folder} and {sequence} of
      the recording, in µs unless the name of its column (t_ms) or `at_unit` (ns, us, ms, s) says
      otherwise. A time in no sample of its recording has no window.

    `side` says where the `window` (a duration) lies: before, after or around (centre) the time;
    side="between" takes what is between a time and the next. front and back are those of
    dsec-det, between images: the image is at the front (end) or at the back (start) of the events.
    label_row and label_count (frame_row for images) are the rows of the time in its table: equal
    times in successive rows are one window. Labels are at the end for front and back, as dsec-det's
    docstring draws them; its code (81e381d) takes those at the start for both. For images, the
    label columns are there too where a file of labels is beside the recording.

    Boxes, points, intervals and text that the description of the dataset declares come along, cut
    by the windows and moved by the transforms. `label_rules` are published rules of which of them
    count: rvt (with `every`, also where its windows lie) or dsec_det; see targets/rules.
    `split` divides the samples: the name of one of the dataset's splits, or a request such as
    "train=0.8,test=0.2", "random:train=0.8,test=0.2,seed=0,stratify=true,group=user",
    "by-user:train=0.8,test=0.2", "fold:k=0,n=5" or "first:train=0.9,test=0.1" (eventkit.splits),
    to which `stratify`, `seed` and `group` add. `size` ("346x260" or (346, 260)), `source` (format
    and options, "aedat2:chip=dvs128") and `labels` (a CSV or JSON table of files, labels, times and
    splits) take the place of what the description says.

    Of a damaged recording `tolerant` takes what is sound. Recordings in `exclude`, named as below
    the root or by their paths, are left out. With `keep_going` the store is made without the
    samples that fail; then PartlyDone names them, and the root of the store too.

    Raises FetchError (no data), FormatError (a source is bad), OptionError, StoreError,
    StoreLocked (somebody else is converting to the same target), PartlyDone (with `keep_going`).
    """
    started = time.perf_counter()
    represent = specs.representation(
        represent, frames=frames, by=by, duration=duration, like=like, events=events
    )
    transform = specs.transforms(transform)
    workers = workers or cpus()
    if workers < 1:
        raise OptionError(f"workers is {workers}, expected at least 1")
    part = _part(shard, overwrite)
    root = Path(root) if root is not None else datasets.default_root(name)
    asked: dict[str, Any] = {"represent": represent, "transform": transform, "codec": codec}
    asked |= {"tolerant": tolerant, "exclude": [str(file) for file in exclude]}
    options = WindowOptions.of(
        at=at,
        window=window,
        side=side,
        every=every,
        sliding=sliding,
        count=count,
        active=active,
        at_unit=at_unit,
    )
    asked["windows"] = options.given() if options else None
    asked["label_rules"] = label_rules
    split = splits.request(split, stratify=stratify, seed=seed, group=group)
    asked["chosen"] = Chosen.of(split=split, size=size, source=source, labels=labels).given()
    command = command_of(name, **asked)
    decided = prepare(name, root=root, command=command, **asked)
    target = storage.at(
        out
        if out is not None
        else default_out(decided, represent, transform, codec, options, label_rules)
    )
    building = building_at(target, part)
    if dry_run:
        return Planned(
            out=str(target),
            there=resume.state(decided, building),
            **describe(decided, workers),
            seconds=estimate(decided, workers),
        )
    failed = resume.Failed(building, decided.listing.root)
    if keep_going and part is None:  # jobs of an array keep to one plan
        failed.recall(overwrite)
        decided = plan.without(decided, failed.why)
    open_executor = partial(
        executor, engine, scheduler=scheduler, report=Path(report) if report else None
    )
    run = Run(building, open_executor, workers, keep_going, progress)
    for note in resume.gone(decided, building):
        warnings.warn(note, stacklevel=2)
    begun = building.begun(decided.document(), overwrite=overwrite, may_differ=resume.SAMPLES)
    with begun as finished:
        if finished:
            return _complete(summary(target, 0, started, note="nothing to do"), failed.why)
        request = {**asked, **_anywhere(name, root, asked), "command": command}
        decided, state = run.produce_all(decided, failed, request)
        if part is not None:
            return Part(out=str(target), shard=f"{part[0]}/{part[1]}", note="", **state)
        finish(decided, building, command, failed.why)
        building.finish(replace=overwrite)
    return _complete(summary(target, run.resumed, started), failed.why)


def _anywhere(name: str | Path, root: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What of a request are paths, by names that mean the same in any folder."""
    known, windows, chosen = str(name) in datasets.names(), asked["windows"], asked["chosen"]
    if windows and "at" in windows and Path(windows["at"]).is_file():
        windows = {**windows, "at": str(Path(windows["at"]).absolute())}
    return {
        "name": str(name if known else Path(name).absolute()),
        "root": str(root.absolute()),
        "windows": windows,
        "chosen": {k: str(Path(v).absolute()) if k == "labels" else v for k, v in chosen.items()},
    }


def _complete(made: Converted, failed: dict[str, str]) -> Converted:
    """What was made; PartlyDone if it was made without samples that failed."""
    if not failed:
        return made
    samples = sum(made.samples.values())
    raise PartlyDone(
        f"{made.out}: was made without {len(failed):,} of {samples + len(failed):,} "
        f"samples, which failed: {few(failed, 3)}",
        list(failed.values()),
        made,
        hint="when they are mended, {overwrite} makes it with them",
    )


def finalize(out: str | Path) -> Converted:
    """Make the store of what the jobs of an array have done.

    Raises PartlyDone when jobs are missing, with what to run, StoreError when no conversion is in
    progress at `out`, StoreLocked when jobs are still running.
    """
    started = time.perf_counter()
    target = storage.at(out)
    building = building_at(target)
    if is_store(target) and not (building.folder / "request.json").exists():
        return summary(target, 0, started, note="nothing to do")
    request = building.asked()
    failed = request.pop("failed", {})
    decided = prepare(**{**request, "transform": tuple(request["transform"])})
    begun = building.begun(decided.document(), overwrite=False, may_differ=resume.SAMPLES)
    with begun as finished:
        if finished:
            return summary(target, 0, started, note="nothing to do")
        resume.reuse(decided, decided.jobs(building.tree), building)
        _refuse_missing(decided, building)
        finish(decided, building, request["command"], failed)
        building.finish(replace=False)
    return _complete(summary(target, len(building.done), started), failed)


def _part(shard: str | None, overwrite: bool) -> tuple[int, int] | None:
    """(i, n) of the text i/n."""
    if shard is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if match is None or not int(match[1]) < int(match[2]):
        raise OptionError(f"shard is {shard!r}, expected i/n, i from 0 to n - 1, as 0/4")
    if overwrite:
        raise OptionError(
            "one of several jobs cannot overwrite a store",
            hint="remove the store first, and leave out {overwrite}",
        )
    return int(match[1]), int(match[2])


def _refuse_missing(decided: Plan, building: Building) -> None:
    """Raise PartlyDone if a job is not done, saying which to run again."""
    jobs = decided.jobs(building.tree)
    missing = [
        (number, job)
        for number, job in enumerate(jobs)
        if (job.split, job.number) not in building.done
    ]
    if not missing:
        return
    sizes = {int(name.removesuffix(".jsonl").split("-")[-1]) for name in building.journals()}
    choices = [[f"{i}/{n}" for i in sorted({k % n for k, _ in missing})] for n in sorted(sizes)]
    shards = min(choices, key=len, default=[])
    again = f"{{shard:{', '.join(shards)}}}" if shards else "the conversion"
    raise PartlyDone(
        f"{building.target}: {len(missing)} of {len(jobs)} jobs are not done",
        [job.name for _, job in missing],
        hint=f"run {again} again",
    )
