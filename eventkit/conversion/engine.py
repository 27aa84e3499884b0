"""Runs jobs on an executor, a bounded number at a time, and records each as it is done."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from eventkit.conversion.interrupts import uninterrupted
from eventkit.conversion.plan import Job
from eventkit.conversion.task import produce
from eventkit.errors import OptionError, StoreError
from eventkit.registry import unknown
from eventkit.store.storage import Storage


def _processes(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: the parent has threads, and a worker must not inherit the store's lock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_exit_with, initargs=(os.getpid(),)
    )
    with uninterrupted():
        pool.submit(os.getpid)  # starts the workers
    return pool


def _exit_with(parent: int) -> None:
    """In a worker: end when the coordinator has been killed, instead of waiting for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


ExecutorHandle = tuple[
    Executor, Callable[[], int]
]  # an executor, and how many jobs it works on at once
ENGINES = ("threads", "processes", "dask")


@contextmanager
def executor(
    engine: str,
    workers: int,
    *,
    scheduler: str | None = None,
    folder: Storage,
    source: Path,
    memory: int,
    report: Path | None = None,
) -> Iterator[ExecutorHandle]:
    """An executor of that kind, and how many jobs it works on at once.

    Threads (kernels, compression and file reads release the GIL), processes, or a Dask cluster,
    for which the rest is: its scheduler, what its workers must see and need, and where to report.
    """
    if engine not in ENGINES:
        raise unknown("engine", engine, list(ENGINES))
    if engine != "dask" and (scheduler or report):
        raise OptionError(
            f"a scheduler or a report of Dask is given with the engine {engine}",
            hint="{scheduler:...} and {report:...} go with {engine:dask}",
        )
    if engine == "dask":
        from eventkit.conversion.cluster import cluster

        with cluster(
            scheduler, workers, folder=folder, source=source, memory=memory, report=report
        ) as made:
            yield made
    else:
        pool = ThreadPoolExecutor(workers) if engine == "threads" else _processes(workers)
        yield pool, lambda: workers


def run(
    jobs: Iterable[Job],
    pool: Executor,
    workers: Callable[[], int],
    failures: list[tuple[Job, BaseException]] | None = None,
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield (job, its record) as jobs finish, in any order; two for each worker are submitted.

    At the first failure no new job starts; those that are running finish and are yielded, then
    the error is raised. An interrupt (Ctrl-C) does the same. With `failures`, a list, failures are
    put there instead and the other jobs go on.
    """
    queue = iter(jobs)
    running: dict[Future[dict[str, Any]], Job] = {}
    failure: BaseException | None = None

    def submit(n: int) -> None:
        nonlocal failure
        try:
            for job in islice(queue, max(n, 0)):
                running[pool.submit(produce, job, failures is not None)] = job
        except BrokenExecutor as error:
            failure = error

    try:
        submit(2 * workers())
        while running:
            try:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt as error:
                failure = failure or error
                finished = set()
            if failure is not None:
                for future in [future for future in running if future.cancel()]:
                    del running[future]
            for future in finished & running.keys():
                job = running.pop(future)
                problem = _problem(future, job)
                if problem is None:
                    yield job, future.result()
                elif failures is not None and not isinstance(problem, BrokenExecutor):
                    failures.append((job, problem))
                else:
                    failure = failure or problem
            if failure is None:
                submit(2 * workers() - len(running))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if isinstance(failure, BrokenExecutor):
        raise StoreError(
            "a worker process was killed, possibly out of memory",
            hint="use fewer {workers:...} and run the same conversion again; it continues",
        ) from None
    if failure is not None:
        raise failure


def _problem(future: Future[dict[str, Any]], job: Job) -> BaseException | None:
    """Why a job failed; a failure of the worker, not of the data, is reported with its job."""
    problem = future.exception()
    if type(problem) is StoreError:
        return StoreError(f"{job.name}: {problem}")
    return problem
