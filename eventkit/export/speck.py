"""Speck, SynSense's sensor with nine convolutional cores, by its published rules.

A core does {convolution, IF, sum pool}: int8 weights, int16 membranes, no leak, no max pool. Its
memory for kernels and neurons is counted in powers of two, as sinabs counts it
(`dynapcnn_layer.memory_summary`, `chips/dynapcnn.get_constraints`). The file written holds int8
weights, thresholds and the core of each layer, for sinabs or samna to load; whether the chip takes
it has not been tried.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from .chain import Layer
from .plain import Plain

KI = 1024
CORES = [(16, 64)] * 3 + [(32, 32)] * 2 + [(64, 16)] * 2 + [(16, 16)] * 2  # kernel, neuron Ki words
CHANNELS, MAP, INPUT, KERNEL, BIASES, CLASSES = 1024, 64, 128, 16, 1024, 15
MEMBRANE = 32767  # the largest number of a membrane, a threshold and a bias


@dataclass(frozen=True)
class Core:
    """One core's work: a convolution (a linear layer is one with the kernel of its whole map)."""

    layer: Layer
    neuron: Layer
    weight: Tensor  # (out, in, ky, kx)
    stride: tuple[int, int]
    padding: tuple[int, int]
    map: tuple[int, int, int]  # channels, height and width of the output before pooling
    pool: int = 1

    @property
    def kernel_words(self) -> int:
        """c 2^(ceil(log2 kx ky) + ceil(log2 f))."""
        f, c, ky, kx = self.weight.shape
        return int(c * 2 ** (math.ceil(math.log2(kx * ky)) + math.ceil(math.log2(f))))

    @property
    def neuron_words(self) -> int:
        """f 2^(ceil(log2 h) + ceil(log2 w)) of the convolution's output, before pooling."""
        f, h, w = self.map
        return int(f * 2 ** (math.ceil(math.log2(h)) + math.ceil(math.log2(w))))


def problems(layers: list[Layer]) -> list[str]:
    """What a chip cannot do, by layer, and what does not fit into its memory."""
    cores, found = _cores(layers)
    for core in cores:
        found += _of_core(core)
    if layers and (max(layers[0].in_shape[1:]) > INPUT or layers[0].in_shape[0] > 2):
        found.append(f"the input is {layers[0].in_shape}, at most (2, {INPUT}, {INPUT}) fits")
    if found:
        return found
    classes = math.prod(layers[-1].out_shape)
    if classes > CLASSES:
        found.append(f"the net has {classes} outputs, at most {CLASSES} can be read out")
    if len(cores) > len(CORES):
        return [*found, f"{len(cores)} layers of neurons, the chip has {len(CORES)} cores"]
    if placed(cores) is None:
        found.append("no placement: " + ", ".join(map(_needs, cores)))
    return found


def _needs(core: Core) -> str:
    return (
        f"layer {core.layer.name} needs {core.kernel_words / KI:g} Ki words of kernels "
        f"and {core.neuron_words / KI:g} Ki of neurons"
    )


def _of_core(core: Core) -> list[str]:
    """The rules that a single core breaks."""
    name, (f, c, ky, kx) = f"layer {core.layer.name}", core.weight.shape
    found = []
    if max(f, c) > CHANNELS:
        found.append(f"{name} has {max(f, c)} channels, at most {CHANNELS}")
    if max(ky, kx) > KERNEL:
        found.append(f"{name} has a kernel of {ky} x {kx}, at most {KERNEL} x {KERNEL}")
    if max(core.map[1:]) > MAP:
        found.append(f"{name} makes maps of {core.map[1]} x {core.map[2]}, at most {MAP} x {MAP}")
    if not {*core.stride} <= {1, 2, 4, 8} or max(core.padding) > 7:
        found.append(f"{name} has stride {core.stride} and padding {core.padding}")
    if core.layer.bias is not None and len(core.layer.bias) > BIASES:
        found.append(f"{name} has {len(core.layer.bias)} biases, at most {BIASES}")
    if not any(k * KI >= core.kernel_words and n * KI >= core.neuron_words for k, n in CORES):
        found.append(f"{_needs(core)}: no core has both")
    return found


def _cores(layers: list[Layer]) -> tuple[list[Core], list[str]]:
    """The cores that the layers fill, and layers that fit none."""
    cores: list[Core] = []
    found: list[str] = []
    waiting: Layer | None = None
    before: Layer | None = None
    for layer in layers:
        name = f"layer {layer.name}"
        if layer.kind in ("conv", "linear"):
            if waiting is not None:
                found.append(f"layer {waiting.name} has no neurons behind it")
            waiting = layer
            if layer.kind == "conv" and (
                layer.how["groups"] != 1 or set(layer.how["dilation"]) != {1}
            ):
                found.append(f"{name} is grouped or dilated")
        elif layer.kind == "neuron":
            if layer.how["q"]:
                found.append(f"{name} leaks; the chip has IF neurons only")
            if waiting is None:
                found.append(f"{name} has no convolution before it")
            else:
                cores.append(_core(waiting, layer, before))
            waiting = None
        elif layer.kind == "pool":
            size = layer.how["kernel"]
            if layer.how["way"] != "sum":
                found.append(f"{name} pools by {layer.how['way']}; the chip sums")
            elif not cores or waiting is not None or size not in ((1, 1), (2, 2), (4, 4)):
                found.append(f"{name} sums {size} pixels; 1, 2 or 4 a side behind neurons are done")
        if layer.kind != "neuron":
            before = layer if layer.kind == "flatten" else before
    if waiting is not None:
        found.append(f"layer {waiting.name} has no neurons behind it; let the net end in neurons")
    return cores, found


def _core(layer: Layer, neuron: Layer, flattened: Layer | None) -> Core:
    assert layer.weight is not None
    if layer.kind == "conv":
        _, h, w = layer.out_shape
        how = layer.how
        return Core(
            layer, neuron, layer.weight, tuple(how["stride"]), tuple(how["padding"]),
            (layer.out_shape[0], h, w),
        )  # fmt: skip
    f, features = layer.weight.shape
    shape = (features, 1, 1)
    if flattened is not None and math.prod(flattened.in_shape) == features:
        shape = flattened.in_shape  # type: ignore[assignment]
    weight = layer.weight.reshape(f, *shape)
    return Core(layer, neuron, weight, (1, 1), (0, 0), (f, 1, 1))


def placed(cores: list[Core]) -> list[int] | None:
    """A core of the chip for each, all different, by augmenting paths; None if there is none."""
    holder: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        for j, (kernel, neuron) in enumerate(CORES):
            fits = kernel * KI >= cores[i].kernel_words and neuron * KI >= cores[i].neuron_words
            if fits and j not in tried:
                tried.add(j)
                if j not in holder or place(holder[j], tried):
                    holder[j] = i
                    return True
        return False

    if not all(place(i, set()) for i in range(len(cores))):
        return None
    where = {i: j for j, i in holder.items()}
    return [where[i] for i in range(len(cores))]


def quantised(layers: list[Layer]) -> list[Layer]:
    """The layers with weights, biases and thresholds as whole numbers, as the chip has them."""
    out: list[Layer] = []
    scale = 1.0
    for i, layer in enumerate(layers):
        if layer.weight is not None:
            scale = _scale(layer, next(later for later in layers[i:] if later.kind == "neuron"))
            bias = None if layer.bias is None else (layer.bias * scale).round()
            out.append(Layer(layer.name, layer.kind, layer.in_shape, layer.out_shape,
                             (layer.weight * scale).round(), bias, layer.how))  # fmt: skip
        elif layer.kind == "neuron":
            threshold = max(1.0, float(round(layer.how["v_threshold"] * scale)))
            reset = layer.how["v_reset"]
            how = {**layer.how, "v_threshold": threshold}
            how["v_reset"] = None if reset is None else float(round(reset * scale))
            out.append(Layer(layer.name, layer.kind, layer.in_shape, layer.out_shape, how=how))
        else:
            out.append(layer)
    return out


def _scale(layer: Layer, neuron: Layer) -> float:
    """What weights are multiplied by: the largest that int8, and int16 of what is added, allow."""
    bias = 0.0 if layer.bias is None else float(layer.bias.abs().max())
    summed = float(max(neuron.how["v_threshold"], abs(neuron.how["v_reset"] or 0.0), bias))
    largest = float(cast("Tensor", layer.weight).abs().max())
    return min(127 / max(1e-12, largest), MEMBRANE / max(1e-12, summed))


def write(layers: list[Layer], path: Path, steps: int) -> dict[str, Any]:
    """int8 weights as safetensors, with the cores and thresholds as JSON in its metadata."""
    from safetensors.torch import save_file

    grid = quantised(layers)
    cores, _ = _cores(grid)
    where = placed(cores)
    assert where is not None
    tensors = {
        f"{core.layer.name}.weight": core.weight.to(torch.int8).contiguous() for core in cores
    }
    tensors |= {
        f"{core.layer.name}.bias": core.layer.bias.to(torch.int16)
        for core in cores
        if core.layer.bias is not None
    }
    plan = [_entry(layer) for layer in grid]
    told = [
        {"layer": core.layer.name, "core": j, "kernel_words": core.kernel_words,
         "neuron_words": core.neuron_words, "threshold": core.neuron.how["v_threshold"]}
        for core, j in zip(cores, where, strict=True)
    ]  # fmt: skip
    save_file(tensors, path, {"speck": json.dumps({"cores": told, "layers": plan})})
    return {"cores": told}


def _entry(layer: Layer) -> dict[str, Any]:
    keys = ("name", "kind", "in_shape", "out_shape", "how")
    return {key: getattr(layer, key) for key in keys}


def run(path: Path, frames: Tensor) -> Tensor:
    """Spikes of the quantised net that the file holds, computed in whole numbers by torch."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        plan = json.loads(file.metadata()["speck"])["layers"]
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    layers = []
    for entry in plan:
        entry = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
        entry["how"] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["how"].items()}
        weight = tensors.get(f"{entry['name']}.weight")
        if weight is not None and entry["kind"] == "linear":
            weight = weight.flatten(1)
        layers.append(Layer(**entry, weight=weight, bias=tensors.get(f"{entry['name']}.bias")))
    votes: Tensor = Plain(layers)(frames)
    return votes
