"""adLIF, SE-adLIF, SiLIF, C-SiLIF against their published recursions, kernels against the twin."""

import itertools
import math

import pytest

pytest.importorskip("torch")

import torch

from eventkit.errors import OptionError
from eventkit.snn import AdLIF, CSiLIF, SEAdLIF, SiLIF, fused, loop, neuron
from eventkit.snn.memory import HARD, NEVER, SOFT
from eventkit.snn.surrogate import SURROGATES, parse

T, N, FEATURES = 30, 4, 7


def drive(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 5 * torch.randn(T, N, FEATURES, generator=generator, dtype=torch.float64) + 2


def test_adlif_is_the_published_recursion():
    net, x = AdLIF(features=FEATURES).double(), drive()
    u = w = s = torch.zeros(N, FEATURES, dtype=torch.float64)
    spikes = []
    for xt in x:  # w first, from the u and s of the step before
        w = net.beta * w + net.a * u + net.b * s
        u = net.alpha * (u - s) + (1 - net.alpha) * (xt - w)
        s = (u >= 1).double()
        spikes.append(s)
    assert torch.equal(net(x), torch.stack(spikes))
    assert 0.02 < net(x).mean() < 0.9


def test_silif_is_the_published_recursion():
    net, x = SiLIF(features=FEATURES).double(), drive()
    alpha = torch.exp(-net.log_alpha.exp() * net.log_dt.exp())
    beta = torch.exp(-net.log_beta.exp() * net.log_dt.exp())
    assert net.log_dt.exp().tolist() == pytest.approx([0.004] * FEATURES)
    assert math.exp(-1) <= alpha.min() <= alpha.max() <= math.exp(-0.04)
    assert math.exp(-0.04) <= beta.min() <= beta.max() <= math.exp(-0.01)
    u = w = s = torch.zeros(N, FEATURES, dtype=torch.float64)
    spikes = []
    for xt in x:
        w = beta * w + net.a * u + net.b * s
        u = alpha * (u - s) + (1 - alpha) * (xt - w)
        s = (u >= 1).double()
        spikes.append(s)
    assert torch.equal(net(x), torch.stack(spikes))
    assert 0.02 < net(x).mean() < 0.9


def test_seadlif_is_the_published_recursion():
    net, x = SEAdLIF(features=FEATURES).double(), 3 * drive()
    alpha = torch.exp(-1 / (5 + 20 * net.rho_u))
    beta = torch.exp(-1 / (60 + 240 * net.rho_w))
    u = w = torch.zeros(N, FEATURES, dtype=torch.float64)
    spikes = []
    for xt in x:
        u = alpha * u + (1 - alpha) * (xt - w)
        z = (u >= 1).double()
        u = u * (1 - z)
        w = beta * w + (1 - beta) * 120 * (net.a * u + net.b * z)
        spikes.append(z)
    assert torch.equal(net(x), torch.stack(spikes))
    assert 0.02 < net(x).mean() < 0.9


def test_csilif_is_the_published_recursion_in_complex_numbers():
    net, x = CSiLIF(features=FEATURES).double(), drive()
    rate = (-net.log_decay.exp() + 1j * net.omega) * net.log_dt.exp()
    u = torch.zeros(N, FEATURES, dtype=torch.complex128)
    s = torch.zeros(N, FEATURES, dtype=torch.float64)
    spikes = []
    for xt in x:
        u = rate.exp() * (u - 0.5 * s) + net.b * xt
        s = (2 * u.real >= 1).double()
        spikes.append(s)
    assert torch.equal(net(x), torch.stack(spikes))
    assert 0.02 < net(x).mean() < 0.9
    assert net.omega.tolist() == pytest.approx([math.pi] * FEATURES)
    assert 0.01 <= net.log_dt.exp().min() <= net.log_dt.exp().max() <= 0.5


RULES = [
    ("adapt", {"reset": reset, "adapt_after_reset": late, "detach_reset": detach})
    for reset, late, detach in itertools.product((HARD, SOFT, NEVER), (False, True), (False, True))
] + [("resonate", {"detach_reset": detach}) for detach in (False, True)]


def both(kind, rules, surrogate):
    """All outputs and gradients from random states, once from the kernel, once from the loop."""
    torch.manual_seed(1)
    count = {"adapt": 4, "resonate": 3}[kind]
    start = [drive() / 4, *torch.randn(2, N, FEATURES).double(), *torch.rand(count, FEATURES)]
    grads = [torch.randn(shape).double() for shape in ((T, N, FEATURES), *[(N, FEATURES)] * 2)]
    for module in (fused, loop):
        x, v, w, *k = (t.double().clone().requires_grad_() for t in start)
        outputs = module.cell(kind, x, v, w, k, surrogate=parse(surrogate), **rules)
        loss = sum((out * grad).sum() for out, grad in zip(outputs, grads, strict=True))
        yield [*outputs, *torch.autograd.grad(loss, [x, v, w, *k])]


@pytest.mark.parametrize(("kind", "rules"), RULES)
def test_kernel_equals_autograd_over_the_loop(kind, rules):
    kernel, reference = both(kind, rules, "atan")
    assert 0.02 < kernel[0].mean() < 0.98
    for a, b in zip(kernel, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("kind", ["adapt", "resonate"])
def test_kernel_equals_the_loop_for_every_surrogate(kind, surrogate):
    rules = {"reset": SOFT, "detach_reset": False}
    for a, b in zip(*both(kind, rules, surrogate), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_single_precision_is_near_double():
    for kind in (AdLIF, SEAdLIF, SiLIF, CSiLIF):
        torch.manual_seed(0)
        net = kind(features=FEATURES, surrogate="atan")
        x, grads = drive().float(), []
        for run in (net, net.double()):
            run.zero_grad()
            run(x.to(next(run.parameters()).dtype)).mean().backward()
            grads.append([p.grad.double() for p in run.parameters()])
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_a_parameter_outside_its_bounds_counts_as_the_bound_and_can_come_back():
    net, x = AdLIF(features=FEATURES, surrogate="atan").double(), drive()
    with torch.no_grad():
        net.alpha.fill_(0.99)
    net(x).sum().backward()
    free = net.alpha.grad.clone()
    assert net.coefficients()[0].tolist() == [math.exp(-1 / 25)] * FEATURES
    assert (free >= 0).all()  # only a step that goes down again is left
    net.zero_grad()
    (-net(x).sum()).backward()
    assert (net.alpha.grad >= 0).all()
    assert ((net.alpha.grad > 0) ^ (free > 0)).all()


def test_images_have_their_features_on_the_third_axis():
    torch.manual_seed(0)
    net, x = AdLIF(features=3), 9 * torch.rand(5, 2, 3, 4, 6)
    for i, j in ((0, 0), (3, 5)):
        assert torch.equal(net(x)[..., i, j], net(x[..., i, j]))


def test_wrong_options_and_features_are_told():
    with pytest.raises(OptionError, match="adlif needs the option 'features'"):
        neuron("adlif")
    with pytest.raises(OptionError, match="features is 0, expected at least 1"):
        AdLIF(features=0)
    with pytest.raises(OptionError, match=r"of 4 features takes \(T, N, 4, ...\), found \(2, 3\)"):
        SiLIF(features=4)(torch.ones(2, 3))
    with pytest.raises(OptionError, match="expected 0 < min <= max"):
        SEAdLIF(features=2, tau_u_min=30)
    with pytest.raises(OptionError, match=r"found dt 0.0 to 0.5"):
        CSiLIF(features=2, dt_min=0.0)
