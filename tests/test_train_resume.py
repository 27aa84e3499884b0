"""A training that ends early goes on as if nothing had happened; processes train as one."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from directions import SMALL, Directions
from making import ROOT

from eventkit.errors import FormatError, OptionError
from eventkit.train import load, resume, train
from eventkit.train.checkpoint import read
from eventkit.train.data import parts

OPTIONS = {
    "model": "csnn_tiny:width=8,dropout=0.3", "epochs": 3, "batch": 4, "accumulate": 2,
    "augment": ["shift:share=0.1"], "mixup": 0.2, "cutmix": 1.0, "ema": 0.9,
    "schedule": "plateau:patience=0", "seed": 5, "page": False,
}  # fmt: skip
# What the processes of these tests run: the same task, stopped or not.
SCRIPT = """
import sys, os, signal
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from directions import Directions
from eventkit.train import resume, train
splits = {{"train": Directions(32), "test": Directions(8, seed=1)}}
def told(event):
    if event["event"] == "step" and event["done"] == {stop}:
        os.kill(os.getpid(), signal.SIGKILL)
{call}
"""


@pytest.fixture
def splits():
    return {"train": Directions(32), "test": Directions(8, seed=1)}


def script(call, *, stop=0, **environment):
    text = SCRIPT.format(tests=str(ROOT / "tests"), stop=stop, call=call)
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", text], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )


def same(a, b):
    first, second = (read(path / name)[0] for path, name in (a, b))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_a_run_killed_at_a_random_step_ends_with_the_weights_of_the_undisturbed_one(
    splits, tmp_path
):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = train(splits, out=tmp_path / "whole", **OPTIONS)
    torch.set_num_threads(threads)
    stop = int(np.random.default_rng().integers(1, 12))
    call = (
        f"train(splits, out={str(tmp_path / 'run')!r}, save_minutes=0, progress=told, **{OPTIONS})"
    )
    killed = script(call, stop=stop)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "run" / "metrics.json").exists()
    again = script(f"resume({str(tmp_path / 'run')!r}, data=splits)")
    assert again.returncode == 0, again.stderr
    names = [(tmp_path / folder, "last.safetensors") for folder in ("whole", "run")]
    assert same(*names), f"killed after step {stop}"
    names = [(tmp_path / folder, "model.safetensors") for folder in ("whole", "run")]
    assert same(*names), f"killed after step {stop}"
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert result["accuracy"] == whole["accuracy"]


def test_ctrl_c_saves_at_the_end_of_a_step(splits, tmp_path):
    def interrupt(event):
        if event["event"] == "step" and event["done"] == 6:
            signal.raise_signal(signal.SIGINT)

    whole = train(splits, out=tmp_path / "whole", **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        train(splits, out=tmp_path / "run", progress=interrupt, **OPTIONS)
    result = resume(tmp_path / "run", data=splits)
    assert result["accuracy"] == whole["accuracy"]
    assert result["epochs"] == 3
    assert same((tmp_path / "whole", "last.safetensors"), (tmp_path / "run", "last.safetensors"))
    assert resume(tmp_path / "run", data=splits) == result  # a finished run stays as it is


def test_a_finished_run_trained_on_is_the_one_that_had_as_many_epochs(splits, tmp_path):
    options = {**OPTIONS, "schedule": "constant", "warmup": 0.0, "page": True}
    whole = train(splits, out=tmp_path / "whole", **options)
    first = train(splits, out=tmp_path / "run", **{**options, "epochs": 2})
    before = (tmp_path / "run" / "evaluation.json").read_text()
    assert resume(tmp_path / "run", data=splits) == first
    result = resume(tmp_path / "run", data=splits, epochs=3)
    assert result["accuracy"] == whole["accuracy"]
    assert result["epochs"] == 3
    assert same((tmp_path / "whole", "last.safetensors"), (tmp_path / "run", "last.safetensors"))
    assert (tmp_path / "run" / "evaluation.json").read_text() != before
    assert "epochs = 3" in (tmp_path / "run" / "run.toml").read_text()
    assert resume(tmp_path / "run", data=splits) == result
    with pytest.raises(OptionError, match=r"epochs is 3, but .* has had 3 already"):
        resume(tmp_path / "run", data=splits, epochs=3)


def test_several_seeds_give_mean_and_spread_and_go_on_where_they_were(splits, tmp_path):
    options = {**OPTIONS, "epochs": 1, "seeds": 3}
    whole = train(splits, out=tmp_path / "whole", **options)
    found = [run["accuracy"]["last"] for run in whole["runs"]]
    assert whole["accuracy"]["last"] == pytest.approx(np.mean(found))
    assert whole["spread"]["last"] == pytest.approx(np.std(found, ddof=1))

    def interrupt(event):
        if event["event"] == "step" and "seed-6" in str(sorted(tmp_path.rglob("seed-6"))):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(splits, out=tmp_path / "run", progress=interrupt, **options)
    result = resume(tmp_path / "run", data=splits)
    assert result["accuracy"] == whole["accuracy"]
    assert [run["run"][-6:] for run in result["runs"]] == ["seed-5", "seed-6", "seed-7"]


def test_folds_test_every_training_sample_once_and_go_on_where_they_were(splits, tmp_path):
    class Untouched(Directions):
        def __getitems__(self, indices):
            raise AssertionError("read")

    splits["test"] = Untouched(8)
    options = {**OPTIONS, "epochs": 1, "folds": 3, "schedule": "constant"}
    whole = train(splits, out=tmp_path / "whole", **options)
    assert [run["samples"]["test"] for run in whole["runs"]] == [11, 11, 10]
    found = [run["accuracy"]["last"] for run in whole["runs"]]
    assert whole["accuracy"]["last"] == pytest.approx(np.mean(found))
    tested = [parts(splits, 0.1, folds=3, fold=k) for k in range(3)]
    assert sorted(i for p in tested for i in p["test"].indices) == list(range(32))
    for each in tested:
        used = np.concatenate([part.indices for part in each.values()])
        assert sorted(used) == list(range(32))

    def interrupt(event):
        if event["event"] == "step" and (tmp_path / "run" / "fold-1").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(splits, out=tmp_path / "run", progress=interrupt, **options)
    assert resume(tmp_path / "run", data=splits)["accuracy"] == whole["accuracy"]
    one = train(splits, out=tmp_path / "one", fold=2, **options)
    assert one["accuracy"] == whole["runs"][2]["accuracy"]


def test_wrong_resumes_are_told(splits, tmp_path):
    with pytest.raises(OptionError, match="is no run folder"):
        resume(tmp_path)

    def interrupt(event):
        if event["event"] == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(splits, out=tmp_path / "run", progress=interrupt, **OPTIONS)
    with pytest.raises(OptionError, match=r"give them to eventkit\.train\.resume"):
        resume(tmp_path / "run")
    (tmp_path / "run" / "state.safetensors").write_bytes(
        (tmp_path / "run" / "last.safetensors").read_bytes()
    )
    with pytest.raises(FormatError, match="no checkpoint of this training"):
        resume(tmp_path / "run", data=splits)
    (tmp_path / "run" / "run.toml").write_text("model = ")
    with pytest.raises(OptionError, match="is no TOML"):
        resume(tmp_path / "run", data=splits)


def test_a_resume_elsewhere_keeps_the_precision_and_says_what_differs(splits, tmp_path):
    def interrupt(event):
        if event["event"] == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(splits, out=tmp_path / "run", progress=interrupt, **{**OPTIONS, "epochs": 1})
    path, told = tmp_path / "run" / "config.json", []
    began = json.loads(path.read_text())
    began["precision"] = {"bfloat16": "float32", "float32": "bfloat16"}[began["precision"]]
    path.write_text(json.dumps(began))

    def stop(event):
        told.append(event)
        interrupt(event)

    with pytest.raises(KeyboardInterrupt):
        resume(tmp_path / "run", data=splits, progress=stop)
    assert json.loads(path.read_text())["precision"] == began["precision"]
    assert not [event for event in told if "began with" in event.get("text", "")]
    path.write_text(json.dumps({**began, "threads": 99, "versions": {"torch": "1.0"}}))
    resume(tmp_path / "run", data=splits, progress=told.append)
    (text,) = [event["text"] for event in told if "began with" in event.get("text", "")]
    assert f"torch 1.0, found {torch.__version__}, threads 99, found" in text


WORLD = """
import sys, os
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from torch import nn
from directions import Directions
from eventkit.models import MODELS, Model, Recipe
from eventkit.snn import LIF
from eventkit.train import train
def plain(num_classes, in_shape):
    return nn.Sequential(nn.Flatten(2), nn.Linear(288, 16), LIF(), nn.Linear(16, num_classes))
MODELS.register(Model("plain", plain, "without batch norm", Recipe()))
train({{"train": Directions(38), "test": Directions(8, seed=1)}}, out={out!r}, model="plain",
      batch={batch}, epochs=2, validation=0.2, optimizer="sgd", lr=0.5, augment=[], page=False,
      precision="float32")
"""


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_doubled_batch(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name, batch, count in (("one", 8, 1), ("two", 4, 2)):
        text = WORLD.format(tests=str(ROOT / "tests"), out=str(tmp_path / name), batch=batch)
        (tmp_path / f"{name}.py").write_text(text)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                   f"--nproc-per-node={count}", str(tmp_path / f"{name}.py")]  # fmt: skip
        done = subprocess.run(
            command if count > 1 else [sys.executable, command[-1]],
            env=env, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (read(tmp_path / name / "last.safetensors")[0] for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)
    results = [json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two")]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    assert results[0]["samples"] == results[1]["samples"]


def test_a_net_learns_from_a_teacher(splits, tmp_path):
    train(splits, out=tmp_path / "teacher", model=SMALL, epochs=2, page=False)
    options = {"model": "csnn_tiny:width=4", "epochs": 1, "page": False}
    alone = train(splits, out=tmp_path / "alone", **options)
    teacher = str(tmp_path / "teacher")
    taught = train(splits, out=tmp_path / "taught", teacher=teacher, distill=1.0, **options)
    assert taught["parameters"] == alone["parameters"]
    first, second = (load(tmp_path / name).state_dict() for name in ("alone", "taught"))
    assert not all(torch.equal(first[key], second[key]) for key in first)
