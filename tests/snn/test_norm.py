"""Norms: over time and batch, to the scale of the threshold, with a weight for each step."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.errors import OptionError
from eventkit.snn import Fold, TDBN2d, TEBN2d


def by_hand(x):
    """x (T, N, C, H, W) normalised over all but C."""
    mean = x.mean((0, 1, 3, 4), keepdim=True)
    return (x - mean) / torch.sqrt(x.var((0, 1, 3, 4), unbiased=False, keepdim=True) + 1e-5)


def test_batch_norm_in_a_fold_is_over_time_and_batch():
    torch.manual_seed(0)
    x = 3 * torch.randn(4, 2, 3, 5, 6) + 1
    torch.testing.assert_close(Fold(nn.BatchNorm2d(3))(x), by_hand(x))


@pytest.mark.parametrize(("branches", "scale"), [(1, 0.5), (2, 0.5 / 2**0.5)])
def test_tdbn_gives_the_scale_of_the_threshold(branches, scale):
    torch.manual_seed(0)
    x = 3 * torch.randn(4, 2, 3, 5, 6) + 1
    norm = Fold(TDBN2d(3, v_threshold=0.5, branches=branches))
    torch.testing.assert_close(norm(x), by_hand(x) * scale)


def test_tebn_weighs_each_step():
    torch.manual_seed(0)
    x = torch.randn(4, 2, 3, 5, 6)
    norm = TEBN2d(3, T=4)
    torch.testing.assert_close(norm(x), by_hand(x))
    with torch.no_grad():
        norm.p.copy_(torch.tensor([1.0, 0, 2, -1]))
    expected = by_hand(x)
    for t, p in enumerate((1, 0, 2, -1)):
        torch.testing.assert_close(norm(x)[t], p * expected[t])
    with pytest.raises(OptionError, match="found 3 time steps, expected 4"):
        norm(x[:3])
