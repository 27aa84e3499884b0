"""How to ask a batch system for Dask workers, as a small TOML file.

    kind = "slurm"              # slurm, pbs, sge, lsf, or local: processes of this machine
    workers = 20                # how many jobs to ask for
    cores = 4                   # of each; a worker process of one thread runs on each core
    memory = "16GB"             # of each job
    walltime = "02:00:00"
    queue = "normal"            # and account, interface, python; all of these may be left out
    directives = ["--exclusive"]            # more lines for the head of the job script
    prologue = ["module load python"]       # commands to run before the worker
    wait = 600                  # seconds until the first worker must be there

The rest is done by dask-jobqueue: https://jobqueue.dask.org.
"""

import difflib
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from eventkit.errors import MissingExtra, OptionError

CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}
KINDS = [*CLASSES, "local"]


@dataclass(frozen=True)
class Profile:
    """What is asked of a batch system; the module's docstring says what the fields are."""

    kind: str
    workers: int = 1
    cores: int = 1
    memory: str = ""
    walltime: str = "01:00:00"
    queue: str = ""
    account: str = ""
    interface: str = ""
    python: str = ""
    directives: list[str] = field(default_factory=list)
    prologue: list[str] = field(default_factory=list)
    wait: int = 600

    def cluster(self) -> Any:
        """A dask_jobqueue cluster that asks for the jobs. MissingExtra without dask-jobqueue."""
        try:
            import dask_jobqueue
        except ImportError:
            raise MissingExtra(
                f"a profile of kind {self.kind!r} needs dask-jobqueue", "cluster"
            ) from None
        options: dict[str, Any] = {
            "cores": self.cores,
            "processes": self.cores,
            "memory": self.memory,
            "walltime": self.walltime,
            "job_extra_directives": self.directives,
            "job_script_prologue": ["export NUMBA_NUM_THREADS=1", *self.prologue],
            "queue": self.queue or None,
            "interface": self.interface or None,
            "python": self.python or None,
            "project" if self.kind in ("sge", "lsf") else "account": self.account or None,
        }
        options = {key: value for key, value in options.items() if value is not None}
        cluster = getattr(dask_jobqueue, CLASSES[self.kind])(**options)
        cluster.scale(jobs=self.workers)
        return cluster


def load(path: Path) -> Profile:
    """The profile in a TOML file. OptionError, naming the line to mend, if it is none."""
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: is no TOML ({error})") from None
    known = {entry.name: entry for entry in fields(Profile)}
    for key, value in found.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise OptionError(f"{path}: has no setting {key!r}.{hint} Known: {', '.join(known)}")
        _check(path, key, value, known[key].type)
    kind = found.get("kind")
    if kind not in KINDS:
        raise OptionError(f"{path}: kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if kind != "local" and not found.get("memory"):
        raise OptionError(f'{path}: memory is missing, expected that of a job, as memory = "4GB"')
    return Profile(**found)


def _check(path: Path, key: str, value: Any, kind: Any) -> None:
    if kind is str:
        expected, good = "a text", isinstance(value, str)
    elif kind is int:
        expected, good = "a whole number of at least 1", type(value) is int and value > 0
    else:
        expected = "a list of texts"
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if not good:
        raise OptionError(f"{path}: {key} is {value!r}, expected {expected}")
