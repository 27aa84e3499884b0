"""Benchmarks measure what the pages say: their nets, their files, what they count."""

import re
import subprocess
import sys

import pytest

pytest.importorskip("torch")

import torch
from making import ROOT

from eventkit.snn import LIF, checkpointed

sys.path.insert(0, str(ROOT / "benchmarks"))

import decode_inivation
import peer_neurons

SCRIPT = """
import sys
sys.path.insert(0, "benchmarks")
import characters, nmnist
from torch import nn
from eventkit.models import create
for model, side in ((nmnist.RECIPE["model"], 34), (characters.SETTINGS["model"], 32)):
    net = create(model, num_classes=10, in_shape=(2, side, side))
    convs = [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)]
    print(convs, sum(p.numel() for p in net.parameters()))
"""


def test_the_nets_of_nmnist_and_of_characters_are_those_of_the_page():
    done = subprocess.run(  # in a process of its own, as it registers a model
        [sys.executable, "-c", SCRIPT], cwd=ROOT, check=True, capture_output=True, text=True
    )
    nmnist, characters = done.stdout.splitlines()
    page = " ".join((ROOT / "docs" / "training.md").read_text().split())
    assert nmnist == "[34, 68, 64] 348664"
    assert "convolutions of 34, 68 and 64 channels" in page
    assert set(re.findall(r"seeds, 900 to train on \| ([\d,]+)", page)) == {"348,664"}
    assert characters.startswith("[32, 64, 64]")
    assert "200 epochs, with 32, 64 and 64 channels" in page


def test_the_file_for_tonic_has_no_events_that_it_takes_for_overflows():
    parts = list(decode_inivation.made("pixels.bs2", 1_000_000))
    assert sum(map(len, parts)) == 100_000
    assert max(int(part.y.max()) for part in parts) < 240
    assert int(parts[-1].t[-1]) > 0


def test_memory_kept_counts_the_states_between_checkpointed_pieces():
    x = torch.rand(8, 4, 1000)
    found = peer_neurons.kept(lambda: checkpointed(LIF(), x, pieces=4))
    state = x[0].nbytes
    assert found * 1e6 == x.nbytes + 3 * state
