"""Spike-element-wise connections of residual blocks."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.snn import IF, PLIF, SEW, Fold, start_as_identity


def block(neuron, connect, channels=3):
    conv, norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
    start_as_identity(norm, neuron, connect)
    return SEW(nn.Sequential(Fold(conv, norm), neuron), connect=connect)


def test_connections_are_those_of_the_paper():
    x = torch.tensor([0.0, 0, 1, 1])
    a = torch.tensor([0.0, 1, 0, 1])
    found = {how: SEW(nn.Identity(), connect=how) for how in ("add", "and", "iand")}
    for sew in found.values():
        sew.branch = Constant(a)
    assert found["add"](x).tolist() == [0, 1, 1, 2]
    assert found["and"](x).tolist() == [0, 0, 0, 1]
    assert found["iand"](x).tolist() == [0, 0, 1, 0]


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
@pytest.mark.parametrize("neuron", [IF(), PLIF(tau=2.0), PLIF(tau=3.0), PLIF(v_threshold=0.3)])
def test_every_connection_can_start_as_the_identity(connect, neuron):
    torch.manual_seed(0)
    x = torch.randint(0, 2, (5, 2, 3, 4, 4)).float()
    assert torch.equal(block(neuron, connect)(x), x)
