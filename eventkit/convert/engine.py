"""Runs jobs on an executor, a bounded number at a time, and records each as it is done."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from itertools import islice
from typing import Any

from eventkit.convert.plan import Job
from eventkit.convert.task import produce
from eventkit.registry import unknown


def cpus() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processes(workers: int) -> Executor:
    # Spawned, not forked: the parent has threads, and a worker must not inherit the store's lock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_leave_with, initargs=(os.getpid(),)
    )
    # A Ctrl-C goes to all processes of a terminal; workers keep this mask, so that it reaches the
    # coordinator alone, which lets them finish what they have begun.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        pool.submit(os.getpid)  # starts the workers
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pool


def _leave_with(parent: int) -> None:
    """In a worker: end when the coordinator has been killed, instead of waiting for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


ENGINES: dict[str, Callable[[int], Executor]] = {
    "threads": ThreadPoolExecutor,  # kernels, compression and file reads release the GIL
    "processes": _processes,
}


def executor(engine: str, workers: int) -> Executor:
    """An executor of that kind with so many workers."""
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    return ENGINES[engine](workers)


def run(
    jobs: Iterable[Job], pool: Executor, in_flight: int
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield (job, its record) as jobs finish, in any order; at most `in_flight` are submitted.

    At the first failure no new job starts; those that are running finish and are yielded, then
    the error is raised. An interrupt (Ctrl-C) does the same.
    """
    queue = iter(jobs)
    running: dict[Future[dict[str, Any]], Job] = {}
    failure: BaseException | None = None

    def submit(n: int) -> None:
        for job in islice(queue, n):
            running[pool.submit(produce, job)] = job

    try:
        submit(in_flight)
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
                problem = future.exception()
                if problem is None:
                    yield job, future.result()
                else:
                    failure = failure or problem
            if failure is None:
                submit(in_flight - len(running))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if failure is not None:
        raise failure
