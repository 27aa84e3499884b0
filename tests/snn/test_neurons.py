"""IF, LIF and PLIF: the kernels against the torch loop, the laws of state, and exact examples."""

import itertools
import multiprocessing

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eventkit.errors import OptionError, UnknownName
from eventkit.snn import IF, LIF, PLIF, carry, fused, integrate, loop, memory, neuron
from eventkit.snn.surrogate import SURROGATES, parse

KINDS = ("if", "decay", "no decay")
RESETS = {"hard": memory.HARD, "soft": memory.SOFT, "never": memory.NEVER}
RULES = list(itertools.product(KINDS, RESETS, (False, True), (0.0, 0.6)))


def both(rule, surrogate="atan", *, dtype, state=True, modules=(fused, loop)):
    """Spikes, last states and all gradients, once from the kernel and once from the loop."""
    kind, reset, detach, synapse = rule
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    x, v, i = 1.5 * normal(7, 3, 13), 0.3 * normal(3, 13), 0.3 * normal(3, 13)
    grad_s, grad_v, grad_i = normal(7, 3, 13), normal(3, 13), normal(3, 13)
    for module in modules:
        inputs = {"x": x.clone(), "w": torch.tensor(-0.3, dtype=dtype)}
        inputs["threshold"] = torch.tensor(0.9, dtype=dtype)
        if state:
            inputs["v"] = v.clone()
        if state and synapse:
            inputs["i"] = i.clone()
        for tensor in inputs.values():
            tensor.requires_grad_()
        q = torch.zeros((), dtype=dtype) if kind == "if" else inputs["w"].sigmoid()
        spikes, end, current = module.integrate(
            inputs["x"],
            inputs.get("v"),
            inputs.get("i"),
            q,
            inputs["threshold"],
            reset=RESETS[reset],
            rest=0.1 if reset == "hard" else 0.0,
            decay_input=kind == "decay",
            detach_reset=detach,
            synapse=synapse,
            surrogate=parse(surrogate),
        )
        loss = (spikes * grad_s).sum() + (end * grad_v).sum()
        if synapse:
            loss = loss + (current * grad_i).sum()
        loss.backward()
        grads = {name: tensor.grad for name, tensor in inputs.items() if tensor.grad is not None}
        ends = {"end": end.detach()} | ({"current": current.detach()} if synapse else {})
        yield {"spikes": spikes.detach(), **ends, **grads}


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule[3] and rule[1] != "never"])
def test_kernel_equals_autograd_over_the_loop_for_every_surrogate(rule, surrogate):
    kernel, reference = both(rule, surrogate, dtype=torch.float64)
    for name, value in reference.items():
        torch.testing.assert_close(kernel[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_kernel_equals_autograd_over_the_loop(rule):
    kernel, reference = both(rule, dtype=torch.float64)
    assert kernel.keys() == reference.keys()
    assert 0.05 < kernel["spikes"].mean() < 0.95
    for name, value in reference.items():
        torch.testing.assert_close(kernel[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("state", [False, True])
def test_kernel_equals_the_loop_in_single_precision(rule, state):
    kernel, reference = both(rule, dtype=torch.float32, state=state)
    assert torch.equal(kernel["spikes"], reference["spikes"])
    for name, value in reference.items():
        scale = max(1.0, value.abs().max().item()) * (1 if value.ndim else 4)  # a long sum
        torch.testing.assert_close(kernel[name], value, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("v_reset", [None, 0.1])
def test_gradients_of_the_membrane_are_its_numerical_derivatives(decay, v_reset):
    # A boxcar far narrower than any distance from the threshold: no surrogate is at work.
    surrogate = parse("boxcar:width=1e-6")

    def run(x, v, q, threshold):
        return integrate(
            x,
            v,
            q=q,
            v_threshold=threshold,
            v_reset=v_reset,
            decay_input=decay,
            detach_reset=False,
            surrogate=surrogate,
        )

    torch.manual_seed(0)
    x, v = 1.5 * torch.randn(5, 2, 3, dtype=torch.float64), 0.1 * torch.randn(2, 3).double()
    q, threshold = torch.tensor(0.4).double(), torch.tensor(0.9).double()
    spikes = run(x, v, q, threshold)[0]
    assert 0 < spikes.mean() < 1
    inputs = tuple(tensor.requires_grad_() for tensor in (x, v, q, threshold))
    assert torch.autograd.gradcheck(run, inputs, eps=1e-7, atol=1e-6)


def test_lif_by_hand():
    x = torch.full((3, 1), 1.5)
    spikes, v = LIF(tau=2.0).run(x)  # h = 0.75, 1.125 fires, 0.75
    assert spikes.flatten().tolist() == [0, 1, 0]
    assert v.item() == 0.75
    spikes, v = LIF(tau=2.0, v_reset=None).run(x)  # h = 0.75, 1.125 fires and leaves 0.125, 0.8125
    assert spikes.flatten().tolist() == [0, 1, 0]
    assert v.item() == 0.8125
    spikes, v = LIF(tau=2.0, decay_input=False).run(x)  # h = 1.5 fires every time
    assert spikes.flatten().tolist() == [1, 1, 1]
    assert v.item() == 0


def test_a_neuron_fires_at_exactly_its_threshold():
    spikes, v = IF().run(torch.full((4, 1), 0.5))  # h = 0.5, 1.0 fires
    assert spikes.flatten().tolist() == [0, 1, 0, 1]
    assert v.item() == 0


def test_rest_is_the_reset_value():
    spikes, v = LIF(tau=4.0, v_reset=0.5).run(torch.zeros(3, 1))  # h = v + (0 - (v - 0.5)) / 4
    assert spikes.sum() == 0
    assert v.item() == 0.5


@pytest.mark.parametrize("tau", [2.0, 4.0])
def test_decay_input_with_threshold_one_is_no_decay_with_threshold_tau(tau):
    torch.manual_seed(0)
    x = 2 * torch.randn(50, 100)
    scaled = LIF(tau=tau, decay_input=False, v_threshold=tau)
    assert torch.equal(LIF(tau=tau)(x), scaled(x))
    assert LIF(tau=tau)(x).mean() > 0.01


@pytest.mark.parametrize("kind", ["lif:tau=3", "lif:v_reset=none,decay_input=no"])
@given(cut=st.integers(1, 7))
@settings(max_examples=7, deadline=None)
def test_chunks_with_carried_state_are_the_whole(kind, cut):
    torch.manual_seed(0)
    x, net = torch.randn(8, 3, 5), neuron(kind)
    whole, end = net.run(x)
    first, v = net.run(x[:cut])
    second, v = net.run(x[cut:], v)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(v, end)
    with carry(net):
        assert torch.equal(torch.cat([net(x[:cut]), net(x[cut:])]), whole)
    assert torch.equal(net(x), whole)  # and forgets


def test_gradients_flow_through_a_carried_state():
    torch.manual_seed(0)
    x, net = torch.randn(6, 2, 4, requires_grad=True), PLIF()
    whole = torch.autograd.grad(net(x).square().sum(), [x, net.w])
    with carry(net):
        pieces = torch.cat([net(x[:2]), net(x[2:])])
    for a, b in zip(torch.autograd.grad(pieces.square().sum(), [x, net.w]), whole, strict=True):
        torch.testing.assert_close(a, b)


def test_single_steps_are_the_sequence():
    torch.manual_seed(0)
    x, net = torch.randn(6, 2, 4), LIF()
    v, spikes = None, []
    for step in x:
        s, v = net.step(step, v)
        spikes.append(s)
    assert torch.equal(torch.stack(spikes), net(x))


def test_every_call_starts_from_rest_whatever_came_before():
    torch.manual_seed(0)
    x, net = torch.rand(4, 2, 5), LIF()
    first = net(x)
    net(torch.rand(3, 7, 2))  # another batch size, another length
    assert torch.equal(net(x), first)


def test_plif_starts_at_tau_and_has_one_parameter():
    net = PLIF(tau=4.0)
    assert net.q.item() == pytest.approx(0.25)
    assert [p.numel() for p in net.parameters()] == [1]
    torch.manual_seed(0)
    x = torch.randn(5, 40)
    torch.testing.assert_close(net.run(x)[1], LIF(tau=4.0).run(x)[1])


def test_bfloat16_keeps_the_membrane_in_single_precision():
    torch.manual_seed(0)
    rounded = torch.randn(9, 4, 300).bfloat16()
    grad = torch.randn(9, 4, 300).bfloat16()
    short, long = rounded.clone().requires_grad_(), rounded.float().requires_grad_()
    net = PLIF()
    (spikes, v), (expected, end) = net.run(short), net.run(long)
    assert spikes.dtype == torch.bfloat16
    assert v.dtype == torch.float32
    assert torch.equal(spikes.float(), expected)
    assert torch.equal(v, end)
    spikes.backward(grad)
    expected.backward(grad.float())
    assert torch.equal(short.grad, long.grad.bfloat16())


def test_half_precision_goes_step_by_step_with_a_membrane_in_single():
    torch.manual_seed(0)
    x, net = torch.randn(6, 40).half(), LIF()
    spikes, v = net.run(x)
    assert spikes.dtype == torch.float16
    assert torch.equal(spikes.float(), net(x.float()))
    assert torch.equal(v, net.run(x.float())[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_layouts_do_not_matter_and_are_kept(dtype):
    torch.manual_seed(0)
    x = torch.randn(4, 2, 3, 5, 6).to(dtype)
    v = torch.randn(2, 3, 5, 6)
    layouts = [
        x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 2)),
        torch.stack([x, x], dim=-1)[..., 0],
        x.transpose(0, 1).contiguous().transpose(0, 1),
        torch.cat([x, x])[2:6].roll(2, 0),
    ]
    net = LIF()
    grad = torch.randn(x.shape).to(dtype)
    plain = x.clone().requires_grad_()
    spikes, end = net.run(plain, v)
    spikes.backward(grad)
    for layout in layouts:
        layout = layout.detach().requires_grad_()
        s, e = net.run(layout, v)
        s.backward(grad)
        assert torch.equal(s, spikes)
        assert torch.equal(e, end)
        assert torch.equal(layout.grad, plain.grad)
    assert net(layouts[0]).stride() == layouts[0].stride()


def test_threads_do_not_change_a_bit():
    torch.manual_seed(0)
    x = torch.randn(8, 100_003)
    grad = torch.randn(8, 100_003)
    results = []
    threads = torch.get_num_threads()
    for n in (1, 2, 3):
        torch.set_num_threads(n)
        try:
            leaf, net = x.clone().requires_grad_(), PLIF()
            spikes, v = net.run(leaf)
            spikes.backward(grad)
            results.append((spikes.detach(), v.detach(), leaf.grad, net.w.grad))
        finally:
            torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0][:3], other[:3], strict=True))
        torch.testing.assert_close(results[0][3], other[3])


def _sum_of_parts(queue):
    queue.put(sum(memory.split(lambda a, b: b - a, 1 << 20, 16)))


def test_threads_start_anew_after_a_fork():
    assert sum(memory.split(lambda a, b: b - a, 1 << 20, 16)) == 1 << 20
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_sum_of_parts, args=(queue,), daemon=True)
    process.start()
    assert queue.get(timeout=30) == 1 << 20
    process.join()


def test_a_graph_that_is_kept_can_be_gone_through_twice():
    torch.manual_seed(0)
    x = torch.randn(5, 3, 4, requires_grad=True)
    loss = PLIF()(x).square().sum()
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    first = first.clone()
    (second,) = torch.autograd.grad(loss, x)
    assert torch.equal(first, second)


def test_second_derivatives_are_refused():
    x = torch.randn(5, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(LIF()(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_without_gradients_the_spikes_are_the_same():
    torch.manual_seed(0)
    x, net = torch.randn(5, 3, 4), PLIF()
    with torch.no_grad():
        spikes = net(x)
    assert not spikes.requires_grad
    assert torch.equal(spikes, net(x))


def test_only_the_last_membrane_can_be_used():
    torch.manual_seed(0)
    x = torch.randn(5, 3, requires_grad=True)
    LIF(v_threshold=1e9).run(x)[1].sum().backward()  # v = sum_t x[t] / 2^(T - t)
    expected = torch.tensor([2.0**-5, 2.0**-4, 2.0**-3, 2.0**-2, 2.0**-1])
    torch.testing.assert_close(x.grad, expected[:, None].expand(5, 3))


def test_empty_batches_and_single_neurons():
    assert LIF()(torch.zeros(3, 0, 5)).shape == (3, 0, 5)
    assert LIF()(torch.ones(3)).shape == (3,)
    x = torch.zeros(3, 0, 5, requires_grad=True)
    LIF()(x).sum().backward()
    assert x.grad.shape == (3, 0, 5)


def test_wrong_input_is_told():
    with pytest.raises(OptionError, match=r"found neuron input torch.int64 of shape \(3, 2\)"):
        LIF()(torch.ones(3, 2, dtype=torch.int64))
    with pytest.raises(OptionError, match="at least one time step"):
        LIF()(torch.ones(0, 2))
    with pytest.raises(OptionError, match=r"shape \(2, 1\), expected .* \(2, 4\)"):
        LIF().run(torch.ones(3, 2, 4), torch.zeros(2, 1))


def test_wrong_options_are_told():
    with pytest.raises(OptionError, match=r"tau is 0.5, expected at least 1"):
        LIF(tau=0.5)
    with pytest.raises(OptionError, match="expected more than 1"):
        PLIF(tau=1.0)
    with pytest.raises(UnknownName, match=r"no neuron 'lyf'.*'lif'"):
        neuron("lyf")
    with pytest.raises(OptionError, match=r"lif has no option 'taw'.*'tau'"):
        neuron("lif:taw=2")
    with pytest.raises(UnknownName, match=r"no surrogate 'atam'.*'atan'"):
        LIF(surrogate="atam")
