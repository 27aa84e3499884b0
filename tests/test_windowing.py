"""Windows at given times: which events are in each, and what is said about them."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_events

import eventkit as ek
from eventkit import Events, OptionError
from eventkit.windowing import parse_sliding

quiet = pytest.mark.filterwarnings("ignore:windows. ")


def at_times(*t) -> Events:
    zero = np.zeros(len(t), int)
    return Events(np.array(t, np.int64), zero, zero, zero, (1, 1))


def times(found) -> list[list[int]]:
    return [part.t.tolist() for part in found]


EVENTS = at_times(100, 110, 120, 130, 140)


@quiet
@pytest.mark.parametrize(
    ("side", "expected"),
    [
        ("before", [[100], [110, 120, 130]]),
        ("after", [[110, 120, 130], [140]]),
        ("centre", [[100, 110, 120], [130, 140]]),
    ],
)
def test_windows_are_half_open_around_their_times(side, expected):
    assert times(ek.windows(EVENTS, at=[110, 140], duration=30, side=side)) == expected


def test_windows_between_times_share_their_borders():
    found = ek.windows(EVENTS, at=[100, 120, 141], side="between")
    assert times(found) == [[100, 110], [120, 130, 140]]
    assert (found.starts.tolist(), found.stops.tolist()) == ([100, 120], [120, 141])


def test_every_covers_all_events_once():
    found = ek.windows(EVENTS, every="15us")
    assert times(found) == [[100, 110], [120], [130, 140]]
    assert found.counts.tolist() == [2, 1, 2]


def test_sliding_windows_overlap_and_reach_the_last_event():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ek.windows(EVENTS, sliding="20us/10us")
    assert times(found) == [[100, 110], [110, 120], [120, 130], [130, 140]]


@quiet
@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=30),
    st.lists(st.integers(-20, 120), max_size=10),
    st.integers(1, 40),
    st.sampled_from(["before", "after", "centre"]),
)
def test_every_window_is_a_mask_of_its_bounds(t, at, duration, side):
    events = at_times(*sorted(t))
    found = ek.windows(events, at=np.array(at, np.int64), duration=duration, side=side)
    assert len(found) == len(at)
    for part, start, stop, time in zip(found, found.starts, found.stops, at, strict=True):
        assert stop - start == duration
        assert part == events[(events.t >= start) & (events.t < stop)]
        assert start <= time <= stop


@quiet
@given(st.lists(st.integers(0, 100), min_size=1), st.integers(1, 40), st.integers(1, 40))
def test_sliding_loses_no_event(t, length, stride):
    stride = min(stride, length)
    events = at_times(*sorted(t))
    found = ek.windows(events, sliding=f"{length}us/{stride}us")
    assert {time for part in times(found) for time in part} == set(t)
    assert int(found.starts[-1]) <= max(t)


def test_no_events_have_no_windows_of_their_own():
    with pytest.warns(UserWarning, match="there are no events"):
        assert len(ek.windows(EVENTS[:0], every="5ms")) == 0
    with pytest.warns(UserWarning, match="of 1, 1 hold no event"):
        assert times(ek.windows(EVENTS[:0], at=[5], duration=3)) == [[]]


def test_windows_are_views_and_a_sequence(recording):
    found = ek.windows(recording, every="5ms")
    assert np.shares_memory(found[0].t, recording.t)
    assert found[1:3] == [found[1], found[2]]
    assert found[-1] == list(found)[-1]
    assert sum(map(len, found)) == len(recording)
    assert repr(found).startswith("Windows(")


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ([10, 500], "of 2, 2 hold no event, 2 lie outside the recording, which is 100..140 µs"),
        ([120, 125], "of 2, 1 overlap the one before"),
        ([], "there are none"),
        ([140, 115], "of 2, 1 begin before the one before them"),
        ([140, 115, 130], "of 3, 1 begin before the one before them, 2 overlap the one before"),
    ],
)
def test_odd_windows_are_reported(at, message):
    with pytest.warns(UserWarning, match=f"windows: {message}"):
        ek.windows(EVENTS, at=np.array(at, np.int64), duration=20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of at, every and sliding"),
        ({"at": [1], "every": 5}, "give one of"),
        ({"at": [1]}, "duration is None"),
        ({"at": [1], "duration": 0}, "expected at least 1 µs"),
        ({"at": [1], "duration": "soon"}, "expected a time such as 50ms"),
        ({"at": [1.5], "duration": 5}, "at is float64"),
        ({"at": [[1]], "duration": 5}, r"\(1, 1\), expected a list"),
        ({"at": [2**62], "duration": 5}, "73,000 years"),
        ({"at": [1, 2], "duration": 5, "side": "left"}, "side is 'left'"),
        ({"at": [1, 2], "duration": 5, "side": "between"}, "takes no duration"),
        ({"at": [2, 1], "side": "between"}, "each later"),
        ({"every": 5, "side": "after"}, "belong to at"),
        ({"sliding": "5us/6us"}, "would leave out events"),
        ({"sliding": "5us/"}, "expected a time"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        ek.windows(EVENTS, **options)


def test_unsorted_events_are_refused():
    with pytest.raises(OptionError, match=r"time goes back 1 times.*sort them first"):
        ek.windows(at_times(5, 3), every=2)


def test_sliding_text():
    assert parse_sliding("50ms/25ms") == (50_000, 25_000)
    assert parse_sliding("1s") == (1_000_000, 1_000_000)


@quiet
def test_frames_of_each_window(recording):
    stack = np.stack([ek.frames(part, n=2) for part in ek.windows(make_events(), every="5ms")])
    assert stack.shape[1:] == (2, 2, 34, 34)
    assert stack.sum() == 1000


def test_no_times_give_no_windows_and_errors_name_the_option():
    with pytest.warns(UserWarning, match="there are none"):
        assert len(ek.windows(EVENTS, at=[], duration=5)) == 0
    with pytest.raises(OptionError, match="every is 'abc', expected a time"):
        ek.windows(EVENTS, every="abc")
    with pytest.raises(OptionError, match="every is '4us/2us'"):
        ek.windows(EVENTS, every="4us/2us")
    with pytest.raises(OptionError, match="73,000 years"):
        ek.windows(EVENTS, at=np.array([2**64 - 5], np.uint64), duration=5)


def test_more_windows_than_anybody_needs_are_refused_at_once():
    events = Events(t=[0, 3_600_000_000], x=[0, 0], y=[0, 0], p=[0, 1], size=(2, 2))
    with pytest.raises(OptionError, match=r"3,600,000,001 windows of 1 µs, expected at most"):
        ek.windows(events, every="1us")
