"""NIR, the Neuromorphic Intermediate Representation: Pedersen et al., Nature Communications 2024.

NIR has no max pooling, no batch norm (folded here) and no soft reset. Time is in steps, dt = 1.
NIR neurons fire above the threshold, eventkit's at or above it, so thresholds are written as the
next smaller float.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eventkit.errors import FormatError, MissingExtra
from eventkit.snn import IF, LIF, Fold

from .chain import Layer


def problems(layers: list[Layer]) -> list[str]:
    """The layers that NIR does not support."""
    found = []
    for layer in layers:
        if layer.kind == "pool" and layer.how["way"] == "max":
            found.append(f"layer {layer.name}: NIR has no max pooling; use avg or sum")
        elif layer.kind == "pool" and layer.how["way"] == "cut":
            found.append(f"layer {layer.name}: partial windows at the border: {layer.in_shape}")
        elif layer.kind == "neuron" and layer.how["v_reset"] is None:
            found.append(
                f"layer {layer.name}: NIR has no soft reset; train a model with a hard reset, "
                "e.g. csnn_tiny:neurons=[lif:v_reset=0]"
            )
        elif layer.kind == "conv" and layer.how["groups"] != 1:
            found.append(f"layer {layer.name}: few NIR readers support grouped convolutions")
    return found


def write(layers: list[Layer], path: Path, steps: int) -> dict[str, Any]:
    """Write the graph as a NIR file (HDF5)."""
    nir = _nir()
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(layers[0].in_shape)})}
    for layer in layers:
        nodes[_key(layer)] = _node(nir, layer)
    nodes["output"] = nir.Output({"output": np.array(layers[-1].out_shape)})
    nir.write(str(path), nir.NIRGraph(nodes, list(pairwise(nodes))))
    return {}


def _key(layer: Layer) -> str:
    return f"{layer.kind}_{layer.name}".replace(".", "_")


def _node(nir: Any, layer: Layer) -> Any:
    weight = None if layer.weight is None else layer.weight.numpy()
    bias = None if layer.bias is None else layer.bias.numpy()
    if layer.kind == "conv":
        assert weight is not None
        bias = np.zeros(len(weight), np.float32) if bias is None else bias
        return nir.Conv2d(input_shape=layer.in_shape[1:], weight=weight, bias=bias, **layer.how)
    if layer.kind == "linear":
        return nir.Linear(weight) if bias is None else nir.Affine(weight, bias)
    if layer.kind == "flatten":
        return nir.Flatten({"input": np.array(layer.in_shape)}, start_dim=0, end_dim=-1)
    if layer.kind == "pool":
        kind = nir.AvgPool2d if layer.how["way"] == "avg" else nir.SumPool2d
        kernel = np.array(layer.how["kernel"])
        return kind(kernel_size=kernel, stride=kernel, padding=np.array((0, 0)))
    return _neuron(nir, layer)


def _neuron(nir: Any, layer: Layer) -> Any:
    """LIF: tau dv/dt = (v_leak - v) + r x, so q = dt/tau, and r = tau without decay_input."""

    def full(value: float) -> np.ndarray:
        return np.full(layer.out_shape, value, np.float32)

    how = layer.how
    threshold = full(float(np.nextafter(np.float32(how["v_threshold"]), np.float32(-np.inf))))
    rest = full(how["v_reset"] or 0.0)
    if not how["q"]:
        return nir.IF(r=full(1.0), v_threshold=threshold, v_reset=rest)
    tau = 1 / how["q"]
    r = full(1.0 if how["decay_input"] else tau)
    return nir.LIF(tau=full(tau), r=r, v_leak=rest, v_threshold=threshold, v_reset=rest)


def from_nir(path: str | Path) -> nn.Module:
    """The net (T, N, ...) -> (T, N, ...) of a NIR file whose graph is a chain of supported nodes.

    Raises FormatError naming the first node that is not supported, or whose neurons differ.
    """
    nir, path = _nir(), Path(path)
    try:
        graph = nir.read(str(path))
        nodes = _in_order(graph)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise FormatError(
            path, None, f"not a NIR graph that is a chain ({_first(error)})"
        ) from error
    layers: list[nn.Module] = []
    for name, node in nodes:
        made = _module(nir, node)
        if isinstance(made, str):
            raise FormatError(path, None, f"node {name} ({type(node).__name__}): {made}")
        layers += made
    return nn.Sequential(*layers).eval()


def _first(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _in_order(graph: Any) -> list[tuple[str, Any]]:
    """The nodes from input to output; ValueError unless the graph is a chain."""
    after: dict[str, str] = {}
    for a, b in graph.edges:
        if a in after or b in after.values():
            raise ValueError(f"nodes branch at {a} or {b}")
        after[a] = b
    (name,) = set(after) - set(after.values())
    found = []
    while name in after:
        found.append((name, graph.nodes[name]))
        name = after[name]
    return [*found, (name, graph.nodes[name])]


def _module(nir: Any, node: Any) -> list[nn.Module] | str:
    """The modules of a node, or why it is not supported."""
    if isinstance(node, nir.Input | nir.Output):
        return []
    if isinstance(node, nir.Flatten):
        return [nn.Flatten(2)]
    if isinstance(node, nir.Linear | nir.Affine):
        out, features = node.weight.shape
        linear = nn.Linear(features, out, bias=isinstance(node, nir.Affine))
        return [_filled(linear, node)]
    if isinstance(node, nir.Conv2d):
        out, per_group, *kernel = node.weight.shape
        how = {key: _pair(getattr(node, key)) for key in ("stride", "padding", "dilation")}
        conv = nn.Conv2d(per_group * node.groups, out, kernel, groups=node.groups, **how)
        return [Fold(_filled(conv, node))]
    if isinstance(node, nir.SumPool2d | nir.AvgPool2d):
        kernel = _pair(node.kernel_size)
        if _pair(node.stride) != kernel or _pair(node.padding) != (0, 0):
            return "pooling with overlapping or padded windows is not supported"
        if isinstance(node, nir.AvgPool2d):
            return [Fold(nn.AvgPool2d(kernel))]
        # Not SumPool2d, which keeps the partial windows at the border that NIR drops.
        return [Fold(nn.AvgPool2d(kernel, divisor_override=1))]
    if isinstance(node, nir.IF | nir.LIF):
        return _neurons(nir, node)
    return "is not supported"


def _pair(value: Any) -> Any:
    return value if isinstance(value, str) else tuple(int(v) for v in np.broadcast_to(value, 2))


def _filled(module: Any, node: Any) -> nn.Module:
    module.weight.data = torch.from_numpy(np.array(node.weight, np.float32))
    if module.bias is not None:
        module.bias.data = torch.from_numpy(np.array(node.bias, np.float32))
    done: nn.Module = module
    return done


def _neurons(nir: Any, node: Any) -> list[nn.Module] | str:
    leak = ("tau", "v_leak") if isinstance(node, nir.LIF) else ()
    keys = ("r", "v_threshold", "v_reset", *leak)
    values = {key: np.unique(getattr(node, key)) for key in keys}
    if uneven := [key for key, value in values.items() if len(value) != 1]:
        return f"its neurons differ in {uneven[0]}"
    one = {key: np.float32(value[0]) for key, value in values.items()}
    # A neuron that fires above this threshold fires at the next larger float.
    how: dict[str, Any] = {
        "v_threshold": float(np.nextafter(one["v_threshold"], np.float32(np.inf))),
        "v_reset": float(one["v_reset"]),
    }
    if isinstance(node, nir.IF):
        return [IF(**how)] if one["r"] == 1 else f"its r is {one['r']:g}, expected 1"
    if one["v_leak"] != one["v_reset"]:
        return "its v_leak differs from its v_reset"
    for decay_input, r in ((True, 1.0), (False, one["tau"])):
        if np.isclose(one["r"], r):
            return [LIF(tau=float(one["tau"]), decay_input=decay_input, **how)]
    return f"its r is {one['r']:g}, expected 1 or tau"


def run(path: Path, frames: Tensor) -> Tensor:
    """The outputs of the file, read back."""
    outputs: Tensor = from_nir(path)(frames)
    return outputs


def _nir() -> Any:
    try:
        import nir
    except ImportError:
        raise MissingExtra("NIR needs nir", "export") from None
    return nir
