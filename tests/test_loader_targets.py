"""Targets with samples, batches and sequences: of the right sample, moved as its events are."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from making import make_events  # noqa: E402
from test_targets import make, to  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit import OptionError  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.loader import EventDataset, Sequences, collate, loader  # noqa: E402
from eventkit.targets import KINDS  # noqa: E402

KEYS = {"boxes", "labels", "t", "tracks", "points", "point_labels", "point_t", "intervals"}
KEYS |= {"interval_labels", "text", "text_t"}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("targets")
    make(root / "raw")
    to(root / "events.zarr", root / "raw")
    to(root / "frames.zarr", root / "raw", represent="frames:duration=1000")
    to(root / "windows.zarr", root / "raw", represent="frames:n=1", every="1ms")
    return root


@pytest.mark.parametrize("name", ["events", "frames"])
def test_a_sample_has_a_dictionary_of_tensors(name, stores):
    represent = "frames:n=4" if name == "events" else None
    data = EventDataset(stores / f"{name}.zarr", represent=represent, targets=True)
    assert len(EventDataset(stores / f"{name}.zarr", represent=represent)[1]) == 2
    frames, label, found = data[1]
    rows, start = data.split.targets[1], int(data.split.targets.t0[1])
    assert label == -1
    assert frames.ndim == 4
    assert set(found) == KEYS
    assert found["boxes"].dtype == torch.float32
    boxes = np.asarray(found["boxes"])
    for column, values in enumerate(
        (
            rows["boxes"]["x"],
            rows["boxes"]["y"],
            rows["boxes"]["x"] + rows["boxes"]["w"],
            rows["boxes"]["y"] + rows["boxes"]["h"],
        )
    ):
        np.testing.assert_array_equal(boxes[:, column], values)
    for key, values in (
        ("labels", rows["boxes"]["class"]),
        ("t", rows["boxes"]["t"] - start),
        ("tracks", rows["boxes"]["track"]),
        ("point_labels", rows["points"]["class"]),
        ("point_t", rows["points"]["t"] - start),
        ("interval_labels", rows["intervals"]["class"]),
        ("text_t", rows["text"]["t"] - start),
    ):
        assert found[key].dtype == torch.int64
        np.testing.assert_array_equal(found[key], values)
    assert found["text"] == ["no", "hello, 1"]
    assert found["intervals"].tolist() == [
        [5000 - start, 9500 - start],
        [9500 - start, 12000 - start],
    ]
    assert found["points"].shape == (9, 2)


@pytest.mark.parametrize("represent", ["frames:n=4", "frames:duration=1000", None, "points"])
def test_batches_end_with_the_list_of_targets(represent, stores):
    data = EventDataset(stores / "events.zarr", represent=represent, targets=True)
    (ours,) = loader(data, 3)
    (theirs,) = torch.utils.data.DataLoader(data, batch_size=3, collate_fn=collate)
    ragged = represent in ("frames:duration=1000", "points")
    for batch in (ours, theirs):
        assert len(batch) == 3 + ragged
        assert [set(found) for found in batch[-1]] == [KEYS] * 3
        for i, found in enumerate(batch[-1]):
            alone = data.targets_of(i)
            for key in KEYS - {"text"}:
                assert torch.equal(found[key], alone[key])
    (masked,) = loader(data, 2, rank=0, world_size=2)
    assert masked[-1].dtype == torch.bool
    assert set(masked[-2][0]) == KEYS


def test_time_first_and_lengths_keep_them_last(stores):
    data = EventDataset(
        stores / "events.zarr", represent="frames:n=4", targets=True, time_first=True
    )
    from functools import partial

    loading = partial(collate, lengths=True)
    (batch,) = torch.utils.data.DataLoader(data, batch_size=3, collate_fn=loading)
    assert batch[0].shape[:2] == (4, 3)
    assert batch[2].tolist() == [4, 4, 4]
    assert set(batch[3][0]) == KEYS


class Half:
    """A user's transform, which says how targets move."""

    def __call__(self, events):
        return ek.transform(events, "crop:width=17")

    def targets(self, placed):
        return placed.moved((17, 34), lambda xy: xy)


SPECS = [
    [],
    ["flip"],
    ["crop:x=4,width=20", "transpose"],
    ["crop_time:start=2000,stop=6000", "align_time", "scale_time:factor=2"],
    ["downsample:factor=2"],
]


@pytest.mark.parametrize("transform", SPECS)
def test_transforms_while_loading_are_those_of_a_conversion(transform, stores, tmp_path):
    """Of a store of events, transformed when read; and of one that was made with the transforms."""
    converted = to(tmp_path / "s.zarr", stores / "raw", transform=transform)
    data = EventDataset(
        stores / "events.zarr", represent="frames:n=4", transform=transform, targets=True
    )
    other = EventDataset(converted, represent="frames:n=4", targets=True)
    for i in range(len(data)):
        assert torch.equal(data[i][0], other[i][0])
        for key, value in data[i][2].items():
            assert (
                value == other[i][2][key] if key == "text" else torch.equal(value, other[i][2][key])
            )


def test_an_own_transform_says_how_targets_move(stores):
    data = EventDataset(
        stores / "events.zarr", represent="frames:n=4", transform=Half(), targets=True
    )
    boxes = data.targets_of(0)["boxes"]
    assert data.shape[-1] == 17
    assert boxes[:, 2].max() <= 17
    silent = EventDataset(
        stores / "events.zarr", represent="frames:n=4", transform=Half().__call__, targets=True
    )
    with pytest.raises(OptionError, match="does not say how targets move"):
        silent.targets_of(0)


AUGMENT = ["flip:p=1", "roll:pixels=5", "random_crop:width=20,height=20", "time_reverse:p=1"]
AUGMENT += ["time_shift:share=0.2", "rotate:degrees=20"]


@pytest.mark.parametrize("spec", AUGMENT)
def test_points_on_events_stay_on_them(spec, tmp_path):
    """With a point at every event, what an augmentation leaves of both is at the same places."""
    events = make_events(200)
    (tmp_path / "raw/all/a").mkdir(parents=True)
    ek.write(tmp_path / "raw/all/a/0.dat", events)
    table = np.stack([events.t, events.x, events.y], 1)
    np.save(tmp_path / "raw/all/a/0.npy", table)
    (tmp_path / "raw/own.toml").write_text(
        'size = [34, 34]\n[layout]\nkind = "recordings"\npattern = "*/*/*.dat"\n'
        '[targets.points]\nfile = "{stem}.npy"\ncolumns = "t x y"\n'
    )
    convert(
        tmp_path / "raw/own.toml",
        root=tmp_path / "raw",
        out=tmp_path / "s.zarr",
        represent="events",
    )
    data = EventDataset(tmp_path / "s.zarr", "all", targets=True, augment=[spec])
    moved = 0
    for epoch in range(3):
        data.set_epoch(epoch)
        found, _, targets = data[0]
        start = int(data.split.targets.t0[0])
        xy = np.floor(np.asarray(targets["points"]) + 0.5).astype(int)
        places = zip((targets["point_t"] + start).tolist(), *xy.T.tolist(), strict=True)
        mine = sorted(zip(found.t.tolist(), found.x.tolist(), found.y.tolist(), strict=True))
        assert sorted(places) == mine
        moved += mine != sorted(zip(*(getattr(events, c).tolist() for c in "txy"), strict=True))
    assert moved


def test_intervals_and_text_follow_in_time_only(stores):
    data = EventDataset(
        stores / "events.zarr",
        represent=None,
        targets=True,
        augment=["flip:p=1", "time_reverse:p=1"],
    )
    plain = EventDataset(stores / "events.zarr", represent=None, targets=True)
    split, start = data.split, int(data.split.targets.t0[0])
    t0, t1 = (int(split.column(f"t_{end}")[0]) for end in ("start", "end"))
    found, before = data.targets_of(0), plain.targets_of(0)
    expected = [
        [t0 + t1 - min(stop + start - 1, t1) - start, t0 + t1 - max(t + start, t0) + 1 - start]
        for t, stop in before["intervals"].tolist()
    ][::-1]
    assert found["intervals"].tolist() == expected
    assert found["interval_labels"].tolist() == before["interval_labels"].tolist()[::-1]
    assert found["text"] == before["text"][::-1]


def test_frames_smaller_than_the_sensor_have_smaller_boxes(stores):
    spec = "stacked_histogram:bins=2,downsample=2"
    small = EventDataset(stores / "events.zarr", represent=spec, targets=True)
    whole = EventDataset(stores / "events.zarr", represent="frames:n=4", targets=True)
    assert small.shape[-2:] == (17, 17)
    cut = whole.targets_of(0)["boxes"].clamp(max=34)  # at the edge of the sensor
    assert torch.equal(small.targets_of(0)["boxes"] * 2, cut)
    with pytest.raises(OptionError, match="targets cannot follow flip"):
        EventDataset(stores / "events.zarr", represent=spec, targets=True, augment=["flip"])


def test_a_store_without_targets_says_so(tmp_path):
    (tmp_path / "raw/all/a").mkdir(parents=True)
    ek.write(tmp_path / "raw/all/a/0.dat", make_events(200))
    convert(tmp_path / "raw", out=tmp_path / "s.zarr", represent="frames:n=2")
    with pytest.raises(OptionError, match=r"holds no targets of all; .*\[targets.boxes\]"):
        EventDataset(tmp_path / "s.zarr", "all", targets=True)
    with pytest.raises(OptionError, match="make the dataset with targets=True"):
        EventDataset(tmp_path / "s.zarr", "all").targets_of(0)


def test_mixing_does_not_mix_targets(stores):
    data = EventDataset(stores / "events.zarr", represent="frames:n=4", targets=True)
    with pytest.raises(OptionError, match="mixes labels, but not targets"):
        loader(data, 2, mix=["mixup"])


def test_workers_give_the_same_targets(stores):
    data = EventDataset(
        stores / "events.zarr", represent="frames:n=4", targets=True, augment=["flip", "roll"]
    )
    here = [found for *_, found in (data[i] for i in range(len(data)))]
    batches = torch.utils.data.DataLoader(
        data, batch_size=1, collate_fn=collate, num_workers=2, multiprocessing_context="fork"
    )
    for batch, alone in zip(batches, here, strict=True):
        assert torch.equal(batch[-1][0]["boxes"], alone["boxes"])


def test_boxes_are_those_of_torchvision_where_it_is_installed(stores, monkeypatch):
    import sys
    from types import ModuleType

    class Boxes(torch.Tensor):
        def __new__(cls, data, *, format, canvas_size):
            made = data.as_subclass(cls)
            made.format, made.canvas_size = format, canvas_size
            return made

    fake = ModuleType("torchvision.tv_tensors")
    fake.BoundingBoxes = Boxes
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.tv_tensors", fake)
    data = EventDataset(
        stores / "events.zarr", represent="frames:n=4", transform="crop:width=20", targets=True
    )
    boxes = data.targets_of(0)["boxes"]
    assert isinstance(boxes, Boxes)
    assert (boxes.format, boxes.canvas_size) == ("XYXY", (34, 20))


# Sequences.


@pytest.mark.parametrize("name", ["frames", "events"])
def test_sequences_have_targets_at_the_frames_of_their_times(name, stores):
    represent = "frames:duration=1000" if name == "events" else None
    data = EventDataset(stores / f"{name}.zarr", represent=represent, targets=True)
    seen = 0
    for window in Sequences(data, lanes=2, length=3):
        found = iter(window.targets)
        for lane, (sample, first) in enumerate(zip(window.samples, window.first, strict=True)):
            for k in range(3):
                if not window.is_labeled[lane, k]:
                    continue
                frame, targets, sample = int(first) + k, next(found), int(sample)
                rows = data.split.targets[sample]["boxes"]
                begin = int(data.split.column("t_start")[sample])
                last = int(data.lengths[sample]) - 1
                mine = rows[((rows["t"] - begin) // 1000).clip(0, last) == frame]
                np.testing.assert_array_equal(targets["tracks"], mine["track"])
                seen += len(mine)
        assert next(found, None) is None
    assert seen == sum(data.split.targets.counts("boxes"))


@pytest.mark.parametrize("time_first", [False, True])
def test_windows_of_recordings_are_walked_through(time_first, stores):
    data = EventDataset(
        stores / "windows.zarr", targets=True, augment=["flip"], time_first=time_first
    )
    plain = EventDataset(stores / "windows.zarr", targets=True, time_first=time_first)
    source = data.split.column("source")
    sequences = Sequences(data, lanes=2, length=4, shuffle=True, seed=3, by="recording")
    frames, tracks = {}, {}
    for window in sequences:
        found = iter(window.targets)
        lanes = window.frames.transpose(0, 1) if time_first else window.frames
        for lane, (first, at) in enumerate(zip(window.samples, window.first, strict=True)):
            assert bool(window.keep_state[lane]) == bool(at > 0 and first >= 0)
            for k in range(4):
                if window.is_frame[lane, k]:
                    sample = int(first + at) + k
                    assert source[sample] == source[first]
                    frames[sample] = lanes[lane, k].clone()
                    if window.is_labeled[lane, k]:
                        tracks[sample] = next(found)
                else:
                    assert not lanes[lane, k].any()
    assert sorted(frames) == list(range(len(data)))
    flipped = set()
    for sample, frame in frames.items():
        as_it_is = plain[sample][0][0]
        mirrored = torch.equal(frame, as_it_is.flip(-1)) and not torch.equal(frame, as_it_is)
        assert mirrored or torch.equal(frame, as_it_is)
        own = plain.targets_of(sample)
        assert (sample in tracks) == any(
            len(own[key]) for key in ("boxes", "points", "intervals", "text")
        )
        if sample in tracks and len(own["boxes"]):
            left = tracks[sample]["boxes"][:, 0]
            turned = 34 - own["boxes"][:, 2]
            expected = turned if mirrored else own["boxes"][:, 0]
            np.testing.assert_array_equal(left, expected)
        if as_it_is.any() and not torch.equal(as_it_is, as_it_is.flip(-1)):
            flipped.add((int(source[sample]), mirrored))
    assert len(flipped) == 3  # each recording as a whole, or it would be there twice
    assert {mirrored for _, mirrored in flipped} == {True, False}


def test_what_sequences_cannot_place_is_refused(stores):
    data = EventDataset(stores / "events.zarr", represent="frames:n=4", targets=True)
    with pytest.raises(OptionError, match="does not say at which times its frames are"):
        next(iter(Sequences(data, lanes=1, length=2)))
    with pytest.raises(OptionError, match='by="recording" joins samples of a single frame'):
        Sequences(data, lanes=1, length=2, by="recording")
    with pytest.raises(OptionError, match="by is 'source', expected"):
        Sequences(data, lanes=1, length=2, by="source")


def test_every_kind_has_its_tensors():
    from eventkit.loader.targets import _MADE

    assert list(_MADE) == list(KINDS)
