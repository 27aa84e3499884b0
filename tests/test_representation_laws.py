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
    "bina_rep:n=3,bits=5,by=number",
    "event_frame:polarity=merged",
    "frames:n=7,by=time",
    "frames:duration=3000",
    "frames:count=90",
    "frames:count=90,stride=40",
    "frames:duration=3ms,stride=1ms",
    "frames:value=binary",
    "frames:value=signed,polarity=merged",
    "frames:polarity=on",
    "frames:n=7,like=spikingjelly",
    "frames:n=7,by=time,like=spikingjelly",
    "frames:duration=3000,like=spikingjelly",
    "frames:n=7,like=tonic",
    "frames:n=7,by=time,like=tonic",
    "frames:duration=3000,like=tonic",
    "hats:cell=7,surface=3,decay=linear",
    "leaky:n=4,polarity=signed",
    "leaky:duration=3000",
    "mixed_density:bins=4,like=rvt",
    "spikes:duration=3000,n=2",
    "stacked_histogram:window=5ms,bins=3",
    "stacked_histogram:like=rvt",
    "time_surface:n=4,decay=linear,polarity=merged",
    "time_surface:duration=3000",
    "time_surface:duration=3000,like=tonic",
    "tore:k=2",
    "voxel:bins=1",
    "voxel:bins=9",
    "voxel:polarity=signed,normalize=max",
    "voxel:like=e2vid",
    "voxel:like=tonic",
]


def counts_all(spec: str) -> bool:
    """Whether the sum of the array is the number of events in it."""
    name, options = parse(spec)[0].name, parse(spec)[1]
    if name == "frames":
        return options["value"] == "count" and options["stride"] is None
    plain = name == "voxel" and options["polarity"] == "split" and options["like"] is None
    return plain or name == "spikes" or spec == "stacked_histogram"


COUNTING = [spec for spec in SPECS if counts_all(spec)]
LEAVES_OUT = [
    "frames:polarity=on",
    "spikes:duration=3000,n=2",
    "time_surface:duration=3000,like=tonic",
]
ORDERED = [
    *(spec for spec in SPECS if "like" in spec and ("time" in spec or "duration" in spec)),
    *(spec for spec in SPECS if spec.startswith("hats")),
]
FAILS_ON_NOTHING = [spec for spec in ORDERED if "spikingjelly" in spec]
DROPPING = [spec for spec in SPECS if "bounds" in parse(spec)[1] and "like" not in spec]
# In these, an event outside of the sensor may change more than its own pixel.
BY_PIXEL = [spec for spec in DROPPING if "hats" not in spec and "normalize" not in spec]

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
    assert out.dtype == entry.dtype_of(options)
    assert out.flags.c_contiguous
    assert out.shape == entry.shape(Whole.of(recording), recording.size, **options)
    if entry.name != "hats":
        assert out.shape[2:] == (34, 34)
    assert all(isinstance(side, int) for side in out.shape)
    one_event = entry.shape(Whole(1, 0, 0), recording.size, **options)
    assert one_event[1:] == out.shape[1:], "only T may depend on the sample"
    if entry.fixed(options):
        assert one_event == out.shape


@pytest.mark.parametrize("spec", COUNTING)
def test_sum_is_the_number_of_events_placed(spec, recording):
    entry, options = parse(spec)
    out, placed = accumulate([recording], Whole.of(recording), recording.size, entry, options)
    assert out.sum(dtype=float) == pytest.approx(placed, rel=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_every_event_is_placed_or_said_to_be_left_out(spec, recording):
    entry, options = parse(spec)
    _, placed = accumulate([recording], Whole.of(recording), recording.size, entry, options)
    if "frames" in spec and "tonic" in spec:
        assert placed <= len(recording)
    elif spec in LEAVES_OUT:
        assert 0 < placed < len(recording)
    else:
        assert placed == len(recording)


@pytest.mark.parametrize("spec", DROPPING)
def test_events_outside_the_sensor_are_refused_by_default(spec):
    wide = make_events(size=(40, 34))
    narrow = Events(wide.t, wide.x, wide.y, wide.p, size=(34, 34))
    with pytest.raises(OptionError, match=r"events lie outside the sensor of 34x34.*bounds='drop'"):
        ek.represent(narrow, spec)


@pytest.mark.parametrize("spec", BY_PIXEL)
@pytest.mark.parametrize("n_chunk", [7, 1000])
def test_events_outside_the_sensor_are_dropped_and_counted(spec, n_chunk):
    wide = make_events(size=(40, 34))
    narrow = Events(wide.t, wide.x, wide.y, wide.p, size=(34, 34))
    entry, options = parse(with_bounds_dropped(spec))
    parts = chunks(narrow, n_chunk)
    out, placed = accumulate(parts, Whole.of(narrow), narrow.size, entry, options)
    if spec not in LEAVES_OUT:
        assert placed == len(narrow) - narrow.out_of_bounds
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
    if "hats" not in spec:
        assert out.shape[2:] == (4, 5)
    # A pixel that never saw an event has the greatest age.
    assert (
        out == np.float32(np.log(5_000_001) - np.log(151)) if "tore" in spec else out == 0
    ).all()


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
    for wrong in (right[:-1], right.astype(np.complex64), right[..., ::-1]):
        with pytest.raises(OptionError, match=r"out is .*, expected contiguous"):
            accumulate([recording], whole, recording.size, entry, options, wrong)


def test_whole_knows_order_and_span(recording):
    assert Whole.of(recording) == Whole(1000, int(recording.t[0]), int(recording.t[-1]), True)
    backward = recording[::-1]
    assert Whole.of(backward) == Whole(1000, int(recording.t[0]), int(recording.t[-1]), False)
    assert Whole.of(recording[:0]) == Whole(0, 0, 0, True)
