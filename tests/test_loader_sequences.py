"""Lanes of windows: every frame once, the same in every run, and training as on whole sequences."""

import itertools
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from making import make_events  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.errors import OptionError  # noqa: E402
from eventkit.loader import EventDataset, Sequences, loader  # noqa: E402
from eventkit.loader.sequences import lay_out  # noqa: E402
from eventkit.snn import neuron as make_neuron  # noqa: E402


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    root = tmp_path_factory.mktemp("long")
    for number in range(9):
        folder = root / "train" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        events = make_events(300 + 130 * number, size=(8, 6), seed=number)
        ek.write(folder / f"{number}.npz", events)
    convert(root, out=root / "events.zarr", represent="events")
    convert(root, out=root / "frames.zarr", represent="frames:duration=1500")
    return root


@pytest.fixture(scope="module", params=["frames", "events"])
def dataset(request, recordings):
    represent = "frames:duration=1500" if request.param == "events" else None
    return EventDataset(recordings / f"{request.param}.zarr", represent=represent)


@given(
    st.lists(st.integers(1, 30), max_size=20), st.integers(1, 5), st.integers(1, 7), st.randoms()
)
def test_a_layout_has_every_window_once_and_lanes_without_gaps(lengths, lanes, length, random):
    recordings = np.array(random.sample(range(100), len(lengths)), np.int64)
    samples, first = lay_out(recordings, np.array(lengths, np.int64), lanes, length)
    found = {(s, f) for s, f in zip(samples.flat, first.flat, strict=True) if s >= 0}
    expected = {
        (r, f) for r, n in zip(recordings, lengths, strict=True) for f in range(0, n, length)
    }
    assert found == expected
    assert (samples >= 0).sum() == len(expected)
    for lane in range(lanes):
        column = list(zip(samples[:, lane].tolist(), first[:, lane].tolist(), strict=True))
        for before, after in itertools.pairwise(column):
            assert after[1] == 0 or after == (before[0], before[1] + length)
            assert before[0] >= 0 or after[0] == -1


@pytest.mark.parametrize("time_first", [False, True])
def test_every_frame_comes_once_with_what_is_known_of_it(dataset, time_first):
    dataset = EventDataset(
        dataset.store, represent="frames:duration=1500", time_first=time_first, dtype=None
    )
    found = {}
    for epoch in range(2):
        parts = {i: [] for i in range(9)}
        for w in Sequences(dataset, lanes=3, length=4, shuffle=True, seed=epoch):
            frames = w.frames.transpose(0, 1) if time_first else w.frames
            assert frames.shape == (3, 4, 2, 6, 8)
            for lane in range(3):
                sample, n = int(w.samples[lane]), int(w.is_frame[lane].sum())
                assert bool(w.keep_state[lane]) == (sample >= 0 and w.first[lane] > 0)
                assert not frames[lane, n:].numpy().any()
                if sample < 0:
                    assert (n, w.labels[lane]) == (0, -1)
                    continue
                assert w.labels[lane] == dataset.labels[sample]
                assert sum(len(part) for part in parts[sample]) == w.first[lane]
                parts[sample].append(frames[lane, :n].numpy().copy())
                last = w.first[lane] + n == dataset.lengths[sample]
                assert w.is_labeled[lane].tolist() == [last and k == n - 1 for k in range(4)]
            assert len(w.targets) == int(w.is_labeled.sum())
        whole = EventDataset(dataset.store, represent="frames:duration=1500", dtype=None)
        for sample, pieces in parts.items():
            np.testing.assert_array_equal(np.concatenate(pieces), whole[sample][0].numpy())
        found[epoch] = parts


@pytest.mark.parametrize("spec", ["lif", "lif:v_reset=0.5", "gn", "cuba:v_reset=-0.5"])
def test_carried_state_and_cut_gradients_equal_the_whole_sequence(dataset, spec):
    torch.manual_seed(0)
    layer, neuron, lanes = torch.nn.Conv2d(2, 3, 3).double(), make_neuron(spec).double(), 2

    def run(frames, state):  # (N, L, C, H, W) -> (L, N, ...)
        x = torch.stack([layer(step.double()) for step in frames.transpose(0, 1)])
        return neuron.run(x, state)

    spikes = {i: [] for i in range(9)}
    state, total = None, 0.0
    for w in Sequences(dataset, lanes=lanes, length=5, shuffle=True):
        state = neuron.carry_over(state, w.keep_state)
        out, state = run(w.frames, state)
        total = total + (out.transpose(0, 1)[w.is_frame]).sum().detach()
        for lane in range(lanes):
            if w.samples[lane] >= 0:
                spikes[int(w.samples[lane])].append(out[: w.is_frame[lane].sum(), lane].detach())
    for sample in range(9):
        whole, _ = run(dataset[sample][0][None], None)
        assert torch.equal(torch.cat(spikes[sample]), whole[:, 0].detach())
    assert total > 0
    # One window that holds a whole recording has the gradients of the whole recording.
    grads = []
    for frames in (next(iter(Sequences(dataset, lanes=1, length=50))).frames, dataset[0][0][None]):
        layer.zero_grad()
        out, _ = run(frames[:, : dataset.lengths[0]], None)
        out.sum().backward()
        grads.append(layer.weight.grad.clone())
    assert torch.equal(*grads)


def windows(sequences):
    return [[p if isinstance(p, list) else p.tolist() for p in w] for w in sequences]


@pytest.mark.parametrize("position", [0, 1, 5, 1000])
def test_it_goes_on_exactly_with_other_processes(dataset, position):
    settings = {"length": 3, "shuffle": True, "seed": 2}
    one = Sequences(dataset, lanes=4, **settings)
    windows(one)
    kept, state = [], one.state_dict()
    for k, w in enumerate(one):
        if k < position:
            state = json.loads(json.dumps(one.state_dict()))
        else:
            kept.append(w)
    ranks = [Sequences(dataset, lanes=2, rank=r, world_size=2, **settings) for r in range(2)]
    for sequences in ranks:
        sequences.load_state_dict(state)
        sequences.set_epoch(1 if position else state["epoch"] + 1)
    given = [list(sequences) for sequences in ranks]
    assert [len(rank) for rank in given] == [len(kept)] * 2
    for k, w in enumerate(kept):
        for rank in range(2):
            assert torch.equal(given[rank][k].frames, w.frames[rank::2])
            assert torch.equal(given[rank][k].samples, w.samples[rank::2])
    with pytest.raises(OptionError, match="its lanes is 4, here it is 3"):
        Sequences(dataset, lanes=3, **settings).load_state_dict(state)


def test_epochs_differ_and_runs_do_not(dataset):
    one, other = (Sequences(dataset, lanes=2, length=4, shuffle=True, threads=n) for n in (1, 3))
    epochs = [windows(one) for _ in range(2)]
    assert epochs == [windows(other) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert (len(one), one.epoch) == (len(epochs[1]), 1)


def test_targets_of_frames_come_in_order(dataset):
    targets = {0: {0: "a", 3: "b", 999: "beyond"}, 2: {5: "c"}}
    found = []
    for w in Sequences(dataset, lanes=2, length=4, targets=targets):
        lanes, steps = np.nonzero(w.is_labeled.numpy())
        assert len(lanes) == len(w.targets)
        for lane, step, target in zip(lanes, steps, w.targets, strict=True):
            found.append((int(w.samples[lane]), int(w.first[lane]) + int(step), target))
    assert sorted(found) == [(0, 0, "a"), (0, 3, "b"), (2, 5, "c")]


def test_geometry_is_that_of_the_whole_recording(dataset):
    options = {"represent": "frames:duration=1500", "augment": ["flip", "rotate"], "seed": 1}
    changed = EventDataset(dataset.store, **options)
    changed.set_epoch(0)
    for w in Sequences(changed, lanes=1, length=3):
        sample, first = int(w.samples[0]), int(w.first[0])
        n = int(w.is_frame.sum())
        assert torch.equal(w.frames[0, :n], changed[sample][0][first : first + n])
    deleting = EventDataset(
        dataset.store, represent="frames:duration=1500", augment=["temporal_delete:keep=3"]
    )
    with pytest.raises(OptionError, match="keep their number"):
        Sequences(deleting, lanes=1, length=3)
    with pytest.raises(OptionError, match="lanes=0, length=3"):
        Sequences(dataset, lanes=0, length=3)


def test_boxes_move_with_their_windows(dataset):
    options = {"represent": "frames:duration=1500", "augment": ["flip", "shift:share=0.4"]}
    changed = EventDataset(dataset.store, **options)
    boxes = np.array(
        [(1, 2, 3, 2, 1), (0, 0, 1, 1, 2)], [*((n, "f4") for n in "xywh"), ("c", "u1")]
    )
    targets = {number: {0: boxes, 4: boxes} for number in range(9)}
    seen = []
    for epoch in range(2):
        for w in Sequences(changed, lanes=2, length=3, targets=targets, seed=epoch):
            lanes = np.nonzero(w.is_labeled.numpy())[0]
            for lane, found in zip(lanes, w.targets, strict=True):
                expected = changed.boxes(int(w.samples[lane]), boxes, epoch=0)
                assert found.tolist() == expected.tolist()
                seen.append(str(found.tolist()))
    assert len(set(seen)) > 3
    with pytest.raises(OptionError, match="is list, which flip"):
        list(Sequences(changed, lanes=2, length=3, targets={0: {0: [1, 2, 3, 4]}}))
    plain = Sequences(changed, lanes=2, length=3, targets={0: {0: "car"}})
    assert [t for w in plain for t in w.targets] == ["car"]


@pytest.mark.parametrize("indices", [[9], [-1], [[0]], [0.5]])
def test_indices_that_are_none_are_refused(dataset, indices):
    with pytest.raises(OptionError, match=r"numbers of samples, 0\.\.8"):
        Sequences(dataset, lanes=2, length=3, indices=indices)
    with pytest.raises(OptionError, match=r"numbers of samples, 0\.\.8"):
        loader(dataset, 2, indices=indices)


def test_no_samples_are_no_batches(dataset):
    nothing = torch.utils.data.Subset(torch.utils.data.Subset(dataset, []), [])
    assert list(loader(nothing, 2, shuffle=True)) == []
    assert list(loader(nothing, 2, drop_last=True, world_size=3, rank=2)) == []
    assert list(Sequences(dataset, lanes=2, length=3, indices=[])) == []
