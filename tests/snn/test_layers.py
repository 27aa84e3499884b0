"""Layers around the neurons: time is folded, shared or left alone."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.snn import Dropout, Fold, Halve, SumPool2d, Voting


def test_fold_applies_its_layers_to_every_step():
    torch.manual_seed(0)
    fold = Fold(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.MaxPool2d(2)).eval()
    x = torch.randn(4, 2, 2, 10, 8)
    steps = torch.stack([fold(step[None])[0] for step in x])
    torch.testing.assert_close(fold(x), steps)
    assert fold(x).shape == (4, 2, 3, 4, 3)


def test_fold_keeps_channels_innermost():
    fold = Fold(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    frames = torch.randn(6, 2, 10, 8).to(memory_format=torch.channels_last)
    y = fold(frames.reshape(3, 2, 2, 10, 8))
    assert y.stride(2) == 1
    assert torch.equal(y, fold(frames.reshape(3, 2, 2, 10, 8).contiguous()))


def test_dropout_has_one_mask_for_all_steps_and_keeps_the_mean():
    torch.manual_seed(0)
    dropout, x = Dropout(0.25), torch.ones(5, 100, 50)
    y = dropout(x)
    assert (y == y[0]).all()
    assert torch.equal(y.unique(), torch.tensor([0, 1 / 0.75]))
    assert abs(float((y == 0).float().mean()) - 0.25) < 0.02
    assert torch.equal(dropout.eval()(x), x)


def test_voting_is_the_mean_of_neighbours():
    assert Voting(2)(torch.tensor([[[1.0, 0, 1, 1, 0, 0]]])).tolist() == [[[0.5, 1, 0]]]


def test_sum_pooling_loses_no_event_at_the_border():
    x = torch.arange(15.0).reshape(1, 1, 1, 3, 5)
    assert SumPool2d(2)(x)[0, 0, 0].tolist() == [[12, 20, 13], [21, 25, 14]]
    assert SumPool2d(7)(x).flatten().tolist() == [105]


def test_halving_leaves_a_side_of_one_pixel():
    x = torch.tensor([[1.0, 2, 3, 4, 9]]).reshape(1, 1, 1, 1, 5)
    assert Halve("max")(x).tolist() == [[[[[2, 4]]]]]
    assert Halve("avg")(x).tolist() == [[[[[1.5, 3.5]]]]]
    assert Halve("sum")(x).tolist() == [[[[[3, 7]]]]]
    assert Halve.size((1, 5)) == (1, 2)
    assert Halve()(torch.zeros(2, 3, 4, 7, 8)).shape == (2, 3, 4, 3, 4)
