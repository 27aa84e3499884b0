"""Export: what a target cannot express is named; what is written says the same as the net."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from torch import nn

from eventkit.errors import FormatError, OptionError, UnknownName
from eventkit.export import check, export, from_nir
from eventkit.export.chain import chain
from eventkit.export.plain import Plain
from eventkit.export.speck import CORES, KI, _cores, placed
from eventkit.models import create
from eventkit.snn import IF, LIF, PLIF, Fold, Halve, SumPool2d, Voting

SHAPE = (2, 12, 12)


def frames(shape=SHAPE, steps=4):
    rates = torch.full((steps, 5, *shape), 0.4)
    return torch.poisson(rates, torch.Generator().manual_seed(1))


def seen(net, shape=SHAPE):
    """The net with batch norms that have seen something."""
    torch.manual_seed(0)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(frames(shape))
    return net.eval()


def loud(net, shape=SHAPE):
    """The net with weights at which spikes come through to its last layer."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 4)
            module.momentum = None  # the mean of what it sees, from the first step on
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=2)
    return seen(net, shape)


def net(pool="avg", neuron=LIF, **options):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
    norm = nn.BatchNorm2d(4)
    nn.init.constant_(norm.weight, 3)
    layers = [SumPool2d(2), Fold(conv, norm), neuron(**options), Halve(pool)]
    linear = nn.Linear(36, 20)
    nn.init.normal_(linear.weight, std=2)  # wide enough for spikes to come through
    layers += [nn.Flatten(2), linear, neuron(**options), Voting(5)]
    return seen(nn.Sequential(*layers))


KINDS = [
    (LIF, {}), (LIF, {"tau": 3.0, "decay_input": False}), (IF, {}), (PLIF, {"tau": 4.0}),
    (LIF, {"v_reset": -0.2, "v_threshold": 0.7}), (IF, {"v_reset": None}),
]  # fmt: skip


@pytest.mark.parametrize(("neuron", "options"), KINDS)
@pytest.mark.parametrize("pool", ["avg", "sum", "max"])
def test_the_chain_does_what_the_net_does(neuron, options, pool):
    made = net(pool, neuron, **options)
    layers, problems = chain(made, SHAPE)
    assert problems == []
    assert [layer.kind for layer in layers][:4] == ["pool", "conv", "neuron", "pool"]
    with torch.no_grad():
        wanted, found = made(frames()), Plain(layers)(frames())
    assert wanted.any()
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("spec", ["csnn_tiny:width=8", "plif_nmnist:width=8", "speck_cnn:width=4"])
def test_models_that_are_chains_are_seen_as_such(spec):
    made = seen(create(spec, num_classes=3, in_shape=SHAPE))
    layers, problems = chain(made, SHAPE)
    assert problems == []
    with torch.no_grad():
        torch.testing.assert_close(Plain(layers)(frames()), made(frames()))


@pytest.mark.parametrize(("neuron", "options"), KINDS[:-1])
def test_nir_gives_back_the_net(neuron, options, tmp_path):
    pytest.importorskip("nir")
    made = net("avg", neuron, **options)
    told = export(made, tmp_path / "model.nir", "nir", in_shape=SHAPE, steps=4)
    assert told["answers_equal"] == 1
    assert told["largest_difference"] < 1e-4
    again = from_nir(tmp_path / "model.nir")
    with torch.no_grad():
        torch.testing.assert_close(again(frames()), made(frames()))
    kinds = [type(module) for module in again if isinstance(module, IF)]
    assert kinds == [IF if neuron is IF else LIF] * 2


def by_nirtorch(path, frames):
    """Votes of a graph that nirtorch runs step by step, with neurons by NIR's own equations."""
    nir, nirtorch = pytest.importorskip("nir"), pytest.importorskip("nirtorch")

    class Fires(nn.Module):
        def __init__(self, node):
            super().__init__()
            self.values = {
                key: torch.from_numpy(getattr(node, key))
                for key in ("tau", "r", "v_leak", "v_threshold", "v_reset")
                if hasattr(node, key)
            }

        def forward(self, x, state=None):
            p = self.values
            v = p.get("v_leak", torch.zeros(())) if state is None else state
            if "tau" in p:
                v = v + ((p["v_leak"] - v) + p["r"] * x) / p["tau"]
            else:
                v = v + p["r"] * x
            s = (v > p["v_threshold"]).float()
            return s, torch.where(s > 0, p["v_reset"], v)

    class Flat(nn.Module):
        def forward(self, x):
            return x.reshape(*x.shape[:-3], -1)

    def affine(node):  # nirtorch's own loses the bias
        linear = nn.Linear(*node.weight.shape[::-1])
        linear.weight.data, linear.bias.data = map(torch.from_numpy, (node.weight, node.bias))
        return linear

    known = {
        nir.IF: Fires,
        nir.LIF: Fires,
        nir.Affine: affine,
        nir.Flatten: lambda node: Flat(),
    }
    runner = nirtorch.nir_to_torch(nir.read(str(path)), known)
    steps, state = [], None
    with torch.no_grad():
        for x in frames:
            votes, state = runner(x, state)
            steps.append(votes)
    return torch.stack(steps)


def test_another_reader_of_nir_computes_the_same(tmp_path):
    made = net("avg")
    export(made, tmp_path / "model.nir", "nir", in_shape=SHAPE, steps=4)
    with torch.no_grad():
        torch.testing.assert_close(by_nirtorch(tmp_path / "model.nir", frames()), made(frames()))


ZOO = ["csnn_tiny:width=8,pool=avg", "csnn_tiny:width=8,pool=sum", "plif_nmnist:width=8,pool=avg",
       "speck_cnn:width=4,neurons=if"]  # fmt: skip


@pytest.mark.parametrize("spec", ZOO)
def test_nets_of_the_zoo_reach_other_readers_of_nir(spec, tmp_path):
    made = loud(create(spec, num_classes=3, in_shape=SHAPE))
    told = export(made, tmp_path / "model.nir", "nir", in_shape=SHAPE, steps=4)
    assert told["answers_equal"] == 1
    assert told["largest_difference"] < 1e-4
    assert told["heard"] > 0
    with torch.no_grad():
        wanted = made(frames())
    assert wanted.any()
    torch.testing.assert_close(from_nir(tmp_path / "model.nir")(frames()), wanted)
    torch.testing.assert_close(by_nirtorch(tmp_path / "model.nir", frames()), wanted)


@pytest.mark.slow  # torch's exporter takes its time
def test_onnx_computes_the_same(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    told = export(net("max"), tmp_path / "model.onnx", "onnx", in_shape=SHAPE, steps=3)
    assert told["answers_equal"] == 1
    assert told["largest_difference"] < 1e-4
    assert told["T"] == 3


def test_a_comparison_that_says_nothing_is_told(tmp_path):
    """A net that stays silent answers alike whatever was written."""
    made = net("avg")
    nn.init.constant_(made[5].weight, 0)
    nn.init.constant_(made[5].bias, -9)
    told = export(made, tmp_path / "model.nir", "nir", in_shape=SHAPE, steps=4)
    assert told["heard"] == 0


@pytest.mark.parametrize("to", ["nir", "speck"])
def test_places_where_nothing_can_be_written_are_told(to, tmp_path):
    made = create("speck_cnn:width=4,neurons=if", num_classes=3, in_shape=(2, 16, 16))
    for path, said in (
        (tmp_path / "none" / "file", "the folder .*none does not exist"),
        (tmp_path, "is a folder; expected a file name"),
    ):
        with pytest.raises(OptionError, match=said):
            export(made, path, to, in_shape=(2, 16, 16))


def test_speck_gets_whole_numbers_that_answer_alike(tmp_path):
    made = create("speck_cnn:width=4", num_classes=3, in_shape=(2, 16, 16))
    told = export(made, tmp_path / "speck.safetensors", "speck", in_shape=(2, 16, 16), steps=8)
    used = [core["core"] for core in told["cores"]]
    assert len(set(used)) == len(used) == 5
    for core in told["cores"]:
        kernel, neurons = CORES[core["core"]]
        assert core["kernel_words"] <= kernel * KI
        assert core["neuron_words"] <= neurons * KI
    assert told["answers_equal"] >= 0.5  # int8 weights change some


def test_a_bias_beyond_16_bits_makes_the_grid_of_speck_coarser(tmp_path):
    """Weights of at most 0.01 would be multiplied by 12,700, and a bias of 5 would wrap."""
    layer = nn.Conv2d(2, 4, 3)
    nn.init.constant_(layer.weight, 0.01)
    nn.init.constant_(layer.bias, 5.0)
    path = tmp_path / "speck.safetensors"
    export(plain(Fold(layer), IF()), path, "speck", in_shape=(2, 3, 3), steps=2)
    found = load_file(path)
    assert found["0.0.bias"].tolist() == [32767] * 4
    assert (found["0.0.weight"] == round(0.01 * 32767 / 5)).all()


def test_memory_of_speck_is_counted_in_powers_of_two():
    """By sinabs' formula: c 2^(ceil log2 kxky + ceil log2 f), f 2^(ceil log2 h + ceil log2 w)."""
    conv = nn.Conv2d(3, 20, 3, padding=1, bias=False)
    layers, _ = chain(nn.Sequential(Fold(conv), IF()), (3, 36, 36))
    (core,), _ = _cores(layers)
    assert core.kernel_words == 3 * 2 ** (4 + 5)
    assert core.neuron_words == 20 * 64 * 64


def test_cores_are_placed_by_what_they_need():
    def cores(*needs):
        return [
            type("Core", (), {"kernel_words": k * KI, "neuron_words": n * KI}) for k, n in needs
        ]

    assert placed(cores((16, 64), (16, 64), (16, 64))) is not None
    assert placed(cores(*[(16, 64)] * 4)) is None
    assert (
        placed(cores(*[(1, 1)] * 2, *[(64, 16)] * 2, *[(16, 64)] * 3, *[(32, 32)] * 2)) is not None
    )
    assert placed(cores(*[(1, 1)] * 10)) is None


def plain(*layers):
    return nn.Sequential(*layers)


def conv(channels=2, out=4, **options):
    return Fold(nn.Conv2d(channels, out, 3, bias=False, **options))


@pytest.mark.parametrize(
    ("to", "made", "shape", "said"),
    [
        ("nir", lambda: net("max"), SHAPE, "layer 3: NIR has no max pooling"),
        ("nir", lambda: net(neuron=IF, v_reset=None), SHAPE, "layer 2: NIR has no soft reset"),
        ("nir", lambda: plain(SumPool2d(5)), SHAPE, "layer 0: partial windows at the border"),
        ("nir", lambda: plain(conv(groups=2)), SHAPE, "layer 0.0: few NIR readers"),
        ("nir", lambda: plain(nn.Flatten(2), nn.GRU(288, 3)), SHAPE, "layer 1 .GRU. cannot be"),
        ("onnx", lambda: plain(Fold(nn.BatchNorm2d(2))), SHAPE, "layer 0.0 .BatchNorm. follows no"),
        ("speck", lambda: net("sum"), SHAPE, "layer 2 has leaky neurons"),
        ("speck", lambda: net("max", IF), SHAPE, "layer 3 is max pooling"),
        ("speck", lambda: plain(conv()), SHAPE, "layer 0.0 is not followed by neurons"),
        ("speck", lambda: plain(conv(out=2000), IF()), SHAPE, "layer 0.0 has 2000 channels"),
        ("speck", lambda: plain(conv(stride=3), IF()), SHAPE, "layer 0.0 has stride .3, 3."),
        ("speck", lambda: plain(conv(), IF()), (2, 90, 90), "layer 0.0 makes maps of 88 x 88"),
        ("speck", lambda: plain(conv(out=64), IF()), (2, 64, 64), "256 Ki words of neuron"),
        ("speck", lambda: plain(conv(), IF()), (2, 200, 200), r"the input is .2, 200, 200."),
        ("speck", lambda: plain(nn.Flatten(2), nn.Linear(288, 20), IF()), SHAPE, "20 outputs"),
    ],
)  # fmt: skip
def test_what_a_target_cannot_express_is_named(to, made, shape, said, tmp_path):
    with pytest.raises(OptionError, match=said):
        export(made(), tmp_path / "file", to, in_shape=shape)
    assert not list(tmp_path.iterdir())


def test_batch_norm_alone_before_a_net_is_named_and_unknown_targets_too():
    with pytest.raises(UnknownName, match=r"no target 'nri'\. Did you mean 'nir'"):
        check(net(), "nri", in_shape=SHAPE)


def test_graphs_that_cannot_be_read_are_told(tmp_path):
    nir = pytest.importorskip("nir")
    path = tmp_path / "model.nir"
    path.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="not a NIR graph"):
        from_nir(path)
    size = {"input": np.array([3])}
    uneven = np.array([1, 2, 3], np.float32)
    neurons = nir.IF(r=np.ones(3, np.float32), v_threshold=uneven)
    nodes = {
        "input": nir.Input(size),
        "spikes": neurons,
        "output": nir.Output({"output": size["input"]}),
    }
    nir.write(str(path), nir.NIRGraph(nodes, [("input", "spikes"), ("spikes", "output")]))
    with pytest.raises(FormatError, match=r"node spikes \(IF\): its neurons differ in v_threshold"):
        from_nir(path)
