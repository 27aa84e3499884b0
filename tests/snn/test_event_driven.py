"""Event-driven backpropagation against a neuron, a pool and a search computed by hand."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.errors import OptionError
from eventkit.snn.event_driven import (
    EventConv2d,
    EventLinear,
    EventPool2d,
    Taus,
    _Events,
    fire,
    time_gradients,
)

# One neuron with tau 7, 4 and 3.5 over 12 steps: spikes at 4 and 11.
CURRENTS = [0.9, 0.2, 0, 1.1, 0.4, 0, 0, 0.8, 0.9, 0, 0.3, 0]
SLOPES = [0.225, 0.18661, 0.10526, 0.32421, 0.27838]
INNER = [0.64286, 0.60204, 0.43003, 1.09288, 1.06634]
OF_INPUTS = [0.17437, 0.24411, 0.34176, 0.47846, 0.66985, 0.17696, 0.24774, 0.34684, 0.48557,
             0.6798, 0.95172, 1.33241]  # fmt: skip
OF_WEIGHTS = [-1.88892, -1.87223, -1.74226, -1.44329, -0.89805, -1.92671, -2.04018, -2.10336,
              -2.08478, -1.94005, -1.60714, -1.0]  # fmt: skip


def test_one_neuron():
    currents = torch.tensor(CURRENTS).double()
    spikes, slopes, inner = fire(currents, Taus())
    assert spikes.nonzero().flatten().tolist() == [4, 11]
    torch.testing.assert_close(slopes[:5], torch.tensor(SLOPES).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(inner[:5], torch.tensor(INNER).double(), rtol=0, atol=1e-5)
    found = time_gradients(torch.ones(12).double(), spikes, slopes, inner, Taus())
    for a, b in zip(found, (OF_WEIGHTS, OF_INPUTS), strict=True):
        torch.testing.assert_close(a, torch.tensor(b).double(), rtol=0, atol=2e-5)


def test_steps_behind_the_last_spike_and_gradients_off_the_spikes_give_none():
    spikes = torch.tensor([0.0, 1, 0, 0])
    slopes, inner = torch.full((4,), 0.5), torch.full((4,), 1.0)
    weights, inputs = time_gradients(torch.ones(4), spikes, slopes, inner, Taus())
    assert weights[2:].tolist() == inputs[2:].tolist() == [0, 0]
    assert weights[:2].all()
    weights, _ = time_gradients(1 - spikes, spikes, slopes, inner, Taus())
    assert not weights.any()


def test_slopes_are_limited():
    spikes = torch.tensor([1.0, 1, 1])
    slopes, inner = torch.tensor([0.1, 0.5, -1.0]), torch.tensor([0.01, 0.5, -1.0])
    weights, inputs = time_gradients(torch.ones(3), spikes, slopes, inner, Taus())
    torch.testing.assert_close(weights, torch.tensor([-4.0, -2.0, 0.0]) * 0.25)
    torch.testing.assert_close(inputs, torch.tensor([10.0, 2.0, 0.0]) * (1 - 1 / 3.5))


@pytest.mark.parametrize("conv", [False, True])
def test_a_layer_passes_both_gradients_through_its_weights(conv):
    torch.manual_seed(0)
    x = (torch.rand(8, 3, 2, 5, 6) < 0.4).double().requires_grad_()
    weight = torch.randn(4, 2, 3, 3).double() if conv else torch.randn(4, 6).double()
    weight, padding = (weight * 0.7).requires_grad_(), 1 if conv else 0
    data = x if conv else x[:, :, 0, 0]
    spikes = _Events.apply(data, weight, Taus(), padding)
    grad = torch.randn_like(spikes)
    of_x, of_w = torch.autograd.grad((spikes * grad).sum(), [x, weight])

    def op(x, w):
        flat = x.flatten(0, 1)
        y = nn.functional.conv2d(flat, w, padding=1) if conv else flat @ w.T
        return y.reshape(*x.shape[:2], *y.shape[1:])

    currents = op(data, weight)
    by_w, by_x = time_gradients(grad, *fire(currents.detach(), Taus()), Taus())
    (expected,) = torch.autograd.grad(currents, weight, by_w, retain_graph=True)
    torch.testing.assert_close(of_w, expected)
    (expected,) = torch.autograd.grad(currents, x, by_x)
    torch.testing.assert_close(of_x, 0.85 * expected * x)
    assert spikes.any()
    assert of_x.any()


def test_a_pool_shares_its_gradient_among_the_spikes():
    x = torch.zeros(1, 1, 1, 2, 5)
    x[0, 0, 0, 0, 0] = x[0, 0, 0, 1, 1] = x[0, 0, 0, 0, 4] = 1
    x.requires_grad_()
    y = EventPool2d()(x)
    assert y.flatten().tolist() == [0.5, 0]
    (y * torch.tensor([3.0, 5.0])).sum().backward()
    # 3 for two spikes: 3 / 2 each (also where there is none, which the layer before masks)
    assert x.grad[0, 0, 0].tolist() == [[1.5, 1.5, 0, 0, 0], [1.5, 1.5, 0, 0, 0]]
    assert EventPool2d()(torch.ones(1, 1, 1, 1, 3)).shape == (1, 1, 1, 1, 1)


@pytest.mark.parametrize("target", [0.5, 1.0])
def test_the_first_call_in_training_finds_the_gain(target):
    torch.manual_seed(0)
    layer, x = EventLinear(40, 300, spikes=target), (torch.rand(12, 20, 40) < 0.2).float()
    layer.eval()
    layer(x)
    assert layer.gain == 1
    fired = layer.train()(x)[8:].sum(0).mean().item()
    assert fired == pytest.approx(1.2 * target * 4 / 12, rel=0.05)
    gain = layer.gain.item()
    layer(2 * x)
    assert layer.gain.item() == gain
    other = EventLinear(40, 300)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.train()(x), layer(x))


def test_weights_are_standardised_for_each_output():
    layer = EventConv2d(3, 4, 5)
    with torch.no_grad():
        layer.weight.mul_(3).add_(7)
        layer.gain.fill_(2.0)
    rows = layer.standardised.flatten(1)
    torch.testing.assert_close(rows.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(1, unbiased=False), torch.full((4,), 2.0))


def test_wrong_sizes_are_refused():
    with pytest.raises(OptionError, match="expected an odd number"):
        EventConv2d(1, 1, 4)
    with pytest.raises(OptionError, match="expected more than 1 step"):
        Taus(4, 4, 3)
    with pytest.raises(OptionError, match="spikes is 0"):
        EventLinear(1, 1, spikes=0)
