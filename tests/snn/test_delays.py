"""Learnable delays, against sums over single connections and steps."""

import math

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.errors import OptionError
from eventkit.snn import DelayedLinear, anneal, final_delays, neuron


def test_the_kernel_is_that_of_the_paper():
    torch.manual_seed(0)
    layer = DelayedLinear(2, 3, D=5)
    layer.sigma.fill_(0.7)
    kernel = layer.kernel().detach()
    for o in range(3):
        for i in range(2):
            w, p = layer.weight[o, i].item(), layer.position[o, i].item()
            g = [math.exp(-0.5 * ((k - (p + 2)) / (0.7 + 0.27)) ** 2) for k in range(5)]
            for k in range(5):
                assert float(kernel[o, i, k]) == pytest.approx(w * g[k] / sum(g), rel=1e-5)
    torch.testing.assert_close(kernel.sum(-1), layer.weight)


def test_in_evaluation_every_connection_has_one_delay():
    torch.manual_seed(0)
    layer = DelayedLinear(2, 1, D=5).eval()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 3.0]]))
        layer.position.copy_(torch.tensor([[1.8, -1.1]]))  # of -2 to 2
    assert final_delays(layer).tolist() == [[0, 3]]
    x = torch.zeros(6, 1, 2)
    x[1] = 1
    assert layer(x).flatten().tolist() == [0, 2, 0, 0, 3, 0]


def test_the_tail_is_as_long_as_published():
    layer = DelayedLinear(2, 3, D=25, tail=True)
    assert layer(torch.rand(10, 4, 2)).shape == (10 + 12, 4, 3)
    short = DelayedLinear(2, 3, D=25)
    short.load_state_dict(layer.state_dict())
    x = torch.rand(10, 4, 2)
    torch.testing.assert_close(short(x), layer(x)[:10])


def test_training_learns_weights_and_delays_and_keeps_them_within_the_kernel():
    torch.manual_seed(0)
    layer = DelayedLinear(2, 3, D=5)
    with torch.no_grad():
        layer.position[0, 0] = 9.0
    layer(torch.rand(8, 1, 2)).square().sum().backward()
    assert layer.weight.grad.any()
    assert layer.position.grad.any()
    assert layer.position[0, 0].item() == 2
    assert layer.position.lr_scale == 20


def test_delays_sharpen_in_a_quarter_of_the_training():
    net = nn.Sequential(DelayedLinear(2, 3, D=25), nn.ReLU())
    sigmas = []
    for done in (0, 0.125, 0.25, 1):
        anneal(net, done)
        sigmas.append(float(net[0].sigma))
    assert sigmas == pytest.approx([12, math.sqrt(12 * 0.23), 0.23, 0.23])


def test_an_even_kernel_is_refused():
    with pytest.raises(OptionError, match="an odd D"):
        DelayedLinear(2, 3, D=4)


def test_masked_neurons_become_causal_in_an_eighth_of_the_training():
    net = nn.Sequential(neuron("masked_psn:k=2", T=4))
    found = []
    for done in (0, 0.0625, 0.125, 1):
        anneal(net, done)
        found.append(float(net[0].lambda_))
    assert found == [0, 0.5, 1, 1]
