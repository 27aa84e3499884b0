"""e-prop against eligibility traces that are computed forward in time."""

import pytest

pytest.importorskip("torch")

import torch
from directions import Directions
from torch import nn

from eventkit.errors import OptionError
from eventkit.snn import LIF, Recurrent
from eventkit.snn.surrogate import parse
from eventkit.train import train
from eventkit.train.rules import Step, rule
from eventkit.train.rules.eprop import _feedback

ALPHA, THRESHOLD = 0.75, 0.6  # 1 - 1/tau with tau = 4
SLOPE = parse("triangle")


def lif():
    return LIF(
        tau=4.0, decay_input=False, v_threshold=THRESHOLD, v_reset=None, surrogate="triangle"
    )


def run(net, frames, feedback="symmetric"):
    """The loss is the squared votes, halved: its derivative is the votes."""
    net.zero_grad()
    seen = []

    def criterion(votes, first):
        seen.append(votes.detach())
        return votes.square().sum() / 2

    value = rule(f"eprop:feedback={feedback}")(Step(net, criterion), frames)
    return value, seen[0]


def traces(inputs, weight, before=None):
    """Membrane slopes psi (T, N, out), filtered inputs (T, N, in) and spikes of a LIF layer."""
    T, N, _ = inputs.shape
    v, trace = torch.zeros(N, len(weight)), torch.zeros(N, inputs.shape[-1])
    slopes, filtered, spikes = [], [], []
    for t in range(T):
        x = inputs[t] @ weight.T
        if before is not None:
            last = spikes[-1] if spikes else torch.zeros(N, len(weight))
            x = x + last @ before.T
        h = ALPHA * v + x
        s = (h >= THRESHOLD).float()
        v = h - THRESHOLD * s
        trace = ALPHA * trace + inputs[t]
        slopes.append(SLOPE.slope(h - THRESHOLD))
        filtered.append(trace)
        spikes.append(s)
    return torch.stack(slopes), torch.stack(filtered), torch.stack(spikes)


def test_one_neuron_by_hand():
    net = nn.Sequential(nn.Linear(1, 1, bias=False), lif(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(0.5)
        net[2].weight.fill_(2.0)
    # h = 0.5, 0.875 (spike), 0.20625; psi = 1 - |h - 0.6| = 0.9, 0.725, 0.60625
    # traces of the input 1, 1, 0: 1, 1.75, 1.3125. Votes 0, 2, 0, so L = W_out vote = 0, 4, 0
    _, votes = run(net, torch.tensor([1.0, 1.0, 0.0]).reshape(3, 1, 1))
    assert votes.flatten().tolist() == [0, 2, 0]
    assert net[0].weight.grad.item() == pytest.approx(4 * 0.725 * 1.75)
    assert net[2].weight.grad.item() == pytest.approx(2.0)


def test_gradients_are_signals_times_eligibility_traces():
    torch.manual_seed(0)
    layers = nn.Linear(4, 6, bias=False), lif(), nn.Linear(6, 5, bias=False), lif()
    net = nn.Sequential(*layers, nn.Linear(5, 3, bias=False))
    x = torch.rand(7, 2, 4) * 2
    _, votes = run(net, x)
    first, second, out = (net[i].weight.detach() for i in (0, 2, 4))
    psi, trace, spikes = traces(x, first)
    signal = votes @ _feedback(0, 3, 6)
    expected = torch.einsum("tnj,tni->ji", signal * psi, trace)
    torch.testing.assert_close(net[0].weight.grad, expected, rtol=1e-4, atol=1e-5)
    psi, trace, spikes = traces(spikes, second)
    expected = torch.einsum("tnj,tni->ji", (votes @ out) * psi, trace)
    torch.testing.assert_close(net[2].weight.grad, expected, rtol=1e-4, atol=1e-5)
    assert spikes.any()
    whole = net[2].weight.grad.clone()
    run(net, x, "random")
    signal = votes @ _feedback(1, 3, 5)
    expected = torch.einsum("tnj,tni->ji", signal * psi, trace)
    torch.testing.assert_close(net[2].weight.grad, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(net[2].weight.grad, whole)


def test_recurrent_weights_learn_from_traces_of_the_spikes():
    torch.manual_seed(1)
    layer = Recurrent(lif(), 5, self_connections=True)
    net = nn.Sequential(nn.Linear(4, 5, bias=False), layer, nn.Linear(5, 3, bias=False))
    x = torch.rand(8, 2, 4) * 2
    _, votes = run(net, x)
    psi, trace, spikes = traces(x, net[0].weight.detach(), layer.weight.detach())
    signal = (votes @ net[2].weight.detach()) * psi
    expected = torch.einsum("tnj,tni->ji", signal, trace)
    torch.testing.assert_close(net[0].weight.grad, expected, rtol=1e-4, atol=1e-5)
    own, traced = torch.zeros_like(spikes[0]), []
    for t in range(8):
        own = ALPHA * own + (spikes[t - 1] if t else 0)
        traced.append(own)
    expected = torch.einsum("tnj,tni->ji", signal, torch.stack(traced))
    torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-4, atol=1e-5)
    assert not layer.local


def test_a_single_layer_of_neurons_has_the_gradients_of_backpropagation():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(2), lif(), nn.Linear(6, 3))
    x = torch.rand(7, 2, 4) * 2
    value, _ = run(net, x)
    local = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    whole = rule("bptt")(Step(net, lambda votes, first: votes.square().sum() / 2), x)
    assert value == pytest.approx(whole)
    for a, b in zip(local, net.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad, rtol=1e-4, atol=1e-5)


def test_a_network_learns_with_it_and_one_without_spikes_is_refused(tmp_path):
    splits = {"train": Directions(64), "test": Directions(16, seed=1)}
    torch.manual_seed(0)
    layers = nn.Linear(288, 64), Recurrent(LIF(tau=4.0), 64), nn.Linear(64, 64), LIF(tau=4.0)
    net = nn.Sequential(nn.Flatten(2), *layers, nn.Linear(64, 4))
    with torch.no_grad():
        net[1].weight *= 5
    options = {"epochs": 20, "page": False, "validation": 0.0, "augment": ["none"], "lr": 1e-2}
    result = train(splits, model=net, out=tmp_path / "run", method="eprop", **options)
    assert result["accuracy"]["last"] >= 0.75
    with pytest.raises(OptionError, match="no spiking neurons"):
        run(nn.Sequential(nn.Linear(4, 3)), torch.rand(3, 2, 4))
