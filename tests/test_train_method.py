"""Ways of gradients through time: equalities with plain backpropagation, memory, traces."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.errors import OptionError, UnknownName
from eventkit.snn import LIF, Dropout, Fold
from eventkit.train.rules import Step, rule


def net(norm=False, dropout=0.0):
    torch.manual_seed(0)
    conv = [nn.Conv2d(2, 4, 3, padding=1), *([nn.BatchNorm2d(4)] if norm else [])]
    layers = [Fold(*conv), LIF(v_threshold=0.3), nn.Flatten(2), Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(4 * 36, 8), LIF(v_threshold=0.3), nn.Linear(8, 3))


def gradients(spec, made, frames, criterion=None, steps=1):
    criterion = criterion or (lambda votes, first: votes.square().mean())
    made.zero_grad()
    torch.manual_seed(5)
    value = rule(spec)(Step(made, criterion), frames)
    return value, {name: p.grad for name, p in made.named_parameters()}


@pytest.fixture
def frames():
    return torch.rand(8, 3, 2, 6, 6, generator=torch.Generator().manual_seed(2)) * 2


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("spec", ["checkpoint:chunks=3", "checkpoint:chunks=8", "tbptt:window=8"])
def test_pieces_that_carry_everything_give_the_gradients_of_the_whole(spec, dropout, frames):
    made = net(dropout=dropout)
    value, whole = gradients("bptt", made, frames)
    again, pieces = gradients(spec, made, frames)
    assert again == pytest.approx(value, rel=1e-6)
    assert all(g.any() for g in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_checkpointing_keeps_a_part_of_the_memory():
    frames = torch.rand(32, 4, 2, 6, 6)
    kept = {}
    for spec in ("bptt", "checkpoint:chunks=8"):
        kept[spec] = 0
        seen = set()

        def pack(tensor, spec=spec, seen=seen):
            if tensor.untyped_storage().data_ptr() not in seen:
                seen.add(tensor.untyped_storage().data_ptr())
                kept[spec] += tensor.numel() * tensor.element_size()
            return tensor

        criterion_reached = torch.zeros(1, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            rule(spec)(
                Step(net(), lambda votes, first, r=criterion_reached: (votes.mean() + r).sum()),
                frames,
            )
            del seen
    assert kept["checkpoint:chunks=8"] < kept["bptt"]


def test_checkpointing_updates_running_statistics_once(frames):
    made, twice = net(norm=True), net(norm=True)
    gradients("checkpoint:chunks=1", made, frames)
    gradients("bptt", twice, frames)
    torch.testing.assert_close(made[0][1].running_mean, twice[0][1].running_mean)
    assert int(made[0][1].num_batches_tracked) == 1
    assert made[0][1].momentum == 0.1


def test_sltt_is_truncation_after_every_step(frames):
    made = net()
    _, one = gradients("sltt", made, frames)
    _, other = gradients("tbptt:window=1", made, frames)
    _, whole = gradients("bptt", made, frames)
    for name in one:
        torch.testing.assert_close(one[name], other[name])
    last = [name for name in one if name.startswith("6.")]
    torch.testing.assert_close(one[last[0]], whole[last[0]])  # no state lies behind the last layer
    assert not torch.allclose(one["0.0.weight"], whole["0.0.weight"])


def test_sltt_k_learns_from_so_many_steps(frames):
    steps = []
    made = net()
    gradients(
        "sltt:steps=3", made, frames, lambda votes, first: steps.append(first) or votes.mean()
    )
    assert len(set(steps)) == 3
    assert set(steps) <= set(range(8))


def test_ottt_learns_from_the_traces_of_inputs():
    """Two linear layers by hand: grad W = sum_t g_t x trace_t, and W^T g goes to the input."""
    torch.manual_seed(3)
    made = nn.Sequential(nn.Linear(2, 3, bias=False), LIF(), nn.Linear(3, 2, bias=False))
    x = torch.rand(5, 1, 2) * 3
    with torch.no_grad():
        hidden = LIF()(made[0](x))
    weights = torch.rand(5, 1, 2)

    def criterion(votes, first):
        return (votes * weights[first : first + len(votes)]).sum()

    _, found = gradients("ottt:decay=0.5", made, x, criterion)
    trace, wanted = torch.zeros(1, 3), torch.zeros(2, 3)
    for t in range(5):
        trace = 0.5 * trace + hidden[t]
        wanted += weights[t].T @ trace / 5
    torch.testing.assert_close(found["2.weight"], wanted)
    torch.testing.assert_close(
        gradients("sltt", made, x, criterion)[1]["0.weight"], found["0.weight"]
    )
    with torch.no_grad():
        votes = made(x)
    assert rule("ottt")(Step(made, criterion), x) == pytest.approx(
        float((votes * weights).sum() / 5), rel=1e-5
    )  # the forward pass is that of the net


def test_an_update_after_every_window_changes_the_weights_in_between(frames):
    made, count = net(), [0]

    def update():
        count[0] += 1
        made.zero_grad()

    step = Step(made, lambda votes, first: votes.mean(), update=update)
    rule("tbptt:window=3,update=window")(step, frames)
    assert count == [3]


def test_wrong_methods_are_told():
    with pytest.raises(UnknownName, match="Did you mean 'tbptt'"):
        rule("tbtt")
    with pytest.raises(OptionError, match="tbptt: window is 0"):
        rule("tbptt:window=0")


def test_event_driven_layers_refuse_pieces_and_learn_by_backpropagation(tmp_path):
    from directions import Directions

    from eventkit.train import train

    splits = {"train": Directions(64), "test": Directions(16, seed=1)}
    options = {"model": "edbp_cnn:width=8,hidden=16", "page": False, "validation": 0.0}
    with pytest.raises(OptionError, match=r"layer 0 \(EventConv2d\) remembers nothing"):
        train(splits, method="sltt", epochs=1, out=tmp_path / "pieces", **options)
    options |= {"loss": "count:gradient=times,desired=4", "augment": ["none"], "lr": 1e-2}
    result = train(splits, epochs=15, out=tmp_path / "run", **options)
    assert result["accuracy"]["last"] >= 0.75
