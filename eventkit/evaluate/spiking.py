"""A converted network against its steps and the members of its groups."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from eventkit.snn.conversion import Repeated, to_spiking

from .activity import Activity
from .energy import energy, operations
from .score import Batch, score


def against_steps(
    net: nn.Module, batches: Callable[[], Iterable[Batch]], *, classes: int,
    steps: Sequence[int] = (1, 2, 4, 8), members: Sequence[int] = (1,),
    thresholds: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Accuracy and operations of `net` and of its spiking forms, one row each.

    The first row is the network without spikes; the others show every frame for so many `steps` to
    neurons in groups of `members` (1: IF neurons). `batches()` starts a new pass over the
    samples. `spikes` is the mean number per sample, where a group may fire up to `members` times in
    a step; its outputs are not binary, so the operations that they cause count as MACs.
    """
    rows = [{"members": None, "steps": None, **_measured(net, batches(), classes)}]
    for m in members:
        snn = to_spiking(net, "if" if m == 1 else "gn", members=m, thresholds=thresholds)
        for T in steps:
            found = _measured(Repeated(snn, T), batches(), classes)
            rows.append({"members": m, "steps": T, **found})
    return rows


def _measured(net: nn.Module, batches: Iterable[Batch], classes: int) -> dict[str, Any]:
    with Activity(net) as seen:
        found = score(net, batches, classes=classes)
    neurons = [layer for layer in seen.layers.values() if layer.kind == "neuron"]
    return {
        "accuracy": found.accuracy,
        "spikes": sum(layer.spikes for layer in neurons) / max(1, seen.samples),
        "SynapticOperations": operations(seen),
        "microjoules": energy(seen)["microjoules"],
    }
