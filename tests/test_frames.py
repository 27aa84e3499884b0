"""Frames: exact counts by number, by time, by duration, and those of two other libraries."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_events

import eventkit as ek
from eventkit import Events, OptionError
from eventkit.events import chunks
from eventkit.registry import bind
from eventkit.representations import Whole, accumulate
from eventkit.representations.frames import FRAMES

quiet = pytest.mark.filterwarnings("ignore:frames. .*(bins hold no|no) event")


def at_times(*t, size=(4, 3)) -> Events:
    """Events at these times, each in a pixel of its own row and column."""
    i = np.arange(len(t))
    return Events(t=np.array(t, np.int64), x=i % size[0], y=i % size[1], p=i % 2, size=size)


def per_frame(events, **options) -> list[int]:
    """How many events each frame holds."""
    return ek.frames(events, **options).sum(axis=(1, 2, 3)).tolist()


def twin(events, index, length) -> np.ndarray:
    """Frames from the frame of each event, one event after the other."""
    out = np.zeros((length, 2, events.height, events.width), np.uint16)
    for k, x, y, p in zip(index, events.x, events.y, events.p, strict=True):
        out[k, p, y, x] += 1
    return out


def in_chunks(events, n_chunk, **options) -> np.ndarray:
    bound = bind(FRAMES.shape, options, "frames")
    parts = chunks(events, n_chunk)
    return accumulate(parts, Whole.of(events), events.size, FRAMES, bound)[0]


# Default semantics


def test_frames_by_hand():
    events = Events(t=[0, 5, 9, 9], x=[1, 1, 0, 0], y=[0, 0, 2, 2], p=[1, 0, 1, 1], size=(4, 3))
    out = ek.frames(events, n=2)
    assert out.dtype == np.uint16
    assert out.shape == (2, 2, 3, 4)
    expected = np.zeros((2, 2, 3, 4))
    expected[0, 1, 0, 1] = 1  # the ON event at x=1, y=0
    expected[0, 0, 0, 1] = 1  # the OFF event there
    expected[1, 1, 2, 0] = 2  # two ON events at x=0, y=2
    assert np.array_equal(out, expected)


def test_sixteen_frames_by_number_unless_told_otherwise(recording):
    assert ek.frames(recording).shape == (16, 2, 34, 34)
    assert np.array_equal(ek.frames(recording), ek.frames(recording, n=16, by="number"))


def test_by_number_puts_event_i_in_frame_i_n_over_N():
    assert per_frame(at_times(*range(10)), n=4) == [3, 2, 3, 2]


def test_by_time_closes_the_last_frame():
    # Times 0..9 in 2 frames of (9 - 0 + 1) / 2 = 5 µs each.
    assert per_frame(at_times(0, 4, 5, 9), n=2, by="time") == [2, 2]
    # Times 0..10 in 4 frames: t * 4 // 11 changes at 3, 6 and 9.
    assert per_frame(at_times(*range(11)), n=4, by="time") == [3, 3, 3, 2]


def test_times_are_relative_to_the_first():
    at_zero, later = at_times(0, 4, 5, 9), at_times(-1000, -996, -995, -991)
    for options in ({"n": 2, "by": "time"}, {"duration": 5}):
        assert np.array_equal(ek.frames(at_zero, **options), ek.frames(later, **options))


def test_duration_keeps_the_partial_last_frame():
    assert per_frame(at_times(*range(21)), duration=10) == [10, 10, 1]
    assert per_frame(at_times(*range(20)), duration=10) == [10, 10]
    assert per_frame(at_times(*range(20)), duration=1000) == [20]


@quiet
def test_duration_may_leave_frames_empty():
    assert per_frame(at_times(0, 5, 95), duration=10) == [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]


@given(
    st.lists(st.integers(-200, 200), min_size=1, max_size=40),
    st.integers(1, 50),
    st.booleans(),
)
@quiet
def test_every_rule_is_its_formula_whatever_the_order(times, n, in_order):
    events = at_times(*(sorted(times) if in_order else times))
    t, i, N = events.t, np.arange(len(times)), len(times)
    t0, t1 = t.min(), t.max()
    assert np.array_equal(ek.frames(events, n=n), twin(events, i * n // N, n))
    by_time = twin(events, (t - t0) * n // (t1 - t0 + 1), n)
    assert np.array_equal(ek.frames(events, n=n, by="time"), by_time)
    by_duration = twin(events, (t - t0) // n, (t1 - t0) // n + 1)
    assert np.array_equal(ek.frames(events, duration=n), by_duration)


@given(
    st.lists(st.integers(0, 2**61 - 1), min_size=1, max_size=20),
    st.integers(1 - 2**61, 0),
    st.integers(1, 5000),
)
@settings(max_examples=30)
@quiet
def test_far_times_do_not_overflow(offsets, origin, n):
    events = Events(
        t=np.array([origin + offset for offset in offsets], np.int64),
        x=np.zeros(len(offsets), int),
        y=np.zeros(len(offsets), int),
        p=np.zeros(len(offsets), int),
        size=(1, 1),
    )
    t0, t1 = min(offsets), max(offsets)
    index = [(t - t0) * n // (t1 - t0 + 1) for t in offsets]  # Python's integers do not overflow
    assert np.array_equal(ek.frames(events, n=n, by="time"), twin(events, index, n))


def test_duration_longer_than_the_recording_is_one_frame():
    assert per_frame(at_times(-(2**59), 2**59), duration=2**61 - 1) == [2]
    for like in ("spikingjelly", "tonic"):
        assert per_frame(at_times(0, 2**50), duration=2**60, like=like) == [2]


@pytest.mark.parametrize("wrong", [2**61, -(2**61), 2**63 - 1, -(2**63)])
def test_times_that_no_clock_shows_are_an_error(wrong):
    with pytest.raises(OptionError, match=r"times go from .* some of them are wrong"):
        ek.frames(at_times(0, wrong))


# Empty


@pytest.mark.parametrize(
    ("options", "length"),
    [({"n": 3}, 3), ({"n": 3, "by": "time"}, 3), ({"duration": 10}, 1)],
)
def test_no_events_are_zeros_with_a_warning(options, length):
    with pytest.warns(UserWarning, match="frames: there are no events"):
        out = ek.frames(Events.empty((5, 4)), **options)
    assert out.shape == (length, 2, 4, 5)
    assert not out.any()


def test_empty_frames_are_counted_in_a_warning_at_the_caller():
    with pytest.warns(UserWarning, match="frames: 2 of 4 bins hold no event") as caught:
        ek.frames(at_times(0, 1), n=4)
    assert caught[0].filename == __file__


def test_full_frames_give_no_warning(recording):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ek.frames(recording, n=4)


# Bounds


def outside() -> Events:
    """Six events, two of them outside 4x3: one to the right, one below."""
    return Events(
        t=range(6), x=[0, 4, 1, 2, 3, 3], y=[0, 0, 1, 3, 2, 2], p=[1, 1, 1, 0, 0, 0], size=(4, 3)
    )


@pytest.mark.parametrize("options", [{"n": 2}, {"n": 2, "by": "time"}, {"duration": 3}])
def test_event_outside_is_an_error_that_names_it(options):
    message = "2 of 6 events lie outside the sensor of 4x3, the first at x=4, y=0, t=1 µs"
    with pytest.raises(OptionError, match=message):
        ek.frames(outside(), **options)


@pytest.mark.parametrize("options", [{"n": 2}, {"n": 2, "by": "time"}, {"duration": 3}])
def test_event_outside_can_be_left_out_but_keeps_its_place_in_the_count(options):
    out = ek.frames(outside(), **options, bounds="drop")
    assert out.sum(axis=(1, 2, 3)).tolist() == [2, 2]
    assert out[0, 1, 0, 1] == 0, "x=4 is not x=0 of the next row"


@pytest.mark.parametrize("like", ["spikingjelly", "tonic"])
@pytest.mark.parametrize("bounds", ["raise", "drop"])
def test_event_outside_is_an_error_with_like(like, bounds):
    with pytest.raises(OptionError, match=r"stops there.*; crop them off first"):
        ek.frames(outside(), n=2, like=like, bounds=bounds)


def test_placed_is_what_the_frames_hold():
    bound = bind(FRAMES.shape, {"n": 2, "bounds": "drop"}, "frames")
    out, placed = accumulate([outside()], Whole.of(outside()), (4, 3), FRAMES, bound)
    assert placed == out.sum() == 4


# Overflow


def hot(n, n_on=0) -> Events:
    """n OFF events in the pixel (2, 1), and n_on ON events beside it."""
    return Events(
        t=np.arange(n + n_on),
        x=np.full(n + n_on, 2),
        y=np.full(n + n_on, 1),
        p=np.arange(n + n_on) >= n,
        size=(4, 3),
    )


def test_counts_reach_the_limit_exactly():
    assert ek.frames(hot(65_535), n=1)[0, 0, 1, 2] == 65_535
    assert ek.frames(hot(32_767), n=1, like="tonic")[0, 0, 1, 2] == 32_767


@pytest.mark.parametrize("n", [65_536, 65_537, 200_000])
@pytest.mark.parametrize("by", ["number", "time"])
def test_overflow_names_frame_and_pixel(n, by):
    message = f"frame 0 would count {n:,} OFF events in the pixel x=2, y=1, a frame, uint16"
    with pytest.raises(OptionError, match=message):
        ek.frames(hot(n, 5), n=1, by=by)


def test_overflow_in_a_later_frame_is_found():
    events = Events.concat([hot(40_000, 40_000), hot(80_000)])
    with pytest.raises(OptionError, match="frame 1 would count 80,000 OFF events"):
        ek.frames(events, n=2)
    assert ek.frames(events, n=3).sum() == 160_000


@pytest.mark.parametrize("n_chunk", [1_000, 65_535, 65_536, 69_999])
def test_overflow_across_chunks_is_found(n_chunk):
    with pytest.raises(OptionError, match=r"frame 0 would count \d\d,\d{3} OFF"):
        in_chunks(hot(70_000), n_chunk, n=1)
    assert in_chunks(hot(70_000), n_chunk, n=2).sum() == 70_000


def test_overflow_of_tonic_is_that_of_int16():
    with pytest.raises(
        OptionError, match=r"32,768 OFF events .* a Tonic frame, int16, holds 32,76"
    ):
        ek.frames(hot(32_768), n=1, like="tonic")
    assert ek.frames(hot(32_768), n=1, like="spikingjelly").sum() == 32_768


# As SpikingJelly 2.0 counts; the numbers are those of its own functions


def test_spikingjelly_by_number_adds_the_rest_to_the_last_frame():
    assert per_frame(at_times(*range(103)), n=16, like="spikingjelly") == [6] * 15 + [13]
    with pytest.warns(UserWarning, match="3 of 4 bins"):
        assert per_frame(at_times(3, 3, 3), n=4, like="spikingjelly") == [0, 0, 0, 3]


def test_spikingjelly_by_time_adds_the_rest_to_the_last_frame():
    assert per_frame(at_times(*range(104)), n=4, by="time", like="spikingjelly") == [25, 25, 25, 29]
    assert per_frame(at_times(0, 1, 2), n=2, by="time", like="spikingjelly") == [1, 2]
    events = at_times(-25, -20, -10, -3, 0, 4)
    assert per_frame(events, n=2, by="time", like="spikingjelly") == [2, 4]


@quiet
def test_spikingjelly_by_duration_merges_an_end_that_is_a_multiple():
    assert per_frame(at_times(*range(21)), duration=10, like="spikingjelly") == [10, 11]
    assert per_frame(at_times(0, 5, 10, 20, 20), duration=10, like="spikingjelly") == [2, 3]
    events = at_times(-25, -20, -10, -3, 0, 4)
    assert per_frame(events, duration=10, like="spikingjelly") == [2, 1, 3]
    expected = [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert per_frame(at_times(0, 5, 95), duration=10, like="spikingjelly") == expected


@pytest.mark.parametrize(
    ("times", "options", "message"),
    [
        ((), {"n": 2, "by": "time"}, "times span 0 µs, too little"),
        ((5,), {"n": 2, "by": "time"}, "times span 0 µs, too little"),
        ((0, 1, 2), {"n": 3, "by": "time"}, "times span 2 µs, too little"),
        ((0, 5, 20), {"n": 2, "by": "time"}, "frame 1 of 2 holds no event"),
        ((0, 1, 9, 10, 12), {"n": 3, "by": "time"}, "frame 1 of 3 holds no event"),
        ((0, 3, 8), {"n": 3, "by": "time"}, "frame 2 of 3 holds no event"),
        ((), {"duration": 10}, "times span 0 µs, too little"),
        ((3, 3, 3), {"duration": 10}, "times span 0 µs, too little"),
        ((5, 3, 9), {"duration": 2}, "time goes back, which SpikingJelly miscounts"),
        ((5, 3, 9), {"n": 2, "by": "time"}, "time goes back, which SpikingJelly miscounts"),
    ],
)
def test_spikingjelly_fails_where_it_fails(times, options, message):
    with pytest.raises(OptionError, match=message):
        ek.frames(at_times(*times), **options, like="spikingjelly")


@pytest.mark.parametrize("n_chunk", [1, 2, 3, 99])
def test_spikingjelly_end_without_a_last_bin_fails_in_chunks_too(n_chunk):
    # 3 frames of 8 // 3 = 2 µs: the last bin is 4 <= t < 6, and 6, 7, 8 are after it.
    options = {"n": 3, "by": "time", "like": "spikingjelly"}
    for times in [(0, 3, 8), (0, 3, 6, 7, 8)]:
        with pytest.raises(OptionError, match="frame 2 of 3 holds no event"):
            in_chunks(at_times(*times), n_chunk, **options)
    out = in_chunks(at_times(0, 3, 4, 6, 7, 8), n_chunk, **options)
    assert out.sum(axis=(1, 2, 3)).tolist() == [1, 1, 4]


# As Tonic 1.7's ToFrame counts; the numbers are those of its own transform


@pytest.mark.parametrize(
    ("times", "options", "expected"),
    [
        (range(21), {"n": 2}, [10, 10]),
        (range(21), {"n": 4}, [5, 5, 5, 5]),
        ((3, 3, 3), {"n": 2}, [1, 1]),
        ((5, 3, 9, 1, 20, 2), {"n": 2}, [3, 3]),
        ((5, 9), {"n": 4}, [0, 0, 0, 0]),
        ((), {"n": 2}, [0, 0]),
        (range(21), {"n": 2, "by": "time"}, [10, 10]),
        ((0, 1, 2, 100, 101, 150), {"n": 2, "by": "time"}, [3, 2]),
        ((0, 5, 10, 15, 20, 20, 20), {"n": 2, "by": "time"}, [2, 2]),
        ((0, 1, 2), {"n": 4, "by": "time"}, [0, 0, 0, 0]),
        ((3, 3, 3), {"n": 2, "by": "time"}, [0, 0]),
        ((), {"n": 2, "by": "time"}, [0, 0]),
        (range(21), {"duration": 7}, [7, 7]),
        (range(21), {"duration": 10}, [10, 10]),
        (range(21), {"duration": 20}, [20]),
        (range(21), {"duration": 21}, [21]),
        (range(21), {"duration": 1000}, [21]),
        ((3, 3, 3), {"duration": 7}, [3]),
        ((-25, -20, -10, -3, 0, 4), {"duration": 7}, [2, 0, 1, 2]),
        ((), {"duration": 7}, [0]),
    ],
)
@quiet
def test_tonic_drops_what_does_not_fill_a_frame(times, options, expected):
    out = ek.frames(at_times(*times), **options, like="tonic")
    assert out.shape == (len(expected), 2, 3, 4)
    assert out.sum(axis=(1, 2, 3)).tolist() == expected


@pytest.mark.parametrize("options", [{"n": 2, "by": "time"}, {"duration": 2}])
def test_tonic_by_time_needs_order(options):
    with pytest.raises(OptionError, match="time goes back, which Tonic miscounts; sort"):
        ek.frames(at_times(5, 3, 9), **options, like="tonic")
    with pytest.raises(OptionError, match="not exact in Tonic's float64"):
        ek.frames(at_times(0, 2**53), n=2, by="time", like="tonic")


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n is 0, expected at least 1"),
        ({"n": -3}, "n is -3, expected at least 1"),
        ({"duration": 0}, "duration is 0, expected at least 1"),
        ({"n": 16, "duration": 5}, "n=16 and duration=5 are given together, expected one"),
        ({"by": "tiem"}, "by is 'tiem', expected one of number, time"),
        ({"like": "snntorch"}, "like is 'snntorch', expected one of spikingjelly, tonic"),
        ({"bounds": "clip"}, "bounds is 'clip', expected one of raise, drop"),
        ({"n": 1.5}, "n is 1.5, expected a whole number"),
        ({"n": 10**7}, r"would have the shape \(10000000, 2, 34, 34\), 46.2 GB; ask for fewer"),
    ],
)
def test_wrong_option_is_refused(recording, options, message):
    with pytest.raises(OptionError, match=message):
        ek.frames(recording, **options)


def test_tiny_duration_of_a_long_recording_is_refused():
    with pytest.raises(OptionError, match="ask for fewer or longer bins"):
        ek.frames(at_times(0, 10**12), duration=1)


def test_number_of_frames_is_fixed_unless_by_duration():
    assert FRAMES.fixed(bind(FRAMES.shape, {}, "frames"))
    assert not FRAMES.fixed(bind(FRAMES.shape, {"duration": 5}, "frames"))
    assert not FRAMES.fixed(bind(FRAMES.shape, {"count": 5}, "frames"))


def test_whole_that_does_not_fit_the_events_writes_nothing_elsewhere(recording):
    bound = bind(FRAMES.shape, {"n": 4, "by": "time"}, "frames")
    for wrong in (Whole(10, 0, 5, True), Whole(10**6, -(10**9), -5, True), Whole(0, 0, 0)):
        out, placed = accumulate([recording], wrong, recording.size, FRAMES, bound)
        assert out.sum() == placed < len(recording)


# Real recordings


def test_real_recording_is_counted_like_numpy_counts(samples):
    truth = np.load(samples / "recordings" / "derived" / "aedat31_dvs128_truth.npz")
    events = Events(truth["t"], truth["x"], truth["y"], truth["p"], (128, 128))
    index = np.arange(len(events)) * 16 // len(events)
    expected = np.zeros((16, 2, 128, 128), np.uint16)
    np.add.at(expected, (index, events.p, events.y, events.x), 1)
    assert np.array_equal(ek.frames(events, n=16), expected)


@pytest.mark.slow
def test_kernels_stay_inside_their_arrays(tmp_path):
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from making import make_events; import eventkit as ek\n"
        "from eventkit.transforms import transform\n"
        "events = make_events(500)\n"
        "for like in (None, 'spikingjelly', 'tonic'):\n"
        "    for options in ({'n': 7}, {'n': 7, 'by': 'time'}, {'duration': 999}):\n"
        "        ek.frames(events, like=like, **options)\n"
        "for bins in (1, 2, 9):\n"
        "    ek.voxel(events, bins=bins)\n"
        "small = ek.Events(events.t, events.x, events.y, events.p, (20, 20))\n"
        "ek.frames(small, bounds='drop'), ek.voxel(small, bounds='drop')\n"
        "transform(small, 'crop')\n"
    )
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    tests = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tests, check=True)


def test_reading_only_memory_is_enough(recording):
    fixed = make_events()
    for name in "txyp":
        getattr(fixed, name).flags.writeable = False
    assert np.array_equal(ek.frames(fixed), ek.frames(recording))
