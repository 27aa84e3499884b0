"""Training: it learns what only time tells, and its run folder says what was done."""

import csv
import json
import pickle

import numpy as np
import pytest
import torch

from eventkit.errors import FormatError, OptionError
from eventkit.models import Recipe, create
from eventkit.train import load, train
from eventkit.train.data import Part, hold_out, shift
from eventkit.train.loop import answer, learning_rate

SMALL = "csnn_tiny:width=8,dropout=0"


class Directions:
    """A bar that crosses the field to one of four sides.

    The sums over time of left and right, and of up and down, are the same.
    """

    classes = ["right", "left", "down", "up"]  # noqa: RUF012

    def __init__(self, n, *, seed=0, steps=8, size=12):
        rng = np.random.default_rng(seed)
        self.labels = np.arange(n) % 4
        self.frames = torch.zeros(n, steps, 2, size, size)
        for sample, label, first in zip(
            self.frames, self.labels, rng.integers(0, 3, n), strict=True
        ):
            for t in range(steps):
                at = first + (t if label % 2 == 0 else steps - 1 - t)
                if label < 2:
                    sample[t, :, :, at] = 1
                else:
                    sample[t, :, at] = 1

    @property
    def shape(self):
        return tuple(self.frames.shape[1:])

    def __getitems__(self, indices):
        return [(self.frames[i], int(self.labels[i])) for i in indices]


@pytest.fixture
def splits():
    return {"train": Directions(96), "test": Directions(32, seed=1)}


def quick(splits, out, **options):
    return train(splits, model=SMALL, out=out, **{"epochs": 2, **options})


def test_the_sums_over_time_tell_nothing():
    frames = Directions(40).frames.sum(1)
    right, left, down, up = (set(map(bytes, frames[k::4].numpy())) for k in range(4))
    assert right == left
    assert down == up


def test_it_learns_the_direction_of_motion(splits, tmp_path):
    model = "csnn_tiny:width=16,dropout=0"
    result = train(splits, model=model, out=tmp_path / "run", epochs=14, batch=8, lr=1e-2)
    assert result["accuracy"]["last"] >= 0.95
    assert result["accuracy"]["at_best_validation"] >= 0.95


def test_the_run_folder_says_what_was_done(splits, tmp_path):
    result = quick(splits, tmp_path / "run", epochs=3, seed=7)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "metrics.csv", "metrics.json", "model.pt", "last.pt"}
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"] == SMALL
    assert config["seed"] == 7
    assert config["recipe"]["batch"] == 16
    assert config["samples"] == {"train": 88, "validation": 8, "test": 32}
    assert config["classes"] == Directions.classes
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == result
    tests = [float(row["test_accuracy"]) for row in rows]
    assert result["accuracy"]["last"] == tests[-1]
    assert result["accuracy"]["best_optimistic"] == max(tests)
    assert result["accuracy"]["at_best_validation"] == tests[result["best_epoch"] - 1]
    best = max(float(row["validation_accuracy"]) for row in rows)
    assert result["validation_accuracy"] == best


def test_the_saved_weights_are_those_of_the_best_validation_epoch(splits, tmp_path):
    result = quick(splits, tmp_path / "run", epochs=4)
    frames, labels = splits["test"].frames, torch.as_tensor(splits["test"].labels)
    with torch.no_grad():
        answers = answer(load(tmp_path / "run"), frames, torch.full((len(frames),), 8))
    accuracy = float((answers.argmax(1) == labels).float().mean())
    assert accuracy == result["accuracy"]["at_best_validation"]


def test_the_same_seed_gives_the_same_weights(splits, tmp_path):
    states = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        quick(splits, tmp_path / name, seed=seed)
        states.append(load(tmp_path / name / "last.pt").state_dict())
    same, again, other = states
    assert all(torch.equal(same[key], again[key]) for key in same)
    assert not all(torch.equal(same[key], other[key]) for key in same)


def test_ctrl_c_leaves_a_complete_run_folder(splits, tmp_path):
    def interrupt(event):
        if event["event"] == "step" and event["done"] == 9:  # in the second epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(splits, tmp_path / "run", progress=interrupt)
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert result["interrupted"]
    assert result["epochs"] == 1
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 2
    load(tmp_path / "run")
    load(tmp_path / "run" / "last.pt")


def test_ctrl_c_before_the_first_epoch_ends_saves_too(splits, tmp_path):
    def interrupt(event):
        if event["event"] == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(splits, tmp_path / "run", progress=interrupt)
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert result["accuracy"] == {"last": None, "at_best_validation": None, "best_optimistic": None}
    load(tmp_path / "run" / "last.pt")


def test_progress_tells_start_steps_and_epochs(splits, tmp_path):
    events = []
    quick(splits, tmp_path / "run", progress=events.append)
    kinds = [event["event"] for event in events]
    assert kinds == ["start", *(["step"] * 6 + ["epoch"]) * 2]
    assert events[0]["parameters"] == sum(p.numel() for p in load(tmp_path / "run").parameters())
    assert [event["done"] for event in events if event["event"] == "step"] == list(range(1, 13))
    assert {event["of"] for event in events if event["event"] == "step"} == {12}


def test_a_time_that_is_up_ends_the_training(splits, tmp_path):
    events = []
    result = quick(splits, tmp_path / "run", epochs=50, minutes=1e-6, progress=events.append)
    assert result["epochs"] == 1
    assert result["accuracy"]["last"] is not None
    assert [event["done"] for event in events if event["event"] == "step"][-1] < 6


def test_small_sets_get_more_epochs_than_large_ones(splits, tmp_path):
    events = []

    def stop(event):
        events.append(event)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(splits, model=SMALL, out=tmp_path / "run", progress=stop)
    assert events[0]["epochs"] == 100


def test_without_test_or_validation_samples_there_is_no_accuracy_to_report(splits, tmp_path):
    result = quick({"train": splits["train"]}, tmp_path / "run", validation=0)
    assert result["samples"] == {"train": 96}
    assert result["accuracy"] == {"last": None, "at_best_validation": None, "best_optimistic": None}
    assert result["validation_accuracy"] is None
    load(tmp_path / "run")


def test_a_split_called_validation_is_used_as_such(splits, tmp_path):
    result = quick({**splits, "validation": Directions(12, seed=2)}, tmp_path / "run")
    assert result["samples"] == {"train": 96, "validation": 12, "test": 32}


def test_samples_of_different_length_are_answered_as_if_alone():
    torch.manual_seed(0)
    net = create(SMALL, num_classes=4, in_shape=(2, 12, 12)).eval()
    frames = Directions(8).frames
    for t in (3, 8):
        alone = answer(net, frames[:1, :t], torch.tensor([t]))
        padded = frames.clone()
        padded[0, t:] = 0
        lengths = torch.tensor([t] + [8] * 7)
        torch.testing.assert_close(answer(net, padded, lengths)[:1], alone)


def test_hold_out_takes_a_share_of_every_class_by_the_seed():
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    training, held = hold_out(labels, 0.1, seed=0)
    assert np.bincount(labels[held]).tolist() == [1, 2, 3]
    assert sorted([*training, *held]) == list(range(60))
    assert not np.array_equal(held, hold_out(labels, 0.1, seed=1)[1])


def test_shift_moves_all_frames_of_a_sample_alike_and_fills_with_zeros():
    frames = torch.rand(20, 3, 2, 12, 10) + 1
    moved = shift(frames, np.random.default_rng(0), share=0.2)
    seen = set()
    for before, after in zip(frames, moved, strict=True):
        matches = []
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                expected = torch.roll(before, (dy, dx), (-2, -1))
                expected[..., :dy, :] = 0 if dy > 0 else expected[..., :dy, :]
                expected[..., 12 + dy :, :] = 0 if dy < 0 else expected[..., 12 + dy :, :]
                expected[..., :dx] = 0 if dx > 0 else expected[..., :dx]
                expected[..., 10 + dx :] = 0 if dx < 0 else expected[..., 10 + dx :]
                if torch.equal(expected, after):
                    matches.append((dy, dx))
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) > 5
    assert torch.equal(shift(frames, np.random.default_rng(0), share=0.0), frames)


def test_learning_rate_warms_up_and_ends_at_zero():
    recipe = Recipe(lr=1.0, warmup=0.1)
    rates = [learning_rate(done, recipe) for done in (0, 0.05, 0.1, 0.55, 1)]
    assert rates == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_batches_cover_every_sample_once():
    part = Part(Directions(20), np.arange(3, 20))
    labels = [label for _, _, batch in part.batches(4, np.random.default_rng(0)) for label in batch]
    assert np.bincount(labels).tolist() == np.bincount(np.arange(3, 20) % 4).tolist()
    frames, lengths, _ = next(iter(part.batches(4)))
    assert frames.shape == (4, 8, 2, 12, 12)
    assert lengths.tolist() == [8] * 4


def test_a_diverging_loss_is_told(splits, tmp_path):
    splits["train"].frames[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(OptionError, match=r"the loss is nan in epoch 1; try a smaller lr"):
        quick(splits, tmp_path / "run")


def test_wrong_settings_are_told(splits, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match="exists already; choose another folder"):
        quick(splits, tmp_path / "full")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
    with pytest.raises(OptionError, match="no split 'train' to train on, only test"):
        quick({"test": splits["test"]}, tmp_path / "run")
    with pytest.raises(OptionError, match=r"validation is 1\.5"):
        quick(splits, tmp_path / "run", validation=1.5)


def test_files_that_are_no_weights_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    for content in (b"", b"text", pickle.dumps({"state": print}, 2), pickle.dumps([1, 2], 2)):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="no weights of an eventkit net"):
            load(path)
    torch.save({"model": "csnn_tiny"}, path)
    with pytest.raises(FormatError, match="no weights of an eventkit net"):
        load(path)
    torch.save({"model": "csnn_tiny", "num_classes": 2, "in_shape": [2, 8, 8], "state": {}}, path)
    with pytest.raises(FormatError, match="no weights of an eventkit net"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.pt")
