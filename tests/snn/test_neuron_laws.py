"""What every registered neuron keeps: chunks, single steps, gradients, dtypes, copies, reset."""

import copy
import inspect
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.errors import OptionError
from eventkit.snn import NEURONS, Recurrent, carry, carry_over, memory, neuron, run, surrogate

T, FEATURES = 6, 5
# Neurons that need more than their name, and the options under which they are causal.
SPECS = {"masked_psn": "masked_psn:k=3,lambda_init=1", "sliding_psn": "sliding_psn:k=3"}
PARAMETERS = {
    "if": 0, "lif": 0, "plif": 1, "cuba": 0, "lif_noreset": 0, "klif": 1, "gn": 0,
    "psn": T * T + T, "masked_psn": T * T + T, "sliding_psn": 3 + 1, "glif": (7 + T) * FEATURES,
    "qcfs": 1, "relu": 0,
    "adlif": 4 * FEATURES, "seadlif": 4 * FEATURES, "silif": 5 * FEATURES, "csilif": 4 * FEATURES,
}  # fmt: skip


def make(name, **options):
    """A neuron for T steps of (N, FEATURES), no two of whose parameters are alike."""
    torch.manual_seed(2)
    known = {key: value for key, value in options.items() if takes(name, key)}
    net = neuron(SPECS.get(name, name), T=T, features=FEATURES, **known)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.unique().numel() < parameter.numel() or parameter.numel() == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return net


def takes(name, option):
    return option in inspect.signature(NEURONS[name]).parameters


def inputs(*shape, dtype=torch.float32, seed=0):
    """Input that drives even neurons of long time constants over their threshold."""
    return 6 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype) + 3


CAUSAL = [name for name in NEURONS if NEURONS[name].causal]


def tensors(state):
    return [state] if isinstance(state, torch.Tensor) else list(state or ())


def same(a, b):
    """Equal, but for the order in which a matrix product sums."""
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NEURONS if NEURONS[name].spiking])
def test_spikes_are_zeros_and_ones_and_some_of_each(name):
    x, net = inputs(T, 40, FEATURES), make(name)
    s = net(x)
    assert s.shape == x.shape
    assert set(s.unique().tolist()) == ({0, 0.25, 0.5, 0.75, 1} if net.graded else {0, 1})
    assert 0.02 < s.mean() < 0.98


@pytest.mark.parametrize("cut", range(1, T))
@pytest.mark.parametrize("name", CAUSAL)
def test_chunks_with_carried_state_are_the_whole(name, cut):
    net, x = make(name), inputs(T, 3, FEATURES)
    whole, end = net.run(x)
    first, middle = net.run(x[:cut])
    second, after = net.run(x[cut:], middle)
    same(torch.cat([first, second]), whole)
    for a, b in zip(tensors(after), tensors(end), strict=True):
        same(a, b)
    with carry(net):
        same(torch.cat([net(x[:cut]), net(x[cut:])]), whole)
    assert torch.equal(net(x), whole)  # and forgets


@pytest.mark.parametrize("name", CAUSAL)
def test_single_steps_are_the_sequence(name):
    net, x = make(name), inputs(T, 3, FEATURES)
    state, spikes = None, []
    for xt in x:
        s, state = net.step(xt, state)
        spikes.append(s)
    same(torch.stack(spikes), net(x))


@pytest.mark.parametrize("name", CAUSAL)
def test_gradients_flow_through_a_carried_state(name):
    net, x = make(name), inputs(T, 2, FEATURES).requires_grad_()
    wanted = [x, *net.parameters()]
    weigh = torch.arange(1.0, T + 1).view(T, 1, 1)
    whole = torch.autograd.grad((net(x) * weigh).sum(), wanted)
    with carry(net):
        pieces = torch.cat([net(x[:2]), net(x[2:])])
    for a, b in zip(torch.autograd.grad((pieces * weigh).sum(), wanted), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(NEURONS) - set(CAUSAL)))
def test_a_neuron_that_sees_the_future_refuses_pieces(name):
    net, x = make(name), inputs(T, 2, FEATURES)
    with pytest.raises(OptionError, match="sequence of 2 steps, expected all"):
        net.run(x[:2])
    with carry(net), pytest.raises(OptionError, match="no state to carry"):
        net(x)
    late = x.clone()
    late[-1] += 100
    early = x.clone()
    early[-1] -= 100
    assert not torch.equal(net(late)[0], net(early)[0])


@pytest.mark.parametrize("name", CAUSAL)
def test_no_step_depends_on_a_later_one(name):
    net, x = make(name), inputs(T, 4, FEATURES)
    for t in range(1, T):
        late = torch.cat([x[:t], inputs(T - t, 4, FEATURES, seed=5)])
        same(net(late)[:t], net(x)[:t])


@pytest.fixture
def smooth(monkeypatch):
    """Spikes become the function whose derivative the sigmoid surrogate is, in the torch path."""
    monkeypatch.setattr(memory, "has_kernels", lambda x, gpu=False: False)

    def forward(ctx, x, kind):
        ctx.save_for_backward(x)
        ctx.surrogate = kind
        return torch.sigmoid(kind.steepness * x)

    monkeypatch.setattr(surrogate._Spike, "forward", staticmethod(forward))
    return {"surrogate": "sigmoid:alpha=4", "detach_reset": False}


@pytest.mark.parametrize("name", [name for name in NEURONS if not NEURONS[name].graded])
def test_gradients_are_the_derivatives_of_the_smooth_twin(name, smooth):
    net = make(name, **smooth).double()
    x = inputs(T, 2, FEATURES, dtype=torch.float64).requires_grad_()
    names = [key for key, _ in net.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *net.parameters()), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("name", NEURONS)
def test_kernels_equal_the_torch_path(name, detach, monkeypatch):
    net = make(name, detach_reset=detach).double()
    x = inputs(T, 3, FEATURES, dtype=torch.float64).requires_grad_()
    grad = inputs(T, 3, FEATURES, dtype=torch.float64, seed=1)
    results = []
    for kernels in (True, False):
        with monkeypatch.context() as patch:
            if not kernels:
                patch.setattr(memory, "has_kernels", lambda x, gpu=False: False)
            s = net(x)
            results.append([s, *torch.autograd.grad((s * grad).sum(), [x, *net.parameters()])])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NEURONS)
def test_bfloat16_input_is_computed_in_single_precision(name):
    net, x = make(name), inputs(T, 3, FEATURES).bfloat16()
    rounded, exact = x.clone().requires_grad_(), x.float().requires_grad_()
    s, expected = net(rounded), net(exact)
    assert s.dtype == torch.bfloat16
    assert torch.equal(s, expected.bfloat16())
    s.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(rounded.grad.float(), exact.grad, rtol=0.02, atol=0.02)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(x), expected.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("name", NEURONS)
def test_spikes_have_the_dtype_of_the_input(name, dtype):
    assert make(name)(inputs(T, 3, FEATURES, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("name", NEURONS)
def test_images_in_any_memory_layout(name):
    net, x = make(name), inputs(T, 2, FEATURES, 3, 4)
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (T, 2))
    last.requires_grad_()
    s, expected = net(last), net(x)
    same(s, expected)
    s.sum().backward()
    assert last.grad.shape == x.shape
    gaps = torch.stack([x, x], dim=-1)[..., 0]
    same(net(gaps), expected)


@pytest.mark.parametrize("name", NEURONS)
def test_state_dict_and_deepcopy_keep_the_neuron(name):
    net, x = make(name), inputs(T, 3, FEATURES)
    expected = net(x)
    assert torch.equal(copy.deepcopy(net)(x), expected)
    other = neuron(SPECS.get(name, name), T=T, features=FEATURES)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), expected)
    repr(net)


@pytest.mark.parametrize("name", NEURONS)
def test_parameters_are_counted(name):
    assert sum(p.numel() for p in make(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", NEURONS)
def test_every_call_starts_from_rest_whatever_came_before(name):
    net, x = make(name), inputs(T, 3, FEATURES)
    first = net(x)
    net(inputs(T, 7, FEATURES, seed=3))  # another batch size
    assert torch.equal(net(x), first)


@pytest.mark.parametrize("name", NEURONS)
def test_compile_makes_one_graph_with_the_same_gradients(name):
    torch.compiler.reset()
    net = nn.Sequential(nn.Linear(4, FEATURES), make(name))
    x = inputs(T, 3, 4)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    grads = []
    for each in (net, compiled):
        net.zero_grad()
        each(x).sum().backward()
        grads.append([p.grad.clone() for p in net.parameters()])
    same(compiled(x), net(x))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NEURONS)
def test_export_keeps_the_spikes(name):
    net, x = nn.Sequential(nn.Linear(4, FEATURES), make(name)).eval(), inputs(T, 3, 4)
    same(torch.export.export(net, (x,)).module()(x), net(x))


@pytest.mark.parametrize("name", NEURONS)
def test_wrong_input_is_told(name):
    with pytest.raises(OptionError, match=r"found neuron input torch.int64"):
        make(name)(torch.ones(T, 2, FEATURES, dtype=torch.int64))


def test_every_neuron_and_surrogate_is_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "neurons.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert {row.split("`")[1] for row in rows} == set(NEURONS)
    assert all(f"`{NEURONS[row.split('`')[1]].__name__}`" in row for row in rows)
    assert all(f"`{name}`" in text for name in surrogate.SURROGATES)


COUNTING = ["glif", "masked_psn"]  # samples cannot start one by one
RESTS = ["lif:v_reset=0.5", "if:v_reset=0.3", "plif:v_reset=-0.2", "klif:v_reset=0.4",
         "cuba:v_reset=0.5", "cuba:v_reset=0.5,tau_syn=1", "gn:m=3"]  # fmt: skip


@pytest.mark.parametrize("spec", [name for name in CAUSAL if name not in COUNTING] + RESTS)
@pytest.mark.parametrize("inner", [False, True])
def test_a_sample_that_does_not_go_on_starts_from_rest(spec, inner):
    one = make(spec) if ":" not in spec else neuron(spec)
    net = nn.Sequential(Recurrent(one, FEATURES)) if inner else nn.Sequential(one)
    old, new = inputs(T, 2, FEATURES), inputs(T, 2, FEATURES, seed=1)
    _, states = run(net, old.requires_grad_())
    after, _ = run(net, new, carry_over(net, states, torch.tensor([True, False])))
    same(after[:, :1], run(net, torch.cat([old, new])[:, :1])[0][T:])
    same(after[:, 1:], run(net, new[:, 1:])[0])
    kept = carry_over(net, states, torch.tensor([True, True]))
    same(run(net, new, kept)[0], run(net, torch.cat([old, new]))[0][T:])
    assert not any(t.requires_grad for t in tensors(kept[-1]) if isinstance(t, torch.Tensor))
    assert carry_over(net, states, torch.tensor([False, False]))[0] is None
    assert carry_over(net, [None] * len(states), torch.tensor([True, False]))[0] is None


@pytest.mark.parametrize("name", COUNTING)
def test_neurons_that_count_steps_start_all_samples_together(name):
    net, x = make(name), inputs(2, 2, FEATURES)
    _, state = net.run(x)
    with pytest.raises(OptionError, match=f"{name} counts time steps"):
        net.carry_over(state, torch.tensor([True, False]))
    assert net.carry_over(state, torch.tensor([True, True])) is not None
