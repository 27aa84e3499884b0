"""Voxel grid: each event is shared between the two nearest bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventkit as ek
from eventkit import Events, OptionError
from eventkit.registry import bind
from eventkit.representations import Whole, accumulate
from eventkit.representations.voxel import VOXEL

quiet = pytest.mark.filterwarnings("ignore:voxel. .*(bins hold no|no) event")


def at_times(*t, size=(4, 3)) -> Events:
    i = np.arange(len(t))
    return Events(t=np.array(t, np.int64), x=i % size[0], y=i % size[1], p=i % 2, size=size)


def twin(events, bins) -> np.ndarray:
    """The paper's formula, event by event and bin by bin, in float64."""
    out = np.zeros((bins, 2, events.height, events.width))
    t0, t1 = events.t.min(), events.t.max()
    for t, x, y, p in zip(events.t, events.x, events.y, events.p, strict=True):
        at = (bins - 1) * (t - t0) / max(t1 - t0, 1)
        for b in range(bins):
            out[b, p, y, x] += max(0.0, 1.0 - abs(b - at))
    return out


def test_voxel_by_hand():
    # 3 bins stand at 0, 4 and 8 µs; 5 µs is a quarter of the way from the second to the third.
    events = Events(t=[0, 5, 8], x=[1, 1, 0], y=[0, 0, 2], p=[1, 0, 1], size=(4, 3))
    expected = np.zeros((3, 2, 3, 4), np.float32)
    expected[0, 1, 0, 1] = 1.0
    expected[1, 0, 0, 1] = 0.75
    expected[2, 0, 0, 1] = 0.25
    expected[2, 1, 2, 0] = 1.0
    out = ek.voxel(events, bins=3)
    assert out.dtype == np.float32
    assert np.array_equal(out, expected)


def test_five_bins_unless_told_otherwise(recording):
    assert ek.voxel(recording).shape == (5, 2, 34, 34)


@pytest.mark.parametrize("n_steps", [1, 3, 7, 49, 1_000_003])
def test_event_at_a_bin_leaves_nothing_in_the_others(n_steps):
    out = ek.voxel(at_times(0, n_steps, 2 * n_steps, 3 * n_steps), bins=4)
    assert np.count_nonzero(out) == 4
    assert out.sum(axis=(1, 2, 3)).tolist() == [1, 1, 1, 1]


@given(st.lists(st.integers(-500, 500), min_size=1, max_size=30), st.integers(1, 40), st.booleans())
@quiet
def test_voxel_is_its_formula_whatever_the_order(times, bins, in_order):
    events = at_times(*(sorted(times) if in_order else times))
    out = ek.voxel(events, bins=bins)
    np.testing.assert_allclose(out, twin(events, bins), rtol=0, atol=1e-6)
    assert out.min() >= 0
    assert out.sum(dtype=float) == pytest.approx(len(times), rel=1e-6)


@quiet
@pytest.mark.parametrize("bins", [1, 2, 5])
def test_single_time_is_all_in_the_first_bin(bins):
    out = ek.voxel(at_times(7, 7, 7), bins=bins)
    assert out.sum(axis=(1, 2, 3)).tolist() == [3] + [0] * (bins - 1)


def test_one_bin_counts_all():
    out = ek.voxel(at_times(0, 5, 100), bins=1)
    assert np.array_equal(out, ek.frames(at_times(0, 5, 100), n=1))


def test_no_events_are_zeros_with_a_warning():
    with pytest.warns(UserWarning, match="voxel: there are no events"):
        out = ek.voxel(Events.empty((5, 4)), bins=3)
    assert out.shape == (3, 2, 4, 5)
    assert not out.any()


def test_far_times_keep_their_share():
    events = at_times(-(2**60), 0, 2**60)
    assert ek.voxel(events, bins=2).sum(axis=(1, 2, 3)).tolist() == [1.5, 1.5]


def test_event_outside_is_an_error_or_left_out():
    events = Events(t=[0, 4, 8], x=[0, 4, 1], y=[0, 0, 2], p=[1, 1, 1], size=(4, 3))
    with pytest.raises(OptionError, match=r"1 of 3 events lie outside .* x=4, y=0, t=4 µs"):
        ek.voxel(events)
    assert ek.voxel(events, bins=2, bounds="drop").sum() == 2


def test_more_than_float32_can_count_is_refused():
    n = 1 << 24
    same = Events.trusted(
        np.zeros(n, np.int64), *np.zeros((2, n), np.uint16), np.zeros(n, np.uint8), (1, 1)
    )
    with pytest.raises(OptionError, match="float32 cannot count them"):
        ek.voxel(same, bins=1)


def test_bins_are_checked(recording):
    with pytest.raises(OptionError, match="bins is 0, expected at least 1"):
        ek.voxel(recording, bins=0)
    with pytest.raises(OptionError, match="GB; ask for fewer"):
        ek.voxel(recording, bins=10**6)


def test_whole_that_does_not_fit_the_events_writes_nothing_elsewhere(recording):
    bound = bind(VOXEL.shape, {}, "voxel")
    for wrong in (Whole(10, 40, 45), Whole(10**6, -(10**9), -5), Whole(5, 10**9, 2 * 10**9)):
        out, placed = accumulate([recording], wrong, recording.size, VOXEL, bound)
        assert placed == len(recording)
        assert np.isfinite(out).all()
