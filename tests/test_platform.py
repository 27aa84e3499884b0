"""Systems that lack something: processor sets and cache hints (macOS), file locks (Windows)."""

import json
import os

import pytest

from eventkit import _platform
from eventkit.conversion import convert


@pytest.fixture
def mac(monkeypatch):
    """Functions of Linux that macOS does not have."""
    for name in ("sched_getaffinity", "posix_fadvise", "POSIX_FADV_DONTNEED"):
        monkeypatch.delattr(os, name, raising=False)


def test_commands_work_without_processor_sets_and_cache_hints(mac, gestures, tmp_path, run):
    convert("dvsgesture", root=gestures, out=tmp_path / "s.zarr", represent="frames:n=4")
    assert run("verify", tmp_path / "s.zarr")[0] == 0
    code, told, _ = run("bench", tmp_path / "s.zarr", "--seconds", 0.02, "--batch", 2, "--json")
    assert code == 0
    assert json.loads(told)["limits"]["cache_dropped"] is False
    assert "cannot drop files from its cache" in json.loads(told)["advice"][0]


def test_a_loader_works_without_processor_sets(mac):
    pytest.importorskip("torch")
    from eventkit.loader.batches import check_threads

    assert check_threads(None, 2) == (min(os.cpu_count() or 1, 32), 2)


def test_without_file_locks_commands_end_in_one_sentence(gestures, tmp_path, run, monkeypatch):
    store, data = tmp_path / "s.zarr", ["dvsgesture", "--root", gestures]
    convert("dvsgesture", root=gestures, out=store, represent="frames:n=4")
    (store / "train/frames/c.0.0.0.0.0").unlink()
    monkeypatch.setattr(_platform, "fcntl", None)
    for words in (
        ["convert", *data, "--out", tmp_path / "other.zarr", "--frames", 4],
        ["fetch", "nmnist", "--root", tmp_path / "none"],
        ["repair", store, "--root", gestures],
    ):
        code, _, error = run(*words)
        assert (code, "Traceback" in error) == (1, False)
        assert "locks files with flock" in error
        assert "WSL" in error
        assert error.count("\n") == 1


def test_without_reads_at_an_offset_every_command_ends_in_one_sentence(monkeypatch, run):
    monkeypatch.delattr(os, "pread")
    code, _, error = run("info", "anything.raw")
    assert code == 1
    assert error == (
        "eventkit: error: eventkit runs on Linux and macOS; on Windows, run it inside WSL\n"
    )
    assert run("--version")[0] == 0


def test_locks_exclude_and_share(tmp_path):
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in "ab")
    try:
        _platform.lock(first, _platform.Lock.SHARED)
        _platform.lock(second, _platform.Lock.SHARED)
        with pytest.raises(BlockingIOError):
            _platform.lock(second)
    finally:
        os.close(first)
        os.close(second)
