"""Draw once, apply to several things: events, a second stream, boxes, points, frames, a record."""

import json
import pickle

import numpy as np
import pytest
from making import make_events
from test_augment import NEEDED

import eventkit as ek
from eventkit import Events
from eventkit.augment import AUGMENTATIONS, Augment
from eventkit.augment._change import Blank, Dead, Reverse, Stretch, Window
from eventkit.augment._warp import Cut, Mirror, Move, Roll
from eventkit.errors import OptionError

SIZE = (40, 30)
DRAWN = [name for name, entry in AUGMENTATIONS.items() if entry.draws]
SPACE = [name for name, entry in AUGMENTATIONS.items() if entry.on == "space"]
SINGLE = [name for name, entry in AUGMENTATIONS.items() if entry.on != "batch"]
POINT = np.dtype([("t", "i8"), ("x", "f8"), ("y", "f8"), ("number", "i4")])


def make(name, seed=0):
    return Augment([name + NEEDED.get(name, "")], seed=seed)


def as_points(events):
    points = np.zeros(len(events), POINT)
    points["t"], points["x"], points["y"] = events.t, events.x, events.y
    points["number"] = np.arange(len(events))
    return points


def rows(events):
    return sorted(zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), strict=True))


@pytest.mark.parametrize("name", DRAWN)
def test_a_second_stream_changes_as_the_first(name):
    events = make_events(2000, SIZE, seed=1)
    chosen = np.random.default_rng(2).random(len(events)) < 0.3
    augment = make(name)
    for sample in range(12):
        draw = augment.draw(1, sample)
        whole = set(rows(augment.events(events, draw)))
        part = rows(augment.events(events[chosen], draw))
        assert set(part) <= whole
        rest = rows(augment.events(events[~chosen], draw))
        assert whole == {*part, *rest}


@pytest.mark.parametrize("name", sorted({*DRAWN, *SPACE} - {"drop_pixel"}))  # hides no point
def test_points_go_where_their_events_go(name):
    events = make_events(500, SIZE, seed=3)
    augment = make(name)
    for sample in range(20):
        draw = augment.draw(0, sample)
        found = augment.warped(augment.events(events, draw), draw)
        points = augment.points(as_points(events), draw, size=SIZE)
        # Rounded as pixels are: halves go up.
        x, y = (np.floor(points[axis] + 0.5).astype(int).tolist() for axis in "xy")
        assert sorted(zip(points["t"].tolist(), x, y, strict=True)) == rows(found)
        again = augment.draw(0, sample)  # points alone, when the times are known
        times = (int(events.t[0]), int(events.t[-1]))
        fresh = augment.points(as_points(events), again, size=SIZE, times=times)
        assert fresh.tobytes() == points.tobytes()


@pytest.mark.parametrize("name", SPACE)
def test_events_move_as_frames_of_them(name):
    """Where no pixel is enlarged or lost, frames of moved events are moved frames."""
    events = make_events(300, SIZE, seed=4)
    augment, equal = make(name), 0
    for sample in range(20):
        draw = augment.draw(0, sample)
        moved = augment.frames(ek.represent(events, "frames:n=1"), draw)
        of_moved = np.zeros_like(moved)
        found = augment.warped(events, draw)
        np.add.at(of_moved, (0, found.p, found.y.astype(int), found.x.astype(int)), 1)
        equal += bool((moved == of_moved).all())
        # Everywhere else at least the places agree, to a pixel.
        rows, columns = (np.flatnonzero(moved.any((0, 1)).any(axis)) for axis in (1, 0))
        if len(found) and len(rows):
            assert abs(int(found.y.max()) - int(rows[-1])) <= 2
            assert abs(int(found.x.min()) - int(columns[0])) <= 2
    if name in ("flip", "roll", "shift", "cutout"):
        assert equal == 20


@pytest.mark.parametrize("name", SINGLE)
def test_what_was_drawn_is_recorded_and_replayed(name):
    augment, events = make(name), make_events(400, SIZE, seed=5)
    frames = ek.represent(events, "frames:n=5")
    for sample in range(6):
        draw = augment.draw(3, sample)
        first = augment.events(events, draw), augment.frames(frames.copy(), draw)
        replays = [
            draw,
            augment.replay(json.loads(json.dumps(augment.record(draw)))),
            pickle.loads(pickle.dumps(draw)),
        ]
        for replay in replays:
            assert augment.events(events, replay) == first[0]
            assert (augment.frames(frames.copy(), replay) == first[1]).all()
    with pytest.raises(OptionError, match="the record is of"):
        Augment([]).replay(augment.record(draw))


def test_a_wrong_record_is_refused():
    augment = Augment(["flip:p=1"])
    record = augment.record(augment.draw(0, 0))
    for drawn in ([{"change": "Nothing"}], [{"change": "Mirror"}], {"other": 1}, 3):
        with pytest.raises(OptionError, match="not a record"):
            augment.replay({**record, "drawn": {"0": drawn}})


def test_steps_depend_on_no_other_step():
    """What is drawn of a sample is the same whatever else changes it, and for boxes alone."""
    events = make_events(800, SIZE, seed=6)
    among = Augment(
        ["frame_drop", "event_drop:by=random,ratio=0", "time_jitter:std=0", "drop_area"]
    )
    alone = Augment(["drop_area"])
    for sample in range(5):
        found, expected = among.draw(0, sample), alone.draw(0, sample)
        assert among.events(events, found) == alone.events(events, expected)


def twin(change, events):
    """What a change does to events, one at a time."""
    out = []
    for t, x, y, polarity in events.structured().tolist():
        if isinstance(change, Reverse):
            t, polarity = change.t0 + change.t1 - t, polarity ^ change.swap
        elif isinstance(change, Stretch):
            t = change.t0 + round((t - change.t0) * change.factor) + change.shift
        elif isinstance(change, Cut):
            if change.columns[0] <= x < change.columns[1] and change.rows[0] <= y < change.rows[1]:
                continue
        elif isinstance(change, Window):
            x, y = x - change.left, y - change.top
            if not (0 <= x < change.width and 0 <= y < change.height):
                continue
        elif isinstance(change, Dead):
            if change.mask(events.size)[y, x]:
                continue
        elif isinstance(change, Mirror):
            x, y = (x, 29 - y) if change.vertical else (39 - x, y)
        elif isinstance(change, Roll):
            x, y = (x + change.right) % 40, (y + change.down) % 30
        elif isinstance(change, Move):  # whole shifts only
            x, y = x + change.offset[1], y + change.offset[0]
            if not (0 <= x < 40 and 0 <= y < 30):
                continue
        if hasattr(change, "t0") and not change.t0 <= t <= change.t1:
            continue
        out.append((t, x, y, polarity))
    return sorted(out)


CHANGES = [
    Reverse(0, 9000, True), Reverse(100, 5000, False), Stretch(0, 9000, 1.3, 0),
    Stretch(0, 9000, 0.5, 0), Stretch(200, 8000, 1.0, -700), Blank((3, 9), (0, 40)),
    Cut((0, 30), (5, 6)), Window(3, 4, 30, 20), Window(0, 0, 40, 30), Dead(0.2, 77), Dead(0, 1),
    Dead(1, 2), Mirror(True), Mirror(False), Roll(7, -9), Move(np.eye(2), (3, -5)),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("n", [0, 1, 300])
def test_a_change_is_its_twin(change, n):
    events = make_events(n, SIZE, seed=8)
    before = events.copy()
    found = change.events(events)
    assert events == before
    assert sorted(found.structured().tolist()) == twin(change, events)
    assert found.backward_steps == 0
    assert [getattr(found, name).dtype for name in "txyp"] == [np.int64, "u2", "u2", "u1"]


def test_boxes_with_times_and_windows_by_hand():
    box = np.dtype([("t", "i8"), ("x", "f4"), ("y", "f4"), ("w", "f4"), ("h", "f4")])
    boxes = np.array([(10, 2, 2, 4, 4), (90, 30, 20, 10, 10)], box)
    assert Reverse(0, 100).boxes(boxes, SIZE)["t"].tolist() == [90, 10]
    assert Stretch(0, 100, 2.0).boxes(boxes, SIZE)["t"].tolist() == [20]
    assert Stretch(0, 100, 1.0, -15).boxes(boxes, SIZE)["t"].tolist() == [75]
    found = Window(4, 4, 20, 20).boxes(boxes, SIZE)
    assert found[["x", "y", "w", "h"]].tolist() == [(0, 0, 2, 2)]
    assert Blank((0, 7), (0, 7)).boxes(boxes, SIZE)["t"].tolist() == [90]
    crop = Augment(["random_crop:width=20,height=15", "flip:p=1"])
    draw = crop.draw(0, 0)
    assert crop.events(make_events(9, SIZE), draw).size == (20, 15)
    left = draw.kept[0][0].boxes(boxes, SIZE)
    expected = Mirror(False).boxes(left, (20, 15))
    assert crop.boxes(boxes, draw, size=SIZE).tolist() == expected.tolist()
    assert crop.size(SIZE) == (20, 15)


def test_share_of_dead_pixels_and_reversal_twice():
    assert Dead(0.25, 3).mask((200, 200)).mean() == pytest.approx(0.25, abs=0.02)
    events = make_events(500, SIZE)
    change = Reverse(int(events.t[0]), int(events.t[-1]))
    assert rows(change.events(change.events(events))) == rows(events)
    late = Events(events.t + 2**59, events.x, events.y, events.p, SIZE)  # exact far from zero
    far = Stretch(2**59, 2**59 + 10**6, 1.0, 5).events(late)
    assert (far.t - late.t == 5).all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("time_reverse:p=2", "p is 2.0"),
        ("time_skew:low=2,high=1", "expected 0.01 <= low"),
        ("time_shift:share=-1", "share is -1.0"),
        ("time_shift:by=-5", "by is -5"),
        ("drop_pixel:share=1.5", "share is 1.5"),
        ("drop_area:ratio=2", "ratio is 2.0"),
        ("random_crop:width=0,height=3", "width is 0"),
        ("random_crop:width=3", "needs the option 'height'"),
    ],
)
def test_wrong_options_are_named_at_once(spec, message):
    with pytest.raises(OptionError, match=message):
        Augment([spec])


def test_a_crop_larger_than_the_sensor_is_refused():
    augment = Augment(["random_crop:width=50,height=20"])
    with pytest.raises(OptionError, match="50x20 is larger than the sensor of 40x30"):
        augment.size(SIZE)


def thin(events, rng):
    return events[rng.random(len(events)) < 0.5]


def as_array(events, rng):
    return events.structured()[::2]


def shade(frames, rng):
    return frames // 2


def test_functions_stand_for_specs():
    events = make_events(100, SIZE)
    augment = Augment([thin, "flip:p=1", as_array])
    own = [f"{__name__}:thin", f"{__name__}:as_array"]
    assert augment.specs == [*own, "flip:p=1.0,axis=horizontal"]
    again = pickle.loads(pickle.dumps(augment))
    for sample in range(3):
        found = augment.events(events, augment.draw(0, sample))
        assert again.events(events, again.draw(0, sample)) == found
        assert 10 < len(found) < 40
    frames = ek.represent(events, "frames:n=2")
    halves = Augment([shade], own="frames")
    assert (halves.frames(frames.copy(), halves.draw(0, 0)) == frames // 2).all()
    with pytest.raises(OptionError, match="augment is 3, expected text"):
        Augment([3])
    wrong = Augment([lambda events, rng: 3])
    with pytest.raises(OptionError, match=r"<lambda> returned int, expected Events or a struct"):
        wrong.events(events, wrong.draw(0, 0))
    wrong = Augment([lambda frames, rng: frames[0, :, 0, 0]], own="frames")
    with pytest.raises(OptionError, match=r"<lambda> returned \(2,\), expected an array of the sh"):
        wrong.frames(frames.copy(), wrong.draw(0, 0))
    with pytest.raises(OptionError, match="cannot be sent to worker processes"):
        pickle.dumps(Augment([lambda events, rng: events]))
