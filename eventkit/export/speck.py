"""Speck, SynSense's sensor with nine convolutional cores, by its published constraints.

A core computes {convolution, IF neurons, sum pooling} with int8 weights and int16 membranes,
without leak or max pooling. Kernel and neuron memory is counted in powers of two, as in sinabs
(`dynapcnn_layer.memory_summary`, `chips/dynapcnn.get_constraints`). The file contains int8 weights,
thresholds and the core of each layer, for sinabs or samna. It has not been tested on a chip.
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
MEMBRANE = 32767  # maximum of membranes, thresholds and biases


@dataclass(frozen=True)
class Core:
    """The work of one core: a convolution (linear layers use a kernel as large as the map)."""

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
    """The layers that the chip does not support or that do not fit into its memory."""
    cores, found = _cores(layers)
    for core in cores:
        found += _of_core(core)
    if layers and (max(layers[0].in_shape[1:]) > INPUT or layers[0].in_shape[0] > 2):
        found.append(f"the input is {layers[0].in_shape}, the maximum is (2, {INPUT}, {INPUT})")
    if found:
        return found
    classes = math.prod(layers[-1].out_shape)
    if classes > CLASSES:
        found.append(f"the net has {classes} outputs, the maximum is {CLASSES}")
    if len(cores) > len(CORES):
        return [*found, f"{len(cores)} layers of neurons, but the chip has {len(CORES)} cores"]
    if placed(cores) is None:
        found.append("the layers do not fit on the cores: " + ", ".join(map(_needs, cores)))
    return found


def _needs(core: Core) -> str:
    return (
        f"layer {core.layer.name} needs {core.kernel_words / KI:g} Ki words of kernel memory "
        f"and {core.neuron_words / KI:g} Ki words of neuron memory"
    )


def _of_core(core: Core) -> list[str]:
    """The constraints that a single core violates."""
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
        found.append(f"{_needs(core)}; no core has that much")
    return found


def _cores(layers: list[Layer]) -> tuple[list[Core], list[str]]:
    """The cores for the layers, and messages about layers that no core supports."""
    cores: list[Core] = []
    found: list[str] = []
    waiting: Layer | None = None
    before: Layer | None = None
    for layer in layers:
        name = f"layer {layer.name}"
        if layer.kind in ("conv", "linear"):
            if waiting is not None:
                found.append(f"layer {waiting.name} is not followed by neurons")
            waiting = layer
            if layer.kind == "conv" and (
                layer.how["groups"] != 1 or set(layer.how["dilation"]) != {1}
            ):
                found.append(f"{name} is grouped or dilated")
        elif layer.kind == "neuron":
            if layer.how["q"]:
                found.append(f"{name} has leaky neurons; the chip supports only IF neurons")
            if waiting is None:
                found.append(f"{name} has no convolution before it")
            else:
                cores.append(_core(waiting, layer, before))
            waiting = None
        elif layer.kind == "pool":
            size = layer.how["kernel"]
            if layer.how["way"] != "sum":
                found.append(f"{name} is {layer.how['way']} pooling; the chip supports only sum")
            elif not cores or waiting is not None or size not in ((1, 1), (2, 2), (4, 4)):
                found.append(
                    f"{name} pools {size}; the chip supports sizes 1, 2 and 4 after neurons"
                )
        if layer.kind != "neuron":
            before = layer if layer.kind == "flatten" else before
    if waiting is not None:
        found.append(f"layer {waiting.name} is not followed by neurons; end the net with neurons")
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
    """The index of a distinct chip core for each, by augmenting paths; None if impossible."""
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
    """The layers with integer weights, biases and thresholds, as on the chip."""
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
    placement = [
        {"layer": core.layer.name, "core": j, "kernel_words": core.kernel_words,
         "neuron_words": core.neuron_words, "threshold": core.neuron.how["v_threshold"]}
        for core, j in zip(cores, where, strict=True)
    ]  # fmt: skip
    save_file(tensors, path, {"speck": json.dumps({"cores": placement, "layers": plan})})
    return {"cores": placement}


def _entry(layer: Layer) -> dict[str, Any]:
    keys = ("name", "kind", "in_shape", "out_shape", "how")
    return {key: getattr(layer, key) for key in keys}


def run(path: Path, frames: Tensor) -> Tensor:
    """The output spikes of the quantised net in the file, computed in integers by torch."""
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
    outputs: Tensor = Plain(layers)(frames)
    return outputs
