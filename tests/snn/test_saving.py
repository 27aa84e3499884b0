"""Spikes as bits, pieces of a sequence: the same gradients from less that is kept."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.errors import OptionError
from eventkit.snn import (
    LIF,
    PLIF,
    Dropout,
    Fold,
    carry,
    checkpointed,
    neuron,
    packed_spikes,
    run,
    saving,
)  # fmt: skip


def net(norm=nn.Identity):
    torch.manual_seed(0)
    first = Fold(nn.Conv2d(2, 8, 3, padding=1), norm())
    return nn.Sequential(first, PLIF(), Fold(nn.Conv2d(8, 4, 3, padding=1)), LIF(v_reset=None))


def gradients(net, x, forward):
    net.zero_grad()
    forward(net, x).square().mean().backward()
    return [p.grad.clone() for p in net.parameters()]


def kept(forward, packing=False):
    """Bytes that autograd keeps, each memory once."""
    found = {}

    def note(x):
        saved = saving._pack(x) if packing else x
        memory = saved if isinstance(saved, torch.Tensor) else saved[0]
        where = memory.data_ptr() if isinstance(memory, torch.Tensor) else memory.ctypes.data
        found[where] = memory.nbytes
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, saving._unpack):
        y = forward()
    assert y.requires_grad
    return sum(found.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("last", [False, True])
def test_packed_spikes_change_nothing_but_the_memory(dtype, last):
    x, model = (torch.rand(4, 5, 2, 24, 24) > 0.8).to(dtype), net().to(dtype)
    if last:
        model.to(memory_format=torch.channels_last)
    plain = gradients(model, x, lambda net, x: net(x))
    with packed_spikes():
        packed = gradients(model, x, lambda net, x: net(x))
    for a, b in zip(packed, plain, strict=True):
        assert torch.equal(a, b)
    before, after = (kept(lambda: model(x), packing) for packing in (False, True))
    spikes = (x.numel() * 5) * x.itemsize  # the input, and 4 times as many after the first layer
    assert before - after == pytest.approx(spikes * (1 - 1 / 8 / x.itemsize), rel=0.01)


def test_bits_round_trip_in_any_layout():
    torch.manual_seed(0)
    for x in (
        (torch.rand(50_001) > 0.5).float(),
        (torch.rand(3, 8, 60, 60) > 0.5).float().contiguous(memory_format=torch.channels_last),
        (torch.rand(200, 300) > 0.5).bfloat16().t(),
    ):
        packed = saving._pack(x)
        assert packed[0].nbytes == -(-x.numel() // 8)
        back = saving._unpack(packed)
        assert torch.equal(back, x)
        assert back.stride() == x.stride()


def test_what_is_not_all_spikes_is_kept_as_it_is():
    x = torch.zeros(100_000)
    for value in (0.5, -1.0, float("nan"), 2.0):
        x[70_001] = value
        assert saving._pack(x) is x
    assert saving._pack(torch.zeros(4)).numel() == 4
    weight = nn.Parameter(torch.ones(200, 200))
    assert saving._pack(weight) is weight


@pytest.mark.parametrize("pieces", [1, 3, 8])
def test_checkpointed_pieces_have_the_gradients_of_the_whole(pieces):
    x, model = torch.rand(8, 2, 2, 12, 12) * 3, net()
    assert torch.equal(checkpointed(model, x, pieces=pieces), model(x))
    whole = gradients(model, x, lambda net, x: net(x))
    parts = gradients(model, x, lambda net, x: checkpointed(net, x, pieces=pieces))
    for a, b in zip(parts, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_checkpointed_pieces_keep_the_states_between_them_only():
    x, model = torch.rand(8, 2, 2, 24, 24), net()
    whole = kept(lambda: model(x))
    assert kept(lambda: checkpointed(model, x, pieces=8)) < whole / 4


def test_checkpointed_refuses_statistics_over_a_part():
    model = net(lambda: nn.BatchNorm2d(8))
    with pytest.raises(OptionError, match=r"0.1 is a BatchNorm2d that is in training"):
        checkpointed(model, torch.rand(4, 2, 2, 8, 8), pieces=2)
    assert checkpointed(model.eval(), torch.rand(4, 2, 2, 8, 8), pieces=2).shape[0] == 4
    with pytest.raises(OptionError, match="pieces is 5, expected 1 to T=4"):
        checkpointed(model, torch.rand(4, 2, 2, 8, 8), pieces=5)


def test_checkpointed_refuses_a_norm_without_running_statistics():
    model = net(lambda: nn.BatchNorm2d(8, track_running_stats=False)).eval()
    with pytest.raises(OptionError, match=r"0.1 is a BatchNorm2d that has no running statistics"):
        checkpointed(model, torch.rand(4, 2, 2, 8, 8), pieces=2)


def test_checkpointed_refuses_a_mask_that_is_one_for_the_sequence():
    model, x = nn.Sequential(net(), Dropout(0.5)), torch.rand(4, 2, 2, 8, 8)
    with pytest.raises(OptionError, match="1 is a Dropout that is in training"):
        checkpointed(model, x, pieces=2)
    assert checkpointed(model, x, pieces=1).shape[0] == 4  # the whole, with a mask of its own
    assert torch.equal(checkpointed(model.eval(), x, pieces=2), model(x))


def test_a_net_is_a_function_of_its_input_and_states():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), neuron("cuba"), nn.Linear(5, 4), neuron("sliding_psn"))
    x = 3 * torch.randn(7, 2, 6)
    whole, after = run(model, x)
    first, states = run(model, x[:3])
    second, end = run(model, x[3:], states)
    assert torch.equal(whole, model(x))
    assert torch.equal(torch.cat([first, second]), whole)
    torch.testing.assert_close(end[0][0], after[0][0])
    with carry(model):
        again = torch.cat([model(x[:3]), model(x[3:])])
    assert torch.equal(again, whole)
