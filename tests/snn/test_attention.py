"""Attention over tokens, against sums over single tokens and channels."""

import pytest

pytest.importorskip("torch")

import torch

from eventkit.errors import OptionError
from eventkit.snn import DrivenAttention, Patches, SelfAttention, TokenAttention

T, N, C, H, W, HEADS = 3, 2, 8, 2, 3, 2


def spikes(*shape):
    return (torch.rand(shape) < 0.6).float()


def fixed(attention, names="qkv"):
    """The attention whose queries, keys and values are given, and which ends with its neuron."""
    torch.manual_seed(0)
    given = {name: spikes(T, N, C, H, W) for name in names}
    for name, value in given.items():
        setattr(attention, name, torch.nn.Identity())
        getattr(attention, name).forward = lambda x, value=value: value
    attention.out = torch.nn.Identity()
    return given


def head(x, t, n, h):
    """(channels of the head, tokens)."""
    return x[t, n].flatten(1)[h * C // HEADS : (h + 1) * C // HEADS]


def test_self_attention_is_the_product_of_spikes():
    attention = SelfAttention(C, heads=HEADS, scale=0.3)
    given = fixed(attention)
    current = torch.zeros(T, N, C, H * W)
    for t in range(T):
        for n in range(N):
            for h in range(HEADS):
                q, k, v = (head(given[name], t, n, h) for name in "qkv")
                for i in range(H * W):
                    weights = [float(q[:, i] @ k[:, j]) for j in range(H * W)]
                    for c in range(C // HEADS):
                        total = sum(w * float(v[c, j]) for j, w in enumerate(weights))
                        current[t, n, h * C // HEADS + c, i] = 0.3 * total
    expected = attention.attend(current).reshape(T, N, C, H, W)
    assert torch.equal(attention(torch.zeros(T, N, C, H, W)), expected)
    assert 0 < expected.mean() < 1


@pytest.mark.parametrize("tokens", [3, 30])
def test_the_cheaper_order_of_its_products_gives_the_same(tokens):
    torch.manual_seed(0)
    attention, x = SelfAttention(16, heads=2), torch.randn(4, 2, 16, 1, tokens)
    parts = (attention.q(x), attention.k(x), attention.v(x))
    q, k, v = (part.reshape(4, 2, 2, 8, tokens) for part in parts)
    y = attention.attend(0.25 * (v @ (k.transpose(-1, -2) @ q)).reshape(4, 2, 16, tokens))
    torch.testing.assert_close(attention(x), attention.out(y.reshape(x.shape)))


def test_token_attention_lets_the_keys_of_a_token_through():
    attention = TokenAttention(C, heads=HEADS)
    given = fixed(attention, "qk")
    sums = given["q"].reshape(T, N, HEADS, C // HEADS, H * W).sum(3, keepdim=True)
    opened = attention.attend(sums)
    expected = torch.empty(T, N, C, H, W)
    for c in range(C):
        gate = opened[:, :, c // (C // HEADS), 0].reshape(T, N, H, W)
        expected[:, :, c] = gate * given["k"][:, :, c]
    found = attention(torch.zeros(T, N, C, H, W))
    assert torch.equal(found, expected)
    assert 0 < found.mean() < given["k"].mean()


def test_driven_attention_lets_the_queries_of_a_channel_through():
    attention = DrivenAttention(C, heads=HEADS, spread=False)
    given = fixed(attention)
    kv = (given["k"] * given["v"]).flatten(3).sum(3)
    opened = attention.attend(kv)[..., None, None]
    x = torch.randn(T, N, C, H, W)
    assert torch.equal(attention(x), x + given["q"] * opened)


def test_driven_attention_for_events_spreads_spikes():
    attention = DrivenAttention(C, heads=HEADS, spread=True)
    x = torch.zeros(1, 1, 1, 4, 4)
    x[..., 1, 1] = 1
    spread = attention._spread(x)[0, 0, 0]
    assert spread[:3, :3].all()
    assert spread.sum() == 9


@pytest.mark.parametrize("membrane", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (34, 34), (45, 70)])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_stem_makes_tokens_of_any_size(size, channels, membrane):
    stem = Patches(channels, 16, membrane=membrane)
    y = stem(torch.rand(2, 1, channels, *size))
    assert y.shape == (2, 1, 16, *(-(-side // 16) for side in size))
    whole = Patches(channels, 16, pools="0000", membrane=membrane)
    assert whole(torch.rand(2, 1, channels, 5, 3)).shape[-2:] == (5, 3)


def test_pools_name_the_stages_that_halve_the_sides():
    sizes = []
    stem = Patches(2, 16, pools="0110")
    for layer in stem.body:
        layer.register_forward_hook(lambda _, __, y: sizes.append((y.shape[2], y.shape[-1])))
    assert stem(torch.rand(1, 1, 2, 32, 32)).shape[-1] == 8
    assert dict(sizes) == {2: 32, 4: 16, 8: 8, 16: 8}  # the last size of each number of channels


def test_impossible_widths_are_told():
    for pools in ("4", "01111", "0120"):
        with pytest.raises(OptionError, match=f"pools is '{pools}'.*e.g. 0111"):
            Patches(2, 16, pools=pools)
    with pytest.raises(OptionError, match="12 channels, expected a multiple of 8"):
        Patches(2, 12)
    with pytest.raises(OptionError, match="8 channels and 3 heads"):
        SelfAttention(8, heads=3)
