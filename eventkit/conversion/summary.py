"""What a conversion is said to do and to have done."""

import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eventkit.conversion.functions import split_spec
from eventkit.conversion.plan import Plan
from eventkit.conversion.results import Converted
from eventkit.conversion.sampling import WindowOptions
from eventkit.conversion.task import convert_sample, writer
from eventkit.store import Store
from eventkit.store.storage import Storage, at


def default_out(
    decided: Plan,
    represent: str,
    transform: tuple[str, ...],
    codec: str,
    windows: WindowOptions | None = None,
    label_rules: str | None = None,
) -> Path:
    """./NAME-<spec>.zarr, as dvsgesture-frames-16.zarr: names and values, no other characters."""
    words = [decided.dataset.name]
    for text in (represent, *transform):
        name, options = split_spec(text)
        name = name.rpartition(":")[2]  # of a function, its own
        # A unit, as frames of 16 µs are not 16 frames.
        words += [name, *(f"{v}us" if key == "duration" else v for key, v in options.items())]
    for key, value in (windows.given() if windows else {}).items():
        if key in ("at", "side"):
            words.append(re.sub(r"[^\w.]+", "-", Path(value).stem).strip("-"))
        elif key in ("count", "active"):
            words += [key, re.sub(r"[^\w.]+", "-", str(value)).strip("-")]
        elif key != "at_unit":
            words += ([key] if key != "window" else []) + [_with_unit(value).replace("/", "-")]
    words += [label_rules] if label_rules else []
    if split := decided.chosen.get("split"):
        words.append(re.sub(r"[^\w.]+", "-", split))
    words += [] if codec == "fast" else [codec]
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
        "warnings": [*decided.listing.warnings, *decided.remarks],
    }


def estimate(decided: Plan, workers: int) -> float:
    """About how many seconds a conversion takes: two samples are converted to see."""
    seconds = share = 0.0
    with TemporaryDirectory() as tree:
        for folder in decided.folders():
            Path(tree, folder).mkdir(parents=True)
        jobs = decided.jobs(at(tree))
        for job in (jobs[0], jobs[-1]):  # the first also compiles the kernels
            sample = job.samples[-1]
            of_source = sum(other.source == sample.source for other in decided.listing.samples)
            started = time.perf_counter()
            convert_sample(job, sample, writer(job))
            seconds = time.perf_counter() - started
            share = decided.sources[sample.source] / of_source
    return 0.5 + seconds * sum(decided.sources.values()) / max(share, 1) / workers


def command_of(
    name: str | Path,
    represent: str,
    transform: tuple[str, ...],
    codec: str,
    tolerant: bool = False,
    exclude: Sequence[str] = (),
    windows: dict[str, Any] | None = None,
    label_rules: str | None = None,
    chosen: dict[str, str] | None = None,
) -> str:
    """The command that makes this store, without the paths of one machine."""
    shown = Path(name).name if Path(name).suffix == ".toml" or Path(name).is_dir() else str(name)
    kind, options = split_spec(represent)
    if kind == "events" and not options:
        words = ["eventkit", "convert", shown, "--events"]
    elif kind == "frames" and "n" in options and set(options) <= {"n", "by", "like"}:
        words = ["eventkit", "convert", shown, "--frames", options["n"]]
        words += [
            part for key in ("by", "like") if key in options for part in (f"--{key}", options[key])
        ]
    else:
        words = ["eventkit", "convert", shown, "--rep", represent]
    for key, value in (windows or {}).items():
        value = Path(value).name if key == "at" and Path(value).is_absolute() else value
        text = str(value) if key == "count" else _with_unit(value)
        words += [f"--{key.replace('_', '-')}", text]
    words += ["--label-rules", label_rules] if label_rules else []
    for key, value in (chosen or {}).items():
        flag = "--from" if key == "source" else f"--{key}"
        words += [
            flag,
            Path(value).name if key == "labels" and Path(value).is_absolute() else value,
        ]
    for spec in transform:
        words += ["--transform", spec]
    if codec != "fast":
        words += ["--codec", codec]
    words += ["--tolerant"] if tolerant else []
    for file in exclude:
        words += ["--exclude", Path(file).name if Path(file).is_absolute() else file]
    return shlex.join(words)


def _with_unit(value: str | int) -> str:
    """A duration of windows as one writes it: a number is µs."""
    if isinstance(value, str):
        return value
    return f"{value // 1000}ms" if value % 1000 == 0 else f"{value}us"


def summary(target: Storage, resumed: int, started: float, note: str = "") -> Converted:
    """What a finished store holds, and what making it took."""
    store = Store(str(target))
    ledger: dict[str, int] = {}
    for split in store.values():
        for name, column in split.ledger.items():
            ledger[name] = ledger.get(name, 0) + int(column.sum())
    return Converted(
        out=str(target),
        note=note,
        dataset=store.attributes["dataset"],
        represent=store.attributes["represent"],
        samples={split: len(store[split]) for split in store},
        shape=None if store.kind == "events" else list(store[store.splits[0]].frames.shape[1:]),
        events=ledger["read"],
        ledger=ledger,
        bytes=sum(n_bytes for _, n_bytes in target.files()),
        resumed_shards=resumed,
        seconds=time.perf_counter() - started,
        warnings=store.attributes["warnings"],
    )
