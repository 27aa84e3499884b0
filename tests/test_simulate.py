"""The simulator: the camera against hand-computed events, the gestures, the files it writes."""

import csv
from itertools import pairwise

import numpy as np
import pytest

import eventkit as ek
from eventkit import datasets, layouts
from eventkit.errors import OptionError, UnknownName
from eventkit.simulate import simulate
from eventkit.simulate.camera import Camera
from eventkit.simulate.dvsgesture import LIGHTS, ORDER, _watch
from eventkit.simulate.gestures import GESTURES, REST, other, perform
from eventkit.simulate.scene import Person

QUIET = {"threshold": 0.5, "mismatch": 0.0, "refractory_us": 0, "dark": 0.0}
HANGING = np.array([REST.centre])
SMALL = {"subjects": 2, "lights": ("led",), "seconds": 0.1}


def exposures(*logs, size=(1, 1)):
    """Frames of one brightness each, given as logarithms."""
    return np.exp(np.array(logs, np.float64))[:, None, None] * np.ones((1, *size[::-1]))


def noisy_frames(n=30, size=(7, 5), seed=3):
    rng = np.random.default_rng(seed)
    logs = np.cumsum(rng.normal(0, 0.4, (n, size[1], size[0])), 0)
    return np.exp(logs).astype(np.float32), 1000 + np.cumsum(rng.integers(50, 900, n))


# The camera


def test_a_static_scene_without_noise_gives_no_events():
    camera = Camera((8, 6), threshold=0.01, mismatch=0.003, cutoff_hz=100)
    frames = np.tile(np.random.default_rng(0).random((6, 8)), (20, 1, 1))
    assert len(camera.steps(frames, np.arange(20) * 1000)) == 0


def test_a_rise_of_five_halves_of_the_threshold_gives_two_events_at_their_instants():
    camera = Camera((1, 1), **QUIET)
    events = camera.steps(exposures(0, 1.25, 1.25, 1.6), [5000, 6000, 7000, 8000])
    # 0.5 is reached after 400 µs and 1.0 after 800; 1.5 in the last step, 0.25 of its 0.35 up.
    assert events.t.tolist() == [5400, 5800, 7714]
    assert events.p.tolist() == [1, 1, 1]


def test_a_fall_gives_off_events():
    events = Camera((1, 1), **QUIET).steps(exposures(0, -1.25), [0, 1000])
    assert events.t.tolist() == [400, 800]
    assert events.p.tolist() == [0, 0]


def test_events_carry_the_pixel_that_saw_the_change():
    camera = Camera((3, 2), **QUIET)
    frames = np.ones((2, 2, 3))
    frames[1, 1, 2], frames[1, 0, 1] = np.exp(0.8), np.exp(-0.7)
    events = camera.steps(frames, [0, 1000])
    assert events == ek.Events(t=[625, 714], x=[2, 1], y=[1, 0], p=[1, 0], size=(3, 2))


def test_changes_within_the_refractory_time_are_lost():
    camera = Camera((1, 1), **(QUIET | {"refractory_us": 300}))
    events = camera.steps(exposures(0, 5, 5, 5.6), [0, 1000, 2000, 3000])
    # 0.5 takes 100 µs: 100, then held until 400, 500, held until 800, 900, held until 1200.
    assert events.t.tolist() == [100, 500, 900, 2833]


def test_below_the_dark_current_the_answer_is_linear():
    camera = Camera((1, 1), **(QUIET | {"dark": 1.0, "threshold": 0.001}))
    events = camera.steps(np.array([0.0, 0.0105]).reshape(2, 1, 1), [0, 1000])
    assert len(events) == 10  # log(1.0105) = 0.01045, where a pure logarithm has no end


def test_each_pixel_leaks_at_its_rate_and_not_all_at_once():
    camera = Camera((20, 10), **QUIET, leak_hz=10)
    events = camera.steps(np.ones((101, 10, 20)), np.arange(101) * 10_000)
    assert (np.bincount(events.y * 20 + events.x, minlength=200) == 10).all()
    assert events.p.all()
    assert np.unique(events.t // 1000).size > 500  # of 1000 ms


def test_shot_noise_is_balanced_and_four_times_as_frequent_in_the_dark():
    counts = []
    for light in (0.0, 1.0):
        camera = Camera((100, 50), **QUIET, shot_hz=2, seed=1)
        events = camera.steps(np.full((101, 50, 100), light), np.arange(101) * 10_000)
        counts.append(len(events))
        assert abs(events.p.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(events))
    dark, bright = counts
    assert abs(dark - 10_000) < 4 * 100  # Poisson: the deviation is the root
    assert abs(bright - 2500) < 4 * 50


def test_hot_pixels_are_few_and_fast():
    camera = Camera((100, 100), **QUIET, hot_pixels=0.01)
    events = camera.steps(np.ones((101, 100, 100)), np.arange(101) * 10_000)
    rates = np.bincount(events.y.astype(int) * 100 + events.x, minlength=10_000)
    assert 50 < (rates > 0).sum() < 150
    assert 30 < rates[rates > 0].mean() < 80


def test_thresholds_differ_as_told():
    camera = Camera((100, 100), threshold=0.2, mismatch=0.02, refractory_us=100_000, dark=0)
    events = camera.steps(exposures(0, 1, size=(100, 100)), [0, 100_000])
    reached = events.t / 1e5  # a slope of 1, and one event per pixel
    assert len(events) == 10_000
    assert abs(reached.mean() - 0.2) < 0.001
    assert abs(reached.std() - 0.02) < 0.001


def test_a_slow_receptor_does_not_follow_flicker_and_is_slower_in_the_dark():
    t = np.arange(400) * 250
    flicker = np.exp(0.8 * np.sin(2 * np.pi * 100 * t / 1e6))[:, None, None]
    seen = [
        len(Camera((1, 1), **QUIET, cutoff_hz=cutoff).steps(light * flicker, t))
        for light, cutoff in ((1.0, None), (1.0, 50), (0.05, 50))
    ]
    assert seen[0] > seen[1] > seen[2] == 0


def test_camera_follows_its_twin_pixel_by_pixel():
    frames, t = noisy_frames()
    events = Camera((7, 5), **(QUIET | {"refractory_us": 700})).steps(frames, t)
    logs = np.log(frames.astype(np.float64))
    for y, x in np.ndindex(5, 7):
        here = (events.x == x) & (events.y == y)
        expected = twin(logs[:, y, x], t, threshold=0.5, refractory=700)
        assert np.abs(events.t[here] - [at for at, _ in expected]).max(initial=0) <= 1
        assert events.p[here].tolist() == [p for _, p in expected]
    assert len(events) > 200


def twin(logs, t, threshold, refractory):
    """One pixel, in plain Python: walk along the straight lines from crossing to crossing."""
    found, ready, memory = [], t[0], logs[0]
    for (t0, a), (t1, b) in pairwise(zip(t, logs, strict=True)):

        def level(at, t0=t0, t1=t1, a=a, b=b):
            return a + (b - a) * (at - t0) / (t1 - t0)

        while ready < t1:
            start = max(ready, t0)
            if ready > t0:
                memory = level(ready)
            goal = memory + threshold if b > level(start) else memory - threshold
            at = t0 + (goal - a) / (b - a) * (t1 - t0)
            if not start <= at <= t1:
                break
            found.append((int(at), int(b > a)))
            ready, memory = at + refractory, goal
            if ready > t1:
                break
    return found


def test_one_step_at_a_time_sees_what_a_batch_sees():
    frames, t = noisy_frames()
    options = {"leak_hz": 5, "shot_hz": 20, "hot_pixels": 0.1, "cutoff_hz": 300, "seed": 4}
    camera = Camera((7, 5), **options)
    stepped = ek.Events.concat([camera.step(f, int(at)) for f, at in zip(frames, t, strict=True)])
    assert stepped == Camera((7, 5), **options).steps(frames, t)
    assert stepped.backward_steps == stepped.out_of_bounds == 0


def test_no_pixel_speaks_within_its_refractory_time_even_with_noise():
    frames, t = noisy_frames(100)
    camera = Camera((7, 5), threshold=0.1, refractory_us=400, leak_hz=50, shot_hz=200)
    events = camera.steps(frames, t)
    pixel = events.y.astype(int) * 7 + events.x
    assert min(np.diff(events.t[pixel == i]).min() for i in range(35)) >= 400


def test_camera_leaves_its_frames_alone():
    frames, t = noisy_frames()
    before = frames.copy()
    Camera((7, 5), cutoff_hz=100).steps(frames, t)
    assert np.array_equal(frames, before)


def test_a_year_of_age_and_a_flash_do_not_stall_the_camera():
    camera = Camera((1, 1), **(QUIET | {"threshold": 0.001}))
    year = 365 * 24 * 3600 * 10**6
    events = camera.steps(np.array([1e-30, 1e-30, 1e30]).reshape(3, 1, 1), [0, year, year + 1])
    assert abs(len(events) - 138_155) < 10  # 60 decades
    assert set(events.t.tolist()) <= {year, year + 1}


def test_more_events_than_expected_find_room():
    camera = Camera((50, 50), **(QUIET | {"threshold": 0.01}))
    assert len(camera.steps(exposures(0, 1.005, size=(50, 50)), [0, 1000])) == 250_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "threshold is 0, expected 0.001 or more"),
        ({"mismatch": -1}, "mismatch is -1"),
        ({"refractory_us": float("nan")}, "refractory_us is nan"),
        ({"hot_pixels": 2}, "share within 0..1"),
        ({"cutoff_hz": 0}, "cutoff_hz is 0"),
    ],
)
def test_impossible_cameras_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Camera((4, 4), **options)


@pytest.mark.parametrize(
    ("frames", "t", "message"),
    [
        (np.ones((2, 5, 4)), [0, 1], r"shape \(2, 5, 4\).*expected \(N, 4, 5\)"),
        (np.ones((2, 4, 5)), [0], r"times of shape \(1,\)"),
        (np.ones((0, 4, 5)), [], "expected"),
        (np.full((1, 4, 5), -0.1), [0], "negative, infinite or NaN"),
        (np.full((1, 4, 5), np.nan), [0], "negative, infinite or NaN"),
        (np.full((1, 4, 5), np.inf), [0], "negative, infinite or NaN"),
        (np.ones((2, 4, 5)), [7, 7], "expected increasing integers"),
        (np.ones((1, 4, 5)), [0.5], "expected increasing integers"),
    ],
)
def test_frames_that_cannot_be_are_refused(frames, t, message):
    with pytest.raises(OptionError, match=message):
        Camera((5, 4)).steps(frames, np.array(t))


def test_time_does_not_go_back_between_steps():
    camera = Camera((5, 4))
    camera.step(np.ones((4, 5)), 1000)
    with pytest.raises(OptionError, match="after a frame at 1000"):
        camera.step(np.ones((4, 5)), 1000)


# The gestures


@pytest.mark.parametrize(("clockwise", "counter"), [(4, 5), (6, 7)])
def test_counter_clockwise_is_clockwise_in_opposite_order(clockwise, counter):
    phase = np.linspace(0, 2 * np.pi, 100)
    one, two = GESTURES[clockwise - 1], GESTURES[counter - 1]
    for a, b in ((one.right, two.right), (one.left, two.left)):
        np.testing.assert_allclose(a.at(phase), b.at(phase)[::-1], atol=1e-12)


def test_clockwise_turns_clockwise_in_the_picture():
    phase = np.linspace(0, 2 * np.pi, 100)
    for label, side, sign in ((4, -1, 1), (5, -1, -1), (6, 1, 1), (7, 1, -1)):
        path = GESTURES[label - 1].right if side < 0 else GESTURES[label - 1].left
        out, y = (path.at(phase) - path.centre).T
        x = side * out
        turn = x[:-1] * np.diff(y) - y[:-1] * np.diff(x)  # y points down
        assert (np.sign(turn) == sign).all()


def test_the_right_hand_is_at_the_left_of_the_picture():
    rng = np.random.default_rng(0)
    person = Person.drawn(rng)
    waving = np.stack([GESTURES[1].right.at(np.zeros(1)), HANGING], 1)
    right, left = person.shapes(waving, np.zeros(1))[0, [6, 9], :2]
    assert right[0] < person.midline < left[0]
    assert right[1] < person.shoulders < left[1]


def test_a_performance_has_all_gestures_apart_in_order():
    rng = np.random.default_rng(1)
    hands, trials = perform(other(rng), 1.0, 0.5, 0.01, rng)
    assert tuple(trial.label for trial in trials) == ORDER
    assert sorted(set(ORDER)) == list(range(1, 12))
    assert all(a.stop < b.start for a, b in pairwise(trials))
    assert trials[0].start > 0
    assert trials[-1].stop < len(hands)
    assert np.abs(np.diff(hands, axis=0)).max() < 0.5  # hands move, they do not jump


def test_direction_is_in_time_and_not_in_the_sum():
    """Clockwise and counter-clockwise: the same picture in sum, other pictures on the way."""
    person = Person.drawn(np.random.default_rng(2))._replace(sway=(0, 0, 0))
    phase = np.linspace(0, 2 * np.pi, 400)
    circle = np.stack([GESTURES[3].right.at(phase), np.repeat(HANGING, 400, 0)], 1)
    movies = []
    for hands in (circle, circle[::-1]):
        t = np.arange(400) * 2000
        chunks = _watch(person, LIGHTS["lab"], hands, t, np.random.default_rng(5))
        frames = ek.frames(ek.Events.concat(chunks), n=8, by="time").astype(float)
        movies.append(frames.reshape(8, 2, 32, 4, 32, 4).sum((3, 5)))
    one, two = movies
    apart = np.abs(one - two).sum() / (one + two).sum()
    in_sum = np.abs(one.sum(0) - two.sum(0)).sum() / (one + two).sum()
    assert apart > 0.5
    assert in_sum < 0.1


# The files


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "dvsgesture"
    return root, simulate("dvsgesture", root, **SMALL)


def contents(root):
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_files_have_the_layout_of_the_original(stand_in):
    root, summary = stand_in
    recordings = {"user01_led.aedat", "user02_led.aedat"}
    tables = {name.replace(".aedat", "_labels.csv") for name in recordings}
    lists = {"trials_to_train.txt", "trials_to_test.txt"}
    assert set(contents(root)) == recordings | tables | lists | {"README.txt"}
    assert (root / "trials_to_train.txt").read_text() == "user01_led.aedat\n"
    assert (root / "trials_to_test.txt").read_text() == "user02_led.aedat\n"
    assert summary["samples"] == {"train": 12, "test": 12}
    assert (summary["recordings"], summary["files"]) == (2, 7)
    assert summary["bytes"] == sum(map(len, contents(root).values()))
    found = layouts.listing(datasets.load("dvsgesture"), root)
    assert [sample.label for sample in found.samples if sample.split == "test"] == [
        label - 1 for label in ORDER
    ]


def test_the_folder_says_that_it_is_no_dataset(stand_in):
    text = (stand_in[0] / "README.txt").read_text()
    assert text.startswith("Simulated by eventkit: this is NOT the dataset DVS128 Gesture.")
    assert "seed 0, 2 subjects, 0.1 s a gesture, led" in text


def test_recordings_are_sound_and_every_window_has_events(stand_in):
    root, summary = stand_in
    total = 0
    for stem in ("user01_led", "user02_led"):
        events = ek.read(root / f"{stem}.aedat")
        total += len(events)
        assert events.size == (128, 128)
        assert events.backward_steps == events.out_of_bounds == 0
        assert events.t[0] > 1_000_000
        assert 0.4 < events.p.mean() < 0.6
        with (root / f"{stem}_labels.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == ["class", "startTime_usec", "endTime_usec"]
        for row in rows:
            window = events.between(int(row["startTime_usec"]), int(row["endTime_usec"]))
            assert len(window) > 500
        assert events.t[-1] > int(rows[-1]["endTime_usec"])
    assert total == summary["events"]


def test_same_seed_same_bytes_whatever_the_workers(stand_in, tmp_path):
    simulate("dvsgesture", tmp_path, **SMALL, workers=1)
    assert contents(tmp_path) == contents(stand_in[0])


def test_another_seed_gives_other_recordings(stand_in, tmp_path):
    simulate("dvsgesture", tmp_path, **SMALL, seed=1)
    ours, others = contents(stand_in[0]), contents(tmp_path)
    assert all(ours[name] != others[name] for name in ours if name.startswith("user"))


def test_a_recording_does_not_depend_on_what_is_beside_it(stand_in, tmp_path):
    done = []
    more = SMALL | {"subjects": 3, "lights": ("natural", "led")}
    simulate("dvsgesture", tmp_path, **more, progress=lambda *step: done.append(step))
    assert done == [(n, 6) for n in range(1, 7)]
    name = "user01_led.aedat"
    assert (tmp_path / name).read_bytes() == (stand_in[0] / name).read_bytes()
    people = {(tmp_path / f"user0{n}_led.aedat").read_bytes() for n in (1, 2, 3)}
    assert len(people) == 3
    assert (tmp_path / "user01_natural.aedat").read_bytes() not in people


def test_it_writes_over_its_own_files_and_no_others(stand_in, tmp_path):
    simulate("dvsgesture", stand_in[0], **SMALL)
    (tmp_path / "user01_led.aedat").write_bytes(b"real")
    with pytest.raises(OptionError, match="is not empty and does not contain an earlier"):
        simulate("dvsgesture", tmp_path, **SMALL)
    with pytest.raises(OptionError, match="is a file"):
        simulate("dvsgesture", tmp_path / "user01_led.aedat", **SMALL)
    assert contents(tmp_path) == {"user01_led.aedat": b"real"}


def test_an_interrupted_run_leaves_no_half_file_and_no_lists_and_can_be_repeated(tmp_path):
    def stop(*step):
        raise KeyboardInterrupt

    simulate("dvsgesture", tmp_path, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        simulate("dvsgesture", tmp_path, **SMALL, workers=1, progress=stop)
    names = set(contents(tmp_path))
    assert not {name for name in names if name.endswith(".part") or name.startswith("trials")}
    simulate("dvsgesture", tmp_path, **SMALL)


def test_unknown_names_are_met_with_the_near_one():
    with pytest.raises(UnknownName, match="Did you mean 'dvsgesture'"):
        simulate("dvsgestures", "unused")
    with pytest.raises(UnknownName, match=r"no light 'natura'\. Did you mean 'natural'"):
        simulate("dvsgesture", "unused", lights=("natura",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subjects": 1}, "subjects is 1, expected 2 or more"),
        ({"seed": -1}, "seed is -1"),
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"workers": 0}, "workers is 0"),
        ({"lights": ()}, "distinct names"),
        ({"lights": ("led", "led")}, "distinct names"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_written(options, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        simulate("dvsgesture", tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
