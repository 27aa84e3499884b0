"""Settings come from the recipe, a TOML and options, in this order; schedules and groups."""

import re
import typing
from dataclasses import fields

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.errors import OptionError, UnknownName
from eventkit.runs import Settings, read_json
from eventkit.snn import PLIF, SURROGATES
from eventkit.snn.surrogate import parse as surrogate
from eventkit.train.losses import LOSSES, loss
from eventkit.train.machine import multiplies_bf16
from eventkit.train.optim import Average, Now, groups, optimizer, schedule
from eventkit.train.rules import RULES, rule
from eventkit.train.run import Run
from eventkit.train.settings import settle, to_toml


def test_options_win_over_the_toml_and_that_over_the_recipe(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('model = "csnn_small"\nlr = 0.5\nepochs = 7\naugment = ["flip"]\n')
    found = settle({"lr": 0.25, "batch": None}, path)
    assert (found.model, found.lr, found.epochs) == ("csnn_small", 0.25, 7)
    assert found.augment == ("flip",)
    assert found.batch == 16
    assert settle({}).augment == ("shift:share=0.06",)
    paper = settle({"model": "plif_nmnist", "recipe": "paper"})
    assert paper.loss == "rate_mse"


def test_a_run_toml_gives_the_same_settings_again(tmp_path):
    made = settle({"epochs": 3, "augment": ["flip", "nda:m=1,n=2"], "teacher": 'a "b"', "ema": 0.9})
    (tmp_path / "run.toml").write_text(to_toml(made))
    assert settle({}, tmp_path / "run.toml") == made


def test_a_name_that_is_no_text_is_written_to_a_run_and_read_again(tmp_path):
    """Of bytes that are not UTF-8, or not of the language that the terminal is set to."""
    made = settle({"teacher": "run-\udcff"})
    Run(tmp_path / "run", {"store": "data-\udcff.zarr"}).create(to_toml(made))
    assert b"run-\xff" in (tmp_path / "run/run.toml").read_bytes()
    assert settle({}, tmp_path / "run/run.toml") == made
    assert read_json(tmp_path / "run/config.json")["store"] == "data-\udcff.zarr"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": -1}, "lr is -1, expected above 0"),
        ({"ema": 2}, "ema is 2, expected from 0 to 1"),
        ({"epohcs": 3}, "Did you mean 'epochs'"),
        ({"batch": "many"}, "batch is 'many', expected a whole number"),
        ({"recipe": "paper"}, "csnn_tiny has no recipe 'paper'"),
    ],
)
def test_wrong_settings_are_told(options, said):
    with pytest.raises(OptionError, match=said):
        settle(options)


def test_the_command_offers_every_setting():
    from eventkit.cli.train import command

    offered = {parameter.name for parameter in command.params}
    own = {"store", "resume", "config", "out", "as_json"}
    assert offered - own == {field.name for field in fields(Settings)}


def test_schedules_by_hand():
    def factors(spec, warmup=0.0, losses=()):
        rate = schedule(spec, warmup=warmup)
        return [rate(Now(done, 10 * done, losses)) for done in (0, 0.25, 0.5, 1)]

    assert factors("constant") == [1, 1, 1, 1]
    assert factors("cosine") == pytest.approx([1, 0.853553, 0.5, 0])
    assert factors("cosine", warmup=0.5) == pytest.approx([0, 0.5, 1, 0])
    assert factors("cosine:epochs=5") == pytest.approx([1, 0.5, 0, 1])  # rises again
    held = factors("cosine:epochs=5,floor=0.2,hold=true")
    assert held == pytest.approx([1, 0.6, 0.2, 0.2])
    assert factors("step:epochs=5,factor=0.1") == pytest.approx([1, 1, 0.1, 0.01])
    assert factors("onecycle:peak=0.25") == pytest.approx([0.04, 1, 0.75, 0.0001], rel=0.01)
    falling = [3, 2, 2.5, 2.2, 1]
    assert factors("plateau:factor=0.5,patience=1", losses=falling)[0] == 0.5
    with pytest.raises(UnknownName, match="Did you mean 'cosine'"):
        schedule("cosin")


def test_norms_and_neurons_do_not_decay_and_some_parameters_go_faster():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), PLIF(), nn.Linear(3, 1, bias=False))
    net[3].weight.lr_scale = 100.0
    found = groups(net, lr=0.1, decay=0.5)
    by_rate = {(g["full"], g["weight_decay"]): len(g["params"]) for g in found}
    assert by_rate == {(0.1, 0.5): 1, (0.1, 0.0): 4, (10.0, 0.0): 1}  # as delays
    found = groups(net, lr=0.1, decay=0.5, decay_all=True)
    by_rate = {(g["full"], g["weight_decay"]): len(g["params"]) for g in found}
    assert by_rate == {(0.1, 0.5): 5, (10.0, 0.0): 1}  # delays are no weights


def test_weight_decay_of_all_parameters_reaches_the_optimizer():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    made = optimizer("sgd", net, lr=0.1, decay=0.5, decay_all=settle({"decay_all": True}).decay_all)
    assert [group["weight_decay"] for group in made.param_groups] == [0.5]
    paper = settle({"model": "spiking_vgg11", "recipe": "paper"})
    assert (paper.weight_decay, paper.decay_all) == (1e-4, True)


@pytest.mark.parametrize("spec", ["sgd:momentum=0.5", "adam", "adamw", "lamb"])
def test_optimizers_go_downhill(spec):
    torch.manual_seed(0)
    net = nn.Linear(4, 1)
    made = optimizer(spec, net, lr=0.05, decay=0.0)
    x = torch.rand(32, 4)
    y = x.sum(1, keepdim=True)
    losses = []
    for _ in range(60):
        loss = (net(x) - y).square().mean()
        made.zero_grad()
        loss.backward()
        made.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 4


def test_a_moving_average_follows_and_gives_back_what_was():
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(0.0)
    average = Average(net, 0.5)
    net.weight.data.fill_(1.0)
    average.update(net)  # the decay of the first update is 2/11
    with average.applied(net):
        assert float(net.weight.detach()) == pytest.approx(9 / 11)
    assert float(net.weight.detach()) == 1


def test_auto_precision_asks_the_device_that_trains(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    for capability, able in (((9, 0), True), ((8, 0), True), ((7, 5), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert multiplies_bf16(torch.device("cuda", 0)) == able
    assert not multiplies_bf16(torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert multiplies_bf16(torch.device("cpu"))
    assert not multiplies_bf16(torch.device("meta"))


@pytest.mark.parametrize(
    ("parse", "spec", "message"),
    [
        (rule, "ottt:decay=2", "ottt: decay is 2, expected from 0 to 1"),
        (rule, "ottt:decay=-0.1", "ottt: decay is -0.1, expected from 0 to 1"),
        (rule, "ottt:decay=nan", "ottt: decay is 'nan', expected a number"),
        (rule, "tbptt:window=0", "tbptt: window is 0, expected at least 1"),
        (rule, "checkpoint:chunks=0", "checkpoint: chunks is 0, expected at least 1"),
        (rule, "sltt:steps=-1", "sltt: steps is -1, expected at least 0"),
        (loss, "kernel:tau=0", "kernel: tau is 0, expected at least 1"),
        (loss, "kernel:tau=inf", "kernel: tau is inf, expected at least 1"),
        (loss, "kernel:desired=-1", "kernel: desired is -1, expected at least 0"),
        (loss, "count:undesired=-1", "count: undesired is -1, expected at least 0"),
        (loss, "count_plus:desired=nan", "count_plus: desired is 'nan', expected a number"),
        (loss, "timing:desired=-1", "timing: desired is -1, expected at least 0"),
        (loss, "tet:weight=1.5", "tet: weight is 1.5, expected from 0 to 1"),
        (loss, "ttfs:silent=1", "ttfs: silent is 1, expected at most 0"),
        (surrogate, "atan:alpha=0", "atan: alpha is 0, expected above 0"),
        (surrogate, "boxcar:width=-1", "boxcar: width is -1, expected above 0"),
    ],
)
def test_options_outside_of_their_range_are_told(parse, spec, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        parse(spec)


def test_every_number_that_is_an_option_here_has_a_range():
    bare = []
    for table in (LOSSES, RULES, SURROGATES):
        for name, function in table.items():
            for key, kind in typing.get_type_hints(function, include_extras=True).items():
                if key not in ("return", "votes", "target", "lengths") and kind in (int, float):
                    bare.append(f"{name}:{key}")
    assert not bare
