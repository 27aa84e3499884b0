"""The order of samples: random, fixed for ever, shared by ranks, and resumed anywhere."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st

from eventkit.errors import OptionError
from eventkit.loader import ResumableSampler
from eventkit.loader.sampler import bucketed, permutation


def test_the_order_is_fixed_for_ever():
    # A change of these numbers would break the resumption of every run that was begun before.
    assert permutation(10, 0, 0).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    assert permutation(10, 2**64 + 7, 3).tolist() == permutation(10, 7, 3).tolist()


@given(st.integers(0, 300), st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_the_order_is_a_permutation(n, seed, epoch):
    order = permutation(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))


def test_the_order_is_random():
    n, epochs = 20, 400
    orders = np.array([permutation(n, 1, epoch) for epoch in range(epochs)])
    # Each sample at each place about equally often: chi-squared with 361 degrees of freedom.
    counts = np.array([np.bincount(place, minlength=n) for place in orders.T])
    expected = epochs / n
    assert ((counts - expected) ** 2 / expected).sum() < 361 + 5 * (2 * 361) ** 0.5


def take(world_size, batch_size, state=None, batches=None, **options):
    """What all ranks give together, in the order of the epoch; and the states after."""
    samplers = [
        ResumableSampler(
            batch_size=batch_size, rank=rank, world_size=world_size, drop_last=True, **options
        )
        for rank in range(world_size)
    ]
    given, states = [], []
    for sampler in samplers:
        if state is not None:
            sampler.load_state_dict(json.loads(json.dumps(state)))
    for k, rows in enumerate(zip(*samplers, strict=True)):
        if batches is not None and k == batches:
            break
        given += [row[i] for i in range(batch_size) for row in rows]
        states = [sampler.state_dict() for sampler in samplers]
    return given, states


@given(
    n=st.integers(1, 200),
    seed=st.integers(0, 2**32),
    first=st.tuples(st.integers(1, 4), st.integers(1, 9)),
    then=st.tuples(st.integers(1, 4), st.integers(1, 9)),
    batches=st.integers(1, 12),
    bucket=st.sampled_from([None, 1, 5]),
)
def test_any_position_resumes_exactly_with_another_world(n, seed, first, then, batches, bucket):
    options = {"n": n, "seed": seed, "bucket": bucket, "lengths": np.arange(n) * 7 % 11}
    whole = ResumableSampler(**options).order().tolist()
    given, states = take(*first, batches=batches, **options)
    assert given == whole[: len(given)]
    if not states:
        return
    assert all(state == states[0] for state in states)  # no rank has a state of its own
    rest, _ = take(*then, state=states[0], **options)
    left = whole[len(given) :]
    step = then[0] * then[1]
    if len(left) >= step:
        assert rest == left[: len(left) // step * step]


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 7))
def test_without_drop_last_every_rank_gives_equally_many(n, world_size, batch_size):
    ranks = [
        ResumableSampler(n, batch_size=batch_size, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    begun = [sampler.begin() for sampler in ranks]
    sizes = {tuple(len(batch) for batch in batches) for batches, _ in begun}
    assert len(sizes) == 1
    counted = [
        b[:real] for batches, n_real in begun for b, real in zip(batches, n_real, strict=True)
    ]
    assert sorted(np.concatenate(counted).tolist()) == list(range(n))
    assert all(
        len(sampler) == len(batches) for sampler, (batches, _) in zip(ranks, begun, strict=True)
    )


def test_numbers_and_batches_are_the_same_order():
    numbers = ResumableSampler(23, seed=3, rank=1, world_size=2)
    batches = ResumableSampler(23, seed=3, rank=1, world_size=2, batch_size=4)
    for _ in range(2):
        assert list(numbers) == [i for batch in batches for i in batch]
    assert ResumableSampler(5, shuffle=False).order().tolist() == [0, 1, 2, 3, 4]


def test_epochs_follow_each_other_and_can_be_set():
    sampler = ResumableSampler(9, batch_size=2)
    first, second = list(sampler), list(sampler)
    assert first != second
    assert sampler.epoch == 1
    sampler.set_epoch(0)
    assert list(sampler) == first
    iterator = iter(sampler)
    next(iterator)
    assert (sampler.epoch, sampler.consumed) == (1, 2)
    sampler.set_epoch(1)
    assert list(sampler) == second
    sampler.load_state_dict({**sampler.state_dict(), "epoch": 0, "consumed": 9})
    assert list(sampler) == second  # epoch 0 was done


@given(st.integers(1, 400), st.integers(1, 20), st.integers(0, 1000))
def test_buckets_hold_samples_of_similar_length(n, bucket, seed):
    lengths = np.random.default_rng(seed).integers(1, 50, n)
    order = permutation(n, seed, 0)
    found = bucketed(order, lengths, bucket)
    assert sorted(found.tolist()) == list(range(n))

    def padding(order):
        parts = [lengths[order[i : i + bucket]] for i in range(0, n, bucket)]
        return sum(int(part.max()) * len(part) - int(part.sum()) for part in parts)

    assert padding(found) <= padding(order)
    if n <= 50 * bucket:
        assert padding(found) <= padding(np.argsort(lengths))  # no order has less


def test_wrong_states_and_options_are_named():
    sampler = ResumableSampler(9)
    good = sampler.state_dict()
    for wrong, message in (
        ({"n": 8}, "its n is 8, here it is 9"),
        ({"consumed": 10}, "says 10 of 9"),
        ({"seed": "0"}, "must be integers"),
        ({"plan": "x"}, "its plan is 'x'"),
    ):
        with pytest.raises(OptionError, match=message):
            sampler.load_state_dict({**good, **wrong})
    with pytest.raises(OptionError, match="lacks some of"):
        sampler.load_state_dict({})
    with pytest.raises(OptionError, match="needs the lengths"):
        ResumableSampler(3, bucket=2)
