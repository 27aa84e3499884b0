"""Kills and full disks at any change of a file, and flipped bits, of runs and exports."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from directions import Directions
from making import ROOT

from eventkit.errors import FormatError, OptionError
from eventkit.train import checkpoint, resume, train
from eventkit.train.checkpoint import read, write

OPTIONS = {"model": "csnn_tiny:width=4", "epochs": 2, "batch": 8, "page": False, "augment": "none"}
# A process that kills children of its own, which is quicker than to start Python anew for each:
# child n dies before the n-th change of a file below its folder, then another goes on.
SCRIPT = """
import os, shutil, signal, sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
{prepare}
def changes(event, args):
    if event == "open":
        return isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    return event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
def child(call, folder, n):
    if (pid := os.fork()) == 0:
        code = 1
        try:
            left = [n]
            def hook(event, args):
                if changes(event, args) and str(args[0]).startswith(folder):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
            sys.addaudithook(hook)
            call(folder)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
for n in {points} or range(1, 10**9):
    folder = os.path.join({out!r}, str(n))
    killed = child(first, folder, n)
    if killed == 0:
        break
    assert killed == -signal.SIGKILL, (n, killed)
    assert child(second, folder, 0) == 0, n
print(n)
"""
TRAIN = f"""
from directions import Directions
from eventkit.train import resume, train
splits = {{"train": Directions(16), "test": Directions(4, seed=1)}}
def first(folder):
    train(splits, out=folder, save_minutes=0, **{OPTIONS})
def second(folder):
    if os.path.exists(os.path.join(folder, "run.toml")):
        resume(folder, data=splits)
    else:
        first(folder)
"""
EXPORT = """
from eventkit.export import export
from eventkit.models import create
from safetensors.torch import load_file
def net(seed):
    torch.manual_seed(seed)
    return create("speck_cnn:width=4", num_classes=3, in_shape=(2, 12, 12)).eval()
def written(path, seed):
    export(net(seed), path, "speck", in_shape=(2, 12, 12))
def first(folder):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "net.safetensors")
    if not os.path.exists(path):
        written(path, 0)
    written(path, 1)
def second(folder):
    path = os.path.join(folder, "net.safetensors")
    if os.path.exists(path):
        load_file(path)  # whole: the old or the new one
    first(folder)
    assert [p.name for p in Path(folder).iterdir()] == ["net.safetensors"]
"""


def every_kill(prepare, out, points=()):
    """Kill before these changes, or all there are; the number of the first that is not there."""
    text = SCRIPT.format(
        tests=str(ROOT / "tests"), prepare=prepare, out=str(out), points=list(points)
    )
    done = subprocess.run(
        [sys.executable, "-c", text], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


def weights(folder):
    return read(folder / "last.safetensors")[0]


# Before the folder is made, while its first files are, at checkpoints, at the end; or everywhere.
SOME = pytest.param([2, 4, 17, 999], id="some")
ALL = pytest.param([], id="all", marks=pytest.mark.slow)


@pytest.mark.parametrize("points", [SOME, ALL])
def test_a_training_killed_before_any_change_of_a_file_ends_as_the_undisturbed_one(
    points, tmp_path
):
    n = every_kill(TRAIN, tmp_path, points)
    assert n > 30
    whole = weights(tmp_path / str(n))  # the one that was not killed any more
    for folder in tmp_path.iterdir():
        assert (folder / "metrics.json").is_file(), folder
        found = weights(folder)
        assert all(torch.equal(found[key], whole[key]) for key in whole), folder
        assert not list(folder.glob(".*")), folder


@pytest.mark.parametrize("points", [pytest.param([2, 4, 999], id="some"), ALL])
def test_an_export_killed_before_any_change_of_a_file_leaves_a_whole_file(points, tmp_path):
    assert every_kill(EXPORT, tmp_path, points) > 4


@pytest.fixture
def splits():
    return {"train": Directions(16), "test": Directions(4, seed=1)}


@pytest.mark.parametrize("n", range(1, 12))
def test_a_disk_that_fills_at_any_file_can_be_gone_on_from(splits, tmp_path, monkeypatch, n):
    whole, left = checkpoint.replace, [n]

    def full(path, data):
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(path, data)

    with monkeypatch.context() as patched:
        for module in ("checkpoint", "run"):
            patched.setattr(f"eventkit.train.{module}.replace", full)
        with pytest.raises(OSError, match="No space left"):
            train(splits, out=tmp_path / "run", save_minutes=0, **OPTIONS)
    if n <= 2:
        assert not (tmp_path / "run").exists()
        result = train(splits, out=tmp_path / "run", **OPTIONS)
    else:
        result = resume(tmp_path / "run", data=splits)
    assert result["epochs"] == 2


def test_a_folder_of_somebody_else_is_never_taken_for_a_start(splits, tmp_path):
    for name, text in (("config.json", '{"hidden_size": 3}'), ("config.json", "no JSON"),
                       ("run.toml", "lr = 0.1")):  # fmt: skip
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / name).write_text(text)
        with pytest.raises(OptionError, match="exists already"):
            train(splits, out=folder, **OPTIONS)
        with pytest.raises(OptionError, match="is no run folder"):
            resume(folder)
        assert (folder / name).read_text() == text


def test_a_run_that_exists_is_resumed_not_started(splits, tmp_path):
    train(splits, out=tmp_path / "run", **{**OPTIONS, "epochs": 1})
    with pytest.raises(OptionError, match=r"exists already; .*eventkit train --resume"):
        train(splits, out=tmp_path / "run", **OPTIONS)


def test_files_are_synced_before_they_take_their_names(tmp_path, monkeypatch):
    seen = []

    def synced(handle):
        seen.append(str(Path(f"/proc/self/fd/{handle}").readlink()))

    monkeypatch.setattr(os, "fsync", synced)
    whole = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (seen.append(("renamed", str(self))), whole(self, to))
    )
    write(tmp_path / "a.safetensors", {"x": torch.ones(2)}, {"epoch": 1})
    part = str(tmp_path / ".a.safetensors.part")
    assert seen == [part, ("renamed", part), str(tmp_path)]


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_a_checkpoint_is_refused(step, tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3), "n": torch.empty(0, 2)}
    write(path, tensors, {"epoch": 1, "classes": ["ä"]})
    data, (found, about) = path.read_bytes(), read(path)
    assert about == {"epoch": 1, "classes": ["ä"]}
    assert all(torch.equal(found[key], tensors[key]) for key in tensors)
    for bit in range(0, 8 * len(data), step):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(FormatError, match="no file of weights"):
            read(path)
    path.write_bytes(data[:-1])
    with pytest.raises(FormatError, match="no file of weights"):
        read(path)
    path.write_bytes(data[:-1] + b"\x01")
    with pytest.raises(FormatError, match="its checksum is wrong"):
        read(path)


def test_a_damaged_checkpoint_says_how_to_go_on(splits, tmp_path):
    def interrupt(event):
        if event["event"] == "step" and event["done"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(splits, out=tmp_path / "run", progress=interrupt, save_minutes=0, **OPTIONS)
    state = tmp_path / "run" / "state.safetensors"
    data = bytearray(state.read_bytes())
    data[-5] ^= 4
    state.write_bytes(data)
    with pytest.raises(FormatError, match=r"remove it to begin again with the first step"):
        resume(tmp_path / "run", data=splits)
    state.unlink()
    assert resume(tmp_path / "run", data=splits)["epochs"] == 2


def test_weights_of_before_there_were_checksums_are_read(tmp_path):
    import safetensors.torch

    data = safetensors.torch.save({"x": torch.ones(2)}, {"eventkit": json.dumps({"epoch": 1})})
    (tmp_path / "old.safetensors").write_bytes(data)
    assert read(tmp_path / "old.safetensors")[1] == {"epoch": 1}
