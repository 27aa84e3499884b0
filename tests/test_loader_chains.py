"""Chains of samples: the task of DVS-Gesture-Chain."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from making import make_events  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit import Events  # noqa: E402
from eventkit.augment.chains import Chain, draw_chain  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.errors import OptionError  # noqa: E402
from eventkit.loader import Chains, EventDataset  # noqa: E402

LABELS = np.array([0, 0, 0, 0, 1, 2, 2, 3])


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    root = tmp_path_factory.mktemp("gestures")
    for number in range(6):
        folder = root / "train" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        ek.write(folder / f"{number}.npz", make_events(300, seed=number))
    convert(root, out=root / "events.zarr", represent="events")
    return EventDataset(root / "events.zarr", augment=["flip"])


def test_a_chain_by_hand():
    one = Events([100, 104, 109], [0, 1, 2], [0, 0, 0], [1, 0, 1], (4, 3))
    other = Events([7, 8, 30], [3, 3, 3], [2, 2, 2], [0, 1, 0], (4, 3))
    found = Chain((0, 1, 0), (5, 10, 9)).events([one, other, Events.empty((4, 3))])
    assert found.t.tolist() == [0, 4, 5, 6]
    assert found.x.tolist() == [0, 1, 3, 3]
    assert found.p.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("repeat", [False, True])
def test_every_class_is_drawn_as_often(repeat):
    chains = [
        draw_chain(LABELS, np.random.default_rng(seed), parts=3, spread=0.5, repeat=repeat)
        for seed in range(800)
    ]
    orders = np.array([LABELS[list(chain.samples)] for chain in chains])
    shares = np.bincount(orders.reshape(-1)) / orders.size
    assert shares == pytest.approx([0.25] * 4, abs=0.04)
    assert all(len(set(order)) == 3 for order in orders.tolist()) is not repeat
    lengths = np.array([chain.durations for chain in chains])
    assert lengths.min() >= 250_000
    assert lengths.max() <= 750_000
    assert {sample for chain in chains for sample in chain.samples} == set(range(8))


def test_a_dataset_of_chains(gestures):
    options = {"parts": 2, "duration": 3000, "seed": 4}
    chains = Chains(gestures, 5, represent="frames:n=6,by=time", **options)
    raw = Chains(gestures, 5, **options)
    for frames, labels in DataLoader(chains, 5):
        assert frames.shape == (5, 6, 2, 34, 34)
        assert frames.dtype == torch.float32
        assert labels.shape == (5, 2)
    for index in range(5):
        chain = chains.chain(index)
        parts = [gestures[sample][0] for sample in chain.samples]
        events, labels = raw[index]
        assert events == chain.events(parts)
        assert labels.tolist() == [gestures[sample][1] for sample in chain.samples]
        # Each half of the frames is a part on its own.
        assert int(chains[index][0][:3].sum()) == int((events.t < 3000).sum())
        assert int(chains[index][0].sum()) == len(events)
    first = [chains.chain(index) for index in range(5)]
    gestures.set_epoch(1)
    assert [chains.chain(index) for index in range(5)] != first
    gestures.set_epoch(0)
    assert [chains.chain(index) for index in range(5)] == first
    assert "parts=2" in repr(chains)


def test_wrong_chains_are_refused(gestures):
    with pytest.raises(OptionError, match="4 samples of different classes, but there are 3"):
        Chains(gestures, 5, parts=4)
    with pytest.raises(OptionError, match="spread=1"):
        Chains(gestures, 5, spread=1)
    with pytest.raises(OptionError, match="represent=None, found 'frames:n=2'"):
        Chains(EventDataset(gestures.store, represent="frames:n=2"), 5)
