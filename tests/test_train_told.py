"""What training, resuming and evaluating say where something is wrong, in the command's words."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")

import torch
from directions import SMALL, Directions
from making import ROOT, make_gestures
from safetensors.torch import save_file

from eventkit.errors import FormatError, OptionError
from eventkit.train import evaluate_run, load, resume, train
from eventkit.train.checkpoint import STATE, read, write

TINY = ["--model", "csnn_tiny:width=4", "--epochs", "1", "--no-page"]


@pytest.fixture
def splits():
    return {"train": Directions(32), "test": Directions(8, seed=1)}


def quick(splits, out, **options):
    return train(splits, model=SMALL, out=out, **{"epochs": 2, "page": False, **options})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of 9 training and 3 test samples of 8 x 2 x 16 x 16."""
    from eventkit.cli import main

    folder = tmp_path_factory.mktemp("store")
    raw, out = make_gestures(folder / "raw", events=300), folder / "g.zarr"
    crop = "crop:x=0,y=0,width=16,height=16"
    words = ["convert", "dvsgesture", "--root", raw, "--frames", "8", "--transform", crop]
    assert main([*map(str, words), "--out", str(out)]) == 0
    return out


def interrupted(splits, out, at=9, **options):
    def interrupt(event):
        if event["event"] == "step" and event["done"] == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(splits, out, progress=interrupt, batch=4, **options)


def test_classes_too_small_for_validation_are_told_once(tmp_path):
    for n, share, said in (
        (8, 0.1, "no class has enough samples to hold out a share of 0.1"),
        (10, 0.2, "2 of 4 classes have too few samples to hold out a share of 0.2"),
        (40, 0.1, None),
    ):
        told = []
        quick({"train": Directions(n)}, tmp_path / f"{n}", validation=share, epochs=1,
              progress=told.append)  # fmt: skip
        found = [e["text"] for e in told if e["event"] == "warning" and "hold out" in e["text"]]
        assert len(found) == (said is not None)
        assert not said or found[0].startswith(said)


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_net_that_a_loss_refuses_leaves_no_folder_behind(seeds, splits, tmp_path):
    with pytest.raises(OptionError, match="the loss count takes spikes"):
        quick(splits, tmp_path / "run", loss="count", seeds=seeds)
    if seeds == 1:
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("adamw:beta1=2", "adamw: beta1 is 2, expected from 0 to below 1"),
        ("sgd:momentum=5", "sgd: momentum is 5, expected"),
        ("sgd:momentum=0,nesterov=true", "sgd: Nesterov momentum requires"),
    ],
)
def test_optimizers_that_cannot_be_are_told(spec, said, splits, tmp_path):
    with pytest.raises(OptionError, match=said):
        quick(splits, tmp_path / "run", optimizer=spec)


def test_a_run_whose_settings_were_changed_is_not_gone_on_with(splits, tmp_path):
    interrupted(splits, tmp_path / "run")
    toml = tmp_path / "run" / "run.toml"
    before = toml.read_text()
    for old, new, said in (
        ("batch = 4", "batch = 8", "batch was 4, found 8"),
        ("validation = 0.1", "validation = 0.0", r"validation was 0\.1, found 0\.0"),
    ):
        toml.write_text(before.replace(old, new))
        with pytest.raises(OptionError, match=f"run.toml was changed .*: {said}"):
            resume(tmp_path / "run", data=splits)
    toml.write_text(before)
    with pytest.raises(OptionError, match="the splits are not those that"):
        resume(tmp_path / "run", data={**splits, "train": Directions(36)})
    assert resume(tmp_path / "run", data=splits)["epochs"] == 2


def test_checkpoints_with_tensors_of_other_shapes_are_refused(splits, tmp_path):
    interrupted(splits, tmp_path / "run", ema=0.9)
    path = tmp_path / "run" / STATE
    tensors, about = read(path)
    for group in ("optimizer", "average"):
        name = next(n for n, t in tensors.items() if n.startswith(group) and t.ndim > 1)
        write(path, {**tensors, name: torch.zeros(1)}, about)
        with pytest.raises(FormatError, match="no checkpoint of this training"):
            resume(tmp_path / "run", data=splits)


@pytest.mark.parametrize("model", ["plif_nmnist:blocks=10000000000", "shd_lif:layers=10000000000",
                                   "spikformer_2_256:depth=10000000000"])  # fmt: skip
def test_weights_that_claim_endless_layers_are_refused_at_once(model, tmp_path):
    path = tmp_path / "model.safetensors"
    about = {"model": model, "num_classes": 2, "in_shape": [2, 8, 8], "steps": 4}
    save_file({"a": torch.ones(1)}, path, {"eventkit": json.dumps(about)})
    with pytest.raises(FormatError, match="many more layers than the file has tensors"):
        load(path)


def test_other_classes_are_named(splits, tmp_path):
    quick(splits, tmp_path / "run", epochs=1)
    other = Directions(8)
    other.classes = ["right", "left", "back", "up"]
    with pytest.raises(OptionError, match="other classes: found 'back' where it knows 'down'"):
        evaluate_run(tmp_path / "run", {"test": other})


def test_configs_that_are_none_are_refused(splits, tmp_path):
    quick(splits, tmp_path / "run", epochs=1)
    for config in ({"data": 5}, {"settings": []}, {"data": {"store": 5}}):
        (tmp_path / "run" / "config.json").write_text(json.dumps(config))
        for call in (resume, evaluate_run):
            with pytest.raises(FormatError, match=r"config\.json"):
                call(tmp_path / "run")


def test_a_run_finds_its_store_from_anywhere_and_tells_where_it_was(
    store, run, tmp_path, monkeypatch
):
    monkeypatch.chdir(store.parent)
    code, _, err = run("train", store.name, *TINY, "--out", tmp_path / "run")
    assert code == 0, err
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", "run")[0] == 0
    store.rename(store.with_name("away.zarr"))
    try:
        code, _, err = run("evaluate", "run")
        assert code == 1
        assert "is not there; name one: eventkit evaluate run STORE" in err
        assert run("evaluate", "run", store.with_name("away.zarr"))[0] == 0
        (tmp_path / "run" / "metrics.json").unlink()
        code, _, err = run("train", "--resume", "run")
        assert "say where it is: eventkit train STORE --resume run" in err
        assert run("train", store.with_name("away.zarr"), "--resume", "run")[0] == 0
    finally:
        store.with_name("away.zarr").rename(store)


def test_the_command_trains_evaluates_and_exports_a_network_of_the_user(
    store, run, tmp_path, monkeypatch
):
    (tmp_path / "mynets.py").write_text(
        "from torch import nn\n"
        "from eventkit.snn import LIF\n"
        "def net(num_classes, in_shape, *, width: int = 8) -> nn.Sequential:\n"
        "    inputs = in_shape[0] * in_shape[1] * in_shape[2]\n"
        "    return nn.Sequential(nn.Flatten(2), nn.Linear(inputs, width), LIF(v_reset=0.0),\n"
        "                         nn.Linear(width, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    options = ("--epochs", "1", "--no-page", "--no-test", "--out", "own")
    code, _, err = run("train", store, "--model", "mynets:net:width=5", *options)
    assert code == 0, err
    assert "test" not in json.loads((tmp_path / "own/config.json").read_text())["samples"]
    assert run("train", "--resume", "own", "--epochs", "2")[0] == 0
    assert json.loads((tmp_path / "own/metrics.json").read_text())["epochs"] == 2
    assert run("evaluate", "own")[0] == 0
    code, _, err = run("export", "own", "--to", "nir", "--check")
    assert code in (0, 1), err
    code, _, err = run("train", store, "--model", "mynets:nett", *options[:-1], "other")
    assert (code, "no model 'mynets:nett'" in err) == (1, True)


@pytest.mark.slow
def test_the_command_under_torchrun_reports_once_and_ends_well(store, tmp_path):
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = ["-m", "eventkit", "train", str(store), *TINY, "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", *torchrun, *train]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("trained") == 1


def test_sentences_name_options_of_the_command(store, run, tmp_path):
    out = ("--out", tmp_path / "run")
    code, _, err = run("train", store, *TINY, *out, "--save-minutes", "nan")
    assert (code, err.partition("error: ")[2][:17]) == (1, "--save-minutes is")
    code, _, err = run("train", store, "--model", "shd_dcls", "--method", "sltt", *out)
    assert "use --method bptt" in err
    assert not (tmp_path / "run").exists()
