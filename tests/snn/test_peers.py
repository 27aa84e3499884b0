"""Batches of ours in the networks of SpikingJelly and snnTorch, where these are installed."""

import pytest

torch = pytest.importorskip("torch")

from making import make_events  # noqa: E402
from torch import nn  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.loader import EventDataset, loader  # noqa: E402


@pytest.fixture
def batch(tmp_path):
    """Frames (T, N, 2, 34, 34) and labels, as the loader gives them with time_first."""
    for label in ("a", "b"):
        folder = tmp_path / "raw" / "train" / label
        folder.mkdir(parents=True)
        for number in range(2):
            ek.write(
                folder / f"{number}.bin", make_events(2000 + 500 * number, seed=ord(label) + number)
            )
    convert(tmp_path / "raw", represent="frames:n=3", out=tmp_path / "store.zarr")
    dataset = EventDataset(tmp_path / "store.zarr", time_first=True)
    return next(iter(loader(dataset, batch_size=4)))


def test_spikingjelly_takes_a_batch(batch):
    pytest.importorskip("spikingjelly", reason="spikingjelly is not installed")
    from spikingjelly.activation_based import functional, layer, neuron

    frames, labels = batch
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, bias=False), neuron.LIFNode(), layer.MaxPool2d(4),
        layer.Flatten(), layer.Linear(4 * 8 * 8, 2), neuron.IFNode(),
    )  # fmt: skip
    functional.set_step_mode(net, "m")
    rates = net(frames).mean(0)
    assert rates.shape == (4, 2)
    nn.functional.cross_entropy(rates, labels).backward()
    assert net[0].weight.grad.abs().sum() > 0


def test_snntorch_takes_a_batch(batch):
    snn = pytest.importorskip("snntorch", reason="snntorch is not installed")

    frames, labels = batch
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), snn.Leaky(0.5, init_hidden=True), nn.MaxPool2d(4),
        nn.Flatten(), nn.Linear(4 * 8 * 8, 2), snn.Leaky(0.5, init_hidden=True),
    )  # fmt: skip
    rates = torch.stack([net(step) for step in frames]).mean(0)
    assert rates.shape == (4, 2)
    nn.functional.cross_entropy(rates, labels).backward()
    assert net[0].weight.grad.abs().sum() > 0
