"""Code shared by several families: option checks, size-limited linear layers, initialisation."""

from torch import nn

from eventkit.errors import OptionError

MOST_WEIGHTS = 1 << 30  # of one layer: 4 GiB


def checked(model: str, *, dropout: float = 0.0, **counts: int) -> None:
    """Raise OptionError unless all counts are at least 1 and dropout is in [0, 1)."""
    if not 0 <= dropout < 1:
        raise OptionError(f"{model}: found dropout={dropout}, expected a share from 0 to below 1")
    for name, value in counts.items():
        if value < 1:
            raise OptionError(f"{model}: found {name}={value}, expected at least 1")


def dense(model: str, inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    """A linear layer; OptionError if it has more than MOST_WEIGHTS weights."""
    if inputs * outputs > MOST_WEIGHTS:
        raise OptionError(
            f"{model}: samples of this size need a linear layer from {inputs:,} to {outputs:,} "
            f"neurons, expected at most {MOST_WEIGHTS:,} weights; crop or downsample the samples, "
            "or choose a model such as csnn_small or sew_resnet18"
        )
    return nn.Linear(inputs, outputs, bias=bias)


def start_convolutions(net: nn.Module) -> nn.Module:
    """Kaiming normal initialisation (fan_out) of all convolutions of `net`, as in torchvision."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net
