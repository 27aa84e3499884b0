"""Augmentations: laws over the registry, examples by hand, and their place in EventDataset."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_events

from eventkit import Events
from eventkit.augment import AUGMENTATIONS, Augment
from eventkit.augment._warp import Move, Roll
from eventkit.augment.geometry import IDENTITY
from eventkit.errors import OptionError, UnknownName

NEEDED = {
    "temporal_delete": ":keep=3",
    "random_crop": ":width=20,height=15",
}  # options without a default
EVENTS = [name for name, entry in AUGMENTATIONS.items() if entry.on == "events"]
SPACE = [name for name, entry in AUGMENTATIONS.items() if entry.on == "space"]
FRAMES = [name for name, entry in AUGMENTATIONS.items() if entry.on in ("space", "frames")]
# What treats the frames of a sample differently, or each counted event.
NOT_SHARED = {"temporal_delete", "frame_drop"}


def move(frames, *how):
    Move(*how).frames(frames)
    return frames


def make(name, seed=0):
    return Augment([name + NEEDED.get(name, "")], seed=seed)


def make_frames(dtype=np.uint16, shape=(5, 2, 12, 17), seed=0):
    return np.random.default_rng(seed).poisson(2.0, shape).astype(dtype)


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("n", [0, 1, 500])
def test_events_stay_events_and_the_given_ones_as_they_are(name, n):
    events = make_events(n)
    before = events.copy()
    augment = make(name)
    for sample in range(8):
        found = augment.events(events, augment.draw(0, sample))
        assert events == before
        assert found.size == augment.size(events.size)
        assert not found.out_of_bounds
        assert not found.backward_steps
        assert set(found.p.tolist()) <= {0, 1}
        assert [getattr(found, c).dtype for c in "txyp"] == [
            np.int64,
            np.uint16,
            np.uint16,
            np.uint8,
        ]
        if len(found):
            assert found.t[0] >= events.t[0]
            assert found.t[-1] <= events.t[-1]


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_frames_change_in_their_own_memory_and_type(name, dtype):
    augment = make(name)
    for sample in range(8):
        frames = make_frames(dtype)
        found = augment.frames(frames, augment.draw(0, sample))
        assert np.shares_memory(found, frames)
        assert found.dtype == dtype
        assert found.shape == (augment.length(5), 2, 12, 17)


@pytest.mark.parametrize("name", sorted(set(FRAMES) - NOT_SHARED))
def test_geometry_is_drawn_once_for_all_frames(name):
    augment = make(name)
    for sample in range(16):
        frames = np.repeat(make_frames(shape=(1, 1, 12, 17)), 6, axis=0).repeat(2, axis=1)
        found = augment.frames(frames, augment.draw(0, sample))
        assert (found == found[0, 0]).all()


@pytest.mark.parametrize("name", [*EVENTS, *FRAMES])
def test_draws_depend_on_seed_epoch_and_sample_only(name):
    def drawn(seed, epoch, sample):
        augment = make(name, seed)
        draw = augment.draw(epoch, sample)
        if name in EVENTS:
            return augment.events(make_events(500), draw).structured().tobytes()
        return augment.frames(make_frames(), draw).tobytes()

    keys = [(seed, epoch, sample) for seed in range(3) for epoch in range(3) for sample in range(3)]
    found = {key: drawn(*key) for key in keys}
    assert found == {key: drawn(*key) for key in reversed(keys)}
    assert len(set(found.values())) > 1


@given(st.integers(0, 400), st.floats(0, 1), st.integers(0, 2**64 - 1))
def test_random_drop_drops_exactly_so_many(n, ratio, seed):
    events = make_events(n)
    augment = Augment([f"event_drop:by=random,ratio={ratio}"], seed=seed)
    found = augment.events(events, augment.draw(0, 0))
    assert len(found) == n - int(n * ratio)
    rows = iter(events.structured().tolist())
    assert all(row in rows for row in found.structured().tolist())  # in order, none twice


def test_drop_by_area_drops_one_box_and_by_time_one_window():
    events = make_events(5000, step=9)
    rows = set(events.structured().tolist())
    for sample in range(10):
        augment = Augment(["event_drop:by=area,ratio=0.25"])
        kept = augment.events(events, augment.draw(0, sample))
        gone = np.array(sorted(rows - set(kept.structured().tolist())))
        x, y = gone[:, 1], gone[:, 2]
        assert x.max() - x.min() < 0.25 * 34 + 1
        assert y.max() - y.min() < 0.25 * 34 + 1
        inside = (kept.x >= x.min()) & (kept.x <= x.max())
        assert not (inside & (kept.y >= y.min()) & (kept.y <= y.max())).any()
        augment = Augment(["event_drop:by=time,ratio=0.3"])
        kept = augment.events(events, augment.draw(0, sample))
        t = np.setdiff1d(events.t, kept.t)
        assert t.max() - t.min() <= 0.3 * (events.t[-1] - events.t[0])
        assert not ((kept.t > t.min()) & (kept.t < t.max())).any()
        assert len(kept) == pytest.approx(0.7 * len(events), rel=0.05)


def test_jitter_has_the_asked_for_spread():
    n = 20_000
    middle = Events(
        np.arange(n) * 100, np.full(n, 500), np.full(n, 500), np.zeros(n, int), (1000, 1000)
    )
    augment = Augment(["spatial_jitter:std=3"])
    found = augment.events(middle, augment.draw(0, 0))
    assert len(found) == n
    assert found.x.astype(float).std() == pytest.approx(3, rel=0.05)
    assert found.y.mean() == pytest.approx(500, abs=0.2)
    augment = Augment(["time_jitter:std=50"])
    two = Events([0, *[1000] * (n - 2), 2000], *[np.zeros(n, int)] * 2, np.arange(n) % 2, (3, 3))
    found = augment.events(two, augment.draw(0, 0))
    assert found.t[1:-1].std() == pytest.approx(50, rel=0.05)
    assert sorted(found.p.tolist()) == sorted(two.p.tolist())
    huge = Events([0, 2**60], [0, 1], [0, 1], [0, 1], (3, 3))
    assert augment.events(huge, augment.draw(0, 0)).t.tolist() == pytest.approx([0, 2**60], abs=500)


def test_flip_roll_and_shift_are_what_numpy_does():
    frames = make_frames()

    def changed(spec, sample=0):
        augment = Augment([spec])
        return augment.frames(frames.copy(), augment.draw(0, sample))

    np.testing.assert_array_equal(changed("flip:p=1"), frames[..., ::-1])
    np.testing.assert_array_equal(changed("flip:p=1,axis=vertical"), frames[..., ::-1, :])
    np.testing.assert_array_equal(changed("flip:p=0"), frames)
    rolled = {changed("roll:pixels=1", sample).tobytes() for sample in range(99)}
    expected = {np.roll(frames, (a, b), (2, 3)).tobytes() for a in (-1, 0, 1) for b in (-1, 0, 1)}
    assert rolled == expected
    moved = move(frames.copy(), IDENTITY, (2, -3))
    np.testing.assert_array_equal(moved[..., 2:, :-3], frames[..., :-2, 3:])
    assert not moved[..., :2, :].any()
    assert not moved[..., -3:].any()
    np.testing.assert_array_equal(changed("shift:share=0"), frames)


def test_turning_and_scaling_about_the_centre():
    frames = make_frames(shape=(2, 1, 9, 9))
    quarter = move(frames.copy(), np.array([[0.0, -1.0], [1.0, 0.0]]))
    np.testing.assert_array_equal(quarter, np.rot90(frames, -1, axes=(2, 3)))
    doubled = move(frames.copy(), IDENTITY / 2)
    assert (doubled[..., 4, 4] == frames[..., 4, 4]).all()
    assert (doubled[..., 6, 2] == frames[..., 5, 3]).all()
    for name in ("rotate:degrees=0", "scale:low=1,high=1", "resized_crop:low=1", "shear:share=0"):
        augment = Augment([name])
        np.testing.assert_array_equal(augment.frames(frames.copy(), augment.draw(0, 0)), frames)
    crop = Augment(["resized_crop:low=0.3,high=0.6"])
    ones = np.ones((1, 1, 30, 40), np.uint8)
    for sample in range(20):  # a crop never shows what is beyond the edge
        assert crop.frames(ones.copy(), crop.draw(0, sample)).all()


def test_cutout_zeroes_one_square():
    augment = Augment(["cutout:size=5"])
    for sample in range(20):
        gone = augment.frames(np.ones((2, 2, 30, 40), np.uint8), augment.draw(0, sample)) == 0
        rows, columns = np.flatnonzero(gone[0, 0].any(1)), np.flatnonzero(gone[0, 0].any(0))
        assert 1 <= len(rows) <= 5
        assert 1 <= len(columns) <= 5
        assert gone[0, 0].sum() == len(rows) * len(columns)


def test_temporal_delete_keeps_frames_in_order():
    frames = np.arange(10, dtype=np.uint8).repeat(6).reshape(10, 1, 2, 3)
    augment = Augment(["temporal_delete:keep=4"])
    seen = set()
    for sample in range(20):
        kept = augment.frames(frames.copy(), augment.draw(0, sample))
        numbers = kept[:, 0, 0, 0].tolist()
        assert numbers == sorted(set(numbers))
        assert (kept == kept[:, :, :1, :1]).all()
        seen |= set(numbers)
    assert seen == set(range(10))
    assert augment.length(10) == 4
    assert augment.length(3) == 3


def test_drop_on_frames_thins_counts():
    counts = np.full((10, 2, 20, 20), 7, np.uint16)
    augment = Augment(["frame_drop:by=random,ratio=0.3"])
    found = augment.frames(counts.copy(), augment.draw(0, 0))
    assert found.max() <= 7
    assert found.mean() == pytest.approx(7 * 0.7, rel=0.02)
    augment = Augment(["frame_drop:by=time,ratio=0.2"])
    empty = (augment.frames(counts.copy(), augment.draw(0, 0)) == 0).all((1, 2, 3))
    assert empty.sum() == 2
    assert np.diff(np.flatnonzero(empty)).tolist() == [1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("flip:p=2", "flip: p is 2.0, expected 0..1"),
        ("cutout:size=0", "cutout: size is 0, expected at least 1"),
        ("scale:low=2,high=1", "expected 0.01 <= low"),
        ("resized_crop:low=0", "resized_crop"),
        ("temporal_delete:keep=0", "keep is 0, expected at least 1"),
        ("frame_drop:ratio=1.5", "ratio is 1.5"),
        ("roll:pixels=-1", "pixels is -1"),
        ("nda:n=0", "n is 0"),
        ("event_drop:ratio=2", "ratio is 2.0"),
        ("time_jitter:std=-1", "std is -1"),
        ("event_noise:share=11", "share is 11.0"),
        ("rotate:degrees=nan", "degrees is 'nan'"),
    ],
)
def test_wrong_options_are_named_at_once(spec, message):
    with pytest.raises(OptionError, match=message):
        Augment([spec])


def test_wrong_specs_are_named():
    with pytest.raises(UnknownName, match="Did you mean 'rotate'"):
        Augment(["rotat"])
    with pytest.raises(OptionError, match="needs the option 'keep'"):
        Augment(["temporal_delete"])
    with pytest.raises(OptionError, match="expected a list"):
        Augment("flip")
    with pytest.raises(OptionError, match="contiguous"):
        Augment(["flip"]).frames(make_frames()[..., ::2], Augment([]).draw(0, 0))
    assert Augment(["nda", "event_drop:by=time"]).specs == [
        "event_drop:by=time",
        "nda:m=1,n=2,flip=true",
    ]


BOX = [(name, "f4") for name in "xywh"] + [("class_id", "u4")]
EXACT = ["flip", "flip:axis=vertical", "shift:share=0.4", "roll:pixels=9", "scale", "resized_crop"]


def around(frame):
    """The box around all pixels that are not zero: x, y and the ends; None without any."""
    rows, columns = np.flatnonzero(frame.any(1)), np.flatnonzero(frame.any(0))
    if not len(rows):
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def ends(box):
    return np.array([box["x"], box["y"], box["x"] + box["w"], box["y"] + box["h"]])


@pytest.mark.parametrize("spec", [*SPACE, *EXACT, "cutout:size=30", "rotate:degrees=180"])
def test_boxes_go_with_what_is_in_them(spec):
    rng, size = np.random.default_rng(3), (40, 30)
    augment = Augment([spec, "frame_drop:by=time"])  # which draws by the number of frames
    dropped = 0
    for sample in range(120):
        x, y = int(rng.integers(0, 34)), int(rng.integers(0, 24))
        w, h = int(rng.integers(5, 41 - x)), int(rng.integers(5, 31 - y))
        whole = np.zeros((int(rng.integers(1, 6)), 1, 30, 40), np.uint8)
        whole[..., y : y + h, x : x + w] = 1
        boxes = np.array([(x, y, w, h, 7)], BOX)
        before = boxes.copy()
        found = augment.boxes(boxes, augment.draw(2, sample), size=size)
        seen = around(augment.frames(whole, augment.draw(2, sample)).max((0, 1)))
        assert (boxes == before).all()  # the caller's stay as they are
        assert found.dtype == boxes.dtype
        dropped += not len(found)
        if not len(found) or seen is None:
            continue  # zeroed by frame_drop, cut out, or off the sensor
        assert found["class_id"].tolist() == [7]
        edges = ends(found[0])
        assert 0 <= edges[0] < edges[2] <= 40
        assert 0 <= edges[1] < edges[3] <= 30
        if spec.startswith(("roll", "nda")) and found["w"][0] * found["h"][0] < w * h:
            continue  # torn apart: the larger part, below
        assert (edges[:2] <= seen[:2] + 1).all()
        assert (edges[2:] >= seen[2:] - 1).all()
        if spec in EXACT:
            assert np.abs(edges - seen).max() <= (0 if spec in EXACT[:4] else 1.5)
    assert dropped < 100


def test_boxes_by_hand():
    def moved(spec, *box, size=(40, 30)):
        augment = Augment([spec])
        found = augment.boxes(np.array([(*box, 1)], BOX), augment.draw(0, 0), size=size)
        return [tuple(ends(one).tolist()) for one in found]

    assert moved("flip:p=1", 1.5, 2, 30, 10) == [(8.5, 2, 38.5, 12)]
    assert moved("flip:p=1,axis=vertical", 1.5, 2, 30, 10) == [(1.5, 18, 31.5, 28)]
    assert moved("flip:p=0", -5, 2, 30, 10) == [(-5, 2, 25, 12)]  # nothing is drawn: as it was
    assert moved("cutout:size=200", 1, 2, 3, 4) == []
    size, corner = (40, 30), np.array([(38, 0, 4, 3, 1)], BOX)
    assert [tuple(ends(b)) for b in Move(np.eye(2)).boxes(corner, size)] == [(38, 0, 40, 3)]
    assert not len(Move(np.eye(2), (0, 5)).boxes(corner, size))  # moved out of the sensor
    quarter = Move(np.array([[0.0, -1.0], [1.0, 0.0]]))
    square = np.array([(0, 0, 4, 2, 1)], BOX)
    pixels = np.zeros((1, 1, 30, 30), np.uint8)
    pixels[..., 0:2, 0:4] = 1
    quarter.frames(pixels)
    assert ends(quarter.boxes(square, (30, 30))[0]).tolist() == around(pixels[0, 0]).tolist()
    for right, columns in ((3, (1, 4)), (1, (0, 2)), (0, (38, 40)), (42, (0, 3))):
        found = Roll(0, right).boxes(np.array([(38, 0, 3, 3, 1)], BOX), size)
        assert ends(found[0])[[0, 2]].tolist() == list(columns)  # of a torn one the larger part


def test_geometry_depends_on_no_other_augmentation():
    alone = Augment(["flip", "rotate"])
    among = Augment(["frame_drop:by=time,ratio=0.9", "event_drop", "flip", "rotate"])
    boxes = np.array([(3, 4, 5, 6, 1)], BOX)
    for sample in range(20):
        for length in (1, 3, 10):
            draw = among.draw(0, sample)
            among.events(make_events(50 * length), draw)
            among.frames(make_frames(shape=(length, 1, 30, 40)), draw)
            again = among.draw(0, sample)
            found = among.boxes(boxes, again, size=(40, 30))
            assert (found == alone.boxes(boxes, alone.draw(0, sample), size=(40, 30))).all()
            assert draw.space.random() == again.space.random()
