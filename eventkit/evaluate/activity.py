"""What the neurons and synapses of a net do: firing rates, synaptic operations, first bad value.

A synaptic operation is one weight that is not zero, met by one input that is not zero. Its number
is exact: every input counts with the weights that it really meets, fewer at borders and strides.
"""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from eventkit.snn import Neuron, Recurrent

SYNAPSES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
DEAD, SATURATED = 1e-4, 0.9  # firing rates at which a layer says nothing any more


@dataclass
class Layer:
    """One layer as seen so far. Sums over samples and time."""

    kind: str  # "neuron" or "synapse"
    outputs: int = 0
    spikes: float = 0.0  # sum of outputs over that of one spike: graded spikes count as many
    active: float = 0.0  # outputs that are not zero
    effective: float = 0.0  # operations with an input and a weight that are not zero
    dense: float = 0.0  # operations if nothing were zero
    binary: bool = True  # all inputs were 0 or of one size: the operations are additions
    size: float = 0.0  # that size, a factor that weights can take in
    fans: dict[tuple[int, ...], tuple[Tensor, float]] = field(default_factory=dict, repr=False)

    @property
    def rate(self) -> float:
        """Spikes per neuron and time step."""
        return self.spikes / max(1, self.outputs)


class Activity:
    """Counts while it is open: `with Activity(net) as seen: net(x)`, then `seen.layers`.

    Layers are named as in net.named_modules(). `uncounted` names modules with weight matrices
    whose operations are not known here.
    """

    def __init__(self, net: nn.Module) -> None:
        self.layers: dict[str, Layer] = {}
        self.samples = 0
        self._net = net
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        inside: set[nn.Module] = set()  # a recurrent layer answers for the neurons in it
        for name, module in self._net.named_modules():
            if isinstance(module, Neuron):
                if module.spiking and module not in inside:
                    self._watch(name, module, Layer("neuron"), _neuron)
                inside.update(module.modules())
            elif isinstance(module, SYNAPSES):
                self._watch(name, module, Layer("synapse"), _synapse)
        self._hooks.append(self._net.register_forward_pre_hook(self._count))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    @property
    def uncounted(self) -> list[str]:
        """Modules with weight matrices that are not counted; those of a PSN are its neurons'."""
        found, inside = [], [f"{name}." for name in self.layers]
        for name, module in self._net.named_modules():
            counted = name in self.layers or any(name.startswith(prefix) for prefix in inside)
            if (not counted or isinstance(module, Recurrent)) and any(
                p.ndim > 1 for p in module.parameters(recurse=False)
            ):
                found.append(name or type(module).__name__)
        return found

    def silent(self) -> list[str]:
        """Sentences about layers of neurons that are dead or saturated, by name."""
        said = []
        for name, layer in self.layers.items():
            if layer.kind == "neuron" and layer.outputs:
                if layer.rate < DEAD:
                    said.append(f"layer {name} is dead: it fires {layer.rate:.1e} a step")
                elif layer.rate > SATURATED:
                    said.append(f"layer {name} is saturated: it fires {layer.rate:.2f} a step")
        return said

    def rows(self) -> list[dict[str, Any]]:
        """For every layer its kind and per sample: firing rate, or synaptic operations."""
        n = max(1, self.samples)
        rows: list[dict[str, Any]] = []
        for name, layer in self.layers.items():
            if layer.kind == "neuron":
                rows.append({"layer": name, "rate": layer.rate})
            else:
                kind = "ACs" if layer.binary else "MACs"
                synops = {"synops": layer.effective / n, "dense": layer.dense / n, "of": kind}
                weight: Any = self._net.get_submodule(name).weight
                share = int(torch.count_nonzero(weight)) / max(1, weight.numel())
                rows.append({"layer": name, **synops, "connectivity": share})
        return rows

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.samples += inputs[0].shape[1]

    def _watch(self, name: str, module: nn.Module, layer: Layer, count: Any) -> None:
        self.layers[name] = layer
        self._hooks.append(
            module.register_forward_hook(lambda m, args, out: count(layer, m, args[0], out))
        )


def _neuron(layer: Layer, module: Neuron, x: Tensor, out: Tensor) -> None:
    layer.outputs += out.numel()
    layer.spikes += float(out.detach().sum(dtype=torch.float32)) / module.unit
    layer.active += float(torch.count_nonzero(out.detach()))


def _synapse(layer: Layer, module: nn.Module, x: Tensor, out: Tensor) -> None:
    x = x.detach()
    layer.binary = layer.binary and _is_binary(layer, x)
    spatial = 1 if isinstance(module, nn.Linear) else x.ndim - 1 if x.ndim < 5 else 4
    inputs = x.reshape(-1, *x.shape[-spatial:])
    shape = tuple(inputs.shape[1:])
    if shape not in layer.fans:
        layer.fans[shape] = fan_out(module, shape)
    fan, dense = layer.fans[shape]
    layer.effective += float(((inputs != 0).sum(0) * fan).sum())
    layer.dense += dense * len(inputs)


def _is_binary(layer: Layer, x: Tensor) -> bool:
    size = float(x.abs().amax()) if x.numel() else 0.0
    layer.size = layer.size or size
    return size in (0.0, layer.size) and torch.equal(x.abs(), size * x.sign().abs())


def fan_out(module: Any, shape: tuple[int, ...]) -> tuple[Tensor, float]:
    """How many weights that are not zero each input of a layer meets, and all weights' total.

    The derivative of the layer with ones for weights and respect to its input is just that.
    """

    def fan(weight: Tensor) -> Tensor:
        x = torch.zeros(1, *shape, device=weight.device, requires_grad=True)
        if isinstance(module, nn.Linear):
            y = nn.functional.linear(x, weight)
        else:
            y = module._conv_forward(x, weight, None)
        gradient: Tensor = torch.autograd.grad(y.sum(), x)[0][0]
        return gradient

    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        weight = module.weight.detach().clone().float()
        mask = (weight != 0).float()
        return fan(mask).double(), float(fan(torch.ones_like(mask)).double().sum())


def first_broken(net: nn.Module, frames: Tensor) -> str | None:
    """The first layer whose output for frames (T, N, ...) is not finite, None if all are."""
    broken: list[str] = []

    def check(name: str) -> Any:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            if not broken and isinstance(out, Tensor) and not bool(out.isfinite().all()):
                broken.append(name)

        return hook

    leaves = [(name, m) for name, m in net.named_modules() if not list(m.children())]
    hooks = [module.register_forward_hook(check(name)) for name, module in leaves]
    try:
        with torch.no_grad():
            net(frames)
    finally:
        for hook in hooks:
            hook.remove()
    return broken[0] if broken else None
