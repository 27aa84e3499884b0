"""What a net does, against counts by brute force; scores by hand; the page."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from browser import MISSING, PROGRAM, Browser
from directions import SMALL, Directions
from torch import nn
from torch.nn import functional

from eventkit.errors import OptionError, UnknownName
from eventkit.evaluate import Activity, evaluate, score
from eventkit.evaluate.page import Sample, page
from eventkit.evaluate.trace import spikes, titles
from eventkit.models import create
from eventkit.snn import LIF, Fold
from eventkit.train import evaluate_run, train


def conv(**options):
    return nn.Conv2d(2, 4, 3, bias=False, **options)


@pytest.mark.parametrize(
    "options", [{}, {"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2}, {"groups": 2}]
)
def test_synaptic_operations_are_those_of_a_convolution_with_ones(options):
    torch.manual_seed(0)
    layer = conv(**options)
    layer.weight.data[torch.rand_like(layer.weight) < 0.3] = 0
    x = (torch.rand(3, 2, 2, 9, 8) < 0.3).float()
    net = Fold(layer)
    with Activity(net) as seen, torch.inference_mode():
        net(x)
    found = seen.layers["0"]
    kept = (layer.weight.detach() != 0).float()
    how = {key: getattr(layer, key) for key in ("stride", "padding", "dilation", "groups")}
    flat = x.flatten(0, 1)
    assert found.effective == float(functional.conv2d(flat, kept, **how).sum())
    ones = functional.conv2d(torch.ones_like(flat), torch.ones_like(kept), **how)
    assert found.dense == float(ones.sum())
    assert found.binary
    assert seen.samples == 2


def test_linear_layers_rates_and_analog_inputs():
    net = nn.Sequential(nn.Linear(3, 4), LIF(), nn.Linear(4, 2))
    x = torch.tensor([[[0.5, 0.0, 2.0]], [[0.0, 0.0, 0.0]]])
    with Activity(net) as seen:
        net(x)
    assert seen.layers["0"].effective == 2 * 4
    assert seen.layers["0"].dense == 2 * 3 * 4
    assert not seen.layers["0"].binary
    assert seen.layers["2"].binary
    spikes = LIF()(net[0](x))
    assert seen.layers["1"].rate == pytest.approx(float(spikes.detach().mean()))
    assert seen.layers["2"].effective == float(spikes.detach().sum()) * 2


def test_dead_and_saturated_layers_are_named():
    net = nn.Sequential(nn.Linear(3, 4), LIF(), nn.Linear(4, 4), LIF())
    nn.init.constant_(net[0].bias, -10)
    nn.init.constant_(net[2].bias, 10)
    with Activity(net) as seen:
        net(torch.zeros(5, 2, 3))
    dead, saturated = seen.silent()
    assert dead.startswith("layer 1 is dead")
    assert saturated.startswith("layer 3 is saturated")


class Told(nn.Module):
    """A net whose votes are its input."""

    def forward(self, x):
        return x.flatten(2)


def test_scores_by_hand():
    votes = torch.zeros(3, 3, 2, 1, 1)  # N, T, classes
    votes[0, :, 0] = 1  # always class 0, which is true
    votes[1, 0, 0] = 5  # first class 0, in the mean too
    votes[1, 1:, 1] = 1
    votes[2, 1:, 1] = 1  # ends after the first step: class 0 by default
    lengths, labels = torch.tensor([3, 3, 1]), torch.tensor([0, 1, 0])
    found = score(Told(), [(votes, labels, lengths)], classes=2)
    assert found.confusion.tolist() == [[2, 0], [1, 0]]
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.anytime == pytest.approx([2 / 3] * 3)
    assert found.decided == 1 + 1 + 1
    votes[0, 0] = torch.tensor([0.0, 0.5])[:, None, None]  # class 1 at first, 0 from step 2 on
    assert score(Told(), [(votes, labels, lengths)], classes=2).decided == 2 + 1 + 1
    recall = [row["recall"] for row in found.per_class()]
    assert recall == [1.0, 0.0]
    assert found.per_class()[1]["precision"] is None


def test_evaluate_gives_the_names_of_neurobench_as_plain_json():
    torch.manual_seed(0)
    net = create(SMALL, num_classes=4, in_shape=(2, 12, 12))
    samples = Directions(12)
    batch = (60 * samples.frames, torch.as_tensor(samples.labels))
    found = json.loads(json.dumps(evaluate(net, [batch], classes=Directions.classes)))
    assert found["ParameterCount"] == sum(p.numel() for p in net.parameters())
    assert found["Footprint"] >= 4 * found["ParameterCount"]
    assert found["ConnectionSparsity"] == 0
    assert 0 < found["ActivationSparsity"] < 1
    operations = found["SynapticOperations"]
    assert 0 < operations["Effective_ACs"] < operations["Dense"]
    assert found["energy"]["microjoules"] < found["energy"]["microjoules_if_dense"]
    assert found["anytime"][-1] == found["ClassificationAccuracy"]
    assert 1 <= found["decision_step"] <= 8
    assert found["uncounted"] == []
    assert np.array(found["confusion"]).sum() == 12
    assert found["causal"]


class MeanOverTime(nn.Module):
    def forward(self, x):
        return x.mean(0, keepdim=True).expand_as(x)


class Backwards(nn.Module):
    def forward(self, x):
        return x.flip(0)


class Next(nn.Module):
    """No gradient tells that it looks ahead."""

    def forward(self, x):
        return torch.roll(x, -1, 0).round().detach() + 0 * x


@pytest.mark.parametrize("layer", [MeanOverTime(), Backwards(), Next()])
@pytest.mark.parametrize("place", [0, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 100.0])  # at first no neuron fires
def test_a_layer_that_looks_ahead_is_found(layer, place, scale):
    torch.manual_seed(0)
    layers = [nn.Flatten(2), nn.Linear(32, 8), LIF(), nn.Linear(8, 4)]
    layers[1].weight.data *= scale
    batch = (torch.rand(3, 8, 2, 4, 4).mul(3).round(), torch.zeros(3).long())
    assert evaluate(nn.Sequential(*layers), [batch], classes=list("abcd"))["causal"]
    layers.insert(place, layer)
    assert not evaluate(nn.Sequential(*layers), [batch], classes=list("abcd"))["causal"]


def test_answers_at_the_first_output_spike():
    spikes = torch.zeros(5, 4, 3)  # (T, N, classes)
    spikes[2, 0, 1] = spikes[3, 0, 0] = spikes[4, 0, 0] = 1  # the first one is right
    spikes[0, 1, 2] = spikes[1, 1, 0] = 1  # wrong
    spikes[4, 2, 1] = 1  # behind its end: silent
    spikes[1, 3, 0], spikes[1, 3, 2] = 1, 2  # the larger one
    labels, lengths = torch.tensor([1, 1, 0, 2]), torch.tensor([5, 5, 3, 5])
    net = nn.Sequential(nn.Flatten(2))
    batch = (spikes.reshape(5, 4, 1, 1, 3).transpose(0, 1), labels, lengths)
    found = score(net, [batch], classes=3).first_spike
    assert found == {"accuracy": 0.5, "step": (3 + 1 + 3 + 2) / 4, "silent": 0.25}
    assert evaluate(net, [batch], classes=list("abc"))["first_spike"] == found
    assert score(net, [(batch[0] - 0.1, labels, lengths)], classes=3).first_spike is None


def test_batches_may_be_those_of_the_loader():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(2), nn.Linear(4, 3))
    frames, labels = torch.rand(5, 6, 1, 2, 2), torch.tensor([0, 1, 2, 1, 0])
    lengths, real = torch.tensor([6, 3, 6, 1, 6]), torch.tensor([1, 1, 1, 0, 0]).bool()
    whole = torch.full((5,), 6)

    def found(*batch, **options):
        one = score(net, [batch], classes=3, **options)
        return one.loss.tolist(), one.confusion.tolist()

    assert found(frames, labels) == found(frames, labels, whole)
    assert found(frames, labels) != found(frames, labels, lengths)
    assert found(frames, labels, real) == found(frames[:3], labels[:3])
    assert found(frames, labels, lengths, real) == found(frames[:3], labels[:3], lengths[:3])
    assert found(frames.transpose(0, 1), labels, lengths, time_first=True) == found(
        frames, labels, lengths
    )
    assert score(net, [(frames, labels, ~whole.bool())], classes=3).samples == 0
    with pytest.raises(OptionError, match="expected labels below 3 and lengths up to 6"):
        found(frames, lengths, labels)
    with pytest.raises(OptionError, match="time_first=True here too"):
        found(frames.transpose(0, 1), labels)
    measured = evaluate(net, [(frames, labels, lengths, real)], classes=list("abc"))
    assert measured["samples"] == 3


def test_a_run_is_evaluated_on_any_split(tmp_path):
    splits = {"train": Directions(16), "test": Directions(8, seed=1)}
    result = train(splits, model=SMALL, epochs=1, out=tmp_path / "run", page=False)
    found = evaluate_run(tmp_path / "run", splits)
    assert found["ClassificationAccuracy"] == result["accuracy"]["at_best_validation"]
    assert evaluate_run(tmp_path / "run", splits, split="train", weights="last")["samples"] == 16
    with pytest.raises(UnknownName, match="no split 'tset'"):
        evaluate_run(tmp_path / "run", splits, split="tset")
    with pytest.raises(OptionError, match="found 4 classes of"):
        evaluate_run(tmp_path / "run", {"test": Directions(4, size=10)})
    with pytest.raises(OptionError, match="is no run folder"):
        evaluate_run(tmp_path, splits)


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_the_page_needs_nothing_else_and_trusts_no_name(tmp_path):
    torch.manual_seed(0)
    net = create(SMALL, num_classes=4, in_shape=(2, 12, 12))
    samples = Directions(4)
    batch = (samples.frames, torch.as_tensor(samples.labels))
    classes = ["<img src=x onerror=alert(1)>", "$x_{$ costs $5", "c\nd", "d"]
    measured = evaluate(net, [batch], classes=classes)
    rows = [
        {"epoch": n, "loss": 1.0 / n, "accuracy": 0.4, "test_loss": 1.0, "test_accuracy": 0.5}
        for n in (1, 2)
    ]
    layers = [{"epoch": n, **row, "gradient": 0.1} for n in (1, 2) for row in measured["layers"]]
    frames = samples.frames[0]
    path = page(tmp_path / "page.html", title="a & b", facts={"x": "run-\udcff"}, rows=rows,
                measured=measured, layers=layers, titles=titles(net),
                samples=[Sample(frames.numpy(), classes[0], "b")],
                spikes=spikes(net, frames))  # fmt: skip
    with Browser(tmp_path / "browser") as browser:
        browser.open(path)
        assert browser.problems == []
        assert browser.outside == []
        assert browser.run("document.querySelectorAll('img').length") == 0
        assert browser.run("document.title") == "a & b"
        text = browser.run("PAGE.textContent")
        assert classes[0] in text
        assert "train" in text  # the training accuracy has a line too
        charts = browser.run("Array.from(document.querySelectorAll('.chart'), c => c.outerHTML)")
        assert len(charts) == 6
        assert all("NaN" not in chart for chart in charts)
        names = browser.run("Array.from(document.querySelectorAll('.legend'), c => c.textContent)")
        assert any("conv 1 3×3, 2→" in name for name in names)
        tiles = browser.run("document.querySelectorAll('.tiles canvas').length")
        assert tiles == 1 + 1 + len(spikes(net, frames))


def test_layers_have_readable_names():
    net = create("csnn_tiny:width=4", num_classes=3, in_shape=(2, 16, 16))
    assert list(titles(net).values())[:3] == ["conv 1 3×3, 2→4", "PLIF 1", "conv 2 3×3, 4→4"]
    own = nn.ModuleDict({"head": nn.Linear(3, 2), "7": LIF(), "8": LIF()})
    assert titles(own) == {"head": "head 3→2", "7": "LIF 1", "8": "LIF 2"}
    assert titles(net).keys() == {row["layer"] for row in _rows(net)}


def _rows(net):
    with Activity(net) as seen, torch.no_grad():
        net(torch.zeros(1, 1, 2, 16, 16))
    return seen.rows()


def test_spikes_of_a_sample_are_those_that_the_layers_give():
    torch.manual_seed(0)
    net = nn.Sequential(Fold(nn.Conv2d(1, 3, 1)), LIF(), nn.Flatten(2), nn.Linear(12, 5), LIF())
    frames = 9 * torch.rand(4, 1, 2, 2)
    net.train()
    first, second = spikes(net, frames)
    assert net.training
    x = frames.unsqueeze(1)
    with torch.no_grad():
        maps = net[:2](x)[:, 0]
        fired = net(x)[:, 0]
    assert (first["layer"], second["layer"]) == ("1", "4")
    assert first["rate"] == pytest.approx(maps.flatten(1).mean(1).tolist())
    assert second["rate"] == pytest.approx(fired.mean(1).tolist())
    assert maps.any()
    assert np.array_equal(
        first["pixels"], np.round(255 * (maps.mean(1) / maps.mean(1).max()).numpy())
    )
    assert second["pixels"].shape == (1, 5, 4)
    assert np.array_equal(second["pixels"][0] > 0, fired.T.numpy() > 0)


def test_read_outs_never_fire_and_recurrent_layers_answer_for_their_neurons():
    """A membrane below zero is no dead layer, and recurrent weights are told as not counted."""
    net = create("shd_radlif:width=4", num_classes=3, in_shape=(1, 1, 20), steps=4).eval()
    with Activity(net) as seen, torch.no_grad():
        net(torch.poisson(torch.full((4, 2, 1, 1, 20), 0.3)))
    assert [row["layer"] for row in seen.rows() if "rate" in row] == ["2", "5"]
    assert not [text for text in seen.silent() if "layer 8" in text]
    assert seen.uncounted == ["2", "5"]


def test_a_split_without_samples_is_told(tmp_path):
    splits = {"train": Directions(16), "test": Directions(4)}
    train(splits, model=SMALL, out=tmp_path / "run", epochs=1, page=False)
    with pytest.raises(OptionError, match="has no samples"):
        evaluate_run(tmp_path / "run", {"test": Directions(0)})
