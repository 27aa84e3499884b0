"""A Dask cluster as an executor; the only module that imports Dask.

Of Dask, only Client, submit, run and retire_workers are used. What goes wrong on clusters is looked
for before the start: another version of eventkit on a worker (other bytes), a folder that a worker
does not see (its shards would be nowhere), and less memory than a task needs (the worker would be
killed). A worker that joins later is looked at in its first task; one that fails is retired.
"""

import logging
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import eventkit
from eventkit import __version__
from eventkit.conversion import profile
from eventkit.conversion.interrupts import uninterrupted
from eventkit.errors import EventkitError, MissingExtra, OptionError, StoreError
from eventkit.store.storage import Storage, at

RETRIES = 2  # of a task that failed for a reason that is not ours, as a file server that is gone
WAIT = 60  # seconds for the first worker
ANSWERS = 10  # seconds for a scheduler to answer
VERSIONS = {"eventkit": __version__, "numcodecs": version("numcodecs")}


@contextmanager
def cluster(
    scheduler: str | None,
    workers: int,
    *,
    folder: Storage,
    source: Path,
    memory: int,
    report: Path | None = None,
) -> Iterator[tuple[Executor, Callable[[], int]]]:
    """An executor on a Dask cluster that has been examined, and how many tasks it works on at once.

    `scheduler` is an address, a scheduler file (.json), a profile (.toml) or local. All workers
    must see `folder`, where they write, and `source`, and give each task `memory` bytes.
    """
    with ExitStack() as stack:
        client, wait = _client(scheduler, workers, stack)
        needs = stack.enter_context(needing(folder, source, memory))
        for address, reported in _facts_of_all(client, needs, wait).items():
            if problem := unfit(reported, memory):
                raise OptionError(f"worker {address}: {problem}")
        if report is not None:
            _report(report, stack)
        yield DaskExecutor(client, needs), _Threads(client)


@dataclass(frozen=True)
class Needs:
    """What every worker must see and have."""

    folder: str  # with a file whose name and contents are the token
    token: str
    source: str
    memory: int
    versions: dict[str, str] = field(default_factory=lambda: dict(VERSIONS))


@contextmanager
def needing(folder: Storage, source: Path, memory: int) -> Iterator[Needs]:
    """What workers need, with the token in the folder for as long as there are any."""
    token = f"token-{secrets.token_hex(8)}"
    (folder / token).write_bytes(token.encode())
    try:
        yield Needs(str(folder), token, str(source), memory)
    finally:
        (folder / token).unlink()


def _client(scheduler: str | None, workers: int, stack: ExitStack) -> tuple[Any, int]:
    """A client, closed with the stack, and how long its first worker may take."""
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.ERROR)  # what matters is raised
    path = Path(scheduler or "local")
    settings = None
    if path.suffix == ".toml":
        settings = profile.load(path)
        workers = settings.workers if settings.kind == "local" else workers
    if scheduler in (None, "local") or (settings is not None and settings.kind == "local"):
        with uninterrupted():
            local = Client(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
                env={"NUMBA_NUM_THREADS": "1"},
            )
        return stack.enter_context(local), WAIT
    if settings is not None:
        jobs = stack.enter_context(settings.cluster())
        return stack.enter_context(Client(jobs)), settings.wait
    if path.suffix == ".json" and not path.exists():
        raise OptionError(f"scheduler {path}: no such scheduler file")
    where = {"scheduler_file": str(path)} if path.suffix == ".json" else {"address": scheduler}
    try:
        return stack.enter_context(Client(**where, timeout=ANSWERS)), WAIT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"scheduler {scheduler}: no Dask scheduler answers there "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            hint="start one with `dask scheduler`, or give its address, its scheduler file, a "
            "profile or local as {scheduler:...}",
        ) from None


def _report(path: Path, stack: ExitStack) -> None:
    """Have Dask write its performance report at the end."""
    from distributed import performance_report

    try:
        import bokeh  # noqa: F401
    except ImportError:
        raise MissingExtra("a report of Dask needs bokeh", "cluster") from None
    stack.enter_context(performance_report(filename=str(path)))


def facts(needs: Needs, dask_worker: Any = None) -> dict[str, Any]:
    """What a worker says of itself; runs on the worker."""
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    from eventkit.events import Events

    Events.empty((1, 1)).sort()  # Numba finds a folder for its cache, or says what is wrong
    reported = {name: _version(name) for name in VERSIONS}
    found = ""
    with suppress(OSError):
        found = (at(needs.folder) / needs.token).read_bytes().decode()
    local = not at(needs.folder).is_remote
    return {
        **reported,
        "folder": found == needs.token and (not local or os.access(needs.folder, os.W_OK)),
        "source": Path(needs.source).exists(),
        "memory": dask_worker.memory_manager.memory_limit or 0,
        "threads": dask_worker.state.nthreads,
    }


def _version(name: str) -> str:
    return eventkit.__version__ if name == "eventkit" else version(name)


def _facts_of_all(client: Any, needs: Needs, wait: int) -> dict[str, Any]:
    """The facts of each worker by its address; waits for the first."""
    until = time.monotonic() + wait
    while True:
        found: dict[str, Any] = client.run(facts, needs, on_error="return")
        if found:
            return found
        if time.monotonic() > until:
            raise OptionError(
                f"the Dask cluster has no worker after {wait} s; start some with "
                "`dask worker ADDRESS`, or see why the batch system starts none"
            )
        time.sleep(0.2)


def unfit(
    reported: dict[str, Any] | BaseException, memory: int, versions: dict[str, str] = VERSIONS
) -> str:
    """Why the conversion would go wrong on the worker that reported these facts; or nothing."""
    if isinstance(reported, BaseException):
        return f"{type(reported).__name__}: {reported}; install eventkit {__version__} there"
    for name, ours in versions.items():
        if reported[name] != ours:
            return (
                f"has {name} {reported[name]}, here it is {ours}; install the same there, "
                "or the bytes would differ"
            )
    for what, named in (("folder", "the store"), ("source", "the recordings")):
        if not reported[what]:
            return f"does not see {named}, which must be on a file system that all workers share"
    share = reported["memory"] // max(reported["threads"], 1)
    if reported["memory"] and share < memory:
        return (
            f"gives a task {share / 1e6:,.0f} MB, it may need {memory / 1e6:,.0f} MB; "
            "start workers with more --memory-limit or fewer --nthreads"
        )
    return ""


class _Threads:
    """How many threads the cluster has, asked for at most every few seconds: it may grow."""

    def __init__(self, client: Any) -> None:
        self._client, self._asked, self._threads = client, float("-inf"), 1

    def __call__(self) -> int:
        if time.monotonic() - self._asked > 5:
            self._threads = max(1, sum(self._client.nthreads().values()))
            self._asked = time.monotonic()
        return self._threads


_fit: set[str] = set()  # the tokens of the conversions for which this worker was found fit


@dataclass(frozen=True)
class Unfit:
    """The answer of a worker that must not work, instead of a result."""

    worker: str
    problem: str


def work(function: Callable[..., Any], needs: Needs, *arguments: Any) -> Any:
    """A task on a worker: its result, or the error that no retry would mend.

    The worker may have joined after all others were looked at, so it looks at itself first.
    """
    from distributed import get_worker

    worker = get_worker()
    if needs.token not in _fit:
        if problem := unfit(facts(needs, worker), needs.memory, needs.versions):
            return Unfit(worker.address, problem)
        _fit.add(needs.token)
    try:
        result = function(*arguments)
    except EventkitError as error:
        return error
    return {**result, "worker": worker.address} if isinstance(result, dict) else result


class DaskExecutor(Executor):
    """`concurrent.futures` over a Dask client: results are handed on and then forgotten there.

    A worker that finds itself unfit is retired, and what it was given is given to another.
    """

    def __init__(self, client: Any, needs: Needs) -> None:
        self._client, self._needs = client, needs
        self._theirs: dict[Future[Any], Any] = {}
        self._retired: set[str] = set()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **_: Any) -> Future[Any]:
        ours: Future[Any] = Future()
        self._start(ours, function, arguments)
        return ours

    def _start(
        self, ours: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        theirs = self._client.submit(
            work, function, self._needs, *arguments, pure=False, retries=RETRIES
        )
        self._theirs[ours] = theirs
        theirs.add_done_callback(lambda done: self._hand_on(ours, done, function, arguments))

    def _hand_on(
        self,
        ours: Future[Any],
        theirs: Any,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> None:
        self._theirs.pop(ours, None)
        try:
            result = theirs.result() if theirs.status == "finished" else _why(theirs)
            theirs.release()
            if isinstance(result, Unfit):
                if not ours.cancelled() and self._others(result):
                    self._start(ours, function, arguments)
                    return
                result = OptionError(f"worker {result.worker}: {result.problem}")
        except Exception as error:  # of the connection, or of the task itself
            result = error
        if not ours.set_running_or_notify_cancel():
            return
        if isinstance(result, BaseException):
            ours.set_exception(result)
        else:
            ours.set_result(result)

    def _others(self, unfit: Unfit) -> bool:
        """Retire a worker, and say whether there are others."""
        if unfit.worker not in self._retired:
            self._retired.add(unfit.worker)
            reported = f"worker {unfit.worker} was retired: {unfit.problem}"
            warnings.warn(reported, stacklevel=1)
            self._client.retire_workers(workers=[unfit.worker], close_workers=True)
        return bool(self._client.nthreads().keys() - self._retired)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Forget what still runs: it writes the same bytes, or nothing where the store is done."""
        for ours, theirs in list(self._theirs.items()):
            if ours.cancel():
                theirs.cancel()


def _why(theirs: Any) -> BaseException:
    if theirs.status != "error":
        return StoreError(
            "the Dask scheduler was lost; start it and run the same command again, it continues"
        )
    error: BaseException = theirs.exception()
    if type(error).__name__ == "KilledWorker":
        last = getattr(getattr(error, "last_worker", None), "address", "unknown")
        return StoreError(
            f"{getattr(error, 'allowed_failures', 3) + 1} workers died in it, out of memory "
            f"perhaps, the last was {last}; give workers more memory"
        )
    return error
