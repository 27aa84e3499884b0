"""Norms folded into the layers before them: the same outputs, no norm left."""

import copy

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.models import create
from eventkit.snn import Fold, fold_norm, fold_norms


def test_a_norm_by_hand():
    norm = nn.BatchNorm1d(2, eps=0.0)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([6.0, 1.0]))
        norm.bias.copy_(torch.tensor([0.5, -1.0]))
    weight, bias = fold_norm(torch.ones(2, 1), torch.tensor([3.0, 4.0]), norm)
    assert weight.tolist() == [[3.0], [2.0]]  # 6 / 2, 1 / 0.5
    assert bias.tolist() == [6.5, 3.0]  # 3 (3 - 1) + 0.5, 2 (4 - 2) - 1
    assert fold_norm(torch.ones(2, 1), None, norm)[1].tolist() == [-2.5, -5.0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_a_fold_keeps_its_outputs(bias, affine):
    torch.manual_seed(0)
    net = Fold(nn.Conv2d(2, 4, 3, bias=bias, groups=2), nn.BatchNorm2d(4, affine=affine)).double()
    x = 3 * torch.randn(5, 4, 2, 6, 7, dtype=torch.float64) + 1
    net(x)
    before = copy.deepcopy(net.state_dict())
    folded = fold_norms(net)
    torch.testing.assert_close(folded(x), net.eval()(x), rtol=1e-12, atol=1e-12)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_norms_of_no_layer_stay():
    net = Fold(
        nn.MaxPool2d(2),
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 2, 1),
        nn.BatchNorm2d(2, track_running_stats=False),
    )
    assert sum(isinstance(m, nn.BatchNorm2d) for m in fold_norms(net)) == 2


def test_a_model_gives_the_same_outputs():
    net = create("csnn_tiny", num_classes=3, in_shape=(2, 32, 32)).double()
    x = torch.randn(4, 2, 2, 32, 32, dtype=torch.float64)
    net(x)
    torch.testing.assert_close(fold_norms(net)(x), net.eval()(x), rtol=1e-9, atol=1e-9)
