"""Own functions, transforms, and samples that are not frames: from a store, by every loader."""

import functools
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from making import make_events  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit import Events  # noqa: E402
from eventkit.augment import AUGMENTATIONS  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.errors import EventkitError, OptionError  # noqa: E402
from eventkit.loader import EventDataset, collate, loader  # noqa: E402
from eventkit.loader.mixer import apply  # noqa: E402

N = 9
BATCH = [name for name, entry in AUGMENTATIONS.items() if entry.on == "batch"]
pytestmark = pytest.mark.filterwarnings("ignore:.*no event")


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    root = tmp_path_factory.mktemp("recordings")
    for number in range(N):
        folder = root / "train" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        ek.write(folder / f"{number}.npz", make_events(min(number, 1) * 90 * number, seed=number))
    convert(root, out=root / "events.zarr", represent="events")
    convert(root, out=root / "frames.zarr", represent="frames:n=3")
    return root / "events.zarr"


def odd(events):
    return events[events.x % 2 == 1]


def odd_array(events):
    return events.structured()[events.x % 2 == 1]


def voxel(events):
    return ek.represent(events, "voxel:bins=3")


def rows(events):
    return np.stack([events.t, events.x], 1)


def graph(events):
    return {"nodes": len(events)}


def later(label):
    return label + 10


def word(label):
    return "abc"[label]


def thin(events, rng):
    keep = rng.random(len(events)) < 0.5
    keep[:1] = keep[-1:] = True  # so that the times of the sample stay
    return events[keep]


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one.to_dense(), other.to_dense())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def both(dataset, batch_size=4, **options):
    """All batches, which loader and DataLoader must agree on."""
    found = list(loader(dataset, batch_size, threads=2, **options))
    function = functools.partial(collate, **options) if options else collate
    other = list(DataLoader(dataset, batch_size, collate_fn=function))
    assert equal([list(one) for one in found], [list(one) for one in other])
    return found


def stored(events, index):
    return ek.open(events)["train"].events(index)


def test_without_a_representation_samples_are_events(events):
    dataset = EventDataset(events)
    found = [one for batch, _ in both(dataset) for one in batch]
    assert found == [stored(events, index) for index in range(N)]
    assert [label for _, labels in both(dataset) for label in labels.tolist()] == [
        dataset[index][1] for index in range(N)
    ]
    sample = dataset[5][0]
    assert Events.from_structured(sample.structured(), sample.size) == sample
    assert dataset.lengths.tolist() == [len(stored(events, index)) for index in range(N)]
    held = dataset[4][0]
    before = held.copy()
    list(loader(dataset, 3))
    assert held == before  # its memory is its own
    with pytest.raises(OptionError, match="time_first needs frames"):
        EventDataset(events, time_first=True)


@pytest.mark.parametrize("given", [odd, [odd], odd_array, ["crop:x=3", odd], "resize:width=17"])
@pytest.mark.parametrize("spec", ["frames:n=3", "frames:duration=4000", "voxel:bins=4"])
def test_transforms_come_before_representations(events, given, spec):
    dataset = EventDataset(events, represent=spec, transform=given, dtype=None)
    for index in range(1, N):
        expected = stored(events, index)
        for step in given if isinstance(given, list) else [given]:
            if isinstance(step, str):
                expected = ek.transform(expected, step)
            else:
                expected = odd(expected)
        np.testing.assert_array_equal(dataset[index][0].numpy(), ek.represent(expected, spec))
    both(dataset)
    raw = EventDataset(events, transform=given)
    whole = EventDataset(
        events, transform=given, represent=functools.partial(ek.represent, spec=spec)
    )
    sizes = {sample.size for batch, _ in both(raw) for sample in batch}
    assert sizes == {dataset.shape[:1:-1]}
    assert (whole[N - 1][0] == dataset[N - 1][0]).all()


def test_a_cropped_sensor_gives_smaller_frames_and_moves_boxes(events):
    dataset = EventDataset(
        events, represent="frames:n=2", augment=["random_crop:width=20,height=10", "flip"]
    )
    assert dataset.shape == (2, 2, 10, 20)
    both(dataset)
    box = np.array([(0, 0, 34, 34)], [(name, "f4") for name in "xywh"])
    assert dataset.boxes(3, box).tolist() == [(0, 0, 20, 10)]
    timed = np.array([(int(stored(events, 3).t[0]), 0, 0, 3, 3)], [("t", "i8"), *box.dtype.descr])
    reverse = EventDataset(events, represent="frames:n=2", augment=["time_reverse:p=1"])
    assert reverse.boxes(3, timed)["t"].tolist() == [stored(events, 3).t[-1]]


def test_a_function_represents(events):
    dataset = EventDataset(events, represent=voxel)
    made = EventDataset(events, represent="voxel:bins=3")
    for found, expected in zip(both(dataset), both(made), strict=True):
        assert equal(list(found), list(expected))
    flipped = EventDataset(events, represent=voxel, augment=["flip:p=1", thin], time_first=True)
    same = EventDataset(
        events, represent="voxel:bins=3", augment=["flip:p=1", thin], time_first=True
    )
    for found, expected in zip(both(flipped), both(same), strict=True):
        assert equal(list(found), list(expected))
    with pytest.raises(OptionError, match=r"lengths=True"):
        both(EventDataset(events, represent=rows))
    for data, labels, lengths in both(EventDataset(events, represent=rows), lengths=True):
        assert data.shape == (len(labels), lengths.max(), 2)
    listed = [one for batch, _ in both(EventDataset(events, represent=graph)) for one in batch]
    assert listed == [{"nodes": len(stored(events, index))} for index in range(N)]


def test_points(events):
    for data, _, lengths in both(EventDataset(events, represent="points")):
        assert data.dtype == torch.float32
        assert data.shape == (len(lengths), lengths.max(), 4)
    rows = EventDataset(events, represent="points", dtype=None)[6][0]
    given = stored(events, 6)
    assert rows.dtype == torch.int64
    assert rows.tolist() == [
        [t - int(given.t[0]), x, y, p] for t, x, y, p in given.structured().tolist()
    ]
    shares = EventDataset(events, represent="points:normalize=true")[6][0]
    assert shares.amin(0).tolist() == [0, 0, 0, 0]
    assert shares.amax(0).tolist() == [1, 1, 1, 1]
    flipped = EventDataset(events, represent="points", augment=["flip:p=1"], dtype=None)[6][0]
    assert (flipped[:, 1] == 33 - rows[:, 1]).all()
    with pytest.raises(OptionError, match="frame_drop works on frames"):
        EventDataset(events, represent="points", augment=["frame_drop"])


@pytest.mark.parametrize("time_first", [False, True])
def test_sparse_is_dense(events, time_first):
    options = {"augment": ["event_drop", "flip"], "time_first": time_first}
    sparse = EventDataset(events, represent="sparse_coo:of=[frames:n=4,by=time]", **options)
    dense = EventDataset(events, represent="frames:n=4,by=time", **options)
    for found, expected in zip(both(sparse), both(dense), strict=True):
        assert found[0].is_sparse
        assert equal(list(found), list(expected))
    with pytest.raises(OptionError, match="needs the option 'of'"):
        EventDataset(events, represent="sparse_coo")


def test_targets(events):
    dataset = EventDataset(events, represent="frames:n=2", target_transform=later)
    assert dataset[1][1] == int(dataset.labels[1]) + 10
    targets = torch.cat([labels for _, labels in both(dataset)])
    assert targets.tolist() == (dataset.labels + 10).tolist()
    names = EventDataset(events, target_transform=word)
    assert [name for _, labels in both(names) for name in labels] == [
        "abc"[label] for label in names.labels
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"represent": "frames:n=3"},
        {"represent": "frames:duration=3000", "time_first": True},
        {"represent": "voxel:bins=5", "augment": ["event_drop", "time_reverse", "drop_pixel"]},
        {"represent": "stacked_histogram:bins=3", "transform": ["resize:width=17", odd]},
        {"represent": "time_surface:n=2", "augment": ["time_skew"]},
    ],
    ids=lambda options: options["represent"],
)
def test_events_sent_to_the_device_give_the_same(events, options):
    dataset = EventDataset(events, **options)
    settings = {"shuffle": True, "seed": 3, "device": "cpu"}
    for epoch in range(2):
        sent = loader(dataset, 4, send="events", **settings)
        made = loader(dataset, 4, **settings)
        sent.set_epoch(epoch)
        made.set_epoch(epoch)
        for found, expected in zip(sent, made, strict=True):
            assert found[0].dtype == expected[0].dtype
            torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
            assert equal(list(found[1:]), list(expected[1:]))


def test_what_cannot_be_sent_is_refused(events):
    for options in ({}, {"represent": "frames:n=3", "augment": ["flip"]}, {"represent": voxel}):
        with pytest.raises(OptionError, match="send='events' needs an events store"):
            loader(EventDataset(events, **options), 4, send="events")
    with pytest.raises(OptionError, match="hats cannot be made"):
        loader(EventDataset(events, represent="hats"), 4, send="events")
    with pytest.raises(OptionError, match="send is 'it', expected"):
        loader(EventDataset(events, represent="frames:n=3"), 4, send="it")


@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("name", BATCH)
def test_batches_are_mixed_as_drawn(events, name, time_first):
    dataset = EventDataset(events, represent="frames:n=4", time_first=time_first)
    mixed = loader(dataset, 5, seed=8, mix=[name], threads=1)
    plain = list(loader(dataset, 5))
    found = list(mixed)
    again = list(loader(dataset, 5, seed=8, mix=[name], threads=3))
    assert equal([list(one) for one in found], [list(one) for one in again])
    for first, (frames, target), (whole, labels) in zip((0, 5), found, plain, strict=True):
        if time_first:
            frames, whole = frames.transpose(0, 1), whole.transpose(0, 1)
        samples = np.arange(first, first + len(labels))
        mix = mixed._mix.draw(0, samples, 34, 34)
        own = np.broadcast_to(mix.own((4, 34, 34)), (4, 34, 34))
        for i, j in enumerate(mix.partners):
            a, b = whole[i].numpy(), whole[j].numpy()
            expected = own[:, None] * a + (1 - own[:, None].astype(np.float32)) * b
            np.testing.assert_allclose(frames[i], expected, rtol=1e-6)
            share = own.mean()
            if name == "event_mix" and expected.sum():
                share = (own[:, None] * a).sum() / expected.sum()
            goal = np.zeros(3)
            goal[labels[i]] += share
            goal[labels[j]] += 1 - share
            np.testing.assert_allclose(target[i], goal, atol=1e-6)
    mixed.set_epoch(1)
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(mixed, found, strict=True))


def test_one_draw_mixes_a_second_stream(events):
    dataset = EventDataset(events, represent="frames:n=4")
    frames, _ = next(iter(loader(dataset, 5)))
    for name in BATCH:
        mix = loader(dataset, 5, mix=[name])._mix.draw(0, np.arange(5), 34, 34)
        assert pickle.loads(pickle.dumps(mix)) == mix
        twice, _ = apply(torch.cat([frames, frames], 2), mix)
        torch.testing.assert_close(twice[:, :, :2], apply(frames, mix)[0])


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (["flip"], "flip mixes no batches|flip does not mix batches"),
        ("mixup", "expected a list"),
        (["mixup:alpha=0"], "alpha is 0.0"),
        (["event_mix:components=0"], "components is 0"),
    ],
)
def test_wrong_mixes_are_named(events, mix, message):
    with pytest.raises(OptionError, match=message):
        loader(EventDataset(events, represent="frames:n=4"), 5, mix=mix)


def test_what_cannot_be_mixed_is_refused(events):
    with pytest.raises(OptionError, match="mix needs frames"):
        loader(EventDataset(events), 5, mix=["mixup"])
    labelled = EventDataset(events, represent="frames:n=2", target_transform=later)
    with pytest.raises(OptionError, match="leave target_transform out"):
        loader(labelled, 5, mix=["mixup"])
    with pytest.raises(OptionError, match=r"mixup mixes the samples of a batch: use loader"):
        EventDataset(events, represent="frames:n=2", augment=["mixup"])


OWN = [
    {"represent": None},
    {"represent": "points"},
    {"represent": "sparse_coo:of=[frames:n=2]"},
    {"represent": voxel, "transform": [odd, "crop:x=1"], "augment": [thin]},
    {"represent": "frames:n=2", "transform": odd, "target_transform": later},
]


@pytest.mark.parametrize(
    "context", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.slow)]
)
def test_workers_of_every_kind_send_what_is_read_here(events, context):
    sets = [EventDataset(events, **options) for options in OWN]
    joined = torch.utils.data.ConcatDataset(sets)
    settings = {"batch_size": None, "num_workers": 1, "multiprocessing_context": context}
    found = list(DataLoader(joined, **settings))
    expected = [joined[index] for index in range(len(joined))]
    assert equal([list(one) for one in found], [list(one) for one in expected])


def test_lambdas_are_refused_only_where_they_are_pickled(events):
    dataset = EventDataset(events, represent="frames:n=2", transform=lambda events: events[::2])
    assert len(list(loader(dataset, 4))) == 3
    with pytest.raises(OptionError, match=r"transform: .*<lambda> cannot be sent to worker pro"):
        pickle.dumps(dataset)


def smaller(events):
    return Events(events.t, events.x % 5, events.y % 5, events.p, (5, 5)) if len(events) else events


def early(events, rng):
    return Events(events.t - 5, events.x, events.y, events.p, events.size)


def test_wrong_functions_are_named(events, tmp_path):
    data = EventDataset(events, represent="frames:n=2", transform=smaller)
    with pytest.raises(OptionError, match=r"sample 4 of train: transform gives a sensor of 5x5"):
        data[4]
    data = EventDataset(events, represent="frames:n=2", augment=[early])
    with pytest.raises(OptionError, match=r"sample 4 of train: augment gives times from"):
        data[4]
    with pytest.raises(OptionError, match=r"graph returned dict, expected Events"):
        EventDataset(events, represent="frames:n=2", transform=graph)
    with pytest.raises(OptionError, match="transform is 3, expected text"):
        EventDataset(events, represent="frames:n=2", transform=[3])
    with pytest.raises(OptionError, match="is a function, which may change"):
        EventDataset(events, represent="frames:n=2", transform=odd, cache=tmp_path)
    kept = {"represent": "frames:n=2", "cache": tmp_path}
    for x in (3, 4):  # neither finds what the other kept
        transform = f"crop:x={x},width=20"
        kept_one = EventDataset(events, transform=transform, **kept)[4][0]
        assert equal(
            kept_one, EventDataset(events, represent="frames:n=2", transform=transform)[4][0]
        )
    frames = events.with_name("frames.zarr")
    for options in ({"transform": odd}, {"represent": voxel}, {"represent": "points"}):
        with pytest.raises(OptionError, match=r"holds frames, which (transform|represent)= cannot"):
            EventDataset(frames, **options)


def half(frames, rng):
    return frames / 2


def test_a_function_changes_frames_of_a_store(events):
    frames = events.with_name("frames.zarr")
    dataset, plain = EventDataset(frames, augment=[half], dtype=None), EventDataset(frames)
    assert (dataset[5][0] == plain[5][0] // 2).all()


def test_what_they_are_is_seen(events):
    dataset = EventDataset(
        events, represent="frames:n=3", transform=["crop:x=0", odd], augment=["flip"]
    )
    text = repr(dataset)
    for part in (
        "events.zarr, train: 9 samples",
        "3 classes",
        "3 x 2 x 34 x 34",
        "'crop:x=0",
        "odd",
        "flip:p",
    ):
        assert part in text
    text = repr(loader(dataset, 4, shuffle=True, seed=5))
    for part in ("3 batches of 4", "shuffled with seed 5", text.partition(":")[0]):
        assert part in text
    assert "represent=None" in repr(EventDataset(events))
    ragged = EventDataset(events, represent="frames:duration=3000")
    assert "up to" in repr(ragged)


@pytest.mark.parametrize("argument", ["transform", "augment", "target_transform", "represent"])
@pytest.mark.parametrize("wrong", [5, 3.5, [5], {"flip": 1}])
def test_what_is_neither_a_spec_nor_a_function_is_refused(argument, wrong, events):
    with pytest.raises((OptionError, KeyError), match=f"{argument} is |no transform|no augment"):
        EventDataset(events, **{"represent": "frames:n=2", argument: wrong})


@pytest.mark.parametrize("device", ["nowhere", "cuda:99", 99])
@pytest.mark.parametrize("send", ["frames", "events"])
def test_a_device_that_cannot_be_used_is_an_error_of_one_sentence(device, send, events):
    dataset = EventDataset(events, represent="frames:n=2")
    with pytest.raises(OptionError, match=r"device '.*' cannot be used: ") as error:
        loader(dataset, 2, device=device, send=send)
    assert "\n" not in str(error.value)


def test_a_split_in_place_of_a_store_is_an_error_that_says_so(events):
    with pytest.raises(EventkitError, match="EventsSplit, expected a path or an address"):
        EventDataset(ek.open(events)["train"])
