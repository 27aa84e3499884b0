"""Events: four columns and a sensor size."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_events

import eventkit as ek
from eventkit import Events, OptionError
from eventkit.events import Columns, chunks

SIZE = (4, 3)


def events(t=(10, 30, 20), x=(0, 1, 2), y=(0, 0, 1), p=(1, 0, 1), size=SIZE) -> Events:
    return Events(t=t, x=x, y=y, p=p, size=size)


def with_column(name, values, size=SIZE) -> Events:
    columns = {key: np.zeros(len(values), np.int64) for key in "txyp"}
    return Events(**{**columns, name: values}, size=size)


# Making


def test_columns_get_their_types():
    made = events()
    assert [getattr(made, name).dtype.str for name in "txyp"] == ["<i8", "<u2", "<u2", "|u1"]
    assert all(getattr(made, name).flags.c_contiguous for name in "txyp")
    assert (made.size, made.width, made.height, len(made)) == ((4, 3), 4, 3, 3)


@pytest.mark.parametrize(
    "polarity",
    [
        [True, False, True],
        [1, 0, 1],
        [1, -1, 1],
        [1.0, -1.0, 1.0],
        np.array([1, 0, 1], np.uint8),
        np.array([1, -1, 1], np.int8),
        np.array([True, False, True])[::1],
        np.array([1, 9, 0, 9, 1, 9], np.int16)[::2],
    ],
)
def test_polarity_of_every_kind_becomes_0_and_1(polarity):
    assert events(p=polarity).p.tolist() == [1, 0, 1]


@pytest.mark.parametrize("dtype", [">i8", ">u4", "<u2", "i1", "u8"])
def test_integers_of_every_kind_are_accepted(dtype):
    made = events(t=np.array([10, 30, 20], dtype))
    assert made.t.tolist() == [10, 30, 20]
    assert made.t.dtype.isnative


def test_strided_columns_are_made_contiguous():
    record = np.zeros(3, [("t", "i8"), ("x", "u2"), ("y", "u2"), ("p", "?")])
    record["t"] = [1, 2, 3]
    record["p"] = [True, False, True]
    made = Events.from_structured(record, SIZE)
    assert made.t.flags.c_contiguous
    assert made.p.tolist() == [1, 0, 1]


def test_right_columns_are_not_copied():
    t = np.arange(3)
    assert events(t=t).t is t


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("t", [0.5, 1.0], "column t is float64, expected integers"),
        (
            "t",
            np.array([2**63, 1], np.uint64),
            "column t goes from 1 to 9223372036854775808, beyond int64",
        ),
        ("t", [2**64, 1], "column t is object, expected integers"),
        ("x", [0, 65536], "column x goes from 0 to 65536, beyond uint16"),
        ("y", [-1, 0], "column y goes from -1 to 0, beyond uint16"),
        ("x", [[1, 2]], "column x has 2 axes, expected one"),
        ("x", [True, False], "column x is bool"),
        ("p", [0, 2], "column p has values other than"),
        ("p", np.array([0, 2], np.uint8), "column p has values other than"),
        ("p", [0.5, 1], "column p has values other than"),
        ("p", [float("nan"), 1], "column p has values other than"),
        ("p", ["on", "off"], "column p is <U3, expected bool, 0/1 or -1/"),
        ("p", [[1, 0]], "column p has 2 axes"),
    ],
)
def test_wrong_column_is_named(name, values, message):
    with pytest.raises(OptionError, match=message):
        with_column(name, values)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(OptionError, match=r"different lengths: {'t': 2, 'x': 3, 'y': 3, 'p': 3}"):
        events(t=[1, 2])


@pytest.mark.parametrize(
    "size", [(0, 3), (4, -1), (65537, 1), (4,), (4, 3, 2), 4, None, ("4", "b"), (4.5, 3)]
)
def test_wrong_size_is_refused(size):
    with pytest.raises(OptionError, match=r"size is .*, expected \(width, height\)"):
        events(size=size)


def test_size_of_one_axis_has_height_one():
    assert with_column("x", [699], size=(700, 1)).size == (700, 1)
    assert events(size=(np.int64(4), 3)).size == (4, 3)


def test_lists_without_events_are_legal():
    made = Events(t=[], x=[], y=[], p=[], size=SIZE)
    assert made == Events.empty(SIZE)
    assert (len(made), made.backward_steps, made.out_of_bounds) == (0, 0, 0)
    assert repr(made) == "Events(0 events, 4x3)"


# Taking apart


def test_slice_is_a_view_and_mask_a_copy():
    made = events()
    assert np.shares_memory(made[1:].t, made.t)
    assert not np.shares_memory(made[made.p == 1].t, made.t)
    assert made[made.p == 1].t.tolist() == [10, 20]
    assert made[np.array([2, 0])].t.tolist() == [20, 10]


@pytest.mark.parametrize("index", [0, -1, np.int64(1), True])
def test_single_index_is_refused(index):
    with pytest.raises(OptionError, match="a boolean mask or an index array"):
        events()[index]


def test_a_loop_over_events_is_told_what_to_use():
    with pytest.raises(TypeError, match=r"four columns, not a sequence: .* events.structured"):
        for _ in events():
            pass


def test_events_are_equal_by_value_and_size():
    assert events() == events()
    assert events() != events(t=[10, 30, 21])
    assert events() != events(size=(5, 3))
    assert events() != "events"


def test_events_cannot_be_hashed_nor_changed():
    with pytest.raises(TypeError):
        hash(events())
    with pytest.raises(AttributeError):
        events().t = np.zeros(3)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, Events.copy])
def test_copies_are_equal(way):
    made = events()
    assert way(made) == made


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_events_survive_pickling(protocol):
    assert pickle.loads(pickle.dumps(events(), protocol)) == events()


def test_copy_has_memory_of_its_own():
    made = events()
    other = made.copy()
    other.t[0] = 99
    assert made.t[0] == 10


def test_structured_and_back_is_the_same(recording):
    array = recording.structured()
    assert array.dtype.names == ("t", "x", "y", "p")
    assert Events.from_structured(array, recording.size) == recording


def test_structured_array_without_a_field_is_refused():
    with pytest.raises(OptionError, match="no field y, p"):
        Events.from_structured(np.zeros(2, [("t", "i8"), ("x", "u2")]), SIZE)
    with pytest.raises(OptionError, match="no field t, x, y, p"):
        Events.from_structured(np.zeros(2), SIZE)


def test_concat_joins_and_refuses_two_sizes():
    made = events()
    assert Events.concat([made[:1], made[1:]]) == made
    assert Events.concat(part for part in [made]) == made
    with pytest.raises(OptionError, match="one sensor size"):
        Events.concat([made, events(size=(9, 9))])
    with pytest.raises(OptionError, match="one sensor size"):
        Events.concat([])


# Time and space


@given(st.lists(st.integers(-(2**62), 2**62), max_size=30))
def test_sort_is_stable_and_leaves_the_order_given_alone(times):
    made = with_column("t", np.array(times, np.int64))
    made = Events.trusted(made.t, np.arange(len(times), dtype=np.uint16), made.y, made.p, SIZE)
    before = made.copy()
    in_order = made.sort()
    expected = sorted(range(len(times)), key=lambda i: (times[i], i))
    assert in_order.x.tolist() == expected
    assert in_order.backward_steps == 0
    assert made == before


def test_sorted_events_sort_to_themselves(recording):
    assert recording.sort() is recording


@given(
    st.lists(st.integers(-9, 9), max_size=20),
    st.none() | st.integers(-10, 10),
    st.none() | st.integers(-10, 10),
    st.booleans(),
)
def test_between_takes_start_and_leaves_stop(times, start, stop, in_order):
    times = sorted(times) if in_order else times
    part = with_column("t", np.array(times, np.int64)).between(start, stop)
    low, high = (-99 if start is None else start), (99 if stop is None else stop)
    assert part.t.tolist() == [t for t in times if low <= t < high]


def test_between_of_far_times_holds():
    made = events().sort()
    assert made.between(-(2**80), 2**80) == made
    assert len(made.between(2**80, None)) == 0
    assert len(events().between(None, -(2**80))) == 0


def test_backward_steps_and_events_outside_are_counted():
    made = events(t=[5, 4, 3], x=[0, 4, 9], y=[3, 0, 9])
    assert made.backward_steps == 2
    assert made.out_of_bounds == 3


# Chunks


@pytest.mark.parametrize("n", [1, 7, 999, 1000, 5000])
def test_chunks_are_views_that_join_to_the_whole(recording, n):
    parts = list(chunks(recording, n))
    assert Events.concat(parts) == recording
    assert max(len(part) for part in parts) <= n
    assert all(np.shares_memory(part.t, recording.t) for part in parts)


def test_no_events_are_one_chunk_so_that_the_size_is_known():
    assert [part.size for part in chunks(Events.empty(SIZE), 10)] == [SIZE]


def test_columns_are_used_again_when_nobody_looks_at_them():
    columns = Columns()
    columns.reserve(10)
    address = columns.arrays[0].ctypes.data
    columns.events(10, SIZE)
    columns.reserve(5)
    assert columns.arrays[0].ctypes.data == address


@pytest.mark.parametrize("name", ["t", "x", "y", "p"])
def test_any_part_of_a_column_keeps_all_of_them(name):
    columns = Columns()
    columns.reserve(10)
    columns.arrays[0][:] = 7
    made = columns.events(10, SIZE)
    times, held = made.t.copy(), getattr(made, name)[3:].reshape(-1, 1)
    address = columns.arrays[0].ctypes.data
    del made
    columns.reserve(10)
    assert columns.arrays[0].ctypes.data != address
    del held
    columns.reserve(10)
    columns.reserve(10)
    assert times.tolist() == [7] * 10


def test_columns_in_use_are_left_alone():
    columns = Columns()
    held = []
    for k in range(6):
        columns.reserve(10)
        columns.arrays[0][:] = k
        held.append(columns.events(10, SIZE)[2:4])
    assert [part.t.tolist() for part in held] == [[k, k] for k in range(6)]


@pytest.mark.parametrize(
    "take",
    [
        lambda array, path: ek.frames(array),
        lambda array, path: ek.frames(array, n=2),
        lambda array, path: ek.voxel(array),
        lambda array, path: ek.represent(array, "frames:n=2"),
        lambda array, path: ek.transform(array, "crop:width=2"),
        lambda array, path: ek.write(path, array),
    ],
)
def test_an_array_in_the_place_of_events_is_told_how_they_are_made(take, tmp_path):
    for array in (np.zeros((5, 4)), make_events(5).structured(), [1, 2]):
        with pytest.raises(OptionError, match=r"expected Events, found .* Events\.from_structured"):
            take(array, tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())
