"""Losses: laws over all of them, and cases computed by hand."""

import math

import pytest

pytest.importorskip("torch")

import torch

from eventkit.errors import OptionError, UnknownName
from eventkit.train.losses import LOSSES, loss

OF_SPIKES = ["count", "count_plus", "ce_plus", "kernel", "timing", "ttfs"]


def one_hot(*labels, classes=3):
    return torch.nn.functional.one_hot(torch.tensor(labels), classes).float()


def spikes(*trains):
    """Votes (T, 1, classes) of one sample: a text of 0 and 1 for each class."""
    return torch.tensor([[list(map(float, step))] for step in zip(*trains, strict=True)])


def run(spec, votes, target, lengths=None):
    """The loss and its gradient."""
    votes = votes.clone().requires_grad_()
    lengths = torch.full((votes.shape[1],), len(votes)) if lengths is None else lengths
    value = loss(spec)(votes, target, lengths)
    value.backward()
    return float(value.detach()), votes.grad


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_right_answers_cost_less(name):
    torch.manual_seed(0)
    good = spikes("11111", "00000", "00000").expand(-1, 2, -1).contiguous()
    bad = spikes("00000", "11111", "11111").expand(-1, 2, -1).contiguous()
    target = one_hot(0, 0)
    low, _ = run(name, good, target)
    high, slope = run(name, bad, target)
    assert low < high
    assert slope.isfinite().all()


@pytest.mark.parametrize(
    "spec",
    [*sorted(LOSSES), "softmax_sum:log=false", "count_plus:zero_sum=true", "kernel:gradient=times",
     "timing:desired=7", "timing:gradient=times", "ttfs:gradient=times"],
)  # fmt: skip
def test_a_padded_sample_counts_as_it_does_alone(spec):
    torch.manual_seed(0)
    whole = (torch.rand(9, 2, 3) < 0.4).float()
    whole[:5, 0, 0], whole[:5, 1, 1] = 0, 0  # silent until the shorter one ends: one label each
    target, lengths = one_hot(0, 2), torch.tensor([5, 9])
    alone = [run(spec, whole[:n, i : i + 1], target[i : i + 1]) for i, n in enumerate([5, 9])]
    for padding in (0.0, 1.0, -1.0):
        votes = whole.clone()
        votes[5:, 0] = padding
        value, slope = run(spec, votes[:, :1], target[:1], lengths[:1])
        assert value == pytest.approx(alone[0][0], rel=1e-5)
        torch.testing.assert_close(slope[:5], alone[0][1])
        assert not slope[5:].any()
        value, slope = run(spec, votes, target, lengths)  # beside a longer one
        assert value == pytest.approx((alone[0][0] + alone[1][0]) / 2, rel=1e-5)
        torch.testing.assert_close(slope[:5, :1], alone[0][1] / 2)
        torch.testing.assert_close(slope[:, 1:], alone[1][1] / 2)
        assert not slope[5:, 0].any()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_sample_without_a_step_gives_no_gradient(name):
    value, slope = run(name, torch.ones(4, 1, 3), one_hot(0), torch.tensor([0]))
    assert math.isfinite(value)
    assert not slope.any()


@pytest.mark.parametrize("name", OF_SPIKES)
def test_the_gradient_of_times_is_that_of_spikes_turned_round(name):
    torch.manual_seed(1)
    votes = (torch.rand(6, 4, 3) < 0.4).float()
    target = one_hot(0, 1, 2, 1)
    value, slope = run(name, votes, target)
    again, turned = run(f"{name}:gradient=times", votes, target)
    assert value == pytest.approx(again)
    torch.testing.assert_close(turned, -slope)
    assert slope.any()


@pytest.mark.parametrize("name", OF_SPIKES)
def test_losses_of_spikes_refuse_currents(name):
    with pytest.raises(OptionError, match=f"the loss {name} takes spikes"):
        run(name, torch.full((4, 1, 3), -0.5), one_hot(0))


def test_values_by_hand():
    votes = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]])
    target = one_hot(0, classes=2)
    e = math.e
    assert run("ce_mean", votes, target)[0] == pytest.approx(math.log(1 + 1 / e))
    assert run("rate_mse", votes, target)[0] == pytest.approx(0)
    by_step = (math.log(1 + e**-2) + math.log(2)) / 2
    assert run("tet:weight=0", votes, target)[0] == pytest.approx(by_step)
    spread = (1 + 1 + 1 + 1) / 4
    assert run("tet:weight=1", votes, target)[0] == pytest.approx(spread)
    assert run("max_over_time", votes, target)[0] == pytest.approx(math.log(1 + e**-2))
    p = (1 / (1 + e**-2) + 0.5) / 2
    assert run("softmax_sum", votes, target)[0] == pytest.approx(-math.log(p))
    twice = math.log(math.exp(2 * p) + math.exp(2 - 2 * p)) - 2 * p
    assert run("softmax_sum:log=false", votes, target)[0] == pytest.approx(twice)


def test_count_asks_for_spikes_where_they_lack_and_only_there():
    votes = spikes("1000", "1110", "0000")
    value, slope = run("count:desired=3,undesired=1", votes, one_hot(0))
    # delta = (1 - 3)/4 of the label, (3 - 1)/4 of class 1, 0 of class 2, which fires too little
    assert value == pytest.approx(4 / 2 * (0.25 + 0.25))
    assert slope[:, 0].tolist() == [[-0.5, 0.5, 0.0]] * 4


def test_count_plus_puts_the_gradient_on_spikes():
    votes = spikes("1000", "1110", "0000")
    _, slope = run("count_plus:desired=3,undesired=1", votes, one_hot(0))
    assert slope[:, 0, 0].tolist() == [-0.5, 0, 0, 0]
    assert slope[:, 0, 1].tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 0])
    _, slope = run("count_plus:desired=3,undesired=1,zero_sum=true", votes, one_hot(0))
    assert float(slope.sum()) == pytest.approx(0, abs=1e-6)


def test_ttfs_moves_the_first_spikes_and_wakes_a_silent_label():
    votes = spikes("0011", "0110", "0000")
    value, slope = run("ttfs", votes, one_hot(0))
    score = torch.tensor([1 - 3 / 4, 1 - 2 / 4, -3.0])
    assert value == pytest.approx(4 * float(-score.log_softmax(0)[0]))
    wanted = score.softmax(0) - torch.tensor([1.0, 0, 0])
    assert slope[2, 0, 0] == pytest.approx(float(wanted[0]))
    assert slope[1, 0, 1] == pytest.approx(float(wanted[1]))
    assert int((slope != 0).sum()) == 2
    _, slope = run("ttfs", votes, one_hot(2))
    assert slope[3, 0, 2] < 0


def test_timing_wants_late_spikes_of_the_label_earlier_and_early_ones_of_others_later():
    votes = spikes("0001", "1000")
    _, slope = run("timing:desired=2,undesired=1", votes, one_hot(0, classes=2))
    # label: targets at 2 and 4; its only spike is at 4 = (4 - 2 + 1/2)/4 late, one is missing
    assert slope[3, 0, 0] == pytest.approx(-2.5 / 4 - 1.5 / 4)
    # other: target at 4, spike at 1
    assert slope[0, 0, 1] == pytest.approx((4 - 1 - 0.5) / 4 / 2**0.5)


def test_wrong_losses_are_told():
    with pytest.raises(UnknownName, match="Did you mean 'ce_mean'"):
        loss("ce_maen")
    with pytest.raises(OptionError, match="tet has no option 'wieght'"):
        loss("tet:wieght=1")
