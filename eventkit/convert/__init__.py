"""Raw recordings -> store: plan, then independent jobs, then one commit.

plan.py     what will be done: samples, shapes, shards, a digest of all that matters
task.py     the work of one shard, a pure function
engine.py   jobs on any concurrent.futures.Executor: threads, processes, Dask (cluster.py)
here        the coordinator: finds the data, holds the lock, writes the journal, commits
"""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from eventkit import datasets, layouts
from eventkit._platform import cpus
from eventkit.convert import plan
from eventkit.convert.engine import Crew, crew, run
from eventkit.convert.finish import finish
from eventkit.convert.plan import Job, Plan
from eventkit.convert.summary import command_of, default_out, describe, estimate, summary
from eventkit.errors import FetchError, OptionError, PartlyDone
from eventkit.store.building import Building, is_store
from eventkit.store.objects import Remote, at
from eventkit.store.remote import building_at

Progress = Callable[[dict[str, Any]], None]


def prepare(
    name: str | Path,
    *,
    represent: str,
    root: str | Path,
    transform: tuple[str, ...] = (),
    codec: str = "fast",
    command: str = "",
) -> Plan:
    """Find the data of a dataset and decide its conversion.

    Raises FetchError, with the steps to get the data, when it is not at `root`.
    """
    dataset = datasets.load(name)
    root = Path(root)
    folder = layouts.find(dataset, root)
    if folder is None:
        if dataset.files:
            raise FetchError(datasets.steps(dataset, root, command=command))
        raise FetchError(f"{root}: no data of {dataset.name} there; give its folder with --root")
    return plan.make(dataset, layouts.listing(dataset, folder), represent, transform, codec)


def convert(
    name: str | Path,
    *,
    represent: str = "frames:n=16",
    root: str | Path | None = None,
    out: str | Path | None = None,
    transform: tuple[str, ...] = (),
    codec: str = "fast",
    engine: str = "threads",
    workers: int | None = None,
    scheduler: str | None = None,
    report: str | Path | None = None,
    shard: str | None = None,
    keep_going: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Convert a dataset (name, TOML or folder of class folders) to a store; the summary.

    An interrupted conversion continues when called again with the same arguments. A finished
    store of the same plan is left alone; one of another plan is an error unless `overwrite`.
    `progress` is called with {"samples", "total", "events", "bytes"} as shards finish.

    `engine` is threads, processes or dask; for dask, `scheduler` is an address, a scheduler file
    (.json), a profile (.toml, see convert/profile.py) or local, and `report` an HTML file to write.
    `shard` = "i/n" does the i-th of n parts (from 0), as a job of an array; `finalize` makes the
    store of them. With `keep_going`, recordings that fail do not keep others from being done.

    Raises FetchError (no data), FormatError (a source is bad), OptionError, StoreError,
    StoreLocked (somebody else is converting to the same target), PartlyDone (with `keep_going`).
    """
    started = time.perf_counter()
    workers = workers or cpus()
    if workers < 1:
        raise OptionError(f"workers is {workers}, expected at least 1")
    part = _part(shard, overwrite)
    root = Path(root) if root is not None else datasets.default_root(name)
    asked: dict[str, Any] = {"represent": represent, "transform": transform, "codec": codec}
    command = command_of(name, represent, transform, codec)
    decided = prepare(name, root=root, command=command, **asked)
    target = at(out if out is not None else default_out(decided, represent, transform, codec))
    if dry_run:
        return {
            "out": str(target),
            **describe(decided, workers),
            "seconds": estimate(decided, workers),
        }
    building = building_at(target, part)
    crew_ = partial(crew, engine, scheduler=scheduler, report=Path(report) if report else None)
    with building.begun(decided.document(), overwrite=overwrite) as finished:
        if finished:
            return summary(target, 0, started, note="nothing to do")
        known = str(name) in datasets.names()
        where = {
            "name": str(name if known else Path(name).absolute()),
            "root": str(root.absolute()),
        }
        building.ask({**where, **asked, "command": command})
        resumed = len(building.done)
        state = _produce(decided, building, crew_, workers, keep_going, progress)
        if part is not None:
            return {"out": str(target), "shard": shard, "note": "", **state}
        finish(decided, building, command)
        building.finish(replace=overwrite)
    return summary(target, resumed, started)


def finalize(out: str | Path) -> dict[str, Any]:
    """Make the store of what the jobs of an array have done; its summary.

    Raises PartlyDone when jobs are missing, with what to run, StoreError when no conversion is in
    progress at `out`, StoreLocked when jobs are still running.
    """
    started = time.perf_counter()
    target = at(out)
    building = building_at(target)
    if is_store(target) and not (building.folder / "request.json").exists():
        return summary(target, 0, started, note="nothing to do")
    request = building.asked()
    decided = prepare(**{**request, "transform": tuple(request["transform"])})
    with building.begun(decided.document(), overwrite=False) as finished:
        if finished:
            return summary(target, 0, started, note="nothing to do")
        _complain_of_missing(decided, building)
        finish(decided, building, request["command"])
        building.finish(replace=False)
    return summary(target, len(building.done), started)


def _part(shard: str | None, overwrite: bool) -> tuple[int, int] | None:
    """(i, n) of the text i/n."""
    if shard is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if match is None or not int(match[1]) < int(match[2]):
        raise OptionError(f"shard is {shard!r}, expected i/n, i from 0 to n - 1, as 0/4")
    if overwrite:
        raise OptionError("--overwrite is not for one of several jobs; remove the store first")
    return int(match[1]), int(match[2])


def _complain_of_missing(decided: Plan, building: Building) -> None:
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
    again = min(choices, key=len, default=[])
    raise PartlyDone(
        f"{building.target}: {len(missing)} of {len(jobs)} jobs are not done; run "
        f"{'--shard ' + ', '.join(again) if again else 'the convert command'} again",
        [job.name for _, job in missing],
    )


def _produce(
    decided: Plan,
    building: Building,
    crew_: Callable[..., AbstractContextManager[Crew]],
    workers: int,
    keep_going: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    """Run the jobs that are not done yet, and record each; what was done in all."""
    for folder in decided.folders():
        building.folder_of(folder)
    jobs = [_anywhere(job) for job in decided.jobs(building.tree)]
    if building.part is not None:
        jobs = jobs[building.part[0] :: building.part[1]]
    waiting = [job for job in jobs if (job.split, job.number) not in building.done]
    total = sum(len(job.samples) for job in jobs)
    state = {"jobs": len(jobs), "samples": 0, "total": total, "events": 0, "bytes": 0}
    for job in jobs:
        entry = building.done.get((job.split, job.number))
        if entry is not None:
            _advance(state, entry)
    if progress is not None:
        progress(state)
    if not waiting:
        return state
    spare = max(1, workers // len(waiting))
    waiting = [replace(job, threads=spare) for job in waiting]
    failures: list[tuple[Job, BaseException]] | None = [] if keep_going else None
    with crew_(
        workers=min(workers, len(waiting)),
        folder=building.folder,
        source=Path(waiting[0].root, waiting[0].samples[0].source),
        memory=decided.memory(1),
    ) as (pool, size):
        for job, entry in run(waiting, pool, size, failures):
            building.record((job.split, job.number), entry)
            _advance(state, entry)
            if progress is not None:
                progress(state)
    if failures:
        raise _partly(building, failures, len(jobs))
    return state


def _anywhere(job: Job) -> Job:
    """The job with a folder that means the same in every process."""
    remote = isinstance(at(job.folder), Remote)
    return job if remote else replace(job, folder=str(Path(job.folder).absolute()))


def _partly(building: Building, failures: list[tuple[Job, BaseException]], jobs: int) -> PartlyDone:
    failed: list[str] = []
    for job, problem in sorted(failures, key=lambda item: (item[0].split, item[0].number)):
        told = getattr(problem, "failed", None)
        failed += told or [f"{job.name}: {problem or type(problem).__name__}"]
    return PartlyDone(
        f"{building.target}: {len(failed)} failures in {len(failures)} of {jobs} jobs; what is "
        "done is kept, and the same command continues; once a recording has another size or is "
        "gone, it needs --overwrite and begins anew",
        failed,
    )


def _advance(state: dict[str, Any], entry: dict[str, Any]) -> None:
    state["samples"] += len(entry["rows"]["n_events"])
    state["events"] += sum(entry["rows"]["n_events"])
    state["bytes"] += sum(file["bytes"] for file in entry["files"].values())
