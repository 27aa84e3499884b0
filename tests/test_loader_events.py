"""Representations made of stored events while loading: those that convert would have made."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from making import make_events  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit import Events  # noqa: E402
from eventkit.augment import Augment  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.errors import OptionError  # noqa: E402
from eventkit.loader import EventDataset, Sequences, loader  # noqa: E402


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    root = tmp_path_factory.mktemp("recordings")
    for number in range(12):
        folder = root / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        events = make_events([0, 1, 900][min(number, 2)] + 70 * number, seed=number)
        ek.write(folder / f"{number}.npz", events)
    return root


@pytest.fixture(scope="module")
def events(recordings):
    convert(recordings, out=recordings / "events.zarr", represent="events")
    return recordings / "events.zarr"


@pytest.mark.parametrize(
    "spec",
    [
        "frames:n=5",
        "frames:n=4,by=time",
        "frames:duration=7000",
        "frames:n=3,like=spikingjelly",
        "voxel:bins=5",
    ],
)
def test_what_is_made_is_what_convert_makes(recordings, events, spec, tmp_path):
    convert(recordings, out=tmp_path / "frames.zarr", represent=spec)
    stored, made = EventDataset(tmp_path / "frames.zarr"), EventDataset(events, represent=spec)
    assert made.shape == stored.shape
    assert made.lengths.tolist() == stored.lengths.tolist()
    assert made.ragged == stored.ragged
    assert made.labels.tolist() == stored.labels.tolist()
    assert made.stored_dtype == stored.stored_dtype
    settings = {"shuffle": True, "seed": 1}
    for a, b in zip(loader(made, 5, **settings), loader(stored, 5, **settings), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("spec", ["frames:n=4", "frames:duration=7000", "voxel:bins=3"])
def test_augmented_events_are_represented(events, spec):
    specs = ["event_drop", "time_jitter", "flip"]
    dataset = EventDataset(events, represent=spec, augment=specs, seed=3, dtype=None)
    dataset.set_epoch(2)
    augment, changed = Augment(specs, seed=3), 0
    for index in range(2, 12):
        draw = augment.draw(2, index)
        given = ek.open(events)["train"].events(index)
        found = dataset[index][0].numpy()
        events_left = augment.events(given, draw)
        changed += len(events_left) < len(given)
        assert found.shape == ek.represent(given, spec).shape
        assert found.sum() == pytest.approx(len(events_left), rel=1e-5)
        if spec == "frames:n=4":
            expected = augment.frames(ek.represent(events_left, spec), draw)
            np.testing.assert_array_equal(found, expected)
    assert changed
    one, other = (loader(dataset, 4, shuffle=True, threads=n) for n in (1, 3))
    for a, b in zip(one, other, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_an_overflow_names_the_sample(tmp_path):
    folder = tmp_path / "raw" / "train" / "a"
    folder.mkdir(parents=True)
    n = 70_000
    ek.write(folder / "0.npz", Events(np.arange(n), *[np.zeros(n, int)] * 3, size=(4, 4)))
    convert(tmp_path / "raw", out=tmp_path / "x.zarr", represent="events")
    with pytest.raises(OptionError, match="sample 0 of train: frame 0 would count 70,000 OFF"):
        list(loader(EventDataset(tmp_path / "x.zarr", represent="frames:n=1"), 1))


def test_a_store_says_what_it_holds(recordings, events, tmp_path):
    with pytest.raises(OptionError, match=r'holds events: .* represent="frames:n=16"'):
        EventDataset(events).shape  # noqa: B018
    with pytest.raises(OptionError, match=r'holds events: .* represent="frames:n=16"'):
        Sequences(EventDataset(events), lanes=1, length=1)
    convert(recordings, out=tmp_path / "frames.zarr", represent="frames:n=5")
    assert EventDataset(tmp_path / "frames.zarr", represent="frames:n=5").shape[0] == 5
    with pytest.raises(OptionError, match=r"holds frames:n=5,.*, not frames:n=6"):
        EventDataset(tmp_path / "frames.zarr", represent="frames:n=6")
