"""One side of benchmarks/neurons.py: python peer_neurons.py LIBRARY

Run by the Python of the library: eventkit, spikingjelly or snntorch. Every line of the input is a
JSON list, the name of a function of `JOBS` and its arguments; it is answered by a line of JSON.
"""

import json
import os
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

THREADS = 2


def make(library: str, kind: str, steps: int) -> nn.Module:
    """LIF (tau 2, hard reset to 0, detached), PSN or sliding PSN; arctangent surrogate."""
    if library == "eventkit":
        from eventkit.snn import LIF, PSN, SlidingPSN

        return {"lif": LIF, "sliding": SlidingPSN}[kind]() if kind != "psn" else PSN(T=steps)
    from spikingjelly.activation_based import neuron, surrogate

    if kind == "psn":
        return neuron.PSN(steps)
    if kind == "sliding":
        return neuron.SlidingPSN(2, step_mode="m")
    slope = surrogate.ATan()
    return neuron.LIFNode(2.0, surrogate_function=slope, detach_reset=True, step_mode="m")


def forget(net: nn.Module) -> None:
    for module in net.modules():
        if hasattr(module, "reset") and not isinstance(module, nn.Sequential):
            module.reset()


def csnn(library: str) -> nn.Module:
    """csnn_small for 2 x 64 x 64 and 11 classes, on the library's own neurons."""
    if library == "eventkit":
        from eventkit.models import create

        return create("csnn_small:neurons=lif", num_classes=11, in_shape=(2, 64, 64))
    from spikingjelly.activation_based import layer

    layers: list[nn.Module] = []
    for channels in (2, 64, 64, 64):
        conv = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        layers += [layer.SeqToANNContainer(conv, nn.BatchNorm2d(64)), make(library, "lif", 16)]
        layers += [layer.SeqToANNContainer(nn.MaxPool2d(2))]
    layers += [nn.Flatten(2), layer.Dropout(0.2, step_mode="m"), nn.Linear(1024, 256, bias=False)]
    layers += [make(library, "lif", 16), layer.Dropout(0.2, step_mode="m")]
    layers += [nn.Linear(256, 110, bias=False)]
    return nn.Sequential(*layers, layer.VotingLayer(10, step_mode="m"))


def milliseconds(action, repeats: int, warm: int = 0) -> list[float]:
    times = []
    for _ in range(warm + repeats):
        started = time.perf_counter()
        action()
        times.append(1e3 * (time.perf_counter() - started))
    return times[warm:]


@cache
def layer_of(library: str, kind: str, shape: tuple[int, ...]) -> Callable[[], None]:
    """Forward and backward pass of a neuron."""
    net = make(library, kind, shape[0])
    x, grad = torch.randn(shape, requires_grad=True), torch.ones(shape)

    def action() -> None:
        x.grad = None
        forget(net)
        net(x).backward(grad)

    return action


def neuron_times(library: str, kind: str, shape: list[int], repeats: int) -> list[float]:
    return milliseconds(layer_of(library, kind, tuple(shape)), repeats)


def peak(library: str, kind: str, shape: list[int]) -> float:
    """MB of a first forward and backward pass beyond input, gradient and what is there before."""
    action = layer_of(library, kind, tuple(shape))
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    action()
    return (_resident("VmHWM") - before) / 1e3


def _resident(which: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(which))


@cache
def step_of(library: str, best: bool) -> Callable[[], None]:
    """A training step, T = 16, N = 16; `best`: channels last, bfloat16, freed memory kept."""
    if best:
        from eventkit.train import keep_memory

        keep_memory()
    net = csnn(library)
    if library == "eventkit" and not best:
        net.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    frames, labels = torch.poisson(torch.full((16, 16, 2, 64, 64), 0.1)), torch.arange(16) % 11

    def action() -> None:
        forget(net)
        with torch.autocast("cpu", torch.bfloat16, enabled=best):
            votes = net(frames).float().mean(0)
        optimizer.zero_grad()
        functional.cross_entropy(votes, labels).backward()
        optimizer.step()

    return action


def step_times(library: str, best: bool, repeats: int) -> list[float]:
    return milliseconds(step_of(library, best), repeats)


def drop(library: str) -> None:
    """Give up what is kept between jobs."""
    layer_of.cache_clear()
    step_of.cache_clear()


def loops(library: str) -> dict[str, tuple[float, float]]:
    """Our neurons of two states, and CUBA: the kernel, and the same step by step in torch."""
    from eventkit.snn import memory, neuron

    times = {}
    x, grad = torch.randn(100, 64, 512, requires_grad=True), torch.ones(100, 64, 512)
    takes = memory.has_kernels
    for name in ("cuba", "adlif", "seadlif", "silif", "csilif"):
        net, pair = neuron(name, features=512), []
        for kernels in (takes, lambda x, gpu=False: False):
            memory.has_kernels = kernels
            runs = milliseconds(lambda net=net: net(x).backward(grad), 3, warm=1)
            pair.append(statistics.median(runs))
        memory.has_kernels = takes
        times[name] = tuple(pair)
    return times


def kept(forward: Callable[[], object], packing: bool = False) -> float:
    """MB of all tensors that are kept from a forward pass until the backward pass.

    Those are what autograd saves, and what checkpoints keep to compute their part again.
    """
    from torch.utils._pytree import tree_leaves

    from eventkit.snn import saving

    sizes: dict[int, int] = {}
    alive = []  # so that no later tensor is found at the address of an earlier one
    checkpoint = saving.checkpoint

    def note(tensor):
        packed = saving._pack(tensor) if packing else tensor
        array = packed if isinstance(packed, torch.Tensor) else packed[0]
        where = array.data_ptr() if isinstance(array, torch.Tensor) else array.ctypes.data
        sizes[where] = array.nbytes
        return packed

    def noted(function, net, *arguments, **options):
        for tensor in tree_leaves(arguments):
            if isinstance(tensor, torch.Tensor):
                sizes[tensor.data_ptr()] = tensor.nbytes
                alive.append(tensor)
        return checkpoint(function, net, *arguments, **options)

    saving.checkpoint = noted
    try:
        with torch.autograd.graph.saved_tensors_hooks(note, saving._unpack):
            _y = forward()
    finally:
        saving.checkpoint = checkpoint
    return sum(sizes.values()) / 1e6


def saved(library: str) -> dict[str, tuple[float, float]]:
    """MB that csnn_small keeps for its backward pass: with what lessens it, and without."""
    from eventkit.snn import checkpointed

    net, x = csnn(library), torch.poisson(torch.full((16, 8, 2, 64, 64), 0.1))
    plain = kept(lambda: net(x))
    packed = kept(lambda: net(x), packing=True)
    net.eval()
    whole, pieces = kept(lambda: net(x)), kept(lambda: checkpointed(net, x, pieces=4))
    return {"packed spikes": (packed, plain), "4 checkpointed pieces": (pieces, whole)}


# Neurons that the libraries define alike, by what is special about them.
IMAGES = (16, 4, 32, 4, 8)  # what SpikingJelly's GLIF takes


def variants(library: str) -> dict[str, nn.Module]:
    """Those of ours that SpikingJelly has too, and its own."""
    if library == "eventkit":
        from eventkit.snn import CUBA, GLIF, IF, KLIF, LIF, PLIF, PSN, MaskedPSN, SlidingPSN

        return {
            "lif": LIF(),
            "if": IF(detach_reset=False),
            "soft": LIF(tau=3.0, v_reset=None, detach_reset=False),
            "no decay": LIF(tau=3.0, decay_input=False, surrogate="sigmoid:alpha=4"),
            "plif": PLIF(tau=2.0),
            "cuba": CUBA(decay_input=False, detach_reset=False),
            "klif": KLIF(),
            "klif, scaled": KLIF(scale_reset=True, v_reset=None, detach_reset=False),
            "glif": GLIF(T=16, features=32),
            "psn": PSN(T=16),
            "masked psn": MaskedPSN(T=16, k=4, lambda_init=0.5),
            "sliding psn": SlidingPSN(k=3),
        }
    from spikingjelly.activation_based import neuron, surrogate

    atan = {"surrogate_function": surrogate.ATan()}
    many, sigmoid = {**atan, "step_mode": "m"}, {"surrogate_function": surrogate.Sigmoid(alpha=4.0)}
    cuba = neuron.CUBALIFNode(0.5, 0.5, v_threshold=1.0, **atan)
    cuba.step_mode = "m"
    soft = {"v_reset": None, "detach_reset": False, **many}
    return {
        "lif": neuron.LIFNode(2.0, detach_reset=True, **many),
        "if": neuron.IFNode(detach_reset=False, **many),
        "soft": neuron.LIFNode(3.0, **soft),
        "no decay": neuron.LIFNode(
            3.0, decay_input=False, detach_reset=True, step_mode="m", **sigmoid
        ),
        "plif": neuron.ParametricLIFNode(2.0, detach_reset=True, **many),
        "cuba": cuba,
        "klif": neuron.KLIFNode(detach_reset=True, **many),
        "klif, scaled": neuron.KLIFNode(scale_reset=True, **soft),
        "glif": neuron.GatedLIFNode(16, 32, **atan),
        "psn": neuron.PSN(16),
        "masked psn": neuron.MaskedPSN(4, 16, 0.5, step_mode="m"),
        "sliding psn": neuron.SlidingPSN(3, step_mode="m"),
    }


class Steps(nn.Module):
    """A neuron of snnTorch, step by step."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, spikes = self.inner.reset_mem(), []
        state = state if isinstance(state, tuple) else (state,)
        for xt in x:
            s, *state = self.inner(xt, *state)
            spikes.append(s)
        return torch.stack(spikes)


def snntorch_variants(library: str) -> dict[str, nn.Module]:
    """Those of ours that snnTorch has too, and its own; inputs are small enough for one reset."""
    if library == "eventkit":
        from eventkit.snn import CUBA, LIF, LIFNoReset

        cuba = CUBA(decay_input=False, v_reset=None, detach_reset=False)
        return {
            "snntorch leaky": LIF(decay_input=False),
            "snntorch leaky, no reset": LIFNoReset(decay_input=False),
            "snntorch synaptic": cuba,
        }
    import snntorch
    from snntorch import surrogate

    atan = {"spike_grad": surrogate.atan(alpha=2.0)}
    now = {"reset_mechanism": "subtract", "reset_delay": False}
    return {
        "snntorch leaky": Steps(snntorch.Leaky(0.5, reset_mechanism="zero", **atan)),
        "snntorch leaky, no reset": Steps(snntorch.Leaky(0.5, reset_mechanism="none", **atan)),
        "snntorch synaptic": Steps(snntorch.Synaptic(0.5, 0.5, **now, **atan)),
    }


def settle(net: nn.Module) -> None:
    """Give the parameters values that depend on their names only."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            ours = {"linear_decay": "leak"}.get(name, name)
            random = torch.Generator().manual_seed(zlib.crc32(ours.encode()))
            center = {"k": 1.0, "bias": -1.0}.get(ours, 0.0)
            p.copy_(center + 0.3 * torch.randn(p.shape, generator=random))


def gradients(library: str) -> dict[str, np.ndarray]:
    """Spikes and gradients of every variant for the same input."""
    nets = {} if library == "snntorch" else variants(library)
    nets |= {} if library == "spikingjelly" else snntorch_variants(library)
    found = {}
    for kind, net in nets.items():
        settle(net)
        torch.manual_seed(0)
        x, grad = torch.randn(16, 4096), torch.randn(16, 4096)
        x = (0.3 * x if "synaptic" in kind else x).requires_grad_()
        s = net(x.view(IMAGES) if kind == "glif" else x).view(x.shape)
        s.backward(grad)
        found |= {f"{kind} spikes": s.detach().numpy(), f"{kind} x": x.grad.numpy()}
        for name, p in net.named_parameters():
            ours = {"linear_decay": "leak"}.get(name, name)
            found[f"{kind} {ours}"] = p.grad.numpy() / x.numel() ** 0.5  # sums of so many terms
    return found


def equal(library: str, file: str) -> None:
    np.savez(file, **gradients(library))


JOBS = {job.__name__: job for job in (neuron_times, peak, step_times, drop, loops, saved, equal)}


def main() -> None:
    library = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    torch.set_num_threads(THREADS)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(JOBS[name](library, *arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
