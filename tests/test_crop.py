"""Cropping in space and in time, and the laws that hold for every transform."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_events

import eventkit as ek
from eventkit import Events, OptionError
from eventkit.events import chunks
from eventkit.transforms import TRANSFORMS, begin, parse
from eventkit.transforms.crop import crop

# Every transform with its defaults, and with options that drop some events.
SPECS = [
    *TRANSFORMS,
    "crop:x=5,y=7,width=9,height=20",
    "crop_time:start=3000,stop=9000",
    "crop_time:stop=100",
    "crop_time:start=9000",
]


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
        ({"x": -1}, "x=-1, y=0, width=5, height=3 is no window, expected one within the sensor"),
        ({"width": 0}, "width=0, height=3 is no window"),
        ({"height": -2}, "is no window"),
        ({"x": 4}, "x=4, y=0, width=0, height=3 is no window"),
        ({"x": 9}, "is no window"),
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
    assert times(f"crop_time:start=-{2**90},stop={2**90}", 0, 2**62) == [0, 2**62]


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
    with pytest.raises(OptionError, match="stop is 'soon', expected a whole number"):
        ek.transform(recording, "crop_time:stop=soon")
