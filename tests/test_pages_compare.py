"""Runs side by side: numbers of their files, means over seeds, and the page."""

import json

import pytest
from browser import MISSING, PROGRAM, Browser
from eventkit.cli import main

from eventkit import FormatError, OptionError, pages
from eventkit.pages import compare


def make_run(folder, *, lr=0.1, test=0.5, rows=((0.3, 0.4), (0.5, 0.6)), split="a", energy=2.0):
    folder.mkdir(parents=True)
    settings = {"lr": lr, "batch": 8, "augment": ["flip"]}
    config = {
        "model": "net",
        "data": {"dataset": "pets"},
        "parameters": 10,
        "settings": settings,
        "splits": {"test": split},
    }
    accuracy = {"at_best_validation": test, "last": 0.25, "best_optimistic": 0.75}
    result = {"accuracy": accuracy, "validation_accuracy": 0.5, "seconds": 3.0}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "run.toml").write_text("")
    (folder / "metrics.json").write_text(json.dumps({**result, "interrupted": False}))
    lines = [f"{k + 1},{loss},{share}" for k, (loss, share) in enumerate(rows)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,loss,test_accuracy", *lines]) + "\n")
    measured = {
        "SynapticOperations": {"Effective_MACs": 4, "Effective_ACs": 5},
        "latency_ms": 1.5,
        "energy": {"microjoules": energy},
        "ActivationSparsity": 0.9,
    }
    (folder / "evaluation.json").write_text(json.dumps(measured))
    return result


def make_seeds(folder):
    results = [
        make_run(folder / "seed-0", test=0.4, rows=[(1.0, 0.2)], energy=1.0),
        make_run(folder / "seed-1", test=0.6, rows=[(2.0, 0.4), (1.0, 0.8)], energy=2.0),
    ]
    kinds = {"at_best_validation": 0.5, "last": 0.25}
    summary = {"accuracy": kinds, "spread": {"at_best_validation": 0.1, "last": 0.0}}
    (folder / "metrics.json").write_text(json.dumps({**summary, "runs": results, "seconds": 6.0}))


def test_runs_are_read_and_only_settings_that_differ_are_listed(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", lr=0.2, test=0.75)
    found = compare.data([tmp_path / "a", tmp_path / "b"])
    assert found["settings"] == {"lr": [0.1, 0.2]}
    assert found["notes"] == []
    first, second = found["runs"]
    assert (first["accuracy"]["at_best_validation"], first["epochs"]) == (0.5, 2)
    assert (second["accuracy"]["at_best_validation"], second["macs"], second["acs"]) == (0.75, 4, 5)
    assert first["rows"][1] == {"epoch": 2, "loss": 0.5, "test_accuracy": 0.6}


def test_seeds_are_one_run_with_means(tmp_path):
    make_seeds(tmp_path / "s")
    (run,) = compare.data([tmp_path / "s"])["runs"]
    assert (run["members"], run["spread"]["at_best_validation"]) == (2, 0.1)
    assert run["rows"] == [
        {"epoch": 1, "loss": 1.5, "test_accuracy": pytest.approx(0.3)},
        {"epoch": 2, "loss": 1.0, "test_accuracy": 0.8},
    ]
    assert run["microjoules"] == 1.5


def test_other_test_samples_are_noted(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", split="b")
    (text,) = compare.data([tmp_path / "a", tmp_path / "b"])["notes"]
    assert text.startswith("The runs have different test samples")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(OptionError, match="is no run folder"):
        compare.data([tmp_path])
    make_run(tmp_path / "a")
    (tmp_path / "a" / "metrics.csv").write_text("epoch,loss\n1,x\n")
    with pytest.raises(FormatError, match="no table of epochs"):
        compare.data([tmp_path / "a"])
    (tmp_path / "a" / "config.json").write_text("{}")
    (tmp_path / "a" / "metrics.csv").unlink()
    with pytest.raises(FormatError, match="no files of a run"):
        compare.data([tmp_path / "a"])


def test_a_run_without_results_is_shown_as_unfinished(tmp_path):
    make_run(tmp_path / "a")
    for name in ("metrics.json", "evaluation.json", "metrics.csv"):
        (tmp_path / "a" / name).unlink()
    (run,) = compare.data([tmp_path / "a"])["runs"]
    assert not run["finished"]
    assert run["rows"] == []


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_the_page_and_the_command(tmp_path, capsys):
    make_run(tmp_path / "<img src=x>", lr=0.3)
    make_seeds(tmp_path / "s")
    folders = [str(tmp_path / "<img src=x>"), str(tmp_path / "s")]
    out = tmp_path / "c.html"
    assert main(["compare", *folders, "--html", str(out)]) == 0
    text = capsys.readouterr().out
    assert "50.0% ± 10.0%" in text
    assert "lr" in text
    with Browser(tmp_path / "browser") as browser:
        browser.open(out)
        assert browser.problems == []
        assert browser.outside == []
        assert browser.run("document.querySelectorAll('img').length") == 0
        assert "50.0% ± 10.0%" in browser.run("PAGE.textContent")
        paths = browser.run("Array.from(document.querySelectorAll('path'), p => p.outerHTML)")
        assert paths
        assert all("NaN" not in path for path in paths)
        bare = pages.write(tmp_path / "d.html", "compare", "none", compare.data(folders[:1]))
        browser.open(bare)
        assert browser.problems == []
