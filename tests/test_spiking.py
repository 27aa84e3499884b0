"""Networks trained without spikes, converted: what is measured, and what the command prints."""

import json

import pytest

pytest.importorskip("torch")

import torch
from directions import Directions
from making import make_gestures
from torch import nn

from eventkit.errors import OptionError, UnknownName
from eventkit.evaluate import Activity
from eventkit.evaluate.spiking import against_steps
from eventkit.snn import QCFS, GroupNeuron
from eventkit.train import evaluate_run, spiking_run, train


def test_spikes_of_groups_are_counted_one_by_one():
    net = nn.Sequential(GroupNeuron(m=4, v_threshold=2.0), nn.Linear(3, 5))
    with Activity(net) as seen:
        net(torch.tensor([[[0.0, 0.5, 2.0]]]))  # 0, 1 and 4 spikes of 0.5 each
    assert seen.layers["0"].spikes == 5
    assert seen.layers["0"].rate == pytest.approx(5 / 3)
    assert not seen.layers["1"].binary
    assert seen.layers["1"].effective == 10


@pytest.mark.parametrize(
    ("inputs", "binary"),
    [
        ([[0.0, 2.0], [2.0, -2.0]], True),
        ([[0.0, 2.0], [1.0, 0.0]], False),
        ([[0.0, 0.0], [0.5, 0.0]], True),
    ],
)
def test_inputs_of_one_size_are_additions_whatever_the_size(inputs, binary):
    net = nn.Sequential(nn.Linear(2, 1))
    with Activity(net) as seen:
        for each in inputs:
            net(torch.tensor([[each]]))
    assert seen.layers["0"].binary is binary


def test_accuracy_against_steps_and_members():
    # Two inputs are told apart by a layer of two steps of 1/2: 0.3 rounds to 1/2, 0.2 to 0.
    net = nn.Sequential(nn.Flatten(2), QCFS(levels=2, threshold=1.0), nn.Linear(1, 2))
    with torch.no_grad():
        net[2].weight[:] = torch.tensor([[0.0], [1.0]])
        net[2].bias[:] = torch.tensor([0.25, 0.0])
    frames = torch.tensor([0.2, 0.3]).reshape(2, 1, 1, 1, 1)
    batches = [(frames, torch.tensor([0, 1]))]
    rows = against_steps(net, lambda: batches, classes=2, steps=(1, 2), members=(1, 2))
    keys = [(row["members"], row["steps"]) for row in rows]
    assert keys == [(None, None), (1, 1), (1, 2), (2, 1), (2, 2)]
    # One step of an IF rounds 0.3 to 0 as well; L = 4 rounds 0.2 and 0.3 to 1/4, which is a tie.
    assert [row["accuracy"] for row in rows] == [1, 0.5, 1, 1, 0.5]
    assert [row["spikes"] for row in rows] == [0, 0, 0.5, 0.5, 1]
    one = rows[2]["SynapticOperations"]
    assert one == {"Effective_MACs": 0, "Effective_ACs": 0.5, "Dense": 4}  # one weight is 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    splits = {"train": Directions(32, steps=2), "test": Directions(8, steps=2, seed=1)}
    folder = tmp_path_factory.mktemp("runs")
    for name, neurons in (("qcfs", "[qcfs:levels=4,threshold=2]"), ("relu", "relu")):
        model = f"csnn_tiny:width=8,dropout=0,neurons={neurons},pool=avg"
        train(splits, model=model, epochs=8, out=folder / name, page=False, augment=["none"])
    return folder, splits


@pytest.mark.parametrize("name", ["qcfs", "relu"])
def test_a_run_is_converted(trained, name):
    folder, splits = trained
    found = spiking_run(folder / name, splits, steps=(64,), members=(1, 8))
    whole = evaluate_run(folder / name, splits)
    assert found["samples"] == 8
    assert [row["steps"] for row in found["rows"]] == [None, 64, 64]
    assert found["rows"][0]["accuracy"] == whole["ClassificationAccuracy"]
    assert found["rows"][1]["accuracy"] == found["rows"][0]["accuracy"]
    assert found["rows"][1]["spikes"] < found["rows"][2]["spikes"]
    json.dumps(found)


def test_a_network_that_spikes_already_is_refused(trained, tmp_path):
    _, splits = trained
    train(splits, model="csnn_tiny:width=4", epochs=1, out=tmp_path / "run", page=False)
    with pytest.raises(OptionError, match="no activation to convert, expected neurons=qcfs"):
        spiking_run(tmp_path / "run", splits)


def test_relu_needs_the_samples_of_training(trained):
    folder, splits = trained
    with pytest.raises(UnknownName, match="no split 'train'"):
        spiking_run(folder / "relu", {"test": splits["test"]})


def test_the_command_prints_a_row_for_each_number_of_steps_and_members(run, tmp_path):
    raw, store = make_gestures(tmp_path / "raw", events=300), tmp_path / "g.zarr"
    crop = "crop:x=0,y=0,width=16,height=16"
    words = ["convert", "dvsgesture", "--root", raw, "--frames", "1", "--transform", crop]
    assert run(*words, "--out", store)[0] == 0
    model = "csnn_tiny:width=4,neurons=qcfs,pool=avg"
    words = ["train", store, "--model", model, "--epochs", "1", "--no-page"]
    assert run(*words, "--out", tmp_path / "run")[0] == 0
    words = ["spiking", tmp_path / "run", "--steps", "1,4", "--members", "1,8"]
    code, out, err = run(*words)
    assert code == 0, err
    head, *rows = [line.split() for line in out.splitlines()]
    assert head == ["neurons", "steps", "accuracy", "difference", "spikes", "MACs", "ACs", "µJ"]
    assert [row[0] for row in rows] == ["none", "if", "if", "gn:m=8", "gn:m=8"]
    assert [row[1] for row in rows[1:]] == ["1", "4", "1", "4"]
    code, out, _ = run(*words, "--json")
    assert [row["steps"] for row in json.loads(out)["rows"]] == [None, 1, 4, 1, 4]
    code, _, err = run(*words[:2], "--steps", "0")
    assert code == 2
    assert "expected numbers from 1 on, as 1,2,4,8" in err
