"""Training: it learns what only time tells, and its run folder says what was done."""

import csv
import json
import pickle

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from directions import SMALL, Directions
from making import ROOT
from safetensors.torch import load_file
from torch import nn

from eventkit.errors import FormatError, OptionError
from eventkit.evaluate.score import mean_vote, unpack, votes
from eventkit.loader import EventDataset, Loader
from eventkit.models import create
from eventkit.snn import LIF
from eventkit.splits import hold_out
from eventkit.train import load, train
from eventkit.train.data import Part, Steps, start_at
from eventkit.train.machine import World


@pytest.fixture
def splits():
    return {"train": Directions(96), "test": Directions(32, seed=1)}


def answer(net, frames, lengths):
    return mean_vote(votes(net, frames.transpose(0, 1)), lengths)


def quick(splits, out, **options):
    return train(splits, model=SMALL, out=out, **{"epochs": 2, "page": False, **options})


def test_the_sums_over_time_tell_nothing():
    frames = Directions(40).frames.sum(1)
    right, left, down, up = (set(map(bytes, frames[k::4].numpy())) for k in range(4))
    assert right == left
    assert down == up


def test_it_learns_the_direction_of_motion(splits, tmp_path):
    model = "csnn_tiny:width=16,dropout=0"
    result = train(
        splits, model=model, out=tmp_path / "run", epochs=14, batch=8, lr=1e-2, page=False
    )
    assert result["accuracy"]["last"] >= 0.95
    assert result["accuracy"]["at_best_validation"] >= 0.95


def test_gradient_norms_are_those_that_change_the_weights(splits, tmp_path):
    """Plain gradient descent with rate 1, one step: the weights change by the gradient."""
    net = nn.Sequential(nn.Flatten(2), nn.Linear(288, 5), LIF(), nn.Linear(5, 4))
    net[1].weight.data *= 20
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    options = {
        "optimizer": "sgd:momentum=0",
        "lr": 1,
        "schedule": "constant",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "clip": 0.0,
        "batch": 1000,
        "epochs": 1,
        "page": False,
    }
    train(splits, model=net, out=tmp_path / "run", **options)
    after = load_file(tmp_path / "run" / "last.safetensors")
    with (tmp_path / "run" / "layers.csv").open() as file:
        found = {row["layer"]: row["gradient"] for row in csv.DictReader(file)}
    for layer in ("1", "3"):
        names = (f"{layer}.weight", f"{layer}.bias")
        moved = torch.cat([(after[name] - before[name]).flatten() for name in names])
        assert float(found[layer]) == pytest.approx(float(moved.norm()), rel=1e-3)
        assert float(found[layer]) > 0


def test_the_run_folder_says_what_was_done(splits, tmp_path):
    result = quick(splits, tmp_path / "run", epochs=3, seed=7, page=True, tensorboard=True)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.json",
        "run.toml",
        "metrics.csv",
        "layers.csv",
        "metrics.json",
        "model.safetensors",
        "last.safetensors",
        "state.safetensors",
        "page.html",
        "evaluation.json",
        "tensorboard",
    }
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"] == SMALL
    assert config["seed"] == 7
    assert config["settings"]["batch"] == 16
    assert config["samples"] == {"train": 88, "validation": 8, "test": 32}
    assert config["classes"] == Directions.classes
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == result
    tests = [float(row["test_accuracy"]) for row in rows]
    assert result["accuracy"]["last"] == tests[-1]
    assert result["accuracy"]["best_optimistic"] == max(tests)
    assert result["accuracy"]["at_best_validation"] == tests[result["best_epoch"] - 1]
    best = max(float(row["validation_accuracy"]) for row in rows)
    assert result["validation_accuracy"] == best


def test_the_saved_weights_are_those_of_the_best_validation_epoch(splits, tmp_path):
    result = quick(splits, tmp_path / "run", epochs=4)
    frames, labels = splits["test"].frames, torch.as_tensor(splits["test"].labels)
    with torch.no_grad():
        answers = answer(load(tmp_path / "run"), frames, torch.full((len(frames),), 8))
    accuracy = float((answers.argmax(1) == labels).float().mean())
    assert accuracy == result["accuracy"]["at_best_validation"]


def test_the_same_seed_gives_the_same_weights(splits, tmp_path):
    states = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        quick(splits, tmp_path / name, seed=seed)
        states.append(load(tmp_path / name / "last.safetensors").state_dict())
    same, again, other = states
    assert all(torch.equal(same[key], again[key]) for key in same)
    assert not all(torch.equal(same[key], other[key]) for key in same)


def test_ctrl_c_leaves_a_complete_run_folder(splits, tmp_path):
    def interrupt(event):
        if event["event"] == "step" and event["done"] == 9:  # in the second epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(splits, tmp_path / "run", progress=interrupt)
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert result["interrupted"]
    assert result["epochs"] == 1
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 2
    load(tmp_path / "run")
    load(tmp_path / "run" / "last.safetensors")


def test_ctrl_c_before_the_first_epoch_ends_saves_too(splits, tmp_path):
    def interrupt(event):
        if event["event"] == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(splits, tmp_path / "run", progress=interrupt)
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert result["accuracy"] == {"last": None, "at_best_validation": None, "best_optimistic": None}
    load(tmp_path / "run" / "last.safetensors")


def test_progress_tells_start_steps_and_epochs(splits, tmp_path):
    events = []
    quick(splits, tmp_path / "run", progress=events.append)
    kinds = [event["event"] for event in events if event["event"] != "warning"]
    assert kinds == ["start", *(["step"] * 6 + ["epoch"]) * 2]
    assert events[0]["parameters"] == sum(p.numel() for p in load(tmp_path / "run").parameters())
    assert [event["done"] for event in events if event["event"] == "step"] == list(range(1, 13))
    assert {event["of"] for event in events if event["event"] == "step"} == {12}


def test_a_time_that_is_up_ends_the_training(splits, tmp_path):
    events = []
    result = quick(splits, tmp_path / "run", epochs=50, minutes=1e-6, progress=events.append)
    assert result["epochs"] == 1
    assert result["accuracy"]["last"] is not None
    assert [event["done"] for event in events if event["event"] == "step"][-1] < 6


def test_small_sets_get_more_epochs_than_large_ones(splits, tmp_path):
    events = []

    def stop(event):
        events.append(event)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(splits, model=SMALL, out=tmp_path / "run", progress=stop)
    assert events[0]["epochs"] == 100


def test_without_test_or_validation_samples_there_is_no_accuracy_to_report(splits, tmp_path):
    result = quick({"train": splits["train"]}, tmp_path / "run", validation=0)
    assert result["samples"] == {"train": 96}
    assert result["accuracy"] == {"last": None, "at_best_validation": None, "best_optimistic": None}
    assert result["validation_accuracy"] is None
    load(tmp_path / "run")


def test_a_split_called_validation_is_used_as_such(splits, tmp_path):
    result = quick({**splits, "validation": Directions(12, seed=2)}, tmp_path / "run")
    assert result["samples"] == {"train": 96, "validation": 12, "test": 32}


def test_samples_of_different_length_are_answered_as_if_alone():
    torch.manual_seed(0)
    net = create(SMALL, num_classes=4, in_shape=(2, 12, 12)).eval()
    frames = Directions(8).frames
    for t in (3, 8):
        alone = answer(net, frames[:1, :t], torch.tensor([t]))
        padded = frames.clone()
        padded[0, t:] = 0
        lengths = torch.tensor([t] + [8] * 7)
        torch.testing.assert_close(answer(net, padded, lengths)[:1], alone)


def test_wrong_settings_are_told(splits, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match="exists already; choose another folder"):
        quick(splits, tmp_path / "full")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
    with pytest.raises(OptionError, match="no split 'train' to train on, only test"):
        quick({"test": splits["test"]}, tmp_path / "run")
    with pytest.raises(OptionError, match=r"validation is 1\.5"):
        quick(splits, tmp_path / "run", validation=1.5)


def test_hold_out_takes_a_share_of_every_class_by_name():
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    names = [f"sample-{i}" for i in range(60)]
    training, held = hold_out(labels, 0.1, names=names)
    assert np.bincount(labels[held]).tolist() == [1, 2, 3]
    assert sorted([*training, *held]) == list(range(60))
    order = np.random.default_rng(0).permutation(60)
    _, again = hold_out(labels[order], 0.1, names=[names[i] for i in order])
    assert sorted(order[again]) == held.tolist()  # the same samples, whatever their order


def test_steps_cover_every_sample_once_over_all_processes():
    part = Part(Directions(50), np.arange(3, 50))
    for size in (1, 2, 3):
        for accumulate in (1, 3):
            steps, seen = Steps(47, 4, accumulate, size), 0
            streams = [
                start_at(part.reader(4, shuffle=True, seed=1, world=World(rank, size)), 2, 0)
                for rank in range(size)
            ]
            for step in range(len(steps)):
                for _ in range(steps.passes(step)):
                    for stream in streams:
                        seen += len(unpack(next(stream), classes=4)[1])
                assert seen == steps.taken(step + 1)
            assert seen == 47
            assert all(next(stream, None) is None for stream in streams)


def test_the_order_of_an_epoch_goes_on_where_it_was():
    part = Part(Directions(40), np.arange(3, 40))

    def labels(epoch, taken=0):
        stream = start_at(part.reader(4, shuffle=True, seed=1), epoch, taken)
        return [int(label) for batch in stream for label in batch[1]]

    assert labels(1) == labels(1)
    assert labels(1) != labels(2)
    assert labels(2, taken=12) == labels(2)[12:]
    assert labels(2, taken=37) == []


def test_a_store_and_its_samples_in_memory_are_read_in_the_same_order(tmp_path):
    from making import make_gestures

    from eventkit.conversion import convert

    out = tmp_path / "g.zarr"
    convert("dvsgesture", root=make_gestures(tmp_path / "raw", events=300), out=out,
            represent="frames:n=4")  # fmt: skip
    dataset = EventDataset(out)

    class Plain:
        labels, classes, shape = dataset.labels, dataset.classes, dataset.shape

        def __getitems__(self, indices):
            return [dataset[i] for i in indices]

    indices = np.arange(1, len(dataset))
    readers = [Part(d, indices).reader(2, shuffle=True, seed=3) for d in (dataset, Plain())]
    assert isinstance(readers[0], Loader)
    for one, other in zip(*(start_at(reader, 5, 2) for reader in readers), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_loss_that_is_not_finite_is_told_with_the_layer(splits, tmp_path, monkeypatch):
    splits["train"].frames[:, 0, 0, 0, 0] = float("nan")
    with pytest.raises(OptionError, match="samples of epoch 1 hold values that are not"):
        quick(splits, tmp_path / "run")
    made = create

    def broken(*args, **options):
        net = made(*args, **options)
        torch.nn.init.constant_(net[3][0].weight, float("nan"))
        return net

    monkeypatch.setattr("eventkit.train.nets.create", broken)
    with pytest.raises(OptionError, match=r"gradient of [34]\.\S+ is not finite in epoch 1"):
        quick({"train": Directions(32)}, tmp_path / "again")


def hostile(path):
    """Files that pretend to be weights, with what is said about each."""
    from safetensors.torch import save_file

    def describe(tensors, **about):
        known = {"model": "csnn_tiny", "num_classes": 2, "in_shape": [2, 8, 8], "steps": 4}
        save_file(tensors, path, {"eventkit": json.dumps(known | about)})

    for content in (
        b"",
        b"text",
        pickle.dumps({"state": print}),
        b"\xff" * 64,
        b"\x10" + b"\0" * 99,
    ):
        path.write_bytes(content)
        yield "no file of weights that eventkit wrote"
    torch.save({"model": "csnn_tiny"}, path)
    yield "no file of weights that eventkit wrote"
    save_file({"a": torch.ones(1)}, path)
    yield "it does not say what it holds"
    save_file({"a": torch.ones(1)}, path, {"eventkit": "[" * 100_000})
    yield "no file of weights that eventkit wrote"
    describe({})
    yield "is not in the file"
    describe({"a": torch.ones(1)}, model="csnn_tiny:width=900000")  # terabytes, if it were built
    yield "the tensor .* is"
    describe({"a": torch.ones(1)}, in_shape=[2, 10**9, 10**9])
    yield "no weights of an eventkit net"
    describe({"a": torch.ones(1)}, num_classes="many")
    yield "sizes are no whole numbers"
    describe({"a": torch.ones(1)}, model="../../etc/passwd")
    yield "no model"


def test_files_that_are_no_weights_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "model.safetensors"
    for said in hostile(path):
        with pytest.raises(FormatError, match=said) as caught:
            load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.safetensors")


@pytest.mark.slow
def test_frame_sums_guess_where_csnn_tiny_knows(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import direction

    sweeps = direction.Sweeps(4, 0)
    sums = sweeps.frames.sum(1)
    assert torch.equal(sums[0::2], sums[1::2])
    assert not torch.equal(sweeps.frames[0], sweeps.frames[1])
    found = direction.compare(sweeps=60, epochs=12)
    assert found["frame_sums"]["last"] == 0.5
    assert found["csnn_tiny"]["last"] >= 0.95
