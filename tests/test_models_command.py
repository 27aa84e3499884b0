"""eventkit models, and the page that is made of the same."""

import json
import sys

import pytest

pytest.importorskip("torch")

from making import ROOT

from eventkit.models import MODELS, describe, list_models

sys.path.insert(0, str(ROOT / "docs"))

import models as models_page


def test_networks_are_listed_with_their_cost_and_published_numbers(run):
    code, out, _ = run("models", "plif*")
    head, *rows = out.splitlines()
    assert code == 0
    assert head.split()[:4] == ["name", "input", "T", "parameters"]
    assert [row.split()[0] for row in rows] == list_models("plif*")
    nmnist = next(row for row in rows if row.startswith("plif_nmnist"))
    assert "2x34x34" in nmnist
    assert "99.61 % on N-MNIST, best of all test epochs (authors' README)" in nmnist


def test_one_network_is_shown_with_options_and_recipes(run):
    code, out, _ = run("models", "plif_dvsgesture:width=64", "--input", "2x64x64", "--classes", "5")
    assert code == 0
    assert "2x64x64, T = 20, 5 classes" in out
    assert "841 M" not in out  # half the width, a quarter of the pixels
    assert "  width    64\n" in out
    assert "97.57 % on DVS128 Gesture" in out
    assert "96.53 % on DVS128 Gesture, best on a validation split" in out
    assert "cosine:epochs=64" in out.partition("paper's recipe")[2]


def test_networks_as_json(run):
    listed = json.loads(run("models", "csnn*", "--json")[1])
    one = json.loads(run("models", "csnn_tiny", "--json")[1])
    assert listed["csnn_tiny"] == one
    assert one["in_shape"] == [2, 64, 64]
    assert one["parameters"] == 108_096 + 5
    assert one["macs"] == pytest.approx(14.8e6, rel=0.01)
    assert one["recipe"]["optimizer"] == "adamw"
    assert one["paper"] is None


@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        (["csnn_tinny"], 1, "Did you mean 'csnn_tiny'?"),
        (["csnn_tiny:width=0"], 1, "found width=0"),
        (["csnn_tiny", "--input", "64x64"], 2, "'64x64' is not a frame shape"),
        (["--steps", "4"], 1, "--steps requires one model"),
        (["plif_nmnist", "--input", "2x720x1280"], 1, "samples of this size need"),
    ],
)
def test_wrong_arguments_get_a_sentence(run, argv, code, sentence):
    found, out, err = run("models", *argv)
    assert found == code
    assert out == ""
    assert sentence in err


def test_the_page_of_networks_is_current():
    text = (ROOT / "docs" / "models.md").read_text()
    known = list_models()
    for name in known:
        assert f"| `{name}` | " in text, "run python docs/models.py"
    # Counting all of them takes seconds; the deep ones share their code with the others.
    some = [describe(name) for name in known if "resnet" not in name]
    shared = [
        {"name": n, "paper": MODELS[n].paper, "differences": MODELS[n].differences} for n in known
    ]
    pages = [page(some) for page in (models_page.table, models_page.published, models_page.recipes)]
    for lines in (*pages, models_page.differences(shared)):
        for line in lines.splitlines():
            assert line in text, "run python docs/models.py"
