"""STDP against sums over pairs and triplets of spikes, computed one by one."""

import math

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.errors import OptionError, UnknownName
from eventkit.snn import LIF
from eventkit.snn.stdp import change, learn, traces


def train(*times, steps=12):
    found = torch.zeros(steps, 1, 1)
    found[list(times)] = 1
    return found


def test_traces_are_those_before_the_spikes_of_a_step():
    found = traces(train(0, 2, steps=4), tau=2.0).flatten().tolist()
    d = math.exp(-0.5)
    assert found == pytest.approx([0, d, d**2, d**3 + d])


@pytest.mark.parametrize(
    ("pre", "post", "expected"),
    [
        ((2,), (5,), 0.5 * math.exp(-3 / 4)),
        ((5,), (2,), -0.25 * math.exp(-3 / 8)),
        ((3,), (3,), 0.5),  # the input came first
        ((2,), (), 0),
        # pairs (1, 4), (1, 6), (5, 6) grow, (5, 4) shrinks
        (
            (1, 5), (4, 6),
            0.5 * (math.exp(-3 / 4) + math.exp(-5 / 4) + math.exp(-1 / 4))
            - 0.25 * math.exp(-1 / 8),
        ),
    ],
)  # fmt: skip
def test_pairs_by_hand(pre, post, expected):
    rule = "pair:a_plus=0.5,a_minus=0.25,tau_plus=4,tau_minus=8"
    assert change(train(*pre), train(*post), rule).item() == pytest.approx(expected, abs=1e-6)


def test_triplets_by_hand():
    rule = (
        "triplet:a2_plus=0.5,a3_plus=2,a2_minus=0.25,a3_minus=4,tau_plus=4,tau_minus=8,tau_x=16,"
        "tau_y=32"
    )
    found = change(train(1, 5), train(4, 5, 6), rule).item()
    at_4 = math.exp(-3 / 4) * 0.5  # no output spike before
    at_5 = (1 + math.exp(-4 / 4)) * (0.5 + 2 * math.exp(-1 / 32))
    slow = math.exp(-1 / 32) + math.exp(-2 / 32)
    at_6 = (math.exp(-5 / 4) + math.exp(-1 / 4)) * (0.5 + 2 * slow)
    input_5 = math.exp(-1 / 8) * (0.25 + 4 * math.exp(-4 / 16))
    assert found == pytest.approx(at_4 + at_5 + at_6 - input_5, abs=1e-5)


def test_triplets_without_slow_traces_are_pairs():
    torch.manual_seed(0)
    pre, post = (torch.rand(20, 3, n) < 0.3 for n in (4, 5))
    pre, post = pre.float(), post.float()
    pairs = change(pre, post, "pair:a_plus=1,a_minus=2,tau_plus=5,tau_minus=7")
    rule = "triplet:a2_plus=1,a3_plus=0,a2_minus=2,a3_minus=0,tau_plus=5,tau_minus=7"
    torch.testing.assert_close(change(pre, post, rule), pairs)
    assert pairs.shape == (5, 4)
    each = [change(pre[:, i : i + 1], post[:, i : i + 1], rule) for i in range(3)]
    torch.testing.assert_close(torch.stack(each).mean(0), pairs)


@pytest.mark.parametrize("rule", ["pair:a_minus=0.014", "triplet:a3_plus=5e-3,a2_minus=5.5e-3"])
def test_a_neuron_learns_the_inputs_that_make_it_fire(rule):
    torch.manual_seed(0)
    layer, neuron = nn.Linear(20, 1, bias=False), LIF(tau=4.0)
    nn.init.constant_(layer.weight, 0.5)
    for _ in range(60):
        pre = (torch.rand(40, 1, 20) < 0.05).float()
        pre[10:40:10, :, :10] = 1  # the first ten fire together
        post = learn(layer, neuron, pre, rule, rate=0.5)
    assert post.any()
    first, others = layer.weight[0, :10].mean(), layer.weight[0, 10:].mean()
    assert first > others + 0.2
    assert 0 <= layer.weight.min() <= layer.weight.max() <= 1


def test_wrong_spikes_and_rules_are_refused():
    with pytest.raises(OptionError, match=r"expected \(T, N, inputs\)"):
        change(torch.zeros(3, 1, 2), torch.zeros(4, 1, 2))
    with pytest.raises(UnknownName, match="no STDP rule 'pairs'"):
        change(torch.zeros(3, 1, 2), torch.zeros(3, 1, 2), "pairs")
