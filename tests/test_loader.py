"""A store as a torch Dataset, in every kind of DataLoader."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from making import make_events  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.errors import OptionError  # noqa: E402
from eventkit.loader import EventDataset, collate  # noqa: E402


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    root = tmp_path_factory.mktemp("digits")
    for number in range(10):
        for split in ("Train", "Test"):
            folder = root / split / str(number)
            folder.mkdir(parents=True)
            ek.write(folder / "00001.bin", make_events(300 + 100 * number, seed=number))
    return root


@pytest.fixture(scope="module")
def fixed(digits):
    convert("nmnist", root=digits, out=digits / "fixed.zarr", represent="frames:n=5")
    return digits / "fixed.zarr"


@pytest.fixture(scope="module")
def ragged(digits):
    convert("nmnist", root=digits, out=digits / "ragged.zarr", represent="frames:duration=5000")
    return digits / "ragged.zarr"


def test_sample_is_frames_and_label(fixed):
    dataset = EventDataset(fixed, "test")
    frames, label = dataset[3]
    assert frames.dtype == torch.float32
    assert label == 3
    np.testing.assert_array_equal(frames.numpy(), ek.open(fixed)["test"].frames[3])
    assert len(dataset) == 10
    assert dataset.shape == (5, 2, 34, 34)
    assert dataset.labels.dtype == np.int64
    assert dataset[-1][1] == 9
    with pytest.raises(IndexError):
        dataset[10]


def test_dtype_none_is_as_stored(fixed):
    assert EventDataset(fixed, dtype=None)[0][0].dtype == torch.uint16
    with pytest.raises(OptionError, match="float33"):
        EventDataset(fixed, dtype="float33")


def batches(dataset, **options):
    options = {"batch_size": 4, "collate_fn": collate, **options}
    return list(DataLoader(dataset, **options))


@pytest.mark.parametrize("context", [None, "fork", "spawn", "forkserver"])
def test_every_kind_of_worker_gives_the_same_batches(context, fixed):
    dataset = EventDataset(fixed)
    dataset[0]  # the files are open before the workers start
    workers = {} if context is None else {"num_workers": 1, "multiprocessing_context": context}
    found = batches(dataset, **workers)
    expected = torch.from_numpy(ek.open(fixed)["train"].frames[:]).to(torch.float32)
    assert torch.equal(torch.cat([frames for frames, _ in found]), expected)
    assert torch.cat([labels for _, labels in found]).tolist() == list(range(10))


def test_torchs_own_collate_gives_the_same(fixed):
    ours, theirs = batches(EventDataset(fixed)), batches(EventDataset(fixed), collate_fn=None)
    for (a, b), (c, d) in zip(ours, theirs, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_time_first(fixed):
    frames, labels = batches(EventDataset(fixed, time_first=True))[0]
    assert frames.shape == (5, 4, 2, 34, 34)
    assert torch.equal(frames[:, 2], EventDataset(fixed)[2][0])
    assert labels.tolist() == [0, 1, 2, 3]
    with pytest.raises(OptionError, match="collate_fn"):
        batches(EventDataset(fixed, time_first=True), collate_fn=None)


def test_ragged_samples_are_padded_with_their_lengths(ragged):
    dataset = EventDataset(ragged)
    assert dataset.ragged
    frames, labels, lengths = batches(dataset, batch_size=10)[0]
    assert lengths.tolist() == ek.open(ragged)["train"].n_frames.tolist()
    assert len(set(lengths.tolist())) > 1
    for row in range(10):
        assert torch.equal(frames[row, : lengths[row]], dataset[row][0])
        assert not frames[row, lengths[row] :].any()
    assert labels.tolist() == list(range(10))
    first = EventDataset(ragged, time_first=True)
    assert batches(first, batch_size=10)[0][0].shape[:2] == (int(lengths.max()), 10)


def test_augmentations_depend_on_seed_epoch_and_sample(fixed):
    options = {"augment": ["flip", "shift:share=0.2"], "dtype": None}
    dataset = EventDataset(fixed, seed=1, **options)
    first = [dataset[i][0] for i in range(10)]
    assert all(torch.equal(dataset[i][0], first[i]) for i in reversed(range(10)))
    plain = EventDataset(fixed, dtype=None)
    assert not all(torch.equal(dataset[i][0], plain[i][0]) for i in range(10))
    dataset.set_epoch(1)
    assert dataset.epoch == 1
    assert not all(torch.equal(dataset[i][0], first[i]) for i in range(10))
    dataset.set_epoch(0)
    assert all(torch.equal(dataset[i][0], first[i]) for i in range(10))
    other = EventDataset(fixed, seed=2, **options)
    assert not all(torch.equal(other[i][0], first[i]) for i in range(10))


def test_augmentation_may_change_the_number_of_frames(fixed, ragged):
    dataset = EventDataset(fixed, augment=["temporal_delete:keep=3"])
    assert dataset.shape == (3, 2, 34, 34)
    assert batches(dataset)[0][0].shape == (4, 3, 2, 34, 34)
    short = EventDataset(ragged, augment=["temporal_delete:keep=3"])
    full = EventDataset(ragged).lengths
    assert short.lengths.tolist() == np.minimum(full, 3).tolist()
    with pytest.raises(OptionError, match="holds frames, which event_drop"):
        EventDataset(fixed, augment=["event_drop"])


def test_workers_that_outlive_an_epoch_see_the_next_one(fixed):
    dataset = EventDataset(fixed, augment=["flip", "shift:share=0.2"])
    loader = DataLoader(
        dataset, batch_size=4, num_workers=1, persistent_workers=True, collate_fn=collate
    )
    for epoch in range(2):
        dataset.set_epoch(epoch)
        for (found, _), (expected, _) in zip(loader, batches(dataset), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_concatenation_gives_batches_of_as_many_parts(fixed, ragged, workers):
    for paths, parts in (([fixed, fixed], 2), ([ragged, ragged], 3)):
        sets = [EventDataset(path) for path in paths]
        whole = torch.utils.data.ConcatDataset(sets)
        found = list(
            DataLoader(whole, batch_size=3, collate_fn=collate, num_workers=workers, shuffle=True)
        )
        assert {len(batch) for batch in found} == {parts}
        frames, labels, *lengths = collate([whole[i] for i in (0, 11)])
        assert len(lengths) == parts - 2
        if lengths:
            assert lengths[0].tolist() == [len(whole[i][0]) for i in (0, 11)]
        assert torch.equal(frames[1, : len(whole[11][0])], whole[11][0])
        assert labels.tolist() == [whole[0][1], whole[11][1]]
        always = [collate([whole[i]], lengths=True) for i in (0, 11)]
        assert {len(batch) for batch in always} == {3}


def test_a_concatenation_keeps_time_first(fixed, ragged):
    for path in (fixed, ragged):
        one = EventDataset(path, time_first=True)
        (whole,) = batches(torch.utils.data.ConcatDataset([one]), batch_size=10)
        for found, expected in zip(whole, batches(one, batch_size=10)[0], strict=True):
            assert torch.equal(found, expected)
        with_lengths = collate(one.__getitems__([1, 2]), lengths=True)
        expected = collate([one[1], one[2]], lengths=True)
        for a, b in zip(with_lengths, expected, strict=True):
            assert torch.equal(a, b)


def test_datasets_of_other_lengths_need_lengths_in_a_concatenation(fixed, ragged):
    with pytest.raises(OptionError, match="differ in their number of frames"):
        collate([EventDataset(fixed)[0], EventDataset(ragged)[0]])
    short = EventDataset(fixed, augment=["temporal_delete:keep=3"])
    whole = torch.utils.data.ConcatDataset([EventDataset(fixed), short])
    with pytest.raises(OptionError, match=r"partial\(collate, lengths=True\)"):
        collate([whole[0], whole[10]])
    assert collate([whole[0], whole[10]], lengths=True)[2].tolist() == [5, 3]
    frames, label = short[0]  # a sample stays a tuple
    assert collate([(frames, label), (frames[:2], label)])[2].tolist() == [3, 2]
