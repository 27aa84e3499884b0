"""Representations of batches as torch operations: equal to the compiled kernels."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from making import make_events  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit import Events, OptionError  # noqa: E402
from eventkit.loader.packed import PackedEvents, represent_packed  # noqa: E402

SIZE = (9, 7)
LATE = make_events(300, SIZE, seed=4)
SAMPLES = [
    make_events(400, SIZE, seed=1),
    Events.empty(SIZE),
    make_events(1, SIZE, seed=2),
    Events.trusted(LATE.t + 10**15, LATE.x, LATE.y, LATE.p, SIZE),
    make_events(350, SIZE, seed=3)[::-1],
]
SPECS = [
    "frames:n=4",
    "frames",
    "frames:n=4,by=time",
    "frames:duration=3ms",
    "frames:n=3,value=signed,polarity=merged",
    "frames:n=3,value=binary",
    "frames:n=3,polarity=on",
    "voxel",
    "voxel:bins=1",
    "voxel:bins=7,polarity=signed",
    "time_surface",
    "time_surface:n=4,decay=linear,tau=5ms",
    "time_surface:duration=3ms,polarity=merged,tau=2ms",
    "stacked_histogram",
    "stacked_histogram:bins=3,cutoff=2",
    "stacked_histogram:bins=3,window=4ms",
]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]

pytestmark = pytest.mark.filterwarnings("ignore:.*no event")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("spec", SPECS)
def test_batch_is_its_samples(spec, device):
    packed = PackedEvents.of(SAMPLES).to(device)
    batch = represent_packed(packed, spec).cpu().numpy()
    for sample, out in zip(SAMPLES, batch, strict=True):
        expected = ek.represent(sample, spec)
        if not len(sample):
            assert not out.any()
            continue
        np.testing.assert_allclose(out[: len(expected)], expected, rtol=1e-5, atol=1e-6)
        assert not out[len(expected) :].any()
        if np.issubdtype(expected.dtype, np.integer):
            assert np.array_equal(out[: len(expected)], expected)


def test_events_outside_are_refused_or_left_out():
    wide = make_events(50, (20, 7))
    events = Events(wide.t, wide.x, wide.y, wide.p, SIZE)
    packed = PackedEvents.of([events])
    with pytest.raises(OptionError, match=r"lie outside the sensor of 9x7.*bounds='drop'"):
        represent_packed(packed, "frames:n=2")
    out = represent_packed(packed, "frames:n=2,bounds=drop")[0]
    assert np.array_equal(out.numpy(), ek.represent(events, "frames:n=2,bounds=drop"))


def test_only_empty_samples_are_zeros():
    out = represent_packed(PackedEvents.of([Events.empty(SIZE)] * 2), "voxel:bins=3")
    assert out.shape == (2, 3, 2, 7, 9)
    assert not out.any()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hats", "hats cannot be made from a batch of events; use frames"),
        ("frames:count=5", "count is not available"),
        ("voxel:like=tonic", "like is not available"),
        ("voxel:normalize=max", "normalize is not available"),
    ],
)
def test_what_has_no_twin_is_refused(spec, message):
    with pytest.raises(OptionError, match=message):
        represent_packed(PackedEvents.of(SAMPLES), spec)


def test_sizes_must_agree():
    with pytest.raises(OptionError, match="samples of one sensor size"):
        PackedEvents.of([Events.empty((3, 3)), Events.empty((4, 3))])
