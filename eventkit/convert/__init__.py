"""Raw recordings -> store: plan, then independent jobs, then one commit.

plan.py     what will be done: samples, shapes, shards, a digest of all that matters
task.py     the work of one shard, a pure function
engine.py   jobs on any concurrent.futures.Executor
here        the coordinator: finds the data, holds the lock, writes the journal, commits
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eventkit import datasets, layouts
from eventkit.convert import plan
from eventkit.convert.engine import cpus, executor, run
from eventkit.convert.finish import finish
from eventkit.convert.plan import Plan
from eventkit.convert.task import convert_sample, writer
from eventkit.errors import FetchError, OptionError, StoreError
from eventkit.registry import parse_spec
from eventkit.store import Store
from eventkit.store.building import Building, difference, is_store
from eventkit.store.files import sizes
from eventkit.store.objects import Place, at
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
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Convert a dataset (name, TOML or folder of class folders) to a store; the summary.

    An interrupted conversion continues when called again with the same arguments. A finished
    store of the same plan is left alone; one of another plan is an error unless `overwrite`.
    `progress` is called with {"samples", "total", "events", "bytes"} as shards finish.

    Raises FetchError (no data), FormatError (a source is bad), OptionError, StoreError,
    StoreLocked (somebody else is converting to the same target).
    """
    started = time.perf_counter()
    workers = workers or cpus()
    if workers < 1:
        raise OptionError(f"workers is {workers}, expected at least 1")
    root = Path(root) if root is not None else datasets.default_root(name)
    command = _command(name, represent, transform, codec)
    decided = prepare(
        name, represent=represent, root=root, transform=transform, codec=codec, command=command
    )
    target = at(out if out is not None else default_out(decided, represent, transform))
    if dry_run:
        return {
            "out": str(target),
            **describe(decided, workers),
            "seconds": estimate(decided, workers),
        }
    building = building_at(target)
    if _already(decided, target, building, overwrite):
        return _summary(decided, target, 0, started, note="nothing to do")
    with building.locked():
        if overwrite and (building.folder / "plan.json").exists():
            building.reset()
        building.begin(decided.document())
        resumed = len(building.done)
        _produce(decided, building, engine, workers, progress)
        finish(decided, building, command)
        building.finish(replace=overwrite)
    return _summary(decided, target, resumed, started)


def default_out(decided: Plan, represent: str, transform: tuple[str, ...]) -> Path:
    """./NAME-<spec>.zarr, as dvsgesture-frames-16.zarr: names and values, no other characters."""
    words = [decided.dataset.name]
    for text in (represent, *transform):
        name, options = parse_spec(text)
        words += [name, *options.values()]
    return Path("-".join(words) + ".zarr")


def describe(decided: Plan, workers: int) -> dict[str, Any]:
    """What a conversion would do: samples, files, bytes, memory."""
    return {
        "dataset": decided.dataset.name,
        "represent": decided.spec,
        "samples": {split: grid.samples for split, grid in decided.grids.items()},
        "sources": len(decided.sources),
        "source_bytes": sum(decided.sources.values()),
        "shape": [decided.n_frames, *decided.frame] if decided.frame else None,
        "dtype": decided.dtype.name if decided.frame else None,
        "dense_bytes": decided.dense_bytes(),
        "shards": {split: grid.jobs for split, grid in decided.grids.items()},
        "memory_bytes": decided.memory(workers),
        "workers": workers,
        "warnings": decided.listing.warnings,
    }


def estimate(decided: Plan, workers: int) -> float:
    """About how many seconds a conversion takes: two samples are converted to see."""
    seconds = share = 0.0
    with TemporaryDirectory() as tree:
        for folder in decided.folders():
            Path(tree, folder).mkdir(parents=True)
        jobs = decided.jobs(Path(tree))
        for job in (jobs[0], jobs[-1]):  # the first also compiles the kernels
            sample = job.samples[-1]
            of_source = sum(other.source == sample.source for other in decided.listing.samples)
            started = time.perf_counter()
            convert_sample(job, sample, writer(job))
            seconds = time.perf_counter() - started
            share = decided.sources[sample.source] / of_source
    return 0.5 + seconds * sum(decided.sources.values()) / max(share, 1) / workers


def _already(decided: Plan, target: Place, building: Building, overwrite: bool) -> bool:
    """Whether the target is this very store, finished; StoreError if it is something else."""
    occupied = building.occupied()
    if not occupied or overwrite:
        if occupied and not is_store(target):
            raise StoreError(f"{target}: is no eventkit store, so it is not overwritten; move it")
        return False
    if not is_store(target):
        raise StoreError(f"{target}: exists and is no eventkit store; choose another --out")
    attributes = Store(str(target)).attributes
    if attributes["plan_digest"] != decided.digest():
        what = difference(attributes["plan"], decided.document())
        raise StoreError(
            f"{target}: is a finished store of another plan ({what}); "
            "use --overwrite to replace it or another --out"
        )
    building.remove_if_idle()
    return True


def _produce(
    decided: Plan, building: Building, name: str, workers: int, progress: Progress | None
) -> None:
    """Run the jobs that are not done yet, and record each."""
    for folder in decided.folders():
        building.folder_of(folder)
    jobs = decided.jobs(building.tree)
    waiting = [job for job in jobs if (job.split, job.number) not in building.done]
    state = {"samples": 0, "total": len(decided.listing.samples), "events": 0, "bytes": 0}
    for job in jobs:
        entry = building.done.get((job.split, job.number))
        if entry is not None:
            _advance(state, entry)
    if progress is not None:
        progress(state)
    if not waiting:
        return
    workers = min(workers, len(waiting))
    for job, entry in run(waiting, executor(name, workers), 2 * workers):
        building.record((job.split, job.number), entry)
        _advance(state, entry)
        if progress is not None:
            progress(state)


def _advance(state: dict[str, Any], entry: dict[str, Any]) -> None:
    state["samples"] += len(entry["rows"]["n_events"])
    state["events"] += sum(entry["rows"]["n_events"])
    state["bytes"] += sum(file["bytes"] for file in entry["files"].values())


def _command(name: str | Path, represent: str, transform: tuple[str, ...], codec: str) -> str:
    """The command that makes this store, without the paths of one machine."""
    shown = Path(name).name if Path(name).suffix == ".toml" or Path(name).is_dir() else str(name)
    kind, options = parse_spec(represent)
    if kind == "events" and not options:
        parts = ["eventkit convert", shown, "--events"]
    elif kind == "frames" and "n" in options and set(options) <= {"n", "by", "like"}:
        parts = ["eventkit convert", shown, "--frames", options["n"]]
        parts += [
            word for key in ("by", "like") if key in options for word in (f"--{key}", options[key])
        ]
    else:
        parts = ["eventkit convert", shown, "--rep", represent]
    for spec in transform:
        parts += ["--transform", spec]
    if codec != "fast":
        parts += ["--codec", codec]
    return " ".join(parts)


def _summary(
    decided: Plan, target: Place, resumed: int, started: float, note: str = ""
) -> dict[str, Any]:
    store = Store(str(target))
    ledger: dict[str, int] = {}
    for split in store.values():
        for name, column in split.ledger.items():
            ledger[name] = ledger.get(name, 0) + int(column.sum())
    return {
        "out": str(target),
        "note": note,
        "dataset": decided.dataset.name,
        "represent": decided.spec,
        "samples": {split: len(store[split]) for split in store},
        "shape": None if store.kind == "events" else list(store[store.splits[0]].frames.shape[1:]),
        "events": ledger["read"],
        "ledger": ledger,
        "bytes": sum(n_bytes for _, n_bytes in sizes(target)),
        "resumed_shards": resumed,
        "seconds": time.perf_counter() - started,
        "warnings": store.attributes["warnings"],
    }
