"""mixup and cutmix: what is mixed, how often, and until when."""

import pytest

pytest.importorskip("torch")

import torch
from directions import Directions

from eventkit.errors import OptionError
from eventkit.train import load, train
from eventkit.train.data import Mixing
from eventkit.train.settings import settle

N, T, SIDE = 64, 3, 20


def batch():
    """Sample i has the value i + 1 everywhere, the length T and the class i."""
    values = torch.arange(1.0, N + 1)
    frames = values.reshape(N, 1, 1, 1, 1).expand(N, T, 2, SIDE, SIDE).clone()
    return frames, torch.full((N,), T), torch.eye(N)


def mixed(seed=0, done=0.0, **options):
    torch.manual_seed(seed)
    return Mixing(**options)(*batch(), done)


def test_nothing_is_mixed_unless_asked_for():
    for found, given in zip(mixed(), batch(), strict=True):
        assert torch.equal(found, given)


def test_mixup_adds_two_samples_and_their_labels_by_the_same_shares():
    frames, lengths, target = mixed(mixup=1.0)
    values = torch.arange(1.0, N + 1)
    torch.testing.assert_close(frames[:, 0, 0, 0, 0], target @ values)
    assert (frames == frames[:, :1, :1, :1, :1]).all()
    assert lengths.tolist() == [T] * N
    assert ((target > 0).sum(1) <= 2).all()
    assert ((target > 0).sum(1) == 2).any()


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_takes_a_box_of_another_sample_and_its_share_of_the_label(seed):
    frames, _, target = mixed(seed, cutmix=1.0)
    values = torch.arange(1.0, N + 1)
    torch.testing.assert_close(frames.mean((1, 2, 3, 4)), target @ values)
    own = frames == values.reshape(N, 1, 1, 1, 1)
    assert (own == own[:, :1, :1]).all()  # the same box in all steps and channels
    for sample in own[:, 0, 0]:
        rows, columns = (~sample).any(1).sum(), (~sample).any(0).sum()
        assert (~sample).sum() == rows * columns


def test_cutmix_on_one_row_of_pixels_takes_a_part_of_it():
    torch.manual_seed(1)
    frames, lengths, target = batch()
    frames, _, target = Mixing(cutmix=1.0)(frames[..., :1], lengths, target, 0.0)
    values = torch.arange(1.0, N + 1)
    torch.testing.assert_close(frames.mean((1, 2, 3, 4)), target @ values)


def test_with_both_each_batch_is_mixed_by_one_of_them():
    kinds = set()
    for seed in range(12):
        frames, _, target = mixed(seed, mixup=1.0, cutmix=1.0)
        kinds.add(bool((frames == frames.round()).all()))
        torch.testing.assert_close(frames.mean((1, 2, 3, 4)), target @ torch.arange(1.0, N + 1))
    assert kinds == {True, False}  # boxes of whole values, and sums


def test_a_share_of_the_batches_is_mixed_and_none_after_a_share_of_the_training():
    def changed(**options):
        return sum(not torch.equal(mixed(s, **options)[2], torch.eye(N)) for s in range(40))

    assert 8 < changed(mixup=1.0, mix_share=0.5) < 32
    assert changed(mixup=1.0, mix_until=0.7, done=0.69) == 40
    assert changed(mixup=1.0, mix_until=0.7, done=0.7) == 0


def test_lengths_are_those_of_the_longer_sample():
    torch.manual_seed(0)
    frames, lengths, target = batch()
    lengths = torch.arange(N) % T + 1
    _, found, mixed = Mixing(mixup=1.0)(frames, lengths, target, 0.0)
    partners = (mixed > 0).float() * lengths
    assert found.tolist() == partners.amax(1).tolist()


def test_settings_of_mixing_are_checked():
    assert settle({"mixup": 0.5, "cutmix": 1.0, "mix_share": 0.5}).mix_until == 1
    for name in ("mix_share", "mix_until"):
        with pytest.raises(OptionError, match=f"{name} is 2, expected from 0 to 1"):
            settle({name: 2.0})


def trained(folder, **options):
    """The parameters of a small net after two epochs of training."""
    splits = {"train": Directions(16), "test": Directions(4, seed=1)}
    options = {"optimizer": "sgd", "schedule": "constant", "warmup": 0.0} | options
    train(splits, out=folder, model="csnn_tiny:width=4", epochs=2, page=False, **options)
    return dict(load(folder).named_parameters())


def test_a_training_decays_all_parameters_or_matrices_only(tmp_path):
    decay = {"lr": 1e-6, "weight_decay": 1e5}  # a tenth a step, and hardly any gradient
    for decay_all in (False, True):
        found = trained(tmp_path / str(decay_all), decay_all=decay_all, **decay)
        norms = [p for name, p in found.items() if p.ndim == 1 and name.endswith("1.weight")]
        assert norms
        assert all((p < 0.9).all() if decay_all else (p > 0.99).all() for p in norms)


def test_a_training_mixes_until_the_share_that_is_asked_for(tmp_path):
    def same(a, b):
        return all(torch.equal(a[name], b[name]) for name in a)

    plain = trained(tmp_path / "plain")
    assert same(plain, trained(tmp_path / "never", mixup=1.0, mix_until=0.0))
    half = trained(tmp_path / "half", cutmix=1.0, mix_until=0.5)
    assert not same(plain, half)
    assert not same(half, trained(tmp_path / "whole", cutmix=1.0))
