"""The learnable event spike tensor: values, gradients, and what it starts from."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from making import make_events  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit import Events, OptionError  # noqa: E402
from eventkit.loader.learned import LearnableEST  # noqa: E402
from eventkit.loader.packed import PackedEvents  # noqa: E402


class Trilinear(torch.nn.Module):
    def forward(self, distance):
        return (1 - distance.abs() * 3).clamp(min=0)


def test_with_the_trilinear_kernel_it_is_the_representation_est():
    samples = [make_events(300, seed=seed) for seed in (1, 2)]
    layer = LearnableEST(4, fit=0)
    layer.kernel = Trilinear()
    found = layer(PackedEvents.of(samples)).numpy()
    expected = np.stack([ek.represent(events, "est:bins=4") for events in samples])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_it_starts_close_to_the_trilinear_kernel():
    layer = LearnableEST(5)
    distance = torch.linspace(-1, 1, 401)[:, None]
    wanted = (1 - distance.abs() * 4).clamp(min=0)
    with torch.no_grad():
        assert (layer.kernel(distance) - wanted).abs().max() < 0.15


def test_the_same_seed_gives_the_same_weights_and_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    weights = [LearnableEST(3, fit=3, seed=seed).kernel[0].weight for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_gradient_of_the_kernel_is_the_one_worked_out_by_hand():
    """Two events at t* = 0 and 1: only the second adds, k(1 - i / 2) to each bin of its pixel."""
    layer = LearnableEST(3, hidden=4, fit=0)
    events = Events([0, 10], [0, 1], [0, 0], [1, 1], (2, 1))
    packed = PackedEvents.of([events])
    weights = torch.arange(12.0).view(1, 1, 6, 1, 2)

    (layer(packed) * weights).sum().backward()
    bias = layer.kernel[-1].bias
    assert bias.grad.item() == pytest.approx(7 + 9 + 11)  # the ON bins of pixel x = 1


def test_a_net_behind_it_trains_its_kernel():
    layer = LearnableEST(3, fit=0)
    net = torch.nn.Sequential(layer, torch.nn.Flatten(), torch.nn.LazyLinear(2))
    loss = net(PackedEvents.of([make_events(50)])).square().sum()
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.kernel[-1].parameters())


def test_events_outside_and_samples_without_events_are_left_out():
    none = Events([], [], [], [], (4, 3))
    outside = Events([0, 9], [7, 1], [0, 1], [1, 1], (4, 3))
    inside = Events([0, 9], [1, 1], [1, 1], [1, 1], (4, 3))
    layer = LearnableEST(3, fit=0)
    with torch.no_grad():
        found = layer(PackedEvents.of([none, outside, inside]))
    assert not found[0].any()
    torch.testing.assert_close(found[1], found[2])  # the event at t* = 0 adds nothing anywhere


@pytest.mark.parametrize("options", [{"bins": 1}, {"hidden": 0}])
def test_wrong_sizes_are_refused(options):
    with pytest.raises(OptionError, match="LearnableEST"):
        LearnableEST(**options)
