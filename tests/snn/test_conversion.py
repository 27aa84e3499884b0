"""Conversion: the QCFS activation and its gradient, the identity with spikes, whole networks."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.errors import OptionError
from eventkit.models import create
from eventkit.snn import (
    LIF,
    QCFS,
    GroupNeuron,
    Halve,
    ReLU,
    Repeated,
    average_pooling,
    balance,
    neuron,
    to_spiking,
)

THETA = 1.37
PAIRS = [(4, 1), (8, 1), (2, 4), (4, 2), (1, 8), (2, 8)]  # steps, members


def qcfs(levels, threshold=THETA):
    return neuron(f"qcfs:levels={levels},threshold={threshold}").double()


def test_qcfs_of_a_few_numbers():
    # L = 2, lambda = 1: steps of one half, at 1/4 and 3/4
    x = torch.tensor([-1.0, 0.0, 0.2, 0.25, 0.6, 0.75, 1.0, 5.0])[None]
    net = QCFS(levels=2, threshold=1.0)
    assert net(x).tolist() == [[0, 0, 0, 0.5, 0.5, 1, 1, 1]]


def test_the_gradient_of_qcfs_is_that_of_its_paper():
    # n = floor(2 x + 1/2) is -2, 0, 1, 2, 3 for L = 2 and lambda = 1
    x = torch.tensor([[-1.0, 0.2, 0.3, 1.1, 1.3]], requires_grad=True)
    net = QCFS(levels=2, threshold=1.0)
    weights = torch.tensor([[1.0, 2.0, 3.0, 5.0, 7.0]])
    (net(x) * weights).sum().backward()
    assert x.grad.tolist() == [[0, 2, 3, 5, 0]]
    # (y - x)/lambda inside: -0.2, 0.5 - 0.3, 1 - 1.1; 1 above
    expected = 2 * -0.2 + 3 * 0.2 + 5 * -0.1 + 7
    assert net.threshold.grad.item() == pytest.approx(expected, abs=1e-5)


def test_the_gradient_of_qcfs_is_that_of_a_floor_that_passes_gradients():
    class Floor(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.floor()

        @staticmethod
        def backward(ctx, grad):
            return grad

    torch.manual_seed(0)
    x = (torch.randn(4, 5000).double() * 1.2).requires_grad_()
    net, levels = qcfs(8), 8
    threshold = net.threshold.detach().clone().requires_grad_()
    steps = Floor.apply(x * levels / threshold + 0.5).clamp(0, levels)
    twin, out, grad = threshold * steps / levels, net(x), torch.randn(4, 5000).double()
    torch.testing.assert_close(out, twin, rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad((out * grad).sum(), [x, net.threshold])
    theirs = torch.autograd.grad((twin * grad).sum(), [x, threshold])
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("steps", "members"), PAIRS)
def test_the_mean_of_spikes_for_a_constant_input_is_qcfs(steps, members):
    torch.manual_seed(0)
    x = torch.randn(20_000).double() * 1.2
    net = qcfs(steps * members)
    spikes = GroupNeuron(m=members, v_threshold=net.threshold.item())(x.expand(steps, -1))
    exact = net(x[None])[0]
    unit = exact[exact > 0].min()
    assert torch.equal((spikes.mean(0) / unit).round(), (exact / unit).round())
    torch.testing.assert_close(spikes.mean(0), exact, rtol=1e-12, atol=1e-12)
    assert exact.unique().numel() == steps * members + 1


@pytest.mark.parametrize(("steps", "members"), PAIRS)
def test_the_identity_holds_bit_by_bit_where_floats_are_exact(steps, members):
    x = torch.arange(-64, 320).double() / 128  # with every threshold among them
    spikes = GroupNeuron(m=members, v_threshold=2.0)(x.expand(steps, -1)).mean(0)
    assert torch.equal(spikes, qcfs(steps * members, 2.0)(x[None])[0])


@pytest.mark.parametrize("members", [1, 2, 4, 8])
def test_a_group_is_its_members_one_by_one(members):
    torch.manual_seed(0)
    x, unit = torch.randn(6, 2000).double() * 1.3 + 0.3, THETA / members
    v, out = torch.full((2000,), unit / 2).double(), []
    for now in x:
        v = v + now
        k = sum((v >= j * unit).double() for j in range(1, members + 1))
        v = v - k * unit
        out.append(k * unit)
    found = GroupNeuron(m=members, v_threshold=THETA)(x)
    torch.testing.assert_close(found, torch.stack(out), rtol=0, atol=1e-12)


@pytest.mark.parametrize("members", [1, 4])
def test_one_layer_between_weights_is_exact(members):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 30), QCFS(levels=4 * members, threshold=0.7), nn.Linear(30, 3))
    net, x = net.double(), torch.randn(2, 7, 5).double()
    snn = to_spiking(net, "if" if members == 1 else "gn", members=members)
    torch.testing.assert_close(Repeated(snn, 4)(x), net(x), rtol=1e-9, atol=1e-9)
    assert isinstance(net[1], QCFS)  # a copy was changed
    assert isinstance(snn[1], GroupNeuron)
    assert not snn.training


@pytest.mark.parametrize("name", ["qcfs_resnet20:width=4", "qcfs_vgg16:width=2"])
def test_a_deep_network_approaches_the_one_without_spikes(name):
    torch.manual_seed(0)
    net = create(name, num_classes=4, in_shape=(2, 16, 16))
    x = torch.rand(1, 8, 2, 16, 16) * 3
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, QCFS):
                module.threshold.fill_(3.0)
                module.levels = 1 << 20  # as fine as a ReLU that is clipped
        for _ in range(50):
            net(x)
        net.eval()
        snn, exact = to_spiking(net, "if"), net(x)
        far, near = ((Repeated(snn, T)(x) - exact).abs().mean() for T in (2, 128))
    assert near < far / 5
    assert near < 0.15 * exact.std()


def test_thresholds_of_relu_are_percentiles_of_its_outputs():
    net = nn.Sequential(nn.Identity(), ReLU(), nn.Linear(1, 1))
    outputs = torch.arange(1.0, 102.0).reshape(1, 101, 1)  # percentile p is 1 + p
    assert balance(net, [outputs - 50, outputs], percentile=90) == {"1": pytest.approx(91.0)}
    assert balance(net, [outputs], percentile=100) == {"1": 101.0}
    snn = to_spiking(net, "if", thresholds={"1": 91.0})
    assert snn[1].v_threshold == 91.0
    with pytest.raises(OptionError, match="layer 1 is relu, which needs a threshold"):
        to_spiking(net)
    with pytest.raises(OptionError, match="layer 1 has no output above 0"):
        balance(net, [-outputs])
    with pytest.raises(OptionError, match="percentile is 0"):
        balance(net, [outputs], percentile=0)


def test_max_pooling_becomes_average_pooling_before_training():
    net = nn.Sequential(Halve("max"), nn.Sequential(nn.MaxPool2d(3, 2, 1, ceil_mode=True)))
    x = torch.rand(2, 1, 1, 8, 8)
    average_pooling(net)
    expected = nn.functional.avg_pool2d(x.flatten(0, 1), 2)
    torch.testing.assert_close(net[0](x).flatten(0, 1), expected)
    expected = nn.functional.avg_pool2d(expected, 3, 2, 1, ceil_mode=True)
    torch.testing.assert_close(net[1](net[0](x).flatten(0, 1)), expected)
    with pytest.raises(OptionError, match="no dilation"):
        average_pooling(nn.Sequential(nn.MaxPool2d(2, dilation=2)))


LINEAR = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(LINEAR), "no activation to convert"),
        (nn.Sequential(QCFS(), Halve("max"), LINEAR), "layer 1 pools by max"),
        (nn.Sequential(QCFS(), nn.MaxPool2d(2), LINEAR), "layer 1 pools by max"),
        (nn.Sequential(QCFS(), LIF(), LINEAR), "layer 1 is lif, expected qcfs or relu"),
        (nn.Sequential(LINEAR, QCFS()), "the network ends in the activation 1"),
    ],
)
def test_networks_that_cannot_be_converted_are_refused(net, message):
    with pytest.raises(OptionError, match=message):
        to_spiking(net)


def test_wrong_options_are_refused():
    net = nn.Sequential(QCFS(), LINEAR)
    for kind, members in (("if", 2), ("gn", 0), ("lif", 1)):
        with pytest.raises(OptionError, match=f"found kind='{kind}' with members={members}"):
            to_spiking(net, kind, members=members)
    with torch.no_grad():
        net[0].threshold.fill_(-1)
    with pytest.raises(OptionError, match="threshold of layer 0 is -1, expected more than 0"):
        to_spiking(net)
    with pytest.raises(OptionError, match="levels=0"):
        neuron("qcfs:levels=0")
    with pytest.raises(OptionError, match="steps is 0"):
        Repeated(net, 0)
