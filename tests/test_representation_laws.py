"""What holds for every representation, whatever it computes."""

import json

import numpy as np
import pytest
from making import make_events

import eventkit as ek
from eventkit import Events, OptionError
from eventkit.events import chunks
from eventkit.registry import format_spec
from eventkit.representations import REPRESENTATIONS, Whole, accumulate, allocate, parse

# Every representation with its defaults, and what has other code paths.
SPECS = [
    *REPRESENTATIONS,
    "frames:n=7,by=time",
    "frames:duration=3000",
    "frames:n=7,like=spikingjelly",
    "frames:n=7,by=time,like=spikingjelly",
    "frames:duration=3000,like=spikingjelly",
    "frames:n=7,like=tonic",
    "frames:n=7,by=time,like=tonic",
    "frames:duration=3000,like=tonic",
    "voxel:bins=1",
    "voxel:bins=9",
]
ORDERED = [spec for spec in SPECS if "like" in spec and ("time" in spec or "duration" in spec)]
FAILS_ON_NOTHING = [spec for spec in ORDERED if "spikingjelly" in spec]
DROPPING = [spec for spec in SPECS if "bounds" in parse(spec)[1] and "like" not in spec]

pytestmark = pytest.mark.filterwarnings("ignore:.*bins hold no event")


def with_bounds_dropped(spec: str) -> str:
    return spec + ("," if ":" in spec else ":") + "bounds=drop"


@pytest.mark.parametrize("spec", SPECS)
def test_input_stays_as_it_was(spec, recording):
    before = recording.copy()
    ek.represent(recording, spec)
    assert recording == before


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("n_chunk", [1, 7, 1000])
def test_chunks_of_any_length_give_the_same_array(spec, n_chunk, recording):
    entry, options = parse(spec)
    whole = Whole.of(recording)
    parts = chunks(recording, n_chunk)
    out, placed = accumulate(parts, whole, recording.size, entry, options)
    assert np.array_equal(out, ek.represent(recording, spec))
    _, placed_at_once = accumulate([recording], whole, recording.size, entry, options)
    assert placed == placed_at_once


@pytest.mark.parametrize("spec", SPECS)
def test_first_sample_leaves_no_trace_in_the_second(spec, recording):
    expected = ek.represent(recording, spec)
    ek.represent(make_events(300, seed=9), spec)
    assert np.array_equal(ek.represent(recording, spec), expected)


@pytest.mark.parametrize("spec", SPECS)
def test_options_survive_text_and_json(spec, recording):
    entry, options = parse(spec)
    through_json = json.loads(json.dumps(options))
    again, options_again = parse(format_spec(entry.name, through_json))
    assert (again, options_again) == (entry, options)
    assert np.array_equal(
        ek.represent(recording, format_spec(entry.name, options)), ek.represent(recording, spec)
    )


@pytest.mark.parametrize("spec", SPECS)
def test_shape_and_type_are_as_promised(spec, recording):
    entry, options = parse(spec)
    out = ek.represent(recording, spec)
    assert out.dtype == entry.dtype
    assert out.flags.c_contiguous
    assert out.shape == entry.shape(Whole.of(recording), recording.size, **options)
    assert out.shape[2:] == (34, 34)
    assert all(isinstance(side, int) for side in out.shape)
    one_event = entry.shape(Whole(1, 0, 0), recording.size, **options)
    assert one_event[1:] == out.shape[1:], "only T may depend on the sample"
    if entry.fixed(options):
        assert one_event == out.shape


@pytest.mark.parametrize("spec", SPECS)
def test_sum_is_the_number_of_events_placed(spec, recording):
    entry, options = parse(spec)
    out, placed = accumulate([recording], Whole.of(recording), recording.size, entry, options)
    assert out.sum(dtype=float) == pytest.approx(placed, rel=1e-6)
    if "tonic" not in spec:
        assert placed == len(recording)


@pytest.mark.parametrize("spec", DROPPING)
@pytest.mark.parametrize("n_chunk", [7, 1000])
def test_events_outside_the_sensor_are_dropped_and_counted(spec, n_chunk):
    wide = make_events(size=(40, 34))
    narrow = Events(wide.t, wide.x, wide.y, wide.p, size=(34, 34))
    entry, options = parse(with_bounds_dropped(spec))
    parts = chunks(narrow, n_chunk)
    out, placed = accumulate(parts, Whole.of(narrow), narrow.size, entry, options)
    assert placed == len(narrow) - narrow.out_of_bounds
    assert out.sum(dtype=float) == pytest.approx(placed, rel=1e-6)
    full = ek.represent(wide, spec)
    assert np.array_equal(out, full[..., :34]), "an event outside must not move another"


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec not in ORDERED])
def test_chunks_may_be_out_of_order(spec, recording):
    shuffled = recording[np.random.default_rng(5).permutation(len(recording))]
    entry, options = parse(spec)
    parts = chunks(shuffled, 7)
    out, _ = accumulate(parts, Whole.of(shuffled), shuffled.size, entry, options)
    assert np.array_equal(out, ek.represent(shuffled, spec))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec not in FAILS_ON_NOTHING])
def test_no_events_are_zeros(spec):
    with pytest.warns(UserWarning, match="there are no events"):
        out = ek.represent(Events.empty((5, 4)), spec)
    assert out.shape[0] >= 1
    assert out.shape[2:] == (4, 5)
    assert not out.any()


@pytest.mark.parametrize("spec", SPECS)
def test_array_given_is_cleared_and_filled(spec, recording):
    entry, options = parse(spec)
    whole = Whole.of(recording)
    out = allocate(entry, whole, recording.size, options)
    out.fill(77)
    filled, _ = accumulate([recording], whole, recording.size, entry, options, out)
    assert filled is out
    assert np.array_equal(out, ek.represent(recording, spec))


@pytest.mark.parametrize("spec", SPECS)
def test_array_given_of_another_shape_or_type_is_refused(spec, recording):
    entry, options = parse(spec)
    whole = Whole.of(recording)
    right = allocate(entry, whole, recording.size, options)
    for wrong in (right[:-1], right.astype(np.float64), right[..., ::-1]):
        with pytest.raises(OptionError, match=r"out is .*, expected contiguous"):
            accumulate([recording], whole, recording.size, entry, options, wrong)


def test_whole_knows_order_and_span(recording):
    assert Whole.of(recording) == Whole(1000, int(recording.t[0]), int(recording.t[-1]), True)
    backward = recording[::-1]
    assert Whole.of(backward) == Whole(1000, int(recording.t[0]), int(recording.t[-1]), False)
    assert Whole.of(recording[:0]) == Whole(0, 0, 0, True)
