"""One side of benchmarks/neurons.py: python peer_neurons.py eventkit|spikingjelly WHAT FILE

Run by either library's own Python. WHAT is `lif` (times of a layer; spikes and gradients go to
FILE), `memory`, `step` or `best`; prints one JSON object.
"""

import json
import resource
import statistics
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SHAPES = {
    "(8, 32, 128)": (8, 32, 128),
    "(16, 2^16)": (16, 1 << 16),
    "(16, 2^18)": (16, 1 << 18),
    "(16, 2^20)": (16, 1 << 20),
    "(16, 2^22)": (16, 1 << 22),
}
THREADS, REPEATS = 2, 7


def lif(library: str) -> nn.Module:
    """LIF with tau 2, hard reset to 0, the reset detached, arctangent surrogate."""
    if library == "eventkit":
        from eventkit.snn import LIF

        return LIF(tau=2.0)
    from spikingjelly.activation_based import neuron, surrogate

    slope = surrogate.ATan()
    return neuron.LIFNode(2.0, surrogate_function=slope, detach_reset=True, step_mode="m")


def forget(net: nn.Module) -> None:
    for module in net.modules():
        if hasattr(module, "reset") and not isinstance(module, nn.Sequential):
            module.reset()


def csnn(library: str) -> nn.Module:
    """csnn_tiny for 2 x 64 x 64 and 11 classes, on the library's own neurons."""
    if library == "eventkit":
        from eventkit.models import create

        return create("csnn_tiny:neurons=lif", num_classes=11, in_shape=(2, 64, 64))
    from spikingjelly.activation_based import layer

    layers: list[nn.Module] = []
    for channels in (2, 32, 32, 32):
        conv = nn.Conv2d(channels, 32, 3, padding=1, bias=False)
        layers += [layer.SeqToANNContainer(conv, nn.BatchNorm2d(32)), lif(library)]
        layers += [layer.SeqToANNContainer(nn.MaxPool2d(2))]
    layers += [nn.Flatten(2), layer.Dropout(0.2, step_mode="m"), nn.Linear(512, 128, bias=False)]
    layers += [lif(library), layer.Dropout(0.2, step_mode="m"), nn.Linear(128, 110, bias=False)]
    return nn.Sequential(*layers, layer.VotingLayer(10, step_mode="m"))


def milliseconds(action, repeats: int = REPEATS) -> float:
    for _ in range(2):
        action()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def neuron_times(library: str) -> dict[str, float]:
    times = {}
    for name, shape in SHAPES.items():
        net, x, grad = lif(library), torch.randn(shape, requires_grad=True), torch.ones(shape)

        def action(net=net, x=x, grad=grad):
            x.grad = None
            forget(net)
            net(x).backward(grad)

        times[name] = milliseconds(action)
    return times


def peak(library: str) -> float:
    """MB beyond input and gradient, forward and backward over (16, 2^22)."""
    net, x = lif(library), torch.randn(SHAPES["(16, 2^22)"], requires_grad=True)
    grad = torch.ones_like(x)
    net(x[:, :8]).sum().backward()  # compiles; makes the gradient of x
    forget(net)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net(x).backward(grad)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3


def step_time(library: str, best: bool) -> float:
    """A training step, T = 16, N = 16; `best`: channels last, bfloat16, freed memory kept."""
    if best:
        from eventkit.train import keep_memory

        keep_memory()
    net = csnn(library)
    if library == "eventkit" and not best:
        net.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    frames, labels = torch.poisson(torch.full((16, 16, 2, 64, 64), 0.1)), torch.arange(16) % 11

    def action():
        forget(net)
        with torch.autocast("cpu", torch.bfloat16, enabled=best):
            votes = net(frames).float().mean(0)
        optimizer.zero_grad()
        functional.cross_entropy(votes, labels).backward()
        optimizer.step()

    return milliseconds(action, 5)


def variants(library: str) -> dict[str, nn.Module]:
    """Neurons that both libraries define alike, by what is special about them."""
    if library == "eventkit":
        from eventkit.snn import IF, LIF, PLIF

        return {
            "if": IF(detach_reset=False),
            "soft": LIF(tau=3.0, v_reset=None, detach_reset=False),
            "no decay": LIF(tau=3.0, decay_input=False, surrogate="sigmoid:alpha=4"),
            "plif": PLIF(tau=2.0),
        }
    from spikingjelly.activation_based import neuron, surrogate

    atan = {"surrogate_function": surrogate.ATan(), "step_mode": "m"}
    sigmoid = {"surrogate_function": surrogate.Sigmoid(alpha=4.0), "step_mode": "m"}
    return {
        "if": neuron.IFNode(detach_reset=False, **atan),
        "soft": neuron.LIFNode(3.0, v_reset=None, detach_reset=False, **atan),
        "no decay": neuron.LIFNode(3.0, decay_input=False, detach_reset=True, **sigmoid),
        "plif": neuron.ParametricLIFNode(2.0, detach_reset=True, **atan),
    }


def gradients(library: str) -> dict[str, np.ndarray]:
    """Spikes and gradients of every variant for the same input."""
    found = {}
    for name, net in {"lif": lif(library), **variants(library)}.items():
        torch.manual_seed(0)
        x, grad = torch.randn(16, 4096, requires_grad=True), torch.randn(16, 4096)
        spikes = net(x)
        spikes.backward(grad)
        found |= {f"{name} spikes": spikes.detach().numpy(), f"{name} x": x.grad.numpy()}
        found |= {f"{name} w": w.grad.numpy() / len(grad.T) for w in net.parameters()}
    return found


def main() -> None:
    library, what, file = sys.argv[1:]
    torch.set_num_threads(THREADS)
    if what == "lif":
        np.savez(file, **gradients(library))
        result = neuron_times(library)
    elif what == "memory":
        result = {"memory": peak(library)}
    else:
        result = {what: step_time(library, best=what == "best")}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
