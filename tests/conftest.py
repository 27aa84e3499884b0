"""Fixtures that several test files share."""

import os
import signal
from pathlib import Path

import pytest
from eventkit.cli import main
from hypothesis import HealthCheck, settings
from making import ROOT, make_events, make_gestures

from eventkit import Events

# Before torch is loaded: on a busy machine its spinning threads make the tests take minutes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Syncing is for when the power fails, which no test can bring about: it is most of the time of a
# conversion of a few samples. Commands in processes of their own, those that are killed too, sync.
os.fsync = lambda _: None
os.sync = lambda: None

# A job that a script starts with & ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes, on a machine that others use too, decides nothing. CI draws the same
# examples each time, so that a change is judged by what it changes, and fewer, as it runs the suite
# on four environments; every other run draws new ones.
settings.register_profile(
    "busy",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    max_examples=40 if os.environ.get("CI") else 100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("busy")


# What is the same on every Python: kills, damage, descriptions and the text of the documentation;
# and faults of a network, which depend on the version of one library too.
ONCE = {
    *("test_benchmarks", "test_catalogue", "test_docs_commands", "test_gallery", "test_readme"),
    *("test_convert_attacked", "test_fetch_killed", "test_power_lost", "test_store_limits"),
    *("test_doctor_laws", "test_merge", "test_repair"),
}
REMOTE = {"test_remote", "test_remote_faults", "test_remote_proxied"}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem in ONCE:
            item.add_marker(pytest.mark.once)
        if item.path.stem in REMOTE:
            item.add_marker(pytest.mark.remote)
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real recordings; tests that need it are skipped where there is none."""
    folder = Path(os.environ.get("EVENTKIT_SAMPLES", ROOT.parent / "shared" / "data"))
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip(f"no real recordings at {folder}; set EVENTKIT_SAMPLES to their folder")
    return folder


@pytest.fixture
def recording() -> Events:
    """A thousand random events on 34x34, in order of time."""
    return make_events()


@pytest.fixture(scope="session")
def gestures(tmp_path_factory) -> Path:
    """A small folder in the layout of DVS128 Gesture: 9 training and 3 test samples. Read only."""
    return make_gestures(tmp_path_factory.mktemp("gestures"))


@pytest.fixture
def run(capsys):
    """Run a command line in this process: its exit code, stdout and stderr."""

    def run(*argv):
        code = main([str(word) for word in argv])
        return (code, *capsys.readouterr())

    return run
