"""Training at its edges: few steps, little time, tiny sets, wrong teachers, full disks."""

import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from directions import SMALL, Directions
from torch import nn

from eventkit.errors import EventkitError, OptionError
from eventkit.runs import Settings
from eventkit.snn import DelayedLinear
from eventkit.splits import hold_out
from eventkit.train import train
from eventkit.train.checkpoint import read, write
from eventkit.train.data import Part
from eventkit.train.loop import Training
from eventkit.train.machine import World, device
from eventkit.train.optim import Average, Statistics, groups
from eventkit.train.rules import Step, rule
from eventkit.train.settings import settle


@pytest.fixture
def splits():
    return {"train": Directions(32), "test": Directions(8, seed=1)}


def quick(splits, out, **options):
    return train(splits, model=SMALL, out=out, **{"epochs": 2, "page": False, **options})


def test_a_net_that_has_seen_few_steps_is_no_silent_one(splits, tmp_path):
    """With their usual momentum batch norms would still be where they began: all votes zero."""
    warnings = []
    splits["train"].frames *= 30  # counts, far from the variance of 1 at which norms begin
    quick(splits, tmp_path / "run", epochs=1, lr=1e-6, seed=1, progress=warnings.append)
    said = [event["text"] for event in warnings if event["event"] == "warning"]
    assert not [text for text in said if "is dead" in text]


def test_running_statistics_begin_as_the_mean_of_the_first_steps():
    norm = nn.BatchNorm1d(1, momentum=0.25)
    statistics = Statistics(norm)
    batches = torch.rand(3, 8, 1) + 5
    for taken, batch in enumerate(batches):
        statistics.follow(taken)
        norm(batch)
    torch.testing.assert_close(norm.running_mean, batches.mean((0, 1)))
    statistics.follow(100)
    assert norm.momentum == 0.25


def test_no_epoch_without_steps_when_measuring_took_the_rest_of_the_time(splits, tmp_path):
    """Such an epoch would have a loss of 0 in metrics.csv."""
    now = [0.0]

    def slow(event):
        if event["event"] == "epoch":
            now[0] += 1000.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eventkit.train.loop.time", SimpleNamespace(
            monotonic=lambda: now[0], perf_counter=lambda: now[0]))  # fmt: skip
        result = quick(splits, tmp_path / "run", epochs=9, minutes=1.0, progress=slow)
    assert result["epochs"] == 1


def test_delays_do_not_decay():
    layer = DelayedLinear(3, 2)
    found = groups(nn.Sequential(layer), lr=0.1, decay=0.5)
    decays = {id(p): group["weight_decay"] for group in found for p in group["params"]}
    assert decays[id(layer.weight)] == 0.5
    assert decays[id(layer.position)] == 0


def test_patience_without_validation_samples_looks_at_the_loss(splits, tmp_path):
    result = quick(splits, tmp_path / "run", epochs=4, validation=0, patience=1, lr=1e-3)
    losses = [float(line.split(",")[2]) for line in
              (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]]  # fmt: skip
    assert losses[1] < losses[0]
    assert result["epochs"] > 2


@pytest.mark.parametrize("text", ["'none'", "['none']", "[]"])
def test_augmentations_of_the_recipe_can_be_left_out(text, tmp_path):
    (tmp_path / "a.toml").write_text(f"augment = {text}")
    assert settle({}, tmp_path / "a.toml").augment == ()
    assert settle({"augment": ("none",)}).augment == ()


@pytest.mark.parametrize("text", ["5", "[1]", "{a = 1}", "true", "[['flip']]"])
def test_augmentations_that_are_no_texts_are_told(text, tmp_path):
    (tmp_path / "a.toml").write_text(f"augment = {text}")
    with pytest.raises(OptionError, match=r"augment is .*, expected a list of texts"):
        settle({}, tmp_path / "a.toml")


def test_a_teacher_of_other_classes_or_samples_is_told(splits, tmp_path):
    wide = {"train": Directions(8, size=16), "test": Directions(8, size=16)}
    quick(wide, tmp_path / "teacher", epochs=1)
    with pytest.raises(OptionError, match=r"knows 4 classes of \[2, 16, 16\], found 4 classes"):
        quick(splits, tmp_path / "run", teacher=str(tmp_path / "teacher"))


def test_a_class_is_never_held_out_as_a_whole():
    labels = np.array([0] * 2 + [1] * 4 + [2])
    training, held = hold_out(labels, 0.9)
    assert set(labels[training]) == {0, 1, 2}
    assert len(held) == 1 + 3


def test_weights_changed_after_windows_are_refused_on_several_processes():
    net = nn.Linear(2, 2)
    settings = Settings(method="sltt:update=window")
    training = Training(net, torch.optim.SGD(net.parameters()), Average(net, 0), settings, 2,
                        World(0, 2))  # fmt: skip
    part = Part(Directions(4), np.arange(4))
    with pytest.raises(OptionError, match="on one process only"):
        next(training.fit(part, epochs=1, progress=lambda event: None))


def test_every_process_of_torchrun_takes_a_gpu_of_its_own(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda n, device: taken.append(device))
    for rank in ("0", "1", "2"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        device("auto")
    assert taken == [torch.device("cuda", n) for n in (0, 1, 0)]


def test_a_full_disk_leaves_the_last_checkpoint_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    write(path, {"a": torch.ones(2)}, {})

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, {"a": torch.zeros(2)}, {})
    assert torch.equal(read(path)[0]["a"], torch.ones(2))
    assert [each.name for each in tmp_path.iterdir()] == ["state.safetensors"]


@pytest.mark.parametrize("spec", ["checkpoint", "tbptt", "sltt", "ottt"])
def test_learned_delays_are_not_cut_into_pieces(spec):
    net = nn.Sequential(nn.Flatten(2), DelayedLinear(4, 2))
    step = Step(net, lambda votes, first: votes.mean())
    with pytest.raises(OptionError, match=r"layer 1 .* remembers nothing between pieces"):
        rule(spec)(step, torch.rand(8, 1, 1, 2, 2))


@pytest.mark.parametrize(
    "wrong", [{"method": "tbptt:window=0"}, {"loss": "no"}, {"schedule": "no"}]
)
def test_wrong_specs_leave_no_folder_behind(wrong, splits, tmp_path):
    with pytest.raises(EventkitError):
        quick(splits, tmp_path / "run", **wrong)
    assert not (tmp_path / "run").exists()
