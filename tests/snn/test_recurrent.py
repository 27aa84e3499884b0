"""Recurrent layers and leaky integrators, against loops over single steps."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.errors import OptionError
from eventkit.snn import LIF, LeakyIntegrator, Recurrent, carry


@pytest.mark.parametrize("self_connections", [False, True])
def test_a_recurrent_layer_hears_its_spikes_of_the_step_before(self_connections):
    torch.manual_seed(0)
    layer = Recurrent(LIF(), 3, self_connections=self_connections)
    x = 2 * torch.randn(6, 2, 3)
    weight = layer.weight.detach().clone()
    torch.testing.assert_close(weight @ weight.T, torch.eye(3))
    if not self_connections:
        weight.fill_diagonal_(0)
    s, v = torch.zeros(2, 3), None
    for t in range(6):
        s, v = layer.inner.step(x[t] + s @ weight.T, v)
        torch.testing.assert_close(layer(x)[t], s)
    assert 0 < layer(x).mean() < 1


def test_recurrent_weights_get_gradients_but_for_the_diagonal():
    torch.manual_seed(0)
    layer = Recurrent(LIF(), 4)
    layer(3 * torch.randn(8, 2, 4)).sum().backward()
    grad = layer.weight.grad
    assert grad.any()
    assert not grad.diagonal().any()
    with pytest.raises(OptionError, match=r"expected \(T, N, 4\) for a recurrent layer of 4"):
        layer(torch.zeros(2, 1, 3))


@pytest.mark.parametrize("scale", [False, True])
def test_a_leaky_integrator_forgets_geometrically(scale):
    layer = LeakyIntegrator(2, low=0.5, high=0.5, scale=scale)
    x = torch.zeros(4, 1, 2)
    x[0, 0, 0] = x[1, 0, 1] = 8
    gain = 0.5 if scale else 1
    expected = gain * torch.tensor([[8.0, 0], [4, 8], [2, 4], [1, 2]])
    assert torch.equal(layer(x)[:, 0], expected)
    assert not list(layer.parameters())


def test_a_learned_decay_starts_within_its_bounds_and_stays():
    layer = LeakyIntegrator(50, low=0.8, high=0.9)
    assert ((layer.decay >= 0.8) & (layer.decay <= 0.9)).all()
    nn.init.constant_(layer.decay, 5.0)
    x = torch.ones(2, 1, 50)
    torch.testing.assert_close(layer(x)[1], torch.full((1, 50), 0.1 + 0.9 * 0.1))
    with pytest.raises(OptionError, match="low <= high < 1"):
        LeakyIntegrator(2, low=0.5, high=1.0)


@pytest.mark.parametrize(
    "layer", [Recurrent(LIF(), 3), LeakyIntegrator(3, low=0.5, high=0.9)], ids=["rec", "leaky"]
)
def test_pieces_of_a_sequence_give_what_the_whole_gives(layer):
    torch.manual_seed(0)
    x = 2 * torch.randn(7, 2, 3)
    whole = layer(x)
    with carry(layer):
        pieces = torch.cat([layer(x[:3]), layer(x[3:])])
    assert torch.equal(pieces, whole)
