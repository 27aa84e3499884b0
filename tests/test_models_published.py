"""The zoo beside its authors' code: operations per time step and how weights start, for every net.

Operations are added up by hand from the layers that the papers and their code define.
"""

import math
from dataclasses import asdict

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from eventkit.augment import Augment
from eventkit.models import MODELS, cost, create, list_models
from eventkit.snn import DelayedLinear, DrivenAttention
from eventkit.snn.event_driven import EventConv2d, EventLinear
from eventkit.train.optim import Now, schedule
from eventkit.train.settings import settle


def conv(inputs, outputs, side, kernel=3):
    return kernel**2 * inputs * outputs * side**2


def spikformer():
    stem = conv(2, 32, 128) + conv(32, 64, 64) + conv(64, 128, 32) + conv(128, 256, 16)
    tokens, heads = 8 * 8, 16
    attention = 2 * tokens * 256 * min(tokens, 256 // heads)  # in the cheaper order
    block = tokens * (4 + 8) * 256**2 + attention  # queries, keys, values, output; perceptron
    return stem + conv(256, 256, 8) + 2 * block


def sdt():
    """pooling_stat "0111": the first of the four stages does not pool, so there are 16 x 16."""
    stem = conv(2, 32, 128) + conv(32, 64, 128) + conv(64, 128, 64) + conv(128, 256, 32)
    return stem + conv(256, 256, 16) + 2 * 16 * 16 * (4 + 8) * 256**2


def qkformer():
    first = conv(2, 16, 128) + conv(16, 32, 128) + conv(32, 64, 64) + conv(64, 128, 32)
    second = conv(128, 256, 16) + conv(256, 256, 16)
    shortcuts = conv(32, 128, 16, 1) + conv(128, 256, 8, 1)
    token_attention = 16 * 16 * (3 + 2) * 128**2
    tokens = 8 * 8
    self_attention = tokens * (4 + 2) * 256**2 + 2 * tokens * 256 * (256 // 16)
    return first + second + shortcuts + token_attention + self_attention


def psn_cifar10():
    convs = conv(3, 256, 32) + 2 * conv(256, 256, 32) + 3 * conv(256, 256, 16)
    neurons = 3 * 256 * 32**2 + 3 * 256 * 16**2 + 4096
    return convs + 256 * 8 * 8 * 4096 + 4096 * 10 + 4 * neurons  # each mixes four time steps


def psn_seqcifar():
    convs = 3 * (3 * 128 * 32 + 2 * 128**2 * 32 + 3 * 128**2 * 16)
    neurons = 3 * 128 * 32 + 3 * 128 * 16 + 256
    return convs + 128 * 8 * 256 + 256 * 10 + 32 * neurons


MACS = {
    "csnn_tiny": 14.8e6,
    "csnn_small": 54.6e6,
    "speck_cnn": 13.0e6,  # ours
    "plif_dvsgesture": 841e6,
    "plif_cifar10dvs": 847e6,
    "plif_nmnist": 62e6,
    "sew7b_dvsgesture": 404e6,
    "wide7b_cifar10dvs": 1632e6,
    **{f"{kind}_resnet18": 1.814e9 for kind in ("sew", "spiking")},  # as torchvision has them
    **{f"{kind}_resnet34": 3.664e9 for kind in ("sew", "spiking")},
    **{f"{kind}_resnet50": 4.089e9 for kind in ("sew", "spiking")},
    **{f"{kind}_resnet101": 7.801e9 for kind in ("sew", "spiking")},
    **{f"{kind}_resnet152": 11.514e9 for kind in ("sew", "spiking")},
    "vggsnn": 1362e6,
    "spiking_vgg11": 470e6,
    "spikformer_2_256": spikformer(),
    "sdt_2_256": sdt(),
    "qkformer_dvs": qkformer(),
    "psn_cifar10": psn_cifar10(),
    "psn_seqcifar": psn_seqcifar(),
    "qcfs_vgg16": 313.2e6 + 512 * 4096 + 4096**2 + 4096 * 10,  # as papers on CIFAR-10 have them
    "qcfs_resnet18": 0.5554e9,
    "qcfs_resnet20": 40.8e6,
    "qcfs_resnet34": 3.664e9,  # as torchvision has it
    "edbp_cnn": 34**2 * 12 * 2 * 25 + 17**2 * 64 * 12 * 25 + 64 * 8**2 * 10,
    "shd_lif": 140 * 256 + 256**2 + 256 * 20,
    "shd_radlif": 700 * 1024 + 3 * 1024**2 + 1024 * 20,  # two of them recurrent
    "shd_seadlif": 140 * 360 + 3 * 360**2 + 360 * 20,
    "shd_silif": 140 * 512 + 512**2 + 512 * 20,
    "shd_csilif": 140 * 512 + 512**2 + 512 * 20,
    "shd_dcls": 25 * (140 * 256 + 256**2 + 256 * 20),  # 25 delays
}
NEURONS = {
    "csnn_tiny": 0.174e6,
    "csnn_small": 0.349e6,
    "plif_dvsgesture": 2.79e6,
    "plif_cifar10dvs": 2.79e6,
    "plif_nmnist": 0.187e6,
    "sew7b_dvsgesture": 1.92e6,
    "wide7b_cifar10dvs": 3.86e6,
    "sew_resnet18": 2.48e6,  # ours
    "vggsnn": 0.922e6,
    "spiking_vgg11": 0.369e6,
    "spikformer_2_256": 1.33e6,
}


def test_the_operations_of_every_net_are_known():
    assert set(MACS) == set(list_models())  # a new net needs an operation count from its paper
    assert sdt() == pytest.approx(1469e6, rel=1e-3)


@pytest.mark.parametrize("name", list_models())
def test_the_cost_of_a_step_is_that_of_the_definition(name):
    entry = MODELS[name]
    with torch.device("meta"):
        net = create(name, num_classes=entry.classes, in_shape=entry.in_shape)
    found = cost(net, entry.in_shape, entry.T)
    assert found.macs == pytest.approx(MACS[name], rel=0.01)
    if name in NEURONS:
        assert found.neurons == pytest.approx(NEURONS[name], rel=0.01)


def torch_default(weight):
    return 1 / math.sqrt(3 * weight[0].numel())


def he_fan_out(weight):
    return math.sqrt(2 / weight[:, 0].numel())


def he_fan_in(weight):
    return math.sqrt(2 / weight[0].numel())


def of_002(weight):
    return 0.02


def of_1(weight):
    return 1.0


STARTS = {  # of convolutions and of linear layers, where they are not torch's own
    "csnn_tiny": (torch_default, lambda weight: 2 / math.sqrt(weight.shape[1])),  # ours
    "csnn_small": (torch_default, lambda weight: 2 / math.sqrt(weight.shape[1])),  # ours
    "speck_cnn": (he_fan_in, he_fan_in),  # ours
    "sdt_2_256": (of_002, torch_default),
    "spikformer_2_256": (torch_default, of_002),
    "qkformer_dvs": (torch_default, of_002),
    "vggsnn": (he_fan_out, torch_default),
    "spiking_vgg11": (he_fan_out, torch_default),
    "qcfs_vgg16": (he_fan_out, torch_default),
    **dict.fromkeys(list_models("*resnet*"), (he_fan_out, torch_default)),
    "shd_dcls": (None, he_fan_in),
    "edbp_cnn": (of_1, of_1),  # standardised before use
}
LARGE = ("psn_cifar10", "plif_cifar10dvs", "plif_nmnist")
DEEP = ("resnet34", "resnet50", "resnet101", "resnet152")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n.endswith(DEEP) else n for n in list_models()],
)
def test_weights_start_as_the_authors_let_them(name):
    entry = MODELS[name]
    spec = name + (":width=32" if name in LARGE else "")
    torch.manual_seed(0)
    net = create(spec, num_classes=entry.classes, in_shape=entry.in_shape)
    of_convolutions, of_linear = STARTS.get(name, (torch_default, torch_default))
    seen = 0
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | DelayedLinear | EventConv2d | EventLinear):
            is_convolution = isinstance(module, nn.Conv2d | EventConv2d)
            start = of_convolutions if is_convolution else of_linear
            weight = module.weight.detach()
            off = 5 / math.sqrt(2 * weight.numel())  # five standard errors
            assert float(weight.std()) == pytest.approx(start(weight), rel=off)
            if start is of_002:
                assert module.bias is None or not module.bias.any()
            seen += 1
    assert seen


def test_the_spike_driven_net_of_gestures_spreads_nothing():
    """Its authors spread spikes over neighbours on CIFAR10-DVS only."""
    net = create("sdt_2_256", num_classes=11, in_shape=(2, 32, 32))
    assert not any(m.spread for m in net.modules() if isinstance(m, DrivenAttention))


def zeroed(name, **options):
    """Whether residual blocks start as the identity: weights of 0 in their last norms."""
    net = create(name, num_classes=2, in_shape=(2, 32, 32), width=8, **options)
    return any(not m.weight.any() for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("name", "zero"),
    [
        ("sew7b_dvsgesture", True),
        ("wide7b_cifar10dvs", False),  # what the log of the published accuracy says
        ("sew_resnet18", False),
        ("spiking_resnet18", True),
    ],
)
def test_blocks_start_as_the_identity_where_the_authors_let_them(name, zero):
    assert zeroed(name) is zero
    assert zeroed(name, zero_init=not zero) is not zero


PAPERS = {  # what the recipes of papers once left out
    "spikformer_2_256": {
        "epochs": 106, "mixup": 0.5, "mix_share": 0.5, "mix_until": 0.7075,
        "schedule": "cosine:epochs=96,floor=0.01,hold=true",
    },
    "qkformer_dvs": {
        "epochs": 106, "mixup": 0.5, "mix_share": 0.5, "mix_until": 0.7075,
        "schedule": "cosine:epochs=96,floor=0.002,hold=true",
    },
    "sdt_2_256": {"epochs": 210, "mixup": 0.0, "augment": (), "clip": 1.0},
    "psn_cifar10": {"mixup": 0.2, "cutmix": 1.0, "mix_share": 1.0},
    "vggsnn": {"batch": 32, "weight_decay": 5e-4, "decay_all": True},
    "spiking_vgg11": {"batch": 256, "weight_decay": 1e-4, "decay_all": True},
    "shd_silif": {"lr": 1e-3, "schedule": "plateau:factor=0.7,patience=5"},
}  # fmt: skip


@pytest.mark.parametrize("name", PAPERS)
def test_the_recipe_of_the_paper_is_that_of_the_authors_code(name):
    found = asdict(settle({"model": name, "recipe": "paper"}))
    assert {key: found[key] for key in PAPERS[name]} == PAPERS[name]


@pytest.mark.parametrize(("name", "lr", "lowest"), [("spikformer_2_256", 1e-3, 1e-5),
                                                    ("qkformer_dvs", 5e-3, 1e-5),
                                                    ("sdt_2_256", 3e-4, 1e-5)])  # fmt: skip
def test_rates_of_transformers_are_those_of_their_logs(name, lr, lowest):
    paper = MODELS[name].paper
    rate = schedule(paper.schedule, warmup=paper.warmup)

    def at(epoch):
        return paper.lr * rate(Now(epoch / paper.epochs, epoch))

    cosine = paper.epochs - 10
    assert at(5) == pytest.approx(lr / 2, rel=1e-3)
    for epoch in (11, 50, cosine - 1):  # epochs of warm-up count
        part = (1 + math.cos(math.pi * epoch / cosine)) / 2
        assert at(epoch) == pytest.approx(lowest + (lr - lowest) * part, rel=1e-3)
    assert at(cosine) == at(paper.epochs) == pytest.approx(lowest, rel=1e-3)


def test_the_psn_net_of_events_is_shifted_by_up_to_four_pixels():
    frames = np.zeros((1, 1, 48, 48), np.float32)
    frames[..., 24, 24] = 1
    shift = Augment([MODELS["vggsnn"].paper.augment[0]])
    seen = {int(shift.frames(frames.copy(), shift.draw(0, i)).argmax()) // 48 for i in range(200)}
    assert seen == set(range(20, 29))


@pytest.mark.parametrize("name", list_models())
def test_differences_from_the_authors_are_listed(name, run):
    entry = MODELS[name]
    out = run("models", name)[1]
    assert ("differences from the authors' model and training" in out) is (entry.paper is not None)
    for text in entry.differences:
        assert text in " ".join(out.split())
