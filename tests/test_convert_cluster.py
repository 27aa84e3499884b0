"""Conversion on many machines: the same bytes from Dask and from job arrays, and checks before."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from making import ROOT, eventkit, make_events, make_gestures, tree_hash

import eventkit as ek
from eventkit import Events
from eventkit.conversion import convert, finalize, profile, task
from eventkit.errors import OptionError, PartlyDone, StoreError, StoreLocked
from eventkit.store.building import Building

distributed = pytest.importorskip("distributed")


def to(path, gestures, **options):
    options = {"represent": "frames:n=4", "workers": 2, **options}
    return convert("dvsgesture", root=gestures, out=path, **options)


@pytest.fixture(scope="module")
def undisturbed(gestures, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "store.zarr"
    to(path, gestures)
    return path


class Cluster:
    """A scheduler and workers, each a process of its own, as on several machines."""

    def __init__(self, folder, *options, **environment):
        self.folder, self.processes = folder, []
        self.file = folder / "scheduler.json"
        known = ["--port", "0", "--no-dashboard", "--scheduler-file", str(self.file)]
        self.start("scheduler", *known, *options, **environment)
        pause = threading.Event()
        while not self.file.exists():
            pause.wait(0.05)
        self.address = json.loads(self.file.read_text())["address"]

    def start(self, kind, *options, **environment):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        process = subprocess.Popen(command, cwd=self.folder, env=environment, **quiet)
        self.processes.append(process)
        return process

    def worker(self, *options, **environment):
        known = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--scheduler-file"]
        return self.start("worker", *known, str(self.file), *options, **environment)

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    made.worker()
    yield made
    made.stop()


# Law: the same bytes, whatever the engine.


def test_dask_gives_the_same_bytes(gestures, undisturbed, cluster, tmp_path):
    to(tmp_path / "s.zarr", gestures, engine="dask", scheduler=cluster.address)
    assert tree_hash(tmp_path / "s.zarr") == tree_hash(undisturbed)


@pytest.mark.attack
@pytest.mark.slow
def test_a_worker_killed_in_mid_shard_changes_nothing(gestures, undisturbed, cluster, tmp_path):
    doomed = cluster.worker(EVENTKIT_FAILPOINT="before_rename:1")
    to(tmp_path / "s.zarr", gestures, engine="dask", scheduler=cluster.address)
    if doomed.poll() is None:  # it joined too late to be given a job: now it gets some
        while doomed.poll() is None:
            shutil.rmtree(tmp_path / "s.zarr")
            to(tmp_path / "s.zarr", gestures, engine="dask", scheduler=cluster.address)
    assert doomed.returncode == -signal.SIGKILL
    assert tree_hash(tmp_path / "s.zarr") == tree_hash(undisturbed)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "s.zarr"]


@pytest.mark.attack
@pytest.mark.slow
def test_a_coordinator_killed_and_run_again(gestures, undisturbed, cluster, tmp_path):
    out = tmp_path / "s.zarr"
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out]
    command += ["--engine", "dask", "--scheduler", cluster.file]
    killed = eventkit(*command, EVENTKIT_FAILPOINT="after_journal:4")
    assert killed.returncode == -signal.SIGKILL
    done = eventkit(*command, "--json")
    assert json.loads(done.stdout)["resumed_shards"] == 4
    assert tree_hash(out) == tree_hash(undisturbed)


def test_events_from_dask_are_the_same_too(gestures, cluster, tmp_path):
    to(tmp_path / "threads.zarr", gestures, represent="events")
    to(
        tmp_path / "dask.zarr",
        gestures,
        represent="events",
        engine="dask",
        scheduler=str(cluster.file),
    )
    assert tree_hash(tmp_path / "dask.zarr") == tree_hash(tmp_path / "threads.zarr")


@pytest.mark.slow
def test_a_cluster_of_this_machine(gestures, undisturbed, tmp_path):
    report = tmp_path / "dask.html"
    to(tmp_path / "s.zarr", gestures, engine="dask", scheduler="local", report=report)
    assert tree_hash(tmp_path / "s.zarr") == tree_hash(undisturbed)
    assert "bokeh" in report.read_text().lower()


SBATCH = """#!/bin/bash
for script; do :; done
cp "$script" "{folder}/job.sh"; mv "{folder}/job.sh" "{folder}/job.$$.sh"
setsid bash "{folder}/job.$$.sh" > "{folder}/job.$$.log" 2>&1 &
echo "Submitted batch job $!"
"""


@pytest.mark.slow
def test_a_profile_of_a_batch_system(gestures, undisturbed, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    commands = {"sbatch": SBATCH.format(folder=tmp_path), "scancel": '#!/bin/bash\nkill -- -"$1"\n'}
    for name, text in commands.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "slurm.toml").write_text('kind = "slurm"\nworkers = 2\nmemory = "2GB"\n')
    out = tmp_path / "s.zarr"
    to(out, gestures, engine="dask", scheduler=str(tmp_path / "slurm.toml"))
    assert tree_hash(out) == tree_hash(undisturbed)
    assert "#SBATCH --mem=2G" in next(tmp_path.glob("job.*.sh")).read_text()


# Law: a job array, in any order and with repeats, gives the same store.


def test_a_job_array_gives_the_same_store(gestures, undisturbed, tmp_path):
    out = tmp_path / "s.zarr"
    for shard in ("3/5", "0/5", "0/5", "4/5", "1/2"):
        part = to(out, gestures, shard=shard)
    assert part["shard"] == "1/2"
    assert part["samples"] == part["total"] == 6
    with pytest.raises(PartlyDone, match=r"2 of 12 jobs .* run shard='0/2' again") as error:
        finalize(out)
    assert error.value.exit_code == 6
    assert len(error.value.failed) == 2
    with pytest.raises(StoreError, match="unfinished"):
        ek.open(out)
    to(out, gestures, shard="0/2")
    assert finalize(out)["samples"] == {"train": 9, "test": 3}
    assert tree_hash(out) == tree_hash(undisturbed)
    assert sorted(tmp_path.iterdir()) == [out]
    assert finalize(out)["note"] == to(out, gestures, shard="1/5")["note"] == "nothing to do"


def test_a_job_killed_and_a_plain_conversion_after_it(run, gestures, undisturbed, tmp_path):
    out = tmp_path / "s.zarr"
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out]
    killed = eventkit(*command, "--shard", "1/3", EVENTKIT_FAILPOINT="before_journal:3")
    assert killed.returncode == -signal.SIGKILL
    code, told, _ = run(*command, "--shard", "2/3")
    assert code == 0
    assert "eventkit finalize" in told
    assert run("finalize", out)[0] == 6
    assert to(out, gestures)["resumed_shards"] == 6
    assert tree_hash(out) == tree_hash(undisturbed)


def test_jobs_run_beside_each_other_but_not_twice(gestures, tmp_path):
    out = tmp_path / "s.zarr"
    with Building(out, part=(0, 4)).locked():
        to(out, gestures, shard="1/4")
        with pytest.raises(StoreLocked):
            to(out, gestures, shard="0/4")
        with pytest.raises(StoreLocked):
            finalize(out)
        with pytest.raises(StoreLocked):
            to(out, gestures)


@pytest.mark.parametrize("shard", ["4/4", "1", "-1/4", "1/0", "a/b"])
def test_a_shard_that_is_none_is_refused(shard, gestures, tmp_path):
    with pytest.raises(OptionError, match="expected i/n"):
        to(tmp_path / "s.zarr", gestures, shard=shard)


def test_finalize_of_nothing_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no conversion is in progress there"):
        finalize(tmp_path / "s.zarr")


# What is wrong is found before the start.


@pytest.mark.slow
def test_a_worker_of_another_version_is_refused(gestures, cluster, tmp_path):
    (tmp_path / "old.py").write_text("import eventkit; eventkit.__version__ = '0.0.1'\n")
    other = Cluster(tmp_path)
    try:
        other.worker("--preload", str(tmp_path / "old.py"))
        with pytest.raises(OptionError, match=r"has eventkit 0\.0\.1, here it is"):
            to(tmp_path / "s.zarr", gestures, engine="dask", scheduler=other.address)
    finally:
        other.stop()


def told(**changed):
    from eventkit.conversion import cluster

    right = {"folder": True, "source": True, "memory": 4 << 30, "threads": 2}
    return {"tcp://10.0.0.1:1": {**cluster.VERSIONS, **right, **changed}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"eventkit": "0.0.1"}, r"has eventkit 0\.0\.1, here it is"),
        ({"numcodecs": "0.1"}, "has numcodecs 0.1"),
        ({"folder": False}, "the store, which must be on a file system that all workers share"),
        ({"source": False}, "the recordings, which must be on a file system"),
        ({"threads": 8}, "gives a task 537 MB, it may need 1,000 MB"),
    ],
)
def test_facts_that_would_spoil_the_store(changed, message):
    from eventkit.conversion import cluster

    def unfit(found, memory=10**9):
        return cluster.unfit(found["tcp://10.0.0.1:1"], memory)

    assert not unfit(told())
    assert not unfit(told(memory=0))
    assert re.search(message, unfit(told(**changed)))
    missing = cluster.unfit(ModuleNotFoundError("eventkit"), 1)
    assert "ModuleNotFoundError: eventkit; install eventkit" in missing


@pytest.mark.slow
def test_a_cluster_that_wants_certificates(gestures, undisturbed, tmp_path):
    """As docs/cluster.md says; and whoever has none is refused."""
    if shutil.which("openssl") is None:
        pytest.skip("making a certificate needs openssl")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=eventkit"
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "ca.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    told = {"CA_FILE": "ca.pem"} | {
        f"{who}__{what}": f"{name}.pem"
        for who in ("SCHEDULER", "WORKER", "CLIENT")
        for what, name in (("CERT", "ca"), ("KEY", "key"))
    }
    tls = {f"DASK_DISTRIBUTED__COMM__TLS__{k}": str(tmp_path / v) for k, v in told.items()}
    made = Cluster(tmp_path, "--protocol", "tls", **tls)
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--engine", "dask"]
    command += ["--scheduler", made.address, "--out", tmp_path / "s.zarr"]
    try:
        assert made.address.startswith("tls://")
        made.worker(**tls)
        done = eventkit(*command, **tls)
        assert done.returncode == 0, done.stderr
        assert tree_hash(tmp_path / "s.zarr") == tree_hash(undisturbed)
        refused = eventkit(*command[:-1], tmp_path / "t.zarr")
        assert refused.returncode == 1
        assert "no Dask scheduler answers there" in refused.stderr
    finally:
        made.stop()


# A worker that joins after all others were looked at.

ELSEWHERE = """
from eventkit.conversion import cluster, dense
from eventkit.store.local import Local

def at(where):
    place = Local(str(where).replace("{shared}", "{other}"))
    place.mkdir(parents=True, exist_ok=True)
    return place

cluster.at = dense.at = at
cluster.os.access = lambda *_: True
"""


@pytest.fixture
def strange(tmp_path):
    """A file that makes a worker see another disk where the others see that of the store."""
    path = tmp_path / "preload.py"
    path.write_text(ELSEWHERE.format(shared=tmp_path / "out", other=tmp_path / "other"))
    (tmp_path / "out").mkdir()
    return path


def test_a_late_worker_with_another_disk_is_retired(
    gestures, undisturbed, cluster, strange, tmp_path, monkeypatch
):
    """Its shards were told to be done, and were in no store."""
    from eventkit.conversion import cluster as module

    monkeypatch.setattr(module._Threads, "__call__", lambda self: 4)
    late = []

    def join(state):
        if state["samples"] and not late:
            late.append(cluster.worker("--preload", str(strange)))
            with distributed.Client(cluster.address, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=60)

    out = tmp_path / "out/s.zarr"
    with pytest.warns(UserWarning, match=r"worker tcp://.* was retired: does not see the store"):
        to(out, gestures, engine="dask", scheduler=cluster.address, progress=join)
    assert tree_hash(out) == tree_hash(undisturbed)
    assert late[0].wait(30) is not None  # it was told to go
    assert not list((tmp_path / "other").rglob("c.*"))
    assert sorted(out.parent.iterdir()) == [out]


def test_only_workers_with_another_disk_is_one_sentence(gestures, strange, tmp_path):
    (tmp_path / "lonely").mkdir()
    lonely = Cluster(tmp_path / "lonely")
    try:
        lonely.worker("--preload", str(strange))
        with pytest.raises(OptionError, match=r"worker tcp://.*: does not see the store"):
            to(tmp_path / "out/s.zarr", gestures, engine="dask", scheduler=lonely.address)
    finally:
        lonely.stop()


def test_relative_paths_mean_the_same_to_workers(
    gestures, undisturbed, cluster, tmp_path, monkeypatch
):
    """They were looked for below the folder in which the worker was started."""
    (tmp_path / "raw").symlink_to(gestures)
    monkeypatch.chdir(tmp_path)
    to("s.zarr", "raw", engine="dask", scheduler=cluster.address)
    assert tree_hash(tmp_path / "s.zarr") == tree_hash(undisturbed)


def test_what_a_worker_made_is_kept_with_its_name(gestures, cluster, tmp_path, monkeypatch):
    told = []
    record = Building.record
    monkeypatch.setattr(
        Building, "record", lambda self, key, entry: told.append(entry) or record(self, key, entry)
    )
    to(tmp_path / "s.zarr", gestures, engine="dask", scheduler=cluster.address)
    assert all(entry["worker"].startswith("tcp://") for entry in told)


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:1", "no.json", "word"])
def test_no_scheduler_is_one_sentence(scheduler, gestures, tmp_path, monkeypatch):
    monkeypatch.setattr("eventkit.conversion.cluster.ANSWERS", 0.2)
    with pytest.raises(OptionError, match="scheduler"):
        to(tmp_path / "s.zarr", gestures, engine="dask", scheduler=scheduler)


def test_options_of_dask_go_with_dask(gestures, tmp_path):
    with pytest.raises(OptionError, match="scheduler and report go with engine='dask'"):
        to(tmp_path / "s.zarr", gestures, scheduler="local")


GOOD = 'kind = "slurm"\nworkers = 3\nmemory = "4GB"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = 1", "kind is 1, expected a text"),
        ('kind = "condor"', "expected one of slurm, pbs, sge, lsf, local"),
        ("workers = 2", "kind is None"),
        ('kind = "slurm"', "memory is missing"),
        (GOOD + 'wall_time = "1:00"', "Did you mean 'walltime'"),
        (GOOD + "cores = 0", "cores is 0, expected a whole number of at least 1"),
        (GOOD + "prologue = 'module'", "expected a list of texts"),
        ("kind", "is no TOML"),
    ],
)
def test_a_profile_that_is_wrong_is_one_sentence(text, message, tmp_path):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(OptionError, match=message):
        profile.load(tmp_path / "p.toml")


@pytest.mark.parametrize("kind", profile.CLASSES)
def test_a_profile_becomes_a_job_script(kind, tmp_path, monkeypatch):
    jobqueue = pytest.importorskip("dask_jobqueue")
    (tmp_path / "p.toml").write_text(
        GOOD.replace("slurm", kind) + 'queue = "fast"\naccount = "me"\nwalltime = "02:00"\n'
        'directives = ["--exclusive"]\nprologue = ["module load x"]\ncores = 4\n'
    )
    made = {}
    name = profile.CLASSES[kind]
    original = getattr(jobqueue, name)

    class Quiet(original):
        def __init__(self, **options):
            made.update(options)

        def scale(self, **how):
            made.update(how)

    monkeypatch.setattr(jobqueue, name, Quiet)
    profile.load(tmp_path / "p.toml").cluster()
    jobs = made.pop("jobs")
    assert jobs == 3
    options = {**made, "job_cls": original.job_cls}
    options.pop("job_cls")
    script = original.job_cls("tcp://127.0.0.1:1", name="x", **options).job_script()
    for word in (
        "fast",
        "me",
        "--exclusive",
        "module load x",
        "NUMBA_NUM_THREADS=1",
        "--nworkers 4",
    ):
        assert word in script


# Failures do not keep others from being done.


def test_out_of_bounds_events_fail_one_by_one(tmp_path):
    root = tmp_path / "digits"
    for number in range(30):
        folder = root / "Train" / str(number % 10)
        folder.mkdir(parents=True, exist_ok=True)
        ek.write(folder / f"{number:05d}.bin", make_events(100, seed=number))
    for number in (3, 14):
        path = root / "Train" / str(number % 10) / f"{number:05d}.bin"
        events = make_events(100, seed=number)
        x = np.where(np.arange(100) == 7, 40, events.x)
        ek.write(path, Events(events.t, x, events.y, events.p, (41, 34)))
    out = tmp_path / "s.zarr"
    options = {"represent": "frames:n=2", "keep_going": True}
    with pytest.raises(PartlyDone, match="without 2 of 30 samples") as error:
        convert("nmnist", root=root, out=out, **options)
    assert [name in told for name, told in zip(("00003", "00014"), error.value.failed, strict=True)]
    for number in (3, 14):
        ek.write(
            root / "Train" / str(number % 10) / f"{number:05d}.bin", make_events(100, seed=number)
        )
    summary = convert("nmnist", root=root, out=out, overwrite=True, **options)
    assert summary["samples"] == {"train": 30}


def test_keep_going_with_dask_names_what_failed(cluster, tmp_path):
    root = make_gestures(tmp_path / "raw", recordings=4)
    path = root / "user02_led.aedat"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PartlyDone, match="without 3 of 12 samples"):
        to(tmp_path / "s.zarr", root, engine="dask", scheduler=cluster.address, keep_going=True)
    with pytest.raises(PartlyDone):
        to(tmp_path / "t.zarr", root, keep_going=True)
    assert tree_hash(tmp_path / "s.zarr") == tree_hash(tmp_path / "t.zarr")


@pytest.mark.slow
def test_a_killed_process_is_one_sentence(gestures, tmp_path):
    (tmp_path / "own_kill.py").write_text(
        "import os, signal\n"
        "def dies(events):\n"
        "    if len(events):  # only a worker has any\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return events\n"
    )
    command = ["convert", "dvsgesture", "--frames", 4, "--root", gestures]
    command += ["--out", tmp_path / "s.zarr", "--transform", "own_kill:dies"]
    done = eventkit(*command, "--engine", "processes", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "a worker process was killed" in done.stderr
    assert "Traceback" not in done.stderr


# One long recording uses all workers.


@pytest.mark.parametrize("represent", ["events", "frames:n=4"])
def test_one_recording_is_decoded_by_several_threads(represent, tmp_path, monkeypatch):
    (tmp_path / "raw/one").mkdir(parents=True)
    events = make_events(150_000, (128, 128))
    ek.write(tmp_path / "raw/one/a.aedat", events, "aedat3")
    used = []
    inner = task._guessed
    monkeypatch.setattr(task, "_guessed", lambda *a: used.append(inner(*a)) or used[-1])
    for workers in (1, 3):
        out = tmp_path / f"{workers}.zarr"
        convert(tmp_path / "raw", represent=represent, out=out, workers=workers)
    assert used == [{}, {"threads": 3}] if represent == "events" else {"threads": 3} in used
    assert tree_hash(tmp_path / "1.zarr") == tree_hash(tmp_path / "3.zarr")
    if represent == "events":
        split = ek.open(tmp_path / "3.zarr")["all"]
        assert isinstance(split.events(0), Events)
        np.testing.assert_array_equal(split.events(0).t, events.t)
