"""Fused nets are the nets: spikes, gradients, statistics, states, names and hooks."""

import copy
import importlib
import pickle

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.models import MODELS, create
from eventkit.snn import NEURONS, Fold, Fused, Halve, TDBN2d, carry, fuse, neuron

module = importlib.import_module("eventkit.snn.fuse")
T, N, C, SIDES = 5, 3, 4, (6, 8)
NORMS = {
    "plain": nn.BatchNorm2d,
    "tdbn": TDBN2d,
    "no affine": lambda c: nn.BatchNorm2d(c, affine=False),
    "no running": lambda c: nn.BatchNorm2d(c, track_running_stats=False),
    "cumulative": lambda c: nn.BatchNorm2d(c, momentum=None),
    "eps": lambda c: nn.BatchNorm2d(c, eps=0.1, momentum=0.3),
}
FUSED = {
    "if": "if:v_threshold=1.5",
    "if soft": "if:v_reset=none,detach_reset=false",
    "lif": "lif",
    "lif rest": "lif:tau=3,v_reset=-0.5,detach_reset=false,surrogate=triangle",
    "tet": "lif:decay_input=false,detach_reset=false,surrogate=sigmoid",
    "plif": "plif:v_reset=none",
    "plif no decay": "plif:tau=3,decay_input=false",
}
POOLS = {
    "none": None,
    "max": lambda: Halve("max"),
    "avg": lambda: Halve("avg"),
    "sum": lambda: Halve("sum"),
    "fold max": lambda: Fold(nn.MaxPool2d(2)),
    "fold avg": lambda: Fold(nn.AvgPool2d(2, divisor_override=1)),
}


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(module, "SMALL", 0)


@pytest.fixture
def passes(monkeypatch):
    """How many units were fused."""
    made = []
    run = module._run
    monkeypatch.setattr(module, "_run", lambda *given: made.append(1) or run(*given))
    return made


def net(norm="plain", spiking="lif", pool="max", last=True, dtype=torch.float64):
    torch.manual_seed(1)
    after = NORMS[norm](C)
    if after.weight is not None:
        nn.init.uniform_(after.weight, 1, 3)
        nn.init.uniform_(after.bias, -1, 1)
    layers = [Fold(nn.Conv2d(2, C, 3, padding=1), after), neuron(spiking, T=T, features=C)]
    layers += [POOLS[pool]()] if POOLS[pool] else []
    made = nn.Sequential(*layers, nn.Flatten(2)).to(dtype)
    return made.to(memory_format=torch.channels_last) if last else made


def frames(dtype=torch.float64, sides=SIDES):
    return torch.randn(T, N, 2, *sides, generator=torch.Generator().manual_seed(0)).to(dtype) * 2


def answers(made, x):
    """Output, gradients and buffers after two training steps, and the output in evaluation."""
    x, found = x.clone().requires_grad_(), {}
    for step in range(2):
        y = made(x)
        weigh = torch.randn(y.shape, generator=torch.Generator().manual_seed(step)).to(y)
        (y * weigh).sum().backward()
        found[f"y{step}"] = y.detach()
    found |= {"x": x.grad} | {f"grad {k}": p.grad for k, p in made.named_parameters()}
    found |= dict(made.named_buffers())
    made.eval()
    y = made(x)
    (y * y).sum().backward()
    return found | {"eval": y.detach(), "x eval": x.grad.clone()}


def same(a, b, tolerance):
    assert a.keys() == b.keys()
    for key, value in b.items():
        if "conv" not in key and not key.endswith("0.0.bias"):  # zero before a norm
            torch.testing.assert_close(a[key], value, rtol=tolerance, atol=tolerance, msg=key)


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("spiking", FUSED)
def test_a_fused_net_is_the_net(spiking, pool, last, passes):
    plain = net("plain", FUSED[spiking], pool, last)
    fused = fuse(copy.deepcopy(plain))
    expected = answers(plain, frames())
    assert 0.02 < (expected["y0"] > 0).double().mean() < 0.98
    assert not passes
    same(answers(fused, frames()), expected, 1e-9)
    assert len(passes) == 3


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("pool", ["none", "max"])
def test_every_norm_is_the_norm(norm, pool, passes):
    plain = net(norm, "plif", pool)
    fused = fuse(copy.deepcopy(plain))
    same(answers(fused, frames()), answers(plain, frames()), 1e-9)
    assert len(passes) == 3


@pytest.mark.parametrize("name", NEURONS)
def test_nets_of_every_neuron_are_the_same(name):
    spec = {"masked_psn": "masked_psn:k=3,lambda_init=1"}.get(name, name)
    plain = net(spiking=spec)
    same(answers(fuse(copy.deepcopy(plain)), frames()), answers(plain, frames()), 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_differs_by_rounding(dtype):
    plain = net(dtype=dtype)
    fused = fuse(copy.deepcopy(plain))
    expected, found = answers(plain, frames(dtype)), answers(fused, frames(dtype))
    share = 1e-6 if dtype == torch.float32 else 0.03
    for key in ("y0", "eval"):  # a membrane within rounding of the threshold may fire or not
        assert found[key].dtype == dtype
        assert (found[key] != expected[key]).double().mean() <= share
    for key in ("0.1.running_mean", "0.1.running_var"):
        torch.testing.assert_close(found[key], expected[key], rtol=1e-2, atol=1e-2)


def test_linear_layers_and_odd_sides(passes):
    torch.manual_seed(0)
    dense = nn.Sequential(Fold(nn.Linear(7, 5), nn.BatchNorm1d(5)), neuron("plif")).double()
    x = torch.randn(T, N, 7, dtype=torch.float64)
    same(answers(fuse(copy.deepcopy(dense)), x), answers(dense, x), 1e-9)
    assert len(passes) == 3
    odd = net()
    x = frames(sides=(5, 8))
    same(answers(fuse(copy.deepcopy(odd)), x), answers(odd, x), 1e-9)
    assert len(passes) == 6  # norm and neuron, but not the pooling


def test_a_carried_state_is_kept(passes):
    plain = net(pool="avg").eval()
    fused, x = fuse(copy.deepcopy(plain)), frames()
    weights = [p for n, p in plain.named_parameters()], [p for n, p in fused.named_parameters()]
    results = []
    for made, own in zip((plain, fused), weights, strict=True):
        with carry(made):
            y = torch.cat([made(x[:2]), made(x[2:])])
        results.append([y, *torch.autograd.grad((y * y).sum(), own)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert len(passes) == 2
    torch.testing.assert_close(fused(x), results[0][0])


@pytest.mark.parametrize("index", ["0", "0.1", "1", "2"])
def test_hooked_modules_are_called(index):
    made, calls = fuse(net()), []
    made.get_submodule(index).register_forward_hook(lambda *given: calls.append(given[2]))
    expected = net()(frames())
    torch.testing.assert_close(made(frames()), expected)
    assert len(calls) == 1


def test_names_copies_and_types_stay():
    plain = net()
    fused = fuse(copy.deepcopy(plain))
    assert list(fused.state_dict()) == list(plain.state_dict())
    assert repr(fused) == repr(plain)
    assert isinstance(fused, nn.Sequential)
    again = pickle.loads(pickle.dumps(fused))
    assert type(again) is Fused
    assert torch.equal(again(frames()), fused(frames()))

    class Own(nn.Sequential):
        pass

    assert type(fuse(Own())) is Own  # it may have a forward of its own


def test_one_value_per_channel_is_torchs_error():
    made = fuse(nn.Sequential(Fold(nn.BatchNorm1d(3)), neuron("lif")))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        made(torch.zeros(1, 1, 3))


def test_statistics_survive_a_large_mean():
    norm = nn.BatchNorm2d(2)
    made = fuse(nn.Sequential(Fold(norm), neuron("lif")))
    x = 1000 + torch.randn(4, 8, 2, 16, 16)
    made(x)
    torch.testing.assert_close(
        norm.running_var, 0.9 + 0.1 * x.double().var((0, 1, 3, 4)).float(), rtol=1e-6, atol=0
    )


def test_less_is_kept_for_the_backward_pass():
    def kept(made):
        sizes = {}

        def note(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            _y = made(x)
        return sum(sizes.values())

    x = torch.rand(8, 2, 2, 32, 32)
    made = create("csnn_tiny", num_classes=3, in_shape=(2, 32, 32))
    plain = copy.deepcopy(made)
    plain.__class__ = nn.Sequential
    assert kept(made) < kept(plain) / 2


def test_models_are_fused():
    for name in ("csnn_tiny", "sew7b_dvsgesture", "spikformer_2_256"):
        made = create(name, num_classes=3, in_shape=MODELS[name].in_shape)
        assert not [1 for module in made.modules() if type(module) is nn.Sequential]
        assert [1 for module in made.modules() if type(module) is Fused]
