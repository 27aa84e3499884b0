"""A damaged store made whole again: what is bad is made anew, and only that.

First what the store itself can restore (store/restore.py), then, from the sources, the shards and
columns that are left. Everything is compared with the checksum it had before it takes its place,
by a rename, so that a repair may be interrupted anywhere and run again.
"""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from eventkit import datasets, layouts
from eventkit._platform import cpus
from eventkit._write import sync
from eventkit.conversion import sampling
from eventkit.conversion.chosen import Chosen
from eventkit.conversion.engine import run
from eventkit.conversion.finish import source_arrays, split_arrays
from eventkit.conversion.grids import Segments
from eventkit.conversion.plan import Job, Plan, make
from eventkit.conversion.sampling import WindowOptions
from eventkit.conversion.targets import packed
from eventkit.errors import FetchError, StoreError, UnknownName
from eventkit.layouts.own import described
from eventkit.registry import format_spec
from eventkit.store import Store
from eventkit.store.building import Building, difference
from eventkit.store.journal import Key
from eventkit.store.local import Local, failpoint
from eventkit.store.provenance import check_source, sources
from eventkit.store.restore import restore_root, restore_small
from eventkit.store.shard import CODECS, Codec, file_crc32c
from eventkit.store.storage import is_remote
from eventkit.store.targets import is_start
from eventkit.store.tree import Tree, versions
from eventkit.store.verify import examine

Progress = Callable[[int, int], None]
FROM_PLAN = ("labels", "source", "window_start", "window_stop")


def repair(
    path: str | Path,
    *,
    root: str | Path | None = None,
    dataset: str | Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make a damaged store what it was, byte for byte; the summary, with the names `repaired`.

    `root` is the folder of the sources, by default where `convert` looks for them; they are read
    only if the store cannot be restored from itself. `dataset` is the description (TOML) or folder
    that it was converted from, if it is none of the known ones. What does not belong to the store
    is named in `left` and stays. `progress(samples done, in all)` counts what is made anew.

    Raises StoreError when there is no store, when the sources are not those it was made from or
    when this version makes other bytes; StoreLocked when it is being converted or repaired.
    """
    started = time.perf_counter()
    if is_remote(path):
        raise StoreError(
            f"{path}: only stores on a disk are repaired; convert it again with --overwrite"
        )
    place = Local(path).resolve()
    if not (place / "integrity").is_dir() and not (place / "zarr.json").exists():
        Store(place)  # says what is there instead
    building = Building(place)
    with building.locked():
        mender = _Mender(place, building.folder / "repair")
        try:
            repaired = restore_root(place, mender.put)
            store = Store(place, check=False)
            found, _ = examine(store, workers or cpus())
            names = {problem.name for problem in found}
            repaired += restore_small(store, names, mender.put)
            if any(name.startswith("integrity/") for name in repaired):
                found, _ = examine(store, workers or cpus())  # now with the lists of checksums
            own = _own(store)
            foreign = [str(problem) for problem in found if problem.name not in own]
            bad = {problem.name for problem in found} & own - set(repaired)
            if bad:
                anew = _Anew(store, bad, mender, root, dataset)
                anew.make(workers or cpus(), progress or (lambda done, total: None))
            mender.sync()
        finally:
            shutil.rmtree(mender.scratch, ignore_errors=True)
            if not (building.folder / "plan.json").exists():
                building.remove()
    return {
        "store": str(place),
        "repaired": sorted(set(mender.moved)),
        "left": foreign,
        "seconds": time.perf_counter() - started,
    }


def _own(store: Store) -> set[str]:
    """Every file that may be in the store, and the arrays in shards."""
    own = {"zarr.json", *store.attributes["files"]}
    for split in store:
        for array in store[split].arrays:
            own |= {array.name, *array.files()}
    return own


class _Mender:
    """Puts whole files in their places: written beside the store, compared, renamed into it."""

    def __init__(self, path: Local, scratch: Local) -> None:
        self.path, self.scratch = path, scratch
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        self.moved: list[str] = []

    def put(self, name: str, data: bytes) -> None:
        """A file of these bytes."""
        (self.scratch / "file").write(data)
        self.move(self.scratch / "file", name)

    def move(self, source: Path, name: str) -> None:
        """A file that is written already."""
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
        except OSError as error:
            raise StoreError(
                f"{target}: cannot be put in its place ({error.strerror}); "
                "move away what is there and see who may write there, then repair again"
            ) from None
        failpoint("after_repair")
        self.moved.append(name)

    def sync(self) -> None:
        """Make the renames durable."""
        for folder in {(self.path / name).parent for name in self.moved}:
            sync(folder)


class _Anew:
    """What can only be made from the sources: shards, and columns of what was read."""

    def __init__(
        self,
        store: Store,
        bad: set[str],
        mender: _Mender,
        root: str | Path | None,
        dataset: str | Path | None,
    ) -> None:
        self.store, self.bad, self.mender = store, bad, mender
        self.root, self.dataset = root, dataset

    @cached_property
    def plan(self) -> Plan:
        """The plan of the store, made again from its sources. StoreError where it is another."""
        told = self.store.attributes
        if "made_of" in told["plan"]:
            raise StoreError(
                f"{self.store.path}: was made of other stores; make it again with "
                f"--overwrite: {told['command']}"
            )
        dataset, root = self._find()
        chosen = self._chosen(root)
        dataset = chosen.dataset(dataset)
        folder = layouts.find(dataset, root)
        if folder is None:
            raise FetchError(
                f"{root}: no data of {dataset.name} there, from which {self.store.path} could be "
                "repaired; give its folder with --root"
            )
        specs = [
            format_spec(step["name"], {k: v for k, v in step.items() if k != "name"})
            for step in (told["plan"]["representation"], *told["plan"]["transforms"])
        ]
        codec = Codec(**told["plan"]["codec"])
        names = [name for name, known in CODECS.items() if known == codec] or ["?"]
        windows, tolerant = told["plan"].get("windows"), told["plan"].get("tolerant", False)
        options = WindowOptions.of(**windows) if windows else None
        label_rules = told["plan"].get("targets", {}).get("rules")
        listing = sampling.listing(
            dataset, folder, options, chosen=chosen, tolerant=tolerant, label_rules=label_rules
        )
        self._check_sizes(folder)
        made = make(
            dataset,
            listing,
            specs[0],
            tuple(specs[1:]),
            names[0],
            tolerant=tolerant,
            left_out=told["plan"].get("left_out", ()),
            windows=windows,
            label_rules=label_rules,
            chosen=told["plan"].get("chosen"),
        )
        if made.digest() != told["plan_digest"]:
            what = difference(told["plan"], made.document())
            raise StoreError(
                f"{folder}: {self.store.path} was made by another plan ({what}); give the data "
                "and the description that it was made from, or convert again"
            )
        return made

    def _find(self) -> tuple[datasets.Dataset, Path]:
        name = self.store.attributes["dataset"]
        if self.dataset is not None:
            found = described(self.dataset)
            return found, Path(self.root or datasets.default_root(self.dataset))
        if name in datasets.names():
            return datasets.load(name), Path(self.root or datasets.default_root(name))
        if self.root is None or not Path(self.root).is_dir():
            raise UnknownName(
                f"{self.store.path} was made from {name!r}, which is none of the known datasets; "
                "give its files with --root and, if it has one, its description with --dataset"
            )
        return replace(described(self.root), name=name), Path(self.root)

    def _chosen(self, root: Path) -> Chosen:
        """What was chosen when the store was made; a table of labels is looked for in `root`."""
        options = dict(self.store.attributes["plan"].get("chosen", {}))
        if "labels" in options and (root / options["labels"]).is_file():
            options["labels"] = str(root / options["labels"])
        return Chosen.of(**options)

    def _check_sizes(self, folder: Path) -> None:
        """Compare the sources with those the store was made from, before anything is read."""
        if any(name.startswith("sources/") for name in self.bad):
            return
        for source in sources(self.store):
            path = folder / source["name"]
            size = path.stat().st_size if path.is_file() else None
            if size != source["bytes"]:
                check_source(self.store, folder, source)

    def make(self, workers: int, progress: Progress) -> None:
        """Make all that is bad."""
        entries: dict[Key, dict[str, Any]] = {}
        needed = self._jobs()
        if needed:
            self._check_sources(needed)
            entries = self._produce(needed, workers, progress)
        tree = Tree(_Scratch(self.mender.scratch / "small", entries))
        numbers = {name: i for i, name in enumerate(self.plan.sources)}
        for split, grid in self.plan.grids.items():
            if any(name.startswith((f"{split}/", f"integrity/{split}/")) for name in self.bad):
                for number in range(grid.jobs):
                    if (split, number) not in entries:
                        entries[split, number] = self._entry(split, number)
                split_arrays(tree, self.plan, split, numbers)
        if any(name.startswith("sources/") for name in self.bad):
            crcs = {name: file_crc32c(self.plan.listing.root / name) for name in numbers}
            source_arrays(tree, self.plan, crcs)
        for name in sorted(self.bad & self.store.attributes["files"].keys()):
            if self.store.attributes["files"][name] != tree.files.get(name):
                raise self._other_bytes(name)
            self.mender.move(tree.building.tree / name, name)

    def _jobs(self) -> list[Job]:
        """The jobs whose shards are bad; of a split whose columns are bad, all of them."""
        tree = self.mender.scratch / "store"
        for folder in self.plan.folders():
            (tree / folder).mkdir(parents=True)
        wanted = []
        for job in self.plan.jobs(tree):
            files = {f for a in self.store[job.split].arrays for f in a.files(job.number)}
            if files & self.bad or self._whole_split(job.split):
                wanted.append(job)
        return wanted

    def _whole_split(self, split: str) -> bool:
        """Whether a column is bad that only reading all recordings of the split can give."""
        given = {f"{split}/{name}/c.0" for name in FROM_PLAN}
        for sample in self.plan.samples(split):
            given |= {f"{split}/{name}/c.0" for name in sample.columns}
        small = self.store.attributes["files"].keys() & self.bad
        names = {name for name in small if name.startswith((f"{split}/", f"integrity/{split}/"))}
        return bool(names - given)

    def _check_sources(self, jobs: list[Job]) -> None:
        if any(name.startswith("sources/") for name in self.bad):
            return
        wanted = {sample.source for job in jobs for sample in job.samples}
        if self.plan.targets is not None:
            found = self.plan.targets.names(self.plan.listing.root, wanted)
            wanted |= {name for names in found.values() for name in names}
        for source in sources(self.store):
            if source["name"] in wanted:
                check_source(self.store, self.plan.listing.root, source)

    def _produce(
        self, jobs: list[Job], workers: int, progress: Progress
    ) -> dict[Key, dict[str, Any]]:
        """Run the jobs, and put those of their files in place that are bad."""
        entries: dict[Key, dict[str, Any]] = {}
        done, total = 0, sum(len(job.samples) for job in jobs)
        progress(0, total)
        workers = min(workers, len(jobs))
        tree = self.mender.scratch / "store"
        for job, entry in run(jobs, ThreadPoolExecutor(workers), lambda: workers):
            entries[job.split, job.number] = entry
            unlisted = any(name.startswith(f"integrity/{job.split}/") for name in self.bad)
            expected = {} if unlisted else self._expected(job.split)
            for name, file in entry["files"].items():
                if name in self.bad or unlisted:
                    if not unlisted and expected.get(name) != (file["bytes"], file["crc"]):
                        raise self._other_bytes(name)
                    self.mender.move(tree / name, name)
            done += len(job.samples)
            progress(done, total)
        return entries

    def _expected(self, split: str) -> dict[str, tuple[int, int]]:
        return {
            name: (size, crc)
            for array in self.store[split].arrays
            for name, size, crc in array.listed()
        }

    def _entry(self, split: str, number: int) -> dict[str, Any]:
        """What a job told when the store was made, from the columns of the store."""
        part, grid = self.store[split], self.plan.grids[split]
        rows = slice(number * grid.per_job, (number + 1) * grid.per_job)
        given = {*FROM_PLAN, *(n for sample in self.plan.samples(split) for n in sample.columns)}
        given |= {name for name in part.columns if is_start(name)}
        columns = [name for name in part.columns if name not in given]
        entry: dict[str, Any] = {
            "rows": {name: part.column(name)[rows].tolist() for name in columns},
            "files": {},
            "sources": {},
            "notes": [],
        }
        if self.plan.targets is not None:
            entry["targets"] = {}
            for kind in self.plan.targets.files:
                entry["targets"][kind] = packed(*part.targets.rows(kind, rows))
        for array in part.arrays:
            mine = set(array.files(number))
            for name, size, crc in array.listed():
                if name in mine:
                    entry["files"][name] = {"bytes": size, "crc": crc}
        if isinstance(grid, Segments):
            chunks = -(-part.column("count") // grid.chunk)
            first, last = int(chunks[: rows.start].sum()), int(chunks[: rows.stop].sum())
            entry["chunk_t"] = self.store.small(f"{split}/events/chunk_t")[first:last].tolist()
        return entry

    def _other_bytes(self, name: str) -> StoreError:
        made, now = self.store.attributes["versions"], versions()
        other = [
            f"{key} {made.get(key)}, here {now[key]}" for key in now if made.get(key) != now[key]
        ]
        return StoreError(
            f"{self.store.path}: {name} comes out with other bytes than it had "
            f"({'made by ' + '; '.join(other) if other else 'the sources differ'}); "
            "repair it with the versions that made it, or convert again with --overwrite"
        )


class _Scratch:
    """As much of a Building as the last step of a conversion needs."""

    def __init__(self, tree: Local, done: dict[Key, dict[str, Any]]) -> None:
        self.tree, self.done = tree, done

    def folder_of(self, *parts: str) -> Local:
        path = self.tree.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path
