"""Attention for spiking transformers, with the pixels of a map as tokens: (T, N, C, H, W) -> same.

Queries, keys and values are spikes and there is no softmax, so the matrix products can be computed
in either order.

    SelfAttention    LIF(scale Q K^T V)    Zhou et al., "Spikformer", ICLR 2023
    TokenAttention   LIF(sum of Q over the channels of a head) K    Zhou et al., "QKFormer", 2024
    DrivenAttention  Q LIF(sum over tokens of K V)    Yao et al., "Spike-driven Transformer", 2023
"""

from torch import Tensor, nn
from torch.nn import functional

from eventkit.errors import OptionError

from .layers import Fold, conv_norm
from .neurons import neuron

LIF = "lif:surrogate=sigmoid"  # tau 2, as in the authors' code of all three


class Patches(nn.Module):
    """The stem of a spiking transformer, for any H and W: patches with `width` channels.

    Four stages {conv 3x3, batch norm, neuron, max-pool 3 with stride 2} with width/8, width/4,
    width/2 and width channels, and a convolutional position branch. `pools` has one digit per
    stage, 1 if it pools: "0111" keeps the first stage at full size. `membrane` adds the branch to
    the input of the last neuron, as in the spike-driven transformer, instead of to its spikes.
    """

    def __init__(
        self, channels: int, width: int, *, pools: str = "1111", membrane: bool = False,
        neurons: str = LIF, T: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if width < 8 or width % 8:
            raise OptionError(f"found a width of {width} channels, expected a multiple of 8")
        if len(pools) != 4 or set(pools) - {"0", "1"}:
            raise OptionError(
                f"pools is {pools!r}, expected four digits, one per stage, 1 if the stage pools, "
                "e.g. 0111"
            )
        layers: list[nn.Module] = []
        for digit, share in zip(pools, (8, 4, 2, 1), strict=True):
            pool = [Fold(nn.MaxPool2d(3, 2, 1))] if digit == "1" else []
            fire = [] if membrane and share == 1 else [neuron(neurons, T=T)]
            layers += [conv_norm(channels, width // share), *fire, *pool]
            channels = width // share
        self.body = nn.Sequential(*layers)
        branch, fires = conv_norm(width, width), neuron(neurons, T=T)
        self.position = nn.Sequential(fires, branch) if membrane else nn.Sequential(branch, fires)

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, C, H, W) -> (T, N, width, ceil(H / 2^n), ceil(W / 2^n)) after n pools."""
        y = self.body(x)
        z: Tensor = y + self.position(y)
        return z


def _spikes(width: int, neurons: str, T: int | None, *, bias: bool = False) -> nn.Sequential:
    return nn.Sequential(conv_norm(width, width, 1, bias=bias), neuron(neurons, T=T))


def _check_heads(width: int, heads: int) -> None:
    if heads < 1 or width % heads:
        raise OptionError(f"found {width} channels and {heads} heads, expected a multiple of heads")


class SelfAttention(nn.Module):
    """Spiking self-attention (SSA) with `heads` heads; the attention neuron has threshold 1/2."""

    def __init__(
        self, width: int, *, heads: int = 16, scale: float = 0.25, neurons: str = LIF,
        T: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_heads(width, heads)
        self.heads, self.scale = heads, scale
        self.q, self.k, self.v = (_spikes(width, neurons, T) for _ in range(3))
        self.attend = neuron(neurons, T=T, v_threshold=0.5)
        self.out = _spikes(width, neurons, T, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, C, H, W) -> (T, N, C, H, W)."""
        q, k, v = (_heads(part(x), self.heads) for part in (self.q, self.k, self.v))
        d, tokens = q.shape[-2:]
        if tokens < d:  # the cheaper order of the products
            y = v @ (k.transpose(-1, -2) @ q)
        else:
            y = (v @ k.transpose(-1, -2)) @ q
        y = self.attend((y * self.scale).reshape(*x.shape[:2], -1, tokens))
        z: Tensor = self.out(y.reshape(x.shape))
        return z

    def extra_repr(self) -> str:
        return f"heads={self.heads}, scale={self.scale}"


def _heads(x: Tensor, heads: int) -> Tensor:
    """(T, N, C, H, W) -> (T, N, heads, C / heads, H W)."""
    return x.flatten(3).unflatten(2, (heads, -1))  # type: ignore[no-any-return, no-untyped-call]


class TokenAttention(nn.Module):
    """Token QK attention: one spike per token and head, computed from Q, gates K."""

    def __init__(
        self, width: int, *, heads: int = 16, neurons: str = LIF, T: int | None = None
    ) -> None:
        super().__init__()
        _check_heads(width, heads)
        self.heads = heads
        self.q, self.k = (_spikes(width, neurons, T) for _ in range(2))
        self.attend = neuron(neurons, T=T, v_threshold=0.5)
        self.out = _spikes(width, neurons, T, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, C, H, W) -> (T, N, C, H, W)."""
        q, k = (_heads(part(x), self.heads) for part in (self.q, self.k))
        y = self.attend(q.sum(-2, keepdim=True)) * k
        z: Tensor = self.out(y.reshape(x.shape))
        return z

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


class DrivenAttention(nn.Module):
    """Spike-driven self-attention (SDSA) with a membrane shortcut: x -> x + attention.

    `spread` applies 3 x 3 max pooling with stride 1 to keys, values and both products, as in the
    authors' net for CIFAR10-DVS.
    """

    def __init__(
        self, width: int, *, heads: int = 8, spread: bool = False, neurons: str = LIF,
        T: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_heads(width, heads)
        self.heads, self.spread = heads, spread
        self.enter = neuron(neurons, T=T)
        self.q, self.k, self.v = (_spikes(width, neurons, T) for _ in range(3))
        self.attend = neuron(neurons, T=T, v_threshold=0.5)
        self.out = conv_norm(width, width, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, C, H, W) -> (T, N, C, H, W)."""
        s = self.enter(x)
        q, k, v = self.q(s), self._spread(self.k(s)), self._spread(self.v(s))
        q, k, v = (_heads(part, self.heads) for part in (q, k, v))
        kv = self.attend(self._spread(k * v).sum(-1, keepdim=True))
        y = self._spread(q * kv).reshape(x.shape)
        z: Tensor = x + self.out(y)
        return z

    def _spread(self, x: Tensor) -> Tensor:
        """3 x 3 max pooling with stride 1 over the last two axes, if `spread`."""
        if not self.spread:
            return x
        return functional.max_pool2d(x.flatten(0, 2), 3, 1, 1).reshape(x.shape)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, spread={self.spread}"
