"""PSN, masked PSN, sliding PSN: their definitions, their closed-form gradients, their limits."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn import functional

from eventkit.errors import OptionError
from eventkit.snn import PSN, MaskedPSN, SlidingPSN, neuron
from eventkit.snn.surrogate import atan, spike
from eventkit.snn.windows import BLAS, toeplitz, windows


def test_psn_by_hand():
    net = PSN(T=2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 2.0]]))
    x = torch.tensor([[0.5], [0.5]])  # H = (0.5 + 0.5 - 1, 2 * 0.5 - 1): 0 fires
    assert net(x).flatten().tolist() == [1, 1]
    assert net(x - 0.1).flatten().tolist() == [0, 0]


def test_sliding_psn_starts_from_powers_of_a_half_and_is_its_definition():
    assert SlidingPSN(k=3).weight.tolist() == [0.25, 0.5, 1]
    torch.manual_seed(0)
    net, x = SlidingPSN(k=4, exp_init=False), torch.randn(40, 7)
    h = torch.zeros_like(x)
    for t in range(len(x)):
        for i in range(net.k):
            if t - net.k + 1 + i >= 0:
                h[t] += net.weight[i] * x[t - net.k + 1 + i]
    assert torch.equal(net(x), (h + net.bias >= 0).float())


@pytest.mark.parametrize(("steps", "k"), [(7, 3), (5, 9), (33, 1), (50, 40)])
def test_toeplitz_windows_are_a_convolution(steps, k):
    torch.manual_seed(0)
    x, w = torch.randn(steps, 11, dtype=torch.float64), torch.randn(k, dtype=torch.float64)
    h = functional.conv1d(functional.pad(x.t()[:, None], (k - 1, 0)), w[None, None])[:, 0].t()
    for rows in (1, 4, steps):
        found = windows(x, toeplitz(w, rows), -torch.tensor(0.3).double(), surrogate=atan())
        assert torch.equal(found, (h >= 0.3).double())


@pytest.mark.parametrize("neurons", [11, 5000])  # of more blocks than one
def test_gradients_are_the_closed_form(neurons, monkeypatch):
    monkeypatch.setattr("eventkit.snn.memory.GRAIN", 1 << 10)  # two threads
    torch.manual_seed(0)
    x = torch.randn(6, neurons, dtype=torch.float64, requires_grad=True)
    net, grad = PSN(T=6).double(), torch.randn(6, neurons, dtype=torch.float64)
    net(x).backward(grad)
    g = grad * atan().slope(net.weight @ x + net.bias)
    for found, expected in (
        (x.grad, net.weight.t() @ g),
        (net.weight.grad, g @ x.t()),
        (net.bias.grad, g.sum(1, keepdim=True)),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("steps", "k"), [(40, 3), (20, 30), (6, 6)])
def test_sliding_gradients_are_those_of_a_convolution(steps, k, monkeypatch):
    monkeypatch.setattr("eventkit.snn.memory.GRAIN", 1 << 10)  # two threads
    torch.manual_seed(0)
    x = torch.randn(steps, 3000, dtype=torch.float64, requires_grad=True)
    net, grad = SlidingPSN(k=k).double(), torch.randn(steps, 3000, dtype=torch.float64)
    net(x).backward(grad)
    y, w = x.detach().clone().requires_grad_(), net.weight.detach().clone().requires_grad_()
    padded = functional.pad(y.t()[:, None], (k - 1, 0))
    h = functional.conv1d(padded, w[None, None])[:, 0].t() - 1
    spike(h).backward(grad)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(net.weight.grad, w.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("frozen", ["x", "weight", "bias"])
def test_what_needs_no_gradient_changes_no_other(frozen):
    torch.manual_seed(0)
    net, x = PSN(T=5), torch.randn(5, 700)
    leaves = {"x": x, **dict(net.named_parameters())}
    found = []
    for asked in (leaves, {name: leaf for name, leaf in leaves.items() if name != frozen}):
        for name, leaf in leaves.items():
            leaf.requires_grad_(name in asked)
        grads = torch.autograd.grad(net(x).sum(), list(asked.values()))
        found.append(dict(zip(asked, grads, strict=True)))
    for name, grad in found[1].items():
        assert torch.equal(grad, found[0][name])


def test_no_neurons_at_all():
    net = PSN(T=3)
    net(torch.ones(3, 0, requires_grad=True)).sum().backward()
    assert not net.weight.grad.any()
    assert not net.bias.grad.any()


def test_masked_psn_goes_from_psn_to_causal():
    torch.manual_seed(0)
    net, x = MaskedPSN(T=5, k=2), 3 * torch.randn(5, 50)
    plain = PSN(T=5)
    plain.load_state_dict({"weight": net.weight, "bias": net.bias})
    assert torch.equal(net(x), plain(x))
    net.lambda_.fill_(0.25)
    near = torch.tensor([[abs(i - j - 0.5) < 1 for j in range(5)] for i in range(5)])
    assert torch.equal(net.masked_weight(), torch.where(near, net.weight, 0.75 * net.weight))
    net.lambda_.fill_(1)
    assert torch.equal(net.masked_weight() != 0, near)
    assert MaskedPSN(T=5, k=2).lambda_ == 0
    assert torch.equal(net.state_dict()["lambda_"], torch.tensor(1.0))


def test_only_the_input_is_kept_for_the_backward_pass():
    kept = []
    x = torch.randn(8, 100, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        SlidingPSN(k=3)(x)
    assert sum(t.numel() for t in kept if t.data_ptr() != x.data_ptr()) <= 16 * 18 + 3


def test_wrong_options_and_lengths_are_told():
    with pytest.raises(OptionError, match="psn needs the option 'T'"):
        neuron("psn")
    assert neuron("psn", T=4, features=3).T == 4
    assert neuron("psn:T=5", T=4).T == 5
    with pytest.raises(OptionError, match="T is 0, expected at least 1"):
        PSN(T=0)
    with pytest.raises(OptionError, match="k is 5, expected 1 to T=4"):
        MaskedPSN(T=4, k=5)
    with pytest.raises(OptionError, match="sliding_psn: k is 0"):
        SlidingPSN(k=0)
    with pytest.raises(OptionError, match="psn: found a sequence of 3 steps, expected all T=4"):
        PSN(T=4)(torch.ones(3, 1))
    with pytest.raises(OptionError, match=r"found a sequence of 3 steps.*until lambda_ is 1"):
        MaskedPSN(T=4)(torch.ones(3, 1))
    with pytest.raises(OptionError, match="masked_psn: found step 5, expected at most T=4"):
        MaskedPSN(T=4)(torch.ones(5, 1))


LONG = {
    "blas": lambda: PSN(T=BLAS + 4),
    "band": lambda: MaskedPSN(T=45, k=3, lambda_init=1.0),
    "band of one": lambda: MaskedPSN(T=33, k=1, lambda_init=1.0),
    "dense mask": lambda: MaskedPSN(T=45, k=3, lambda_init=0.5),
    "long mask": lambda: MaskedPSN(T=BLAS + 4, k=60, lambda_init=1.0),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_long_sequences_are_the_definition(name, dtype):
    torch.manual_seed(0)
    net = LONG[name]().double()
    nn.init.normal_(net.bias, 0, 0.2)
    weight = net.masked_weight() if isinstance(net, MaskedPSN) else net.weight
    x = torch.randn(net.T, 2, 3, 5, dtype=dtype, requires_grad=True)
    h = (weight @ x.double().flatten(1) + net.bias).reshape(x.shape)
    expected, grad = spike(h, net._surrogate), torch.randn(x.shape, dtype=torch.float64)
    wanted = [x, net.weight, net.bias]
    reference = torch.autograd.grad((expected * grad).sum(), wanted)
    if dtype == torch.bfloat16:
        net = net.float()
        wanted = [x, net.weight, net.bias]
    s = net(x)
    assert s.dtype == dtype
    assert 0.02 < s.double().mean() < 0.98
    assert (s.double() != expected).double().mean() <= (0 if dtype == torch.float64 else 1e-3)
    tolerance = 1e-9 if dtype == torch.float64 else 0.02
    for _ in range(2):  # the graph is kept, so what was saved must not change
        found = torch.autograd.grad((s.double() * grad).sum(), wanted, retain_graph=True)
        for a, b in zip(found, reference, strict=True):
            apart = (a.double() - b.double()).norm() / b.double().norm()
            assert apart <= tolerance


def test_a_band_needs_no_step_at_once():
    net = MaskedPSN(T=60, k=4, lambda_init=1.0).double()
    x = torch.randn(60, 3, 5, dtype=torch.float64)
    first, state = net.run(x[:21])
    second, _ = net.run(x[21:], state)
    assert torch.equal(torch.cat([first, second]), net(x))
