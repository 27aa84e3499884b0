"""What one sample does in a network: readable names of its layers, and the spikes of each."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eventkit.snn import Neuron

from .activity import SYNAPSES, Activity

NEURONS = 256  # rows of a raster, at most; of more neurons, neighbours are averaged


def titles(net: nn.Module) -> dict[str, str]:
    """A readable name for every layer that `Activity` counts, by its name in named_modules().

    The kind and a number, as "conv 2", where the module's own name is a number; then its shape.
    """
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    with Activity(net) as seen:
        watched = list(seen.layers)
    modules = dict(net.named_modules())
    for path in watched:
        module = modules[path]
        kind = _kind(module)
        counts[kind] = counts.get(kind, 0) + 1
        own = [part for part in path.split(".") if not part.isdecimal()]
        name = path if own else f"{kind} {counts[kind]}"
        found[path] = " ".join([name, *_shape(module)])
    return found


def _kind(module: nn.Module) -> str:
    if isinstance(module, Neuron):
        return type(module).__name__
    return "linear" if isinstance(module, nn.Linear) else "conv"


def _shape(module: nn.Module) -> list[str]:
    if isinstance(module, nn.Linear):
        return [f"{module.in_features}→{module.out_features}"]
    if isinstance(module, SYNAPSES):
        conv: Any = module
        size = "×".join(str(side) for side in conv.kernel_size)
        return [f"{size}, {conv.in_channels}→{conv.out_channels}"]
    return []


def spikes(net: nn.Module, frames: Tensor) -> list[dict[str, Any]]:
    """For each layer of neurons, in order of use, what a sample's frames (T, C, H, W) make fire.

    `layer` is its name, `rate` the spikes per neuron in each step, and `pixels` uint8: mean spikes
    over the channels, (T, H, W), or a raster (1, neurons, T) where neurons have no place. The
    largest value of a layer is 255.
    """
    outputs: list[tuple[str, Tensor]] = []
    inside: set[nn.Module] = set()
    hooks = []
    for name, module in net.named_modules():
        if isinstance(module, Neuron):
            if module.spiking and module not in inside:
                hooks.append(module.register_forward_hook(_keep(name, outputs)))
            inside.update(module.modules())
    device = next((p.device for p in net.parameters()), frames.device)
    training = net.training
    net.eval()
    try:
        with torch.inference_mode():
            net(frames.unsqueeze(1).to(device, torch.float32))
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return [{"layer": name, **_drawn(out)} for name, out in outputs]


def _keep(name: str, outputs: list[tuple[str, Tensor]]) -> Any:
    return lambda module, args, out: outputs.append((name, out.detach()[:, 0].float().cpu()))


def _drawn(out: Tensor) -> dict[str, Any]:
    """`out` is (T, ...), the spikes of one sample."""
    rate = out.flatten(1).mean(1).tolist()
    if out.ndim >= 3:
        maps = out.mean(1) if out.ndim == 4 else out
        pixels = maps.reshape(len(out), maps.shape[1], -1).numpy()
    else:
        raster = out.reshape(len(out), -1).T
        block = -(-len(raster) // NEURONS)
        rows = [raster[i : i + block].mean(0) for i in range(0, len(raster), block)]
        pixels = torch.stack(rows)[None].numpy()
    largest = max(float(pixels.max(initial=0)), 1e-9)
    return {
        "rate": rate,
        "pixels": np.round(255 * np.clip(pixels / largest, 0, 1)).astype(np.uint8),
    }
