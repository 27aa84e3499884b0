"""Samples kept in memory or on disk: the same ones, made once."""

import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from making import make_events  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.errors import OptionError  # noqa: E402
from eventkit.loader import EventDataset, Sequences, cache, collate, loader  # noqa: E402

SPECS = ["frames:n=4", "frames:duration=5000"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("cached")
    for number in range(8):
        folder = root / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        ek.write(folder / f"{number}.npz", make_events(200 + 90 * number, (8, 6), number))
    convert(root, out=root / "events.zarr", represent="events")
    convert(root, out=root / "frames.zarr", represent=SPECS[1])
    return root


def count_readings(dataset, monkeypatch):
    read = []
    inner = dataset.source._source
    original = type(inner).read

    def counted(self, index, *rest):
        read.append(index)
        return original(self, index, *rest)

    monkeypatch.setattr(type(inner), "read", counted)
    return read


def batches(dataset):
    found = list(loader(dataset, 3, shuffle=True, threads=2))
    return [[part.clone() for part in batch] for batch in found]


def equal(a, b):
    return all(
        torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
    )


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("where", ["ram", "disk"])
def test_every_sample_is_made_once(stores, spec, where, tmp_path, monkeypatch):
    options = {"represent": spec, "augment": ["flip", "shift"]}
    plain = EventDataset(stores / "events.zarr", **options)
    kept = "ram" if where == "ram" else tmp_path / "kept"
    dataset = EventDataset(stores / "events.zarr", cache=kept, **options)
    dataset.source = dataset.source._source  # without the augmentation around it
    plain.source = plain.source._source
    expected = batches(plain)
    read = count_readings(dataset, monkeypatch)
    for _ in range(3):
        assert equal(batches(dataset), expected)
    assert sorted(read) == list(range(8))


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_augmentations_come_after_what_is_kept(stores, where, tmp_path):
    options = {"represent": SPECS[0], "augment": ["flip", "shift"]}
    plain = EventDataset(stores / "events.zarr", **options)
    dataset = EventDataset(
        stores / "events.zarr", cache="ram" if where == "ram" else tmp_path, **options
    )
    one, other = (loader(d, 3, shuffle=True) for d in (dataset, plain))
    epochs = [list(one) for _ in range(2)]
    assert all(equal(a, list(other)) for a in epochs)
    assert not equal([[batch[0]] for batch in epochs[0]], [[batch[0]] for batch in epochs[1]])


def test_windows_and_workers_use_what_is_kept(stores):
    dataset = EventDataset(stores / "frames.zarr", cache="ram")
    plain = EventDataset(stores / "frames.zarr")
    for a, b in zip(*(Sequences(d, lanes=2, length=2) for d in (dataset, plain)), strict=True):
        assert torch.equal(a.frames, b.frames)
    options = {"batch_size": 4, "collate_fn": collate, "num_workers": 1}
    fork = list(DataLoader(dataset, multiprocessing_context="fork", **options))
    assert equal(fork, list(DataLoader(plain, batch_size=4, collate_fn=collate)))
    assert dataset.source._known.all()
    copy = pickle.loads(pickle.dumps(dataset))
    assert not copy.source._known.any()
    assert torch.equal(copy[3][0], plain[3][0])


def test_forked_workers_fill_the_memory_of_all(stores):
    dataset = EventDataset(stores / "frames.zarr", cache="ram")
    options = {"batch_size": 4, "collate_fn": collate, "num_workers": 1}
    list(DataLoader(dataset, multiprocessing_context="fork", **options))
    assert dataset.source._known.all()


def test_a_damaged_file_is_made_anew(stores, tmp_path):
    dataset = EventDataset(stores / "events.zarr", represent=SPECS[0], cache=tmp_path)
    expected = [frames for frames, _ in dataset]
    files = sorted(f for f in tmp_path.rglob("*") if f.is_file())
    assert len(files) == 8
    before = [file.read_bytes() for file in files]
    files[0].write_bytes(before[0][:-1])
    damaged = bytearray(before[3])
    damaged[30] ^= 1
    files[3].write_bytes(damaged)
    files[5].unlink()
    again = EventDataset(stores / "events.zarr", represent=SPECS[0], cache=tmp_path)
    assert all(torch.equal(a, b) for a, (b, _) in zip(expected, again, strict=True))
    assert [file.read_bytes() for file in files] == before
    other = EventDataset(stores / "events.zarr", represent="frames:n=5", cache=tmp_path)
    assert other[0][0].shape[0] == 5
    assert len([f for f in tmp_path.rglob("*") if f.is_file()]) == 9


def test_what_does_not_fit_is_said(stores, tmp_path, monkeypatch):
    events, frames = stores / "events.zarr", stores / "frames.zarr"
    with pytest.raises(OptionError, match="nothing has to be made"):
        EventDataset(frames, cache=tmp_path)
    for where in ("ram", tmp_path):
        with pytest.raises(OptionError, match=r"event_drop.* changes events in every epoch"):
            EventDataset(events, represent=SPECS[0], augment=["event_drop"], cache=where)
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match=r"cache='.*file': (Not a directory|File exists)"):
        EventDataset(events, represent=SPECS[0], cache=tmp_path / "file")
    assert cache.free_memory() > 1e6
    monkeypatch.setattr(cache, "free_memory", lambda: 1000)
    with pytest.raises(OptionError, match=r"needs 0\.0 GB for 8 samples, but 80% of the free"):
        EventDataset(frames, cache="ram")
    np.testing.assert_array_equal(EventDataset(frames).lengths > 0, True)


def test_other_recordings_of_the_same_sizes_do_not_meet_what_is_kept(tmp_path):
    """A plan knows sources by name and size; what is kept is of their contents."""
    for seed in (1, 2):
        folder = tmp_path / str(seed) / "raw" / "a"
        folder.mkdir(parents=True)
        ek.write(folder / "0.bin", make_events(200, (8, 6), seed))
        convert(folder.parent, out=tmp_path / str(seed) / "x.zarr", represent="events")
    first, second = (
        [
            EventDataset(tmp_path / str(seed) / "x.zarr", "all", represent="frames:n=2", cache=kept)
            for kept in (None, tmp_path / "kept")
        ]
        for seed in (1, 2)
    )
    assert first[0].plan == second[0].plan
    assert torch.equal(first[0][0][0], first[1][0][0])
    assert torch.equal(second[0][0][0], second[1][0][0])
