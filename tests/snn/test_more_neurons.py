"""CUBA, LIF without a reset, KLIF, GLIF and the group neuron by their equations."""

import pytest

pytest.importorskip("torch")

import torch

from eventkit.errors import OptionError
from eventkit.snn import CUBA, GLIF, IF, KLIF, LIF, GroupNeuron, LIFNoReset, neuron


def steps(*values):
    return torch.tensor(values)[:, None]


def test_cuba_integrates_a_current_that_decays():
    x = steps(1.0, 0.0, 0.0)  # i = 1, 0.5, 0.25; h = 0.5, 0.5, 0.375
    s, (v, i) = CUBA(tau=2.0, tau_syn=2.0).run(x)
    assert s.sum() == 0
    assert (v.item(), i.item()) == (0.375, 0.25)
    torch.manual_seed(0)
    x = torch.randn(20, 30)
    assert torch.equal(CUBA(tau=3.0, tau_syn=1.0)(x), LIF(tau=3.0)(x))


def test_without_a_reset_the_membrane_is_a_filter():
    x = steps(4.0, 0.0, 0.0)  # h = 2, 1, 0.5
    s, v = LIFNoReset(tau=2.0).run(x)
    assert s.flatten().tolist() == [1, 1, 0]
    assert v.item() == 0.5


def test_klif_scales_its_membrane():
    x = steps(1.0, 1.0, -3.0)
    torch.manual_seed(0)
    y = torch.rand(20, 30)
    assert torch.equal(KLIF(tau=3.0)(2 * y), LIF(tau=3.0)(2 * y))  # k = 1, nothing below 0
    net = KLIF(tau=2.0)
    with torch.no_grad():
        net.k.fill_(1.5)
    s, v = net.run(x)  # f = 0.75; 1.5 (0.75 + 1) / 2 = 1.3125 fires; max(0, -2.25)
    assert s.flatten().tolist() == [0, 1, 0]
    assert v.item() == 0
    scaled = KLIF(tau=2.0, scale_reset=True, v_reset=None)
    with torch.no_grad():
        scaled.k.fill_(2.0)
    s, v = scaled.run(x[:1])  # h = 0.5, f = 1 fires, v = f / k - 1 / k
    assert (s.item(), v.item()) == (1, 0)


def test_glif_by_hand():
    net = GLIF(T=2, tau=0.25, v_threshold=0.5, conduct=0.5)
    assert net.leak.sigmoid().item() == pytest.approx(0.125)
    with torch.no_grad():
        for gate in (net.alpha, net.beta, net.gamma):
            gate.fill_(0)  # all gates 1/2
    # v = 0.75 x - 0.0625 = 0.6875 fires; keep = 0.625:
    # v = 0.625 * 0.6875 * 0.5 - 0.0625 - 0.25 + 0 = -0.09765625
    s, (v, last, seen) = net.run(steps(1.0, 0.0))
    assert s.flatten().tolist() == [1, 0]
    assert v.item() == pytest.approx(-0.09765625, abs=1e-6)
    assert (last.item(), seen.item()) == (0, 2)
    assert sum(p.numel() for p in GLIF(T=4).parameters()) == 11
    with pytest.raises(OptionError, match="glif: found step 3, expected at most T=2"):
        net(torch.ones(3, 1))
    with pytest.raises(OptionError, match=r"glif of 3 features takes \(T, N, 3, ...\)"):
        GLIF(T=2, features=3)(torch.ones(2, 4))
    with pytest.raises(OptionError, match=r"tau is 2.0, expected between 0 and 1"):
        GLIF(T=2, tau=2.0)


@pytest.mark.parametrize("m", [1, 2, 4, 8])
def test_group_neuron_counts_its_members_over_their_thresholds(m):
    torch.manual_seed(0)
    x, theta = 1.3 * torch.randn(6, 5000, dtype=torch.float64) + 0.3, 1.37
    step = theta / m
    v, out = torch.full_like(x[0], step / 2), []
    for xt in x:
        v = v + xt
        k = sum((v >= j * step).double() for j in range(1, m + 1))
        v = v - k * step
        out.append(k * step)
    found = GroupNeuron(m=m, v_threshold=theta)(x)
    torch.testing.assert_close(found, torch.stack(out), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("t", "m"), [(4, 1), (8, 1), (2, 4), (4, 2), (1, 8)])
def test_group_neuron_of_a_constant_is_qcfs(t, m):
    torch.manual_seed(0)
    z, theta, levels = 1.2 * torch.randn(20_000, dtype=torch.float64), 1.37, t * m
    qcfs = theta * ((z * levels / theta + 0.5).floor() / levels).clamp(0, 1)
    mean = GroupNeuron(m=m, v_threshold=theta)(z.expand(t, -1)).mean(0)
    torch.testing.assert_close(mean, qcfs, rtol=0, atol=1e-9)


def test_one_member_is_an_if_from_half_its_threshold():
    torch.manual_seed(0)
    x = torch.randn(9, 40)
    soft = IF(v_reset=None)
    assert torch.equal(GroupNeuron(m=1)(x), soft.run(x, torch.full((40,), 0.5))[0])


def test_gradient_of_a_group_neuron_is_that_of_qcfs():
    z = torch.tensor([-0.3, 0.3, 0.9, 1.2, 1.6], requires_grad=True)
    GroupNeuron(m=4)(z[None]).sum().backward()
    assert z.grad.tolist() == [0, 1, 1, 0, 0]  # 1 where floor(4 z + 1/2) is 0 to 4
    with pytest.raises(OptionError, match=r"m=0 and v_threshold=1.0"):
        neuron("gn:m=0")


@pytest.mark.parametrize("kind", ["cuba", "lif_noreset", "klif"])
def test_time_constants_below_a_step_are_told(kind):
    with pytest.raises(OptionError, match=r"tau is 0.5, expected at least 1"):
        neuron(f"{kind}:tau=0.5")
    with pytest.raises(OptionError, match=r"tau_syn is 0.5, expected at least 1"):
        CUBA(tau_syn=0.5)
