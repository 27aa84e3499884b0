"""Stores at the limits: full disks, places that cannot be written, swapped stores, old ones."""

import base64
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from making import ROOT, eventkit, make_gestures, tree_hash

import eventkit as ek
from eventkit.conversion import convert
from eventkit.errors import StoreDamaged, StoreError
from eventkit.store.verify import verify

GOLDEN = Path(__file__).parent / "golden"


def unpack(golden: Path, target: Path) -> Path:
    """A store kept as text: its files as base64, by name, in JSON, compressed, as base64."""
    files = json.loads(zlib.decompress(base64.b64decode(golden.read_text())))
    for name, data in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(base64.b64decode(data))
    return target


@pytest.mark.parametrize("kind", ["frames", "events"])
def test_a_store_of_schema_1_is_read(kind, tmp_path):
    path = unpack(GOLDEN / f"schema-1-{kind}.txt", tmp_path / "s.zarr")
    store = ek.open(path)
    assert store.attributes["schema"] == 1
    assert verify(path, deep=True) == []
    assert store["train"].labels.tolist() == [0]
    assert store["train"].ledger["read"].tolist() == [60]
    kept = store["train"].ledger["binned"].tolist()
    if kind == "events":
        events = store["train"].events(0)
        assert [len(events)] == kept
        assert events.t.tolist() == sorted(events.t.tolist())
    else:
        assert store["train"].frames[:].sum() == kept[0]
        assert store["train"].frames.shape == (1, 1, 2, 64, 64)


COMMAND = [sys.executable, "-m", "eventkit", "convert", "dvsgesture", "--workers", "1"]


@pytest.mark.parametrize("kind", [("--frames", "4"), ("--events",)])
def test_two_converters_at_once(kind, gestures, tmp_path):
    """The first is stopped in its midst, the second refused, the first goes on."""
    out = tmp_path / "s.zarr"
    command = [*COMMAND, *kind, "--root", str(gestures), "--out", str(out)]
    environment = {**os.environ, "EVENTKIT_FAILPOINT": "stop_after_journal:2"}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    assert os.WIFSTOPPED(os.waitpid(first.pid, os.WUNTRACED)[1])
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 5
    assert f"process {first.pid}" in second.stderr
    first.send_signal(signal.SIGCONT)
    assert first.wait(60) == 0
    assert verify(out, deep=True) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.zarr"]


def test_a_file_that_may_not_grow_is_said_and_the_run_continues(gestures, tmp_path):
    out = tmp_path / "s.zarr"
    command = [*COMMAND, "--frames", "4", "--root", str(gestures), "--out", str(out)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)),
    )
    assert done.returncode == 1
    assert "it continues" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.part"))
    convert("dvsgesture", root=gestures, out=out, represent="frames:n=4", workers=1)
    convert("dvsgesture", root=gestures, out=tmp_path / "t.zarr", represent="frames:n=4")
    assert tree_hash(out) == tree_hash(tmp_path / "t.zarr")


def test_a_target_that_is_read_only_is_one_sentence(gestures, tmp_path):
    """A file system of its own; only root may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        convert("dvsgesture", root=gestures, out=disk / "s.zarr", represent="frames:n=4")
        shard = sorted((disk / "s.zarr/train").rglob("c.*.*"))[0]
        shard.write_bytes(shard.read_bytes()[:-1])
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        store = str(disk / "s.zarr")
        assert eventkit("inspect", store).returncode == 0
        assert eventkit("verify", store).returncode == 3
        for command in (
            [
                "convert",
                "dvsgesture",
                "--frames",
                "8",
                "--root",
                gestures,
                "--out",
                disk / "t.zarr",
            ],
            ["repair", store, "--root", gestures],
            ["subset", disk / "t.zarr", store, "--split", "test"],
        ):
            done = eventkit(*command)
            assert done.returncode == 1, command
            assert "Read-only file system" in done.stderr
            assert done.stderr.strip().count("\n") <= 3
            assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("kind", ["frames:n=4", "events"])
def test_a_store_that_is_replaced_while_it_is_read_is_noticed(kind, gestures, tmp_path):
    out = tmp_path / "s.zarr"
    convert("dvsgesture", root=gestures, out=out, represent=kind)
    part = ek.open(out)["train"]
    read = part.read_events if kind == "events" else part.read
    read([0])
    crop = ("crop_time:start=0,stop=5000",)
    convert("dvsgesture", root=gestures, out=out, represent=kind, transform=crop, overwrite=True)
    read([0])  # of the shard that is open already
    with pytest.raises(StoreError, match="was replaced or removed since it was opened"):
        read([8])
    fresh = ek.open(out)["train"]
    np.testing.assert_array_equal(fresh.column("t_end") < 20_000_000, True)


def test_a_store_with_blanks_and_other_letters_in_its_path(gestures, tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    out = Path("Łódź und 北京 2") / "a b.zarr"
    base = ("--root", gestures, "--out", out)
    assert run("convert", "dvsgesture", "--frames", "2", *base)[0] == 0
    assert run("verify", "--deep", out)[0] == 0
    shard = sorted((out / "train").rglob("c.*.*"))[0]
    shard.write_bytes(b"")
    code, told, _ = run("verify", out)
    assert code == 3
    assert f"{shard.relative_to(out)}: has 0 bytes" in told
    with pytest.raises(StoreDamaged, match=r"a b\.zarr"):
        ek.open(out)["train"].read([0])
    assert run("repair", out, "--root", gestures)[0] == 0
    assert (
        run("subset", "Łódź und 北京 2/c.zarr", out, "--indices", "0:2", "--split", "test")[0] == 0
    )
    monkeypatch.chdir(out)
    assert run("verify", ".")[0] == 0
    assert run("repair", ".")[0] == 0


def test_a_store_replaced_while_it_is_read_and_verified_is_seen_whole(tmp_path):
    """Readers meet one store or the other, or are told that it was replaced; never a mixture."""
    root = make_gestures(tmp_path / "raw", recordings=2, windows=2, events=200)
    out = tmp_path / "x.zarr"

    def make(n):
        convert("dvsgesture", root=root, out=out, represent=f"frames:n={n}", overwrite=True)

    expected = {}
    for n in (2, 4):
        make(n)
        expected[n] = ek.open(out)["train"].frames[:]
    writer = threading.Thread(target=lambda: [make(n) for n in (2, 4) * 3])
    writer.start()
    seen, told, errors = set(), [], []
    while writer.is_alive():
        try:
            found = ek.open(out)["train"].frames[:]
            seen.add(found.shape[1])
            np.testing.assert_array_equal(found, expected[found.shape[1]])
            told += verify(out)
        except StoreError as error:
            errors.append(str(error))
    writer.join()
    assert not told
    known = ("replaced or removed", "no such store", "its conversion is unfinished")
    assert [text for text in errors if not any(part in text for part in known)] == []
    assert verify(out) == []
    assert seen
