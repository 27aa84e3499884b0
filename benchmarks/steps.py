"""A training step of whole networks: python benchmarks/steps.py --peers ENVIRONMENT [NAME ...]

The same network with our neurons, fused and as separate modules; with SpikingJelly's neurons in
their place; and without neurons and norms, which is what convolutions and matrix products cost.
bfloat16 and channels_last, as trained. One thread; the networks take turns, and the numbers are
medians of the CPU time, which other processes disturb less than they do the time that passes.
Then PSN and masked PSN (k = 8) over T, beside SpikingJelly's.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from eventkit.models import create
from eventkit.snn import PLIF, PSN, Fused, MaskedPSN, Neuron
from eventkit.train import keep_memory

# Name -> spec, T, batch, side, bar against SpikingJelly's neurons.
NETS = {
    "csnn_small": ("csnn_small", 16, 16, 64, 3),
    "PLIF net": ("plif_dvsgesture", 10, 4, 64, 3),
    "SEW 7B-Net": ("sew7b_dvsgesture", 16, 2, 64, 3),
    "Spikformer": ("spikformer_2_256", 10, 2, 64, 2),
    "VGGSNN": ("vggsnn", 10, 2, 48, None),
}
TURNS = 5
STEPS = (16, 64, 128, 250, 500, 1000)
ELEMENTS = 1 << 20  # T times neurons


def spikingjelly(peers: Path) -> None:
    """Make SpikingJelly of an environment importable; our own packages come first."""
    sys.path += [str(path) for path in Path(peers).glob("lib/python*/site-packages")]


class Theirs(nn.Module):
    """SpikingJelly's neuron with the options of one of ours."""

    def __init__(self, ours: Neuron) -> None:
        from spikingjelly.activation_based import neuron, surrogate

        super().__init__()
        sigmoid = "sigmoid" in ours.surrogate
        slopes = {
            "triangle": surrogate.PiecewiseQuadratic(alpha=1.0),
            "sigmoid": surrogate.Sigmoid(alpha=4.0),
        }
        options = {
            "v_threshold": ours.v_threshold, "v_reset": ours.v_reset, "step_mode": "m",
            "detach_reset": ours.detach_reset, "decay_input": ours.decay_input,
            "surrogate_function": slopes.get(ours.surrogate, surrogate.ATan()),
        }  # fmt: skip
        assert ours.surrogate in (*slopes, "atan"), sigmoid
        kind = neuron.ParametricLIFNode if isinstance(ours, PLIF) else neuron.LIFNode
        self.inner = kind(float(ours.tau), **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.inner.reset()
        return self.inner(x)


def changed(net: nn.Module, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A copy of a net whose modules are separate, with some of them changed."""
    net = copy.deepcopy(net)
    for module in net.modules():
        if type(module) is Fused:
            module.__class__ = nn.Sequential
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            setattr(module, name, change(child))
    return net


def bare(module: nn.Module) -> nn.Module:
    return nn.Identity() if isinstance(module, Neuron | _BatchNorm) else module


def theirs(module: nn.Module) -> nn.Module:
    return Theirs(module) if isinstance(module, Neuron) else module


def step(net: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(net.parameters(), 1e-6)

    def action() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            votes = net(x).float().mean(0)
        functional.cross_entropy(votes, torch.arange(len(votes)) % votes.shape[1]).backward()
        optimizer.step()

    return action


def medians(actions: dict[str, Callable[[], object]], turns: int = TURNS) -> dict[str, float]:
    """Milliseconds of CPU time for each action, after one run that does not count."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(turns + 1):
        for name, action in actions.items():
            began = time.process_time()
            action()
            if turn:
                times[name].append(1e3 * (time.process_time() - began))
    return {name: statistics.median(each) for name, each in times.items()}


def saved(net: nn.Module, x: torch.Tensor) -> float:
    """MB that a forward pass keeps for the backward pass."""
    sizes = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    noting = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with noting, torch.autocast("cpu", torch.bfloat16):
        _y = net(x)
    return sum(sizes.values()) / 1e6


def row(what: str, ours: float, peer: float, name: str, unit: str = "ms", bar: str = "") -> dict:
    return {
        "what": what, "ours": ours, "peer": peer, "peer_name": name,
        "ratio": peer / ours, "unit": unit, "bar": bar,
    }  # fmt: skip


def network(name: str, peers: Path | None) -> list[dict]:
    spec, steps, batch, side, bar = NETS[name]
    torch.manual_seed(0)
    net = create(spec, num_classes=11, in_shape=(2, side, side))
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 1, 2)  # so that all layers fire
    nets = {"fused": net, "separate": changed(net, lambda m: m), "bare": changed(net, bare)}
    if peers:
        nets["theirs"] = changed(net, theirs)
    x = torch.poisson(torch.full((steps, batch, 2, side, side), 0.3))
    found = medians({key: step(each, x) for key, each in nets.items()})
    what, ours = f"{name} step, T={steps}, N={batch}, {side}x{side}", found["fused"]
    rows = [row(f"{what}: fused", ours, found["separate"], "separate modules")]
    if peers:
        wanted = f"≥ {bar} ×" if bar else ""
        rows.append(row(what, ours, found["theirs"], "SpikingJelly's neurons", bar=wanted))
    rows.append(row(what, ours, found["bare"], "without neurons and norms", bar="≥ 0.63 ×"))
    kept = [saved(nets[key], x) for key in ("fused", "separate")]
    rows.append(row(f"{what}: kept for the backward pass", *kept, "separate modules", "MB"))
    with torch.inference_mode():
        forward = {key: lambda each=each: each(x) for key, each in nets.items()}
        for each in nets.values():
            each.eval()
        found = medians({key: forward[key] for key in ("fused", "separate")})
    rows.append(row(f"{name} inference, float32", *found.values(), "separate modules"))
    return rows


def parallel(steps: int) -> list[dict]:
    from spikingjelly.activation_based import neuron

    x = torch.randn(steps, ELEMENTS // steps, requires_grad=True)
    grad = torch.ones_like(x)
    nets = {
        "PSN": PSN(T=steps), "masked PSN": MaskedPSN(T=steps, k=8, lambda_init=1.0),
        "their PSN": neuron.PSN(steps),
        "their masked PSN": neuron.MaskedPSN(8, steps, 1.0, step_mode="m"),
    }  # fmt: skip

    def action(net: nn.Module) -> None:
        x.grad = None
        net(x).backward(grad)

    found = medians({key: lambda net=net: action(net) for key, net in nets.items()})
    return [
        row(f"{name} forward + backward, T={steps}, {ELEMENTS // steps:,} neurons", found[name],
            found[f"their {name}"], "SpikingJelly", bar="≥ 1 ×")
        for name in ("PSN", "masked PSN")
    ]  # fmt: skip


def run(peers: Path | None, names: list[str] | None = None) -> list[dict]:
    torch.set_num_threads(1)
    keep_memory()
    if peers:
        spikingjelly(peers)
    rows = []
    for name in names or [*NETS, "PSN"]:
        if name != "PSN":
            rows += network(name, peers)
        elif peers:
            rows += [each for steps in STEPS for each in parallel(steps)]
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*NETS, 'PSN'])} [all]")
    parser.add_argument("--peers", type=Path, help="a virtual environment with SpikingJelly")
    options = parser.parse_args()
    from run import machine, table

    for each in options.names or [*NETS, "PSN"]:
        print(table(run(options.peers, [each])), flush=True)
    print(machine())
