"""What a conversion takes over from an earlier run, and which samples it goes without."""

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from eventkit.conversion.plan import Job, Plan, named
from eventkit.conversion.task import stat_of
from eventkit.errors import FormatError, OptionError
from eventkit.layouts import Sample
from eventkit.store import Store
from eventkit.store.building import Building, is_store
from eventkit.store.metadata import dumps
from eventkit.store.shard import file_crc32c

# In what a plan may differ from that of an unfinished conversion, whose jobs are then looked at.
SAMPLES = ("sources", "splits", "grids", "left_out")


def reuse(plan: Plan, jobs: Sequence[Job], building: Building) -> None:
    """Forget of what is done those of these jobs that would come out otherwise now.

    Their samples are others, or a source is: where its size, time or inode are not those noted,
    it is summed again.
    """
    alone = building.part is None
    now: dict[str, tuple[list[int], list[int]]] = {}
    known = {(job.split, job.number): job for job in jobs}
    for key, entry in list(building.done.items()):
        job = known.get(key)
        if job is None and not alone:  # another's of the array
            continue
        if job is None or entry.get("job") != job.digest() or not _same(plan, entry, now):
            del building.done[key]


def _same(plan: Plan, entry: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether the sources of a job are those that it read; `now` keeps what was found of each."""
    for name, crc in entry["sources"].items():
        path = plan.listing.root / name
        try:
            stat = stat_of(path)
            if stat == entry["stats"][name]:
                continue
            if now.get(name, (None,))[0] != stat:
                now[name] = (stat, file_crc32c(path))
        except (OSError, KeyError):
            return False
        if now[name][1] != crc:
            return False
    return True


def state(plan: Plan, building: Building) -> str:
    """What is at the target, in words, and what a conversion by this plan would do with it."""
    document, plan_file = plan.document(), building.folder / "plan.json"
    if building.occupied():
        if not is_store(building.target):
            return "no eventkit store, which is never replaced"
        if Store(str(building.target)).attributes["plan_digest"] == plan.digest():
            return "the finished store of this plan, which is left alone"
        return "a store of another plan, which only overwriting replaces"
    if not plan_file.exists():
        return ""
    if building.continues(json.loads(plan_file.read_bytes()), document, SAMPLES):
        return "an unfinished conversion, which is continued"
    return "an unfinished conversion of another plan, which only overwriting drops"


def gone(plan: Plan, building: Building) -> list[str]:
    """Sentences on the sources of the earlier run that are not those of the plan."""
    try:
        earlier = json.loads((building.folder / "sources.json").read_bytes())
    except FileNotFoundError:
        return []
    out = {name.partition(", ")[0] for name in plan.left_out}
    lost = [n for n in earlier if n not in plan.sources and n not in out]
    other = [n for n, size in earlier.items() if plan.sources.get(n, size) != size]
    new = [n for n in plan.sources if n not in earlier]
    notes = []
    for names, what in ((lost, "not there any more"), (other, "of another size"), (new, "new")):
        if names:
            more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
            verb = "is" if len(names) == 1 else "are"
            notes.append(f"{', '.join(names[:3])}{more} {verb} {what} since the earlier run")
    return notes


def keep_sources(plan: Plan, building: Building) -> None:
    """Keep the sources with their sizes for `gone`."""
    (building.folder / "sources.json").write(dumps(plan.sources))


def excluded(samples: Iterable[Sample], root: Path, files: Sequence[str | Path]) -> set[str]:
    """The names of these recordings, as below the root.

    Each is given as below the root, as a path, or by the end of its name if no other has it.
    Raises OptionError for one that is none of them.
    """
    names = dict.fromkeys(sample.source for sample in samples)
    out: set[str] = set()
    for file in map(str, files):
        found = {n for n in names if file == n or Path(file).absolute() == (root / n).absolute()}
        if not found and len(ends := [n for n in names if n.endswith(f"/{file}")]) == 1:
            found = set(ends)
        if not found:
            near = difflib.get_close_matches(file, names, n=1)
            hint = (
                f"; did you mean {near[0]}?" if near else f"; they are named as {next(iter(names))}"
            )
            raise OptionError(f"exclude {file}: no recording of that name below {root}{hint}")
        out |= found
    return out


class Failed:
    """The samples that failed, and why: kept beside the journal, so that a later run knows them."""

    def __init__(self, building: Building, root: Path) -> None:
        self.building, self.root = building, root
        self.why: dict[str, str] = {}
        self._stats: dict[str, Any] = {}

    def recall(self, overwrite: bool) -> None:
        """Those of an earlier run, but for those whose recording was changed since.

        Where a store was made without them, it says which they are; not to one that replaces it.
        """
        try:
            kept = json.loads((self.building.folder / "failed.json").read_bytes())
        except (FileNotFoundError, ValueError):
            kept = {}
        for name, (why, source, stat) in kept.items():
            if _stat(self.root / source) == stat:
                self.why[name], self._stats[name] = why, [source, stat]
        target = self.building.target
        if not kept and not overwrite and is_store(target):
            self.why = dict(Store(str(target)).attributes.get("failed", {}))

    def note(self, failed: dict[str, str], samples: Iterable[Sample]) -> None:
        """Add some, of which there are these samples."""
        source = {named(sample): sample.source for sample in samples}
        for name, why in failed.items():
            self.why[name] = why
            self._stats[name] = [source[name], _stat(self.root / source[name])]
        kept = {name: [self.why[name], *notes] for name, notes in self._stats.items()}
        (self.building.folder / "failed.json").write(dumps(kept))


def _stat(path: Path) -> list[int] | None:
    try:
        return stat_of(path)
    except (OSError, FormatError):
        return None
