"""Networks: laws over every registry entry, then the published sizes of each."""

import io
import math

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.augment import Augment
from eventkit.errors import OptionError, UnknownName
from eventkit.models import MODELS, create, list_models
from eventkit.snn import PLIF, Neuron
from eventkit.snn.event_driven import EventDriven

STEPS = 4
SMALL = {  # where four channels are too narrow
    "plif_dvsgesture": "width=16",
    "spikformer_2_256": "width=32,heads=2",
    "sdt_2_256": "width=16,heads=2",
    "qkformer_dvs": "width=32,heads=2",
    "shd_dcls": "width=8,D=3",
    "speck_cnn": "width=8",
    **dict.fromkeys(("shd_lif", "shd_radlif", "shd_seadlif"), "width=16,group=2"),
    **dict.fromkeys(("shd_silif", "shd_csilif"), "width=16,group=2"),
    "psn_cifar10": "width=8",
    "psn_seqcifar": "width=8",
}
SIDES = {"spikformer_2_256": 48, "sdt_2_256": 48, "qkformer_dvs": 48}  # where 16 leaves one token
DEEP = ("resnet34", "resnet101", "resnet152", "spiking_resnet50")  # no other code than 18 and 50
EVERY = [
    pytest.param(name, marks=pytest.mark.slow) if name.endswith(DEEP) else name
    for name in list_models()
]
# One name for each definition: entries that differ in depth alone share the dearer laws.
DEFINITIONS = {MODELS[name].build: name for name in reversed(list_models()) if name in EVERY}
DEFINITIONS = DEFINITIONS.values()


def small(name, in_shape, classes=3, T=STEPS):
    """The net with few channels, and all its neurons awake: fresh ones may see too little."""
    torch.manual_seed(0)
    spec = f"{name}:{SMALL.get(name, 'width=4')}"
    net = create(spec, num_classes=classes, in_shape=in_shape, steps=T)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear):
                module.weight *= 40 if name == "shd_seadlif" else 5  # has no norm, and leaks fast
            if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
                module.bias.zero_()  # a residual block that starts as the identity
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.uniform_(1, 3)
            if isinstance(module, nn.BatchNorm1d) and name != "shd_csilif":
                module.weight *= 3  # before neurons that take in little at a time
    return net


def noise(*shape):
    torch.manual_seed(1)
    return torch.poisson(torch.ones(shape))


def settled(name, x):
    """`small` in eval mode, after its batch norms have seen x."""
    net = small(name, x.shape[2:], T=len(x))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = None  # the mean over all calls
        for _ in range(3):
            net(x)
    return net.eval()


@pytest.mark.parametrize("name", EVERY)
def test_every_net_votes_in_every_step_and_learns_with_all_its_parameters(name):
    shape = (2, SIDES.get(name, 16), SIDES.get(name, 16))
    net = small(name, shape, classes=5)
    dead = {key for key, _ in net.named_parameters()}
    for _ in range(3):  # dropout may silence a weight once
        net.zero_grad()
        votes = net(noise(STEPS, 2, *shape))
        assert votes.shape == (STEPS, 2, 5)
        (votes * torch.randn_like(votes)).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        dead -= {key for key, p in net.named_parameters() if p.grad.any()}
    assert not dead


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("shape", [(2, 34, 34), (1, 8, 8), (2, 45, 70), (3, 5, 7), (2, 1, 90)])
def test_every_net_takes_any_size_and_number_of_steps(name, shape):
    T = shape[0]
    net = small(name, shape, classes=1, T=T)
    assert net(noise(T, 2, *shape)).shape == (T, 2, 1)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_net_runs_where_products_are_rounded_to_bfloat16(name):
    # Not 16 x 16: where a 3 x 3 kernel slides over 1 x 1 pixels, torch's bfloat16 convolution may
    # leave NaN, from memory that it did not fill, in gradients of weights that see only padding.
    net = small(name, (2, 32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        votes = net(noise(STEPS, 2, 2, 32, 32))
    votes.float().square().mean().backward()
    assert votes.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", EVERY)
def test_every_net_looks_at_each_sample_alone_and_remembers_nothing(name):
    x = noise(STEPS, 3, 2, 16, 16)
    net = settled(name, x)
    with torch.no_grad():
        together = net(x)
        assert together.std() > 0
        for i in range(3):
            torch.testing.assert_close(net(x[:, i : i + 1])[:, 0], together[:, i])


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_net_that_spikes_uses_the_order_of_frames(name):
    x = noise(6, 2, 2, 16, 16)
    net = settled(name, x)
    kinds = [m for m in net.modules() if isinstance(m, Neuron | EventDriven)]
    spikes = any(isinstance(module, EventDriven) or module.spiking for module in kinds)
    assert spikes or name.startswith("qcfs")
    with torch.no_grad():
        assert torch.allclose(net(x).mean(0), net(x.flip(0)).mean(0), atol=1e-6) != spikes


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_net_comes_back_from_a_file_of_weights(name):
    x = noise(STEPS, 2, 2, 16, 16)
    net, other = settled(name, x), small(name, (2, 16, 16)).eval()
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        assert torch.equal(other(x), net(x))


QUICK = ("csnn", "plif", "qkformer", "shd_dcls")  # to trace; between them all kinds of layers


@pytest.mark.parametrize(
    "name",
    [
        name if name.startswith(QUICK) else pytest.param(name, marks=pytest.mark.slow)
        for name in DEFINITIONS
    ],
)
def test_every_net_can_be_exported(name):
    x = noise(STEPS, 1, 2, 8, 8)
    net = settled(name, noise(STEPS, 2, 2, 8, 8))
    with torch.no_grad():
        program = torch.export.export(net, (x,), strict=False)
        torch.testing.assert_close(program.module()(x), net(x))


@pytest.mark.parametrize("name", list_models())
def test_every_entry_says_what_it_is(name):
    entry = MODELS[name]
    assert entry.about
    assert entry.cite
    for recipe in filter(None, (entry.recipe, entry.paper)):
        Augment(recipe.augment)
        assert 0 < recipe.lr < 1
        assert recipe.batch > 0
        assert recipe.loss.partition(":")[0] in (
            "ce_mean",
            "rate_mse",
            "tet",
            "softmax_sum",
            "count",
        )
    for published in entry.published:
        assert 0 < published.accuracy < 100
        assert published.source


def meta(spec, classes=None, in_shape=None):
    """The net as published, but for what is given, without memory for its weights."""
    entry = MODELS[spec.partition(":")[0]]
    with torch.device("meta"):
        return create(
            spec, num_classes=classes or entry.classes, in_shape=in_shape or entry.in_shape
        )


def count(net):
    """Parameters without the one time constant that each PLIF layer learns."""
    plif = sum(isinstance(module, PLIF) for module in net.modules())
    return sum(p.numel() for p in net.parameters()) - plif


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        ("csnn_tiny", 108_096),
        ("csnn_small", 402_560),
        ("plif_dvsgesture", 1_698_304),
        ("plif_cifar10dvs", 17_427_712),
        ("plif_nmnist", 17_132_288),
        ("sew7b_dvsgesture", 130_411),
        ("wide7b_cifar10dvs", 1_192_202),
        ("sew_resnet18", 11_689_512),
        ("sew_resnet34", 21_797_672),
        ("sew_resnet50", 25_557_032),
        ("sew_resnet101", 44_549_160),
        ("sew_resnet152", 60_192_808),
        ("spiking_resnet50", 25_557_032),
        ("vggsnn", 9_271_498),
        ("vggsnn:norm=tdbn", 9_271_498),
        ("vggsnn:norm=tebn", 9_271_498 + 8 * 10),  # a weight for each step and norm
        ("spiking_vgg11", 9_230_538),
        ("spikformer_2_256", 2_566_666),
        ("sdt_2_256", 2_566_923),  # ours
        ("qkformer_dvs", 1_504_138),  # 1.504 M
        ("psn_cifar10", 70_113_174),  # ours
        ("psn_seqcifar", 520_810),  # ours
        ("speck_cnn", 71_456),  # ours
        ("shd_lif", 107_580),  # ours
        ("shd_dcls", 214_016),
        ("shd_radlif", 3_895_336 + 20),  # and the learned decay of the read-out
        ("shd_seadlif", 450_020),
        ("shd_silif", 351_292),  # ours
        ("shd_csilif", 350_268),
        ("shd_csilif:width=128", 38_460),
    ],
)
def test_parameter_counts(spec, parameters):
    assert count(meta(spec)) == parameters


def test_residual_nets_take_two_channels_and_any_number_of_classes():
    assert count(meta("sew_resnet18", classes=11, in_shape=(2, 128, 128))) == 11_179_019


@pytest.mark.parametrize("size", [(128, 128), (260, 346), (720, 1280)])
def test_large_samples_are_first_pooled_to_at_most_64_x_64(size):
    net = create("csnn_tiny", num_classes=11, in_shape=(2, *size))
    pooled = net[0](torch.ones(1, 1, 2, *size))
    assert max(pooled.shape[-2:]) <= 64
    assert pooled.sum() == 2 * size[0] * size[1]
    whole = create("csnn_tiny:limit=0,width=1", num_classes=11, in_shape=(2, *size))
    assert count(whole) > count(create("csnn_tiny:width=1", num_classes=11, in_shape=(2, *size)))


def test_options_come_from_the_spec_or_as_arguments():
    spec = create("csnn_tiny:width=8,neurons=lif:tau=3", num_classes=4, in_shape=(2, 16, 16))
    same = create("csnn_tiny", num_classes=4, in_shape=(2, 16, 16), width=8, neurons="lif:tau=3")
    assert str(spec) == str(same)
    assert "LIF(tau=3" in str(spec)


def test_names_are_listed_by_pattern():
    assert list_models("csnn*") == ["csnn_small", "csnn_tiny"]
    assert list_models("*no such*") == []


def test_wrong_names_and_options_are_told():
    with pytest.raises(UnknownName, match=r"no model 'csnn_tini'.*'csnn_tiny'"):
        create("csnn_tini", num_classes=2, in_shape=(2, 8, 8))
    with pytest.raises(OptionError, match="csnn_tiny has no option 'widht'"):
        create("csnn_tiny:widht=2", num_classes=2, in_shape=(2, 8, 8))
    with pytest.raises(OptionError, match="found width=0"):
        create("csnn_tiny:width=0", num_classes=2, in_shape=(2, 8, 8))
    with pytest.raises(OptionError, match=r"0 classes and the input shape \(8, 8\)"):
        create("csnn_tiny", num_classes=0, in_shape=(8, 8))


def test_samples_too_large_for_a_net_are_refused():
    with pytest.raises(OptionError, match=r"plif_nmnist|plif: samples of this size need"):
        create("plif_nmnist", num_classes=10, in_shape=(2, 720, 1280))


@pytest.mark.parametrize("side", [64, 96, 128])
def test_every_layer_of_speck_cnn_fits_into_a_core_of_the_chip(side):
    """Kernel and neuron memory by the published rules, each layer in the smallest core left."""
    net = create("speck_cnn", num_classes=15, in_shape=(2, side, side)).eval()
    cores = [(16, 64)] * 3 + [(32, 32)] * 2 + [(64, 16)] * 2 + [(16, 16)] * 2  # Ki words
    needs = []

    def seen(module, inputs, output):
        if isinstance(module, nn.Linear):
            channels, (kx, ky), (h, w) = inputs[0].shape[-1], (1, 1), (1, 1)
        else:
            channels, (kx, ky), (h, w) = module.in_channels, module.kernel_size, output.shape[-2:]
        f = module.weight.shape[0]
        kernels = channels * 2 ** (log2(kx * ky) + log2(f))
        needs.append((kernels / 1024, f * 2 ** (log2(h) + log2(w)) / 1024))
        assert max(h, w) <= 64

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is None
            module.register_forward_hook(seen)
    net(torch.zeros(1, 1, 2, side, side))
    assert len(needs) == 5
    for kernels, neurons in sorted(needs, reverse=True):
        free = [core for core in cores if kernels <= core[0] and neurons <= core[1]]
        assert free, f"no core for {kernels} Ki of kernels and {neurons} Ki of neurons"
        cores.remove(min(free))


def log2(n):
    return math.ceil(math.log2(n))


def test_shd_nets_sum_neighbours_and_polarities():
    net = create("shd_lif:width=2", num_classes=2, in_shape=(2, 1, 12))
    x = torch.zeros(1, 1, 2, 1, 12)
    x[0, 0, 0, 0, 4] = x[0, 0, 1, 0, 0] = x[0, 0, 1, 0, 11] = 1
    assert net[0](x).flatten().tolist() == [2, 0, 1]


def test_delays_may_lengthen_the_answer_as_published():
    x = noise(4, 1, 1, 1, 20)
    net = create("shd_dcls:width=4,tail=true,D=5", num_classes=3, in_shape=(1, 1, 20))
    assert net(x).shape == (4 + 3 * 2, 1, 3)


def test_vggsnn_takes_the_neurons_of_its_papers():
    for neurons in ("lif", "psn", "sliding_psn", "masked_psn", "plif:tau=3"):
        for norm in ("bn", "tdbn", "tebn"):
            spec = f"vggsnn:width=2,neurons={neurons},norm={norm},dropout=0.25"
            net = create(spec, num_classes=3, in_shape=(2, 16, 16), steps=3)
            assert net(noise(3, 1, 2, 16, 16)).shape == (3, 1, 3)
