"""Networks: laws over every registry entry, then the published sizes of each."""

import pytest
import torch

from eventkit.errors import OptionError, UnknownName
from eventkit.models import MODELS, create, list_models


def count(net):
    """Parameters without the one time constant that each PLIF layer learns."""
    return sum(p.numel() for name, p in net.named_parameters() if name.split(".")[-1] != "w")


def settled(name, x):
    """The net in eval mode, fresh but for what makes neurons fire that see nothing but noise."""
    torch.manual_seed(0)
    net = create(name, num_classes=3, in_shape=x.shape[2:])
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight *= 5
        for _ in range(100):  # batch norms forget their start
            net(x)
    return net.eval()


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("shape", [(2, 34, 34), (1, 8, 8), (2, 45, 70), (3, 5, 7), (2, 1, 90)])
def test_every_net_takes_any_size_and_votes_in_every_step(name, shape):
    torch.manual_seed(0)
    net = create(name, num_classes=5, in_shape=shape)
    votes = net(torch.poisson(torch.ones(3, 2, *shape)))
    assert votes.shape == (3, 2, 5)
    votes.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", list_models())
def test_every_net_looks_at_each_sample_alone_and_remembers_nothing(name):
    x = torch.poisson(torch.ones(4, 3, 2, 16, 16))
    net = settled(name, x)
    with torch.no_grad():
        together = net(x)
        assert together.std() > 0
        for i in range(3):
            torch.testing.assert_close(net(x[:, i : i + 1])[:, 0], together[:, i])


@pytest.mark.parametrize("name", list_models())
def test_every_net_uses_the_order_of_frames(name):
    x = torch.poisson(torch.ones(6, 2, 2, 16, 16))
    net = settled(name, x)
    with torch.no_grad():
        assert not torch.allclose(net(x).mean(0), net(x.flip(0)).mean(0))


@pytest.mark.parametrize("name", list_models())
def test_every_entry_says_what_it_is(name):
    entry = MODELS[name]
    assert entry.about
    assert 0 < entry.recipe.lr < 1
    assert entry.recipe.batch > 0


@pytest.mark.parametrize(("name", "parameters"), [("csnn_tiny", 108_096), ("csnn_small", 402_560)])
def test_parameter_counts_for_64_x_64_and_eleven_classes(name, parameters):
    assert count(create(name, num_classes=11, in_shape=(2, 64, 64))) == parameters


@pytest.mark.parametrize("size", [(128, 128), (260, 346), (720, 1280)])
def test_large_samples_are_first_pooled_to_at_most_64_x_64(size):
    net = create("csnn_tiny", num_classes=11, in_shape=(2, *size))
    pooled = net[0](torch.ones(1, 1, 2, *size))
    assert max(pooled.shape[-2:]) <= 64
    assert pooled.sum() == 2 * size[0] * size[1]
    whole = create("csnn_tiny:limit=0,width=1", num_classes=11, in_shape=(2, *size))
    assert count(whole) > count(create("csnn_tiny:width=1", num_classes=11, in_shape=(2, *size)))


def test_options_come_from_the_spec_or_as_arguments():
    spec = create("csnn_tiny:width=8,neurons=lif:tau=3", num_classes=4, in_shape=(2, 16, 16))
    same = create("csnn_tiny", num_classes=4, in_shape=(2, 16, 16), width=8, neurons="lif:tau=3")
    assert str(spec) == str(same)
    assert "LIF(tau=3" in str(spec)


def test_names_are_listed_by_pattern():
    assert list_models("csnn*") == ["csnn_small", "csnn_tiny"]
    assert list_models("*no such*") == []


def test_wrong_names_and_options_are_told():
    with pytest.raises(UnknownName, match=r"no model 'csnn_tini'.*'csnn_tiny'"):
        create("csnn_tini", num_classes=2, in_shape=(2, 8, 8))
    with pytest.raises(OptionError, match="csnn_tiny has no option 'widht'"):
        create("csnn_tiny:widht=2", num_classes=2, in_shape=(2, 8, 8))
    with pytest.raises(OptionError, match="found width=0"):
        create("csnn_tiny:width=0", num_classes=2, in_shape=(2, 8, 8))
    with pytest.raises(OptionError, match=r"0 classes and the input shape \(8, 8\)"):
        create("csnn_tiny", num_classes=0, in_shape=(8, 8))
