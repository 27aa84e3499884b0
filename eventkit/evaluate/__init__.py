"""Measure a trained net: accuracy, what it computes, an estimate of its energy, its latency.

The names are those of NeuroBench (Yik et al., The NeuroBench framework, Nature Communications
2025), for the same quantities; all are for one sample, the mean over those measured.
"""

import statistics
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from eventkit.snn import Neuron

from .activity import SYNAPSES, Activity
from .energy import energy, operations
from .score import Batch, Score, mean_vote, score, unpack, votes

__all__ = ["Activity", "Score", "evaluate", "mean_vote", "score", "votes"]

Whole = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # what `unpack` gives
RUNS = 10  # samples of which the latency is the median


def evaluate(
    net: nn.Module, batches: Iterable[Batch], *, classes: list[str], bf16: bool = False,
    time_first: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Score, NeuroBench's metrics, energy and latency of `net` on batches; plain JSON.

    `batches` are what `eventkit.loader.loader` or a DataLoader with `collate` gives: (frames,
    labels), then lengths where samples differ in T; give `time_first` as to the dataset. `anytime`
    is the accuracy of the mean vote of the first 1, 2, ... T steps; it says what an earlier answer
    would be worth only where `causal` is true: where the votes of a step stay the same when later
    frames are changed, which is tried. `latency_ms` is the median time for one sample by itself on
    this machine, `decision_step` the mean number of steps after which the answer did not change.
    `first_spike` is what answers at the first output spike are worth, for networks that end in
    spikes, as after training with the loss `ttfs`.
    """
    kept: list[Whole] = []
    each = (unpack(batch, classes=len(classes), time_first=time_first) for batch in batches)
    with Activity(net) as seen:
        found = score(net, _keeping(each, kept), classes=len(classes), bf16=bf16)
    return {
        **_neurobench(net, seen, found),
        "energy": energy(seen),
        "causal": _is_causal(net, kept, bf16=bf16),
        "anytime": found.anytime,
        "decision_step": found.decided / max(1, found.samples),
        "first_spike": found.first_spike,
        "latency_ms": _latency(net, kept, bf16=bf16),
        "confusion": found.confusion.tolist(),
        "per_class": [
            {"class": name, **row} for name, row in zip(classes, found.per_class(), strict=True)
        ],
        "layers": seen.rows(),
        "uncounted": seen.uncounted,
        "samples": found.samples,
        "loss": found.mean_loss,
    }


def _is_causal(net: nn.Module, kept: list[Whole], *, bf16: bool) -> bool:
    """Whether votes depend on no later frame, as far as one sample shows.

    Later frames must have no gradient from earlier votes (a surrogate has one even where no spike
    changes), and other frames in their place must leave earlier votes as they are.
    """
    if not all(m.causal for m in net.modules() if isinstance(m, Neuron)):
        return False
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    for frames, _, lengths in kept:
        with torch.inference_mode(False), torch.enable_grad():
            x = frames[:1, : int(lengths[0])].transpose(0, 1).to(device, torch.float32, copy=True)
            noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).to(device)
            other = noise * (2 * x.abs().max() + 1)
            whole = votes(net, x.requires_grad_(), bf16=bf16)
            for t in {1, len(x) // 2, len(x) - 1} - {0, len(x)}:
                if whole.requires_grad:
                    (slope,) = torch.autograd.grad(whole[:t].sum(), x, retain_graph=True)
                    if float(slope[t:].abs().max()) > 1e-5 * float(slope[:t].abs().max()):
                        return False
                with torch.no_grad():
                    changed = votes(net, torch.cat([x[:t], other[t:]]), bf16=bf16)
                if not torch.allclose(changed[:t], whole[:t], rtol=1e-4, atol=1e-5):
                    return False
    return True


def _keeping(batches: Iterable[Whole], kept: list[Whole]) -> Iterable[Whole]:
    for batch in batches:
        if not kept and len(batch[1]):
            kept.append(batch)
        yield batch


def _neurobench(net: nn.Module, seen: Activity, found: Score) -> dict[str, Any]:
    neurons = {name: layer for name, layer in seen.layers.items() if layer.kind == "neuron"}
    outputs = sum(layer.outputs for layer in neurons.values())
    active = sum(layer.active for layer in neurons.values())
    weights = [m.weight.detach() for m in net.modules() if isinstance(m, SYNAPSES)]
    n_weights = sum(w.numel() for w in weights)
    zeros = sum(int((w == 0).sum()) for w in weights)
    tensors = [*net.parameters(), *net.buffers()]
    return {
        "ClassificationAccuracy": found.accuracy,
        "Footprint": sum(t.numel() * t.element_size() for t in tensors),
        "ParameterCount": sum(p.numel() for p in net.parameters()),
        "ConnectionSparsity": zeros / n_weights if n_weights else None,
        "ActivationSparsity": 1 - active / outputs if outputs else None,
        "ActivationSparsityByLayer": {
            name: 1 - layer.active / max(1, layer.outputs) for name, layer in neurons.items()
        },
        "SynapticOperations": operations(seen),
    }


def _latency(net: nn.Module, kept: list[Whole], *, bf16: bool) -> float | None:
    if not kept:
        return None
    frames, _, lengths = kept[0]
    frames = frames.to(next((p.device for p in net.parameters()), frames.device))
    times = []
    with torch.inference_mode():
        for i in range(RUNS + 1):
            own = frames[i % len(frames), : int(lengths[i % len(frames)])].unsqueeze(1)
            start = time.perf_counter()
            votes(net, own, bf16=bf16)
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])  # the first one may compile
