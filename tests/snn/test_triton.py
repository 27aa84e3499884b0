"""The GPU kernels in Triton's interpreter on the CPU, against the torch loop."""

import importlib.util
import itertools
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="needs the extra triton",
)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def test_in_the_interpreter():
    """The tests below in a process of its own: Triton reads TRITON_INTERPRET when it is loaded."""
    if INTERPRETED:
        pytest.skip("this is that process")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-qp", "no:cacheprovider", "-k", "interpreted", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


if INTERPRETED:
    import torch
    from test_neurons import RULES, both

    from eventkit.snn import PLIF, fused, loop, memory
    from eventkit.snn.surrogate import SURROGATES

    @pytest.fixture(autouse=True)
    def on_gpu(monkeypatch):
        from eventkit.snn import triton

        monkeypatch.setattr(fused, "_device", lambda x: triton)

    @pytest.mark.parametrize("rule", RULES)
    def test_interpreted_kernel_equals_the_loop(rule):
        state = rule != ("decay", "hard", False, 0.6)
        kernel, reference = both(rule, dtype=torch.float64, state=state)
        assert kernel.keys() == reference.keys()
        for name, value in reference.items():
            torch.testing.assert_close(kernel[name], value, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("surrogate", SURROGATES)
    @pytest.mark.parametrize("rule", [("decay", "soft", False, 0.0), ("if", "hard", False, 0.6)])
    def test_interpreted_kernel_equals_the_loop_for_every_surrogate(rule, surrogate):
        kernel, reference = both(rule, surrogate, dtype=torch.float64)
        for name, value in reference.items():
            torch.testing.assert_close(kernel[name], value, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_interpreted_kernel_in_the_dtypes_of_gpus(dtype):
        torch.manual_seed(0)
        x = (2 * torch.randn(5, 3, 300)).to(dtype)
        grad, net = torch.randn(5, 3, 300).to(dtype), PLIF()
        results = []
        for run in (fused, loop):
            leaf, q = x.clone().requires_grad_(), net.q.detach().requires_grad_()
            s, v, _ = run.integrate(
                leaf, None, None, q, torch.tensor(1.0), reset=memory.HARD, rest=0.0,
                decay_input=True, detach_reset=True, synapse=0.0, surrogate=net._surrogate,
            )  # fmt: skip
            s.backward(grad)
            results.append((s.detach(), v.detach(), leaf.grad, q.grad))
        assert results[0][0].dtype == dtype
        assert torch.equal(results[0][0], results[1][0])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-2 if dtype.itemsize == 2 else 1e-5, atol=1e-5)

    @pytest.mark.parametrize("steps", [1, 2])
    def test_interpreted_kernel_of_few_steps_and_neurons(steps):
        for shape in ((steps,), (steps, 1), (steps, 0, 3), (steps, 257)):
            x = torch.ones(shape, requires_grad=True)
            s = PLIF(tau=1.5)(x)
            s.sum().backward()
            assert s.shape == x.grad.shape == shape


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="needs the compiler")
@pytest.mark.parametrize("reset", [0, 1, 2])
@pytest.mark.parametrize(("io", "state"), [("fp32", "fp32"), ("bf16", "fp32"), ("fp64", "fp64")])
def test_kernels_compile_for_a_gpu(reset, io, state, tmp_path, monkeypatch):
    """Down to the machine code of compute capability 8.0, which needs no GPU."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton.language as tl
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from eventkit.snn import triton
    from eventkit.snn.surrogate import SHAPES

    flags = {"DECAY_INPUT": True, "KEEP": True, "DETACH": False, "HAS_V": True, "HAS_I": True}
    flags |= {"HAS_GV": True, "HAS_GI": True, "rest": 0.1, "synapse": 0.6, "height": 1.0}
    flags |= {"steepness": 2.0, "BLOCK": 256, "RESET": reset}
    flags["STATE"] = {"fp32": tl.float32, "fp64": tl.float64}[state]
    types = dict.fromkeys(("x", "s", "gs", "gx"), f"*{io}") | {"steps": "i32", "neurons": "i32"}
    types |= {"q": "*fp64", "threshold": "*fp64", "last": "i64"}
    for kernel in (triton._forward, triton._backward):
        for shape in range(len(SHAPES)) if kernel is triton._backward else [0]:
            given = {k: v for k, v in (flags | {"SHAPE": shape}).items() if k in kernel.arg_names}
            kinds = {name: types.get(name, f"*{state}") for name in kernel.arg_names}
            kinds |= dict.fromkeys(given, "constexpr")
            source = ASTSource(kernel, kinds, constexprs=given)
            assert compile(source, target=GPUTarget("cuda", 80, 32)).asm["cubin"]


@pytest.mark.gpu
@pytest.mark.skipif(INTERPRETED, reason="needs the compiled kernels")
@pytest.mark.parametrize("options", list(itertools.product(("none", "0"), ("yes", "no"))))
def test_gpu_equals_cpu(options):
    import torch

    from eventkit.snn import neuron

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    reset, decay = options
    torch.manual_seed(0)
    net = neuron(f"plif:v_reset={reset},decay_input={decay}")
    x, grad = torch.randn(16, 8, 1000), torch.randn(16, 8, 1000)
    results = []
    for device in ("cpu", "cuda"):
        net.to(device).zero_grad()
        leaf = x.to(device, copy=True).requires_grad_()
        s = net(leaf)
        s.backward(grad.to(device))
        results.append([t.cpu() for t in (s.detach(), leaf.grad, net.w.grad)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
