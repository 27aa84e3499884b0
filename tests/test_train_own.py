"""Training networks that are not in the zoo: classes named as package.module:Net, and objects."""

import json

import pytest

pytest.importorskip("torch")

import torch
from directions import Directions
from torch import nn

from eventkit.errors import FormatError, OptionError
from eventkit.snn import LIF
from eventkit.train import evaluate_run, load, resume, train

SOURCE = """
import torch
from torch import nn
from eventkit.snn import LIF

class Net(nn.Module):
    def __init__(self, num_classes, in_shape, width: int = 8, bias=True, *, tau: float = 2.0):
        super().__init__()
        self.flat, self.width, self.bias = nn.Flatten(2), width, bias
        inputs = in_shape[0] * in_shape[1] * in_shape[2]
        self.body = nn.Sequential(nn.Linear(inputs, width, bias=bias), LIF(tau=tau))
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.body(self.flat(x)))

def make(num_classes: int, *, steps: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(2), nn.Linear(288, num_classes))

def mean_only(num_classes) -> nn.Module:
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(288, num_classes)
        def forward(self, x):
            return self.head(x.flatten(2)).mean(0)
    return Mean()

def untyped(num_classes):
    raise AssertionError("called")
"""


@pytest.fixture
def splits():
    return {"train": Directions(32), "test": Directions(8, seed=1)}


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "ownnets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    import sys

    sys.modules.pop("ownnets", None)


def quick(splits, model, out, **options):
    return train(splits, model=model, out=out, **{"epochs": 2, "page": False, **options})


def plain(width=8):
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(2), nn.Linear(288, width), LIF(), nn.Linear(width, 4))


def interrupted(splits, model, out, at=3, **options):
    def interrupt(event):
        if event["event"] == "step" and event["done"] == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(splits, model, out, batch=8, progress=interrupt, **options)


def states(*folders):
    return [load(folder / "last.safetensors").state_dict() for folder in folders]


def test_a_class_given_by_name_is_trained_evaluated_and_resumed_by_its_name(
    splits, module, tmp_path
):
    name = "ownnets:Net:width=6,bias=false,tau=3"
    result = quick(splits, name, tmp_path / "run", batch=8, page=True)
    net = load(tmp_path / "run")
    assert (net.width, net.bias) == (6, False)
    assert net.body[1].tau == 3
    found = evaluate_run(tmp_path / "run", {"test": splits["test"]})
    assert found["ClassificationAccuracy"] == result["accuracy"]["at_best_validation"]
    interrupted(splits, name, tmp_path / "again")
    resume(tmp_path / "again", data=splits)
    first, second = states(tmp_path / "run", tmp_path / "again")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_function_that_says_it_makes_a_network_is_one_too(splits, module, tmp_path):
    quick(splits, "ownnets:make", tmp_path / "run", epochs=1)
    assert isinstance(load(tmp_path / "run"), nn.Sequential)


def test_an_object_is_trained_in_place_and_needed_again(splits, tmp_path):
    net = plain()
    before = net[1].weight.detach().clone()
    result = quick(splits, net, tmp_path / "run", batch=8, page=True)
    assert not torch.equal(before, net[1].weight)
    assert (tmp_path / "run" / "page.html").is_file()
    test = {"test": splits["test"]}
    for call in (load, lambda run: evaluate_run(run, test), lambda run: resume(run, data=splits)):
        with pytest.raises(OptionError, match=r"object.* Sequential.*again.*model=net"):
            call(tmp_path / "run")
    found = evaluate_run(tmp_path / "run", test, model=plain())
    assert found["ClassificationAccuracy"] == result["accuracy"]["at_best_validation"]
    with pytest.raises(FormatError, match=r"no weights of this Sequential .*has the shape"):
        load(tmp_path / "run", model=plain(width=9))


def test_a_training_of_an_object_goes_on_exactly_wherever_it_was_killed(splits, tmp_path):
    net = plain()
    quick(splits, net, tmp_path / "whole", batch=8)
    for at in (1, 3):
        interrupted(splits, plain(), tmp_path / f"{at}", at=at)
        again = plain()
        nn.init.zeros_(again[1].weight)  # the weights of the checkpoint count, not its own
        resume(tmp_path / f"{at}", data=splits, model=again)
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(),
                                                     strict=True))  # fmt: skip


def test_seeds_begin_with_copies_of_the_object(splits, tmp_path):
    net = plain()
    result = quick(splits, net, tmp_path / "run", epochs=1, seeds=2)
    assert torch.equal(net[1].weight, plain()[1].weight)
    assert result["seeds"] == 2


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("ownnets:Nett", r"no model 'ownnets:Nett': .*has no attribute 'Nett'"),
        ("nosuchmodule:Net", r"No module named 'nosuchmodule'"),
        ("ownnets:Net:wdth=3", "ownnets:Net has no option 'wdth'. Did you mean 'width'"),
        ("ownnets:Net:width=many", "ownnets:Net: width is 'many', expected a whole number"),
        ("ownnets:Net:num_classes=3", "has no option 'num_classes'"),
        ("ownnets:untyped", "ownnets:untyped is no network: expected a class of torch.nn.Module"),
        ("os:system:command=ls", "os:system is no network"),
        ("ownnets:mean_only", r"Mean gives \(2, 4\) .* expected one vote a step, .*\(8, 2, 4\)"),
        (nn.Sequential(nn.Flatten(2), nn.Linear(3, 4)), "Sequential fails on frames"),
        (nn.Flatten(2), r"Flatten gives \(8, 2, 288\)"),
    ],
)
def test_what_is_no_network_is_told_before_a_folder_is_made(model, said, splits, module, tmp_path):
    with pytest.raises(OptionError, match=said):
        quick(splits, model, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_elsewhere_call_nothing_but_networks(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    about = {"model": f"os:mkdir:path={tmp_path / 'made'}", "num_classes": 2,
             "in_shape": [2, 8, 8], "steps": 4}  # fmt: skip
    save_file({"a": torch.ones(1)}, path, {"eventkit": json.dumps(about)})
    with pytest.raises(OptionError, match="os:mkdir is no network"):
        load(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("steps", [2, 3])
def test_a_network_with_samples_first_is_refused_whatever_the_number_of_steps(steps, tmp_path):
    """It is tried with another number of samples than of steps, so that axes are not confused."""

    class SamplesFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(288, 4)

        def forward(self, x):
            return self.head(x.flatten(2)).transpose(0, 1)

    splits = {name: Directions(8, steps=steps) for name in ("train", "test")}
    with pytest.raises(OptionError, match=rf"expected one vote a step.*= \({steps}, "):
        train(splits, model=SamplesFirst(), out=tmp_path / "run", epochs=1)
