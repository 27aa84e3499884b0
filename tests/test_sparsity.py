"""Sparse training: laws of every method, steps computed by hand, and whole trainings."""

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from directions import SMALL, Directions
from torch import nn

from eventkit.errors import OptionError, UnknownName
from eventkit.train import evaluate_run, load, resume, train
from eventkit.train.sparsity import SPARSIFIERS, Moment, connectivity, sparsifier

THRESHOLDS = ("stds", "slats", "pgh", "lats")


def moment(done=0.0, epochs=10, seed=0):
    return Moment(done, epochs, torch.Generator().manual_seed(seed))


def attached(spec, weight, lr=0.1, kind=torch.optim.SGD, **options):
    """A method on a linear layer with these weights, and an optimizer of it."""
    net = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    net.weight.data = weight.clone()
    method = sparsifier(spec)
    method.attach(net, moment())
    return net, method, kind(net.parameters(), lr=lr, **options)


def step(net, method, optimizer, grad, done=0.5):
    net.weight.grad = grad.clone()
    with method.step(optimizer, moment(done, seed=1)):
        optimizer.step()


def hidden(method):
    (layer,) = method.layers.values()
    return layer.hidden


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_the_weights_follow_from_the_hidden_ones_and_the_state_restores_them(name):
    torch.manual_seed(0)
    weight = torch.randn(40, 50)
    net, method, optimizer = attached(name, weight, kind=torch.optim.Adam, lr=0.01)
    for n in range(3):
        step(net, method, optimizer, torch.randn(40, 50), done=n / 5)
    (layer,) = method.layers.values()
    assert torch.equal(net.weight, method.weights(layer, moment(2 / 5)))
    assert not torch.equal(net.weight, layer.hidden) or name in ("deepr", "gradr")
    state = {key: tensor.clone() for key, tensor in method.state().items()}
    other, fresh, _ = attached(name, torch.randn(40, 50))
    fresh.restore(state)
    (same,) = fresh.layers.values()
    assert torch.equal(other.weight * 0 + fresh.weights(same, moment(2 / 5)), net.weight)
    with pytest.raises(ValueError, match="sparse layers are others"):
        fresh.restore({})


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_only_convolutions_and_linear_layers_become_sparse(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))
    method = sparsifier(name)
    method.attach(net, moment())
    assert list(method.layers) == ["0.weight", "3.weight"]


@pytest.mark.parametrize("name", THRESHOLDS)
def test_pruned_weights_have_the_gradient_of_the_others(name):
    weight = torch.tensor([[1.0, -1.0, 0.05, -0.05, 0.0]])
    net, method, optimizer = attached(f"{name}:threshold=0.5", weight, lr=0.1)
    grad = torch.tensor([[1.0, 2.0, 3.0, 4.0, -5.0]])
    step(net, method, optimizer, grad, done=1.0)
    moved = weight - 0.1 * grad
    torch.testing.assert_close(hidden(method), moved)
    # |theta| - 1/2 is 0.4, 0.7, -0.25, -0.05, 0 with these signs
    torch.testing.assert_close(net.weight.data, torch.tensor([[0.4, -0.7, 0.0, 0.0, 0.0]]))


def test_the_fixed_threshold_begins_with_the_weights_as_they_are():
    weight = torch.tensor([[1.0, -0.2]])
    net, method, _ = attached("stds:threshold=0.5,growth=fixed", weight)
    torch.testing.assert_close(hidden(method), torch.tensor([[1.5, -0.7]]))
    torch.testing.assert_close(net.weight.data, weight)


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ("stds", (0, 0.5 - math.sqrt(0.125), 0.5, 1)),  # (1 + sin(-pi/4)) / 2
        ("stds:growth=linear", (0, 0.25, 0.5, 1)),
        ("stds:growth=fixed", (1, 1, 1, 1)),
        ("slats", (0, 0.25 + math.sqrt(0.5) / math.pi, 0.5 + 1 / math.pi, 1)),
        ("pgh:beta=1", (0, 0.25 + math.sqrt(0.5) / math.pi, 0.5 + 1 / math.pi, 1)),
        ("pgh:beta=1.01", (0, 0.474, 0.817, 1)),
        ("lats", (0, 0.4414, 0.7870, 1)),  # 1/11 of 2, 1.951, 1.809, 1.588, 1.309, ...
    ],
)
def test_thresholds_at_a_few_moments(spec, values):
    found = [sparsifier(spec).grown(x, 10) for x in (0, 0.25, 0.5, 1)]
    assert found == pytest.approx(values, abs=1e-3)


@pytest.mark.parametrize("beta", [0.1, 2.0, 30.0])
def test_the_slope_of_pgh_is_a_power_times_the_cosine(beta):
    x = np.linspace(0, 1, 4001)
    found = np.array([sparsifier(f"pgh:beta={beta}").grown(t, 10) for t in x])
    wanted = beta**x * (1 + np.cos(np.pi * x))
    whole = np.concatenate([[0], np.cumsum((wanted[1:] + wanted[:-1]) / 2)])
    np.testing.assert_allclose(found, whole / whole[-1], atol=1e-6)


def test_the_slope_of_slats_is_the_cosine():
    x = np.linspace(0, 1, 4001)
    found = np.gradient([sparsifier("slats").grown(t, 10) for t in x], x)
    np.testing.assert_allclose(found[1:-1], (1 + np.cos(np.pi * x))[1:-1], atol=1e-6)


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_lats_grows_evenly_within_an_epoch_and_with_the_rate_between_them(epochs):
    lats = sparsifier("lats")
    total = 0.0
    for n in range(epochs):
        slope = (1 + math.cos(n * math.pi / epochs)) / (epochs + 1)
        for share in (0, 0.25, 0.999):
            found = lats.grown((n + share) / epochs, epochs)
            assert found == pytest.approx(total + share * slope, abs=1e-9)
        total += slope
    assert lats.grown(1.0, epochs) == pytest.approx(1)


def test_gradr_without_a_gradient_moves_to_mu_by_the_prior_alone():
    # mu = ln(2/10)/2 = -0.805; Adam's correction 1 - 0.9^n grows from 0.1
    weight = torch.tensor([[0.3, -0.3]])
    net, method, optimizer = attached(
        "gradr:share=0.1,alpha=2", weight, lr=1e-3, kind=torch.optim.Adam
    )
    theta, shown = 0.3, []
    for n in range(1, 200):
        step(net, method, optimizer, torch.zeros(1, 2))
        theta -= 2 * 1e-3 / (1 - 0.9**n) * (1 if theta > math.log(0.2) / 2 else -1)
        shown.append((hidden(method)[0, 0].item(), net.weight[0, 0].item()))
        assert shown[-1] == pytest.approx((theta, max(theta, 0)), abs=1e-6)
        assert hidden(method)[0, 1].item() == pytest.approx(-theta, abs=1e-6)
    assert shown[0][0] == pytest.approx(0.3 - 0.02)
    assert theta < 0


def test_gradr_takes_adams_step_then_the_prior_of_the_old_theta():
    weight = torch.tensor([[-0.005]])  # s = -1, theta = 0.005 > mu
    net, method, optimizer = attached(
        "gradr:share=0.5,alpha=0.5", weight, lr=0.01, kind=torch.optim.Adam
    )
    step(net, method, optimizer, torch.tensor([[-4.0]]))
    # Adam's first step is lr sign(g): p = -0.005 + 0.01. The prior, with s = -1 and mu = 0:
    # p -= -1 * 0.5 * 0.01 / 0.1 * 1. theta = s p = -0.055
    assert hidden(method).item() == pytest.approx(0.055, abs=1e-6)
    assert net.weight.item() == 0
    step(net, method, optimizer, torch.tensor([[4.0]]))
    # g flips: m = 0.9 * -0.4 + 0.4 = 0.04, v = 0.999 * 0.016 + 0.016; the prior now draws upwards
    m, v = 0.04 / (1 - 0.9**2), (0.999 * 0.016 + 0.016) / (1 - 0.999**2)
    p = 0.055 - 0.01 * m / math.sqrt(v) - 0.5 * 0.01 / (1 - 0.9**2)
    assert hidden(method).item() == pytest.approx(p, abs=1e-6)


def test_gradr_with_gradient_descent_has_no_correction():
    net, method, optimizer = attached("gradr:share=0.5,alpha=0.5", torch.tensor([[1.0]]), lr=0.1)
    step(net, method, optimizer, torch.tensor([[2.0]]))
    assert net.weight.item() == pytest.approx(1 - 0.1 * 2 - 0.5 * 0.1)


def test_deepr_keeps_the_number_of_connections_and_replaces_those_that_change_sign():
    torch.manual_seed(0)
    weight = torch.rand(10, 10) + 0.5
    net, method, optimizer = attached("deepr:share=0.3,l1=0.5,temperature=0", weight, lr=0.1)
    first = net.weight.data != 0
    assert first.sum() == 30
    assert torch.equal(net.weight[first], weight[first])
    grad, chosen = torch.ones(10, 10), first.nonzero()[:5]
    for i, j in chosen:
        grad[i, j] = 100.0
    step(net, method, optimizer, grad)
    second = net.weight.data != 0
    assert second.sum() == 30
    stayed = first & second
    stayed[tuple(chosen.T)] = False
    assert stayed.sum() == 25
    torch.testing.assert_close(net.weight[stayed], weight[stayed] - 0.1 - 0.1 * 0.5)
    fresh = net.weight[second & ~stayed]
    assert fresh.abs().max() < 1e-9


def test_deepr_adds_noise_of_the_temperature():
    weight = torch.full((200, 200), 5.0)
    net, method, optimizer = attached("deepr:share=1,l1=0,temperature=2", weight, lr=0.01)
    step(net, method, optimizer, torch.zeros(200, 200))
    moved = net.weight.data - 5
    assert moved.std().item() == pytest.approx(2 * 0.1, rel=0.03)
    assert moved.mean().item() == pytest.approx(0, abs=0.01)


def test_soft_deepr_has_a_floor_and_moves_dormant_weights_by_noise_alone():
    spec = "soft_deepr:share=0.2,l1=0.5,temperature=0.1"
    weight = torch.full((100, 100), -2.0)
    net, method, optimizer = attached(spec, weight, lr=0.01)
    floor = -0.01 * 0.8 / (2 * 0.5 * 0.2)  # -0.04
    theta = -hidden(method)
    dormant = theta < 0
    assert dormant.float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert theta.min() >= floor
    assert theta[dormant].mean().item() == pytest.approx(floor / 2, abs=1e-3)
    assert torch.equal(net.weight == 0, dormant)
    step(net, method, optimizer, torch.full((100, 100), -3.0))
    moved = -hidden(method) - theta
    assert moved[~dormant].mean().item() == pytest.approx(-0.03 - 0.005, abs=1e-3)
    assert (-hidden(method)).min().item() == pytest.approx(floor)
    inner = dormant & (theta > floor / 4 * 3)
    assert abs(moved[inner].mean().item()) < 2e-3
    assert moved[dormant].abs().max() < 0.1 * 0.1 * 6


def test_the_best_weights_of_a_sparse_network_are_the_last_ones(tmp_path):
    splits = {"train": Directions(32), "test": Directions(8, seed=1)}
    options = {"model": SMALL, "epochs": 4, "page": False, "validation": 0.25, "lr": 1e-2}
    spec = "stds:threshold=0.2"
    result = train(splits, out=tmp_path / "run", sparsity=spec, **options)
    net = load(tmp_path / "run")
    assert result["best_epoch"] == 4
    assert result["connectivity"] == connectivity(net)
    assert 0 < connectivity(net) < 0.6
    found = evaluate_run(tmp_path / "run", splits)
    assert 1 - found["ConnectionSparsity"] == pytest.approx(connectivity(net))
    whole = train(splits, out=tmp_path / "dense", **options)
    dense = evaluate_run(tmp_path / "dense", splits)
    assert whole["connectivity"] is None
    assert dense["ConnectionSparsity"] == 0
    ours, theirs = (e["layers"] for e in (found, dense))
    synapses = [(a, b) for a, b in zip(ours, theirs, strict=True) if "connectivity" in a]
    assert all(a["connectivity"] < b["connectivity"] == 1 for a, b in synapses)
    first, other = synapses[0]  # which sees the same frames
    assert first["synops"] < 0.9 * other["synops"]


@pytest.mark.parametrize("spec", ["gradr:alpha=0.5", "deepr", "soft_deepr", "lats"])
def test_a_sparse_run_that_was_killed_ends_as_the_undisturbed_one(spec, tmp_path):
    splits = {"train": Directions(16), "test": Directions(4, seed=1)}
    options = {"model": SMALL, "epochs": 2, "batch": 4, "page": False, "sparsity": spec}
    options |= {"validation": 0.0, "optimizer": "adam"}
    train(splits, out=tmp_path / "whole", **options)

    def interrupt(event):
        if event["event"] == "step" and event["done"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(splits, out=tmp_path / "cut", progress=interrupt, **options)
    resume(tmp_path / "cut", data=splits)
    whole, cut = (load(tmp_path / name).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_wrong_settings_are_refused(tmp_path):
    splits = {"train": Directions(16), "test": Directions(4, seed=1)}
    with pytest.raises(OptionError, match=r"ema is 0\.9, expected 0 with sparsity"):
        train(splits, model=SMALL, out=tmp_path / "run", sparsity="stds", ema=0.9)
    with pytest.raises(UnknownName, match=r"no sparsity 'std'\. Did you mean 'stds'"):
        train(splits, model=SMALL, out=tmp_path / "run", sparsity="std")
    with pytest.raises(OptionError, match=r"share is 0\.6|to 0\.5"):
        train(splits, model=SMALL, out=tmp_path / "run", sparsity="gradr:share=0.6")
    assert not (tmp_path / "run").exists()
