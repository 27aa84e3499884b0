"""The laws that hold for every transform, and what each of them does."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_events

import eventkit as ek
from eventkit import EventkitError, Events, OptionError
from eventkit.events import chunks
from eventkit.targets import KINDS, Placed
from eventkit.transforms import TRANSFORMS, begin, move_targets, parse
from eventkit.transforms.geometry import PixelMap, crop

LENS = "undistort:fx=20,fy=21,cx=16.5,cy=17,k1=-0.2,k2=0.03,p1=0.001,p2=-0.002"
NEEDS = {
    "mask": "mask:x=4,width=20",
    "resize": "resize:width=20",
    "rectify": "rectify:file=map.npy",
    "drop_pixels": "drop_pixels:file=hot.txt",
    "undistort": LENS,
}
FIXED_SIZE = (
    "crop",
    "centre_crop",
    "rectify",
    "undistort",
)  # which are for a sensor of 34x34 below
# Every transform with its defaults, and with options that drop some events.
SPECS = [
    *(NEEDS.get(name, name) for name in TRANSFORMS),
    "align_time:t0=1s",
    "crop:x=5,y=7,width=9,height=20",
    "crop_time:start=3000,stop=9000",
    "crop_time:stop=100",
    "crop_time:start=9000",
    "crop_count:start=100,stop=333",
    "centre_crop:width=9",
    "decimate:n=3,per=sensor",
    "decimate:n=2",
    "downsample:factor=3,per=2",
    "drop_polarity:polarity=on",
    "flicker:low=1,high=500,length=1",
    "flip:axis=both",
    "flip:axis=vertical",
    "hot_pixels:rate=200,duration=10ms",
    "knoise:support=2,duration=5ms",
    "limit_rate:rate=5000",
    "limit_rate:rate=20000,burst=1",
    "mask:x=3,y=-2,width=10,height=9,keep=true",
    "refractory:duration=20ms",
    "refractory:duration=20ms,rule=seen",
    "resize:width=7,height=50",
    "rotate90:turns=2",
    "rotate90:turns=-1",
    "scale_time:factor=0.3",
    "shift_time:by=-5ms",
    "stcf:duration=5ms,support=3",
    "stcf:duration=20ms,support=1,polarity=same",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the files that some of the specs name."""
    folder = tmp_path_factory.mktemp("calibration")
    np.save(folder / "map.npy", np.random.default_rng(0).uniform(-2, 36, (34, 34, 2)))
    (folder / "hot.txt").write_text("# x y\n3 4\n5,6  # hot\n\n0 0\n99 99\n")
    return folder


@pytest.fixture(autouse=True)
def _beside_the_files(files, monkeypatch):
    monkeypatch.chdir(files)


# Laws


@pytest.mark.parametrize("spec", SPECS)
def test_input_stays_as_it_was(spec, recording):
    before = recording.copy()
    ek.transform(recording, spec)
    assert recording == before


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("n_chunk", [1, 7, 1000])
@pytest.mark.parametrize("in_order", [True, False])
def test_chunks_of_any_length_give_the_same_events(spec, n_chunk, in_order, recording):
    if not in_order:
        recording = recording[np.random.default_rng(5).permutation(len(recording))]
    step = begin(*parse(spec))
    assert Events.concat(map(step, chunks(recording, n_chunk))) == ek.transform(recording, spec)


@pytest.mark.parametrize("spec", SPECS)
def test_first_sample_leaves_no_trace_in_the_second(spec, recording):
    other = make_events(500, seed=3)
    alone = ek.transform(recording, spec)
    ek.transform(other, spec)
    assert ek.transform(recording, spec) == alone


@pytest.mark.parametrize("spec", SPECS)
def test_no_events_stay_no_events_and_tell_the_size(spec, recording):
    nothing = ek.transform(Events.empty(recording.size), spec)
    assert len(nothing) == 0
    assert nothing.size == ek.transform(recording, spec).size


@pytest.mark.parametrize("spec", SPECS)
def test_result_has_the_types_of_events(spec, recording):
    out = ek.transform(recording, spec)
    assert out == Events(out.t, out.x, out.y, out.p, out.size)
    assert [getattr(out, name).dtype for name in "txyp"] == [
        getattr(recording, name).dtype for name in "txyp"
    ]


# Space


def test_crop_by_hand():
    events = Events(t=[0, 1, 2, 3], x=[0, 1, 2, 3], y=[0, 1, 1, 2], p=[1, 0, 1, 1], size=(4, 3))
    out = crop(events, x=1, y=1, width=2, height=1)
    assert out == Events(t=[1, 2], x=[0, 1], y=[0, 0], p=[0, 1], size=(2, 1))


def test_crop_reaches_to_the_edge_unless_told_otherwise():
    events = make_events(size=(20, 10))
    assert crop(events) == events
    assert crop(events, x=3, y=4).size == (17, 6)


@given(st.integers(0, 9), st.integers(0, 7), st.integers(1, 10), st.integers(1, 8))
def test_crop_is_a_mask_and_a_shift(x, y, width, height):
    events = make_events(200, size=(10, 8))
    width, height = min(width, 10 - x), min(height, 8 - y)
    out = crop(events, x=x, y=y, width=width, height=height)
    inside = (events.x >= x) & (events.x < x + width) & (events.y >= y) & (events.y < y + height)
    kept = events[inside]
    assert out == Events(kept.t, kept.x - x, kept.y - y, kept.p, (width, height))


def test_crop_drops_events_outside_the_sensor():
    events = Events(t=[0, 1, 2], x=[0, 4, 65535], y=[0, 0, 65535], p=[1, 1, 1], size=(4, 3))
    assert len(crop(events)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": -1}, "x=-1, y=0, width=5, height=3 is not a window, expected one within the sensor"),
        ({"width": 0}, "width=0, height=3 is not a window"),
        ({"height": -2}, "is not a window"),
        ({"x": 4}, "x=4, y=0, width=0, height=3 is not a window"),
        ({"x": 9}, "is not a window"),
        ({"x": 2, "width": 3}, "window reaches x=5, y=3, beyond the sensor of 4x3"),
        ({"y": 2, "height": 2}, "window reaches x=4, y=4, beyond the sensor of 4x3"),
    ],
)
def test_crop_beyond_the_sensor_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        crop(Events.empty((4, 3)), **options)


# Time


def times(spec, *t) -> list[int]:
    zeros = np.zeros(len(t), int)
    events = Events(t=np.array(t, np.int64), x=zeros, y=zeros, p=zeros, size=(1, 1))
    return ek.transform(events, spec).t.tolist()


def test_crop_time_is_half_open_and_counts_from_the_first_event():
    assert times("crop_time:start=10,stop=30", 100, 110, 120, 129, 130) == [110, 120, 129]
    assert times("crop_time:stop=30", -100, -80, -70) == [-100, -80]
    assert times("crop_time:start=20", -100, -80, -70) == [-80, -70]
    assert times("crop_time", 5, 9) == [5, 9]


def test_crop_time_of_unsorted_events_keeps_their_order():
    assert times("crop_time:start=-5,stop=5", 100, 97, 104, 94, 105, 99) == [100, 97, 104, 99]


def test_crop_time_with_far_limits_holds():
    far = 2**60
    assert times(f"crop_time:start=-{far},stop={far}", 0, far - 1, 2 * far) == [0, far - 1]
    with pytest.raises(OptionError, match="73,000 years"):
        times(f"crop_time:stop={2**90}", 0)


def test_crop_time_counts_from_what_the_step_before_leaves():
    events = Events(t=[0, 50, 60], x=[0, 3, 3], y=[0, 0, 0], p=[1, 1, 1], size=(4, 1))
    assert ek.transform(events, "crop:x=2", "crop_time:stop=10").t.tolist() == [50]
    assert ek.transform(events, "crop_time:stop=10", "crop:x=2").t.tolist() == []


@pytest.mark.parametrize("spec", ["crop_time:start=5,stop=5", "crop_time:start=6,stop=5"])
def test_crop_time_that_ends_before_it_begins_is_refused(spec):
    with pytest.raises(OptionError, match="stop=5 is not after start="):
        times(spec, 0)


# Specs


def test_transforms_are_applied_in_the_order_given():
    events = make_events(size=(20, 10))
    both = ek.transform(events, "crop:x=5,width=10", "crop:x=3,width=2,y=1")
    assert both == crop(crop(events, x=5, width=10), x=3, width=2, y=1)
    assert ek.transform(events) is events


def test_unknown_transform_and_option_suggest_the_near_one(recording):
    with pytest.raises(ek.UnknownName, match=r"no transform 'corp'\. Did you mean 'crop'\?"):
        ek.transform(recording, "corp:x=1")
    with pytest.raises(OptionError, match=r"crop has no option 'widht'\. Did you mean 'width'\?"):
        ek.transform(recording, "crop:widht=1")
    with pytest.raises(OptionError, match="stop is 'soon', expected a time such as 50ms"):
        ek.transform(recording, "crop_time:stop=soon")


# Every transform against its definition, event by event


def rows(events):
    columns = (events.t, events.x, events.y, events.p)
    return [tuple(int(value) for value in row) for row in zip(*columns, strict=True)]


def geometric(change):
    """The twin of a transform that moves each event by itself; change -> (x, y) and a new size."""

    def twin(events, **options):
        kept, size = [], None
        width, height = events.size
        for t, x, y, p in rows(events):
            (u, v), size = change(x, y, width, height, **options)
            if x < width and y < height and 0 <= u < size[0] and 0 <= v < size[1]:
                kept.append((t, u, v, p))
        return kept, size

    return twin


def _crop(u, v, w, h, x, y, width, height):
    width, height = width or w - x, height or h - y
    return (u - x, v - y), (width, height)


def _centre(x, y, w, h, width, height):
    width, height = width or w, height or h
    return (x - (w - width) // 2, y - (h - height) // 2), (width, height)


def _flip(x, y, w, h, axis):
    u = x if axis == "vertical" else w - 1 - x
    v = y if axis == "horizontal" else h - 1 - y
    return (u, v), (w, h)


def _rotate(x, y, w, h, turns):
    for _ in range(turns % 4):
        x, y, w, h = h - 1 - y, x, h, w
    return (x, y), (w, h)


def _resize(x, y, w, h, width, height):
    width, height = width or max(1, round(w * height / h)), height or max(1, round(h * width / w))
    return (x * width // w, y * height // h), (width, height)


def selecting(choose):
    """The twin of a transform that keeps some events; choose(rows, size) yields which."""

    def twin(events, **options):
        kept = choose(rows(events), events.size, **options)
        return [row for row, keep in zip(rows(events), kept, strict=True) if keep], events.size

    return twin


def _mask(events, size, x, y, width, height, keep):
    right = size[0] if width is None else x + width
    lower = size[1] if height is None else y + height
    return [(x <= u < right and y <= v < lower) == keep for _, u, v, _ in events]


def _crop_time(events, size, start, stop):
    low = -(10**30) if start is None else start
    high = 10**30 if stop is None else stop
    return [low <= t - events[0][0] < high for t, *_ in events]


def _crop_count(events, size, start, stop):
    return [start <= i and (stop is None or i < stop) for i in range(len(events))]


def _limit(events, size, rate, burst):
    most = max(1.0, rate / 1000) if burst is None else burst
    level, last = most, events[0][0]
    for t, *_ in events:
        level, last = min(most, level + max(t - last, 0) * rate / 1e6), max(last, t)
        yield level >= 1
        level -= level >= 1


def _decimate(events, size, n, per):
    counts = {}
    for _, x, y, _ in events:
        place = (x, y) if per == "pixel" else None
        counts[place] = counts.get(place, 0) + 1
        yield counts[place] % n == 0


def _near(events, size, duration, support, polarity="any"):
    last = {}
    for t, x, y, p in events:
        around = [(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        found = [last[place] for place in around if place in last]
        yield sum(t - s <= duration and (polarity == "any" or p == q) for s, q in found) >= support
        last[x, y] = t, p


def _knoise(events, size, duration, support):
    columns, lines = {}, {}
    for t, x, y, p in events:
        found = [columns.get(x + i) for i in (-1, 0, 1)]
        near = [e for e in found if e and abs(e[2] - y) <= 1]
        found = [lines.get(y + i) for i in (-1, 0, 1)]
        near += [e for e in found if e and abs(e[1] - x) <= 1]
        yield sum(t - s <= duration and p == q for s, _, _, q in near) >= support
        columns[x] = lines[y] = (t, x, y, p)


def _refractory(events, size, duration, rule):
    last = {}
    for t, x, y, _ in events:
        keep = (x, y) not in last or t - last[x, y] >= duration
        if keep or rule == "seen":
            last[x, y] = t
        yield keep


def _hot(events, size, rate, duration):
    begun, counts, hot = {}, {}, set()
    for t, x, y, _ in events:
        place = x, y
        if place not in begun or t - begun[place] >= duration:
            begun[place], counts[place] = t, 0
        counts[place] += 1
        if counts[place] > int(rate * duration / 1e6):
            hot.add(place)
        yield place not in hot


def _flicker(events, size, low, high, length):
    shortest, longest = int(1e6 / high), int(np.ceil(1e6 / low))
    last, rise, good = {}, {}, {}
    for t, x, y, p in events:
        place = x, y
        elapsed = t - rise.get(place, -(10**18))
        if elapsed > longest:
            good[place] = 0
        if p and not last.get(place, 1):
            good[place] = good.get(place, 0) + 1 if shortest <= elapsed <= longest else 0
            rise[place] = t
        last[place] = p
        yield good.get(place, 0) < length


def _downsample(events, factor, per):
    counts, kept = {}, []
    for t, x, y, p in rows(events):
        place = x // factor, y // factor
        counts[place] = counts.get(place, 0) + (1 if p else -1)
        if abs(counts[place]) >= (factor**2 if per is None else per):
            counts[place] = 0
            kept.append((t, *place, p))
    return kept, tuple(-(-side // factor) for side in events.size)


def each(change):
    def twin(events, **options):
        first = int(events.t[0]) if len(events) else 0
        return [change(*row, first, **options) for row in rows(events)], events.size

    return twin


def _rectify(x, y, w, h, file):
    return tuple(int(np.floor(value + 0.5)) for value in np.load(file)[y, x]), (w, h)


def _undistort(x, y, w, h, fx, fy, cx, cy, **k):
    """The pixel that the lens would have put where the event is, found by Newton's method."""
    wanted = np.array([(x - cx) / fx, (y - cy) / fy])

    def lens(q):
        u, v = q
        r = u * u + v * v
        radial = 1 + k["k1"] * r + k["k2"] * r**2 + k["k3"] * r**3
        return np.array(
            [
                u * radial + 2 * k["p1"] * u * v + k["p2"] * (r + 2 * u * u),
                v * radial + k["p1"] * (r + 2 * v * v) + 2 * k["p2"] * u * v,
            ]
        )

    q = wanted.copy()
    for _ in range(50):
        step = np.array([lens(q + e) - lens(q - e) for e in np.eye(2) * 1e-6]).T / 2e-6
        q = q - np.linalg.solve(step, lens(q) - wanted)
    place = np.floor(q * [fx, fy] + [cx, cy] + 0.5)
    return tuple(int(value) for value in place), (w, h)


def _drop_pixels(events, size, file):
    return [(x, y) not in {(3, 4), (5, 6), (0, 0)} for _, x, y, _ in events]


TWINS = {
    "drop_pixels": selecting(_drop_pixels),
    "rectify": geometric(_rectify),
    "undistort": geometric(functools.cache(_undistort)),
    "align_time": each(lambda t, x, y, p, first, t0: (t - first + t0, x, y, p)),
    "background_activity": selecting(lambda rows, size, duration: _near(rows, size, duration, 1)),
    "centre_crop": geometric(_centre),
    "crop": geometric(_crop),
    "crop_count": selecting(_crop_count),
    "crop_time": selecting(_crop_time),
    "decimate": selecting(_decimate),
    "downsample": _downsample,
    "drop_polarity": selecting(
        lambda rows, size, polarity: [r[3] == (polarity == "off") for r in rows]
    ),
    "flicker": selecting(_flicker),
    "flip": geometric(_flip),
    "hot_pixels": selecting(_hot),
    "knoise": selecting(_knoise),
    "limit_rate": selecting(_limit),
    "mask": selecting(_mask),
    "merge_polarity": each(lambda t, x, y, p, first: (t, x, y, 1)),
    "refractory": selecting(_refractory),
    "resize": geometric(_resize),
    "rotate90": geometric(_rotate),
    "scale_time": each(
        lambda t, x, y, p, first, factor: (int(first + (t - first) * factor // 1), x, y, p)
    ),
    "shift_time": each(lambda t, x, y, p, first, by: (t + by, x, y, p)),
    "stcf": selecting(_near),
    "swap_polarity": each(lambda t, x, y, p, first: (t, x, y, 1 - p)),
    "transpose": geometric(lambda x, y, w, h: ((y, x), (h, w))),
}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    ("size", "step"), [((34, 34), 50), ((6, 5), 900), ((1, 1), 50), ((70, 1), 50)]
)
def test_transform_is_its_definition(spec, size, step):
    name, options = parse(spec)
    events = make_events(600, size, seed=3, step=step)
    if name in FIXED_SIZE and size != (34, 34):
        return
    expected, new_size = TWINS[name](events, **options)
    out = ek.transform(events, spec)
    assert rows(out) == expected
    assert out.size == new_size


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_has_a_twin(name):
    assert name in TWINS, f"write one in {__file__}"


def test_some_specs_keep_some_and_drop_some(recording):
    """A filter that keeps all or nothing here would pass its twin for the wrong reason."""
    partly = [spec for spec in SPECS if 0 < len(ek.transform(recording, spec)) < len(recording)]
    names = {parse(spec)[0] for spec in partly}
    assert names >= {
        "background_activity", "crop", "crop_time", "crop_count", "decimate", "downsample",
        "drop_polarity", "hot_pixels", "knoise", "limit_rate", "mask", "refractory", "stcf",
    }  # fmt: skip


def test_flicker_drops_a_lamp_and_keeps_an_edge():
    lamp = np.arange(0, 10**6, 5_000)  # 100 Hz: ON and OFF in turn, 5 ms apart
    edge = np.arange(0, 10**6, 33_000)
    events = Events(
        t=np.r_[lamp, edge],
        x=np.r_[lamp * 0, edge * 0 + 1],
        y=np.zeros(len(lamp) + len(edge), int),
        p=np.r_[np.arange(len(lamp)) % 2, np.arange(len(edge)) % 2],
        size=(2, 1),
    ).sort()
    out = ek.transform(events, "flicker")
    assert (out.x == 1).sum() == len(edge)
    assert 0 < (out.x == 0).sum() < 20


GEOMETRIC = [spec for spec in SPECS if hasattr(TRANSFORMS[parse(spec)[0]], "pixel_map")]


@pytest.mark.parametrize("spec", GEOMETRIC)
def test_points_move_as_their_events(spec, recording):
    """The middle of a pixel lands in the pixel to which its event goes."""
    name, options = parse(spec)
    pixel_map = TRANSFORMS[name].pixel_map(recording.size, **options)
    assert isinstance(pixel_map, PixelMap)
    out = ek.transform(recording, spec)
    xy = np.stack([recording.x, recording.y], axis=-1) + 0.5
    moved = np.floor(pixel_map.points(xy))
    inside = ((moved >= 0) & (moved < out.size)).all(axis=1)
    assert inside.sum() == len(out)
    if name != "resize":  # there, the middle of a pixel and its corner may differ by a pixel
        assert np.array_equal(moved[inside], np.stack([out.x, out.y], axis=-1))
    else:
        assert np.abs(moved[inside] - np.stack([out.x, out.y], axis=-1)).max() <= 3


def test_turning_and_mirroring_twice_change_nothing(recording):
    oblong = make_events(size=(20, 11))
    for specs in (
        ["flip"] * 2,
        ["transpose"] * 2,
        ["rotate90"] * 4,
        ["rotate90", "rotate90:turns=3"],
    ):
        assert ek.transform(oblong, *specs) == oblong
    assert ek.transform(oblong, "flip:axis=both") == ek.transform(oblong, "rotate90:turns=2")
    assert ek.transform(recording, *["swap_polarity"] * 2) == recording


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resize", "needs width, height or both"),
        ("resize:width=0", "expected sides of 1 to 65,536"),
        ("mask", "needs a region"),
        ("centre_crop:width=35", "35x34 does not fit into the sensor of 34x34"),
        ("crop_count:start=5,stop=5", "expected 0 <= start < stop"),
        ("scale_time:factor=0", "factor is 0.0"),
        ("scale_time:factor=nan", "factor is .nan., expected a number"),
        ("limit_rate:rate=0", "rate is 0.0"),
        ("limit_rate:burst=0", "burst is 0"),
        ("decimate:n=0", "n is 0"),
        ("background_activity:duration=0", "duration is 0 µs"),
        ("stcf:support=9", "support is 9, expected 1 to 8"),
        ("knoise:support=7", "support is 7"),
        ("hot_pixels:rate=5,duration=1ms", "less than one event"),
        ("flicker:low=200", "expected 0.01 <= low < high"),
        ("downsample:factor=0", "factor is 0"),
        ("downsample:per=0", "per is 0"),
        (f"shift_time:by={2**62}", "73,000 years"),
    ],
)
def test_wrong_options_are_refused(spec, message, recording):
    with pytest.raises(OptionError, match=message):
        ek.transform(recording, spec)


@pytest.mark.parametrize("spec", SPECS)
def test_events_outside_the_sensor_index_nothing(spec):
    events = Events(t=[0, 1, 2], x=[0, 4, 65535], y=[0, 3, 65535], p=[1, 0, 1], size=(4, 3))
    if parse(spec)[0] in FIXED_SIZE:
        return
    assert len(ek.transform(events, spec)) <= 3


def test_far_times_hold_in_every_filter():
    events = Events([-(2**60), 0, 2**60], [0, 1, 1], [0, 0, 1], [1, 0, 1], (2, 2))
    for name in ("background_activity", "stcf", "knoise", "flicker", "hot_pixels", "refractory"):
        kept = len(ek.transform(events, name))
        assert kept == (3 if name in ("flicker", "hot_pixels", "refractory") else 0)


def test_undistort_of_a_lens_without_distortion_changes_nothing(recording):
    assert ek.transform(recording, "undistort:fx=30,fy=30,cx=17,cy=17") == recording


def test_rectify_reads_the_maps_of_dsec(tmp_path, recording):
    import h5py

    with h5py.File(tmp_path / "rectify_map.h5", "w") as file:
        file["rectify_map"] = np.load("map.npy").astype(np.float32)
    np.savez(tmp_path / "map.npz", places=np.load("map.npy"))
    for name in ("rectify_map.h5", "map.npz"):
        out = ek.transform(recording, "rectify", file=str(tmp_path / name))
        assert len(out) == len(ek.transform(recording, NEEDS["rectify"]))


def test_a_mask_of_pixels_drops_them(tmp_path, recording):
    mask = np.random.default_rng(1).random((34, 34)) < 0.5
    np.save(tmp_path / "mask.npy", mask)
    out = ek.transform(recording, "drop_pixels", file=str(tmp_path / "mask.npy"))
    assert out == recording[~mask[recording.y, recording.x]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"3 x", "a.txt: line 1: '3 x', expected 'x y'"),
        ("a.npy", b"not", "cannot be read as a NumPy array"),
        ("a.npy", np.zeros((2, 2)), "expected bool"),
        ("a.npy", np.zeros((2, 2), bool), r"the mask is \(H, W\) = \(2, 2\)"),
    ],
)
def test_wrong_files_of_pixels_are_refused(tmp_path, name, content, message, recording):
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(EventkitError, match=message):
        ek.transform(recording, "drop_pixels", file=str(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.h5", b"not", "cannot be read as HDF5"),
        ("a.npy", np.zeros((2, 2, 2)), "the map is for a sensor of 2x2"),
        ("a.npy", np.zeros((2, 2)), "expected numbers"),
    ],
)
def test_wrong_maps_are_refused(tmp_path, name, content, message, recording):
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(EventkitError, match=message):
        ek.transform(recording, "rectify", file=str(path))


def test_missing_files_and_lenses_without_length_are_refused(recording):
    with pytest.raises(FileNotFoundError):
        ek.transform(recording, "drop_pixels:file=/nowhere.txt")
    with pytest.raises(OptionError, match="expected focal lengths above 0"):
        ek.transform(recording, "undistort:fx=0,fy=1,cx=1,cy=1")


def test_sides_of_zero_and_regions_beyond_the_sensor(recording):
    with pytest.raises(OptionError, match="0x34 does not fit"):
        ek.transform(recording, "centre_crop:width=0")
    assert ek.transform(recording, "mask:x=40") == recording
    with pytest.raises(OptionError, match="width=0"):
        ek.transform(recording, "mask:width=0,x=1")


def test_a_damaged_npz_is_one_sentence(tmp_path, recording):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04garbage")
    with pytest.raises(EventkitError, match="cannot be read as a NumPy array"):
        ek.transform(recording, "rectify", file=str(tmp_path / "bad.npz"))
    (tmp_path / "far.txt").write_text(f"{10**30} 1\n")
    with pytest.raises(EventkitError, match="line 1"):
        ek.transform(recording, "drop_pixels", file=str(tmp_path / "far.txt"))


# Targets


def points_at(events):
    """A point at the place and time of every event."""
    rows = np.zeros(len(events), KINDS["points"])
    for name in "txy":
        rows[name] = getattr(events, name)
    return rows


@pytest.mark.parametrize("spec", SPECS)
def test_points_follow_the_events_at_their_places(spec):
    """What is left of the events is where and when points are that went the same way."""
    events = make_events(400)
    step, placed = begin(*parse(spec)), Placed({"points": points_at(events)}, events.size)
    found = Events.concat([step(part) for part in chunks(events, 150)])
    placed = move_targets(step, placed)
    assert placed.size == found.size
    rows = placed.rows["points"]
    xy = np.floor(np.stack([rows["x"], rows["y"]], -1) + 0.5).astype(int)
    there = {(t, *place) for t, place in zip(rows["t"].tolist(), xy.tolist(), strict=True)}
    near = [(0, 0)]
    if spec.startswith("resize"):  # the pixels of one event become a part of one, or several
        near = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    columns = (getattr(found, name).tolist() for name in "txy")
    for t, x, y in zip(*columns, strict=True):
        assert any((t, x + i, y + j) in there for i, j in near)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("crop:x=5,y=2,width=10,height=20", (0, 2, 7, 5, 50)),
        ("flip", (22, 4, 10, 5, 50)),
        ("flip:axis=vertical", (2, 25, 10, 5, 50)),
        ("rotate90", (25, 2, 5, 10, 50)),
        ("rotate90:turns=3", (4, 22, 5, 10, 50)),
        ("transpose", (4, 2, 5, 10, 50)),
        ("resize:width=17,height=68", (1, 8, 5, 10, 50)),
        ("downsample:factor=2", (1, 2, 5, 2.5, 50)),
        ("mask:x=0,y=0,width=12,height=8", (2, 4, 10, 5, 50)),  # a part of it is seen
        ("mask:x=0,y=0,width=12,height=9", None),
        ("mask:x=11,y=8,width=5,height=5,keep=true", (2, 4, 10, 5, 50)),
        ("mask:x=12,y=8,width=5,height=5,keep=true", None),
        ("crop_time:start=30us", (2, 4, 10, 5, 50)),  # the first event is at 10
        ("crop_time:start=41us", None),
        ("crop_time:stop=40us", None),
        ("crop_time:stop=41us", (2, 4, 10, 5, 50)),
        ("crop_count:start=2", (2, 4, 10, 5, 50)),  # events are at 10, 20, ... 90
        ("crop_count:start=5", None),
        ("crop_count:stop=4", None),
        ("crop_count:stop=5", (2, 4, 10, 5, 50)),
        ("align_time:t0=1000", (2, 4, 10, 5, 1040)),
        ("shift_time:by=7us", (2, 4, 10, 5, 57)),
        ("scale_time:factor=0.5", (2, 4, 10, 5, 30)),
        ("swap_polarity", (2, 4, 10, 5, 50)),
    ],
)
def test_a_box_follows_by_hand(spec, expected):
    t = np.arange(10, 100, 10)
    events = Events(t, np.zeros_like(t), np.zeros_like(t), np.ones_like(t), (34, 34))
    box = np.zeros(1, KINDS["boxes"])
    for name, value in zip("xywht", (2, 4, 10, 5, 50), strict=True):
        box[name] = value
    step = begin(*parse(spec))
    step(events)
    rows = move_targets(step, Placed({"boxes": box}, events.size)).rows["boxes"]
    found = [tuple(row[name] for name in "xywht") for row in rows]
    assert found == ([] if expected is None else [expected])
    assert [box[name][0] for name in "xywht"] == [2, 4, 10, 5, 50]  # the given one is as it was


def test_intervals_are_cut_by_time_and_the_sample_begins_there():
    rows = np.zeros(3, KINDS["intervals"])
    rows["t"], rows["stop"], rows["class"] = [0, 40, 90], [40, 90, 95], [1, 2, 3]
    t = np.arange(10, 100, 10)
    events = Events(t, np.zeros_like(t), np.zeros_like(t), np.ones_like(t), (34, 34))
    step = begin("crop_time", {"start": 30, "stop": 60})
    step(events)
    placed = move_targets(step, Placed({"intervals": rows}, events.size, 0))
    assert placed.rows["intervals"].tolist() == [(40, 70, 2)]
    assert placed.start == 40


def test_what_changes_the_size_must_say_how_targets_move():
    def smaller(events):
        return ek.transform(events, "crop:width=10")

    with pytest.raises(OptionError, match="does not say how targets move"):
        move_targets(smaller, Placed({}, (34, 34)))
    smaller.targets = lambda placed: placed.moved((10, 34), lambda xy: xy)
    assert move_targets(smaller, Placed({}, (34, 34))).size == (10, 34)
