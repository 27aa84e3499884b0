"""Every representation against its definition in plain NumPy, event by event."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_events

import eventkit as ek
from eventkit import Events, OptionError
from eventkit.representations import REPRESENTATIONS, parse

RECORDINGS = {
    "usual": make_events(400, seed=1, size=(9, 7)),
    "one event": make_events(1, size=(3, 2)),
    "one time": Events(
        np.full(20, 5), np.arange(20) % 4, np.arange(20) % 3, np.arange(20) % 2, (4, 3)
    ),
    "one pixel": make_events(300, size=(1, 1)),
    "a line": make_events(300, size=(700, 1)),
    "far times": Events([-(2**60), 0, 2**60], [0, 1, 1], [0, 0, 0], [1, 0, 1], (2, 2)),
    "late": make_events(200, size=(4, 4)),
}
RECORDINGS["late"].t[:] += 10**15


def rows(events):
    columns = (events.t, events.x, events.y, events.p)
    return [tuple(int(value) for value in row) for row in zip(*columns, strict=True)]


def span_of(events):
    t = events.t.astype(object)
    return int(t.min()), int(t.max())


def zeros(events, *sides):
    return np.zeros((*sides, events.height, events.width))


def equal_slice(i, total, n):
    return i * n // total


def slices(events, n, duration):
    """The slice of a time, and the last µs of each slice."""
    t0, t1 = span_of(events)
    if duration is None:
        n = n or 1
        ends = [t0 + -(-(k + 1) * (t1 - t0 + 1) // n) - 1 for k in range(n)]
        return lambda t: (t - t0) * n // (t1 - t0 + 1), ends
    n = (t1 - t0) // duration + 1
    ends = [t0 + (k + 1) * duration - 1 for k in range(n - 1)] + [t1]
    return lambda t: (t - t0) // duration, ends


def frames(events, n, by, duration, count, stride, value, polarity, **_):
    t0, t1 = span_of(events)
    length = len(ek.represent(events, "frames", n=n, duration=duration, count=count, stride=stride))
    signed = np.zeros((length, 2, events.height, events.width), np.int64)
    for i, (t, x, y, p) in enumerate(rows(events)):
        at = i if duration is None else t - t0
        slice_ = duration or count
        if slice_:
            step = stride or slice_
            inside = [k for k in range(length) if k * step <= at < k * step + slice_]
        elif by == "time":
            inside = [(t - t0) * (n or 16) // (t1 - t0 + 1)]
        else:
            inside = [i * (n or 16) // len(events)]
        for k in inside:
            signed[k, p, y, x] += 1
    if value == "binary":
        signed = np.minimum(signed, 1)
    if value == "signed":
        signed[:, 0] *= -1
    if polarity == "split":
        return signed
    if polarity == "merged":
        merged = signed.sum(1, keepdims=True)
        return np.minimum(merged, 1) if value == "binary" else merged
    return signed[:, [int(polarity == "on")]]


def voxel(events, bins, polarity, normalize, like, **_):
    t0, t1 = span_of(events)
    out = zeros(events, bins, 2)
    for t, x, y, p in rows(events):
        at = (bins if like == "tonic" else bins - 1) * (t - t0) / max(t1 - t0, 1)
        for b in range(bins):
            out[b, p, y, x] += max(0.0, 1.0 - abs(b - at))
    if polarity == "signed" or like:
        out = out[:, 1:] - out[:, :1]
    if normalize == "max":
        out = out / np.abs(out).max()
    if like == "e2vid":
        # The sum of a pixel that cancels out to 0 is left out of the mean, so round as float32.
        mask = np.abs(out) > 1e-9
        values = out[mask]
        if len(values) and values.std() > 0:
            out = np.where(mask, (out - values.mean()) / values.std(), 0)
        elif len(values):
            out = np.where(mask, out - values.mean(), 0)
    return out


def spikes(events, duration, n, binary, **_):
    t0, t1 = span_of(events)
    length = (t1 - t0) // duration + 1 if n is None else n
    out = zeros(events, length, 1)
    for t, x, y, _p in rows(events):
        if (t - t0) // duration < length:
            out[(t - t0) // duration, 0, y, x] += 1
    return np.minimum(out, 1) if binary else out


def time_surface(events, tau, n, duration, decay, polarity, like, **_):
    slice_, ends = slices(events, n, duration)
    if like == "tonic":
        t0, t1 = span_of(events)
        ends = [t0 + (k + 1) * duration for k in range(max(1, (t1 - t0) // duration))]
    out = zeros(events, len(ends), 2 if polarity == "split" else 1)
    for t, x, y, p in rows(events):
        for k in range(slice_(t), len(ends)):
            age = (ends[k] - t) / tau
            value = max(0.0, 1 - age) if decay == "linear" else math.exp(-age)
            cell = k, p if polarity == "split" else 0, y, x
            out[cell] = max(out[cell], value)
    return out


def leaky(events, tau, n, duration, polarity, **_):
    slice_, ends = slices(events, n, duration)
    out = zeros(events, len(ends), 2)
    for t, x, y, p in rows(events):
        for k in range(slice_(t), len(ends)):
            out[k, p, y, x] += math.exp(-(ends[k] - t) / tau)
    if polarity == "split":
        return out
    return out[:, 1:] + (-out[:, :1] if polarity == "signed" else out[:, :1])


def bina_rep(events, n, bits, by, **_):
    t0, t1 = span_of(events)
    numbers = np.zeros((n, 2, events.height, events.width), np.int64)
    for i, (t, x, y, p) in enumerate(rows(events)):
        k = (
            equal_slice(t - t0, t1 - t0 + 1, n * bits)
            if by == "time"
            else equal_slice(i, len(events), n * bits)
        )
        numbers[k // bits, p, y, x] |= 1 << (bits - 1 - k % bits)
    return numbers / (2**bits - 1)


def stacked_histogram(events, bins, window, cutoff, like, **_):
    t0, t1 = span_of(events)
    windows = 1 if window is None else (t1 - t0) // window + 1
    out = np.zeros((windows, 2 * bins, events.height, events.width), np.int64)
    for t, x, y, p in rows(events):
        if like == "rvt":
            w = 0
            at = np.float32(t - t0) / np.float32(max(t1 - t0, 1)) * np.float32(bins)
            k = min(int(at), bins - 1)
        elif window is None:
            w, k = 0, (t - t0) * bins // (t1 - t0 + 1)
        else:
            w, k = (t - t0) // window, (t - t0) % window * bins // window
        out[w, p * bins + k, y, x] += 1
    if like == "rvt":
        return np.minimum(out % 256, cutoff or 10)
    return np.minimum(out, cutoff or 255)


def mixed_density(events, bins, cutoff, like, **_):
    t0, t1 = span_of(events)
    out = np.zeros((bins, events.height, events.width), np.int64)
    for t, x, y, p in rows(events):
        for k in range(bins):  # channel bins − 1 − k: the first 1 / 2^k of the time
            if k == 0 or (t - t0) * 2**k < max(t1 - t0, 1):
                out[bins - 1 - k, y, x] += 2 * p - 1
    limit = 127
    if like == "rvt":
        out, limit = (out + 128) % 256 - 128, 32
    return out.clip(-(cutoff or limit), cutoff or limit)[None]


def _moments(events, merged):
    t0, t1 = span_of(events)
    times = {}
    for t, x, y, p in rows(events):
        times.setdefault((0 if merged else p, y, x), []).append((t - t0) / max(t1 - t0, 1))
    return times


def event_count_image(events, **_):
    out = zeros(events, 1, 4)
    for (p, y, x), times in _moments(events, False).items():
        out[0, p, y, x], out[0, 2 + p, y, x] = len(times), max(times)
    return out


def event_frame(events, polarity, **_):
    merged = polarity == "merged"
    out = zeros(events, 1, 3 if merged else 6)
    for (p, y, x), times in _moments(events, merged).items():
        out[0, 3 * p : 3 * p + 3, y, x] = len(times), np.mean(times), np.std(times)
    return out


def tencode(events, **_):
    t0, t1 = span_of(events)
    out = zeros(events, 1, 3)
    for t, x, y, p in sorted(rows(events), key=lambda row: (row[0], row[3])):
        green = math.floor(255 * (t1 - t) / max(t1 - t0, 1))
        out[0, :, y, x] = 255 * p, green, 255 * (1 - p)
    return out


def tore(events, k, cap, **_):
    _, t1 = span_of(events)
    ages = {}
    for t, x, y, p in rows(events):
        ages.setdefault((p, y, x), []).append(min(t1 - t, cap))
    out = np.full((2, k, events.height, events.width), float(cap))
    for (p, y, x), values in ages.items():
        recent = sorted(values)[:k]
        out[p, : len(recent), y, x] = recent
    return np.maximum(np.log(out + 1) - np.log(151), 0).reshape(1, 2 * k, *out.shape[2:])


def est(events, bins, **_):
    t0, t1 = span_of(events)
    out = zeros(events, 1, 2 * bins)
    for t, x, y, p in rows(events):
        time = (t - t0) / max(t1 - t0, 1)
        for i in range(bins):
            out[0, p * bins + i, y, x] += time * max(0.0, 1 - abs(time * (bins - 1) - i))
    return out


def ergo12(events, **_):
    t0, t1 = span_of(events)
    n = len(events)
    all_ = [((t - t0) / max(t1 - t0, 1), x, y, 2 * p - 1) for t, x, y, p in rows(events)]
    third, half = n // 3, all_[n // 2 :]
    quarter = half[n // 2 // 2 :]
    eighth = quarter[n // 2 // 2 // 2 :]
    thirds = [all_[i * third : (i + 1) * third] for i in range(3)]
    windows = [all_, *thirds, half, quarter, eighth]
    channels = [
        (0, lambda t, p: p, 0, np.var), (3, lambda t, p: t, -1, np.var),
        (2, lambda t, p: 1, -1, np.mean), (6, lambda t, p: p, 0, np.sum),
        (5, lambda t, p: 1, 1, np.mean), (6, lambda t, p: 1, 0, np.sum),
        (2, lambda t, p: t, 1, np.mean), (5, lambda t, p: 1, -1, np.mean),
        (1, lambda t, p: t, -1, np.max), (0, lambda t, p: t, 1, np.max),
        (4, lambda t, p: t, 0, np.max), (1, lambda t, p: 1, 0, np.mean),
    ]  # fmt: skip
    out = zeros(events, 1, 12)
    for c, (window, measure, wanted, aggregate) in enumerate(channels):
        values = {}
        for t, x, y, p in windows[window]:
            if wanted in (0, p):
                values.setdefault((y, x), []).append(measure(t, p))
        for (y, x), found in values.items():
            out[0, c, y, x] = aggregate(found)
    return out


def hats(events, cell, surface, window, tau, decay, **_):
    across, down = -(-events.width // cell), -(-events.height // cell)
    sums = np.zeros((across * down, 2, surface, surface))
    counts = np.zeros((across * down, 2))
    seen, rho = [], surface // 2
    for t, x, y, p in rows(events):
        place = y // cell, x // cell
        number = place[0] * across + place[1]
        counts[number, p] += 1
        sums[number, p, rho, rho] += 1
        for s, u, v, q in seen:
            near = abs(u - x) <= rho and abs(v - y) <= rho and (v // cell, u // cell) == place
            if q == p and near and t - s <= window:
                age = (t - s) / tau
                value = max(0.0, 1 - age / 3) if decay == "linear" else math.exp(-age)
                sums[number, p, v - y + rho, u - x + rho] += value
        seen.append((t, x, y, p))
    return sums / np.maximum(counts, 1)[..., None, None]


TWINS = {name: globals().get(name) for name in REPRESENTATIONS}
SPECS = [
    *(name for name in REPRESENTATIONS),
    "frames:count=30,stride=20,polarity=merged",
    "frames:n=3,by=time,value=binary,polarity=merged",
    "frames:n=3,value=signed",
    "frames:n=3,polarity=on,value=signed",
    "frames:n=3,polarity=off",
    "voxel:polarity=signed,normalize=max",
    "voxel:bins=4,like=e2vid",
    "voxel:bins=4,like=tonic",
    "time_surface:n=3,decay=linear,polarity=merged",
    "time_surface:n=5,tau=3ms",
    "leaky:n=5,polarity=signed",
    "leaky:n=2,polarity=merged,tau=1s",
    "bina_rep:n=3,bits=5,by=number",
    "stacked_histogram:bins=3,cutoff=2",
    "stacked_histogram:bins=7,like=rvt",
    "mixed_density:bins=3,cutoff=1",
    "mixed_density:like=rvt",
    "event_frame:polarity=merged",
    "tore:k=3,cap=1ms",
    "hats:cell=5,surface=3,decay=linear,window=30ms,tau=2ms",
    "hats:cell=3,surface=1,window=0",
    "spikes:n=3,binary=true,duration=2ms",
]
# One window per some ms: not for recordings that last years.
BY_DURATION = [
    "spikes",
    "frames:duration=2ms,stride=1ms",
    "time_surface:duration=2ms",
    "time_surface:duration=2ms,like=tonic",
    "leaky:duration=2ms",
    "stacked_histogram:window=3ms,bins=2",
]


def check(events, spec):
    entry, options = parse(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = ek.represent(events, spec)
        expected = TWINS[entry.name](events, **options)
    assert out.shape == expected.shape
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-6, err_msg=spec)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_every_representation_has_a_twin(name):
    assert callable(TWINS[name]), f"write a function {name} in {__file__}"


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("spec", SPECS)
def test_representation_is_its_definition(spec, recording):
    events = RECORDINGS[recording]
    if spec == "spikes" and recording == "far times":
        pytest.skip("bins of 10 ms over 70,000 years")
    if "tonic" in spec and int(events.t[0]) == int(events.t[-1]):
        with pytest.raises(OptionError, match="Tonic's grid is NaN"):
            ek.represent(events, spec)
        return
    check(events, spec)


@pytest.mark.parametrize("name", [name for name in REPRESENTATIONS if name != "frames"])
def test_definition_holds_on_a_large_sensor(name):
    check(make_events(200, size=(1280, 720)), name)


@pytest.mark.parametrize("spec", BY_DURATION)
def test_slices_of_a_duration_are_their_definition(spec):
    check(RECORDINGS["usual"], spec)


@pytest.mark.parametrize("name", [name for name in REPRESENTATIONS if name != "spikes"])
@given(
    st.lists(
        st.tuples(st.integers(-50, 90), st.integers(0, 3), st.integers(0, 2), st.integers(0, 1)),
        min_size=1,
        max_size=40,
    )
)
def test_small_recordings_in_any_order(name, values):
    ordered = sorted(values, key=lambda row: row[0])
    columns = [np.array(column) for column in zip(*ordered, strict=True)]
    check(Events(*columns, size=(4, 3)), name)


def test_many_events_of_one_pixel():
    n = 1 << 16
    zero = np.zeros(n, int)
    same = Events(np.arange(n), zero, zero, zero + 1, (1, 1))
    assert ek.represent(same, "stacked_histogram", bins=1).max() == 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # 65,536 wrap to 0, which does not mean that there is none
        assert ek.represent(same, "stacked_histogram", bins=1, like="rvt").max() == 0
    assert ek.represent(same, "mixed_density", bins=1).max() == 127
    assert ek.represent(same, "frames", n=1, value="binary").max() == 1
    for spec in ("frames:n=1", "frames:n=1,value=signed", "spikes:duration=1s"):
        with pytest.raises(OptionError, match="65,53"):
            ek.represent(same, spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("frames:count=5,stride=6", "stride=6 with 5; expected a stride of at most"),
        ("frames:n=5,stride=2", "stride=2 with n"),
        ("frames:count=5,n=2", "n=2 and count=5 are given together"),
        ("frames:n=5,like=tonic,value=binary", "like=tonic goes with n, by and duration only"),
        ("voxel:like=tonic,polarity=signed", "like=tonic decides polarity"),
        ("time_surface:tau=0", "tau is 0"),
        ("time_surface:tau=5parsec", "tau is '5parsec', expected a time such as 50ms"),
        ("time_surface:like=tonic", "needs a duration"),
        ("time_surface:n=2,duration=1ms", "n=2 and duration=1000 are both given"),
        ("leaky:n=0", "n is 0"),
        ("leaky:tau=-1", "tau is -1"),
        ("bina_rep:bits=25", "bits is 25, expected 1 to 24"),
        ("bina_rep:n=0", "n is 0"),
        ("stacked_histogram:bins=0", "bins is 0"),
        ("stacked_histogram:cutoff=256", "cutoff is 256"),
        ("stacked_histogram:window=5", "less than 1 µs for each of 10 bins"),
        ("stacked_histogram:window=50ms,like=rvt", "makes one window of a sample"),
        ("mixed_density:bins=61", "bins is 61"),
        ("mixed_density:cutoff=128", "cutoff is 128"),
        ("tore:k=0", "k is 0"),
        ("tore:cap=100", "cap is 100"),
        ("est:bins=1", "bins is 1"),
        ("hats:surface=4", "surface is 4, expected an odd number"),
        ("hats:cell=3,surface=5", "at most the cell's 3"),
        ("hats:tau=0", "tau=0"),
        ("spikes:duration=0", "duration is 0"),
        ("spikes:n=0", "n is 0"),
    ],
)
def test_wrong_option_is_refused(spec, message, recording):
    with pytest.raises(OptionError, match=message):
        ek.represent(recording, spec)


def test_unordered_chunks_of_hats_are_refused(recording):
    from eventkit.events import chunks
    from eventkit.representations import Whole, accumulate

    backward = recording[::-1]
    entry, options = parse("hats")
    with pytest.raises(OptionError, match="not in order of time; sort them first"):
        accumulate(chunks(backward, 7), Whole.of(backward), backward.size, entry, options)
    assert np.array_equal(ek.represent(backward, "hats"), ek.represent(backward.sort(), "hats"))


def test_overflow_names_what_is_in_the_frame():
    zero = np.zeros(80_000, int)
    both = Events(np.arange(80_000), zero, zero, np.arange(80_000) % 2, (2, 1))
    with pytest.raises(OptionError, match="would count 80,000 events in the pixel x=0"):
        ek.represent(both, "frames", n=1, polarity="merged")
    on = Events.concat(
        [
            Events(np.arange(70_000), zero[:70_000], zero[:70_000], zero[:70_000] + 1, (2, 1)),
            Events(np.arange(80_000), zero + 1, zero, zero, (2, 1)),
        ]
    )
    with pytest.raises(OptionError, match="would count 70,000 ON events in the pixel x=0"):
        ek.represent(on, "frames", n=1, polarity="on")


def test_zeros_are_called_empty_only_where_events_are_counted():
    events = Events([0, 1], [0, 0], [0, 0], [0, 1], (1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not ek.represent(events, "frames", n=1, value="signed", polarity="merged").any()
        assert not ek.represent(events[:1], "est").any()
    with pytest.warns(UserWarning, match="1 of 2 bins hold no event"):
        ek.represent(events[:1], "frames", n=2)


@pytest.mark.parametrize("spec", ["spikes:duration=100000000000000s", "tore:cap=99999999999999s"])
def test_times_of_many_thousand_years_are_refused(spec, recording):
    with pytest.raises(OptionError, match="73,000 years"):
        ek.represent(recording, spec)
