"""Synaptic operations of a network on its data, and an estimate of their energy."""

from typing import Any

from .activity import Activity

MAC_PJ, AC_PJ = 4.6, 0.9
ENERGY = (
    "45 nm, float32 (Horowitz, ISSCC 2014): 4.6 pJ a MAC, 0.9 pJ an AC; dense MACs of layers with "
    "analog input and effective ACs of layers with spikes; no memory, no neurons, no idle power"
)


def operations(seen: Activity) -> dict[str, float]:
    """NeuroBench's SynapticOperations for one sample, the mean over those seen."""
    synapses = [layer for layer in seen.layers.values() if layer.kind == "synapse"]
    n = max(1, seen.samples)
    return {
        "Effective_MACs": sum(s.effective for s in synapses if not s.binary) / n,
        "Effective_ACs": sum(s.effective for s in synapses if s.binary) / n,
        "Dense": sum(s.dense for s in synapses) / n,
    }


def energy(seen: Activity) -> dict[str, Any]:
    """An estimate for one sample, and for the same net without spikes: all operations MACs."""
    synapses = [layer for layer in seen.layers.values() if layer.kind == "synapse"]
    n = max(1, seen.samples)
    macs = sum(layer.dense for layer in synapses if not layer.binary) / n
    acs = sum(layer.effective for layer in synapses if layer.binary) / n
    dense = sum(layer.dense for layer in synapses) / n
    return {
        "model": ENERGY,
        "microjoules": (MAC_PJ * macs + AC_PJ * acs) / 1e6,
        "microjoules_if_dense": MAC_PJ * dense / 1e6,
    }
