"""The coordinator's work: runs the jobs of a plan that are not done yet, and records each."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eventkit.conversion import plan, resume
from eventkit.conversion.engine import ExecutorHandle, run
from eventkit.conversion.finish import few
from eventkit.conversion.plan import Job, Plan
from eventkit.errors import PartlyDone
from eventkit.store import storage
from eventkit.store.building import Building

Progress = Callable[[dict[str, Any]], None]


@dataclass
class Run:
    """How the jobs of one conversion are run, and where they are recorded."""

    building: Building
    open_executor: Callable[..., AbstractContextManager[ExecutorHandle]]
    workers: int
    keep_going: bool
    progress: Progress | None
    resumed: int = 0  # jobs that an earlier run has done

    def produce_all(
        self, decided: Plan, failed: resume.Failed, request: dict[str, Any]
    ) -> tuple[Plan, dict[str, Any]]:
        """Run all jobs; the plan, without the samples that failed, and what was done.

        With `keep_going`, the jobs of samples that fail are planned again without them. PartlyDone
        where nothing is left, or in one job of an array.
        """
        building, first = self.building, True
        while True:
            left_out = {"exclude": (), "left_out": decided.left_out, "failed": failed.why}
            building.ask({**request, **left_out})
            resume.keep_sources(decided, building)
            jobs = _jobs(decided, building)
            resume.reuse(decided, jobs, building)
            if first:
                self.resumed, first = len(building.done), False
            state = self._produce(decided, jobs)
            if not state["failed"]:
                return decided, state
            if building.part is not None or len(state["failed"]) == len(decided.listing.samples):
                raise _partly(building, state["failed"], state["total"])
            failed.note(state["failed"], decided.listing.samples)
            decided = plan.without(decided, failed.why)
            building.begin(decided.document(), may_differ=resume.SAMPLES)

    def _produce(self, decided: Plan, jobs: list[Job]) -> dict[str, Any]:
        """Run the jobs that are not done yet, and record each; what was done in all.

        `failed` in it has the samples that failed, with `keep_going`, and why.
        """
        building = self.building
        for folder in decided.folders():
            building.folder_of(folder)
        state: dict[str, Any] = {"jobs": len(jobs), "samples": 0}
        state |= {"total": sum(len(job.samples) for job in jobs), "events": 0, "bytes": 0}
        state["failed"] = {}
        for job in jobs:
            entry = building.done.get((job.split, job.number))
            if entry is not None:
                _advance(state, entry)
        self._show(state)
        waiting = [job for job in jobs if (job.split, job.number) not in building.done]
        if waiting:
            self._run(decided, waiting, state)
        return state

    def _run(self, decided: Plan, waiting: list[Job], state: dict[str, Any]) -> None:
        """Run jobs and record each in the journal and in `state`."""
        building = self.building
        spare = max(1, self.workers // len(waiting))
        waiting = [replace(job, threads=spare) for job in waiting]
        failures: list[tuple[Job, BaseException]] | None = [] if self.keep_going else None
        folder = building.folder
        with self.open_executor(
            workers=min(self.workers, len(waiting)),
            folder=folder.absolute() if isinstance(folder, Path) else folder,
            source=Path(waiting[0].root, waiting[0].samples[0].source),
            memory=decided.memory(1),
        ) as (pool, size):
            for job, entry in run(waiting, pool, size, failures):
                if "failed" in entry:
                    state["failed"] |= entry["failed"]
                    continue
                building.record((job.split, job.number), {**entry, "job": job.digest()})
                _advance(state, entry)
                self._show(state)
        if failures:
            raise _broken(building, failures, state["jobs"])

    def _show(self, state: dict[str, Any]) -> None:
        if self.progress is not None:
            self.progress(state)


def _jobs(decided: Plan, building: Building) -> list[Job]:
    """The jobs of the plan, or of one part of it, with folders that mean the same anywhere."""
    jobs = [_absolute(job) for job in decided.jobs(building.tree)]
    return jobs if building.part is None else jobs[building.part[0] :: building.part[1]]


def _absolute(job: Job) -> Job:
    """The job with folders that mean the same in every process."""
    remote = storage.at(job.folder).is_remote
    folder = job.folder if remote else str(Path(job.folder).absolute())
    return replace(job, folder=folder, root=str(Path(job.root).absolute()))


def _partly(building: Building, failed: dict[str, str], samples: int) -> PartlyDone:
    """That samples failed, and that there is no store for it."""
    if building.part is None:
        hint = "so there is nothing to make a store of"
    else:
        hint = (
            "what else is done is kept; when all parts are done, the same conversion without "
            "{shard:...} makes the store without them"
        )
    return PartlyDone(
        f"{building.target}: {len(failed):,} of {samples:,} samples failed ({few(failed, 3)})",
        list(failed.values()),
        hint=hint,
    )


def _broken(building: Building, failures: list[tuple[Job, BaseException]], jobs: int) -> PartlyDone:
    """That jobs failed for what is not the fault of a recording."""
    ordered = sorted(failures, key=lambda item: (item[0].split, item[0].number))
    return PartlyDone(
        f"{building.target}: {len(failures)} of {jobs} jobs failed",
        [f"{job.name}: {problem or type(problem).__name__}" for job, problem in ordered],
        hint="what is done is kept, and the same conversion continues",
    )


def _advance(state: dict[str, Any], entry: dict[str, Any]) -> None:
    state["samples"] += len(entry["rows"]["n_events"])
    state["events"] += sum(entry["rows"]["n_events"])
    state["bytes"] += sum(file["bytes"] for file in entry["files"].values())
